"""The exceptions that neurozoo raises on purpose.

Every message says what happened, where, what there is, and what to do. ``exit_status`` is the command line's exit
status after the error.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "DISTRIBUTION",
    "ChangedError",
    "CheckpointError",
    "DataError",
    "DeviceError",
    "DifferentError",
    "FetchError",
    "NeurozooError",
    "NeurozooWarning",
    "NotInstalledError",
    "PluginError",
    "RecipeError",
    "RunError",
    "SpikingError",
    "UnknownNameError",
    "UserError",
    "install_extra",
    "nearest",
    "out_of_memory",
    "suggestion",
]


DISTRIBUTION = "neurozoo-toolkit"
"""Name of the distribution; `neurozoo` on the package index is another project."""


class NeurozooError(Exception):
    """Base class; raised itself if the work could not be done."""

    exit_status = 1


class NeurozooWarning(UserWarning):
    """Something that the user should know, and that stops nothing; the command line prints it as a note."""


class UserError(NeurozooError):
    """The user's input cannot be used: a recipe, a name, a file, a folder."""

    exit_status = 2


class _ProblemsError(NeurozooError):
    """An error with several problems, each with what to do; its message has one per line."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class RecipeError(_ProblemsError, UserError):
    """A recipe is wrong; holds all its problems as ``file:line:column: what, what there is, what to do``."""


class UnknownNameError(UserError):
    """A name is not registered.

    Args:
        kind: Kind of thing with that name, such as ``neuron``.
        name: The given name.
        known: The registered names.
        hint: Further advice, such as the command that installs a plugin.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        message = f"no {kind} is called {name!r}; there are: {', '.join(self.known) or 'none'}"
        super().__init__(message + suggestion(name, self.known) + (f"; {hint}" if hint else ""))


class DataError(UserError):
    """A data set, or a file to import, is missing or malformed."""


class NotInstalledError(DataError):
    """A named data set is not installed."""


class ChangedError(DataError):
    """A file differs from its recorded checksum."""

    exit_status = 3


class DifferentError(NeurozooError):
    """A result was compared with what it should equal, and differs."""

    exit_status = 3


class FetchError(_ProblemsError):
    """Files could not be downloaded."""


class RunError(UserError):
    """A run folder is missing, not empty, not readable or not writable."""


class CheckpointError(UserError):
    """A checkpoint is truncated, of another model, or of an unknown schema."""


class PluginError(NeurozooError):
    """A plugin is malformed or failed."""


class SpikingError(NeurozooError, ValueError):
    """A spiking layer got an input it cannot simulate, such as a NaN threshold."""


class DeviceError(SpikingError):
    """A backend got tensors on a device it does not support."""


def install_extra(extra: str) -> str:
    """Return the command that installs an optional part of neurozoo, for messages."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to ``name``, or None if none is similar."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.6)), None)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'NAME'?`` with the known name most like ``name``, or an empty text."""
    guess = nearest(name, known)
    return f"; did you mean {guess!r}?" if guess else ""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out; torch raises ``RuntimeError`` or a subclass of it."""
    texts = ("can't allocate memory", "not enough memory", "out of memory", "storage size calculation overflowed")
    found = isinstance(error, RuntimeError) and any(text in str(error).lower() for text in texts)
    return found or isinstance(error, MemoryError)
