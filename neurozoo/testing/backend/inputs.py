"""What the cases run a neuron on, the same in every run: specifications, currents, states, parameters, thresholds."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from itertools import product

import torch
from torch import Tensor

from neurozoo.core.equations import SURROGATES
from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec, ReLUSpec
from neurozoo.core.neuron import NeuronSpec, Params, State
from neurozoo.testing.findings import ConformanceError, require

T, B, N = 6, 4, 8
"""Steps, samples and neurons where a case needs no others."""
FLOAT_AND_TENSOR: tuple[Tensor | float, ...] = (0.7, torch.tensor(0.7))
"""One threshold as a number and as a tensor; many backends run them in different ways."""
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
RESETS = (0.0, None, 0.2)
DETACHED = (False, True)

ORDINARY = tuple(
    LIFSpec(surrogate=surrogate, v_reset=v_reset, detach_reset=detach, decay_input=decay, alpha=alpha)
    for surrogate, alpha, v_reset, detach, decay in product(
        SURROGATES[:3], (2.0, 1.0, 10.0, 100.0), (0.0, None), DETACHED, (True, False)
    )
)
"""Ordinary LIF neurons, the default first. A case that needs any neuron takes the first that is not refused."""

SPECS: tuple[NeuronSpec, ...] = (
    *(LIFSpec(v_reset=v_reset) for v_reset in RESETS),
    LIFSpec(v_reset=None, decay_input=False, tie="silent"),
    *(LIFSpec(surrogate=surrogate) for surrogate in SURROGATES[3:]),
    *(IFSpec(v_reset=v_reset, detach_reset=detach) for v_reset, detach in product(RESETS, DETACHED)),
    PLIFSpec(),
    PLIFSpec(leak=0.3, v_reset=None, detach_reset=True),
    PLIFSpec(leak=0.3, v_reset=0.2, decay_input=False),
    AdLIFSpec(coupling=0.3),
    AdLIFSpec(coupling=-0.2, detach_reset=True, surrogate="box", alpha=1.0),
    ALIFSpec(adaptation=0.3),
    ALIFSpec(adaptation=0.3, refractory=2, detach_reset=True, surrogate="triangle", alpha=0.3),
    CubaSpec(),
    CubaSpec(v_reset=None, detach_reset=True),
    CubaSpec(v_reset=0.2, gain=0.5),
    CubaSpec(order="fire-first"),
    CubaSpec(order="fire-first", v_reset=None, surrogate="superspike", alpha=100.0),
    LISpec(),
    LISpec(decay=0.75, gain=0.25, v_rest=0.2),
    ReLUSpec(),
)
"""Neurons of every kind, in each form that a backend may get wrong."""


def random_currents(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Normal currents of mean 0.5 and deviation 1.5, the same for the same seed."""
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 1.5 + 0.5).to(dtype)


def random_state(spec: NeuronSpec, *shape: int, dtype: torch.dtype = torch.float32, seed: int = 3) -> State:
    """A state to start from; spikes and refractory counters are 0 or 1."""
    state = []
    for number, name in enumerate(spec.states):
        x = random_currents(*shape, dtype=dtype, seed=seed + number)
        state.append((x > 0.5).to(dtype) if name in ("spike", "refractory") else x)
    return tuple(state)


def tensor_params(spec: NeuronSpec, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Every parameter as a tensor of values within a tenth of the specification's number."""
    spread = 1 - torch.linspace(0.0, 0.1, torch.Size(shape).numel()).reshape(shape)
    return {name: (spread * value).to(dtype) for name, value in spec.parameters.items()}


def threshold_forms(dtype: torch.dtype = torch.float32, neurons: int = N) -> Iterator[Tensor | float]:
    """A threshold of every allowed form for currents ``[T, B, neurons]``."""
    yield 0.7
    yield torch.tensor(0.7, dtype=dtype)
    for shape in ((1, B, 1), (T, 1, 1), (1, 1, neurons), (T, B, neurons)):
        yield torch.linspace(0.4, 1.2, torch.Size(shape).numel()).reshape(shape).to(dtype)


def cut_threshold(threshold: Tensor | float, step: int) -> tuple[Tensor | float, Tensor | float]:
    """The threshold of the steps before ``step``, and of the others."""
    if isinstance(threshold, Tensor) and threshold.dim() and threshold.shape[0] > 1:
        return threshold[:step], threshold[step:]
    return threshold, threshold


def total(outputs: Tensor, state: State) -> Tensor:
    """The sum of all outputs and states, 0-d."""
    return sum((each.sum() for each in state), outputs.sum())


def same(got: object, want: object, what: str) -> None:
    """Raise unless two values are equal; tensors to the last bit, the tensors of a state one by one.

    Raises:
        ConformanceError: They differ.
    """
    if isinstance(want, tuple) and any(isinstance(each, Tensor) for each in want):
        whole = isinstance(got, tuple) and len(got) == len(want)
        require(whole, f"{what}: not a tuple of {len(want)} tensors, but {type(got).__name__}")
        for number, (mine, other) in enumerate(zip(got, want, strict=True)):  # type: ignore[call-overload]
            same(mine, other, what if len(want) == 1 else f"{what}, tensor {number}")
    elif isinstance(got, Tensor) and isinstance(want, Tensor):
        require(got.shape == want.shape, f"{what}: shape {list(got.shape)}, not {list(want.shape)}")
        if not torch.equal(got, want):
            raise ConformanceError(f"{what}: {int((got != want).sum())} of {want.numel()} values differ")
    else:
        require(got == want, f"{what}: {got}, not {want}")


def spec_text(spec: NeuronSpec) -> str:
    """A specification by its fields that are not the default; those of its own class come first."""
    order = [name for cls in type(spec).__mro__ for name in inspect.get_annotations(cls)]
    by_class = sorted(fields(spec), key=lambda field: order.index(field.name))
    # By repr: tau=2 and tau=2.0 are equal, and differ here.
    texts = {field: repr(getattr(spec, field.name)) for field in by_class}
    changed = [f"{field.name}={text}" for field, text in texts.items() if text != repr(field.default)]
    return f"{type(spec).__name__}({', '.join(changed)})"


def threshold_text(threshold: Tensor | float) -> str:
    """A threshold by its value, or its shape."""
    if not isinstance(threshold, Tensor):
        return f"threshold {threshold}"
    return f"threshold of shape {list(threshold.shape)}" if threshold.dim() else "0-d threshold"


def describe(spec: NeuronSpec, currents: Tensor, threshold: Tensor | float, params: Params | None = None) -> str:
    """One call of a neuron, for error messages."""
    dtype = "" if currents.dtype == torch.float32 else f" {str(currents.dtype).removeprefix('torch.')}"
    text = f"{spec_text(spec)}, currents {list(currents.shape)}{dtype}, {threshold_text(threshold)}"
    if params:
        sizes = [f"{k} {list(v.shape) if isinstance(v, Tensor) else v}" for k, v in params.items()]
        text += f", parameters {', '.join(sizes)}"
    return text
