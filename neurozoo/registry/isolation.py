"""Run code of a plugin, and undo its side effects: output, working directory, environment, signals, torch's state.

Importing a plugin runs unknown code. It may print in front of a command's JSON document, switch gradients off, or
change the random numbers of a training that does not name it. Inside :func:`isolated` its output is captured, also
below Python, and a table of the process's state is read before it and restored after it.
"""

from __future__ import annotations

import builtins
import ctypes
import gc
import io
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from neurozoo.files.text import printable

__all__ = ["Traces", "isolated", "text_of"]

SHOWN = 80
"""Largest number of characters of a plugin's output that is shown."""


@dataclass
class Traces:
    """The side effects of some code.

    Attributes:
        printed: The beginning of its standard output, on one line.
        warned: Its warnings.
        changed: State of the process that it changed and that was restored, in words.
    """

    printed: str = ""
    warned: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def notes(self, when: str) -> list[str]:
        """Return the side effects as remarks, such as ``it printed 'hello' when it was loaded``."""
        notes = [f"it warned: {each}" for each in self.warned]
        if self.printed:
            short = self.printed if len(self.printed) < SHOWN else self.printed[: SHOWN - 3] + "..."
            notes.append(f"it printed {short!r} when it was {when}")
        if self.changed:
            notes.append(f"it changed {', '.join(self.changed)} when it was {when}, which was undone")
        return notes


def text_of(value: object) -> str:
    """Return a plugin's object, such as an exception, as one printable line, whatever its ``__str__`` does."""
    try:
        text = str(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text = f"(its text cannot be read: {type(error).__name__})"
    return printable(" ".join(text.split()))


@contextmanager
def isolated() -> Iterator[Traces]:
    """Capture standard output and warnings of the block, and restore the state of the process after it.

    Yields:
        The side effects of the block, complete after it.
    """
    traces, process = Traces(), os.getpid()
    states = _states()
    before = {name: state.read() for name, state in states.items()}
    torch_there = _torch() is not None
    try:
        with warnings.catch_warnings(record=True) as warned, _captured() as captured:
            yield traces
    finally:
        if os.getpid() != process:
            os._exit(1)  # the code forked, and this is the child: a command runs once
        traces.printed = " ".join(printable(captured()).split())
        traces.warned = [text_of(each.message) for each in warned or ()]
        if not torch_there and _torch() is not None:  # it was imported in the block
            states |= (loaded := _torch_states())
            before |= {name: state.fresh for name, state in loaded.items()}
        for name, state in states.items():
            if (now := state.read()) != before[name]:
                traces.changed.append(state.describe(before[name], now) or name)
                state.write(before[name])


class _State(NamedTuple):
    """A part of the process's state: how to read it as a value that can be compared, and how to restore it."""

    read: Callable[[], Any]
    write: Callable[[Any], object]
    describe: Callable[[Any, Any], str] = lambda _before, _now: ""  # what differs; by default the name of the state
    fresh: Any = None  # of torch's states: the value after torch is imported


class _Content:
    """The content of a mapping; a later one equals an earlier one if nothing was replaced or removed."""

    def __init__(self, mapping: dict[str, Any]) -> None:
        self.now = dict(mapping)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and all(self.now.get(k) is v for k, v in other.now.items())

    __hash__ = None  # type: ignore[assignment]


def _states() -> dict[str, _State]:
    states = {
        "the working directory": _State(_folder, _enter),
        "environment variables": _State(lambda: dict(os.environ), _set_environment, _changed_variables),
        "the standard streams": _State(lambda: (sys.stdin, sys.stdout, sys.stderr), _set_streams),
        "signal handlers": _State(_handlers, _set_handlers),
        "timers": _State(_timers, _set_timers),
        "hooks of the interpreter": _State(
            lambda: (sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile()), _set_hooks
        ),
        "the recursion limit": _State(sys.getrecursionlimit, sys.setrecursionlimit),
        "garbage collection": _State(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        "logging": _State(lambda: (logging.root.manager.disable, logging.root.level), _set_logging),
        "the mask of new files": _State(_mask, os.umask),
        "builtins": _State(lambda: _Content(vars(builtins)), lambda it: vars(builtins).update(it.now)),
        "imported modules": _State(lambda: _Content(sys.modules), lambda it: sys.modules.update(it.now)),
        "Python's random numbers": _State(random.getstate, random.setstate),
    }
    numpy: Any = sys.modules.get("numpy.random")
    if hasattr(numpy, "get_state"):
        # As text, because arrays cannot be compared by ==.
        given = numpy.get_state()
        states["numpy's random numbers"] = _State(
            lambda: (*map(str, numpy.get_state()[2:]), numpy.get_state()[1].tobytes()),
            lambda _: numpy.set_state(given),
        )
    return states | _torch_states()


def _torch() -> Any:
    """torch if it is imported completely, else None."""
    torch: Any = sys.modules.get("torch")
    return torch if all(hasattr(torch, name) for name in ("get_default_device", "get_rng_state", "compile")) else None


def _torch_states() -> dict[str, _State]:
    torch = _torch()
    if torch is None:
        return {}
    state = torch.get_rng_state()
    return {
        "torch's gradients": _State(torch.is_grad_enabled, torch.set_grad_enabled, fresh=True),
        "torch's default dtype": _State(torch.get_default_dtype, torch.set_default_dtype, fresh=torch.float32),
        "torch's default device": _State(
            lambda: str(torch.get_default_device()),
            lambda device: torch.set_default_device(None if device == "cpu" else device),
            fresh="cpu",
        ),
        "torch's deterministic algorithms": _State(
            torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, fresh=False
        ),
        "torch's threads": _State(torch.get_num_threads, torch.set_num_threads, fresh=torch.get_num_threads()),
        "torch's anomaly detection": _State(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly, fresh=False),
        "torch's random numbers": _State(
            lambda: torch.get_rng_state().numpy().tobytes(),
            lambda _: torch.set_rng_state(state),
            fresh=state.numpy().tobytes(),
        ),
    }


@contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """Capture the standard output, Python's and the process's; yields a function that returns its beginning."""
    _flush()
    python = io.StringIO()
    with tempfile.TemporaryFile() as file:
        try:
            saved = os.dup(1)
        except OSError:  # it is closed
            saved = None

        kept = ""

        def text() -> str:
            return python.getvalue()[: 2 * SHOWN] + kept

        if saved is not None:
            os.dup2(file.fileno(), 1)
        try:
            with redirect_stdout(python):
                yield text
        finally:
            _flush()
            if saved is not None:
                os.dup2(saved, 1)
                os.close(saved)
            file.seek(0)
            kept = file.read(2 * SHOWN).decode(errors="replace")


def _flush() -> None:
    """Write out what Python and C keep back for the standard output."""
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(Exception):
            stream.flush()  # type: ignore[union-attr]
    with suppress(Exception):
        ctypes.CDLL(None).fflush(None)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _enter(folder: str) -> None:
    if folder:
        with suppress(OSError):
            os.chdir(folder)


def _set_environment(before: dict[str, str]) -> None:
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


def _changed_variables(before: dict[str, str], now: dict[str, str]) -> str:
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return f"the environment variable{'s' if len(names) > 1 else ''} {printable(', '.join(names))}"


def _set_streams(streams: tuple[Any, Any, Any]) -> None:
    sys.stdin, sys.stdout, sys.stderr = streams


def _handlers() -> dict[int, Any]:
    """The handlers that Python knows; only its main thread can set them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return {number: handler for number, handler in found.items() if handler is not None}


def _set_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            with suppress(OSError, ValueError):
                signal.signal(number, handler)


def _timers() -> dict[int, bool]:
    """Whether each of the process's timers runs, whose signal would end it later."""
    return {which: signal.getitimer(which)[0] > 0 for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL)}


def _set_timers(running: dict[int, bool]) -> None:
    for which, runs in running.items():
        if not runs:
            signal.setitimer(which, 0)


def _set_hooks(hooks: tuple[Any, Any, Any, Any]) -> None:
    sys.excepthook, sys.displayhook = hooks[:2]
    sys.settrace(hooks[2])
    sys.setprofile(hooks[3])


def _set_logging(before: tuple[int, int]) -> None:
    logging.root.manager.disable, logging.root.level = before


def _mask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
