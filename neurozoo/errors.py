"""The exceptions a user of neurozoo reads, in one small tree.

Every message says what happened, where, what there is, and what to do.
The exit status is what the command line returns when the error reaches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

__all__ = [
    "ChangedError",
    "CheckpointError",
    "DataError",
    "DeviceError",
    "FetchError",
    "NeurozooError",
    "NotInstalledError",
    "PluginError",
    "RecipeError",
    "RunError",
    "SpikingError",
    "UnknownNameError",
    "UserError",
    "nearest",
]


class NeurozooError(Exception):
    """The work could not be done; the root of every error raised on purpose here."""

    exit_status = 1


class UserError(NeurozooError):
    """What the user gave cannot be used: a recipe, a name, a file, a folder."""

    exit_status = 2


class RecipeError(UserError):
    """A recipe is wrong; holds every problem found, each with its place.

    Args:
        problems: One line a problem, ``file:line:column: what, what there is, what to do``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UnknownNameError(UserError):
    """A name that nothing is registered under.

    Args:
        kind: What was looked for, such as ``backend``.
        name: The name given.
        known: The names there are.
        hint: What else to do, such as the command that installs a plugin.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        guess = nearest(name, self.known)
        message = f"no {kind} is called {name!r}; there are: {', '.join(self.known) or 'none'}"
        message += f"; did you mean {guess!r}?" if guess else ""
        super().__init__(message + (f"; {hint}" if hint else ""))


class DataError(UserError):
    """A data set, or a file to make one from, is missing or malformed."""


class NotInstalledError(DataError):
    """A data set is named that is not installed here."""


class ChangedError(DataError):
    """A file is not what it was when its checksum was recorded."""

    exit_status = 3


class FetchError(NeurozooError):
    """Files could not be had from a server.

    Args:
        problems: One line a problem, and what to do.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class RunError(UserError):
    """A run folder is missing, not empty, not readable or not writable."""


class CheckpointError(UserError):
    """A checkpoint is truncated, of another model, or of an unknown schema."""


class PluginError(NeurozooError):
    """A plugin could not give what it promised."""


class SpikingError(NeurozooError, ValueError):
    """A spiking layer was called with something it cannot simulate, such as a NaN threshold."""


class DeviceError(SpikingError):
    """A backend was given tensors on a device where it does not run."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, or None where none is near."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.6)), None)
