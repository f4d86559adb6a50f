"""A packed model: a folder as model hubs know it, and whether it is still what was packed.

No torch is needed here, so that the models that come with neurozoo can be listed quickly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from neurozoo.errors import CheckpointError

__all__ = ["CARD", "LEFT_ALONE", "MANIFEST", "RECIPE", "SCHEMA", "WEIGHTS", "Packed", "is_packed", "read_packed"]

SCHEMA = 1
"""Version of the manifest's layout."""
MANIFEST, WEIGHTS, RECIPE, CARD = "neurozoo.json", "model.safetensors", "recipe.yaml", "README.md"
"""The files of a packed model."""
LEFT_ALONE = frozenset({".cache", ".git", ".gitattributes", ".gitignore"})
"""What hubs and version control put beside them; nothing of it is read."""

_REMEDY = "take the folder anew from where it was published, or pack the run again"


@checked(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Packed:
    """The manifest of a packed model, ``neurozoo.json``.

    Attributes:
        schema: Version of this layout.
        name: Name of the recipe.
        description: The recipe's one line.
        licence: Of the weights, an SPDX expression; None where none was named.
        labels: Names of the K labels, in order.
        dims: Features D by modality, as the model takes them.
        summary: What the run's ``summary.json`` held, without its folder: backend, seed, data, metrics with their
            definitions, decision threshold, spiking health, warnings, versions.
        seeds: What ``seeds.json`` said of the runs that differ by their seed alone; None where one seed was trained.
        files: SHA-256 by file, hexadecimal, of all but this one.
        checksum: SHA-256 of everything above.
    """

    schema: int
    name: str
    description: str
    licence: str | None
    labels: list[str]
    dims: dict[str, int]
    summary: dict[str, Any]
    seeds: dict[str, Any] | None
    files: dict[str, str]
    checksum: str = ""

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on made-up data."""
        return bool(self.summary["synthetic"])

    @property
    def data(self) -> Mapping[str, Any]:
        """What the run's ``data.json`` held."""
        data: Mapping[str, Any] = self.summary["data"]
        return data

    def digest(self) -> str:
        """SHA-256 of everything but the checksum itself, hexadecimal."""
        content = asdict(self)
        del content["checksum"]
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()

    def sealed(self) -> Packed:
        """The same with its checksum brought up to date."""
        return replace(self, checksum=self.digest())


def is_packed(folder: Path) -> bool:
    """Whether a folder holds a packed model, be it whole or not."""
    return (folder / MANIFEST).is_file() or (folder / WEIGHTS).is_file()


def read_packed(folder: Path) -> Packed:
    """The manifest of a packed model, after every file was compared with its hash.

    Raises:
        CheckpointError: The manifest is missing, damaged or of an unknown schema; or a file is missing, changed or
            additional. Names each.
    """
    packed = _manifest(folder / MANIFEST)
    try:
        wrong = list(_wrong(folder, packed.files))
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read: {error}") from error
    if wrong:
        raise CheckpointError(f"{folder}: not as it was packed: {'; '.join(wrong)}; {_REMEDY}")
    return packed


def _manifest(path: Path) -> Packed:
    if not path.is_file():
        raise CheckpointError(f"{path.parent}: not as it was packed: {path.name} is missing; {_REMEDY}")
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error}); {_REMEDY}") from error
    found = content.get("schema") if isinstance(content, dict) else None
    if found != SCHEMA:
        raise CheckpointError(
            f"{path}: its schema is {found!r} and this version reads {SCHEMA}; use the neurozoo version that wrote it"
        )
    try:
        packed = TypeAdapter(Packed).validate_json(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise CheckpointError(f"{path}: malformed: {problems}; {_REMEDY}") from error
    if packed.checksum != packed.digest():
        raise CheckpointError(f"{path}: changed after it was packed (its checksum differs); {_REMEDY}")
    # A name from elsewhere must not lead out of the folder.
    if not {WEIGHTS, RECIPE} <= packed.files.keys() or any(name != Path(name).name for name in packed.files):
        raise CheckpointError(f"{path}: names the files {', '.join(packed.files)}; {_REMEDY}")
    return packed


def _wrong(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    """What is not as the manifest says, file by file."""
    there = {path.name for path in folder.iterdir()} - LEFT_ALONE - {MANIFEST}
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                yield f"{name} was changed"
    for name in sorted(there - files.keys()):
        yield f"{name} is additional"
