"""Packed models: folders for a model hub, with a manifest that detects changes.

This module does not import torch, so that the shipped models can be listed quickly.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from neurozoo.errors import CheckpointError
from neurozoo.files.json_text import read_json
from neurozoo.files.opening import sha256_of
from neurozoo.files.text import is_litter

__all__ = [
    "CARD", "LEFT_ALONE", "MANIFEST", "RECIPE", "SCHEMA", "WEIGHTS", "Packed", "card_difference", "is_packed",
    "read_manifest", "read_packed",
]  # fmt: skip

SCHEMA = 2
"""Version of the manifest's layout; 1 is read as well."""
_OF_SCHEMA = {1: ("labels", "dims"), 2: ("task", "signals")}
"""Fields that only one version has."""
MANIFEST, WEIGHTS, RECIPE, CARD = "neurozoo.json", "model.safetensors", "recipe.yaml", "README.md"
"""The files of a packed model."""
LEFT_ALONE = frozenset({".cache", ".git", ".gitattributes", ".gitignore"})
"""Files that hubs and version control add; they are ignored, like files that systems leave unasked."""

_REMEDY = "copy the folder again from its source, or pack the run again"


@checked(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Packed:
    """The manifest of a packed model, ``neurozoo.json``.

    Attributes:
        schema: Version of this layout.
        name: Name of the recipe.
        description: The recipe's one line.
        licence: Of the weights, an SPDX expression; None if none was given.
        summary: The run's ``summary.json`` without its folder: backend, seed, data, metrics with their
            definitions, decision, spiking health, warnings, versions.
        seeds: The part of ``seeds.json`` on runs that differ only by their seed; None if one seed was trained.
        files: SHA-256 by file, hexadecimal, of all files except the manifest.
        task: Name, outputs and ``per_step`` of the task.
        signals: Shape, length, dtype and ``ragged`` of each signal, as the model expects them.
        labels: Of schema 1: names of the K labels, in order.
        dims: Of schema 1: features D by modality.
        checksum: SHA-256 of all other attributes.
    """

    schema: int
    name: str
    description: str
    licence: str | None
    summary: dict[str, Any]
    seeds: dict[str, Any] | None
    files: dict[str, str]
    task: dict[str, Any] | None = None
    signals: dict[str, Any] | None = None
    labels: list[str] | None = None
    dims: dict[str, int] | None = None
    checksum: str = ""

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on synthetic data."""
        return bool(self.summary["synthetic"])

    @property
    def data(self) -> Mapping[str, Any]:
        """The run's ``data.json``."""
        data: Mapping[str, Any] = self.summary["data"]
        return data

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the K labels, classes or quantities, in order."""
        return tuple(self.labels or () if self.task is None else self.task["outputs"])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Axes of one position of each signal, as the model expects them."""
        if self.signals is None:
            return {name: (dim,) for name, dim in (self.dims or {}).items()}
        return {name: tuple(signal["shape"]) for name, signal in self.signals.items()}

    def content(self) -> dict[str, Any]:
        """Return the fields of the manifest's schema, as its file holds them."""
        others = {name for schema, names in _OF_SCHEMA.items() if schema != self.schema for name in names}
        return {name: value for name, value in asdict(self).items() if name not in others}

    def digest(self) -> str:
        """Return the SHA-256 of all fields except the checksum, hexadecimal."""
        content = self.content()
        del content["checksum"]
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()

    def sealed(self) -> Packed:
        """Return a copy with the current checksum."""
        return replace(self, checksum=self.digest())


def is_packed(folder: Path) -> bool:
    """Return whether a folder holds a packed model, complete or not."""
    return (folder / MANIFEST).is_file() or (folder / WEIGHTS).is_file()


def read_packed(folder: Path, *, any_card: bool = False) -> Packed:
    """Compare every file of a packed model with its hash, and return the manifest.

    Args:
        folder: The packed model.
        any_card: Whether the card may be another or missing, as nothing is executed or computed from it.

    Raises:
        CheckpointError: The manifest is missing, damaged or of an unknown schema; or files are missing, changed or
            additional; names each.
    """
    packed = read_manifest(folder)
    files = {name: digest for name, digest in packed.files.items() if not any_card or name != CARD}
    try:
        differences = list(_differences(folder, files, {CARD} if any_card else set()))
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read: {error}") from error
    if differences:
        raise CheckpointError(f"{folder}: differs from what was packed: {'; '.join(differences)}; {_REMEDY}")
    return packed


def read_manifest(folder: Path) -> Packed:
    """Return the manifest of a packed model, whose own checksum is compared; the other files are not read.

    Raises:
        CheckpointError: The manifest is missing, damaged or of an unknown schema.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise CheckpointError(f"{path.parent}: differs from what was packed: {path.name} is missing; {_REMEDY}")
    content = read_json(path, inside=path.parent, error=CheckpointError)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema not in _OF_SCHEMA:
        known = " and ".join(map(str, _OF_SCHEMA))
        raise CheckpointError(
            f"{path}: its schema is {schema!r} and this version reads {known}; use the neurozoo version that wrote it"
        )
    try:
        packed = TypeAdapter(Packed).validate_json(json.dumps(content))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise CheckpointError(f"{path}: malformed: {problems}; {_REMEDY}") from error
    if missing := [name for name in _OF_SCHEMA[schema] if getattr(packed, name) is None]:
        raise CheckpointError(f"{path}: malformed: {' and '.join(missing)} of schema {schema} missing; {_REMEDY}")
    if packed.checksum != packed.digest():
        raise CheckpointError(f"{path}: changed after it was packed (its checksum differs); {_REMEDY}")
    # The manifest is untrusted: its names must not point outside of the folder.
    if not {WEIGHTS, RECIPE} <= packed.files.keys() or any(name != Path(name).name for name in packed.files):
        raise CheckpointError(f"{path}: names the files {', '.join(packed.files)}; {_REMEDY}")
    return packed


def card_difference(folder: Path, packed: Packed) -> str:
    """Return how the card differs from the one that was packed, in words; empty if it does not.

    Raises:
        CheckpointError: It is no regular file, or cannot be read.
    """
    if CARD not in packed.files:
        return ""
    return next(_differences(folder, {CARD: packed.files[CARD]}, {path.name for path in folder.iterdir()}), "")


def _differences(folder: Path, files: Mapping[str, str], ignored: Set[str] = frozenset()) -> Iterator[str]:
    """Yield the files that differ from the manifest, each with how; of those ignored, not that they are additional."""
    present = {path.name for path in folder.iterdir() if not is_litter(path.name)} - LEFT_ALONE - {MANIFEST}
    for name, expected in files.items():
        if name not in present:
            yield f"{name} is missing"
        elif sha256_of(folder / name, inside=folder, error=CheckpointError) != expected:
            yield f"{name} was changed"
    for name in sorted(present - files.keys() - ignored):
        yield f"{name} is additional"
