"""Multi-class: by hand, and against torch and scikit-learn."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from neurozoo.errors import UserError
from neurozoo.reporting.summaries import loss_definition
from neurozoo.tasks.multiclass import Multiclass, calibration_bins, confusion

THREE = ("left", "right", "none")
LOGITS = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.5, 0.375, 0.125]]))
CLASSES = torch.tensor([0, 2, 1])
LOSSES = [math.log(2), math.log(4), -math.log(0.375)]
"""Cross-entropies of the three."""


def loss(seen: list[int] | None = None, **params: Any) -> float:
    task = Multiclass(THREE, **params)
    task.prepare(torch.tensor(seen or [0, 1, 2]))
    return float(task.loss(LOGITS, CLASSES))


def test_cross_entropy_by_hand() -> None:
    assert loss() == pytest.approx(sum(LOSSES) / 3, rel=1e-6)


def test_smoothing_by_hand() -> None:
    # A tenth of the target is spread over the three classes.
    mean = [-(math.log(0.5) + 2 * math.log(0.25)) / 3] * 2 + [-(math.log(0.5) + math.log(0.375) + math.log(0.125)) / 3]
    expected = sum(0.9 * own + 0.1 * all_of_them for own, all_of_them in zip(LOSSES, mean, strict=True)) / 3
    assert loss(label_smoothing=0.1) == pytest.approx(expected, rel=1e-6)


def test_focal_loss_by_hand() -> None:
    expected = (LOSSES[0] * 0.25 + LOSSES[1] * 0.75**2 + LOSSES[2] * 0.625**2) / 3
    assert loss(loss="focal", gamma=2.0) == pytest.approx(expected, rel=1e-6)
    assert loss(loss="focal", gamma=0.0) == loss()


def test_given_weights_by_hand() -> None:
    expected = (1 * LOSSES[0] + 4 * LOSSES[1] + 2 * LOSSES[2]) / 3
    assert loss(weights=(1.0, 2.0, 4.0)) == pytest.approx(expected, rel=1e-6)
    assert loss(weights=(1.0, 1.0, 1.0)) == pytest.approx(loss(), rel=1e-6)


def test_balanced_weights_by_hand() -> None:
    # Six samples of two classes, 4 and 2: 6 / (2 * 4) and 6 / (2 * 2); the class that does not occur weighs 1.
    expected = (0.75 * LOSSES[0] + 1.0 * LOSSES[1] + 1.5 * LOSSES[2]) / 3
    assert loss([0, 0, 0, 0, 1, 1], weights="balanced") == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_are_1_on_average_and_the_same_for_each_class() -> None:
    seen = torch.tensor([0] * 7 + [1] * 2 + [2] * 11)
    task = Multiclass(THREE, weights="balanced")
    task.prepare(seen)
    each = task.objective(torch.zeros(20, 3), seen, "none")[:, 0] / math.log(3)
    assert float(each.mean()) == pytest.approx(1.0, rel=1e-6)
    assert [float(each[seen == k].sum()) for k in range(3)] == pytest.approx([20 / 3] * 3, rel=1e-6)


def test_what_is_reported_has_neither_weights_nor_focus() -> None:
    task = Multiclass(THREE, loss="focal", weights="balanced", label_smoothing=0.1)
    task.prepare(torch.tensor([0, 0, 0, 0, 1, 1]))
    expected = F.cross_entropy(LOGITS, CLASSES, label_smoothing=0.1)
    assert torch.equal(task.reported_loss(LOGITS, CLASSES), expected)


RATES = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.25, 0.5, 0.25]])


def squared(rates: torch.Tensor = RATES, **params: Any) -> float:
    return float(Multiclass(THREE, loss="squared", **params).loss(rates, CLASSES))


def test_squared_error_by_hand() -> None:
    # Targets are 0, 2 and 1: squared errors 0 + 0 + 1/4, 0 + 0 + 1, and 1/16 + 1/4 + 1/16, of nine numbers.
    assert squared() == pytest.approx((0.25 + 1 + 0.375) / 9)
    assert squared(weights=(1.0, 2.0, 4.0)) == pytest.approx((0.25 + 4 * 1 + 2 * 0.375) / 9)
    # Smoothed by 0.3, the targets are 0.8 and 0.1.
    smooth = (0.04 + 0.01 + 0.16) + (0.01 + 0.01 + 0.64) + (0.0225 + 0.09 + 0.0225)
    assert squared(label_smoothing=0.3) == pytest.approx(smooth / 9)
    each = Multiclass(THREE, loss="squared").objective(RATES, CLASSES, "none")
    assert each.tolist() == [[0.0, 0.0, 0.25], [0.0, 0.0, 1.0], [0.0625, 0.25, 0.0625]]


def test_of_rates_the_squared_error_is_reported_without_weights() -> None:
    task = Multiclass(THREE, loss="squared", weights=(1.0, 2.0, 4.0))
    assert float(task.reported_loss(RATES, CLASSES)) == pytest.approx(1.625 / 9)
    assert task.loss_unit == "rates^2"
    assert loss_definition(task).endswith("mean over samples, in squared rates")


def test_probabilities_of_rates_are_their_shares() -> None:
    predicted = Multiclass(THREE, loss="squared").predict(RATES)
    thirds = torch.full((3,), 1 / 3)
    torch.testing.assert_close(predicted, torch.stack((torch.tensor([2 / 3, 0, 1 / 3]), thirds, RATES[2])))
    below = Multiclass(THREE, loss="squared").predict(torch.tensor([[-0.5, 0.5, 0.0], [-1.0, -1.0, -1.0]]))
    torch.testing.assert_close(below, torch.stack((torch.tensor([0, 2 / 3, 1 / 3]), thirds)))


@given(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3))
@settings(max_examples=50, deadline=None)
def test_probabilities_of_rates_add_up_to_1_and_keep_the_order(rates: list[float]) -> None:
    (predicted,) = Multiclass(THREE, loss="squared").predict(torch.tensor([rates], dtype=torch.float64)).tolist()
    assert sum(predicted) == pytest.approx(1.0)
    assert min(predicted) >= 0
    order = sorted(range(3), key=lambda k: rates[k])
    assert [predicted[k] for k in order] == sorted(predicted)


def test_a_weak_focus_on_what_is_certain_has_a_finite_gradient() -> None:
    logits = torch.tensor([[300.0, 0.0, 0.0]], requires_grad=True)
    Multiclass(THREE, loss="focal", gamma=0.5).loss(logits, torch.tensor([0])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_table_by_hand() -> None:
    target = np.array([0, 0, 1, 2])
    predicted = np.array([[0.75, 0.25, 0, 0], [0.25, 0.5, 0.125, 0.125], [0.25, 0.75, 0, 0], [0.5, 0.25, 0.125, 0.125]])
    task = Multiclass(("a", "b", "c", "d"), top_k=2)
    assert task.measure(target, predicted, None) == {
        "accuracy": 2 / 4,
        # Of equals the first classes come first: the last sample's third is behind the first two.
        "top_2": 3 / 4,
        "balanced_accuracy": pytest.approx((1 / 2 + 1 + 0) / 3),
        # F1 of a, b and c: 2 / 4, 2 / 3, 0; d neither occurs nor is predicted.
        "macro_f1": pytest.approx((1 / 2 + 2 / 3 + 0) / 3),
        # Two of 0.75, both right; two of 0.5, both wrong.
        "calibration_error": pytest.approx((0.25 + 0.5) / 2),
    }
    assert confusion(target, predicted).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_top_k_counts_ties_from_the_first_class_as_the_answer_does() -> None:
    even, task = np.full((4, 4), 0.25), Multiclass(("a", "b", "c", "d"), top_k=3)
    assert task.measure(np.arange(4), even, None)["top_3"] == 3 / 4
    assert task.measure(np.arange(4), even, None)["accuracy"] == 1 / 4


def test_top_5_of_three_classes_is_always_right_and_keeps_its_name() -> None:
    assert Multiclass(THREE).measure(np.array([0, 1, 2]), np.eye(3)[[1, 2, 0]], None)["top_5"] == 1.0


def test_the_names_follow_from_the_parameters_alone() -> None:
    assert Multiclass(THREE).names == Multiclass(("a",)).names
    assert "top_3" in Multiclass(THREE, top_k=3).names


@given(seed=st.integers(0, 10**6), k=st.integers(2, 6), n=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_as_scikit_learn_has_it(seed: int, k: int, n: int) -> None:
    random = np.random.default_rng(seed)
    target, predicted = random.integers(k, size=n), random.dirichlet(np.ones(k), size=n)
    answers = predicted.argmax(1)
    task = Multiclass([f"class {i}" for i in range(k)], top_k=2)
    found = task.measure(target, predicted, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that do not occur
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(target, answers))
        assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(target, answers))
        assert found["macro_f1"] == pytest.approx(sk.f1_score(target, answers, average="macro"))
        if k > 2:
            expected = sk.top_k_accuracy_score(target, predicted, k=2, labels=np.arange(k))
            assert found["top_2"] == pytest.approx(expected)
    assert np.array_equal(confusion(target, predicted), sk.confusion_matrix(target, answers, labels=np.arange(k)))
    assert found["calibration_error"] == pytest.approx(slow_calibration_error(target, predicted))


def slow_calibration_error(target: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Equation 3 of Guo et al. (2017), word by word."""
    error, sure = 0.0, predicted.max(1)
    for m in range(1, 16):
        inside = (sure > (m - 1) / 15) & (sure <= m / 15)
        if inside.any():
            right = (predicted.argmax(1) == target)[inside].mean()
            error += inside.mean() * abs(right - sure[inside].mean())
    return error


def test_bins_with_nothing_in_them_are_left_out() -> None:
    share, said, right = calibration_bins(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert (share.tolist(), said.tolist(), right.tolist()) == ([1.0], [1.0], [0.5])


def test_a_bin_includes_its_upper_edge() -> None:
    edge = float(np.linspace(0, 1, 16)[9])
    predicted = np.array([[edge, 1 - edge], [edge - 0.01, 1.01 - edge], [edge + 0.01, 0.99 - edge]])
    share, _, _ = calibration_bins(np.zeros(3, dtype=int), predicted)
    assert share.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_probabilities_add_up_and_the_largest_is_the_answer() -> None:
    task = Multiclass(THREE)
    predicted = task.predict(LOGITS)
    torch.testing.assert_close(predicted, LOGITS.exp())
    assert task.decide(predicted.numpy(), None).tolist() == [0, 1, 0]
    assert task.predict(LOGITS[None]).shape == (1, 3, 3)
    assert task.answer(np.array([0.25, 0.5, 0.25]), None) == {
        "probabilities": {"left": 0.25, "right": 0.5, "none": 0.25},
        "class": "right",
    }


def test_weights_must_be_one_a_class() -> None:
    with pytest.raises(UserError, match="2 numbers for 3 classes; give one for each class"):
        Multiclass(THREE, weights=(1.0, 2.0))


def test_a_baseline_and_a_class_that_was_not_seen() -> None:
    random = np.random.default_rng(3)
    features = random.normal(size=(80, 2))
    target = np.where(features[:, 0] > 0, 0, 2)
    (predicted,) = Multiclass(THREE).baseline(1.0, features, target, [features])
    assert predicted.sum(1) == pytest.approx(np.ones(80))
    assert predicted[:, 1].tolist() == [0.0] * 80
    assert (predicted.argmax(1) == target).mean() > 0.95
    (alone,) = Multiclass(THREE).baseline(1.0, features, np.ones(80, dtype=int), [features[:2]])
    assert alone.tolist() == [[0.0, 1.0, 0.0]] * 2
