"""One shard: a safetensors file with some samples of a split.

Of each signal, by :class:`~neurozoo.data.manifest.Column`:

- ``features/NAME``: ``[n, L, *shape]``; where it is ragged ``[R, *shape]``, the rows of all samples one after another.
  Of bits, packed, most significant first, the last axis is the bytes of one position and takes the place of ``shape``.
- ``offsets/NAME`` ``[n + 1]`` int64, where it is ragged: sample i has the rows from ``offsets[i]`` on.
- ``mask/NAME`` uint8, ``[n, L]`` or ``[R]``, where it is masked.

The targets are ``labels``, ``[n, *shape]``; per step they are stored as a signal is, with ``labels/offsets`` and
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

from neurozoo.data.manifest import Column, Manifest
from neurozoo.errors import DataError

__all__ = ["TARGET", "Keys", "Shard", "check_shard", "signal_keys", "unpacked", "write_shard"]


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
    """Write one shard through to the disk; returns its SHA-256, hexadecimal."""
    # Not save_file: it makes files that nobody else on the machine may read.
    content = save(dict(tensors), metadata={"ids": json.dumps(list(ids))})
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


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
    """Check a shard's size, shapes and dtypes by its header alone; of ragged signals the offsets are read too.

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
        for keys, column in columns:
            expected |= _expected(keys, column, samples, actual)
        if manifest.task.per_step:
            columns.append((TARGET, manifest.target))
            expected |= _expected(TARGET, manifest.target, samples, actual)
        else:
            expected[TARGET.values] = (manifest.target.key_dtype, [samples, *manifest.target.stored_shape])
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
    """Dtypes and shapes by key; how many rows a ragged column has is taken from the shard itself."""
    lead = [samples, column.length]
    expected = {}
    if column.ragged:
        lead = (actual.get(keys.values) or ("", [0]))[1][:1]
        expected[keys.offsets] = ("I64", [samples + 1])
    expected[keys.values] = (column.key_dtype, [*lead, *column.stored_shape])
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
    """The samples of one file, memory-mapped: opening reads nothing, gathering reads the rows asked for.

    Args:
        path: A safetensors file of a store.

    Raises:
        DataError: The file is missing or truncated.
    """

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        self._tensors: dict[str, Tensor] = {}

    def tensor(self, key: str) -> Tensor:
        """A tensor that aliases the file: index it, do not write to it."""
        if key not in self._tensors:
            self._tensors[key] = self._file.get_tensor(key)
        return self._tensors[key]

    @property
    def ids(self) -> list[str]:
        """The samples' ids."""
        return [str(name) for name in json.loads(self._file.metadata()["ids"])]


def unpacked(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The bool values ``[..., *shape]`` of bits ``[..., bytes]``."""
    size = int(np.prod(shape, dtype=np.int64))
    bits = torch.from_numpy(np.unpackbits(packed.numpy(), axis=-1, count=size))
    return bits.view(torch.bool).reshape(*packed.shape[:-1], *shape)
