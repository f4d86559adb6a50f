"""``checksums.json``: what was fetched into a folder, recorded when it first came whole, and held to ever after."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from neurozoo.errors import DataError
from neurozoo.files.writing import write_whole

__all__ = ["CHECKSUMS", "Entry", "Record", "digest"]

CHECKSUMS = "checksums.json"
_STRICT = ConfigDict(extra="forbid", strict=True)


@checked(frozen=True, config=_STRICT)
class Entry:
    """One file: where it is from, its size in bytes, and its SHA-256, hexadecimal."""

    url: str
    bytes: int
    sha256: str


@checked(frozen=True, config=_STRICT)
class Record:
    """What a folder's files are.

    Attributes:
        name: The data set.
        accepted: The terms that were accepted.
        files: By path within the folder.
    """

    name: str
    accepted: str
    files: dict[str, Entry]

    @staticmethod
    def read(folder: Path, name: str) -> Record:
        """The record of a folder; an empty one where there is none.

        Raises:
            DataError: It is malformed, or of another data set.
        """
        path = folder / CHECKSUMS
        if not path.is_file():
            return Record(name, "", {})
        try:
            record = TypeAdapter(Record).validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(f"{path} is not a record of checksums; remove it to have them recorded anew") from error
        if record.name != name:
            raise DataError(f"{folder} holds {record.name}, and not {name}; give another folder with --to")
        return record

    def write(self, folder: Path) -> None:
        """Write it whole.

        Raises:
            OSError: It cannot be written.
        """
        write_whole(folder / CHECKSUMS, (json.dumps(asdict(self), indent=2) + "\n").encode())


def digest(path: Path) -> str:
    """A file's SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
