from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from neurozoo.data.importers.common import pad_rows
from neurozoo.data.importers.csd.importer import overlapping, word_means

Seconds = NDArray[np.float64]


def test_a_word_is_the_mean_of_the_frames_that_overlap_it() -> None:
    frames = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [5.0, 6.0]])
    features = np.array([[1.0], [3.0], [8.0], [9.0]], np.float32)
    words = np.array([[0.0, 2.0], [0.5, 2.5], [2.0, 3.0], [3.0, 5.0], [5.5, 9.0]])
    assert word_means(frames, features, words).ravel().tolist() == [2.0, 4.0, 8.0, 0.0, 9.0]


def test_touching_is_not_overlapping() -> None:
    assert overlapping(np.array([[0.0, 1.0], [1.0, 2.0]]), 1.0, 1.5).tolist() == [False, True]


def naive(
    frames: NDArray[np.float64], features: NDArray[np.float32], words: NDArray[np.float64]
) -> NDArray[np.float32]:
    means = np.zeros((len(words), features.shape[1]), np.float32)
    for place, (start, end) in enumerate(words):
        there = [f for (a, b), f in zip(frames, features, strict=True) if a < end and b > start]
        if there:
            means[place] = np.mean(np.asarray(there, np.float64), axis=0)
    return means


@st.composite
def intervals(draw: st.DrawFn, most: int) -> Seconds:
    pairs = draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=most))
    return np.array(sorted((a / 4, (a + n) / 4) for a, n in pairs), np.float64).reshape(-1, 2)


@given(intervals(12), intervals(6), st.integers(0, 2**32 - 1))
def test_means_are_those_of_the_plain_way(frames: Seconds, words: Seconds, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(len(frames), 3)).astype(np.float32)
    np.testing.assert_allclose(
        word_means(frames, features, words), naive(frames, features, words), rtol=1e-6, atol=1e-7
    )


def test_rows_are_padded_and_cut_at_the_chosen_end() -> None:
    rows = np.arange(1, 4, dtype=np.float32)[:, None]
    for pad, keep, length, values, mask in (
        ("left", "last", 5, [0, 0, 1, 2, 3], [0, 0, 1, 1, 1]),
        ("right", "last", 5, [1, 2, 3, 0, 0], [1, 1, 1, 0, 0]),
        ("left", "last", 2, [2, 3], [1, 1]),
        ("left", "first", 2, [1, 2], [1, 1]),
    ):
        full, valid = pad_rows(rows, length, pad=pad, keep=keep)
        assert (full.ravel().tolist(), valid.tolist()) == (values, mask)
    full, valid = pad_rows(rows[:0], 2, pad="left", keep="last")
    assert (full.tolist(), valid.tolist()) == ([[0], [0]], [0, 0])
