"""A case on torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from neurozoo.core.interfaces import LIFSpec, Neuron
from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.backend.gradients import tolerance_of
from neurozoo.testing.backend.inputs import describe, made_up_currents, same
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.compiling import BACKEND, compiler, reason
from neurozoo.testing.findings import ConformanceError, NotRun

__all__ = ["COMPILED_CASES"]

Results = tuple[Tensor, Tensor, Tensor]
"""Spikes, last membrane, gradient of the currents."""


def can_be_compiled(subject: Subject) -> None:
    """As one graph, or with breaks where the class says ``graph_breaks = True``; it does the same either way."""
    currents = made_up_currents(2, 2, 4)
    thresholds: tuple[Tensor | float, ...] = (0.7, torch.tensor([0.4, 0.9]).reshape(2, 1, 1))
    for spec, threshold in product(subject.accepted([subject.usual(), LIFSpec(v_reset=None)]), thresholds):
        neuron = subject.make(spec)
        where = describe(spec, currents, threshold)
        want = _results(neuron.scan, currents, threshold)
        try:
            got = _compiled(neuron, currents, threshold, fullgraph=not neuron.graph_breaks)
        except Exception as error:  # dynamo's own errors, and whatever its graph raises
            _needs_a_compiler()
            raise ConformanceError(f"{_failed(neuron)} ({reason(error)}): {where}") from error
        same(got[0], want[0], f"spikes when compiled: {where}")
        subject.compared += want[0].numel()
        for name, a, b in zip(("membrane", "gradient of the currents"), got[1:], want[1:], strict=True):
            error_share = float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
            subject.allow(error_share, tolerance_of(currents.dtype, subject.exact), f"{name} when compiled: {where}")


COMPILED_CASES: tuple[Callable[[Subject], None], ...] = (can_be_compiled,)


def _results(
    scan: Callable[[Tensor, None, Tensor | float], tuple[Tensor, Tensor]], currents: Tensor, threshold: Tensor | float
) -> Results:
    leaf = currents.clone().requires_grad_()
    spikes, v = scan(leaf, None, threshold)
    (gradient,) = torch.autograd.grad(spikes.sum() + v.sum(), leaf)
    return spikes.detach(), v.detach(), gradient


def _compiled(neuron: Neuron, currents: Tensor, threshold: Tensor | float, fullgraph: bool) -> Results:
    # A function of our own: the compiler's cache goes by the code that it is given.
    def scan(currents: Tensor, state: None, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        return neuron.scan(currents, state, threshold)

    with compiler():
        return _results(torch.compile(scan, fullgraph=fullgraph, backend=BACKEND), currents, threshold)


def _needs_a_compiler() -> None:
    """Raise NotRun where torch.compile does not work for the oracle either, such as on a new Python."""
    try:
        _compiled(TorchNeuron(LIFSpec()), made_up_currents(2, 2, 2), 0.7, fullgraph=True)
    except Exception as error:
        raise NotRun(f"torch.compile does not work here: {reason(error)}") from error


def _failed(neuron: Neuron) -> str:
    if neuron.graph_breaks:
        return "it declares graph_breaks, and fails when compiled all the same"
    return "torch.compile cannot trace it as one graph; where that is the library's doing, declare graph_breaks = True"
