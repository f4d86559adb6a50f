"""Emotions from a label file, for samples of other files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neurozoo.data.importers.csd.labels import labels_by_id
from neurozoo.data.untrusted.nested import Place
from neurozoo.errors import DataError


@pytest.fixture
def labels(csd: Callable[..., Path]) -> Path:
    """Rows of the first video are not in the order of time."""
    videos = {"a": ([[6, 8], [-0.5, 2]], [[-1, 0, 1], [1, 2, 0]]), "b$": ([[0, 3]], [[0, 0.5, 0.5]])}
    return csd("labels.csd", videos, names=["sentiment", "happy", "sad"])


@pytest.mark.parametrize(
    "ids",
    [
        ["a$_$0", "a$_$1", "b$$_$0"],
        ["a[0]", "a[1]", "b$[0]"],
        [["a", "6.0", "8.0"], ["a", "0.0", "2.01"], ["b$", "0.0", "3.0"]],
        np.array([["a", "6.0", "8.0"], ["a", "-0.5", "2.0"], ["b$", "0.0", "3.0"]], dtype="S"),
    ],
    ids=["MMSA", "SDK", "MulT", "MulT in bytes"],
)
def test_every_form_of_an_id(labels: Path, ids: object) -> None:
    names, truth = labels_by_id(labels, {"train": Place(ids, "x")})
    assert names == ("happy", "sad")
    assert truth["train"].tolist() == [[0, 1], [1, 0], [1, 1]]


def test_an_emotion_is_there_above_a_value(labels: Path) -> None:
    _, truth = labels_by_id(labels, {"train": Place(["a[1]", "b$[0]"], "x")}, above=0.5)
    assert truth["train"].tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["a[0]", "c[0]"], r"x, sample 1 is of the video 'c', which .*labels.csd lacks"),
        (["a[2]"], r"x, sample 0 is a, 2|x, sample 0 is a\[2\]; .*labels.csd has 2 segments of that video"),
        (["a"], r"x, sample 0 is 'a'; give VIDEO\$_\$ROW, VIDEO\[ROW\], or video, start, end"),
        ([["a", "0", "8"]], "'a' from 0 to 8 s, and no segment .* is within 0.05 s; the nearest is from"),
        ([["a", "0", "nan"]], "no segment .* is within 0.05 s"),
        ([["a", "0", "soon"]], "x, sample 0 is a, 0, soon; .* has 2 segments of that video"),
        (["a[0]", "a$_$0"], r"x, sample 1 is the segment a\[0\], as x, sample 0 is already"),
    ],
)
def test_an_id_that_fits_nothing_is_named(labels: Path, ids: object, told: str) -> None:
    with pytest.raises(DataError, match=told):
        labels_by_id(labels, {"train": Place(ids, "x")})
