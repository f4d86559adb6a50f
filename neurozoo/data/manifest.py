"""``dataset.json``: what a store says about itself, read strictly and written in one form.

No torch is needed here, so that data sets can be listed quickly.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from neurozoo.errors import DataError

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "Description",
    "Manifest",
    "Modality",
    "ShardEntry",
    "SplitEntry",
    "check_name",
    "shapes",
]

MANIFEST = "dataset.json"
SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Modality:
    """The shape of one modality.

    Attributes:
        dim: Number of features D of a position.
        length: Number of positions L, padding included.
    """

    dim: int
    length: int


@dataclass(frozen=True)
class Description:
    """What a data set is, without its values.

    Attributes:
        modalities: Shapes by modality, in order.
        labels: Names of the K labels, in the order of their columns.
        splits: Number of samples by split.
        origin: Where it comes from: format, source, licence, citation, options.
        synthetic: Whether the values are made up.
        checksum: SHA-256 over the shards' checksums and everything else in ``dataset.json``.
    """

    modalities: dict[str, Modality]
    labels: tuple[str, ...]
    splits: dict[str, int]
    origin: dict[str, Any]
    synthetic: bool
    checksum: str


@checked(frozen=True, config=_STRICT)
class ShardEntry:
    """One safetensors file of a split."""

    file: str
    samples: int
    sha256: str


@checked(frozen=True, config=_STRICT)
class SplitEntry:
    """The shards of a split, in order."""

    samples: int
    shards: list[ShardEntry]


@checked(frozen=True, config=_STRICT)
class Manifest:
    """The content of ``dataset.json``.

    Attributes:
        schema: Version of this layout.
        modalities: Shapes by modality.
        labels: Names of the labels.
        splits: Samples and shards by split.
        origin: Where the data comes from.
        synthetic: Whether the values are made up.
        non_finite: Values that were NaN or infinite and became 0, by modality.
        checksum: SHA-256 of all the above.
    """

    schema: int
    modalities: dict[str, Modality]
    labels: list[str]
    splits: dict[str, SplitEntry]
    origin: dict[str, Any]
    synthetic: bool
    non_finite: dict[str, int]
    checksum: str = field(default="")

    def digest(self) -> str:
        """SHA-256 of everything but the checksum itself, hexadecimal."""
        content = asdict(self)
        del content["checksum"]
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of ``dataset.json``, its checksum brought up to date."""
        return json.dumps(asdict(self) | {"checksum": self.digest()}, indent=1, allow_nan=False) + "\n"

    @property
    def description(self) -> Description:
        """What users of the data set need of it."""
        splits = {name: split.samples for name, split in self.splits.items()}
        return Description(
            dict(self.modalities), tuple(self.labels), splits, dict(self.origin), self.synthetic, self.checksum
        )

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read a store's ``dataset.json``.

        Raises:
            DataError: There is no store in the folder, or its ``dataset.json`` is not whole,
                of another schema, malformed, or was changed after it was written.
        """
        if not folder.exists():
            raise DataError(f"there is no folder {folder}; give the folder of a data store")
        path = folder / MANIFEST
        if not path.is_file():
            raise DataError(
                f"{folder} is not a data store: it has no {MANIFEST}; "
                "make one with `neurozoo data import FORMAT SOURCE DEST`"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as JSON ({error}); import the data again") from error
        found = content.get("schema") if isinstance(content, dict) else None
        if found != SCHEMA:
            raise DataError(
                f"{path} has schema {found!r}; this neurozoo reads schema {SCHEMA}; import the data again, "
                "or use the version of neurozoo that wrote it"
            )
        try:
            manifest = TypeAdapter(Manifest).validate_json(path.read_bytes())
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise DataError(f"{path} is malformed: {problems}; import the data again") from error
        if manifest.checksum != manifest.digest():
            raise DataError(f"{path} was changed after it was written (its checksum differs); import the data again")
        _check(manifest, path)
        return manifest


def _check(manifest: Manifest, path: Path) -> None:
    """Refuse what the types allow but no writer writes."""
    for name in [*manifest.modalities, *manifest.splits]:
        check_name(name, str(path))
    for name, modality in manifest.modalities.items():
        if modality.dim < 1 or modality.length < 1:
            raise DataError(
                f"{path}: modality {name!r} has the shape {shapes({name: modality})}; import the data again"
            )
    for split, entry in manifest.splits.items():
        for shard in entry.shards:
            # A file name from elsewhere must not lead out of the folder.
            if shard.file != Path(shard.file).name or "\\" in shard.file:
                raise DataError(
                    f"{path}: {shard.file!r} of split {split!r} is not a plain file name; import the data again"
                )
        if entry.samples != sum(shard.samples for shard in entry.shards):
            raise DataError(f"{path}: split {split!r} has not as many samples as its shards; import the data again")


def check_name(name: str, where: str) -> None:
    """Check the name of a modality or split, which becomes part of keys and file names.

    Raises:
        DataError: It has other characters than letters, digits, ``-`` and ``_``.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"{where}: {name!r} cannot be a name; use letters, digits, '-' and '_', a letter or digit first"
        )


def shapes(modalities: Mapping[str, Modality]) -> str:
    """The modalities for people to read, such as ``text [60, 300], audio [60, 74]``."""
    return ", ".join(f"{name} [{m.length}, {m.dim}]" for name, m in modalities.items())
