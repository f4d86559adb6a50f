"""The nodes of a NIR graph as modules.

All take ``[T, B, ...]`` and a state, and return ``[T, B, ...]`` and the state to continue from, so that running step by
step equals running all at once. Every state of NIR is a specification that a backend runs: neurons are ``lif`` and
``if``, integrators and synapses are ``li``. Constants that differ between neurons are one layer's parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from neurozoo.core.equations import Surrogate
from neurozoo.core.kinds import IFSpec, LIFSpec, LISpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, neuron_for
from neurozoo.core.neuron import State
from neurozoo.nir.graph import Node
from neurozoo.nir.settings import Array, Dynamics

__all__ = ["NIRNode", "Neurons", "make_node"]


class NIRNode(nn.Module, ABC):
    """A node of a graph."""

    @abstractmethod
    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run some steps; not recorded.

        Args:
            x: Input, ``[T, B, ...]``.
            state: As the last call returned it; empty before the first step.
        """

    def record(self, x: Tensor, y: Tensor, valid: Tensor | None) -> Tensor:
        """Hand what went through the node's layers of neurons to their recorders.

        Args:
            x: Input of all steps, ``[T, B, ...]``.
            y: Output of all steps.
            valid: ``[T, B]``, the steps that count.

        Returns:
            The output, which a recorder may have replaced.
        """
        return y

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """All steps, from the beginning; recorded."""
        return self.record(x, self.run(x, ())[0], valid)


class Stateless(NIRNode):
    """Affine, Linear, Scale, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten and Output."""

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
    """The input a number of steps later; 0 before that."""

    def __init__(self, node: Node, dynamics: Dynamics) -> None:
        super().__init__()
        steps = np.rint(node.each("delay") / dynamics.dt).astype(int)
        self.longest, self.same = int(steps.max()), bool((steps == steps.flat[0]).all())
        self.register_buffer("steps", torch.tensor(steps), persistent=False)

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
        leak: ``a``, one number an element, in their shape.
        gain: ``b``.
        rest: ``r``, the value without input.
        neuron: Makes a backend's neuron.
        late: Whether a step returns the value of the step before.
    """

    def __init__(self, leak: Array, gain: Array, rest: Array | float, neuron: MakeNeuron, late: bool = False) -> None:
        super().__init__()
        self.late = late
        rest = np.broadcast_to(rest, leak.shape)
        alike, each = _parameters({"decay": 1 - leak, "gain": gain, "v_rest": rest})
        self.layer = SpikingLayer(neuron_for(neuron, LISpec(**alike)), shape=leak.shape, params=each)
        self.register_buffer("rest", _tensor(rest), persistent=False)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        made, after = self.layer.run(x, state or None)
        if not self.late:
            return made, after
        before = state[0] if state else cast(Tensor, self.rest).to(x.dtype).expand(x.shape[1:])
        return torch.cat((before[None], made[:-1])), after

    def record(self, x: Tensor, y: Tensor, valid: Tensor | None) -> Tensor:
        return self.layer.record(x, y, valid=valid)


class Neurons(NIRNode):
    """IF, LIF and CubaLIF: a layer of a backend's neurons, behind a synapse where there is one.

    With ``a`` the leak and ``b`` the gain of a step, NIR's membrane is ``v - a (v - v_leak) + b R I``. A backend's is
    ``v - (v - r) / tau + x / tau`` with ``tau = 1 / a`` where ``a = b`` for all neurons, else
    ``v - (v - r) / tau + x``, with r the value after a reset, or 0. So its current is NIR's plus what its leak lacks.
    """

    def __init__(self, node: Node, dynamics: Dynamics, neuron: MakeNeuron, surrogate: Surrogate, alpha: float) -> None:
        super().__init__()
        shape, hard = node.shape or (), dynamics.reset == "value"
        rests = node.each("v_reset") if hard else np.zeros(shape)
        self.above = dynamics.fires == "above"
        constants = {"v_reset": rests} if hard else {}
        offsets, gains = np.zeros(shape), np.full(shape, dynamics.dt)
        inside = False
        if node.kind != "IF":
            tau = node.each("tau_mem" if node.kind == "CubaLIF" else "tau")
            leaks, gains = dynamics.leak(tau), dynamics.gain(tau)
            with np.errstate(divide="ignore", over="ignore"):
                steps = 1.0 / leaks
            constants["tau"] = steps
            inside = bool((leaks == gains).all() and np.isfinite(steps).all())  # the backend scales its input so
            offsets = (node.each("v_leak") - rests) * (1.0 if inside else leaks)
            gains = np.ones(shape) if inside else gains
        gains = gains * node.each("r")
        alike, each = _parameters(constants)
        # A number is needed where each neuron has its own: it is not used.
        kind: dict[str, Any] = {"v_reset": alike.get("v_reset", 0.0) if hard else None}
        kind |= {"surrogate": surrogate, "alpha": alpha}
        lif = node.kind != "IF"
        spec = LIFSpec(tau=alike.get("tau", 2.0), decay_input=inside, **kind) if lif else IFSpec(**kind)
        self.layer = SpikingLayer(neuron(spec), shape=shape, params=each)
        self.scaled, self.shifted = bool((gains != 1.0).any()), bool(offsets.any())
        for name, values in (("gain", gains), ("offset", offsets), ("threshold", node.each("v_threshold"))):
            self.register_buffer(name, _tensor(values), persistent=False)
        self.synapse = _synapse(node, dynamics, neuron) if node.kind == "CubaLIF" else None

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        carried = len(self.layer.spec.states)
        synapse = state[carried:]
        if self.synapse is not None:
            x, synapse = self.synapse.run(x, synapse)
        spikes, after = self.layer.run(self._currents(x), state[:carried] or None, _levels(self, x))
        return spikes, (*after, *synapse)

    def record(self, x: Tensor, y: Tensor, valid: Tensor | None) -> Tensor:
        if not self.layer.recorders:
            return y
        x = x if self.synapse is None else self.synapse(x, valid)
        return self.layer.record(self._currents(x), y, _levels(self, x), valid)

    def _currents(self, x: Tensor) -> Tensor:
        """What the backend's neurons get of NIR's current, ``[T, B, ...]``."""
        if self.scaled:
            x = x * cast(Tensor, self.gain).to(x.dtype)
        return x + cast(Tensor, self.offset).to(x.dtype) if self.shifted else x


class Threshold(NIRNode):
    """NIR's Threshold: 1 where the input is above it, at each step alone: the first step of a neuron, from 0.

    All steps of all samples are samples of one step, in records too.
    """

    def __init__(self, node: Node, dynamics: Dynamics, neuron: MakeNeuron, surrogate: Surrogate, alpha: float) -> None:
        super().__init__()
        self.above = dynamics.fires == "above"
        self.layer = SpikingLayer(neuron(IFSpec(surrogate=surrogate, alpha=alpha)))
        self.register_buffer("threshold", _tensor(node.each("threshold")), persistent=False)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.layer.run(x.flatten(0, 1)[None], None, _levels(self, x))[0].view_as(x), state

    def record(self, x: Tensor, y: Tensor, valid: Tensor | None) -> Tensor:
        steps, fired = (each.flatten(0, 1)[None] for each in (x, y))
        counts = None if valid is None else valid.flatten()[None]
        return self.layer.record(steps, fired, _levels(self, x), counts).view_as(y)


class CubaLI(NIRNode):
    """A synapse, and a leaky membrane that it drives."""

    def __init__(self, node: Node, dynamics: Dynamics, neuron: MakeNeuron) -> None:
        super().__init__()
        self.synapse, self.membrane = _synapse(node, dynamics, neuron), _leaky(node, dynamics, "tau_mem", neuron)

    def run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        current, synapse = self.synapse.run(x, state[:1])
        v, membrane = self.membrane.run(current, state[1:])
        return v, (*synapse, *membrane)

    def record(self, x: Tensor, y: Tensor, valid: Tensor | None) -> Tensor:
        return self.membrane.record(self.synapse(x, valid), y, valid) if self.membrane.layer.recorders else y


def make_node(node: Node, dynamics: Dynamics, neuron: MakeNeuron, surrogate: Surrogate, alpha: float) -> NIRNode:
    """Return the module of a node.

    Args:
        node: Any but the Input; its constants are in the unit of ``dt``.
        dynamics: How its equations become steps.
        neuron: Makes a backend's neuron.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
    """
    if node.kind in ("IF", "LIF", "CubaLIF"):
        return Neurons(node, dynamics, neuron, surrogate, alpha)
    if node.kind == "Threshold":
        return Threshold(node, dynamics, neuron, surrogate, alpha)
    if node.kind == "CubaLI":
        return CubaLI(node, dynamics, neuron)
    if node.kind == "LI":
        return _leaky(node, dynamics, "tau", neuron)
    if node.kind == "I":
        r = node.each("r")
        return Leak(np.zeros(r.shape), dynamics.dt * r, 0.0, neuron)
    if node.kind == "Delay":
        return Delay(node, dynamics)
    return Stateless(node)


def _parameters(values: Mapping[str, Array]) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Split constants by name into numbers, where all neurons have the same, and tensors."""
    alike = {name: float(each.flat[0]) for name, each in values.items() if (each == each.flat[0]).all()}
    return alike, {name: _tensor(each) for name, each in values.items() if name not in alike}


def _tensor(values: Array) -> Tensor:
    return torch.tensor(values, dtype=torch.get_default_dtype())


def _levels(node: Neurons | Threshold, x: Tensor) -> Tensor:
    """Thresholds ``[1, 1, ...]`` in the dtype of ``x``; to fire above one is to fire at the next number."""
    level = cast(Tensor, node.threshold).to(x.dtype)[None, None]
    return torch.nextafter(level, level.new_full((), torch.inf)) if node.above else level


def _leaky(node: Node, dynamics: Dynamics, name: str, neuron: MakeNeuron) -> Leak:
    tau = node.each(name)
    return Leak(dynamics.leak(tau), dynamics.gain(tau) * node.each("r"), node.each("v_leak"), neuron)


def _synapse(node: Node, dynamics: Dynamics, neuron: MakeNeuron) -> Leak:
    """The current that a membrane gets, of this step or of the step before."""
    tau, late = node.each("tau_syn"), bool(dynamics.synapse_delay)
    return Leak(dynamics.leak(tau), dynamics.gain(tau) * node.each("w_in"), 0.0, neuron, late)
