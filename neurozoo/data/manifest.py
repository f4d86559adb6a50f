"""``dataset.json``, the description of a store: read strictly, written in one form.

No torch is needed here, so that data sets can be listed quickly.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from neurozoo.core.shapes import SignalShape
from neurozoo.errors import DataError
from neurozoo.files.json_text import read_json

__all__ = [
    "DTYPES",
    "MANIFEST",
    "SCHEMA",
    "SCHEMA_OF_TIME",
    "WARNINGS",
    "Column",
    "Description",
    "Manifest",
    "ShardEntry",
    "SplitEntry",
    "TaskEntry",
    "check_name",
    "column_of",
    "feature_shape",
    "shapes",
]

MANIFEST = "dataset.json"
WARNINGS = "warnings"
"""Key of ``origin``: what the import found and let pass, a sentence each; not part of the checksum."""
SCHEMA = 2
SCHEMA_OF_TIME = 3
"""Of a store with a signal whose ticks are known, such as events."""
_READ = (1, SCHEMA, SCHEMA_OF_TIME)
_LARGEST = 2**40
_MOST_ADDRESSES = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_STRICT = ConfigDict(extra="forbid", strict=True)

DTYPES = {
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "bool": "U8",
}
"""The dtypes that a store holds, with the names that safetensors has for what is in a shard; bool is packed bits."""


def feature_shape(dim: int, length: int) -> SignalShape:
    """Return the shape of a sequence of D features, ``[L, D]`` float32, with padding up to L."""
    return SignalShape((dim,), length)


@checked(frozen=True, config=_STRICT)
class Column:
    """How a shard holds one signal, or the target.

    Attributes:
        shape: Axes of one position; of the whole target if there is one per sample.
        length: Largest number of positions of a sample; 1 for a target of the whole sample.
        dtype: Name of the dtype that a batch holds. ``bool`` is stored as packed bits.
        ragged: Whether samples are stored one after another, each in its own length, with offsets; otherwise all
            have ``length`` positions.
        masked: Whether a mask says which of the stored positions are valid.
        tick: Seconds from one position to the next, or of one unit of the time of events; None if unknown.
        sensor: Axes of the addresses of events; None if it is not events.
        span: Of events: ticks that hold every sample, the largest time plus 1.
    """

    shape: tuple[int, ...]
    length: int
    dtype: str
    ragged: bool
    masked: bool
    tick: float | None = None
    sensor: tuple[int, ...] | None = None
    span: int | None = None

    @property
    def seen(self) -> SignalShape:
        """Its shape in a batch."""
        ragged = self.ragged or self.masked
        return SignalShape(self.shape, self.length, self.dtype, ragged, self.tick, self.sensor, self.span)

    @property
    def timed(self) -> bool:
        """Whether it has fields that schema 2 lacks."""
        return self.tick is not None or self.sensor is not None

    @property
    def dim(self) -> int:
        """Numbers at one position."""
        return self.seen.dim

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Axes of one position in a shard: those of the signal, or the bytes of its bits."""
        return ((self.dim + 7) // 8,) if self.dtype == "bool" else self.shape

    def check(self, where: str) -> None:
        """Raise a :class:`DataError`, which names the column by ``where``, if no store holds such values."""
        sizes = (self.length, *self.shape)
        if self.dtype not in DTYPES or min(sizes) < 1 or math.prod(sizes) > _LARGEST:
            raise DataError(
                f"{where} is {self.dtype} {self.seen}; give axes and a length of 1 or more, {_LARGEST:,} values a "
                f"sample at most, and one of {', '.join(DTYPES)}"
            )
        if self.tick is not None and not 0 < self.tick < math.inf:
            raise DataError(f"{where} has ticks of {self.tick} s; give the seconds from one position to the next")
        if self.sensor is None:
            return
        form = (self.shape, self.dtype, self.ragged, self.masked) == ((2,), "int32", True, False)
        addresses = math.prod(self.sensor) if min(self.sensor, default=0) >= 1 else 0
        if not form or self.tick is None or not 1 <= addresses <= _MOST_ADDRESSES:
            raise DataError(
                f"{where} is events of the sensor {list(self.sensor)} as {self.dtype} {list(self.shape)} with ticks of "
                f"{self.tick} s; declare it by SignalShape.events(sensor, length, tick), with 1 to {_MOST_ADDRESSES:,} "
                "addresses and without a mask"
            )


def column_of(shape: SignalShape, where: str, *, ragged: bool = False, masked: bool = False) -> Column:
    """Declare how values of a shape are stored; raises as :meth:`Column.check`."""
    try:
        sensor = None if shape.sensor is None else tuple(shape.sensor)
        column = Column(tuple(shape.shape), shape.length, shape.dtype, ragged, masked, shape.tick, sensor)
    except (ValidationError, TypeError) as error:
        raise DataError(f"{where} is {shape!r}; give whole numbers and the name of a dtype") from error
    column.check(where)
    return column


@checked(frozen=True, config=_STRICT)
class TaskEntry:
    """The task of the targets.

    Attributes:
        name: ``multilabel``, ``multiclass``, ``regression``, or a plugin's.
        outputs: Names of the K labels, classes or quantities, in order.
        per_step: Whether each position has a target, instead of each sample.
    """

    name: str
    outputs: tuple[str, ...]
    per_step: bool


@dataclass(frozen=True)
class Description:
    """A data set without its values.

    Attributes:
        signals: Shapes by signal, in order.
        task: The task of the targets.
        splits: Number of samples by split.
        origin: Where it comes from: format, source, licence, citation, options.
        synthetic: Whether the values are made up.
        checksum: SHA-256 over the shards' checksums and everything else in ``dataset.json``.
        name: Of the store: what it is registered as, else the name of its folder. Runs, packs and reports call the
            data by it, whatever the recipe calls it. Not compared.
    """

    signals: dict[str, SignalShape]
    task: TaskEntry
    splits: dict[str, int]
    origin: dict[str, Any]
    synthetic: bool
    checksum: str
    name: str = field(default="", compare=False)


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
class _Modality1:
    dim: int
    length: int


@checked(frozen=True, config=_STRICT)
class _Manifest1:
    """``dataset.json`` of schema 1: padded float32 features with masks, and labels of 0 and 1."""

    schema: int
    modalities: dict[str, _Modality1]
    labels: list[str]
    splits: dict[str, SplitEntry]
    origin: dict[str, Any]
    synthetic: bool
    non_finite: dict[str, int]
    checksum: str = ""


@checked(frozen=True, config=_STRICT)
class Manifest:
    """The content of ``dataset.json``.

    Attributes:
        schema: Version of the layout that the file has.
        signals: How each signal is stored.
        task: The task of the targets.
        target: How they are stored.
        splits: Samples and shards by split.
        origin: Where the data comes from.
        synthetic: Whether the values are made up.
        non_finite: Values that were NaN or infinite and became 0, by signal.
        checksum: SHA-256 of all the above.
    """

    schema: int
    signals: dict[str, Column]
    task: TaskEntry
    target: Column
    splits: dict[str, SplitEntry]
    origin: dict[str, Any]
    synthetic: bool
    non_finite: dict[str, int]
    checksum: str = field(default="")

    def digest(self) -> str:
        """Return the SHA-256 of everything but the checksum itself, hexadecimal.

        What schema 1 could hold is described in schema 1, since its shards have the same bytes in both schemas: runs
        made on such data then find it unchanged when it is imported again.
        """
        if self._fits_schema_1:
            content = {
                "schema": 1,
                "modalities": {name: {"dim": of.dim, "length": of.length} for name, of in self.signals.items()},
                "labels": list(self.task.outputs),
                **{key: value for key, value in asdict(self).items() if key in _SHARED},
            }
        else:
            content = self._content
            del content["checksum"]
        # What an import found follows from the rest; data imported before it was looked for is the same data.
        content["origin"] = {key: value for key, value in self.origin.items() if key != WARNINGS}
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()

    @property
    def _content(self) -> dict[str, Any]:
        """Everything as plain values; what a column does not have is left out, as schema 2 does not know it."""
        content = asdict(self)
        for column in (*content["signals"].values(), content["target"]):
            for name in ("tick", "sensor", "span"):
                if column[name] is None:
                    del column[name]
        return content

    @property
    def _fits_schema_1(self) -> bool:
        padded = all(
            of.dtype == "float32" and len(of.shape) == 1 and of.masked and not of.ragged and not of.timed
            for of in self.signals.values()
        )
        labels = Column((len(self.task.outputs),), 1, "uint8", False, False)
        return padded and self.task.name == "multilabel" and not self.task.per_step and self.target == labels

    def to_json(self) -> str:
        """Return the text of ``dataset.json``, with the checksum of its content."""
        return json.dumps(self._content | {"checksum": self.digest()}, indent=1, allow_nan=False) + "\n"

    @property
    def description(self) -> Description:
        """The same without its files."""
        splits = {name: split.samples for name, split in self.splits.items()}
        signals = {name: column.seen for name, column in self.signals.items()}
        return Description(signals, self.task, splits, dict(self.origin), self.synthetic, self.checksum)

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read a store's ``dataset.json``, of this schema or an older one.

        Raises:
            DataError: There is no store in the folder, or its ``dataset.json`` is not whole,
                of another schema, malformed, or was changed after it was written.
        """
        path = folder / MANIFEST
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            if not folder.exists():
                raise DataError(f"there is no folder {folder}; give the folder of a data store") from error
            raise DataError(
                f"{folder} is not a data store: it has no {MANIFEST}; "
                "make one with `neurozoo data import FORMAT SOURCE DEST`"
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{folder} cannot be read ({reason}); give the folder of a data store") from error
        try:
            content = read_json(path)
        except DataError as error:
            raise DataError(f"{error}; import the data again") from error
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema not in _READ or isinstance(schema, bool):
            raise DataError(
                f"{path} has schema {schema!r}; this neurozoo reads schemas {', '.join(map(str, _READ))}; import the "
                "data again, or use the version of neurozoo that wrote it"
            )
        try:
            text = json.dumps(content)
            if schema == 1:
                manifest = _upgraded(TypeAdapter(_Manifest1).validate_json(text))
            else:
                manifest = TypeAdapter(Manifest).validate_json(text)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise DataError(f"{path} is malformed: {problems}; import the data again") from error
        if manifest.checksum != manifest.digest():
            raise DataError(f"{path} was changed after it was written (its checksum differs); import the data again")
        _check(manifest, path)
        return manifest


_SHARED = ("splits", "origin", "synthetic", "non_finite")


def _upgraded(old: _Manifest1) -> Manifest:
    """Express it in schema 2."""
    return Manifest(
        1,
        {name: Column((of.dim,), of.length, "float32", False, True) for name, of in old.modalities.items()},
        TaskEntry("multilabel", tuple(old.labels), False),
        Column((len(old.labels),), 1, "uint8", False, False),
        old.splits,
        old.origin,
        old.synthetic,
        old.non_finite,
        old.checksum,
    )


def _check(manifest: Manifest, path: Path) -> None:
    """Refuse what the types allow and no writer writes."""
    for name in [*manifest.signals, *manifest.splits]:
        check_name(name, str(path))
    for name, column in [*manifest.signals.items(), ("target", manifest.target)]:
        column.check(f"{path}: {name}")
        if column.sensor is not None and not 1 <= (column.span or 0) <= 2**31:
            raise DataError(f"{path}: {name} has the span {column.span}, and no events have; import the data again")
    for split, entry in manifest.splits.items():
        for shard in entry.shards:
            # A file name from elsewhere must not lead out of the folder.
            if shard.file != Path(shard.file).name or "\\" in shard.file:
                raise DataError(
                    f"{path}: {shard.file!r} of split {split!r} is not a plain file name; import the data again"
                )
        if not entry.shards or min(shard.samples for shard in entry.shards) < 1:
            raise DataError(f"{path}: split {split!r} has a shard without samples; import the data again")
        if entry.samples != sum(shard.samples for shard in entry.shards):
            raise DataError(f"{path}: split {split!r} has not as many samples as its shards; import the data again")


def check_name(name: str, where: str) -> None:
    """Raise a :class:`DataError` if a signal or split cannot have the name, which becomes part of keys and files."""
    if not _NAME.fullmatch(name):
        raise DataError(
            f"{where}: {name!r} cannot be a name; use letters, digits, '-' and '_', a letter or digit first"
        )


def shapes(signals: Mapping[str, SignalShape]) -> str:
    """Format signals, such as ``text [60, 300], audio [60, 74]``."""
    return ", ".join(f"{name} {shape}" for name, shape in signals.items())
