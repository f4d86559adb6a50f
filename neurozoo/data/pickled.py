"""Reaching into what other people's pickles hold: each step checked, each error with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.foreign import read_foreign
from neurozoo.errors import DataError

__all__ = ["Place", "content_of"]


class Place:
    """A value in a file, and the way to it.

    Args:
        value: The value.
        where: The way, for people to read.
    """

    def __init__(self, value: Any, where: str) -> None:
        self.value, self.where = value, where

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, Mapping) and key in self.value

    def __getitem__(self, key: str) -> Place:
        if not isinstance(self.value, Mapping):
            raise DataError(f"{self.where} is {_kind(self.value)}; a dict with {key!r} is needed")
        if key not in self.value:
            there = ", ".join(map(str, list(self.value)[:12]))
            raise DataError(f"{self.where} has no {key!r}; there are: {there or 'none'}")
        return Place(self.value[key], f"{self.where}: {key!r}")

    def numbers(self, axes: int) -> NDArray[Any]:
        """The value as numbers with so many axes; a list of equal arrays is stacked.

        Raises:
            DataError: It is none, or its rows differ in shape.
        """
        try:
            array = np.asarray(self.value)
        except ValueError as error:
            raise DataError(
                f"{self.where} is ragged: its rows differ in shape; give one array of equal rows"
            ) from error
        if array.dtype.kind not in "fiub" or array.ndim != axes:
            raise DataError(f"{self.where} is {_kind(self.value)}; numbers with {axes} axes are needed")
        return array

    def items(self) -> Sequence[Any]:
        """The value as a sequence.

        Raises:
            DataError: It is none.
        """
        if isinstance(self.value, list | tuple):
            return self.value
        if isinstance(self.value, np.ndarray) and self.value.ndim:
            return self.value.tolist()  # type: ignore[no-any-return]
        raise DataError(f"{self.where} is {_kind(self.value)}; a list is needed")

    def count(self, samples: int, of: str) -> None:
        """Refuse where it has another number of rows.

        Raises:
            DataError: It has.
        """
        if len(self.value) != samples:
            raise DataError(f"{self.where} has {len(self.value)} samples, and {of} has {samples}")


def content_of(path: str | Path) -> Place:
    """A pickle, torch or joblib file, read safely.

    Raises:
        DataError: See :func:`~neurozoo.data.foreign.read_foreign`.
    """
    return Place(read_foreign(Path(path)), str(path))


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {list(value.shape)}"
    return f"a {type(value).__name__}"
