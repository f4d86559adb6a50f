"""A recurrent layer and its readout in one function of autograd, equal to one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from neurozoo_numba.neuron import NumbaNeuron
from torch import Tensor, nn

from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, LIFSpec, LISpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.neuron import Neuron, NeuronSpec
from neurozoo.core.recording import recorded
from neurozoo.nn.reading import Read, read_by

STEPS, BATCH, INPUTS, WIDTH, OUTPUTS = 7, 5, 9, 33, 3
SPECS = {
    "lif": LIFSpec(),
    "adlif": AdLIFSpec(surrogate="box", alpha=1.0),
    "alif": ALIFSpec(refractory=2, surrogate="triangle", alpha=0.3),
    "cuba": CubaSpec(order="fire-first", detach_reset=True, surrogate="superspike"),
    "cuba-kept-reset": CubaSpec(order="fire-first", surrogate="superspike"),
}
VALID = torch.arange(STEPS)[:, None] < torch.tensor([7, 3, 7, 5, 6])


def layers(
    neuron: type[Any], spec: NeuronSpec, dtype: torch.dtype = torch.float32, **options: Any
) -> tuple[SpikingLayer, SpikingLayer]:
    """Return a readout and a layer with weights that are equal for all neurons."""
    random = torch.Generator().manual_seed(0)
    linears = [nn.Linear(*shape, bias=False) for shape in ((INPUTS, WIDTH), (WIDTH, WIDTH), (WIDTH, OUTPUTS))]
    for linear in linears:
        drawn = torch.randn(linear.weight.shape, generator=random)
        linear.weight = nn.Parameter((3 * drawn * linear.in_features**-0.5).to(dtype))
    into, back, out = linears
    layer = SpikingLayer(neuron(spec), into, recurrent=back, **options)
    return SpikingLayer(neuron(LISpec()), out), layer


def results(
    neuron: type[Any], spec: NeuronSpec, *, dtype: torch.dtype = torch.float32, start: bool = False,
    valid: Tensor | None = None, late: int = 0, batch: int = BATCH, by_sample: bool = False, **options: Any,
) -> tuple[Read, list[Tensor]]:  # fmt: skip
    """Return what is read, and the gradients of the input and of all weights."""
    readout, layer = layers(neuron, spec, dtype, **options)
    random = torch.Generator().manual_seed(1)
    x = torch.randn(STEPS - late, batch, INPUTS, generator=random).to(dtype)
    x = (x.transpose(0, 1).contiguous().transpose(0, 1) if by_sample else x).detach().requires_grad_()
    state = None
    if start:
        state = tuple(torch.rand(batch, WIDTH, generator=random).to(dtype) for _ in range(len(spec.states) + 1))
    read = read_by(readout, layer, x, 0.8, valid=valid, state=state, late=late)
    loss = (read.outputs * torch.randn(read.outputs.shape, generator=random)).sum()
    loss = loss + (read.counts * torch.randn(read.counts.shape, generator=random)).sum()
    weights = [*layer.parameters(), *readout.parameters()]
    return read, list(torch.autograd.grad(loss, [x, *weights]))


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"start": True, "valid": VALID, "self_connections": False},
        {"late": 3, "by_sample": True, "self_connections": False, "dtype": torch.float64},
        {"detach_recurrent": True, "batch": 1, "by_sample": True},
    ],
    ids=lambda form: "-".join(form) or "plain",
)
def test_it_equals_one_after_the_other(kind: str, form: dict[str, Any]) -> None:
    expected, wanted = results(TorchNeuron, SPECS[kind], **form)
    made, found = results(NumbaNeuron, SPECS[kind], **form)
    assert 0 < expected.spikes.mean() < 1
    assert (made.spikes.dtype == torch.uint8) == (kind != "cuba-kept-reset")
    assert torch.equal(made.spikes.to(expected.spikes.dtype), expected.spikes)
    assert torch.equal(made.counts, expected.counts)
    for one, other in zip([made.outputs, *found], [expected.outputs, *wanted], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.detach().abs().max()) + 1e-12)
        assert one.stride() == other.stride()


def test_a_recorder_gets_the_spikes_and_the_currents() -> None:
    readout, layer = layers(NumbaNeuron, SPECS["lif"])
    model = nn.Sequential(layer, readout)
    x = torch.randn(STEPS, BATCH, INPUTS)
    with recorded(model) as firings:
        watched = read_by(readout, layer, x)
    alone = read_by(readout, layer, x)
    assert alone.spikes.dtype == torch.uint8
    assert torch.equal(firings["0"].spikes, watched.spikes)
    assert torch.equal(firings["1"].spikes, watched.outputs)
    driven = layer(x)  # the recurrent currents are in what the recorder gets
    assert not torch.equal(firings["0"].currents, layer.currents(x))
    assert torch.equal(driven.to(torch.uint8), alone.spikes)
    torch.testing.assert_close(alone.outputs, watched.outputs)


def test_a_hook_on_a_linear_is_called() -> None:
    readout, layer = layers(NumbaNeuron, SPECS["lif"])
    seen: list[Tensor] = []
    assert readout.synapse is not None
    readout.synapse.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    read = read_by(readout, layer, torch.randn(STEPS, BATCH, INPUTS))
    assert len(seen) == 1
    assert torch.equal(seen[0], read.spikes)


def test_a_graph_that_is_retained_gives_the_same_again_and_another_raises() -> None:
    readout, layer = layers(NumbaNeuron, SPECS["alif"])
    weights = [*layer.parameters(), *readout.parameters()]
    loss = read_by(readout, layer, torch.randn(STEPS, BATCH, INPUTS)).outputs.square().sum()
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    second = torch.autograd.grad(loss, weights)
    assert all(map(torch.equal, first, second))
    with pytest.raises(RuntimeError, match="retain_graph"):
        torch.autograd.grad(loss, weights)


def test_other_backends_run_one_after_the_other() -> None:
    neuron: Neuron = TorchNeuron(LIFSpec())
    weight = torch.zeros(2, 2)
    assert neuron.read(torch.zeros(1, 1, 2), weight, weight, weight, None, 1.0, None) is None
