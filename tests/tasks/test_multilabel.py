"""Multi-label: the numbers of today's trainings, by hand, and against scikit-learn."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn import metrics as sk

from neurozoo.tasks.multilabel import Multilabel

TWO = ("joy", "fear")
LOGITS = torch.tensor([[0.0, math.log(3.0)], [-math.log(3.0), math.log(3.0)]])
"""Probabilities 1/2, 3/4; 1/4, 3/4."""
LABELS = torch.tensor([[1.0, 0.0], [1.0, 1.0]])


def loss(seen: torch.Tensor | None = None, **params: Any) -> float:
    task = Multilabel(TWO, **params)
    task.prepare(LABELS if seen is None else seen)
    return float(task.loss(LOGITS, LABELS))


def test_cross_entropy_by_hand() -> None:
    assert loss() == pytest.approx((math.log(2) + math.log(4) + math.log(4) - math.log(0.75)) / 4, rel=1e-6)


def test_smoothing_by_hand() -> None:
    # Of each term a tenth is that of the other label: the targets are 0.9, 0.1; 0.9, 0.9.
    third = -math.log(0.75)
    expected = math.log(2) + 0.9 * math.log(4) + 0.1 * third
    expected += 0.9 * math.log(4) + 0.1 * third + 0.9 * third + 0.1 * math.log(4)
    assert loss(label_smoothing=0.1) == pytest.approx(expected / 4, rel=1e-6)


def test_focal_loss_by_hand() -> None:
    # The probability of what is not so: 1/2, 3/4; 3/4, 1/4, each squared.
    expected = (math.log(2) / 4 + (math.log(4) + math.log(4)) * 9 / 16 - math.log(0.75) / 16) / 4
    assert loss(loss="focal", gamma=2.0) == pytest.approx(expected, rel=1e-6)
    assert loss(loss="focal", gamma=0.0) == loss()


def test_balanced_weights_by_hand() -> None:
    # Of 4 samples 1 has the first label, so that its positives weigh 3; all have the second.
    seen = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    expected = (3 * math.log(2) + math.log(4) + 3 * math.log(4) - math.log(0.75)) / 4
    assert loss(seen, weights="balanced") == pytest.approx(expected, rel=1e-6)
    assert loss(seen) == loss()


def test_what_is_reported_has_neither_weights_nor_focus() -> None:
    task = Multilabel(TWO, loss="focal", weights="balanced", label_smoothing=0.1)
    task.prepare(torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))
    assert float(task.reported_loss(LOGITS, LABELS)) == loss(label_smoothing=0.1)


def test_a_weak_focus_on_what_is_certain_has_a_finite_gradient() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    Multilabel(TWO, loss="focal", gamma=0.5).loss(logits, torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


PINNED = [
    ("cross-entropy", 0.0, "none", 0.0, 1.4044854640960693, 0.014653803780674934),
    ("cross-entropy", 0.0, "none", 0.1, 1.4025025367736816, 0.012828736566007137),
    ("cross-entropy", 0.0, "balanced", 0.0, 1.8780337572097778, 0.020999819040298462),
    ("cross-entropy", 0.0, "balanced", 0.1, 1.9240604639053345, 0.01845588907599449),
    ("focal", 0.5, "none", 0.0, 1.298671007156372, 0.015107344835996628),
    ("focal", 0.5, "none", 0.1, 1.2071049213409424, 0.013405421748757362),
    ("focal", 0.5, "balanced", 0.0, 1.7365782260894775, 0.02166648395359516),
    ("focal", 0.5, "balanced", 0.1, 1.6277762651443481, 0.0192331001162529),
    ("focal", 2.0, "none", 0.0, 1.1171700954437256, 0.015758078545331955),
    ("focal", 2.0, "none", 0.1, 1.0130378007888794, 0.014128479175269604),
    ("focal", 2.0, "balanced", 0.0, 1.4927587509155273, 0.02262384444475174),
    ("focal", 2.0, "balanced", 0.1, 1.3562476634979248, 0.02028636634349823),
]
"""Loss, gamma, weights, smoothing; the loss and the norm of its gradient, as earlier versions computed them."""


@pytest.mark.parametrize(("name", "gamma", "weights", "smoothing", "expected", "norm"), PINNED)
def test_the_loss_of_trainings_before(
    name: Any, gamma: float, weights: Any, smoothing: float, expected: float, norm: float
) -> None:
    random = torch.Generator().manual_seed(5)
    labels = (torch.rand(301, 6, generator=random) < 0.3).float()
    logits = (torch.randn(301, 6, generator=random) * 3).requires_grad_()
    task = Multilabel(tuple("abcdef"), loss=name, gamma=gamma, weights=weights, label_smoothing=smoothing)
    task.prepare(labels)
    found = task.loss(logits, labels)
    found.backward()
    assert logits.grad is not None
    assert float(found.detach()) == pytest.approx(expected, rel=1e-6)
    assert float(logits.grad.norm()) == pytest.approx(norm, rel=1e-6)


def measured(labels: NDArray[Any], probabilities: NDArray[Any], decision: Any) -> dict[str, float]:
    return Multilabel([f"label {k}" for k in range(labels.shape[1])]).measure(labels, probabilities, decision)


def test_a_table_by_hand() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
    probabilities = np.array([[0.9, 0.2, 0.1], [0.3, 0.8, 0.6], [0.1, 0.1, 0.1], [0.5, 0.1, 0.2]])
    assert measured(labels, probabilities, 0.35) == {
        "accuracy": pytest.approx((1 + 1 / 3 + 0 + 0) / 4),
        "accuracy_empty_one": pytest.approx((1 + 1 / 3 + 1 + 0) / 4),
        "micro_f1": pytest.approx(4 / 7),
        "macro_f1": pytest.approx((1 / 2 + 1 + 0) / 3),
        "precision": pytest.approx(2 / 4),
        "recall": pytest.approx(2 / 3),
        "hamming_loss": pytest.approx(3 / 12),
        # The third label has no positive and does not count: (5/6 + 1) / 2.
        "map": pytest.approx((5 / 6 + 1) / 2),
    }


def test_definitions_are_what_summaries_have_held() -> None:
    assert list(Multilabel(TWO).definitions.items()) == [
        ("accuracy", "mean over samples of |Y and P| / |Y or P|, 0 where both are empty (as published)"),
        ("accuracy_empty_one", "the same, with 1 where both are empty"),
        ("micro_f1", "F1 over all decisions"),
        ("macro_f1", "mean of the labels' F1; a label neither present nor predicted counts 0"),
        ("precision", "micro: right among the predicted"),
        ("recall", "micro: found among the present"),
        ("hamming_loss", "share of wrong decisions"),
        ("map", "mean average precision over the labels that have a positive"),
    ]


def test_a_probability_at_the_threshold_predicts_nothing() -> None:
    assert measured(np.array([[1]]), np.array([[0.35]]), 0.35)["recall"] == 0.0


def test_a_threshold_for_each_label() -> None:
    assert measured(np.array([[1, 0]]), np.array([[0.3, 0.3]]), [0.2, 0.4])["accuracy"] == 1.0


def test_one_threshold_and_a_list_of_it_say_the_same() -> None:
    close = np.array([[0.35, 0.41]], dtype=np.float32)
    task = Multilabel(TWO)
    assert task.decide(close, 0.35).tolist() == task.decide(close, [0.35, 0.35]).tolist()


def test_no_positive_at_all() -> None:
    found = measured(np.zeros((3, 2)), np.zeros((3, 2)), 0.5)
    assert math.isnan(found["map"])
    assert found["accuracy"] == 0.0
    assert found["accuracy_empty_one"] == 1.0


Tables = hnp.arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(2, 5)), elements=st.integers(0, 1))


@given(labels=Tables, data=st.data())
@settings(max_examples=60, deadline=None)
def test_as_scikit_learn_has_it(labels: NDArray[Any], data: st.DataObject) -> None:
    probabilities = data.draw(hnp.arrays(np.float64, labels.shape, elements=st.floats(0, 1)))
    predicted = (probabilities > 0.35).astype(int)
    found = measured(labels, probabilities, 0.35)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found == {
            "accuracy": pytest.approx(sk.jaccard_score(labels, predicted, average="samples", zero_division=0)),
            "accuracy_empty_one": pytest.approx(
                np.mean([sk.jaccard_score(y, p, zero_division=1.0) for y, p in zip(labels, predicted, strict=True)])
            ),
            "micro_f1": pytest.approx(sk.f1_score(labels, predicted, average="micro", zero_division=0)),
            "macro_f1": pytest.approx(sk.f1_score(labels, predicted, average="macro", zero_division=0)),
            "precision": pytest.approx(sk.precision_score(labels, predicted, average="micro", zero_division=0)),
            "recall": pytest.approx(sk.recall_score(labels, predicted, average="micro", zero_division=0)),
            "hamming_loss": pytest.approx(sk.hamming_loss(labels, predicted)),
            "map": pytest.approx(
                np.mean(
                    [
                        sk.average_precision_score(y, p)
                        for y, p in zip(labels.T, probabilities.T, strict=True)
                        if y.any()
                    ]
                )
                if labels.any()
                else math.nan,
                nan_ok=True,
            ),
        }


CHOSEN_FROM = np.array([[0.62, 0.15], [0.58, 0.1], [0.4, 0.25], [0.3, 0.22]])
THERE = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])


def test_a_fixed_threshold_is_left_alone() -> None:
    assert Multilabel(TWO, threshold=0.4).choose(THERE, CHOSEN_FROM) == 0.4


def test_one_threshold_for_all_labels() -> None:
    # At 0.21 six of 8 are predicted and four of them right: F1 = 8/10, which nothing beats but a cut between 0.15
    # and 0.22, of which 0.21 is nearest to the fixed one.
    assert Multilabel(TWO, decision="valid").choose(THERE, CHOSEN_FROM) == pytest.approx(0.21)


def test_one_threshold_for_each_label() -> None:
    task = Multilabel(TWO, decision="valid-per-label")
    assert task.choose(THERE, CHOSEN_FROM) == pytest.approx([0.4, 0.21])
    assert task.choose(np.zeros((4, 2)), CHOSEN_FROM) == [0.35, 0.35]
    assert task.choose(np.zeros((0, 2)), np.zeros((0, 2))) == 0.35


def test_an_answer() -> None:
    assert Multilabel(TWO).answer(np.array([0.5, 0.25]), 0.35) == {
        "probabilities": {"joy": 0.5, "fear": 0.25},
        "labels": ["joy"],
    }
    assert Multilabel(TWO).answer(np.array([0.5, 0.25]), [0.6, 0.2])["labels"] == ["fear"]


def test_a_baseline_and_labels_with_nothing_to_learn() -> None:
    random = np.random.default_rng(3)
    features = random.normal(size=(60, 3))
    target = np.stack([features[:, 0] > 0, np.ones(60), np.zeros(60)], axis=1).astype(np.float32)
    seen, others = Multilabel(("a", "b", "c")).baseline(1.0, features, target, [features, features[:5]])
    assert seen.shape == (60, 3)
    assert np.array_equal(others, seen[:5])
    assert sk.roc_auc_score(target[:, 0], seen[:, 0]) > 0.99
    assert seen[:, 1:].tolist() == [[1.0, 0.0]] * 60
