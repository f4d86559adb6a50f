"""End a worker process when the process that started it ends, however that one ends."""

from __future__ import annotations

import _thread
import os
import time
from threading import Thread

__all__ = ["end_with_parent"]

_PATIENCE = 20.0
"""Seconds in which the worker may end like after Ctrl-C, with its files whole, before it is ended at once."""


def end_with_parent(parent: int) -> None:
    """Watch the parent process from a thread; when it has ended, interrupt this process.

    The parent passes its process id on, as it may have ended before this call. A worker whose parent was killed would
    train on unseen, and hold the lock of its run folder. Systems that do not give an orphan another parent (Windows)
    are not watched.
    """
    if os.name == "posix":
        Thread(target=_watch, args=(parent,), daemon=True, name="parent watch").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    _thread.interrupt_main()
    time.sleep(_PATIENCE)  # the main thread may be within one long call, such as waiting for another process
    os._exit(1)
