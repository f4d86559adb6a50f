"""Groups of positions, with the targets of each position."""

from __future__ import annotations

import pytest
import torch

from neurozoo.core.signals import Signal, SignalShape
from neurozoo.data.representations.group_steps import GroupSteps
from neurozoo.errors import DataError

BITS = SignalShape((2,), 7, "bool", False, tick=0.004)


def test_groups_by_hand() -> None:
    x = torch.tensor([[1, 0], [1, 1], [0, 0], [0, 0], [0, 0], [0, 1], [1, 1]], dtype=torch.bool)[None]
    for values, table in (
        ("sum", [[2.0, 1.0], [0.0, 1.0]]),
        ("mean", [[2 / 3, 1 / 3], [0.0, 1 / 3]]),
        ("any", [[True, True], [False, True]]),
    ):
        group = GroupSteps(count=3, values=values)  # type: ignore[arg-type]
        found = group(Signal(x), BITS)
        assert found.valid is None
        torch.testing.assert_close(found.values[0], torch.tensor(table))
        assert group.shape(BITS) == SignalShape((2,), 2, str(found.values.dtype)[6:], False, tick=0.012)


def test_a_group_is_valid_if_its_last_position_is_and_has_its_target() -> None:
    valid = torch.tensor([[True] * 6 + [False], [True] * 5 + [False] * 2, [True, False, True] + [False] * 4])
    x = torch.full((3, 7, 1), 2.0)
    shape = SignalShape((1,), 7)
    found = GroupSteps(count=3)(Signal(x, valid), shape)
    assert found.mask.tolist() == [[True, True], [True, False], [True, False]]
    assert found.values.flatten(1).tolist() == [[6.0, 6.0], [6.0, 4.0], [4.0, 0.0]]
    target = torch.arange(21).view(3, 7)
    counts = torch.ones(3, 7, dtype=torch.bool)
    counts[0, 5] = False
    steps = GroupSteps(count=3).steps(Signal(target, counts), shape)
    assert steps.values.tolist() == [[2, 5], [9, 12], [16, 19]]
    assert steps.valid is not None
    assert steps.valid.tolist() == [[True, False], [True, True], [True, True]]
    assert GroupSteps(count=3).steps(Signal(target), shape).valid is None


def test_fewer_positions_than_a_group_are_no_whole_group() -> None:
    signal = Signal(torch.ones(2, 2, 1), torch.ones(2, 2, dtype=torch.bool))
    found = GroupSteps(count=3)(signal, SignalShape((1,), 2))
    assert found.values.shape == (2, 1, 1)
    assert not found.mask.any()


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (SignalShape.events((4,), 5), "events have none yet; represent them by bins first"),
        (SignalShape((), 5, "int64"), "sums of the int64 numbers of tokens mean nothing"),
    ],
)
def test_what_has_no_steps_is_refused(shape: SignalShape, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        GroupSteps(count=2).shape(shape)
