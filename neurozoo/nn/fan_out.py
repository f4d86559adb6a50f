"""Synapses that a spike reaches: which inputs meet which weights, and the operations that one spike of a neuron causes.

The operations counter and the penalty on operations both count with :func:`pairs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.neuron import without_diagonal
from neurozoo.core.recording import frozen_statistics, over_neurons, recorded, spiking_layers
from neurozoo.nn.delays import DelayedLinear

__all__ = ["SYNAPTIC", "Convolution", "FanOut", "Synaptic", "fan_outs", "pairs"]

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Synaptic = nn.Linear | Convolution | DelayedLinear
SYNAPTIC = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, DelayedLinear)
"""Layers whose operations are counted: those that NeuroBench counts and that keep no state, and delays."""
_POOL_ARGUMENTS = ("kernel_size", "stride", "padding")


@dataclass(frozen=True)
class FanOut:
    """Operations that one spike causes, of each neuron of a layer.

    Attributes:
        ahead: In the synapses that the layer's outputs reach in the same step, ``[N]``.
        back: In its recurrent weights, a step later, ``[N]``; None without them.
    """

    ahead: Tensor
    back: Tensor | None = None


def pairs(layer: Synaptic, amount: Tensor, used: Tensor) -> Tensor:
    """Return the sum over pairs of an input and a weight of the input's amount times whether the weight is used.

    Args:
        layer: Its shape decides which inputs meet which weights; delays are those of evaluation.
        amount: In the shape of the layer's input; the sum is differentiable with respect to it.
        used: Zeros and ones in the shape of its weights.

    Returns:
        0-d float64, exact for whole numbers up to 2^53; on the device of ``amount``, or the CPU for MPS, which has no
        float64.
    """
    place = torch.device("cpu") if amount.device.type == "mps" else amount.device
    amount, used = amount.to(place, torch.float64), used.to(place)
    if isinstance(layer, nn.Linear):
        return (amount.reshape(-1, layer.in_features).sum(0) * used.sum(0, dtype=torch.float64)).sum()
    if isinstance(layer, DelayedLinear):
        taps = layer.taps(layer.evaluated == "rounded").to(place) != 0
        kernels = (taps & used.bool()[..., None]).sum(2)
        return layer.convolved(amount, kernels.to(torch.float64)).sum()
    convolved: Tensor = layer._conv_forward(amount, used.to(torch.float64), None)
    return convolved.sum()


def fan_outs(model: nn.Module, x: Any) -> dict[str, FanOut]:
    """Return the fan-out of each spiking layer's neurons, found by running the model once on random spikes.

    Each spiking layer gives random zeros and ones in place of its spikes. An input of a synapse that is then made of
    whole numbers comes from spikes, through any sums, reshapes and concatenations; the derivative of its pairs with
    respect to a spike is that spike's fan-out. Pools count as sums: a spike counts as if it were alone in its window.
    A spike with a delay counts at every synapse, also where it would arrive after the last step. All weights count as
    used, except a recurrent diagonal that is not. Real-valued inputs (such as rates and attention's products) are not
    counted.

    The model is unchanged afterwards, and so are torch's random numbers.

    Args:
        model: Any module; layers are named as in ``model.named_modules()``.
        x: Its input, such as a batch of few samples.

    Returns:
        By layer, of those that ran; zeros for one that reaches no synapse. float32 on the layer's device.
    """
    layers = spiking_layers(model)
    generator = torch.Generator().manual_seed(0)
    ran: dict[str, Firing] = {}
    reached: list[Tensor] = []

    def replace(name: str, firing: Firing) -> Tensor:
        if name not in layers:
            return firing.spikes.detach()  # a readout's numbers are no spikes
        bits = torch.rand(firing.spikes.shape, generator=generator) < 0.5
        spikes = bits.to(firing.spikes.device, firing.spikes.dtype).requires_grad_()
        ran[name] = Firing(firing.currents, spikes, firing.threshold, firing.valid)
        return spikes

    def hook(layer: nn.Module, inputs: tuple[Any, ...], given: Mapping[str, Any], output: Tensor) -> Tensor:
        assert isinstance(layer, Synaptic)
        amount: Tensor = (*inputs, *given.values())[0]  # a mask may follow
        if amount.requires_grad and bool((amount == amount.round()).all()):
            reached.append(_pairs_of_spikes(layer, amount))
        return output.detach()  # what follows is no spike any more

    training = [module for module in model.modules() if module.training]
    devices = [each for each in {p.device for p in model.parameters()} if each.type == "cuda"]
    try:
        model.eval()
        with ExitStack() as undo:
            undo.enter_context(torch.enable_grad())
            undo.enter_context(torch.random.fork_rng(devices))
            undo.enter_context(frozen_statistics(model))
            undo.enter_context(recorded(model, replace))
            for module in model.modules():
                if isinstance(module, SYNAPTIC):
                    undo.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            undo.enter_context(_SummingPools())
            model(x)
    finally:
        for module in training:
            module.training = True
    leaves = [firing.spikes for firing in ran.values()]
    found: tuple[Tensor | None, ...] = (None,) * len(leaves)
    if reached:
        found = torch.autograd.grad(torch.stack(reached).sum(), leaves, allow_unused=True)
    return {name: _fan_out(layers[name], firing, each) for (name, firing), each in zip(ran.items(), found, strict=True)}


def _pairs_of_spikes(layer: Synaptic, amount: Tensor) -> Tensor:
    """Return the pairs of all inputs with all weights; none is lost after the last step, as positions are learned."""
    if isinstance(layer, DelayedLinear):
        outputs, _, elements = layer.weight.shape
        return amount.to("cpu" if amount.device.type == "mps" else amount.device, torch.float64).sum() * (
            outputs * elements
        )
    return pairs(layer, amount, torch.ones_like(layer.weight))


def _fan_out(layer: SpikingLayer, firing: Firing, gradient: Tensor | None) -> FanOut:
    """Return the mean over what is valid of each neuron's fan-out."""
    spikes, valid = firing.spikes, firing.valid
    each = torch.zeros_like(spikes) if gradient is None else gradient
    # On the CPU in float64, so that sums of many large numbers are exact on every device.
    summed, steps = over_neurons(each.detach().cpu().double(), None if valid is None else valid.cpu())
    ahead = (summed / max(int(steps), 1)).to(spikes.device, torch.float32)
    if layer.recurrent is None:
        return FanOut(ahead)
    used = torch.ones_like(layer.recurrent.weight, dtype=torch.float32)
    return FanOut(ahead, (used if layer.self_connections else without_diagonal(used)).sum(0))


class _SummingPools(TorchFunctionMode):
    """Replaces maxima and means over windows by sums, as which they treat a spike that is alone in its window."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, given = getattr(func, "__name__", ""), dict(kwargs or {})
        kind = name.removesuffix("_with_indices").lstrip("_")
        if kind.removesuffix("d")[:-1] not in ("max_pool", "avg_pool") or given.get("return_indices"):
            return func(*args, **given)
        x, *others = args
        given |= dict(zip(_POOL_ARGUMENTS, others, strict=False))
        chosen = {key: given[key] for key in (*_POOL_ARGUMENTS, "ceil_mode") if key in given}
        if kind.endswith("1d"):
            kernel = chosen["kernel_size"]
            return F.avg_pool1d(x, **chosen) * (kernel[0] if isinstance(kernel, tuple) else kernel)
        return (F.avg_pool2d if kind.endswith("2d") else F.avg_pool3d)(x, **chosen, divisor_override=1)
