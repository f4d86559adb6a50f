"""Access values of untrusted pickles step by step; each step is checked, each error names its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.untrusted.process import read_untrusted
from neurozoo.errors import DataError

__all__ = ["Place", "content_of"]


class Place:
    """A value in a file, and the path to it for error messages."""

    def __init__(self, value: Any, where: str) -> None:
        self.value, self.where = value, where

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, Mapping) and key in self.value

    def __getitem__(self, key: str) -> Place:
        if not isinstance(self.value, Mapping):
            raise DataError(f"{self.where} is {_kind(self.value)}; a dict with {key!r} is needed")
        if key not in self.value:
            listed = ", ".join(map(str, list(self.value)[:12]))
            raise DataError(f"{self.where} has no {key!r}; there are: {listed or 'none'}")
        return Place(self.value[key], f"{self.where}: {key!r}")

    def numbers(self, axes: int | None = None) -> NDArray[Any]:
        """Return the value as numbers, with that many axes if given; a list of equal arrays is stacked.

        Raises:
            DataError: It is not numbers, or its rows differ in shape.
        """
        try:
            array = np.asarray(self.value)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"{self.where} is ragged: its rows differ in shape; give one array of equal rows"
            ) from error
        if array.dtype.kind not in "fiub" or axes not in (None, array.ndim):
            wanted = "numbers are needed" if axes is None else f"numbers with {axes} axes are needed"
            raise DataError(f"{self.where} is {_kind(self.value)}; {wanted}")
        return array

    def items(self) -> Sequence[Any]:
        """Return the value as a sequence.

        Raises:
            DataError: It is not a sequence.
        """
        if isinstance(self.value, list | tuple):
            return self.value
        if isinstance(self.value, np.ndarray) and self.value.ndim:
            return self.value.tolist()  # type: ignore[no-any-return]
        raise DataError(f"{self.where} is {_kind(self.value)}; a list is needed")

    def count(self, samples: int, of: str) -> None:
        """Check the number of rows.

        Raises:
            DataError: It has no rows, or not ``samples``; ``of`` names what has that number.
        """
        if not isinstance(self.value, list | tuple) and not (isinstance(self.value, np.ndarray) and self.value.ndim):
            raise DataError(f"{self.where} is {_kind(self.value)}; a list of {samples} is needed, as {of} has")
        if len(self.value) != samples:
            raise DataError(f"{self.where} has {len(self.value)} samples, and {of} has {samples}")


def content_of(path: str | Path) -> Place:
    """Read a pickle, torch or joblib file by :func:`~neurozoo.data.untrusted.process.read_untrusted`."""
    return Place(read_untrusted(Path(path)), str(path))


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {list(value.shape)}"
    return f"a {type(value).__name__}"
