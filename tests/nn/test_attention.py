"""Attention and the encoder block."""

from __future__ import annotations

import torch
import torch.nn.functional as F

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
