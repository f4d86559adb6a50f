"""How a kernel finds its way in a call, read back in plain Python."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.backends.fused.memory import Call, Rows, each

SIZES = st.lists(st.integers(1, 4), min_size=2, max_size=4)


def read(rows: Rows, steps: int, size: int) -> Tensor:
    """``[T, M]`` of rows."""
    return torch.stack([rows.memory[t * rows.step : t * rows.step + size] for t in range(steps)])


@given(data=st.data(), shape=SIZES)
def test_every_neuron_finds_its_threshold(data: st.DataObject, shape: list[int]) -> None:
    own = [data.draw(st.booleans()) for _ in shape]
    form = [size if mine else 1 for size, mine in zip(shape, own, strict=True)]
    threshold = torch.rand(form)
    call = Call(torch.zeros(shape), None, threshold)
    step = call.period if call.by_step else 0
    found = [
        [call.threshold[t * step + m // call.inner % call.period] for m in range(call.size)] for t in range(shape[0])
    ]
    assert torch.equal(torch.tensor(found), threshold.expand(shape).flatten(1))
    assert call.threshold.numel() <= torch.tensor(shape).prod()


@given(data=st.data(), shape=SIZES)
def test_a_thresholds_gradient_has_its_shape_and_every_neurons_share(data: st.DataObject, shape: list[int]) -> None:
    form = [data.draw(st.sampled_from([1, size])) for size in shape]
    call = Call(torch.zeros(shape), None, torch.rand(form))
    blocks = data.draw(st.integers(1, 3))
    written = torch.rand(call.threshold_places(blocks), dtype=torch.float64)
    gradient = call.threshold_gradient(written, blocks)
    assert list(gradient.shape) == form
    assert torch.allclose(gradient.sum(), written.sum())


def test_a_number_as_threshold_is_everyones() -> None:
    call = Call(torch.zeros(2, 3, 4), None, torch.tensor(0.5))
    assert (call.period, call.by_step, call.threshold.tolist()) == (1, False, [0.5])
    assert call.threshold_gradient(torch.ones(2), 2) == torch.tensor(2.0)


def test_steps_that_lie_in_a_row_are_not_copied() -> None:
    x = torch.rand(6, 3, 4)
    for view in (x, x[::2], x[1:4]):
        rows = Call(view, None, torch.tensor(1.0)).currents
        assert torch.equal(read(rows, view.shape[0], 12), view.flatten(1))
        assert rows.memory.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_one_current_expanded_is_one_step_of_memory() -> None:
    x = torch.rand(3, 4)
    rows = Call(x.expand(7, 3, 4), None, torch.tensor(1.0)).currents
    assert (rows.memory.data_ptr(), rows.memory.numel(), rows.step) == (x.data_ptr(), 12, 0)


def test_other_layouts_are_written_out() -> None:
    for view in (
        torch.rand(2, 4, 3).transpose(1, 2),
        torch.rand(2, 3, 1).expand(2, 3, 4),
        torch.rand(2, 3, 8)[..., ::2],
    ):
        rows = Call(view, torch.rand(4, 3).T, torch.tensor(1.0)).currents
        assert torch.equal(read(rows, 2, 12), view.flatten(1))


def test_of_a_plain_sum_each_step_has_one_number() -> None:
    rows, own = each(torch.tensor([1.0, 2.0]).reshape(2, 1, 1).expand(2, 3, 4))
    assert (rows.memory.tolist(), rows.step, own) == ([1.0, 2.0], 1, False)
    rows, own = each(torch.rand(2, 3, 4))
    assert (rows.step, own) == (12, True)
