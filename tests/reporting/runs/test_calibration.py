"""Precision, recall and calibration, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from neurozoo.reporting.labels import precision_recall, reliability


def test_precision_and_recall_by_hand() -> None:
    found = precision_recall(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1]))
    assert found is not None
    # From the most probable on: right, wrong, right; and the end that every curve has, at recall 0.
    assert list(zip(found.recall, found.precision, strict=True)) == [
        (0.0, 1.0),
        (0.5, 1.0),
        (1.0, pytest.approx(2 / 3)),
    ]
    assert found.average == pytest.approx((1 + 2 / 3) / 2)
    assert found.base == 0.5


def test_a_label_that_nobody_has_is_no_curve() -> None:
    assert precision_recall(np.array([False, False]), np.array([0.1, 0.2])) is None


def test_a_long_curve_is_thinned_out_and_keeps_its_ends() -> None:
    rng = np.random.default_rng(0)
    there = rng.random(5000) < 0.3
    found = precision_recall(there, np.clip(there * 0.2 + rng.random(5000) * 0.8, 0, 1))
    assert found is not None
    assert len(found.recall) <= 48
    assert (found.recall[0], found.recall[-1]) == (0, 1)
    assert (np.diff(found.recall) > 0).all()


def test_the_calibration_error_by_hand() -> None:
    # Bins 0.0-0.1 (one of two is there, said 0.05), 0.1-0.2 (0.1 is still the first bin's), 0.8-0.9 (all there).
    there = np.array([True, False, False, True, True])
    found = reliability(there, np.array([0.05, 0.1, 0.15, 0.85, 0.85]))
    assert found.predicted == pytest.approx([0.075, 0.15, 0.85])
    assert found.observed == pytest.approx([0.5, 0.0, 1.0])
    assert found.error == pytest.approx(2 / 5 * 0.425 + 1 / 5 * 0.15 + 2 / 5 * 0.15)


def test_probabilities_that_mean_what_they_say_have_a_small_error() -> None:
    rng = np.random.default_rng(1)
    p = rng.random((20_000, 3))
    assert reliability(rng.random(p.shape) < p, p).error < 0.01
    assert reliability(rng.random(p.shape) < p**3, p).error > 0.1
    assert reliability(np.array([[True]]), np.array([[1.0]])).error == 0
