"""Where two neurons part: which step, which neuron, and how near its membrane was."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.core.equations import lif_charge
from neurozoo.core.interfaces import Neuron, steps_of

__all__ = ["first_mismatch"]


@torch.no_grad()
def first_mismatch(
    neuron: Neuron,
    oracle: Neuron,
    currents: Tensor,
    threshold: Tensor | float,
    state: Tensor | None,
    step: int,
) -> str:
    """The first neuron that parts from the oracle in a step that is known to have one, in words.

    Args:
        neuron: The one that is judged.
        oracle: The one to judge by; both have the same spec.
        currents: ``[T, B, ...]``, dimensionless.
        threshold: As for :meth:`~neurozoo.core.interfaces.Neuron.scan`.
        state: Membrane to start from; at rest if None.
        step: The step, from 0.
    """
    spec, levels = oracle.spec, steps_of(threshold, currents)
    v = oracle.initial_state(currents[0]) if state is None else state
    for current, level in zip(currents[:step].unbind(0), levels, strict=False):
        _, v = oracle.step(current, v, level)
    current, level = currents[step], levels[step]
    h = lif_charge(v, current, spec.tau, spec.decay_input, spec.rest)
    differ = neuron.step(current, v, level)[0] != oracle.step(current, v, level)[0]
    at = tuple(int(index) for index in differ.nonzero()[0])
    height = float(h[at])
    aim = float(torch.as_tensor(level, dtype=torch.float64, device=h.device).expand(h.shape)[at])
    _, exponent = torch.frexp(torch.tensor(max(abs(height), abs(aim)), dtype=torch.float64))
    ulps = abs(height - aim) / (torch.finfo(h.dtype).eps * 2.0 ** (int(exponent) - 1))
    return f"step {step}, neuron {list(at)}, h {height:.9g}, threshold {aim:.9g}, {ulps:.3g} ulp apart"
