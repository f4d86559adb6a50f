"""One shard: a safetensors file with some samples of a split.

Tensors ``features/NAME`` ``[n, L, D]`` float32, ``mask/NAME`` ``[n, L]`` uint8 and ``labels``
``[n, K]`` uint8; the samples' ids are a JSON list in the file's metadata, under ``ids``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from neurozoo.data.manifest import Modality
from neurozoo.errors import DataError

__all__ = ["Shard", "check_shard", "write_shard"]


def write_shard(
    path: Path,
    features: Mapping[str, NDArray[np.float32]],
    masks: Mapping[str, NDArray[np.uint8]],
    labels: NDArray[np.uint8],
    ids: Sequence[str],
) -> str:
    """Write one shard through to the disk; returns its SHA-256, hexadecimal."""
    tensors: dict[str, NDArray[Any]] = {"labels": labels}
    tensors |= {f"features/{name}": x for name, x in features.items()}
    tensors |= {f"mask/{name}": x for name, x in masks.items()}
    # Not save_file: it makes files that nobody else on the machine may read.
    content = save(tensors, metadata={"ids": json.dumps(list(ids))})
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _open(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"the shard {path} is missing; import the data again, or copy the store anew and whole")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"the shard {path} is truncated or not a safetensors file ({error}); "
            "import the data again, or copy the store anew and whole"
        ) from error


def check_shard(path: Path, samples: int, modalities: Mapping[str, Modality], labels: int) -> None:
    """Check a shard's size, shapes and dtypes by its header alone.

    Raises:
        DataError: The file is missing, truncated, or not what ``dataset.json`` says.
    """
    expected = {"labels": ("U8", [samples, labels])}
    for name, modality in modalities.items():
        expected[f"features/{name}"] = ("F32", [samples, modality.length, modality.dim])
        expected[f"mask/{name}"] = ("U8", [samples, modality.length])
    with _open(path) as file:
        # A header that does not cover the file exactly is refused by safetensors itself.
        found = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        actual = {key: (part.get_dtype(), part.get_shape()) for key, part in found.items()}
        named = "ids" in (file.metadata() or {})
    if not named:
        raise DataError(f"the shard {path} has no sample ids; it was not written by a store; import the data again")
    if actual != expected:
        raise DataError(
            f"the shard {path} holds {actual}, but the store's dataset.json says {expected}; import the data again"
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
