"""Synapses with delays: kernels, currents and masks computed by hand, the schedule, the hooks of a training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.recording import recorded
from neurozoo.core.roles import parameter_roles
from neurozoo.core.signals import Batch
from neurozoo.nn.delays import DelayedLinear, NormalisedDelays
from neurozoo.training.initialisation import initialise_fluctuation_driven


def delayed(weights: list[float], positions: list[float], kernel: int = 5, **options: object) -> DelayedLinear:
    """A single input and output, an element for each weight."""
    made = DelayedLinear(1, 1, kernel=kernel, elements=len(weights), **options)  # type: ignore[arg-type]
    made.weight.data = torch.tensor([[weights]])
    made.position.data = torch.tensor([[positions]])
    return made


def series(*values: float) -> Tensor:
    """``[T, 1, 1]``."""
    return torch.tensor(values).view(-1, 1, 1)


@pytest.mark.parametrize(
    ("position", "delay"),
    [(2.0, 0), (1.0, 1), (0.4, 2), (-0.4, 2), (-1.0, 3), (-2.0, 4), (-9.0, 4), (1.5, 0), (0.5, 2)],
)
def test_in_evaluation_an_input_arrives_after_its_rounded_delay(position: float, delay: int) -> None:
    y = delayed([3.0], [position]).eval()(series(1.0, 0.0, 2.0, 0.0))
    expected = torch.zeros(6)  # T + 2 steps
    for t, x in ((0, 1.0), (2, 2.0)):
        if t + delay < 6:
            expected[t + delay] += 3.0 * x
    torch.testing.assert_close(y.flatten(), expected)


def test_two_elements_are_two_synapses() -> None:
    y = delayed([2.0, 5.0], [1.0, -1.0]).eval()(series(1.0, 0.0, 0.0))
    torch.testing.assert_close(y.flatten(), torch.tensor([0.0, 2.0, 0.0, 5.0, 0.0]))


def test_in_training_a_kernel_is_a_gaussian_around_its_position() -> None:
    layer = delayed([3.0], [0.7], width=1.5)
    bell = [math.exp(-0.5 * ((m - 2.7) / 1.77) ** 2) for m in range(5)]
    kernel = [3.0 * each / (sum(bell) + 1e-7) for each in bell]
    torch.testing.assert_close(layer.kernels(False).flatten(), torch.tensor(kernel))
    # The last entry has no delay: an impulse meets the kernel from its end.
    torch.testing.assert_close(layer(series(1.0, 0.0, 0.0)).flatten(), torch.tensor(kernel[::-1]))


def test_smooth_kernels_may_stay_in_evaluation() -> None:
    x = series(1.0, 0.0, 1.0)
    layer = delayed([3.0], [0.7], evaluated="smooth")
    assert torch.equal(layer.eval()(x), layer.train()(x))
    layer = delayed([3.0], [0.7])
    assert not torch.equal(layer.eval()(x), layer.train()(x))


def test_what_a_gradient_in_evaluation_is() -> None:
    layer, x = delayed([3.0], [0.7], width=1.0), series(1.0, 0.0, 2.0)
    weights = torch.arange(5.0).view(-1, 1, 1)
    with torch.no_grad():
        plain = layer.eval()(x)
    rounded = layer(x)
    assert torch.equal(rounded, plain)
    (of_rounded,) = torch.autograd.grad((rounded * weights).sum(), layer.position)
    (of_smooth,) = torch.autograd.grad((layer.train()(x) * weights).sum(), layer.position)
    torch.testing.assert_close(of_rounded, of_smooth)
    assert of_rounded.abs().sum() > 0


def test_inputs_outside_the_mask_are_not_there_and_the_mask_lengthens() -> None:
    layer, valid = delayed([1.0], [0.0]).eval(), torch.tensor([[True], [False], [False], [False], [True]])
    whole = layer(series(1.0, 7.0, math.nan, 7.0, 2.0), valid)
    assert torch.equal(whole, layer(series(1.0, 0.0, 0.0, 0.0, 2.0)))
    after = layer.valid_after(valid)
    assert after is not None
    assert after[:, 0].tolist() == [True, True, True, False, True, True, True]
    assert layer.valid_after(None) is None
    assert delayed([1.0], [0.0], kernel=1).valid_after(valid) is valid


def test_positions_start_and_stay_inside_the_kernel() -> None:
    layer = DelayedLinear(40, 30, kernel=9)
    assert layer.position.abs().max() <= 4
    assert layer.position.std() > 2
    assert layer.weight.abs().max() <= math.sqrt(6 / 40)
    layer.position.data += 100
    with torch.no_grad():
        layer.after_step()
    assert (layer.position == 4).all()


def test_the_width_falls_from_epoch_to_epoch_and_stops() -> None:
    layer = DelayedLinear(2, 2, kernel=25, narrowing=10.0)
    widths = []
    for _ in range(14):
        widths.append(float(layer.state_dict()["width"]))
        layer.after_epoch()
    assert widths[0] == 12.0
    assert widths[1] == pytest.approx(12.0 * (0.23 / 12) ** 0.1)
    assert widths[9] > 0.23
    assert widths[-1] == widths[-2] == pytest.approx(0.23, rel=0.5)
    assert widths[-1] <= 0.2301


def test_it_reports_how_far_training_is_from_evaluation() -> None:
    wide, narrow = (delayed([3.0, 1.0], [1.0, -2.0], width=width).report() for width in (2.0, 0.0))
    assert wide["width"] == 2.0
    assert wide["rounding_gap"] > 0.5
    assert narrow["rounding_gap"] < 0.01
    layer = delayed([3.0], [0.0], kernel=1)
    assert layer.report()["rounding_gap"] < 1e-6


def test_positions_have_a_role_of_their_own() -> None:
    roles = parameter_roles(NormalisedDelays(DelayedLinear(2, 3, kernel=3)))
    assert roles == {
        "weight.weight": "weight",
        "weight.position": "position",
        "norm.weight": "norm",
        "norm.bias": "norm",
    }


def test_normalisation_is_over_the_lengthened_valid_steps() -> None:
    torch.manual_seed(0)
    synapse = NormalisedDelays(DelayedLinear(3, 2, kernel=3))
    valid = torch.arange(6)[:, None] < torch.tensor([4, 6])
    currents = synapse(torch.randn(6, 2, 3), valid)
    after = synapse.valid_after(valid)
    assert after is not None
    assert after.sum(0).tolist() == [5, 7]
    rows = currents[after]
    torch.testing.assert_close(rows.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows.var(0, unbiased=False), torch.ones(2), atol=1e-3, rtol=0)


def test_initialisation_scales_delays_without_a_norm() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = SpikingLayer(TorchNeuron(LIFSpec(decay_input=False)), DelayedLinear(6, 40, kernel=5))

        def forward(self, batch: Batch) -> Tensor:
            spikes: Tensor = self.layer(batch.signals["x"].values.transpose(0, 1))
            return spikes

    torch.manual_seed(0)
    net = Net()
    batch = Batch.of({"x": torch.randn(8, 60, 6)})
    reached = initialise_fluctuation_driven(net, batch, 0.1)  # type: ignore[arg-type]
    with recorded(net.eval()) as firings, torch.no_grad():
        net(batch)
    rate = float(firings["layer"].spikes.mean())
    assert reached["layer"] == pytest.approx(rate, abs=1e-6)
    assert rate == pytest.approx(0.1, abs=0.03)
