"""How a kernel finds its way in a call, read back in plain Python."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.backends.fused.memory import Call, Rows, Spread, each
from neurozoo.core.kinds import LIFSpec

SIZES = st.lists(st.integers(1, 4), min_size=2, max_size=4)


def read(rows: Rows, steps: int, size: int) -> Tensor:
    """``[T, M]`` of rows."""
    return torch.stack([rows.memory[t * rows.step : t * rows.step + size] for t in range(steps)])


def call(currents: Tensor) -> Call:
    return Call(currents, None, torch.tensor(1.0), None, [2.0, 0.0, 0.0], LIFSpec())


@given(data=st.data(), shape=SIZES)
def test_every_neuron_finds_its_threshold(data: st.DataObject, shape: list[int]) -> None:
    own = [data.draw(st.booleans()) for _ in shape]
    form = [size if mine else 1 for size, mine in zip(shape, own, strict=True)]
    threshold = torch.rand(form)
    spread = Spread(threshold, torch.Size(shape))
    size, step = math.prod(shape[1:]), spread.period if spread.rows > 1 else 0
    found = [
        [spread.numbers[t * step + m // spread.inner % spread.period] for m in range(size)] for t in range(shape[0])
    ]
    assert torch.equal(torch.tensor(found), threshold.expand(shape).flatten(1))
    assert spread.numbers.numel() <= torch.tensor(shape).prod()


@given(data=st.data(), shape=SIZES)
def test_a_thresholds_gradient_has_its_shape_and_every_neurons_share(data: st.DataObject, shape: list[int]) -> None:
    form = [data.draw(st.sampled_from([1, size])) for size in shape]
    spread = Spread(torch.rand(form), torch.Size(shape))
    blocks = data.draw(st.integers(1, 3))
    written = torch.rand(spread.places(blocks), dtype=torch.float64)
    gradient = spread.gradient(written, blocks)
    assert list(gradient.shape) == form
    assert torch.allclose(gradient.sum(), written.sum())


def test_a_number_as_threshold_is_everyones() -> None:
    spread = Spread(torch.tensor(0.5), torch.Size((2, 3, 4)))
    assert (spread.period, spread.rows, spread.numbers.tolist()) == (1, 1, [0.5])
    assert spread.gradient(torch.ones(2), 2) == torch.tensor(2.0)


def test_steps_that_lie_in_a_row_are_not_copied() -> None:
    x = torch.rand(6, 3, 4)
    for view in (x, x[::2], x[1:4]):
        rows = call(view).currents
        assert torch.equal(read(rows, view.shape[0], 12), view.flatten(1))
        assert rows.memory.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_one_current_expanded_is_one_step_of_memory() -> None:
    x = torch.rand(3, 4)
    rows = call(x.expand(7, 3, 4)).currents
    assert (rows.memory.data_ptr(), rows.memory.numel(), rows.step) == (x.data_ptr(), 12, 0)


def test_other_layouts_are_written_out() -> None:
    for view in (
        torch.rand(2, 4, 3).transpose(1, 2),
        torch.rand(2, 3, 1).expand(2, 3, 4),
        torch.rand(2, 3, 8)[..., ::2],
    ):
        rows = call(view).currents
        assert torch.equal(read(rows, 2, 12), view.flatten(1))


def test_of_a_plain_sum_each_step_has_one_number() -> None:
    rows, own = each(torch.tensor([1.0, 2.0]).reshape(2, 1, 1).expand(2, 3, 4))
    assert (rows.memory.tolist(), rows.step, own) == ([1.0, 2.0], 1, False)
    rows, own = each(torch.rand(2, 3, 4))
    assert (rows.step, own) == (12, True)
