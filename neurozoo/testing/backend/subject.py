"""The backend under test, and the ways to hold it against the oracle."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.interfaces import LIFSpec, Neuron
from neurozoo.nn.agreement import MARGIN_ULPS, agreement
from neurozoo.nn.neurons import TorchNeuron
from neurozoo.testing.findings import ConformanceError, Findings

__all__ = ["Subject", "made_up_currents", "same"]


class Subject(Findings):
    """A backend under test: its findings, and the ways to hold it against the oracle."""

    @property
    def exact(self) -> bool:
        """Whether every spike must equal the oracle's."""
        return self.candidate.exact

    def make(self, spec: LIFSpec) -> Neuron:
        """Its neuron."""
        neuron: Neuron = self.candidate.target(spec)
        return neuron

    def check_spikes(
        self, spec: LIFSpec, currents: Tensor, threshold: Tensor | float, state: Tensor | None = None
    ) -> None:
        """The backend's spikes are the oracle's, step by step.

        Raises:
            ConformanceError: Spikes differ (by more than the margin, for an inexact backend), or
                are not 0 and 1 of the currents' dtype.
        """
        neuron, oracle = self.make(spec), TorchNeuron(spec)
        result = agreement(neuron, oracle, currents, threshold, state)
        self.compared += result.spikes
        self.excused += result.mismatches
        allowed = 0 if self.exact else result.mismatches - result.beyond
        where = f"{spec}, currents {list(currents.shape)} {currents.dtype}, threshold {_describe(threshold)}"
        if result.mismatches > allowed:
            raise ConformanceError(
                f"{result.mismatches} of {result.spikes} spikes differ from the oracle's, {result.beyond} of them by "
                f"more than {MARGIN_ULPS} ulp, the first in step {result.first_step}: {where}"
            )
        if result.parted if self.exact else result.stray:
            raise ConformanceError(
                f"scan gives {result.parted} of {currents[0].numel()} neurons another spike train than the oracle's, "
                f"{result.stray} of them not by rounding, though single steps agree: {where}"
            )
        spikes, v = neuron.scan(currents, state, threshold)
        expected, membrane = oracle.scan(currents, state, threshold)
        same(spikes.shape, expected.shape, f"shape of the spikes: {where}")
        same(v.shape, membrane.shape, f"shape of the membrane: {where}")
        same(spikes.dtype, currents.dtype, f"dtype of the spikes: {where}")
        same(v.dtype, currents.dtype, f"dtype of the membrane: {where}")
        if not bool(((spikes == 0) | (spikes == 1)).all()):
            raise ConformanceError(f"spikes other than 0 and 1: {where}")
        alike = (spikes == expected).all(0)
        # A membrane is wrong where the spikes agree and it does not; sqrt(eps) leaves room for drift over T.
        slack = torch.finfo(currents.dtype).eps ** 0.5
        off = ((v - membrane).abs() > slack * (1 + membrane.abs())) & alike
        if bool(off.any()):
            raise ConformanceError(f"{int(off.sum())} membranes differ by more than {slack:.1g}: {where}")

    def check_gradients(
        self, spec: LIFSpec, currents: Tensor, threshold: Tensor | float, state: Tensor | None = None
    ) -> None:
        """The backend's gradients of currents, state and tensor threshold are the oracle's.

        Give currents that come near no threshold: a flipped spike has another gradient.

        Raises:
            ConformanceError: A gradient is missing or differs by more than rounding.
        """
        got = _gradients(self.make(spec), currents, threshold, state)
        want = _gradients(TorchNeuron(spec), currents, threshold, state)
        tolerance = torch.finfo(currents.dtype).eps * (100 if self.exact else 1000)
        for name, expected in want.items():
            where = f"{name}: {spec}, {currents.dtype}, threshold {_describe(threshold)}"
            gradient = got[name]
            if gradient is None or expected is None:
                if gradient is not expected:
                    raise ConformanceError(f"no gradient of the {where}")
                continue
            error = float((gradient - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
            self.allow(error, tolerance, f"gradient of the {where}")


def same(got: object, want: object, what: str) -> None:
    """Raise unless two things are equal; tensors to the last bit.

    Raises:
        ConformanceError: They are not.
    """
    if isinstance(got, Tensor) and isinstance(want, Tensor):
        if not torch.equal(got, want):
            raise ConformanceError(f"{what}: {int((got != want).sum())} of {want.numel()} values differ")
    elif got != want:
        raise ConformanceError(f"{what}: {got}, not {want}")


def made_up_currents(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """The same random currents each time, mean 0.5 and deviation 1.5."""
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 1.5 + 0.5).to(dtype)


def _gradients(
    neuron: Neuron, currents: Tensor, threshold: Tensor | float, state: Tensor | None
) -> dict[str, Tensor | None]:
    leaves: dict[str, Tensor] = {"currents": currents.detach().clone().requires_grad_()}
    leaves["state"] = (neuron.initial_state(currents[0]) if state is None else state).detach().clone().requires_grad_()
    if isinstance(threshold, Tensor):
        leaves["threshold"] = threshold.detach().clone().requires_grad_()
    spikes, v = neuron.scan(leaves["currents"], leaves["state"], leaves.get("threshold", threshold))
    weights = made_up_currents(*spikes.shape, dtype=spikes.dtype, seed=1)
    ((spikes * weights).sum() + (v * weights[0]).sum()).backward()  # type: ignore[no-untyped-call]
    return {name: leaf.grad for name, leaf in leaves.items()}


def _describe(threshold: Tensor | float) -> str:
    return f"of shape {list(threshold.shape)}" if isinstance(threshold, Tensor) else str(threshold)
