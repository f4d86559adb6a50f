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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from neurozoo.data.manifest import DTYPES, Column, Manifest
from neurozoo.errors import DataError

__all__ = ["TARGET", "Keys", "Shard", "check_shard", "signal_keys", "unpacked", "write_shard", "write_synced"]


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
    write_synced(path, content)
    return hashlib.sha256(content).hexdigest()


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and flush it to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _open(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"the shard {path} is missing; import the data again, or copy the whole store again")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"the shard {path} is truncated or not a safetensors file ({error}); "
            "import the data again, or copy the whole store again"
        ) from error


def check_shard(path: Path, samples: int, manifest: Manifest) -> None:
    """Check a shard's size, shapes and dtypes by its header, and the offsets of ragged signals.

    Raises:
        DataError: The file is missing, truncated, or not what ``dataset.json`` says.
    """
    columns = [(signal_keys(name), column) for name, column in manifest.signals.items()]
    with _open(path) as file:
        # A header that does not cover the file exactly is refused by safetensors itself.
        parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        actual = {key: (part.get_dtype(), part.get_shape()) for key, part in parts.items()}
        named = "ids" in (file.metadata() or {})
        expected: dict[str, tuple[str, list[int]]] = {}
        if manifest.task.per_step:
            columns.append((TARGET, manifest.target))
        else:
            expected[TARGET.values] = (DTYPES[manifest.target.dtype], [samples, *manifest.target.stored_shape])
        for keys, column in columns:
            expected |= _expected(keys, column, samples, actual)
        if not named:
            raise DataError(f"the shard {path} has no sample ids; it was not written by a store; import the data again")
        if actual != expected:
            raise DataError(
                f"the shard {path} holds {actual}, but the store's dataset.json says {expected}; import the data again"
            )
        for keys, column in columns:
            if column.ragged:
                _check_offsets(path, keys, column, file.get_tensor(keys.offsets), actual[keys.values][1][0])


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


def _check_offsets(path: Path, keys: Keys, column: Column, offsets: Tensor, rows: int) -> None:
    lengths = offsets.diff()
    if offsets[0] != 0 or offsets[-1] != rows or bool((lengths < 0).any()) or bool((lengths > column.length).any()):
        raise DataError(
            f"the shard {path}: {keys.offsets} does not divide the {rows} rows of {keys.values} into samples of 0 to "
            f"{column.length}; import the data again, or copy the whole store again"
        )


class Shard:
    """The samples of one memory-mapped file: opening reads no values, indexing reads the indexed rows.

    Args:
        path: A safetensors file of a store.

    Raises:
        DataError: The file is missing or truncated.
    """

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        self._tensors: dict[str, Tensor] = {}

    def tensor(self, key: str) -> Tensor:
        """Return a tensor that aliases the file: index it, do not write to it."""
        if key not in self._tensors:
            self._tensors[key] = self._file.get_tensor(key)
        return self._tensors[key]

    @property
    def ids(self) -> list[str]:
        """The samples' ids."""
        return [str(name) for name in json.loads(self._file.metadata()["ids"])]


def unpacked(column: Column, stored: Tensor) -> Tensor:
    """Return stored values as a batch holds them: bits ``[..., bytes]`` become bool ``[..., *shape]``."""
    if column.dtype != "bool":
        return stored
    bits = torch.from_numpy(np.unpackbits(stored.numpy(), axis=-1, count=column.dim))
    return bits.view(torch.bool).reshape(*stored.shape[:-1], *column.shape)
