"""A ``.csd`` file: HDF5 with the features of each video and their intervals in seconds.

Source: CMU-MultimodalSDK, ``mmsdk/mmdatasdk/computational_sequence``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.untrusted.nested import Place
from neurozoo.data.untrusted.process import read_hdf5
from neurozoo.errors import DataError
from neurozoo.files.json_text import parse_json
from neurozoo.files.text import as_texts

__all__ = ["Csd"]


class Csd:
    """A computational sequence: ``/<root>/data/<video>/{features [n, d], intervals [n, 2]}``.

    Attributes:
        path: The file.
        videos: Their ids.
        dim: Features d.
        names: Names of the d columns; None if the file does not name them.

    Raises:
        DataError: The file is not a whole HDF5 file of that form.
    """

    def __init__(self, path: Path) -> None:
        self.path, content = path, read_hdf5(path)
        roots = list(content)
        if len(roots) != 1 or "data" not in Place(content[roots[0]], ""):
            raise DataError(
                f"{path}: no computational sequence; it holds {', '.join(roots[:5]) or 'nothing'}, and a .csd "
                "holds one root with `data` in it"
            )
        root = Place(content[roots[0]], str(path))
        self._data = root["data"].value
        if not isinstance(self._data, dict) or not self._data:
            raise DataError(f"{path}: {roots[0]!r} holds no video")
        self.videos = tuple(as_texts(list(self._data), f"{path}: the videos"))
        shape = np.shape(root["data"][self.videos[0]]["features"].value)
        self.dim = shape[1] if len(shape) > 1 else 1
        self.names = _column_names(root, self.dim)

    def __contains__(self, video: str) -> bool:
        return video in self._data

    def sequence(self, video: str, *, ordered: bool = True) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return a video's intervals ``[n, 2]`` in seconds and features ``[n, d]``.

        They are sorted by start, or not ``ordered`` as in the file. Features that are not finite as float32 are NaN or
        infinity.

        Raises:
            DataError: Intervals or features are missing or malformed.
        """
        where = f"{self.path}: video {video!r}"
        place = Place(self._data[video], where)
        intervals, features = np.asarray(place["intervals"].value), np.asarray(place["features"].value)
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

    def texts(self, video: str) -> list[str]:
        """Return a video's features ``[n]`` or ``[n, 1]`` of text, sorted by their start as by :meth:`sequence`.

        Raises:
            DataError: They are not text.
        """
        where = f"{self.path}: video {video!r}"
        place = Place(self._data[video], where)
        starts = np.asarray(place["intervals"].value)[:, :1].reshape(-1).clip(min=0)
        words = as_texts(np.asarray(place["features"].value).reshape(-1), where)
        if len(starts) != len(words):
            raise DataError(f"{where}: {len(words)} words for {len(starts)} intervals; give one each")
        return [words[i] for i in np.argsort(starts, kind="stable")]


def _column_names(root: Place, dim: int) -> tuple[str, ...] | None:
    """Return the metadata's ``dimension names``, a JSON text; None if it is missing, malformed or of other columns."""
    try:
        place = root["metadata"]["dimension names"]
        names = as_texts(parse_json(np.ravel(np.asarray(place.value))[0], place.where), place.where)
    except (DataError, IndexError, TypeError, AttributeError):
        return None
    return tuple(names) if len(names) == dim else None
