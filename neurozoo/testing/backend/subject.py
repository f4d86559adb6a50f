"""The backend under test, and the ways to hold it against the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import torch
from torch import Tensor

from neurozoo.backends.agreement import MARGIN_ULPS, Agreement, agreement
from neurozoo.core.interfaces import SURROGATES, LIFSpec, Neuron
from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError
from neurozoo.testing.backend.gradients import gradients_of, tolerance_of, trains_alike
from neurozoo.testing.backend.inputs import describe, same, spec_text
from neurozoo.testing.backend.mismatch import first_mismatch
from neurozoo.testing.findings import ConformanceError, Findings, NotRun

__all__ = ["Refused", "Subject"]

USUAL = tuple(
    LIFSpec(surrogate=surrogate, v_reset=v_reset, detach_reset=detach, decay_input=decay, alpha=alpha)
    for surrogate, alpha, v_reset, detach, decay in product(
        SURROGATES, (2.0, 1.0, 10.0, 100.0), (0.0, None), (False, True), (True, False)
    )
)
"""Tried in this order where a case takes any neuron: the default first."""


class Refused(NotRun):
    """The backend declines to be some neuron: its constructor raised SpikingError."""


class Subject(Findings):
    """A backend under test: its findings, and the ways to hold it against the oracle."""

    @property
    def exact(self) -> bool:
        """Whether every spike must equal the oracle's."""
        return self.candidate.exact

    def make(self, spec: LIFSpec) -> Neuron:
        """Its neuron.

        Raises:
            Refused: It declines to be that one, as it may.
        """
        try:
            neuron: Neuron = self.candidate.target(spec)
        except SpikingError as error:
            self.refuse(f"{spec_text(spec)}: {error}")
            raise Refused(f"it refuses {spec_text(spec)}: {error}") from error
        return neuron

    def accepts(self, spec: LIFSpec) -> bool:
        """Whether it takes a spec; a refusal is kept."""
        try:
            self.make(spec)
        except Refused:
            return False
        return True

    def accepted(self, specs: Iterable[LIFSpec]) -> Iterator[LIFSpec]:
        """Those of some specs that it does not refuse.

        Raises:
            Refused: It refuses all of them.
        """
        taken = 0
        for spec in specs:
            if self.accepts(spec):
                taken += 1
                yield spec
        if not taken:
            raise Refused(f"it refuses every neuron of this case, such as {self.refused[0]}")

    def usual(self) -> LIFSpec:
        """The default spec, or the nearest one that it does not refuse.

        Raises:
            Refused: There is none.
        """
        return next(self.accepted(USUAL))

    def neuron(self) -> Neuron:
        """A neuron, for cases in which it does not matter which."""
        return self.make(self.usual())

    def oracle(self, spec: LIFSpec) -> Neuron:
        """The neuron that it must equal.

        Raises:
            NotRun: It is marked as another model.
        """
        if self.candidate.native:
            raise NotRun("marked as another model; `neurozoo compare` says how far off it is")
        return TorchNeuron(spec)

    def check_spikes(
        self, spec: LIFSpec, currents: Tensor, threshold: Tensor | float, state: Tensor | None = None
    ) -> None:
        """The backend's spikes are the oracle's, step by step, and so are its last membranes.

        Raises:
            ConformanceError: Spikes differ (by more than the margin, for an inexact backend), or
                are not 0 and 1 of the currents' dtype.
        """
        oracle, neuron = self.oracle(spec), self.make(spec)
        where = describe(spec, currents, threshold)
        result = agreement(neuron, oracle, currents, threshold, state)
        self.compared += result.spikes
        self._judge(result, where)
        if result.first_step is not None:
            at = first_mismatch(neuron, oracle, currents, threshold, state, result.first_step)
            self.excuse(result.mismatches, f"{at}; {where}")
        spikes, v = neuron.scan(currents, state, threshold)
        expected, membrane = oracle.scan(currents, state, threshold)
        same((spikes.shape, v.shape), (expected.shape, membrane.shape), f"shapes of spikes and membrane: {where}")
        same((spikes.dtype, v.dtype), (currents.dtype,) * 2, f"dtypes of spikes and membrane: {where}")
        if not bool(((spikes == 0) | (spikes == 1)).all()):
            raise ConformanceError(f"spikes other than 0 and 1: {where}")
        # A membrane is wrong where the spikes agree and it does not; sqrt(eps) leaves room for drift over T.
        slack = torch.finfo(currents.dtype).eps ** 0.5
        off = ((v - membrane).abs() > slack * (1 + membrane.abs())) & (spikes == expected).all(0)
        if bool(off.any()):
            raise ConformanceError(f"{int(off.sum())} membranes differ by more than {slack:.1g}: {where}")

    def _judge(self, result: Agreement, where: str) -> None:
        if result.mismatches if self.exact else result.beyond:
            raise ConformanceError(
                f"{result.mismatches} of {result.spikes} spikes differ from the oracle's, {result.beyond} of them by "
                f"more than {MARGIN_ULPS} ulp, the first in step {result.first_step}: {where}"
            )
        if result.parted if self.exact else result.stray:
            raise ConformanceError(
                f"scan gives {result.parted} neurons another spike train than the oracle's, {result.stray} of them "
                f"not by rounding, though single steps agree: {where}"
            )

    def check_gradients(
        self, spec: LIFSpec, currents: Tensor, threshold: Tensor | float, state: Tensor | None = None
    ) -> None:
        """The backend's gradients of currents, state and tensor threshold are the oracle's.

        A flipped spike has another gradient, so an inexact backend's are compared over the neurons
        whose spike trains are the oracle's.

        Raises:
            ConformanceError: A gradient is missing or differs by more than rounding, or too few
                spike trains are the same.
        """
        oracle, neuron = self.oracle(spec), self.make(spec)
        where = describe(spec, currents, threshold)
        alike = trains_alike(neuron, oracle, currents, threshold, state)
        least = 1.0 if self.exact else 0.9
        if alike.numel() and (share := float(alike.double().mean())) < least:
            raise ConformanceError(f"only {share:.0%} of the spike trains are the oracle's: {where}")
        got = gradients_of(neuron, currents, threshold, state, alike)
        want = gradients_of(oracle, currents, threshold, state, alike)
        largest = {name: float(x.abs().max()) for name, x in want.items() if x is not None and x.numel()}
        # A sum of what the others are: judged by them where it cancels.
        largest["threshold"] = max(largest.values(), default=0.0)
        for name, expected in want.items():
            gradient = got[name]
            if gradient is None or expected is None:
                if gradient is not expected:
                    raise ConformanceError(f"no gradient of the {name}: {where}")
            elif expected.numel():
                error = float((gradient - expected).abs().max()) / max(largest[name], 1e-12)
                self.allow(error, tolerance_of(currents.dtype, self.exact), f"gradient of the {name}: {where}")
