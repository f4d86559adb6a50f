"""Regression: by hand, and against scikit-learn and SciPy."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics as sk

from neurozoo.errors import CheckpointError
from neurozoo.tasks.regression import Regression

TWO = ("valence", "arousal")
OUTPUTS = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
TARGET = torch.tensor([[1.0, 1.0], [2.5, 2.0]])
"""Off by 1, 0; 0.5, 3."""


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"loss": "mse"}, (1 + 0 + 0.25 + 9) / 4),
        ({"loss": "mae"}, (1 + 0 + 0.5 + 3) / 4),
        ({"loss": "huber"}, (0.5 + 0 + 0.125 + (3 - 0.5)) / 4),
        ({"loss": "huber", "delta": 2.0}, (0.5 + 0 + 0.125 + 2 * (3 - 1)) / 4),
    ],
)
def test_losses_by_hand(params: dict[str, Any], expected: float) -> None:
    task = Regression(TWO, standardise=False, **params)
    task.prepare(TARGET)
    assert float(task.loss(OUTPUTS, TARGET)) == expected
    assert float(task.reported_loss(OUTPUTS, TARGET)) == expected
    assert torch.equal(task.predict(OUTPUTS), OUTPUTS)


def standardised(**params: Any) -> Regression:
    """Of means 2 and 100, deviations 2 and 10."""
    task = Regression(TWO, **params)
    task.prepare(torch.tensor([[0.0, 90.0], [4.0, 110.0]]))
    return task


def test_standardised_targets_by_hand() -> None:
    task = standardised()
    target = torch.tensor([[4.0, 95.0]])  # 1 and -0.5 deviations
    assert float(task.loss(torch.zeros(1, 2), target)) == pytest.approx((1 + 0.25) / 2)
    assert task.predict(torch.tensor([[1.0, -0.5]])).tolist() == [[4.0, 95.0]]


def test_the_unit_of_the_loss() -> None:
    assert Regression(TWO).loss_unit == "deviations^2"
    assert Regression(TWO, loss="mae", standardise=False).loss_unit == "target"


def test_a_constant_quantity_is_not_scaled() -> None:
    task = Regression(TWO)
    task.prepare(torch.tensor([[0.1, 1.0]] * 1000 + [[0.1, 3.0]] * 1000))
    assert task.state() == {"mean": pytest.approx([0.1, 2.0]), "std": [1.0, 1.0]}


def test_a_large_offset_keeps_its_deviation() -> None:
    task = Regression(("year",))
    task.prepare(torch.tensor([[20000.0], [20001.0]]))
    assert task.state() == {"mean": [20000.5], "std": [0.5]}


def test_what_was_learned_of_the_targets_comes_back_from_a_checkpoint() -> None:
    random = torch.Generator().manual_seed(1)
    task, other = Regression(TWO), Regression(TWO)
    task.prepare(torch.randn(31, 2, generator=random) * 3 + 7)
    other.load_state(json.loads(json.dumps(task.state())))
    outputs = torch.randn(9, 2, generator=random)
    assert torch.equal(other.predict(outputs), task.predict(outputs))
    assert torch.equal(other.loss(outputs, outputs), task.loss(outputs, outputs))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "holds nothing of its task"),
        ({"mean": [1.0, 2.0]}, r"holds mean \[2\] of its task"),
        ({"mean": [1.0], "std": [1.0]}, r"holds mean \[1\], std \[1\] of its task"),
    ],
)
def test_a_checkpoint_of_another_task_is_refused(state: dict[str, list[float]], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        Regression(TWO).load_state(state)


def test_one_that_keeps_nothing_refuses_what_was_kept() -> None:
    task = Regression(TWO, standardise=False)
    assert task.state() == {}
    task.load_state({})
    with pytest.raises(CheckpointError, match="holds mean, std of its task, and regression keeps no state"):
        task.load_state(standardised().state())


def test_a_table_by_hand() -> None:
    target = np.array([[0.0, 1.0, 5.0], [2.0, 2.0, 5.0], [4.0, 3.0, 5.0]])
    predicted = np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 4.0], [3.0, 1.0, 6.0]])
    assert Regression(("a", "b", "still")).measure(target, predicted, None) == {
        "mae": pytest.approx((1 + 1 + 2 + 2 + 1 + 1) / 9),
        "rmse": pytest.approx(math.sqrt((1 + 1 + 4 + 4 + 1 + 1) / 9)),
        # 1 - 2/8 and 1 - 8/2; the third target does not vary.
        "r2": pytest.approx((0.75 - 3) / 2),
        "pearson": pytest.approx((1 - 1) / 2),
    }


def test_pearson_of_a_constant_prediction_counts_0() -> None:
    target = np.array([[0.0, 0.0], [1.0, 1.0]])
    predicted = np.array([[0.1, 0.0], [0.1, 3.0]])
    assert Regression(TWO).measure(target, predicted, None)["pearson"] == pytest.approx(0.5)


def test_a_prediction_that_is_not_finite_is_no_number_in_any_metric() -> None:
    found = Regression(TWO).measure(np.array([[0.0, 1.0], [1.0, 3.0]]), np.array([[0.0, math.nan], [1.0, 2.0]]), None)
    assert all(math.isnan(value) for value in found.values())


def test_where_no_target_varies_nothing_is_explained() -> None:
    found = Regression(TWO).measure(np.ones((3, 2)), np.zeros((3, 2)), None)
    assert math.isnan(found["r2"])
    assert math.isnan(found["pearson"])
    assert (found["mae"], found["rmse"]) == (1.0, 1.0)


@given(seed=st.integers(0, 10**6), k=st.integers(1, 4), n=st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_as_scikit_learn_and_scipy_have_it(seed: int, k: int, n: int) -> None:
    random = np.random.default_rng(seed)
    target, predicted = random.normal(size=(n, k)), random.normal(size=(n, k))
    found = Regression([f"quantity {i}" for i in range(k)]).measure(target, predicted, None)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(target, predicted))
    assert found["rmse"] == pytest.approx(math.sqrt(sk.mean_squared_error(target, predicted)))
    assert found["r2"] == pytest.approx(sk.r2_score(target, predicted))
    assert found["pearson"] == pytest.approx(np.mean([pearsonr(target[:, i], predicted[:, i])[0] for i in range(k)]))


def test_values_whose_squares_do_not_fit_float32() -> None:
    large = np.array([[0.0], [1e30]], dtype=np.float32)
    found = Regression(("a",)).measure(large, large[::-1], None)
    assert found["rmse"] == pytest.approx(1e30)
    assert found["pearson"] == pytest.approx(-1.0)


def test_an_answer_is_the_value() -> None:
    task = Regression(TWO)
    assert task.answer(np.array([1.5, -2.0]), None) == {"values": {"valence": 1.5, "arousal": -2.0}}
    assert task.choose(np.zeros((2, 2)), np.zeros((2, 2))) is None


@pytest.mark.parametrize("outputs", [("a",), TWO])
def test_a_baseline(outputs: tuple[str, ...]) -> None:
    features = np.random.default_rng(3).normal(size=(50, 3))
    target = features[:, : len(outputs)] * 3 + 20
    (predicted,) = Regression(outputs).baseline(1e6, features, target, [features[:7]])
    assert predicted == pytest.approx(target[:7], rel=1e-4)
    (shrunk,) = Regression(outputs).baseline(1e-6, features, target, [features[:7]])
    assert shrunk == pytest.approx(np.broadcast_to(target.mean(0), shrunk.shape), rel=1e-2)
