"""Decision thresholds are chosen where they are told to be."""

from __future__ import annotations

import numpy as np
import pytest

from neurozoo.training.decision import choose_threshold

LABELS = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
PROBABILITIES = np.array([[0.62, 0.15], [0.58, 0.1], [0.4, 0.25], [0.3, 0.22]])


def test_fixed_is_left_alone() -> None:
    assert choose_threshold("fixed", 0.35, LABELS, PROBABILITIES) == 0.35


def test_one_for_all_labels() -> None:
    # 8 decisions; at 0.21 six are predicted and four of them right: F1 = 8/10, which nothing beats
    # but a cut between 0.15 and 0.22, of which 0.21 is nearest to the fixed one.
    assert choose_threshold("valid", 0.35, LABELS, PROBABILITIES) == pytest.approx(0.21)


def test_one_for_each_label() -> None:
    assert choose_threshold("valid-per-label", 0.35, LABELS, PROBABILITIES) == pytest.approx([0.4, 0.21])


def test_a_label_without_positives_keeps_the_fixed_one() -> None:
    assert choose_threshold("valid-per-label", 0.35, np.zeros((4, 2)), PROBABILITIES) == [0.35, 0.35]
