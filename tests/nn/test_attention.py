"""Attention and the encoder block."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.nn import attention
from neurozoo.nn.attention import EncoderBlock, MultiHeadAttention, record_attention
from neurozoo.nn.sequence import tokens


def test_attention_as_torch_has_it() -> None:
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(12, 3, 0.0), torch.nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    q, k, v = torch.randn(2, 4, 12), torch.randn(2, 6, 12), torch.randn(2, 6, 12)
    mask = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    expected, _ = theirs(q, k, v, key_padding_mask=~mask)
    torch.testing.assert_close(ours(q, k, v, mask), expected, rtol=1e-5, atol=1e-6)
    expected, _ = theirs(q, k, v)
    torch.testing.assert_close(ours(q, k, v, None), expected, rtol=1e-5, atol=1e-6)


def written_out(layer: MultiHeadAttention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Vaswani et al. 2017, section 3.2, head by head."""
    width, heads = q.shape[2] // layer.heads, []
    q, k, v = layer.query(q), layer.key(k), layer.value(v)
    for head in range(layer.heads):
        own = slice(head * width, (head + 1) * width)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(width)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        heads.append(torch.softmax(scores, -1) @ v[..., own])
    return layer.out(torch.cat(heads, -1))


@pytest.mark.parametrize("piece", [1, 100, attention.PIECE], ids=["sample by sample", "in pieces", "at once"])
@given(
    batch=st.integers(1, 4),
    heads=st.integers(1, 5),
    width=st.integers(1, 7),
    queries=st.integers(1, 9),
    keys=st.integers(1, 9),
    masked=st.booleans(),
    scale=st.sampled_from([1.0, 30.0]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40)
def test_values_and_gradients_are_those_written_out(
    piece: int, batch: int, heads: int, width: int, queries: int, keys: int, masked: bool, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = MultiHeadAttention(heads * width, heads, 0.0).double()
    query = (scale * torch.randn(batch, queries, heads * width, dtype=torch.float64)).requires_grad_()
    source = (scale * torch.randn(batch, keys, heads * width, dtype=torch.float64)).requires_grad_()
    mask = None
    if masked:
        mask = torch.rand(batch, keys) < 0.6
        mask[:, 0] = True  # without any key, what is written out is no number
    outcomes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "PIECE", piece)
        for forward in (layer, partial(written_out, layer)):
            y = forward(query, source, source, mask)
            outcomes.append([y, *torch.autograd.grad(y.square().sum(), [query, source, *layer.parameters()])])
    for found, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10 * scale**3)


def test_the_mean_over_many_dropouts_is_that_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "PIECE", 50_000)
    torch.manual_seed(0)
    layer = MultiHeadAttention(12, 3, 0.3)
    torch.nn.init.normal_(layer.value.bias)  # the weights that are left do not add up to 1
    query, source = torch.randn(1, 2, 12), torch.randn(1, 9, 12)
    with torch.no_grad():
        many = source.expand(20_000, -1, -1)
        found = layer(query.expand(20_000, -1, -1), many, many, None).mean(0)
        torch.testing.assert_close(found, layer.eval()(query, source, source, None)[0], rtol=0, atol=0.02)


@pytest.mark.parametrize("piece", [1, attention.PIECE], ids=["sample by sample", "at once"])
def test_recorded_weights_are_those_of_all_samples(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "PIECE", piece)
    layer, x = MultiHeadAttention(12, 3, 0.5), torch.randn(4, 5, 12)
    mask = torch.rand(4, 5) < 0.5
    mask[:, 2] = True
    with record_attention(layer) as seen:
        layer(torch.randn(2, 3, 12), torch.randn(2, 5, 12), torch.randn(2, 5, 12), None)
        layer(x[:, :3], x, x, mask)
    assert seen[""].shape == (4, 3, 3, 5)
    torch.testing.assert_close(seen[""].sum(-1), torch.ones(4, 3, 3))
    assert (seen[""].permute(0, 3, 1, 2)[~mask] == 0).all()
    assert not layer._forward_hooks
    assert not layer.dropout._forward_pre_hooks


def test_no_sample_at_all() -> None:
    layer = MultiHeadAttention(12, 3, 0.0)
    empty = torch.zeros(0, 5, 12)
    assert layer(empty, empty, empty, torch.ones(0, 5, dtype=torch.bool)).shape == (0, 5, 12)


def test_no_valid_key_gives_zero_and_finite_gradients() -> None:
    layer = MultiHeadAttention(4, 2, 0.0)
    x = torch.randn(2, 3, 4, requires_grad=True)
    out = layer(x, x, x, torch.tensor([[True, True, False], [False, False, False]]))
    assert (out[1] == 0).all()
    assert (out[0] != 0).any()
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_masked_keys_do_not_matter() -> None:
    torch.manual_seed(0)
    block = EncoderBlock(6, 3, 0.1, 0.1).eval()
    query = tokens(torch.randn(2, 4, 6), None)
    source = torch.randn(2, 5, 6)
    mask = torch.tensor([[True, True, False, False, False], [True, True, True, True, False]])
    changed = torch.where(mask[..., None], source, 1e6)
    assert torch.equal(block(query, tokens(source, mask)).x, block(query, tokens(changed, mask)).x)
    longer = F.pad(changed, (0, 0, 3, 2), value=-5.0)
    found = block(query, tokens(longer, F.pad(mask, (3, 2)))).x
    torch.testing.assert_close(found, block(query, tokens(source, mask)).x, rtol=1e-5, atol=1e-6)


def test_order_matters() -> None:
    torch.manual_seed(0)
    block = EncoderBlock(6, 3, 0.0, 0.0)
    x = torch.randn(1, 4, 6)
    flipped = block(tokens(x, None), tokens(x.flip(1), None)).x
    assert (flipped - block(tokens(x, None), tokens(x, None)).x).abs().max() > 1e-3


@pytest.mark.parametrize("piece", [1, attention.PIECE], ids=["sample by sample", "at once"])
@pytest.mark.parametrize("masked", [False, True])
def test_an_exported_program_has_the_same_bits(piece: int, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(12, 3, 0.0).eval(), torch.randn(5, 9, 12)
    mask = torch.rand(5, 9) < 0.6 if masked else None
    monkeypatch.setattr(attention, "PIECE", piece)
    with torch.no_grad():
        wanted = layer(x, x, x, mask)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert torch.equal(layer(x, x, x, mask), wanted)
