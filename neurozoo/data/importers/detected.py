"""What the detection of a format answers; each importer's file may offer a detection function of its own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurozoo.errors import DataError

__all__ = ["DetectedFormat", "UnclearError"]


class UnclearError(DataError):
    """An importer needs an option that it cannot guess.

    Args:
        message: What is unclear, what there is, and the option to give.
        guess: What the option may be, by its parameter's name: for a command that is shown, and not run.
    """

    def __init__(self, message: str, guess: Mapping[str, Any]) -> None:
        self.guess = dict(guess)
        super().__init__(message)


@dataclass(frozen=True)
class DetectedFormat:
    """The format that a source seems to have.

    Attributes:
        format: The importer's name; empty if the source is a store already.
        why: Which content identifies the format.
        saw: What the source holds, one line each.
        options: Options that the importer needs, as ``--NAME VALUE`` to fill in.
        whole_folder: Whether the importer takes the folder that contains the file.
        folder: The folder that the importer takes, where it is another one.
        dest: The store's folder in the command.
    """

    format: str
    why: str
    saw: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    whole_folder: bool = False
    folder: Path | None = None
    dest: str = "DEST"

    def command(self, source: Path) -> str:
        """Return the import command to type; empty if nothing is to be imported."""
        if not self.format:
            return ""
        argument = self.folder or (source.absolute().parent if self.whole_folder else source)
        return shlex.join(["neurozoo", "data", "import", self.format, str(argument), self.dest, *self.options])
