"""The command line; the only part that knows typer and rich."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any

__all__ = ["main"]

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and print errors, one problem a line.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong input, 3 compared and different, 130 interrupted.
    """
    interrupts = _Interrupts()
    status = INTERRUPTED
    try:
        status = _run(sys.argv[1:] if argv is None else argv, interrupts)
        interrupts.armed = False
    except KeyboardInterrupt:  # one more while the first was handled
        interrupts.armed = False
    interrupts.end(ignore=argv is None and status == INTERRUPTED)
    return status


class _Interrupts:
    """Lets Ctrl-C raise ``KeyboardInterrupt`` twice, the second time for a clean-up that takes too long.

    Attributes:
        armed: Whether it still raises.
    """

    def __init__(self) -> None:
        self.armed, self._left = True, 2
        # Not in other threads, and not where Ctrl-C is ignored, as in background jobs, or handled by others.
        main_thread = threading.current_thread() is threading.main_thread()
        self._ours = main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._raise)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self.armed and self._left:
            self._left -= 1
            raise KeyboardInterrupt

    def end(self, *, ignore: bool) -> None:
        """Give Ctrl-C back to Python, or ignore it for the rest of the process, whose end resets other handlers."""
        if self._ours:
            signal.signal(signal.SIGINT, signal.SIG_IGN if ignore else signal.default_int_handler)


def _run(arguments: Sequence[str], interrupts: _Interrupts) -> int:
    import typer

    from neurozoo.cli.failures import begin, failure_of, resume_hint
    from neurozoo.cli.streams import discard_output, documents_alone, present_streams

    present_streams()
    begin(arguments)
    as_json = "--json" in arguments
    with _notes(), documents_alone() if as_json else nullcontext():
        try:
            from neurozoo.cli.app import app

            status = app(list(arguments) or ["--help"], prog_name="neurozoo", standalone_mode=False)
            sys.stdout.flush()
            # Some versions of typer turn Ctrl-C into this status, others raise.
            if status == INTERRUPTED:
                raise KeyboardInterrupt
            status = status if isinstance(status, int) else 0
        except (KeyboardInterrupt, typer.Abort) as error:
            interrupts.armed = False
            status = INTERRUPTED
            _report(error, (f"interrupted; what was written is whole{resume_hint()}",), status, as_json)
        except SystemExit as end:  # completions of a shell are complete, or the reader of a pipe has left
            status = end.code if isinstance(end.code, int) else 1
        except BrokenPipeError:
            status = 1
        except BaseException as error:  # panics of compiled extensions are no Exception
            failure = failure_of(error)
            status = failure.status
            _report(error, failure.problems, status, as_json, traceback.format_exc() if failure.bug else "")
    discard_output()
    return status


@contextmanager
def _notes() -> Iterator[None]:
    """Print warnings of neurozoo as notes, each once, without the line of code that they come from."""
    from neurozoo.cli.streams import say
    from neurozoo.errors import NeurozooWarning

    with warnings.catch_warnings():
        shown, printed = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, NeurozooWarning):
                if str(message) not in printed:
                    say(f"note: {message}", error=True)
                printed.add(str(message))
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _report(error: BaseException, problems: Sequence[str], status: int, as_json: bool, trace: str = "") -> None:
    from neurozoo.cli.common import emit
    from neurozoo.cli.streams import say

    with suppress(OSError):  # nobody reads the error output
        say(trace + "\n".join(f"error: {problem}" for problem in problems), error=True)
    if as_json:
        content = {"type": type(error).__name__, "message": "\n".join(problems), "problems": list(problems)}
        with suppress(OSError):
            emit({"error": {**content, "exit_status": status}})
