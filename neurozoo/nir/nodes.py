"""The nodes of a NIR graph as modules: each makes, of what comes in at some steps, what goes out.

All take ``[T, B, ...]`` and a state, and give ``[T, B, ...]`` and the state to go on from, so that one step after the
other is the same as all at once. A spike is always made by a backend's neuron; what is linear is the same for all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import LIFSpec, Neuron, Surrogate
from neurozoo.core.layer import DynamicThresholdLIF
from neurozoo.nir.graph import Node
from neurozoo.nir.settings import Dynamics, whole_steps

__all__ = ["NIRNode", "State", "make_node"]

State = tuple[Tensor, ...]
"""What a node carries on; empty before the first step, and where there is nothing to carry."""
MakeNeuron = Callable[[LIFSpec], Neuron]


class NIRNode(nn.Module, ABC):
    """A node of a graph."""

    @abstractmethod
    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Some steps.

        Args:
            x: What comes in, ``[T, B, ...]``.
            state: What the last call gave; empty before the first step.
        """

    def forward(self, x: Tensor) -> Tensor:
        """All steps, from the beginning."""
        return self.run(x, ())[0]


class Stateless(NIRNode):
    """Affine, Linear, Scale, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten and Output: every step by itself.

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
    """I, LI and the synapse of CubaLI and CubaLIF: ``y[t] = (1 - a) y[t-1] + b x[t] + c``, from ``v_leak`` on.

    Args:
        leak: ``a``, one number an element.
        gain: ``b``.
        rest: Where it stands without input, and begins; ``c`` is ``a`` times it.
        shape: Of the elements.
    """

    def __init__(self, leak: list[float], gain: list[float], rest: list[float], shape: tuple[int, ...]) -> None:
        super().__init__()
        for name, values in (("keep", [1 - a for a in leak]), ("gain", gain), ("rest", rest)):
            self.register_buffer(name, torch.tensor(values).view(shape), persistent=False)
        pulls = [a * r for a, r in zip(leak, rest, strict=True)]
        self.pulled = any(pulls)
        self.register_buffer("pull", torch.tensor(pulls).view(shape), persistent=False)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        keep, gain, rest, pull = (
            cast(Tensor, getattr(self, name)).to(x.dtype) for name in ("keep", "gain", "rest", "pull")
        )
        y = state[0] if state else rest.expand(x.shape[1:])
        driven, made = x * gain, []
        for step in (driven + pull if self.pulled else driven).unbind(0):
            y = keep * y + step
            made.append(y)
        return torch.stack(made), (y,)


class Synapse(Leak):
    """The current that a membrane sees: of this step, or a step later.

    Args:
        node: CubaLI or CubaLIF.
        dynamics: How its equation becomes a step, and when it is seen.
    """

    def __init__(self, node: Node, dynamics: Dynamics) -> None:
        constants = node.each("tau_syn")
        gains = [dynamics.gain(each) * w for each, w in zip(constants, node.each("w_in"), strict=True)]
        nothing = [0.0] * len(constants)
        super().__init__([dynamics.leak(each) for each in constants], gains, nothing, node.shape or ())
        self.late = dynamics.synapse_delay

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        before = state or (cast(Tensor, self.rest).to(x.dtype).expand(x.shape[1:]),)
        current, after = super().run(x, before)
        return (torch.cat((before[0][None], current[:-1])) if self.late else current), after


class Neurons(NIRNode):
    """IF, LIF and CubaLIF: a backend's neurons, in groups of one time constant and one reset.

    With ``a`` the leak and ``b`` the gain of a step, NIR's membrane is ``v - a (v - v_leak) + b R I``. A backend's is
    ``v - (v - r) / tau + x / tau`` with ``tau = 1 / a`` where ``a = b``, else ``v - (v - r) / tau + x``, with r the
    value after a reset, or 0. So what it gets is the current and what is missing of the leak. An IF has no leak: its
    tau is infinite.

    Args:
        node: Which.
        dynamics: How its equation becomes a step.
        neuron: Makes a backend's neuron.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
    """

    def __init__(self, node: Node, dynamics: Dynamics, neuron: MakeNeuron, surrogate: Surrogate, alpha: float) -> None:
        super().__init__()
        thresholds, resets = node.each("v_threshold"), node.each("v_reset")
        hard, size = dynamics.reset == "value", len(thresholds)
        constants: Sequence[float | None] = [None] * size  # of an IF
        leaks: Sequence[float] = [0.0] * size
        if node.kind != "IF":
            constants, leaks = node.each("tau_mem" if node.kind == "CubaLIF" else "tau"), node.each("v_leak")
        keys = [(tau, reset if hard else None) for tau, reset in zip(constants, resets, strict=True)]
        self.above = dynamics.fires == "above"
        self.groups, gains, offsets = nn.ModuleList(), [0.0] * size, [0.0] * size
        places: dict[tuple[float | None, float | None], list[int]] = {}
        for number, key in enumerate(keys):
            places.setdefault(key, []).append(number)
        for (tau, reset), members in places.items():
            leak, gain = (0.0, dynamics.dt) if tau is None else (dynamics.leak(tau), dynamics.gain(tau))
            steps = 1 / leak if leak else math.inf
            inside = leak == gain and steps < math.inf  # the backend itself scales its input so
            spec = LIFSpec(steps, inside, reset, False, surrogate, alpha)
            self.groups.append(DynamicThresholdLIF(neuron(spec)))
            for number in members:
                gains[number] = 1.0 if inside else gain
                offsets[number] = (leaks[number] - spec.rest) * (1.0 if inside else leak)
        gains = [gain * r for gain, r in zip(gains, node.each("r"), strict=True)]
        shape = node.shape or ()
        self.scaled, self.shifted = any(gain != 1.0 for gain in gains), any(offsets)
        for name, values in (("gain", gains), ("offset", offsets), ("threshold", thresholds)):
            self.register_buffer(name, torch.tensor(values).view(shape), persistent=False)
        for number, members in enumerate(places.values()):
            self.register_buffer(f"members_{number}", torch.tensor(members), persistent=False)
        grouped = torch.tensor([member for members in places.values() for member in members])
        self.register_buffer("places", grouped.argsort(), persistent=False)
        self.synapse = Synapse(node, dynamics) if node.kind == "CubaLIF" else None

    def currents(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """What the backend's neurons get, ``[T, B, ...]``, and what the synapse carries on."""
        if self.synapse is not None:
            x, state = self.synapse.run(x, state)
        if self.scaled:
            x = x * cast(Tensor, self.gain).to(x.dtype)
        return x + cast(Tensor, self.offset).to(x.dtype) if self.shifted else x, state

    def levels(self, x: Tensor) -> Tensor:
        """The thresholds ``[1, 1, ...]``."""
        return _level(cast(Tensor, self.threshold), x, self.above)[None, None]

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        carried = len(self.groups)
        currents, synapse = self.currents(x, state[carried:])
        spikes, membranes = self.fired(currents, state[:carried])
        return spikes, (*membranes, *synapse)

    def fired(self, currents: Tensor, state: State, *, heard: bool = False) -> tuple[Tensor, State]:
        """The spikes of currents as the backend gets them, and each group's membranes ``[B, 1, members]``.

        A layer sees its neurons as one place of a sequence, ``[T, B, 1, N]``. Where ``heard``, its forward hooks hear
        of it; it begins at rest then.
        """
        # [T, B, 1, N]
        flat, level = currents.flatten(2)[:, :, None], self.levels(currents).flatten(2)[:, :, None]
        layers = [cast(DynamicThresholdLIF, layer) for layer in self.groups]
        found, after = [], []
        for number, layer in enumerate(layers):
            members = cast(Tensor, getattr(self, f"members_{number}"))
            given = (flat, level) if len(layers) == 1 else (flat[..., members], level[..., members])
            if heard:
                found.append(layer(*given))
                continue
            spikes, v = layer.run(*given, state[number] if state else None)
            found.append(spikes)
            after.append(v)
        if len(layers) == 1:
            return found[0].view_as(currents), tuple(after)
        return torch.cat(found, -1)[..., cast(Tensor, self.places)].view_as(currents), tuple(after)

    def forward(self, x: Tensor) -> Tensor:
        return self.fired(self.currents(x, ())[0], (), heard=True)[0]


class Threshold(NIRNode):
    """NIR's Threshold: 1 where the input is beyond it, each step by itself. It is a neuron's first step, from 0.

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
        self.neuron = neuron(LIFSpec(math.inf, False, 0.0, False, surrogate, alpha))
        self.register_buffer("threshold", torch.tensor(node.each("threshold")).view(node.shape or ()), persistent=False)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        level = _level(cast(Tensor, self.threshold), x, self.above)
        return self.neuron.step(x.flatten(0, 1), torch.zeros_like(x.flatten(0, 1)), level)[0].view_as(x), state


class CubaLI(NIRNode):
    """A synapse, and a leaky membrane that it drives.

    Args:
        node: Which.
        dynamics: How its equations become steps.
    """

    def __init__(self, node: Node, dynamics: Dynamics) -> None:
        super().__init__()
        self.synapse, self.membrane = Synapse(node, dynamics), _leaky(node, dynamics, "tau_mem")

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
        return CubaLI(node, dynamics)
    if node.kind == "LI":
        return _leaky(node, dynamics, "tau")
    if node.kind == "I":
        nothing = [0.0] * len(node.each("r"))
        return Leak(nothing, [dynamics.dt * r for r in node.each("r")], nothing, node.shape or ())
    if node.kind == "Delay":
        return Delay(node, dynamics)
    return Stateless(node)


def _level(threshold: Tensor, x: Tensor, above: bool) -> Tensor:
    """In the dtype of ``x``; to fire above it is to fire at the next number."""
    level = threshold.to(x.dtype)
    return torch.nextafter(level, level.new_full((), torch.inf)) if above else level


def _leaky(node: Node, dynamics: Dynamics, tau: str) -> Leak:
    constants = node.each(tau)
    gains = [dynamics.gain(each) * r for each, r in zip(constants, node.each("r"), strict=True)]
    return Leak([dynamics.leak(each) for each in constants], gains, list(node.each("v_leak")), node.shape or ())
