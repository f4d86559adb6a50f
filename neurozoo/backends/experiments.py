"""Determine by experiments of a few steps where neurons of two libraries differ, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from neurozoo.backends.agreement import unit_in_last_place
from neurozoo.core.equations import SURROGATES, Surrogate, surrogate_gradient
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import Neuron
from neurozoo.errors import SpikingError

__all__ = ["Trait", "traits"]

Make = Callable[[LIFSpec], Neuron]
"""Makes a neuron of a spec, like a backend's class."""

FAR = 100.0
"""A threshold that no membrane reaches in these experiments."""


@dataclass(frozen=True)
class Trait:
    """A behaviour in which neurons of the same spec can differ.

    Attributes:
        name: Name of the experiment.
        found: The neuron's behaviour in words; equal behaviour gives equal words.
    """

    name: str
    found: str


def traits(make: Make) -> tuple[Trait, ...]:
    """Return a neuron's behaviour in each experiment, determined from outputs and gradients only.

    The spec is the default one (tau 2, hard reset to 0, ATan of alpha 2), unless an experiment needs another.

    Args:
        make: The neuron's class, or a function that makes one of a spec.
    """
    return tuple(Trait(name, _try(experiment, make)) for name, experiment in EXPERIMENTS.items())


def _try(experiment: Callable[[Make], str], make: Make) -> str:
    try:
        return experiment(make)
    except SpikingError:
        return "refused"


def _tie(make: Make) -> str:
    membrane = _charge(make, 0.75)
    return "fires" if _scan(make(LIFSpec()), (0.75,), membrane)[0].item() else "silent"


def _reset(make: Make) -> str:
    """Apply a strong current, then none: at which step is the membrane back at 0?"""
    neuron = make(LIFSpec())
    current = 1.5 / _gain(make)  # h = 1.5
    after = [float(_scan(neuron, (current, 0.0, 0.0)[:steps], 1.0)[1]) for steps in (1, 2, 3)]
    late = next((step for step, v in enumerate(after) if v == 0), None)
    return "never" if late is None else ("in the same step", "one step late", "two steps late")[late]


def _reset_gradient(make: Make) -> str:
    """Return whether the first current still influences a membrane that was reset afterwards."""
    current = torch.tensor([[[1.5 / _gain(make)]], [[0.0]]], requires_grad=True)
    _, (v,) = make(LIFSpec()).scan(current, None, 1.0)
    return "flows" if _gradient(v, current)[0].abs().sum() > 0 else "detached"


def _input_scale(make: Make, decay_input: bool = True) -> str:
    spec = LIFSpec(tau=4.0, decay_input=decay_input)
    gain = _gain(make, spec)
    return {1 / spec.tau: "x / tau", 1.0: "x"}.get(gain, f"{gain:.4g} x")


def _surrogate(make: Make) -> str:
    """Return the nearest surrogate of the core; its steepness follows from height and width."""
    u = torch.linspace(-2, 2, 401)
    gradient = _surrogate_at(make, u)
    peak = float(gradient.abs().max())
    if peak == 0:
        return "none: no gradient"
    fits = {
        (name, alpha): float((surrogate_gradient(u, name, alpha) - gradient).abs().max()) / peak
        for name in SURROGATES
        for alpha in _steepness(name, peak, _half_width(make, peak))
    }
    (name, alpha), error = min(fits.items(), key=lambda fit: fit[1])
    return f"{name}, alpha {alpha:.3g}" + ("" if error < 1e-5 else f", nearest: off by {error:.2g} of its height")


def _surrogate_shape(make: Make) -> str:
    peak = float(_surrogate_at(make, torch.zeros(1)))
    return f"{peak:.3g}, half of it at {_half_width(make, peak):.3g}"


def _threshold_gradient(make: Make) -> str:
    """Compare the gradient of a 0-d threshold with the membrane's, which has the opposite sign."""
    current = torch.tensor([[[0.9 / _gain(make)]]], requires_grad=True)
    threshold = torch.tensor(1.0, requires_grad=True)
    spikes, _ = make(LIFSpec()).scan(current, None, threshold)
    expected = -_gradient(spikes, current).sum() / _gain(make)
    gradient = _gradient(spikes, threshold)
    if gradient == 0:
        return "none"
    return "yes" if torch.allclose(gradient, expected, rtol=1e-4) else f"wrong: {gradient / expected:.3g} times"


def _threshold_of_the_reset(make: Make) -> str:
    """Apply a soft reset with thresholds 1 and then .75: which one is subtracted for the first spike?"""
    neuron = make(LIFSpec(v_reset=None))
    levels = torch.tensor([1.0, 0.75]).reshape(2, 1, 1)
    # h = 1.5 fires; without input the membrane then halves: (1.5 - 1) / 2, or 1.5 / 2 - .75.
    v = float(_scan(neuron, (1.5 / _gain(make), 0.0), levels)[1])
    return _nearest(
        v,
        {
            0.25: "its own step's",
            -0.25: "its own step's, after the leak",
            0.0: "the next step's",
            0.375: "the next step's, before the leak",
        },
    )


def _fallen_threshold(make: Make) -> str:
    """Put a membrane below its step's threshold and above the next one: it must not be reset, as it did not spike."""
    neuron = make(LIFSpec())
    levels = torch.tensor([1.0, 0.25]).reshape(2, 1, 1)
    v = float(_scan(neuron, (0.5 / _gain(make), -0.25 / _gain(make)), levels)[1])
    return _nearest(v, {0.0: "as it was", -0.25: "reset without a spike"})


def _dtype(make: Make) -> str:
    currents = torch.ones(2, 1, 1, dtype=torch.bfloat16)
    spikes, (v,) = make(LIFSpec()).scan(currents, None, 1.0)
    kept = spikes.dtype == v.dtype == torch.bfloat16
    return "kept" if kept else f"spikes {_short(spikes.dtype)}, membrane {_short(v.dtype)}"


def _state(make: Make) -> str:
    """Return whether a sequence run in two parts, with another sequence in between, gives the same spikes."""
    neuron = make(LIFSpec())
    currents = torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(0)) * 2
    whole, _ = make(LIFSpec()).scan(currents)
    head, v = neuron.scan(currents[:3])
    for others in (5, 2):
        neuron.scan(torch.ones(2, others, 8))
    tail, _ = neuron.scan(currents[3:], v)
    return "explicit" if torch.equal(torch.cat([head, tail]), whole) else "hidden"


def _leak(make: Make) -> str:
    """Compare one step without input with the oracle, in units in the last place."""
    spec = LIFSpec(tau=3.0)
    v = torch.randn(1, 4096, generator=torch.Generator().manual_seed(0))
    zeros = torch.zeros(1, 1, 4096)
    membrane = make(spec).scan(zeros, (v,), FAR)[1][0]
    expected = TorchNeuron(spec).scan(zeros, (v,), FAR)[1][0]
    worst = float(((membrane.double() - expected.double()).abs() / unit_in_last_place(expected, expected)).max())
    return "to the last bit" if worst == 0 else f"within {worst:.3g} units in the last place"


def _refused(make: Make) -> str:
    """Return which choices of a spec the neuron refuses."""
    refused = []
    for words, changes in CHOICES.items():
        try:
            _scan(make(replace(LIFSpec(), **changes)), (1.0,), 1.0)  # type: ignore[arg-type]
        except SpikingError:
            refused.append(words)
    return ", ".join(refused) or "nothing"


EXPERIMENTS: Mapping[str, Callable[[Make], str]] = {
    "membrane equal to the threshold": _tie,
    "reset": _reset,
    "gradient through the reset": _reset_gradient,
    "input is added as": _input_scale,
    "input with decay_input off": partial(_input_scale, decay_input=False),
    "surrogate": _surrogate,
    "surrogate's height": _surrogate_shape,
    "gradient of a tensor threshold": _threshold_gradient,
    "soft reset subtracts the threshold of": _threshold_of_the_reset,
    "membrane after the threshold fell below it": _fallen_threshold,
    "bfloat16": _dtype,
    "membrane between calls": _state,
    "rounding of the leak": _leak,
    "refuses": _refused,
}
"""The experiments by their names in tables."""

CHOICES: Mapping[str, Mapping[str, object]] = {
    "v_reset 0.2": {"v_reset": 0.2},
    "a soft reset": {"v_reset": None},
    "decay_input off": {"decay_input": False},
    "detach_reset": {"detach_reset": True},
    **{f"surrogate {name}": {"surrogate": name} for name in SURROGATES},
}


def _scan(neuron: Neuron, currents: tuple[float, ...], threshold: Tensor | float) -> tuple[Tensor, Tensor]:
    """Run one neuron; return its spikes ``[T, 1, 1]`` and last membrane ``[1, 1]``."""
    with torch.no_grad():
        spikes, (v,) = neuron.scan(torch.tensor(currents).reshape(-1, 1, 1), None, threshold)
    return spikes, v


def _charge(make: Make, current: float, spec: LIFSpec | None = None) -> float:
    """Return the membrane after one step from rest, without a spike."""
    return float(_scan(make(spec or LIFSpec()), (current,), FAR)[1])


def _gain(make: Make, spec: LIFSpec | None = None) -> float:
    """Return the factor that is applied to an input."""
    return _charge(make, 0.5, spec) / 0.5


def _gradient(of: Tensor, leaf: Tensor) -> Tensor:
    if not of.requires_grad:
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(of.sum(), [leaf], retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def _surrogate_at(make: Make, u: Tensor) -> Tensor:
    """Return the spike's derivative with respect to the membrane, at distances ``u`` ``[N]`` above a threshold of 1."""
    gain = _gain(make)
    currents = ((1 + u) / gain).reshape(1, 1, -1).requires_grad_()
    spikes, _ = make(LIFSpec()).scan(currents, None, 1.0)
    return _gradient(spikes, currents).flatten() / gain


def _half_width(make: Make, peak: float) -> float:
    """Return the distance from the threshold where the surrogate has half its peak; infinity if there is none."""
    low, high = 1e-4, 64.0
    if not float(_surrogate_at(make, torch.tensor([high]))) < peak / 2:
        return float("inf")
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if float(_surrogate_at(make, torch.tensor([middle]))) > peak / 2 else (low, middle)
    return low


def _steepness(name: Surrogate, peak: float, half_width: float) -> tuple[float, ...]:
    """Return the alphas that give a surrogate of the core this height or this width."""
    if name == "box":
        return (min(2 * half_width, FAR),)
    if name == "triangle":
        return (peak,)
    by_height = {"atan": 2 * peak, "sigmoid": 4 * peak, "superspike": 1.0}[name]
    by_width = {"atan": 2 / torch.pi, "sigmoid": 1.762747, "superspike": 2**0.5 - 1}[name] / half_width
    # Users choose whole numbers, which a float32 curve reproduces only approximately.
    return tuple(sorted({by_height, by_width, max(round(by_height), 1.0), max(round(by_width), 1.0)}))


def _nearest(v: float, words: Mapping[float, str]) -> str:
    """Return the words for the value that equals ``v`` up to rounding."""
    return next((text for value, text in words.items() if abs(v - value) < 1e-5), f"neither: v = {v:.4g}")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
