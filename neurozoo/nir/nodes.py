"""The nodes of a NIR graph as modules, each of what comes in at some steps makes what goes out.

All take ``[T, B, ...]`` and a state, and give ``[T, B, ...]`` and the state to continue from, so that one step after
the other is the same as all at once. Every state of NIR is a specification that a backend runs: neurons are ``lif`` and
``if``, integrators and synapses are ``li``. Constants that differ between neurons are one layer's parameters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from neurozoo.core.equations import Surrogate
from neurozoo.core.kinds import IFSpec, LIFSpec, LISpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, neuron_for
from neurozoo.core.neuron import State
from neurozoo.nir.graph import Node
from neurozoo.nir.settings import Dynamics, whole_steps

__all__ = ["NIRNode", "Neurons", "make_node"]


class NIRNode(nn.Module, ABC):
    """A node of a graph."""

    @abstractmethod
    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Some steps.

        Args:
            x: What comes in, ``[T, B, ...]``.
            state: What the last call gave; empty before the first step.
        """

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """All steps, from the beginning.

        Args:
            x: What comes in, ``[T, B, ...]``.
            valid: ``[T, B]``, the steps that count, for whoever records the neurons.
        """
        return self.run(x, ())[0]


class Stateless(NIRNode):
    """Affine, Linear, Scale, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten and Output: nothing is carried.

    Args:
        node: Which.
    """

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node
        shape = node.shape or ()
        options: dict[str, Any] = {} if node.stride is None else {"stride": node.stride, "padding": node.padding}
        self.of: Any
        if node.kind in ("Affine", "Linear"):
            self.of = nn.Linear(shape[1], shape[0], bias=node.kind == "Affine")
        elif node.kind in ("Conv1d", "Conv2d"):
            groups = node.groups or 1
            convolution: Any = nn.Conv1d if node.kind == "Conv1d" else nn.Conv2d
            self.of = convolution(
                shape[1] * groups, shape[0], shape[2:], **options, dilation=node.dilation, groups=groups
            )
        elif node.kind == "Scale":
            self.scale = nn.Parameter(torch.ones(shape))
        elif node.kind in ("SumPool2d", "AvgPool2d"):
            pooling: Any = nn.AvgPool2d
            self.of = pooling(node.kernel_size, **options, divisor_override=1 if node.kind == "SumPool2d" else None)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if self.node.kind in ("Affine", "Linear"):
            return self.of(x), state
        if self.node.kind == "Scale":
            return x * self.scale, state
        if self.node.kind == "Flatten":
            return x.flatten(*(axis + 2 if axis >= 0 else axis for axis in self.node.flattened)), state
        if self.node.kind == "Output":
            return x, state
        y = self.of(x.flatten(0, 1))
        return y.view(*x.shape[:2], *y.shape[1:]), state


class Delay(NIRNode):
    """What comes in, a number of steps later; 0 before that.

    Args:
        node: Which; its delays are in seconds.
        dynamics: Gives the length of a step.
    """

    def __init__(self, node: Node, dynamics: Dynamics) -> None:
        super().__init__()
        steps = [cast(int, whole_steps(delay, dynamics.dt)) for delay in node.each("delay")]
        self.longest, self.same = max(steps), len(set(steps)) == 1
        self.register_buffer("steps", torch.tensor(steps).view(node.shape or ()), persistent=False)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past = state[0] if state else x.new_zeros(self.longest, *x.shape[1:])
        line = torch.cat((past, x))
        if self.same:
            return line[: len(x)], (line[len(x) :],)
        at = (
            torch.arange(len(x), device=x.device).view(-1, *[1] * (x.dim() - 1))
            + self.longest
            - cast(Tensor, self.steps)
        )
        return line.gather(0, at.expand_as(x)), (line[len(x) :],)


class Leak(NIRNode):
    """I, LI and the synapse of CubaLI and CubaLIF: ``y[t] = (1 - a) y[t-1] + b x[t] + a r``, from ``r`` on.

    Args:
        leak: ``a``, one number an element.
        gain: ``b``.
        rest: ``r``, where it stands without input.
        shape: Of the elements.
        neuron: Makes a backend's neuron.
        late: Whether a step gives the value of the step before.
    """

    def __init__(
        self,
        leak: Sequence[float],
        gain: Sequence[float],
        rest: Sequence[float],
        shape: tuple[int, ...],
        neuron: MakeNeuron,
        late: bool = False,
    ) -> None:
        super().__init__()
        self.late = late
        values = {"decay": [1 - a for a in leak], "gain": list(gain), "v_rest": list(rest)}
        alike, each = _parameters(values, shape)
        self.layer = SpikingLayer(neuron_for(neuron, LISpec(**alike)), shape=shape, params=each)
        self.register_buffer("rest", torch.tensor(values["v_rest"]).view(shape), persistent=False)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        made, after = self.layer.run(x, state or None)
        if not self.late:
            return made, after
        before = state[0] if state else cast(Tensor, self.rest).to(x.dtype).expand(x.shape[1:])
        return torch.cat((before[None], made[:-1])), after


class Neurons(NIRNode):
    """IF, LIF and CubaLIF: a layer of a backend's neurons, behind a synapse where there is one.

    With ``a`` the leak and ``b`` the gain of a step, NIR's membrane is ``v - a (v - v_leak) + b R I``. A backend's is
    ``v - (v - r) / tau + x / tau`` with ``tau = 1 / a`` where ``a = b`` for all neurons, else
    ``v - (v - r) / tau + x``, with r the value after a reset, or 0. So its current is NIR's, with what the leak lacks
    added.

    Args:
        node: Which.
        dynamics: How its equation becomes a step.
        neuron: Makes a backend's neuron.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
    """

    def __init__(self, node: Node, dynamics: Dynamics, neuron: MakeNeuron, surrogate: Surrogate, alpha: float) -> None:
        super().__init__()
        thresholds, size, shape = node.each("v_threshold"), len(node.each("v_threshold")), node.shape or ()
        hard = dynamics.reset == "value"
        rests: Sequence[float] = node.each("v_reset") if hard else [0.0] * size
        self.above = dynamics.fires == "above"
        resets: dict[str, Sequence[float]] = {"v_reset": rests} if hard else {}
        kind: dict[str, Any] = {"surrogate": surrogate, "alpha": alpha}
        if node.kind == "IF":
            gains, offsets = [dynamics.dt] * size, [0.0] * size
            alike, each = _parameters(resets, shape)
            spec: IFSpec | LIFSpec = IFSpec(v_reset=alike.get("v_reset", 0.0) if hard else None, **kind)
        else:
            constants = node.each("tau_mem" if node.kind == "CubaLIF" else "tau")
            leaks, gains = [dynamics.leak(tau) for tau in constants], [dynamics.gain(tau) for tau in constants]
            steps = [1 / leak if leak else math.inf for leak in leaks]
            inside = leaks == gains and max(steps) < math.inf  # the backend itself scales its input so
            missing = [leak - rest for leak, rest in zip(node.each("v_leak"), rests, strict=True)]
            offsets = missing if inside else [m * a for m, a in zip(missing, leaks, strict=True)]
            gains = [1.0] * size if inside else gains
            alike, each = _parameters({"tau": steps, **resets}, shape)
            spec = LIFSpec(
                # A number is needed where each neuron has its own: it is not used.
                tau=alike.get("tau", 2.0),
                decay_input=inside,
                v_reset=alike.get("v_reset", 0.0) if hard else None,
                **kind,
            )
        gains = [gain * r for gain, r in zip(gains, node.each("r"), strict=True)]
        self.layer = SpikingLayer(neuron(spec), shape=shape, params=each)
        self.scaled, self.shifted = any(gain != 1.0 for gain in gains), any(offsets)
        for name, values in (("gain", gains), ("offset", offsets), ("threshold", thresholds)):
            self.register_buffer(name, torch.tensor(values).view(shape), persistent=False)
        self.synapse = _synapse(node, dynamics, neuron) if node.kind == "CubaLIF" else None

    def currents(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """What the backend's neurons get, ``[T, B, ...]``, and the synapse's state."""
        if self.synapse is not None:
            x, state = self.synapse.run(x, state)
        if self.scaled:
            x = x * cast(Tensor, self.gain).to(x.dtype)
        return x + cast(Tensor, self.offset).to(x.dtype) if self.shifted else x, state

    def levels(self, x: Tensor) -> Tensor:
        """The thresholds ``[1, 1, ...]``."""
        return _level(cast(Tensor, self.threshold), x, self.above)[None, None]

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        carried = len(self.layer.spec.states)
        currents, synapse = self.currents(x, state[carried:])
        spikes, after = self.layer.run(currents, state[:carried] or None, self.levels(currents))
        return spikes, (*after, *synapse)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        currents = self.currents(x, ())[0]
        spikes: Tensor = self.layer(currents, self.levels(currents), valid=valid)
        return spikes


class Threshold(NIRNode):
    """NIR's Threshold: 1 where the input is beyond it, each step by its own. It is a neuron's first step, from 0.

    Args:
        node: Which.
        dynamics: Whether it fires at its threshold.
        neuron: Makes a backend's neuron.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
    """

    def __init__(self, node: Node, dynamics: Dynamics, neuron: MakeNeuron, surrogate: Surrogate, alpha: float) -> None:
        super().__init__()
        self.above = dynamics.fires == "above"
        self.neuron = neuron(IFSpec(surrogate=surrogate, alpha=alpha))
        self.register_buffer("threshold", torch.tensor(node.each("threshold")).view(node.shape or ()), persistent=False)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        level, steps = _level(cast(Tensor, self.threshold), x, self.above), x.flatten(0, 1)
        return self.neuron.step(steps, (torch.zeros_like(steps),), level)[0].view_as(x), state


class CubaLI(NIRNode):
    """A synapse, and a leaky membrane that it drives.

    Args:
        node: Which.
        dynamics: How its equations become steps.
        neuron: Makes a backend's neuron.
    """

    def __init__(self, node: Node, dynamics: Dynamics, neuron: MakeNeuron) -> None:
        super().__init__()
        self.synapse, self.membrane = _synapse(node, dynamics, neuron), _leaky(node, dynamics, "tau_mem", neuron)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        current, synapse = self.synapse.run(x, state[:1])
        v, membrane = self.membrane.run(current, state[1:])
        return v, (*synapse, *membrane)


def make_node(node: Node, dynamics: Dynamics, neuron: MakeNeuron, surrogate: Surrogate, alpha: float) -> NIRNode:
    """The module of a node that is not the Input."""
    if node.kind in ("IF", "LIF", "CubaLIF"):
        return Neurons(node, dynamics, neuron, surrogate, alpha)
    if node.kind == "Threshold":
        return Threshold(node, dynamics, neuron, surrogate, alpha)
    if node.kind == "CubaLI":
        return CubaLI(node, dynamics, neuron)
    if node.kind == "LI":
        return _leaky(node, dynamics, "tau", neuron)
    if node.kind == "I":
        nothing = [0.0] * len(node.each("r"))
        return Leak(nothing, [dynamics.dt * r for r in node.each("r")], nothing, node.shape or (), neuron)
    if node.kind == "Delay":
        return Delay(node, dynamics)
    return Stateless(node)


def _parameters(
    values: Mapping[str, Sequence[float]], shape: tuple[int, ...]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Of constants by name, those that are the same for all neurons as numbers, and the others as tensors."""
    alike = {name: each[0] for name, each in values.items() if len(set(each)) == 1}
    return alike, {name: torch.tensor(each).view(shape) for name, each in values.items() if name not in alike}


def _level(threshold: Tensor, x: Tensor, above: bool) -> Tensor:
    """In the dtype of ``x``; to fire above it is to fire at the next number."""
    level = threshold.to(x.dtype)
    return torch.nextafter(level, level.new_full((), torch.inf)) if above else level


def _leaky(node: Node, dynamics: Dynamics, tau: str, neuron: MakeNeuron) -> Leak:
    constants = node.each(tau)
    gains = [dynamics.gain(each) * r for each, r in zip(constants, node.each("r"), strict=True)]
    leaks = [dynamics.leak(each) for each in constants]
    return Leak(leaks, gains, node.each("v_leak"), node.shape or (), neuron)


def _synapse(node: Node, dynamics: Dynamics, neuron: MakeNeuron) -> Leak:
    """The current that a membrane sees: of this step, or a step later."""
    constants = node.each("tau_syn")
    gains = [dynamics.gain(each) * w for each, w in zip(constants, node.each("w_in"), strict=True)]
    leaks, nothing = [dynamics.leak(each) for each in constants], [0.0] * len(constants)
    return Leak(leaks, gains, nothing, node.shape or (), neuron, late=bool(dynamics.synapse_delay))
