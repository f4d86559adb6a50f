"""Frames to words, and words to segments.

Source: CMU-MultimodalSDK's usual preparation: each sequence is collapsed to the words by the mean of
the frames that overlap a word's interval, and the words are cut by the label segments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["fitted", "overlapping", "stacked", "word_means"]

Seconds = NDArray[np.float64]
"""Intervals ``[n, 2]``, start and end, in the order of their starts."""


def word_means(frames: Seconds, features: NDArray[np.float32], words: Seconds) -> NDArray[np.float32]:
    """The mean of the frames that overlap each word; zeros where none does.

    A frame overlaps a word where it starts before the word ends and ends after it starts.

    Args:
        frames: ``[n, 2]``, in seconds.
        features: ``[n, d]``, finite.
        words: ``[w, 2]``, in seconds.

    Returns:
        ``[w, d]``.
    """
    means = np.zeros((len(words), features.shape[1]), np.float32)
    if not len(frames) or not len(words):
        return means
    if (np.diff(frames[:, 1]) < 0).any():  # a long frame reaches over shorter ones
        for place, word in enumerate(words):
            there = features[overlapping(frames, *word)]
            means[place] = there.mean(axis=0, dtype=np.float64) if len(there) else 0
        return means
    first = np.searchsorted(frames[:, 1], words[:, 0], side="right")
    beyond = np.maximum(np.searchsorted(frames[:, 0], words[:, 1], side="left"), first)
    # Sums of the stretches [first, beyond); the row behind the last one is for those at the end.
    padded = np.concatenate([features, np.zeros((1, features.shape[1]), np.float32)])
    ends = np.stack([first, beyond], axis=1).ravel()
    sums = np.add.reduceat(padded, ends, axis=0, dtype=np.float64)[::2]
    counts = (beyond - first)[:, None]
    np.divide(sums, counts, out=means, where=counts > 0, casting="same_kind")
    return means


def overlapping(intervals: Seconds, start: float, end: float) -> NDArray[np.bool_]:
    """Which intervals ``[n, 2]`` overlap the time from ``start`` to ``end``, ``[n]``."""
    found: NDArray[np.bool_] = (intervals[:, 0] < end) & (intervals[:, 1] > start)
    return found


def fitted(
    rows: NDArray[np.float32], length: int, *, pad: str, keep: str
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Rows ``[n, d]`` as ``[length, d]`` with a mask ``[length]``.

    Args:
        rows: What there is.
        length: Positions L.
        pad: Where zeros are added, ``left`` or ``right``.
        keep: Which end stays where there are more than L, ``first`` or ``last``.
    """
    kept = rows[:length] if keep == "first" else rows[max(len(rows) - length, 0) :]
    at = slice(0, len(kept)) if pad == "right" else slice(length - len(kept), length)
    full, mask = np.zeros((length, rows.shape[1]), np.float32), np.zeros(length, np.uint8)
    full[at], mask[at] = kept, 1
    return full, mask


def stacked(
    samples: Sequence[NDArray[np.float32]], length: int, *, pad: str, keep: str
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Samples ``[n, d]`` each as ``[samples, length, d]`` with masks ``[samples, length]``; see :func:`fitted`."""
    pairs = [fitted(rows, length, pad=pad, keep=keep) for rows in samples]
    return np.stack([x for x, _ in pairs]), np.stack([mask for _, mask in pairs])
