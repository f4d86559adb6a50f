"""Metrics by hand and against scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from neurozoo.training.metrics import DEFINITIONS, multilabel_metrics


def test_a_table_by_hand() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
    probabilities = np.array([[0.9, 0.2, 0.1], [0.3, 0.8, 0.6], [0.1, 0.1, 0.1], [0.5, 0.1, 0.2]])
    found = multilabel_metrics(labels, probabilities, 0.35)
    assert found["accuracy"] == pytest.approx((1 + 1 / 3 + 0 + 0) / 4)
    assert found["accuracy_empty_one"] == pytest.approx((1 + 1 / 3 + 1 + 0) / 4)
    assert found["precision"] == pytest.approx(2 / 4)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["micro_f1"] == pytest.approx(4 / 7)
    assert found["macro_f1"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["hamming_loss"] == pytest.approx(3 / 12)
    # The third label has no positive and does not count: (5/6 + 1) / 2.
    assert found["map"] == pytest.approx((5 / 6 + 1) / 2)
    assert found.keys() == DEFINITIONS.keys()


def test_a_probability_at_the_threshold_predicts_nothing() -> None:
    assert multilabel_metrics(np.array([[1]]), np.array([[0.35]]), 0.35)["recall"] == 0.0


def test_a_threshold_for_each_label() -> None:
    found = multilabel_metrics(np.array([[1, 0]]), np.array([[0.3, 0.3]]), np.array([0.2, 0.4]))
    assert found["accuracy"] == 1.0


def test_no_positive_at_all() -> None:
    found = multilabel_metrics(np.zeros((3, 2)), np.zeros((3, 2)), 0.5)
    assert math.isnan(found["map"])
    assert found["accuracy"] == 0.0
    assert found["accuracy_empty_one"] == 1.0


@given(
    labels=hnp.arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(2, 5)), elements=st.integers(0, 1)),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_as_scikit_learn_has_it(labels: np.ndarray, data: st.DataObject) -> None:
    probabilities = data.draw(hnp.arrays(np.float64, labels.shape, elements=st.floats(0, 1)))
    predicted = (probabilities > 0.35).astype(int)
    found = multilabel_metrics(labels, probabilities, 0.35)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["accuracy"] == pytest.approx(
            sk.jaccard_score(labels, predicted, average="samples", zero_division=0)
        )
        assert found["micro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="micro", zero_division=0))
        assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro", zero_division=0))
        assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(labels, predicted))
