"""Attention and the encoder block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from neurozoo.nn.attention import EncoderBlock, MultiHeadAttention
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


@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    width=st.integers(2, 5),
    asking=st.integers(1, 4),
    asked=st.integers(2, 12),
    masked=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60)
def test_few_queries_or_many_say_the_same(
    batch: int, heads: int, width: int, asking: int, asked: int, masked: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = MultiHeadAttention(heads * width, heads, 0.0).double()
    query = torch.randn(batch, asking, heads * width, dtype=torch.float64, requires_grad=True)
    source = torch.randn(batch, asked, heads * width, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(batch, asked) < 0.6 if masked else None
    outcomes = []
    for plain in (False, True):
        layer.plain = plain
        y = layer(query, source, source, mask)
        gradients = torch.autograd.grad(y.square().sum(), [query, source, *layer.parameters()])
        outcomes.append([y, *gradients])
    for found, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    width=st.integers(1, 5),
    length=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60)
def test_a_small_sequence_attends_to_itself_alike_with_gradients_and_without(
    batch: int, heads: int, width: int, length: int, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = MultiHeadAttention(heads * width, heads, 0.5).double().eval()
    x = torch.randn(batch, length, heads * width, dtype=torch.float64)
    expected = layer(x, x, x, None)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, x, x, None), expected, rtol=1e-9, atol=1e-12)


def test_a_small_sequence_drops_weights_in_training_without_gradients() -> None:
    layer, x = MultiHeadAttention(4, 2, 0.5), torch.randn(1, 3, 4)
    with torch.no_grad():
        assert not torch.equal(layer(x, x, x, None), layer(x, x, x, None))


def test_the_mean_over_many_dropouts_of_few_queries_is_that_of_none() -> None:
    torch.manual_seed(0)
    layer = MultiHeadAttention(12, 3, 0.3)
    torch.nn.init.normal_(layer.value.bias)  # the weights that are left do not add up to 1
    query, source = torch.randn(1, 2, 12), torch.randn(1, 9, 12)
    with torch.no_grad():
        many = source.expand(20_000, -1, -1)
        found = layer(query.expand(20_000, -1, -1), many, many, None).mean(0)
        torch.testing.assert_close(found, layer.eval()(query, source, source, None)[0], rtol=0, atol=0.02)


def test_no_valid_key_gives_zero_and_finite_gradients() -> None:
    attention = MultiHeadAttention(4, 2, 0.0)
    x = torch.randn(2, 3, 4, requires_grad=True)
    out = attention(x, x, x, torch.tensor([[True, True, False], [False, False, False]]))
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
