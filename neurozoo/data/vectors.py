"""Vectors by name, such as word vectors of labels, in a safetensors file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from neurozoo.errors import DataError, suggestion
from neurozoo.files.opening import open_regular

__all__ = ["read_vectors"]


def read_vectors(path: Path, names: Sequence[str], size: int) -> Tensor:
    """Return the vectors of some names, ``[K, size]`` float32; no other tensor of the file is read.

    Args:
        path: A safetensors file with a tensor ``[size]`` for each name.
        names: The K names.
        size: Numbers of a vector.

    Raises:
        DataError: The file is missing or damaged, lacks a name, or holds something else under it.
    """
    if not os.path.lexists(path):
        raise DataError(f"the file of vectors {path} is missing; give a safetensors file with a vector for each label")
    open_regular(path).close()  # safe_open takes a name, and would wait on a pipe
    try:
        file: Any = safe_open(path, framework="pt")
    except Exception as error:  # what a library raises for a stranger's bytes is not all listed
        raise DataError(f"{path} is truncated or not a safetensors file ({error}); write it again") from error
    with file:
        there = list(file.keys())
        found = torch.empty(len(names), size)
        for row, name in enumerate(names):
            if name not in there:
                raise DataError(f"{path} has no vector {name!r}; add one{suggestion(name, there)}")
            part = file.get_slice(name)
            shape = part.get_shape()
            if shape != [size]:
                raise DataError(
                    f"{path}: the vector {name!r} is {shape}, and [{size}] was expected; set `size` of the label head, "
                    "or write vectors of one length"
                )
            found[row] = part[:].float()
    if not bool(torch.isfinite(found).all()):
        raise DataError(f"{path} holds numbers that are not finite; write it again")
    return found
