"""One shard: a safetensors file with some samples of a split.

Of each signal, by :class:`~neurozoo.data.manifest.Column`:

- ``features/NAME``: ``[n, L, *shape]``; if ragged ``[R, *shape]``, the rows of all samples one after another. Bits are
  packed, most significant first: the bytes of one position take the place of ``shape``.
- ``offsets/NAME`` ``[n + 1]`` int64, if ragged: sample i has the rows ``offsets[i]`` to ``offsets[i + 1] - 1``.
- ``mask/NAME`` uint8, ``[n, L]`` or ``[R]``, if masked.

Targets are ``labels``, ``[n, *shape]``; per step they are stored like a signal, with ``labels/offsets`` and
``labels/mask``. The samples' ids are a JSON list in the file's metadata, under ``ids``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save
from torch import Tensor

from neurozoo.data.checks import check_targets
from neurozoo.data.manifest import DTYPES, MANIFEST, Column, Manifest
from neurozoo.errors import DataError
from neurozoo.files.json_text import parse_json
from neurozoo.files.opening import open_regular
from neurozoo.files.text import as_text
from neurozoo.files.writing import write_whole

__all__ = [
    "TARGET",
    "Keys",
    "Shard",
    "read_back",
    "signal_keys",
    "unpacked",
    "write_shard",
]


class Keys(NamedTuple):
    """Names of the tensors of a column."""

    values: str
    offsets: str
    mask: str


TARGET = Keys("labels", "labels/offsets", "labels/mask")


def signal_keys(name: str) -> Keys:
    """Names of the tensors of a signal."""
    return Keys(f"features/{name}", f"offsets/{name}", f"mask/{name}")


def write_shard(path: Path, tensors: Mapping[str, NDArray[Any]], ids: Sequence[str]) -> str:
    """Write one shard and return its SHA-256, hexadecimal."""
    # Not save_file, whose files only the owner may read.
    content = save(dict(tensors), metadata={"ids": json.dumps(list(ids))})
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()


def _open(path: Path) -> Any:
    if not os.path.lexists(path):
        raise DataError(f"the shard {path} is missing; import the data again, or copy the whole store again")
    # A pipe would never end. Links are followed: data is often kept on another disk, and has a checksum.
    open_regular(path).close()
    try:
        return safe_open(path, framework="pt")
    except Exception as error:  # what a library raises for a stranger's bytes is not all listed
        raise DataError(
            f"the shard {path} is truncated or not a safetensors file ({error}); "
            "import the data again, or copy the whole store again"
        ) from error


def check_shard(path: Path, samples: int, manifest: Manifest) -> dict[str, int]:
    """Check a shard's size, shapes and dtypes by its header, and the offsets of ragged signals.

    Returns:
        Positions of the longest sample, by key of the ragged columns.

    Raises:
        DataError: The file is missing, truncated, or not what ``dataset.json`` says.
    """
    columns = [(signal_keys(name), column) for name, column in manifest.signals.items()]
    with _open(path) as file:
        # A header that does not cover the file exactly is refused by safetensors itself.
        parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        actual = {key: (part.get_dtype(), part.get_shape()) for key, part in parts.items()}
        metadata = file.metadata() or {}
        expected: dict[str, tuple[str, list[int]]] = {}
        if manifest.task.per_step:
            columns.append((TARGET, manifest.target))
        else:
            expected[TARGET.values] = (DTYPES[manifest.target.dtype], [samples, *manifest.target.stored_shape])
        for keys, column in columns:
            expected |= _expected(keys, column, samples, actual)
        if "ids" not in metadata:
            raise DataError(f"the shard {path} has no sample ids; it was not written by a store; import the data again")
        _check_ids(path, parse_json(metadata["ids"], f"the ids of the shard {path}"), samples)
        if actual != expected:
            raise DataError(
                f"the shard {path} holds {actual}, but the store's dataset.json says {expected}; import the data again"
            )
        return {
            keys.values: _longest(path, keys, column, file.get_tensor(keys.offsets), actual[keys.values][1][0])
            for keys, column in columns
            if column.ragged
        }


def _check_ids(path: Path, ids: Any, samples: int) -> None:
    if not isinstance(ids, list) or len(ids) != samples:
        found = f"{len(ids)} ids" if isinstance(ids, list) else f"ids of the type {type(ids).__name__}"
        raise DataError(
            f"the shard {path} has {found} for {samples} samples, where a list with a text for each is due; "
            "import the data again"
        )
    for sample, name in enumerate(ids):
        if not isinstance(name, str):
            raise DataError(
                f"the shard {path}, sample {sample}: its id is {name!r:.60}, and no text; import the data again"
            )
    as_text("".join(["ids", *ids]), f"the ids of the shard {path}")  # refuses halves of character pairs


def _expected(
    keys: Keys, column: Column, samples: int, actual: Mapping[str, tuple[str, list[int]]]
) -> dict[str, tuple[str, list[int]]]:
    """Return dtypes and shapes by key; the number of rows of a ragged column is the shard's own."""
    lead = [samples, column.length]
    expected = {}
    if column.ragged:
        lead = (actual.get(keys.values) or ("", [0]))[1][:1]
        expected[keys.offsets] = ("I64", [samples + 1])
    expected[keys.values] = (DTYPES[column.dtype], [*lead, *column.stored_shape])
    if column.masked:
        expected[keys.mask] = ("U8", lead)
    return expected


def _longest(path: Path, keys: Keys, column: Column, offsets: Tensor, rows: int) -> int:
    lengths = offsets.diff()
    longest = int(lengths.max())
    if offsets[0] != 0 or offsets[-1] != rows or bool((lengths < 0).any()) or longest > column.length:
        raise DataError(
            f"the shard {path}: {keys.offsets} does not divide the {rows} rows of {keys.values} into samples of 0 to "
            f"{column.length}; import the data again, or copy the whole store again"
        )
    return longest


def read_back(folder: Path) -> Manifest:
    """Read a store's ``dataset.json`` and check all shards by their headers.

    Raises:
        DataError: It is no whole store.
    """
    manifest, longest = Manifest.read(folder), Counter[str]()
    for entry in manifest.splits.values():
        for shard in entry.shards:
            longest |= Counter(check_shard(folder / shard.file, shard.samples, manifest))
    columns = [(signal_keys(name), column) for name, column in manifest.signals.items()]
    for keys, column in [*columns, (TARGET, manifest.target)]:
        if column.ragged and column.length != max(1, longest[keys.values]):
            raise DataError(
                f"{folder / MANIFEST}: {keys.values} has the length {column.length}, and its longest sample "
                f"{longest[keys.values]}; import the data again"
            )
    return manifest


class Shard:
    """The samples of one memory-mapped file of a store: opening reads no values, indexing reads the indexed rows.

    Raises:
        DataError: The file is missing or truncated.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, _open(path)
        self._tensors: dict[str, Tensor] = {}

    def tensor(self, key: str) -> Tensor:
        """Return a tensor that aliases the file: index it, do not write to it."""
        if key not in self._tensors:
            self._tensors[key] = self._file.get_tensor(key)
        return self._tensors[key]

    @property
    def ids(self) -> list[str]:
        """The samples' ids; :func:`check_shard` has checked them."""
        ids: list[str] = json.loads(self._file.metadata()["ids"])
        return ids

    def check(self, manifest: Manifest) -> None:
        """Check masks and targets, which the checksums of a stranger's store say nothing about.

        Raises:
            DataError: A value is not one that :class:`StoreWriter` writes; names its sample.
        """
        columns = [(signal_keys(name), column) for name, column in manifest.signals.items()]
        for keys, column in [*columns, (TARGET, manifest.target)]:
            if column.masked and bool((wrong := self.tensor(keys.mask) > 1).any()):
                place = wrong.nonzero()[0]
                value = int(self.tensor(keys.mask)[tuple(place)])
                where = self._sample(keys, column, int(place[0]))
                raise DataError(f"{where}: {keys.mask} has the value {value}; masks are 0 or 1; import the data again")
        target, mask = manifest.target, None
        values = self.tensor(TARGET.values).numpy()
        if target.masked:
            mask = self.tensor(TARGET.mask).bool().numpy()
            mask = np.broadcast_to(mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim)), values.shape)
        check_targets(lambda row: self._sample(TARGET, target, row), manifest.task, values, mask)

    def _sample(self, keys: Keys, column: Column, row: int) -> str:
        if column.ragged:
            row = int(torch.searchsorted(self.tensor(keys.offsets), row, right=True)) - 1
        return f"the shard {self._path}, sample {row} ({self.ids[row]!r})"


def unpacked(column: Column, stored: Tensor) -> Tensor:
    """Return stored values as a batch holds them: bits ``[..., bytes]`` become bool ``[..., *shape]``."""
    if column.dtype != "bool":
        return stored
    bits = torch.from_numpy(np.unpackbits(stored.numpy(), axis=-1, count=column.dim))
    return bits.view(torch.bool).reshape(*stored.shape[:-1], *column.shape)
