"""The made-up contents: what is changed about them, and what is not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.core.multimodal import Tokens
from neurozoo.core.signals import Batch, Signal
from neurozoo.nn.sequence import tokens
from neurozoo.testing.parts.inputs import (
    SAMPLES,
    each_sequence,
    longer,
    made_up_features,
    made_up_mask,
    made_up_sequence,
    of_samples,
    other_padding,
    with_mask,
)
from neurozoo.testing.parts.subject import layout_of

seeds = st.integers(0, 1000)


@given(length=st.integers(1, 12), form=st.integers(0, 2), seed=seeds)
def test_each_sample_has_a_valid_row_and_the_first_no_padding(length: int, form: int, seed: int) -> None:
    mask = made_up_mask(length, form, seed)
    assert mask.shape == (SAMPLES, length)
    assert mask.any(1).all()
    assert mask[0].all()


def test_padding_is_on_the_right_on_the_left_and_in_between() -> None:
    masks = torch.cat([made_up_mask(6, form, seed)[1:] for form in range(3) for seed in range(4)])
    padded = [row for row in masks.tolist() if not all(row)]
    assert any(row == sorted(row) for row in padded)
    assert any(row == sorted(row, reverse=True) for row in padded)
    assert any(row[0] and row[-1] for row in padded)


@given(left=st.integers(0, 4), right=st.integers(0, 4), form=st.integers(0, 2), seed=seeds)
def test_padding_leaves_valid_rows_and_their_positions(left: int, right: int, form: int, seed: int) -> None:
    sequence = made_up_sequence(5, 3, made_up_mask(5, form, seed), seed)
    padded = longer(sequence, left, right)
    assert isinstance(padded, Tokens)
    assert sequence.mask is not None
    assert padded.mask is not None
    assert padded.x.shape[1] == 5 + left + right
    assert torch.equal(padded.x[padded.mask], sequence.x[sequence.mask])
    assert torch.equal(padded.position[padded.mask], sequence.position[sequence.mask])
    junk = padded.x[~padded.mask]
    assert torch.isfinite(junk).all()
    assert not junk.numel() or junk.abs().max() > 1e4


@given(seed=seeds)
def test_other_padding_changes_padding_alone(seed: int) -> None:
    sequence = made_up_sequence(6, 3, made_up_mask(6, 0, seed), seed)
    other = other_padding(sequence)
    assert sequence.mask is not None
    assert torch.equal(other.x[sequence.mask], sequence.x[sequence.mask])
    assert (other.x[~sequence.mask] != sequence.x[~sequence.mask]).all()


@pytest.mark.parametrize("context", [("text",), ()])
def test_a_context_stays_one_sequence(context: tuple[str, ...]) -> None:
    features = made_up_features(layout_of(("audio", "vision"), context))
    twice = of_samples(features, [1, 1])
    assert isinstance(twice, dict)
    assert list(twice) == [*context, "audio", "vision"]
    assert all((each.enhanced is each.encoded) == (name in context) for name, each in twice.items())
    assert all(sequence.x.shape[0] == 2 for sequence in each_sequence(twice).values())


def test_a_mask_is_added_where_there_is_none() -> None:
    sequence = made_up_sequence(4, 2, None, 0)
    assert sequence.position.shape == (1, 4)
    masked = with_mask(sequence)
    assert masked.mask is not None
    assert masked.mask.all()
    assert torch.equal(masked.position, sequence.position.expand(SAMPLES, -1))


def test_contents_are_the_same_each_time_and_differ_by_seed() -> None:
    one, same, other = (made_up_features(layout_of(("audio",)), seed=seed)["audio"] for seed in (0, 0, 1))
    assert torch.equal(one.encoded.x, same.encoded.x)
    assert not torch.equal(one.encoded.x, other.encoded.x)
    assert not torch.equal(one.encoded.x, one.projected.x)


def test_targets_of_steps_move_with_their_steps() -> None:
    valid = torch.tensor([[True, False, True]])
    batch = Batch({"x": Signal(torch.ones(1, 3, 2), valid)}, torch.tensor([[4, 5, 6]]), valid)
    padded = longer(batch, 1, 2)
    assert isinstance(padded, Batch)
    assert padded.target is not None
    assert padded.target[padded.signals["x"].mask].tolist() == [4, 6]
    assert torch.equal(padded.target_valid, padded.signals["x"].valid)


def test_other_token_numbers_stay_numbers_of_tokens() -> None:
    numbers = tokens(torch.tensor([[0, 3, 1]]), torch.tensor([[True, True, False]]))
    assert other_padding(numbers).x.tolist() == [[0, 3, 2]]
