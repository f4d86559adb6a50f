"""Attention of narrow heads against the same written plainly."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.nn import narrow_attention as narrow
from neurozoo.nn.attention import MultiHeadAttention, record_attention
from neurozoo.nn.narrow_attention import narrow_attention


@pytest.fixture(params=["few", "in pieces"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are of few scores, which are otherwise made at once."""
    if request.param == "in pieces":
        monkeypatch.setattr(narrow, "FEW", 0)
        monkeypatch.setattr(narrow, "PIECE", 100)


def plainly(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    def split(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

    scores = split(q) @ split(k).transpose(-1, -2) / math.sqrt(q.shape[-1] // heads)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
    return (torch.softmax(scores, -1) @ split(v)).transpose(1, 2).flatten(2)


@pytest.mark.usefixtures("_either_way")
@given(
    batch=st.integers(1, 4),
    heads=st.integers(1, 5),
    width=st.integers(1, 7),
    asking=st.integers(1, 9),
    asked=st.integers(1, 9),
    masked=st.booleans(),
    scale=st.sampled_from([1.0, 30.0]),  # scores of the second are too large to be left as they are
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])  # it changes nothing between
def test_values_and_gradients_are_those_of_the_plain_form(
    batch: int, heads: int, width: int, asking: int, asked: int, masked: bool, scale: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)

    def draw(length: int) -> Tensor:
        numbers = torch.randn(batch, heads * width, length, generator=random, dtype=torch.float64)
        return (scale * numbers).requires_grad_()

    q, k, v = draw(asking), draw(asked), draw(asked)
    mask = torch.rand(batch, asked, generator=random) < 0.7 if masked else None
    weight = torch.randn(batch, heads * width, asking, generator=random, dtype=torch.float64)
    answered = torch.ones(batch) if mask is None else mask.any(1)
    weight = weight * answered[:, None, None]
    by_position = (x.transpose(1, 2) for x in (q, k, v))
    expected = plainly(*by_position, mask, heads).transpose(1, 2) * answered[:, None, None]
    results = [narrow_attention(q, k, v, mask, heads, 0.0) * answered[:, None, None], expected]
    gradients = [torch.autograd.grad(each, (q, k, v), weight) for each in results]
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12 * scale**3)


@pytest.mark.usefixtures("_either_way")
def test_the_layer_says_the_same_either_way() -> None:
    torch.manual_seed(0)
    layer = MultiHeadAttention(30, 5, 0.0)
    x, source = torch.randn(4, 9, 30, requires_grad=True), torch.randn(4, 7, 30)
    mask = torch.rand(4, 7) < 0.6
    mask[2] = False
    outcomes = []
    for plain in (False, True):
        layer.plain = plain
        y = layer(x, source, source, mask)
        outcomes.append([y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])])
    for found, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(outcomes[0][0][2], torch.zeros(9, 30))


@pytest.mark.usefixtures("_either_way")
def test_dropped_weights_are_dropped_in_the_gradient_too() -> None:
    q, k, v = (torch.randn(2, 6, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def attended(*given: Tensor) -> Tensor:
        torch.manual_seed(3)
        return narrow_attention(*given, None, 2, 0.4)

    assert torch.autograd.gradcheck(attended, (q, k, v))
    assert not torch.equal(attended(q, k, v), narrow_attention(q, k, v, None, 2, 0.0))


@pytest.mark.usefixtures("_either_way")
def test_the_mean_over_many_dropouts_is_that_of_none() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 6, 5) for _ in range(3))
    many = narrow_attention(*(x.expand(20_000, -1, -1) for x in (q, k, v)), None, 2, 0.3).mean(0)
    torch.testing.assert_close(many, narrow_attention(q, k, v, None, 2, 0.0)[0], rtol=0, atol=0.02)


def test_in_pieces_it_cannot_be_differentiated_twice_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "FEW", 0)
    q = torch.randn(1, 3, 4, requires_grad=True)
    (g,) = torch.autograd.grad(narrow_attention(q, q, q, None, 2, 0.0).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        g.sum().backward()


def test_who_looks_at_the_weights_sees_them() -> None:
    layer = MultiHeadAttention(12, 3, 0.0)
    x = torch.randn(2, 5, 12)
    with record_attention(layer) as seen:
        found = layer(x, x, x, None)
    assert seen[""].shape == (2, 3, 5, 5)
    torch.testing.assert_close(found, layer(x, x, x, None))
