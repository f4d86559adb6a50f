from __future__ import annotations

import math

import torch

from neurozoo.compare.layers import GRADIENT_FLOOR, TensorDifference, tensor_difference


def test_the_worst_is_relative_to_its_own_largest() -> None:
    expected = {"a": torch.tensor([100.0, 1.0]), "b": torch.tensor([1.0])}
    found = tensor_difference({"a": torch.tensor([101.0, 1.0]), "b": torch.tensor([1.5])}, expected)
    assert found == TensorDifference("b", 0.5, 0.5)
    assert tensor_difference(expected, expected) == TensorDifference()


def test_a_gradient_of_rounding_alone_is_judged_by_the_models_largest() -> None:
    expected = {"a": torch.tensor([1.0]), "noise": torch.tensor([1e-9])}
    found = tensor_difference({"a": torch.tensor([1.0]), "noise": torch.tensor([2e-9])}, expected)
    assert found.worst == "noise"
    assert math.isclose(found.relative, 1, rel_tol=1e-3)
    assert math.isclose(found.judged, 1e-9 / GRADIENT_FLOOR, rel_tol=1e-3)


def test_a_missing_gradient_and_one_that_is_no_number_are_the_worst() -> None:
    one = torch.tensor([1.0])
    assert tensor_difference({"a": None}, {"a": one}).judged == math.inf
    assert tensor_difference({"a": None}, {"a": None}) == TensorDifference()
    broken = tensor_difference({"a": one * math.nan, "b": one * 9}, {"a": one, "b": one})
    assert broken.worst == "a"
    assert math.isnan(broken.judged)
    assert broken.or_worse(TensorDifference("c", 5, 5)) == broken
    assert TensorDifference("c", 5, 5).or_worse(broken) == broken
