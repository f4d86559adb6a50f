"""Dropout with four masks a random word."""

from __future__ import annotations

import pytest
import torch

from neurozoo.nn.dropout import Dropout, HeldDropout, draw, factors_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_as_many_are_lost_as_should_be_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    factors = factors_of(draw((1000, 999), CPU), p, dtype)
    assert factors.dtype is dtype
    lost = (factors == 0).double().mean().item()
    assert lost == pytest.approx(p, abs=5 * (p * (1 - p) / 999_000) ** 0.5 + 2**-16)
    exact = round(p * 2**16) / 2**16
    assert sorted(set(factors.flatten().tolist())) == [0.0, pytest.approx(1 / (1 - exact), rel=1e-6)]


def test_elements_are_lost_each_by_itself() -> None:
    torch.manual_seed(0)
    lost = (factors_of(draw((200_000, 8), CPU), 0.5, torch.float32) == 0).double()
    # Neighbours share a random word.
    correlation = torch.corrcoef(lost.T)
    assert (correlation - torch.eye(8)).abs().max() < 5 / 200_000**0.5


def test_the_seed_says_which() -> None:
    layer, x = Dropout(0.3), torch.ones(7, 3)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


@pytest.mark.filterwarnings("ignore:::torch")  # Dynamo meets its own deprecated ways
def test_compiled_layers_of_one_size_drop_what_they_would_without() -> None:
    layer, x = Dropout(0.5), torch.ones(1000, requires_grad=True)

    def run(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return layer(x), layer(2 * x)

    # Generates no code, and takes two equal operators for one, as torch's default does.
    compiled = torch.compile(run, backend="aot_eager_decomp_partition", fullgraph=True)
    torch.manual_seed(0)
    first, second = run(x)
    torch.manual_seed(0)
    outputs = compiled(x)
    assert not torch.equal(first != 0, second != 0)
    assert torch.equal(outputs[0], first)
    assert torch.equal(outputs[1], second)
    (gradient,) = torch.autograd.grad(outputs[1].sum(), x)
    assert torch.equal(gradient, second)


def test_the_gradient_goes_where_the_values_went() -> None:
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)


def test_nothing_is_lost_in_evaluation_or_with_probability_0() -> None:
    x = torch.randn(5, 3)
    assert Dropout(0.4).eval()(x) is x
    state = torch.get_rng_state()
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_plain_is_torch_s_own() -> None:
    layer, x = Dropout(0.3), torch.randn(20, 30)
    layer.plain = True
    torch.manual_seed(1)
    found = layer(x)
    torch.manual_seed(1)
    assert torch.equal(found, torch.nn.functional.dropout(x, 0.3))


def test_nearly_all_and_nothing_at_all() -> None:
    assert factors_of(draw((100,), CPU), 0.999999, torch.float32).isfinite().all()
    assert draw((0, 3), CPU).shape == (0, 3)


def test_a_held_mask_is_one_per_sample_for_all_steps_and_drawn_at_each_forward() -> None:
    torch.manual_seed(0)
    layer, x = HeldDropout(0.5), torch.rand(4, 3, 200) + 1
    first, second = layer(x), layer(x)
    masks = (first != 0).float()
    assert torch.equal(first, x * masks * 2)
    assert torch.equal(masks, masks[:1].expand_as(masks))
    assert not torch.equal(masks[0, 0], masks[0, 1])
    assert not torch.equal(first, second)
    assert layer.eval()(x) is x
    assert HeldDropout(0.0)(x) is x
