"""Positions, padding and reading one sequence at another's times."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.nn.sequence import at_relative_times, concatenate, sinusoidal_code, tokens, valid_first, zero_padding


def mask(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def test_positions_count_from_the_first_valid_row() -> None:
    sequence = tokens(torch.zeros(3, 4, 2), mask([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]))
    assert sequence.position.tolist() == [[0, 0, 0, 1], [0, 1, 2, 2], [0, 0, 0, 0]]
    assert tokens(torch.zeros(3, 4, 2), None).position.tolist() == [[0, 1, 2, 3]]


def test_joined_sequences_keep_their_positions() -> None:
    joined = concatenate([tokens(torch.zeros(1, 2, 3), None), tokens(torch.ones(1, 3, 3), None)])
    assert joined.position.tolist() == [[0, 1, 0, 1, 2]]
    assert joined.mask is None
    assert joined.x[0, :, 0].tolist() == [0, 0, 1, 1, 1]


def test_joined_positions_are_written_out_where_one_has_its_own() -> None:
    shared, own = tokens(torch.zeros(2, 2, 3), None), tokens(torch.zeros(2, 2, 3), mask([[1, 1], [0, 1]]))
    assert concatenate([shared, shared]).position.tolist() == [[0, 1, 0, 1]]
    assert concatenate([shared, own]).position.tolist() == [[0, 1, 0, 1], [0, 1, 0, 0]]


def test_the_position_code_by_hand() -> None:
    code = sinusoidal_code(torch.tensor([0, 2]), 3, 4, torch.float64)
    expected = [[0, 1, 0, 1], [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]]
    torch.testing.assert_close(code, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_an_odd_width() -> None:
    assert sinusoidal_code(torch.arange(3), 3, 5, torch.float32).shape == (3, 5)


def test_the_cached_code_can_be_used_after_inference_mode() -> None:
    with torch.inference_mode():
        sinusoidal_code(torch.arange(2), 41, 6, torch.float32)
    x = torch.ones(2, 6, requires_grad=True)
    (x * sinusoidal_code(torch.arange(2), 41, 6, torch.float32)).sum().backward()


def test_zero_padding() -> None:
    x = torch.ones(1, 3, 2)
    assert zero_padding(x, mask([[1, 0, 1]]))[0, :, 0].tolist() == [1, 0, 1]
    assert zero_padding(x, None) is x


def test_reading_at_relative_times_by_hand() -> None:
    source = torch.tensor([[9.0, 10.0, 20.0, 30.0, 40.0, 9.0]])[..., None]
    there = mask([[0, 1, 1, 1, 1, 0]])
    # Two rows at 1/4 and 3/4 of four: rows 1 and 3, that is 20 and 40.
    found = at_relative_times(source, there, mask([[1, 1, 0]]), 3)
    assert found[0, :2, 0].tolist() == [20, 40]
    # Eight rows of four: each twice.
    found = at_relative_times(source, there, None, 8)
    assert found[0, :, 0].tolist() == [10, 10, 20, 20, 30, 30, 40, 40]


@given(n=st.integers(1, 9), left=st.integers(0, 3), right=st.integers(0, 3))
def test_as_many_rows_pair_one_by_one_wherever_the_padding_is(n: int, left: int, right: int) -> None:
    source = torch.arange(1.0, n + 1)[None, :, None]
    here = torch.nn.functional.pad(torch.ones(1, n, dtype=torch.bool), (left, right))
    found = at_relative_times(source, None, here, n + left + right)
    assert torch.equal(found[here], source[0])


def test_leading_axes_are_kept() -> None:
    source = torch.arange(24.0).reshape(2, 3, 4, 1)
    every = torch.ones(3, 4, dtype=torch.bool)
    assert torch.equal(at_relative_times(source, every, every, 4), source)


@given(rows=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=9))
def test_the_order_of_rows_of_an_exported_program(rows: list[list[bool]]) -> None:
    mask = torch.tensor(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        exported = valid_first(mask)
    assert torch.equal(exported, valid_first(mask))


def test_the_position_code_of_an_exported_program(monkeypatch: pytest.MonkeyPatch) -> None:
    position = torch.arange(11)[None]
    cached = sinusoidal_code(position, 11, 7, torch.float32)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(sinusoidal_code(position, 11, 7, torch.float32), cached)
