"""The made-up contents: what is changed about them, and what is not."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.testing.parts.inputs import (
    SAMPLES,
    changed,
    each_sequence,
    made_up_features,
    made_up_mask,
    made_up_sequence,
    other_padding,
    padded,
    take,
    with_mask,
)
from neurozoo.testing.parts.layouts import layout_of

seeds = st.integers(0, 1000)


@given(length=st.integers(1, 12), form=st.integers(0, 2), seed=seeds)
def test_each_sample_has_a_valid_row_and_the_first_no_padding(length: int, form: int, seed: int) -> None:
    mask = made_up_mask(length, form, seed)
    assert mask.shape == (SAMPLES, length)
    assert mask.any(1).all()
    assert mask[0].all()


def test_padding_is_on_the_right_on_the_left_and_in_between() -> None:
    right, left, between = (made_up_mask(6, form, 1)[1:] for form in range(3))
    assert not right.all()
    assert (right[:, 0] & left[:, -1] & between[:, 0]).all()
    assert any("101" in "".join(str(int(v)) for v in row).replace("00", "0") for row in between)


@given(left=st.integers(0, 4), right=st.integers(0, 4), form=st.integers(0, 2), seed=seeds)
def test_padding_leaves_valid_rows_and_their_positions(left: int, right: int, form: int, seed: int) -> None:
    sequence = made_up_sequence(5, 3, made_up_mask(5, form, seed), seed)
    longer = padded(sequence, left, right)
    assert sequence.mask is not None
    assert longer.mask is not None
    assert longer.x.shape[1] == 5 + left + right
    assert torch.equal(longer.x[longer.mask], sequence.x[sequence.mask])
    assert torch.equal(longer.position[longer.mask], sequence.position[sequence.mask])
    junk = longer.x[~longer.mask]
    assert torch.isfinite(junk).all()
    assert not junk.numel() or junk.abs().max() > 1e4


@given(seed=seeds)
def test_other_padding_changes_padding_alone(seed: int) -> None:
    sequence = made_up_sequence(6, 3, made_up_mask(6, 0, seed), seed)
    other = other_padding(sequence)
    assert sequence.mask is not None
    assert torch.equal(other.x[sequence.mask], sequence.x[sequence.mask])
    assert (other.x[~sequence.mask] != sequence.x[~sequence.mask]).all()


@pytest.mark.parametrize("context", ["text", None])
def test_a_context_stays_one_sequence(context: str | None) -> None:
    features = made_up_features(layout_of(("audio", "vision"), context))
    twice = changed(features, partial(take, samples=[1, 1]))
    assert isinstance(twice, dict)
    assert list(twice) == [*([context] if context else []), "audio", "vision"]
    assert all((each.enhanced is each.encoded) == (name == context) for name, each in twice.items())
    assert all(sequence.x.shape[0] == 2 for sequence in each_sequence(twice).values())


def test_a_mask_is_added_where_there_is_none() -> None:
    sequence = made_up_sequence(4, 2, None, 0)
    assert sequence.position.shape == (1, 4)
    masked = with_mask(sequence)
    assert masked.mask is not None
    assert masked.mask.all()
    assert torch.equal(masked.position, sequence.position.expand(SAMPLES, -1))


def test_contents_are_the_same_each_time_and_differ_by_seed() -> None:
    one, same, other = (made_up_features(layout_of(("audio",), None), seed=seed)["audio"] for seed in (0, 0, 1))
    assert torch.equal(one.encoded.x, same.encoded.x)
    assert not torch.equal(one.encoded.x, other.encoded.x)
    assert not torch.equal(one.encoded.x, one.projected.x)
