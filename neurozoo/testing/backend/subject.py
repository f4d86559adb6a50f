"""The backend under test, and how it is compared with the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from neurozoo.backends.agreement import MARGIN_ULPS, agreement, first_mismatch, heights, within_margin
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, State, check_params, steps_of
from neurozoo.errors import SpikingError
from neurozoo.testing.backend.inputs import ORDINARY, SPECS, describe, random_currents, same, spec_text
from neurozoo.testing.findings import Findings, NotRun, require

S = TypeVar("S", bound=NeuronSpec)


class Refused(NotRun):
    """The backend refuses a neuron: its constructor raised SpikingError."""


class Subject(Findings):
    """A backend under test, with the findings of one case."""

    @property
    def exact(self) -> bool:
        """Whether every spike must equal the oracle's."""
        return self.candidate.exact

    @property
    def declared(self) -> tuple[str, ...]:
        """The kinds that it declares to run."""
        return tuple(getattr(self.candidate.target, "kinds", Neuron.kinds))

    def make(self, spec: NeuronSpec) -> Neuron:
        """The backend's neuron.

        Raises:
            Refused: The backend refuses it, which is allowed and recorded.
        """
        try:
            neuron: Neuron = self.candidate.target(spec)
        except SpikingError as error:
            self.refuse(f"{spec_text(spec)}: {error}")
            raise Refused(f"it refuses {spec_text(spec)}: {error}") from error
        return neuron

    def accepts(self, spec: NeuronSpec) -> bool:
        """Whether the backend runs a specification; a refusal is recorded."""
        try:
            self.make(spec)
        except Refused:
            return False
        return True

    def accepted(self, specs: Iterable[S]) -> Iterator[S]:
        """Those specifications that the backend runs; kinds that it does not declare are not tried.

        Raises:
            Refused: It refuses all of them.
        """
        refuses_all = True
        for spec in specs:
            if spec.kind in self.declared and self.accepts(spec):
                refuses_all = False
                yield spec
        if refuses_all:
            raise Refused(
                f"it refuses every neuron of this case, such as {self.refused[0]}"
                if self.refused
                else f"it runs none of this case's kinds; it runs: {', '.join(self.declared)}"
            )

    def usual(self) -> NeuronSpec:
        """The default LIF, or the first neuron that is not refused.

        Raises:
            Refused: There is none.
        """
        return next(self.accepted((*ORDINARY, *SPECS)))

    def kinds(self) -> Iterator[NeuronSpec]:
        """One neuron of each kind that the backend declares, the usual one first."""
        first = self.usual()
        yield first
        seen = {first.kind}
        for spec in SPECS:
            if spec.kind in self.declared and spec.kind not in seen and self.accepts(spec):
                seen.add(spec.kind)
                yield spec

    def as_tensors(self, spec: NeuronSpec, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those parameters that the backend takes as tensors; a refusal is recorded."""
        neuron, taken = self.make(spec), {}
        for name, value in params.items():
            current = torch.zeros(1, *value.shape or (1,), dtype=value.dtype)
            try:
                neuron.step(current, neuron.initial_state(current), 1.0, {name: value})
            except SpikingError as error:
                self.refuse(f"{spec_text(spec)} with {name} as a tensor: {error}")
            else:
                taken[name] = value
        return taken

    def oracle(self, spec: NeuronSpec) -> Neuron:
        """The neuron that the backend must equal.

        Raises:
            NotRun: The backend is declared to be another model.
        """
        if self.candidate.native:
            raise NotRun("marked as another model; `neurozoo compare` says how far off it is")
        return TorchNeuron(spec)

    def check_spikes(
        self,
        spec: NeuronSpec,
        currents: Tensor,
        threshold: Tensor | float,
        state: State | None = None,
        params: Params | None = None,
    ) -> None:
        """Compare the outputs of each step, and the last states, with the oracle's.

        Raises:
            ConformanceError: Spikes differ (by more than the margin, for an inexact backend) or are not 0 and 1;
                outputs of a neuron that does not fire, or states, differ by more than rounding; a dtype is not that
                of the currents.
        """
        oracle, neuron = self.oracle(spec), self.make(spec)
        where = describe(spec, currents, threshold, params)
        if spec.spiking:  # single steps, and the whole scan
            call = (neuron, oracle, currents, threshold, state, params)
            result = agreement(*call)
            self.compared += result.spikes
            require(
                not (result.mismatches if self.exact else result.beyond),
                f"{result.mismatches} of {result.spikes} spikes differ from the oracle's, {result.beyond} of them by "
                f"more than {MARGIN_ULPS} ulp, the first in step {result.first_step}: {where}",
            )
            require(
                not (result.parted if self.exact else result.stray),
                f"scan gives {result.parted} neurons another spike train than the oracle's, {result.stray} of them "
                f"not by rounding, though single steps agree: {where}",
            )
            if result.mismatches:
                self.excuse(result.mismatches, f"{first_mismatch(*call)}; {where}")
        out, after = neuron.scan(currents, state, threshold, params)
        expected, want = oracle.scan(currents, state, threshold, params)
        names = f"spikes and {', '.join(spec.states) or 'no state'}: {where}"
        same([each.shape for each in (out, *after)], [each.shape for each in (expected, *want)], f"shapes of {names}")
        same({each.dtype for each in (out, *after)}, {currents.dtype}, f"dtypes of {names}")
        binary = not spec.spiking or ((out == 0) | (out == 1)).all()
        require(binary, f"spikes other than 0 and 1: {where}")
        eps = torch.finfo(currents.dtype).eps
        if not spec.spiking and out.numel():
            self.compared += out.numel()
            slack = MARGIN_ULPS * len(currents) * eps * (1 + float(expected.abs().max()))
            close = float((out - expected).abs().max()) <= slack
            require(close, f"outputs differ from the oracle's by more than {slack:.1g}: {where}")
        # After a flipped spike states differ rightly. sqrt(eps) leaves room for rounding that adds up over T.
        alike = _alike(spec, out, expected)
        for name, got, wanted in zip(spec.states, after, want, strict=True):
            off = ((got - wanted).abs() > eps**0.5 * (1 + wanted.abs())) & alike
            wrong = int(off.sum())
            require(not wrong, f"{wrong} values of its {name} differ by more than {eps**0.5:.1g}: {where}")

    def check_gradients(
        self,
        spec: NeuronSpec,
        currents: Tensor,
        threshold: Tensor | float,
        state: State | None = None,
        params: Params | None = None,
    ) -> None:
        """Compare the gradients of currents, state, tensor threshold and tensor parameters with the oracle's.

        A flipped spike has another gradient, so those of an inexact backend are compared over the neurons whose spike
        trains are the oracle's.

        Raises:
            ConformanceError: A gradient is missing or differs by more than rounding, or too few spike trains agree.
        """
        where = describe(spec, currents, threshold, params)
        neurons = (self.make(spec), self.oracle(spec))
        mine, oracle = (_Graph(each, currents, threshold, state, params) for each in neurons)
        alike = _alike(spec, mine.outputs.detach(), oracle.outputs.detach())
        share = float(alike.double().mean()) if alike.numel() else 1.0
        enough = share >= (1.0 if self.exact else 0.9)
        require(enough, f"only {share:.0%} of the spike trains are the oracle's: {where}")
        if not self.exact and currents.dtype == torch.bfloat16 and getattr(spec, "surrogate", "") == "box":
            alike &= _off_the_edges(self.oracle(spec), currents, threshold, state, params)
            require(bool(alike.any()), f"no spike train of the oracle's keeps off the edges of the box: {where}")
        got, want = mine.gradients(alike), oracle.gradients(alike)
        largest = {name: float(x.abs().max()) for name, x in want.items() if x is not None and x.numel()}
        for name, wanted in want.items():
            gradient = got[name]
            if gradient is None or wanted is None:
                require(gradient is wanted, f"no gradient of the {name}: {where}")
            elif wanted.numel():
                # Gradients of thresholds and parameters are sums, in which the summands may cancel.
                summed = name == "threshold" or name.startswith("parameter")
                scale = max(largest.values()) if summed else largest[name]
                error = float((gradient - wanted).abs().max()) / max(scale, 1e-12)
                self.allow(error, tolerance_of(currents.dtype, self.exact), f"gradient of the {name}: {where}")


def _on(specs: Callable[[Subject], Iterable[S]]) -> Callable[[Callable[[Subject, S], None]], Callable[[Subject], None]]:
    def decorate(case: Callable[[Subject, S], None]) -> Callable[[Subject], None]:
        @wraps(case)
        def run(subject: Subject) -> None:
            for spec in specs(subject):
                case(subject, spec)

        return run

    return decorate


def each_of(specs: Iterable[S]) -> Callable[[Callable[[Subject, S], None]], Callable[[Subject], None]]:
    """A decorator that runs a case on each of some specifications, those that the backend does not refuse."""
    chosen = tuple(specs)
    return _on(lambda subject: subject.accepted(chosen))


each_kind = _on(Subject.kinds)
"""A decorator that runs a case on one neuron of each kind that the backend declares."""


def tolerance_of(dtype: torch.dtype, exact: bool) -> float:
    """Allowed difference of a gradient, as a share of its tensor's largest entry, dimensionless."""
    # In units of the dtype's rounding; in bfloat16 a hundred of them are nearly the largest entry itself.
    units = (8 if exact else 32) if dtype == torch.bfloat16 else (100 if exact else 1000)
    return units * torch.finfo(dtype).eps


def _alike(spec: NeuronSpec, outputs: Tensor, expected: Tensor) -> Tensor:
    """The neurons ``[B, ...]`` whose spike trains agree; all of a kind that does not fire."""
    return (outputs == expected).all(0) if spec.spiking else torch.ones_like(outputs[0], dtype=torch.bool)


@torch.no_grad()
def _off_the_edges(
    oracle: Neuron, currents: Tensor, threshold: Tensor | float, state: State | None, params: Params | None
) -> Tensor:
    """The neurons ``[B, ...]`` whose membranes are never within rounding of an edge of a box.

    There its derivative jumps between 0 and 1, so a membrane that is rounded otherwise has another gradient.
    """
    spec: Any = oracle.spec
    used = check_params(spec.complete(params), currents)
    carried = oracle.initial_state(currents[0], used) if state is None else state
    off = torch.ones_like(currents[0], dtype=torch.bool)
    levels = steps_of(threshold, currents)
    for step, (current, level) in enumerate(zip(currents.unbind(0), levels, strict=True), start=1):
        height, compared = heights(spec, current, carried, level, used)
        for edge in (-spec.alpha / 2, spec.alpha / 2):
            off &= ~within_margin(height, compared + edge, step)
        _, carried = oracle.step(current, carried, level, used)
    return off


class _Graph:
    """A scan whose tensor arguments are leaves, by name: currents, states, threshold and parameters."""

    def __init__(
        self, neuron: Neuron, currents: Tensor, threshold: Tensor | float, state: State | None, params: Params | None
    ) -> None:
        start = neuron.initial_state(currents[0], params) if state is None else state
        names = [name if name != "membrane" else "state" for name in neuron.spec.states]
        arguments = {
            "currents": currents,
            **dict(zip(names, start, strict=True)),
            "threshold": threshold,
            **{f"parameter {name}": value for name, value in (params or {}).items()},
        }
        self.leaves = {k: x.detach().clone().requires_grad_() for k, x in arguments.items() if isinstance(x, Tensor)}
        used = {name: self.leaves.get(f"parameter {name}", value) for name, value in (params or {}).items()}
        given = tuple(self.leaves[name] for name in names)
        level = self.leaves.get("threshold", threshold)
        self.outputs, self.after = neuron.scan(self.leaves["currents"], given, level, used or None)

    def gradients(self, counted: Tensor) -> dict[str, Tensor | None]:
        """Of a weighted sum of outputs and last states over the counted neurons, bool ``[B, ...]``."""
        weights = random_currents(*self.outputs.shape, dtype=self.outputs.dtype, seed=1) * counted
        weighed = sum(((v * weights[0]).sum() for v in self.after), (self.outputs * weights).sum())
        found = torch.autograd.grad(weighed, list(self.leaves.values()), allow_unused=True)
        return dict(zip(self.leaves, found, strict=True))
