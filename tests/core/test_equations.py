from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.core.equations import SURROGATES, Surrogate, charge, reset, spike, surrogate_gradient

distances = st.floats(-50, 50, allow_nan=False, width=32)
widths = st.floats(0.25, 10, width=32)


@pytest.mark.parametrize(
    ("surrogate", "alpha", "u", "expected"),
    [
        ("atan", 2.0, 0.0, 1.0),
        ("atan", 2.0, 1 / math.pi, 0.5),  # 1 / (1 + 1)
        ("atan", 4.0, 1 / (2 * math.pi), 1.0),  # 2 / (1 + 1)
        ("sigmoid", 4.0, 0.0, 1.0),  # 4 * .5 * .5
        ("sigmoid", 1.0, math.log(3), 0.1875),  # .75 * .25
        ("superspike", 100.0, 0.0, 1.0),
        ("superspike", 2.0, -0.5, 0.25),  # 1 / 2^2
    ],
)
def test_surrogates_by_hand(surrogate: Surrogate, alpha: float, u: float, expected: float) -> None:
    got = surrogate_gradient(torch.tensor(u, dtype=torch.float64), surrogate, alpha)
    assert got.item() == pytest.approx(expected, rel=1e-12)


@given(u=distances, alpha=widths)
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_surrogates_are_even_finite_and_largest_at_the_threshold(surrogate: Surrogate, u: float, alpha: float) -> None:
    left, right, top = (
        surrogate_gradient(torch.tensor(x, dtype=torch.float64), surrogate, alpha) for x in (-u, u, 0.0)
    )
    assert torch.isfinite(right)
    if surrogate != "box":  # whose edge belongs to one side
        assert torch.isclose(left, right, rtol=1e-6, atol=1e-15)
    assert 0 <= right <= top


@pytest.mark.parametrize("alpha", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("surrogate", ["atan", "sigmoid"])
def test_atan_and_sigmoid_are_derivatives_of_a_step_from_0_to_1(surrogate: Surrogate, alpha: float) -> None:
    u = torch.linspace(-4000, 4000, 400_001, dtype=torch.float64)
    area = torch.trapezoid(surrogate_gradient(u, surrogate, alpha), u)
    assert area.item() == pytest.approx(1.0, abs=2e-3)


def test_a_spike_is_fired_at_and_above_the_threshold() -> None:
    u = torch.tensor([-1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0])
    assert spike(u).tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_spike_keeps_the_dtype_and_has_the_surrogates_gradient(surrogate: Surrogate, dtype: torch.dtype) -> None:
    u = torch.linspace(-2, 2, 9).to(dtype).requires_grad_()
    s = spike(u, surrogate, 3.0)
    (s * 2).sum().backward()
    assert s.dtype == dtype
    assert u.grad is not None
    assert torch.equal(u.grad, surrogate_gradient(u.detach(), surrogate, 3.0) * 2)


def test_a_nan_membrane_does_not_fire() -> None:
    assert spike(torch.tensor([math.nan])).item() == 0


@given(v=distances, x=distances, tau=st.floats(1.01, 100), rest=st.sampled_from([0.0, 0.2, -1.0]))
def test_charging_is_the_equation(v: float, x: float, tau: float, rest: float) -> None:
    as_tensors = torch.tensor(v, dtype=torch.float64), torch.tensor(x, dtype=torch.float64)
    divided = charge(*as_tensors, tau, True, rest).item()
    whole = charge(*as_tensors, tau, False, rest).item()
    assert divided == pytest.approx(v + (x - (v - rest)) / tau, abs=1e-9)
    assert whole == pytest.approx(v - (v - rest) / tau + x, abs=1e-9)


@given(rest=st.sampled_from([0.0, 0.2, -1.0]), tau=st.floats(1.01, 100))
def test_a_membrane_at_rest_stays_there(rest: float, tau: float) -> None:
    v = torch.full((3,), rest)
    assert torch.equal(charge(v, torch.zeros(3), tau, True, rest), v)


def test_resets() -> None:
    h, s = torch.tensor([0.5, 1.5]), torch.tensor([0.0, 1.0])
    assert reset(h, s, 1.0, 0.25).tolist() == [0.5, 0.25]
    assert reset(h, s, 1.0, None).tolist() == [0.5, 0.5]
    assert reset(h, s, torch.tensor([1.0, 1.25]), None).tolist() == [0.5, 0.25]
