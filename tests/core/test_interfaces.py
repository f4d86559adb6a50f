from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.neuron import Neuron, steps_of
from neurozoo.core.signals import Batch
from neurozoo.errors import SpikingError


class Echo(Neuron):
    """Fires with the threshold, so that the default scan can be seen."""

    def step(self, current, state, threshold, params=None):
        return torch.zeros_like(current) + threshold, (state[0] + current,)


def test_a_spec_says_what_it_cannot_be() -> None:
    with pytest.raises(SpikingError, match=r"tau is 1\.0; the membrane time constant must be larger than 1 step"):
        LIFSpec(tau=1.0)
    with pytest.raises(SpikingError, match="no surrogate is called 'relu'; there are: atan, sigmoid, superspike"):
        LIFSpec(surrogate="relu")  # type: ignore[arg-type]
    with pytest.raises(SpikingError, match="tau is nan"):
        LIFSpec(tau=float("nan"))
    with pytest.raises(SpikingError, match="tau is inf, and an input divided by it vanishes; set decay_input=False"):
        LIFSpec(tau=float("inf"))


def test_a_soft_reset_rests_at_0() -> None:
    assert [LIFSpec(v_reset=each).rest(LIFSpec(v_reset=each).parameters) for each in (None, 0.2)] == [(0.0,), (0.2,)]


def test_the_default_scan_steps_through_time() -> None:
    thresholds = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    spikes, v = Echo(LIFSpec(v_reset=0.5)).scan(torch.ones(3, 2, 4), None, thresholds)
    assert spikes[:, 0, 0].tolist() == [1, 2, 3]
    assert torch.equal(v[0], torch.full((2, 4), 3.5))


@given(steps=st.integers(1, 4), batch=st.integers(1, 3), neurons=st.integers(1, 3), data=st.data())
def test_each_step_gets_the_threshold_that_broadcasting_gives(
    steps: int, batch: int, neurons: int, data: st.DataObject
) -> None:
    full = (steps, batch, neurons)
    shape = tuple(data.draw(st.sampled_from([1, size])) for size in full)
    threshold, currents = torch.randn(shape), torch.zeros(full)
    stacked = torch.stack([torch.as_tensor(level).expand(batch, neurons) for level in steps_of(threshold, currents)])
    assert torch.equal(stacked, threshold.expand(full))


def test_floats_and_0d_tensors_pass_as_they_are() -> None:
    learnable = torch.tensor(1.0, requires_grad=True)
    assert steps_of(0.5, torch.zeros(2, 3)) == [0.5, 0.5]
    assert all(level is learnable for level in steps_of(learnable, torch.zeros(2, 3)))


def test_a_thresholds_dtype_does_not_spread() -> None:
    (level,) = steps_of(torch.ones(1, 2, 1), torch.zeros(1, 2, 3, dtype=torch.bfloat16))
    assert isinstance(level, torch.Tensor)
    assert level.dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(3,), (2,), (2, 3), (1,), (5, 2), (4, 1, 1), (1, 1, 2), (1, 1, 1, 3)])
def test_other_thresholds_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpikingError, match="as many axes, each of the same size or 1") as caught:
        steps_of(torch.ones(shape), torch.zeros(5, 2, 3))
    assert f"a threshold of shape {list(shape)} does not fit currents of shape [5, 2, 3]" in str(caught.value)


@pytest.mark.parametrize("shape", [(), (3,), (0, 2, 3)])
def test_currents_need_a_step_and_a_batch_axis(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpikingError, match=r"give \[T, B, \.\.\.\] with T >= 1"):
        steps_of(1.0, torch.zeros(shape))


def test_a_batch_knows_its_size_and_moves() -> None:
    batch = Batch.of({"audio": torch.zeros(4, 2, 3)}, {"audio": torch.ones(4, 2, dtype=torch.bool)}, torch.zeros(4, 6))
    assert len(batch) == 4
    moved = batch.to("meta")
    assert moved.signals["audio"].values.device.type == moved.signals["audio"].mask.device.type == "meta"
    assert moved.target is not None
    assert moved.target.device.type == "meta"
    assert batch.signals["audio"].values.device.type == "cpu"
