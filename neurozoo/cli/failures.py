"""What a command says, and its exit status, when it ends by an exception."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from neurozoo.errors import NeurozooError, out_of_memory

__all__ = ["Failure", "begin", "failure_of", "resume_hint", "resumes_with"]

_state = {"command": "", "resume": ""}


@dataclass(frozen=True)
class Failure:
    """The end of a command.

    Attributes:
        problems: Lines for the user, each with what to do.
        status: The exit status.
        bug: Whether nothing in the user's input or environment explains it.
    """

    problems: Sequence[str]
    status: int
    bug: bool = False


def failure_of(error: BaseException) -> Failure:
    """Describe an exception that ended a command.

    Errors of neurozoo bring their own words. What the user's paths, text or machine did is described in the words of
    the system; all else is a bug, of a plugin if its code is on the traceback.
    """
    from neurozoo.registry.loading import failed_import

    if isinstance(error, NeurozooError):
        return Failure(getattr(error, "problems", None) or (str(error),), error.exit_status)
    usage = getattr(error, "format_message", None)
    if usage is not None:  # typer's own errors, recognised by their method: their class moved between its versions
        command = getattr(getattr(error, "ctx", None), "command_path", "neurozoo")
        return Failure((f"{usage()}; see `{command} --help`",), 2)
    if reason := failed_import(error):  # before the system's errors: a library that is not found is one
        return Failure((reason,), 1)
    if isinstance(error, OSError):
        return _refused_by_system(error)
    if out_of_memory(error):
        lines = str(error).strip().splitlines()
        reason = f" ({lines[0].rstrip('.')})" if lines else ""
        remedy = "use smaller batches or fewer samples, or end other programs"
        return Failure((f"there is not enough memory{reason}; {remedy}",), 1)
    if isinstance(error, UnicodeError):
        return Failure((f"a text cannot be converted ({error}); give text without half characters, as UTF-8",), 2)
    if isinstance(error, RecursionError):
        return Failure((f"the input is nested too deeply to be read ({error}); simplify it",), 2)
    if isinstance(error, ValueError) and "null" in str(error) and "embedded" in str(error):
        return Failure((f"a path holds a null character ({error}); give another path",), 2)
    if isinstance(error, RuntimeError) and "Symlink loop" in str(error):  # of pathlib before Python 3.13
        return Failure((f"{error}: a link that leads to itself; give another path",), 2)
    return Failure((f"{type(error).__name__}: {error}; {_blame(error)}",), 1, bug=True)


def begin(arguments: Sequence[str]) -> None:
    """Note the command line that is run; nothing can be continued yet."""
    _state.update(command=shlex.join(["neurozoo", *arguments]), resume="")


def resumes_with(command: str | None = None) -> None:
    """Note the command that continues the work if it is interrupted from here on; by default the same again."""
    _state["resume"] = _state["command"] if command is None else command


def resume_hint() -> str:
    """Return how to continue interrupted work, to follow a message; empty if nothing can be continued."""
    return f"; to continue: {_state['resume']}" if _state["resume"] else ""


def _refused_by_system(error: OSError) -> Failure:
    reason = error.strerror or str(error) or type(error).__name__
    names = [
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)
    ]
    if names:
        return Failure((f"{' and '.join(names)}: {reason}; give another path, or change the one there",), 2)
    try:
        os.getcwd()
    except OSError:
        return Failure(("the current folder is gone, it was removed or renamed; change to another folder",), 2)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure((f"the output cannot be written: {reason}",), 1)
    return Failure((f"the system refused: {reason}",), 1)


def _blame(error: BaseException) -> str:
    from neurozoo.registry.registry import default_registry

    try:
        culprit = default_registry().culprit(error)
    except Exception:  # the first error is the one to report
        culprit = ""
    if culprit:
        return f"this is a bug of the plugin {culprit}; please report it to its author"
    return "this is a bug, please report it"
