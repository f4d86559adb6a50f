"""A ``.csd`` file: HDF5 with the features of each video and their intervals in seconds.

Source: CMU-MultimodalSDK, ``mmsdk/mmdatasdk/computational_sequence``.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.untrusted.hdf5 import open_hdf5, read_dataset
from neurozoo.errors import DataError

__all__ = ["Csd"]


class Csd:
    """An open ``.csd`` file; a context manager.

    Args:
        path: The file: ``/<root>/data/<video>/{features [n, d], intervals [n, 2]}``.

    Raises:
        DataError: It is not a whole HDF5 file of that form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_hdf5(path)
        try:
            roots = list(self._file)
            if len(roots) != 1 or "data" not in self._file[roots[0]]:
                raise DataError(
                    f"{path}: no computational sequence; it holds {', '.join(roots[:5]) or 'nothing'}, and a .csd "
                    "holds one root with `data` in it"
                )
            self.root: str = roots[0]
            self._data = self._file[self.root]["data"]
            self.videos: tuple[str, ...] = tuple(self._data)
            if not self.videos:
                raise DataError(f"{path}: {self.root!r} holds no video")
            self.dim = self._dim()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Csd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, video: str) -> bool:
        return video in self._data

    def sequence(self, video: str, *, ordered: bool = True) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return a video's intervals ``[n, 2]`` in seconds and features ``[n, d]``.

        Features that are not finite as float32 are returned as NaN or infinity.

        Args:
            video: Its id.
            ordered: Whether to sort by start; if not, the file's order is kept.

        Raises:
            DataError: Intervals or features are missing or malformed.
        """
        group = self._data[video]
        where = f"{self.path}: video {video!r}"
        try:
            intervals, features = read_dataset(group, "intervals"), read_dataset(group, "features")
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        if features.ndim == 1:
            features = features[:, None]
        if intervals.ndim != 2 or intervals.shape[1] != 2 or intervals.dtype.kind not in "fiu":
            raise DataError(f"{where}: intervals are {intervals.dtype} {list(intervals.shape)}; give seconds [n, 2]")
        if features.dtype.kind not in "fiu" or features.shape != (len(intervals), self.dim):
            raise DataError(
                f"{where}: features are {features.dtype} {list(features.shape)}; "
                f"give numbers [{len(intervals)}, {self.dim}], as of its intervals and the other videos"
            )
        seconds = intervals.astype(np.float64)
        if not np.isfinite(seconds).all() or (seconds[:, 1] < seconds[:, 0]).any():
            raise DataError(f"{where}: an interval is not finite, or ends before it starts")
        # A segment may start slightly before the recording.
        seconds = seconds.clip(min=0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            single = features.astype(np.float32, copy=False)
        if not ordered:
            return seconds, single
        order = np.argsort(seconds[:, 0], kind="stable")
        return seconds[order], single[order]

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the columns; None if the file does not name them."""
        names = self._metadata("dimension names")
        fits = isinstance(names, list) and len(names) == self.dim and all(isinstance(name, str) for name in names)
        return tuple(names) if fits else None

    def _metadata(self, key: str) -> Any:
        """Return a metadata value, stored as one JSON text; None if it is missing or malformed."""
        group = self._file[self.root].get("metadata")
        if group is None or key not in group:
            return None
        try:
            return json.loads(np.ravel(read_dataset(group, key, limit_bytes=2**20))[0])
        except (DataError, ValueError, IndexError, TypeError):
            return None

    def _dim(self) -> int:
        first = self._data[self.videos[0]].get("features")
        shape = getattr(first, "shape", None)
        if not shape:
            raise DataError(f"{self.path}: video {self.videos[0]!r} has no features")
        return int(shape[1]) if len(shape) > 1 else 1
