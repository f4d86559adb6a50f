"""The command line; the only part that knows typer and rich."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence

__all__ = ["main"]

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and print errors, one problem a line.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong input, 3 compared and different, 130 interrupted.
    """
    import typer

    from neurozoo.cli.app import app
    from neurozoo.errors import NeurozooError

    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = app(arguments or ["--help"], prog_name="neurozoo", standalone_mode=False)
        sys.stdout.flush()
        # Some versions of typer turn Ctrl-C into this status, others raise.
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except NeurozooError as error:
        return _fail(error, getattr(error, "problems", None) or (str(error),), error.exit_status, arguments)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _fail(error, ("interrupted; what was written is whole",), INTERRUPTED, arguments)
    except BrokenPipeError:
        _leave_pipe()
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            _leave_pipe()
            return _fail(error, (f"the output cannot be written: {error.strerror}",), 1, ())
        usage = getattr(error, "format_message", None)
        if usage is not None:  # typer's own errors, by what they have: their class moved between its versions
            context = getattr(error, "ctx", None)
            command = getattr(context, "command_path", "neurozoo")
            return _fail(error, (f"{usage()}; see `{command} --help`",), 2, arguments)
        traceback.print_exc()
        return _fail(error, (f"{type(error).__name__}: {error}; {_whose_bug(error)}",), 1, arguments)


def _whose_bug(error: Exception) -> str:
    from neurozoo.registry.registry import default_registry

    try:
        culprit = default_registry().culprit(error)
    except Exception:  # the first error is the one to report
        culprit = ""
    if culprit:
        return f"this is a bug of the plugin {culprit}; please report it to its author"
    return "this is a bug, please report it"


def _fail(error: BaseException, problems: Sequence[str], status: int, arguments: Sequence[str]) -> int:
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if "--json" in arguments:
        from neurozoo.cli.common import emit

        content = {"type": type(error).__name__, "message": "\n".join(problems), "problems": list(problems)}
        try:
            emit({"error": {**content, "exit_status": status}})
        except OSError:
            _leave_pipe()
    return status


def _leave_pipe() -> None:
    """Discard the rest of the output, which nobody reads, so that flushing it at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
