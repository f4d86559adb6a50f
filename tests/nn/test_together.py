"""Encoder blocks of a round, computed as one, are those computed one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurozoo.core.interfaces import Tokens
from neurozoo.nn import together
from neurozoo.nn.attention import EncoderBlock
from neurozoo.nn.sequence import tokens
from neurozoo.nn.together import encode_together


def blocks_of(count: int, attention_dropout: float = 0.0) -> list[EncoderBlock]:
    blocks = [EncoderBlock(12, 3, 0.2, attention_dropout).double() for _ in range(count)]
    for block in blocks:
        for parameter in block.parameters():  # norms would be alike otherwise
            torch.nn.init.normal_(parameter, std=0.4)
    return blocks


def sequence(length: int, masked: bool) -> Tokens:
    mask = torch.rand(3, length) < 0.7 if masked else None
    return tokens(torch.randn(3, length, 12, dtype=torch.float64, requires_grad=True), mask)


@given(
    lengths=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
    alike=st.booleans(),
    to_itself=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=50)
def test_values_and_gradients_are_the_same(
    lengths: list[tuple[int, int]], alike: bool, to_itself: bool, masked: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    lengths = [lengths[0]] * len(lengths) if alike else lengths
    blocks = [block.eval() for block in blocks_of(len(lengths))]
    queries = [sequence(asking, masked) for asking, _ in lengths]
    sources = queries if to_itself else [sequence(asked, masked) for _, asked in lengths]
    outcomes = []
    for found in (
        encode_together(blocks, queries, sources),
        [block(q, s) for block, q, s in zip(blocks, queries, sources, strict=True)],
    ):
        loss = sum((each.x.square().sum() for each in found), torch.zeros(()))
        inputs = [each.x for each in (queries if to_itself else [*queries, *sources])]
        parameters = [parameter for block in blocks for parameter in block.parameters()]
        gradients = torch.autograd.grad(loss, [*inputs, *parameters])
        outcomes.append([*(each.x for each in found), *gradients])
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_what_is_alike_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block.eval() for block in blocks_of(3)]
    calls = []
    monkeypatch.setattr(EncoderBlock, "forward", lambda *_: calls.append(1))
    sequences = [sequence(4, False) for _ in blocks]
    encode_together(blocks, sequences, sequences)
    assert not calls
    blocks[1].attention.plain = True
    encode_together(blocks, sequences, sequences)
    assert len(calls) == 1


def test_large_ones_and_those_listened_to_are_called_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block.eval() for block in blocks_of(2)]
    heard = []
    blocks[0].inner.register_forward_hook(lambda *_: heard.append(1))
    sequences = [sequence(4, False) for _ in blocks]
    encode_together(blocks, sequences, sequences)
    assert heard == [1]
    monkeypatch.setattr(together, "LARGEST", 3)
    found = encode_together(blocks, sequences, sequences)
    assert torch.equal(found[1].x, blocks[1](sequences[1], sequences[1]).x)


def test_a_block_that_is_more_than_its_parameters_is_called_by_itself() -> None:
    blocks = [block.eval() for block in blocks_of(3)]
    blocks[1].output_norm.eps = 0.1
    sequences = [sequence(4, False) for _ in blocks]
    found = encode_together(blocks, sequences, sequences)
    for block, own, each in zip(blocks, sequences, found, strict=True):
        torch.testing.assert_close(each.x, block(own, own).x, rtol=1e-9, atol=1e-10)


def test_dropout_is_as_likely_in_each_block() -> None:
    torch.manual_seed(0)
    blocks = blocks_of(2, attention_dropout=0.1)
    sequences = [sequence(5, False) for _ in blocks]
    first, second = encode_together(blocks, sequences, sequences), encode_together(blocks, sequences, sequences)
    assert all(not torch.equal(a.x, b.x) for a, b in zip(first, second, strict=True))
    torch.manual_seed(1)
    again = encode_together(blocks, sequences, sequences)
    torch.manual_seed(1)
    assert all(torch.equal(a.x, b.x) for a, b in zip(again, encode_together(blocks, sequences, sequences), strict=True))
