"""Which process is at a trial, so that one that was left behind can be told from one that is at work."""

from __future__ import annotations

from pathlib import Path

from neurozoo.files.locks import lock_folder, unlock_folder

__all__ = ["Claim"]


class Claim:
    """A hidden folder beside a trial's run, locked while its process lives, and removed when the trial has ended.

    Args:
        run: The trial's run folder.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run.with_name(f".{run.name}.running")
        self._lock: int | None = None

    def take(self) -> None:
        """Claim a new trial."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self._folder)

    def take_over(self) -> bool:
        """Claim a trial that another process began here and did not end; whether that is one."""
        try:
            self._lock = lock_folder(self._folder, wait=False)
        except OSError:  # its process is at work, or it is none of those begun in this folder
            return False
        if self._lock is None or not self._folder.is_dir():  # no locks here, or it came to its end just now
            self.leave()
            return False
        return True

    def leave(self) -> None:
        """Let go of it; where the trial has not ended, whoever comes next takes it over."""
        unlock_folder(self._lock)
        self._lock = None

    def end(self) -> None:
        """The trial has ended."""
        self._folder.rmdir()
        self.leave()
