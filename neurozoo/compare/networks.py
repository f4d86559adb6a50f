"""Whether a network has equal spikes and gradients on several backends: ``nz.equivalent(net, x, "torch", "norse")``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.compare.backends import SILENT, check_names
from neurozoo.compare.layers import GRADIENT_TOLERANCE, TensorDifference, tensor_difference
from neurozoo.core.layer import Firing
from neurozoo.core.recording import frozen_statistics, layers_of, recorded, spiking_layers, unrecorded
from neurozoo.errors import UserError
from neurozoo.models.backends import set_backend

__all__ = ["Difference", "Equivalence", "LayerSpikes", "OnBackend", "equivalent"]

_INPUT = "the input"


@dataclass(frozen=True)
class Difference:
    """The first spike that differs: of the layer that runs first, the first step.

    Attributes:
        layer: Dotted name of the layer.
        step: From 0.
        sample: From 0.
        neuron: Its place in the axes after T and B.
        expected: The reference's output, 0 or 1.
    """

    layer: str
    step: int
    sample: int
    neuron: tuple[int, ...]
    expected: float

    def __str__(self) -> str:
        what = "a spike of the reference is missing" if self.expected else "a spike that the reference lacks"
        where = f"layer {self.layer or 'of the network'}, step {self.step}, sample {self.sample}"
        return f"{what}: {where}, neuron {list(self.neuron)}"


@dataclass(frozen=True)
class LayerSpikes:
    """One layer on one backend.

    Attributes:
        name: Dotted name.
        spikes: Number of compared outputs, neurons times steps times samples.
        mismatches: Number of those that differ from the reference's.
    """

    name: str
    spikes: int
    mismatches: int


@dataclass(frozen=True)
class OnBackend:
    """The network on one backend against the reference.

    Attributes:
        backend: Its name.
        layers: In the order in which they ran.
        first: The first spike that differs; None if all are equal.
        output_difference: Largest absolute difference of an output.
        gradient_difference: Largest difference of a gradient as a share of its tensor's largest, or of 1e-4 of the
            network's largest where that is larger, as some gradients are 0 but for rounding.
        worst_gradient: The parameter of that, or ``the input``; empty if all are equal.
        gradients_equal: Whether every gradient is within the tolerance.
    """

    backend: str
    layers: tuple[LayerSpikes, ...]
    first: Difference | None
    output_difference: float
    gradient_difference: float
    worst_gradient: str
    gradients_equal: bool

    @property
    def equal(self) -> bool:
        """Whether all spikes are equal, and the gradients within the tolerance."""
        return self.first is None and self.gradients_equal

    def __str__(self) -> str:
        mismatches, spikes = (sum(getattr(each, what) for each in self.layers) for what in ("mismatches", "spikes"))
        worst = f", in {self.worst_gradient}" if self.worst_gradient else ""
        lines = [
            f"{self.backend}: {'equal' if self.equal else 'different'}",
            f"  spikes: {mismatches:,} of {spikes:,} differ" + ("" if self.first is None else f"; first {self.first}"),
            f"  gradients: differ by {self.gradient_difference:.2g} of the largest{worst}; "
            f"{GRADIENT_TOLERANCE[True]:g} is allowed",
            f"  outputs: differ by {self.output_difference:.2g}",
        ]
        lines += [
            f"    layer {each.name or 'of the network'}: {each.mismatches:,} of {each.spikes:,}"
            for each in self.layers
            if each.mismatches and len(self.layers) > 1
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Equivalence:
    """Whether a network is the same on several backends; true in an ``if`` if it is.

    Attributes:
        reference: The backend that the others are compared with.
        backends: The others.
        rates: Spikes a step of each layer on the reference, over all neurons and samples.
        silent: Layers in which fewer than 1 % of the neurons ever fire, so that equal spikes prove little.
        unseen: Modules that fire outside of all layers of neurons, as class by name: they are not compared.
        gradients: Number of tensors whose gradients were compared; 0 for a network without any.
    """

    reference: str
    backends: tuple[OnBackend, ...]
    rates: Mapping[str, float]
    silent: tuple[str, ...]
    unseen: Mapping[str, str]
    gradients: int

    @property
    def verdict(self) -> str:
        """``equivalent`` or ``different``."""
        return "equivalent" if self else "different"

    @property
    def first(self) -> Difference | None:
        """The first spike that differs on any backend."""
        return next((each.first for each in self.backends if each.first is not None), None)

    def __bool__(self) -> bool:
        return all(each.equal for each in self.backends)

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {', '.join(each.backend for each in self.backends)} and {self.reference}"]
        lines += [str(each) for each in self.backends]
        rates = ", ".join(f"{name or 'the network'} {rate:.3g}" for name, rate in self.rates.items())
        lines.append(f"spikes a neuron and step: {rates}")
        if self.silent:
            lines.append(f"hardly anything fires in {', '.join(self.silent)}: there equal spikes prove little")
        if self.unseen:
            named = ", ".join(f"{name} ({kind})" for name, kind in self.unseen.items())
            lines.append(f"not compared, as they fire outside of a layer of neurons: {named}")
        if not self.gradients:
            lines.append("nothing has a gradient, so only spikes were compared")
        return "\n".join(lines)

    __repr__ = __str__


def equivalent(net: nn.Module, x: Any, *backends: str, seed: int = 0) -> Equivalence:
    """Run a network on several backends, forward and backward, and compare spikes and gradients.

    The same weights, input and random numbers each time; the network is the same afterwards, on its own backend. The
    gradients are those of a sum of the outputs with random weights, by every parameter and by a real input.

    Args:
        net: Any module with layers of neurons of neurozoo, in the mode in which it is to be compared.
        x: Its input: a tensor, a batch, a dictionary, or a tuple of arguments. The output is a tensor, or holds some.
        backends: Two or more; the first is the reference.
        seed: Of the random numbers, such as those of dropout and of the outputs' weights.

    Raises:
        UserError: There are fewer than two backends, or the network has no layer that fires or returns no tensor.
        SpikingError: A backend does not run one of the layers.

    Example:
        >>> print(nz.equivalent(net, x, "torch", "norse").verdict)
        equivalent
    """
    check_names(backends)
    layers = layers_of(net)
    if not spiking_layers(net):
        raise UserError(f"{type(net).__name__} has no layer whose neurons fire, so every backend gives the same")
    arguments, real = _arguments(x)
    own = {name: layer.neuron for name, layer in layers.items()}
    found: list[_Observed] = []
    try:
        for name in backends:
            set_backend(net, name)  # all of them first, so that a refusal costs no run
        set_backend(net, backends[0])
        with torch.no_grad(), frozen_statistics(net), _random(seed, net), unrecorded(net) as unseen:
            net(*arguments)
        for name in backends:
            set_backend(net, name)
            with _random(seed, net):
                found.append(_observed(net, arguments, real))
    finally:
        for name, layer in layers.items():
            layer.neuron = own[name]
    reference = found[0]
    rates = {name: float(each.spikes.mean()) for name, each in reference.firings.items()}
    silent = [name for name, each in reference.firings.items() if float(each.spikes.amax(0).mean()) < SILENT]
    return Equivalence(
        reference=backends[0],
        backends=tuple(_against(name, each, reference) for name, each in zip(backends[1:], found[1:], strict=True)),
        rates=rates,
        silent=tuple(name or "the network" for name in silent),
        unseen=unseen,
        gradients=sum(each is not None for each in reference.gradients.values()),
    )


@dataclass(frozen=True)
class _Observed:
    """One forward and backward pass."""

    outputs: tuple[Tensor, ...]
    gradients: Mapping[str, Tensor | None]
    firings: Mapping[str, Firing]


def _observed(net: nn.Module, arguments: Sequence[Any], real: Sequence[Tensor]) -> _Observed:
    parameters = {name: each for name, each in net.named_parameters() if each.requires_grad}
    wanted = {**parameters, **{f"{_INPUT} {place}".removesuffix(" 0"): each for place, each in enumerate(real)}}
    with torch.enable_grad(), frozen_statistics(net), recorded(net) as firings:
        outputs = tuple(_tensors(net(*arguments)))
        if not outputs:
            raise UserError(f"{type(net).__name__} returns no tensor, so there is nothing to compare")
        total = sum((_weighted(each) for each in outputs if each.requires_grad), torch.zeros(()))
        gradients: Sequence[Tensor | None] = [None] * len(wanted)
        if isinstance(total, Tensor) and total.requires_grad and wanted:
            gradients = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    spiking = spiking_layers(net)
    fired = {name: each.detached() for name, each in firings.items() if name in spiking}
    return _Observed(tuple(each.detach() for each in outputs), dict(zip(wanted, gradients, strict=True)), fired)


def _weighted(output: Tensor) -> Tensor:
    """A sum in which no two outputs count alike, so that wrong gradients cannot cancel."""
    weights = torch.rand(output.shape, generator=torch.Generator().manual_seed(output.numel()))
    return (output * weights.to(output)).sum()


def _against(name: str, seen: _Observed, expected: _Observed) -> OnBackend:
    counts, first = [], None
    for layer, firing in expected.firings.items():
        differ = seen.firings[layer].spikes != firing.spikes
        mismatches = int(differ.sum())
        counts.append(LayerSpikes(layer, differ.numel(), mismatches))
        if mismatches and first is None:
            step, sample, *neuron = map(int, differ.nonzero()[0])
            value = float(firing.spikes[(step, sample, *neuron)])
            first = Difference(layer, step, sample, tuple(neuron), value)
    gradient: TensorDifference = tensor_difference(seen.gradients, expected.gradients)
    off = [
        float((mine.double() - theirs.double()).abs().max())
        for mine, theirs in zip(seen.outputs, expected.outputs, strict=True)
        if mine.numel()
    ]
    return OnBackend(
        backend=name,
        layers=tuple(counts),
        first=first,
        output_difference=math.nan if any(map(math.isnan, off)) else max(off, default=0.0),
        gradient_difference=gradient.judged,
        worst_gradient=gradient.worst if gradient.judged else "",
        gradients_equal=gradient.judged <= GRADIENT_TOLERANCE[True],  # False of NaN
    )


def _arguments(x: Any) -> tuple[tuple[Any, ...], list[Tensor]]:
    """The arguments of a call, and those of them that are real tensors, which ask for a gradient."""
    given = x if isinstance(x, tuple) else (x,)
    made = tuple(
        each.detach().clone().requires_grad_() if isinstance(each, Tensor) and each.is_floating_point() else each
        for each in given
    )
    return made, [each for each in made if isinstance(each, Tensor) and each.requires_grad]


def _tensors(output: Any) -> Iterator[Tensor]:
    """The tensors of an output, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for each in output.values():
            yield from _tensors(each)
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for each in output:
            yield from _tensors(each)


@contextmanager
def _random(seed: int, net: nn.Module) -> Iterator[None]:
    """Use the same random numbers inside, and leave torch's generators as they were."""
    tensors = [*net.parameters(), *net.buffers()]
    devices = sorted({each.device.index for each in tensors if each.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
