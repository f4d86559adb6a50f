"""e-prop: a gradient for one recurrent layer and a leaky readout, whose memory does not grow with the steps.

Source: Bellec, Scherr et al., A solution to the learning dilemma for recurrent networks of spiking neurons, Nature
Communications 11, 2020 (doi 10.1038/s41467-020-17236-y). docs/eprop.md has the equations.

Backpropagation through time keeps the states of all T steps. e-prop cuts the gradient where spikes return through
recurrent weights and through the reset; what is left is a sum over steps of a learning signal times an eligibility
trace, and a trace needs the step before it alone. The forward therefore keeps nothing. The backward, which gets the
gradient of the loss at every output, runs the steps a second time together with their traces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from neurozoo.core.equations import surrogate_gradient
from neurozoo.core.kinds import ALIFSpec, IFSpec, LIFSpec, LISpec, MembraneSpec, SpikingSpec
from neurozoo.core.layer import Counts, SpikingLayer
from neurozoo.core.neuron import Params, State
from neurozoo.errors import DataError

__all__ = ["EProp", "Gradient", "learns_by_eprop"]

Gradient = Literal["bptt", "e-prop", "e-prop-random"]
"""Backpropagation through time, e-prop with the readout's own weights as feedback, e-prop with fixed random ones."""


class Traces(ABC):
    """Eligibility traces of a kind of neuron: how its spikes depend on its weights, step after step.

    A weight from presynaptic i to neuron j has the trace ``e[j, b, i] = psi[b, j] * eps[j, b, i]``, where psi is the
    surrogate's derivative of the spike by the membrane and eps the derivative of the distance to the threshold.

    Args:
        spec: The neurons, with a detached reset.
        params: By name, as they are used.
        threshold: Dimensionless.
    """

    kinds: ClassVar[tuple[type[SpikingSpec], ...]]

    def __init__(self, spec: Any, params: Params, threshold: float) -> None:
        self.spec, self.params, self.threshold = spec, params, threshold

    @classmethod
    def refusal(cls, spec: Any, tensors: Mapping[str, Tensor]) -> str:
        """Return why these neurons have no such traces; empty if they have.

        Args:
            spec: The specification.
            tensors: The parameters that are tensors.
        """
        return f"the parameter {min(tensors)} is a tensor" if tensors else ""

    @abstractmethod
    def advance(self, before: Tensor, current: Tensor, state: State, after: State) -> None:
        """Move the traces on by a step.

        Args:
            before: Presynaptic values of the step, ``[B, I]``.
            current: Of the neurons in the step, ``[B, N]``.
            state: Before the step.
            after: After it.
        """

    @abstractmethod
    def weighted(self, signal: Tensor) -> Tensor:
        """Return ``sum over B of signal[b, j] e[j, b, i]``, ``[N, I]``.

        Args:
            signal: Gradient of the loss by the spikes of the step, ``[B, N]``.
        """

    def psi(self, u: Tensor) -> Tensor:
        """Return the surrogate's derivative at a distance ``u`` above the threshold."""
        return surrogate_gradient(u, self.spec.surrogate, self.spec.alpha)


class MembraneTraces(Traces):
    """Traces of ``lif`` and ``if`` neurons.

    ``eps(t) = d r(t-1) eps(t-1) + c x(t)``: d is the membrane's decay and c the current's factor. r is 1 for a soft
    reset, and all neurons then share their traces; with a hard reset it is 0 after a spike.
    """

    kinds = (LIFSpec, IFSpec)

    def __init__(self, spec: MembraneSpec, params: Params, threshold: float) -> None:
        super().__init__(spec, params, threshold)
        leak = 1 / spec.tau if isinstance(spec, LIFSpec) else 0.0
        self.decay, self.factor = 1 - leak, leak if isinstance(spec, LIFSpec) and spec.decay_input else 1.0
        self.hard = spec.v_reset is not None
        self.eps: Tensor | None = None
        self.slope = self.kept = torch.empty(0)

    def advance(self, before: Tensor, current: Tensor, state: State, after: State) -> None:
        driven = (self.factor * before)[None]
        if self.eps is None:
            self.eps = driven.repeat(current.shape[1], 1, 1) if self.hard else driven
        elif self.hard:
            self.eps.mul_(self.decay * self.kept).add_(driven)
        else:
            self.eps = self.decay * self.eps + driven
        u = self.spec.charged(state[0], current, self.params) - self.threshold
        self.slope = self.psi(u)
        fired = u >= 0 if self.spec.tie == "fires" else u > 0
        self.kept = 1 - fired.T[..., None].to(u.dtype)

    def weighted(self, signal: Tensor) -> Tensor:
        assert self.eps is not None
        return _summed(signal * self.slope, self.eps)


class ALIFTraces(Traces):
    """Traces of ``alif`` neurons, whose threshold adapts.

    ``eps_v(t) = alpha eps_v(t-1) + x(t)``, shared by all neurons;
    ``eps_a(t) = (rho - beta psi(t-1)) eps_a(t-1) + psi(t-1) eps_v(t-1)``; ``e = psi (eps_v - beta eps_a)``. psi is 0
    while a neuron is refractory. Only neurons with an adaptation have eps_a.
    """

    kinds = (ALIFSpec,)

    def __init__(self, spec: ALIFSpec, params: Params, threshold: float) -> None:
        super().__init__(spec, params, threshold)
        beta = params["adaptation"]
        each = isinstance(beta, Tensor) and beta.dim() > 0
        self.adapting: Tensor | slice = beta.nonzero().flatten() if each else slice(None)  # type: ignore[union-attr]
        self.beta: Tensor | float = beta[self.adapting] if each else beta  # type: ignore[index]
        self.eps_v: Tensor | None = None
        self.eps_a: Tensor | None = None
        self.slope = torch.empty(0)

    @classmethod
    def refusal(cls, spec: Any, tensors: Mapping[str, Tensor]) -> str:
        return super().refusal(spec, {name: each for name, each in tensors.items() if name != "adaptation"})

    def advance(self, before: Tensor, current: Tensor, state: State, after: State) -> None:
        if self.eps_v is None:
            self.eps_v = before
        else:
            psi = self.slope[:, self.adapting]
            kept = self.params["adaptation_decay"] - self.beta * psi
            if self.eps_a is None:
                self.eps_a = psi.T[..., None] * self.eps_v
            else:
                self.eps_a.mul_(kept.T[..., None]).addcmul_(psi.T[..., None], self.eps_v[None])
            self.eps_v = self.params["membrane_decay"] * self.eps_v + before
        membrane, adaptation = after[0], after[1]
        u = (membrane - (self.threshold + self.params["adaptation"] * adaptation)) / self.threshold
        slope = self.psi(u) / self.threshold
        self.slope = slope.masked_fill(state[2] > 0, 0.0) if self.spec.refractory else slope

    def weighted(self, signal: Tensor) -> Tensor:
        assert self.eps_v is not None
        by_membrane = signal * self.slope
        made = by_membrane.T @ self.eps_v
        if self.eps_a is not None:
            made[self.adapting] -= _summed(by_membrane[:, self.adapting] * self.beta, self.eps_a)
        return made


TRACES: Mapping[type[SpikingSpec], type[Traces]] = {
    spec: traces for traces in (MembraneTraces, ALIFTraces) for spec in traces.kinds
}
"""The traces by specification."""


def learns_by_eprop(layer: SpikingLayer) -> str:
    """Return why e-prop cannot train a layer; empty if it can."""
    spec = layer.spec
    traces = TRACES.get(type(spec))  # type: ignore[arg-type]
    if traces is None:
        known = ", ".join(sorted(kind.kind for kind in TRACES))
        return f"{spec.kind} neurons have no eligibility traces here; choose one of {known}, or gradient: bptt"
    if layer.learned:
        names = ", ".join(layer.learned)
        return f"it learns weights alone, and {spec.kind} neurons learn {names} too; fix them, or choose gradient: bptt"
    if layer.gain:
        return "the threshold divides the current; choose apply: threshold, or gradient: bptt"
    if not isinstance(layer.synapse, nn.Linear):
        return f"the synapse is {type(layer.synapse).__name__}, and no linear; choose gradient: bptt"
    if reason := traces.refusal(spec, layer.params()):
        return f"{reason}, and the traces of {spec.kind} need a number; choose gradient: bptt"
    return ""


@dataclass(frozen=True)
class _Net:
    """What stays the same over the steps: neurons, readout and masks; the weights are arguments of the function."""

    spec: SpikingSpec
    params: Params
    threshold: float
    loops: bool
    readout_decay: float
    readout_gain: float
    feedback: Tensor | None

    def steps(self, x: Tensor, w_in: Tensor, b_in: Tensor | None, w_rec: Tensor | None) -> Iterator[tuple[Any, ...]]:
        """Yield for each step: input ``[B, I]``, spikes before, current, spikes ``[B, N]``, state before and after."""
        fired = x.new_zeros(x.shape[1], len(w_in), dtype=w_in.dtype)
        rest = self.spec.rest(self.params)
        state: State = tuple(
            value.to(fired).expand_as(fired) if isinstance(value, Tensor) else torch.full_like(fired, value)
            for value in rest
        )
        used = w_rec if w_rec is None or self.loops else w_rec * (1 - torch.eye(len(w_rec)).to(w_rec))
        for row in x:
            given = row.to(w_in.dtype)
            current = nn.functional.linear(given, w_in, b_in)
            if used is not None:
                current = current + nn.functional.linear(fired, used)
            spikes, after = self.spec.step(current, state, self.threshold, self.params)
            yield given, fired, current, spikes, state, after
            fired, state = spikes, after


class _Function(torch.autograd.Function):
    """Returns outputs ``[T, B, K]``, and rates, spikes that a valid step follows and mean currents, each ``[B, N]``."""

    @staticmethod
    def forward(
        ctx: Any,
        net: _Net,
        x: Tensor,
        share: Tensor,
        following: Tensor,
        w_in: Tensor,
        b_in: Tensor | None,
        w_rec: Tensor | None,
        w_out: Tensor,
        b_out: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.net = net
        ctx.save_for_backward(x, share, following, w_in, b_in, w_rec, w_out, b_out)
        outputs = x.new_empty(len(x), x.shape[1], len(w_out), dtype=w_in.dtype)
        membrane = torch.zeros_like(outputs[0])
        rates = x.new_zeros(x.shape[1], len(w_in), dtype=w_in.dtype)
        followed, mean = torch.zeros_like(rates), torch.zeros_like(rates)
        with _whole_precision(x):
            for t, (_, _, current, spikes, _, _) in enumerate(net.steps(x, w_in, b_in, w_rec)):
                driven = net.readout_gain * nn.functional.linear(spikes, w_out, b_out)
                membrane = net.readout_decay * membrane + driven
                outputs[t] = membrane
                rates += share[t][:, None] * spikes
                followed += following[t][:, None] * spikes
                mean += share[t][:, None] * current
        ctx.mark_non_differentiable(mean)
        return outputs, rates, followed, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        net: _Net = ctx.net
        by_output, by_rate, by_followed, _ = grad_outputs
        x, share, following, w_in, b_in, w_rec, w_out, b_out = ctx.saved_tensors
        feedback = w_out if net.feedback is None else net.feedback
        inputs, biased, returning = w_in.shape[1], int(b_in is not None), 0 if w_rec is None else len(w_rec)
        joined, by_readout = w_in.new_zeros(len(w_in), inputs + biased + returning), torch.zeros_like(w_out)
        ones = w_in.new_ones(x.shape[1], biased)
        with _whole_precision(x):
            arriving = _back_through_the_readout(by_output, net)
            traces = TRACES[type(net.spec)](net.spec, net.params, net.threshold)
            for t, (given, before, current, spikes, state, after) in enumerate(net.steps(x, w_in, b_in, w_rec)):
                reaching = (given, ones, before) if returning else (given, ones)
                traces.advance(torch.cat(reaching, 1), current, state, after)
                counted = share[t][:, None] * by_rate + following[t][:, None] * by_followed
                joined += traces.weighted(arriving[t] @ feedback + counted)
                by_readout.addmm_(arriving[t].T, spikes)
        by_input, by_bias, by_return = joined.split((inputs, biased, returning), 1)
        if returning and not net.loops:
            by_return.fill_diagonal_(0.0)
        return (
            *(None, None, None, None, by_input, by_bias[:, 0] if biased else None, by_return if returning else None),
            *(by_readout, None if b_out is None else arriving.sum((0, 1))),
        )


class EProp(nn.Module):
    """Runs a layer and its readout with e-prop's gradient; the layer's and the readout's parameters stay theirs.

    The gradient is that of automatic differentiation where the layer has ``detach_reset`` and ``detach_recurrent``;
    with random feedback other numbers take the place of the readout's weights on the way back. The inputs get none. It
    runs on torch's own operations, whichever backend the layer has. The recorder of a layer gets its mean over the
    valid steps as one step, ``[1, B, N]``, since no spikes are kept.

    Args:
        layer: One layer of ``lif``, ``if`` or ``alif`` neurons that a linear drives, recurrent or not.
        readout: A linear and leaky integrators.
        random: Whether the feedback is random, drawn here once and part of the checkpoint.

    Raises:
        DataError: e-prop cannot train the layer; says why.
    """

    feedback: Tensor | None

    def __init__(self, layer: SpikingLayer, readout: SpikingLayer, *, random: bool = False) -> None:
        super().__init__()
        if reason := learns_by_eprop(layer):
            raise DataError(f"gradient: e-prop cannot train this layer: {reason}")
        assert isinstance(readout.spec, LISpec)
        assert isinstance(readout.synapse, nn.Linear)
        # In a tuple, so that their parameters are not registered a second time.
        self._layers = (layer, readout)
        width = readout.synapse.weight.shape[1]
        drawn = torch.randn_like(readout.synapse.weight.detach()) / width**0.5 if random else None
        self.register_buffer("feedback", drawn)
        # Not a decorator: it imports the compiler, which every start of the program would pay for.
        self._run = torch.compiler.disable(_Function.apply)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor, threshold: float = 1.0, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the readout's membrane ``[T, B, K]`` and each neuron's rate over the valid steps, ``[B, N]``.

        Args:
            x: Inputs ``[T, B, I]`` of any dtype.
            threshold: Dimensionless.
            valid: ``[T, B]`` bool, the steps that count; None for all.
        """
        layer, readout = self._layers
        synapse, head = layer.synapse, readout.synapse
        assert isinstance(synapse, nn.Linear)
        assert isinstance(head, nn.Linear)
        spec, leak = replace(cast("SpikingSpec", layer.spec), detach_reset=True), cast("LISpec", readout.spec)
        params = spec.complete({name: each.to(synapse.weight.dtype) for name, each in layer.params().items()})
        net = _Net(spec, params, threshold, layer.self_connections, leak.decay, leak.gain, self.feedback)
        dtype = synapse.weight.dtype
        every = x.new_ones(len(x), 1, dtype=torch.bool) if valid is None else valid
        steps = every.sum(0).expand(x.shape[1])
        share = (every.to(dtype) / steps[: every.shape[1]].clamp(min=1)).expand(x.shape[:2])
        following = torch.cat((every[1:], torch.zeros_like(every[:1]))).to(dtype).expand(x.shape[:2])
        back = None if layer.recurrent is None else layer.recurrent.weight
        outputs, rates, followed, mean = self._run(
            net, x, share, following, synapse.weight, synapse.bias, back, head.weight, head.bias
        )
        if layer.recorders:
            any_valid = None if valid is None else valid.any(0)[None]
            counts = Counts(rates * steps[:, None], None if back is None else followed, steps)
            layer.record(mean[None], rates[None], threshold, any_valid, counts=counts)
        return outputs, rates


def _back_through_the_readout(by_output: Tensor, net: _Net) -> Tensor:
    """Return the gradient of the loss by the readout's linear, ``[T, B, K]``: ``D(t) = kappa D(t+1) + g dE/do(t)``."""
    arriving = net.readout_gain * by_output
    for t in range(len(arriving) - 2, -1, -1):
        arriving[t] += net.readout_decay * arriving[t + 1]
    return arriving


def _summed(signal: Tensor, traces: Tensor) -> Tensor:
    """Return ``sum over B of signal[b, j] traces[j, b, i]``, ``[N, I]``; the traces may be one for all neurons."""
    if len(traces) == 1:
        return signal.T @ traces[0]
    return torch.bmm(signal.T[:, None], traces)[:, 0]


def _whole_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Membranes stay in float32 under mixed precision, since spikes depend on their last bits."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
