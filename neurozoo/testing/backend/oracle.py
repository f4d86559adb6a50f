"""Cases that compare spikes, states and gradients with the oracle's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from neurozoo.core.equations import SURROGATES
from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec, SpikingSpec
from neurozoo.core.neuron import NeuronSpec
from neurozoo.testing.backend.inputs import (
    DETACHED,
    DTYPES,
    FLOAT_AND_TENSOR,
    RESETS,
    SPECS,
    B,
    N,
    T,
    random_currents,
    random_state,
    same,
    spec_text,
    tensor_params,
    threshold_forms,
    total,
)
from neurozoo.testing.backend.subject import Subject, each_kind, each_of

NO_LEAK = tuple(
    LIFSpec(tau=math.inf, decay_input=False, v_reset=v_reset, detach_reset=detach)
    for v_reset, detach in product(RESETS, DETACHED)
)
TAUS = tuple(
    LIFSpec(tau=tau, decay_input=decay, v_reset=v_reset)
    for tau, decay, v_reset in product((1.01, 1.5, 2.0, 3.0, 10.0, 100.0), (True, False), RESETS)
)
DECAYS: tuple[NeuronSpec, ...] = tuple(
    spec
    for decay in (0.0, 0.01, 0.5, 0.99, 1.0)
    for spec in (
        PLIFSpec(leak=decay),
        AdLIFSpec(membrane_decay=decay, adaptation_decay=decay, coupling=0.1),
        ALIFSpec(membrane_decay=decay, adaptation_decay=decay),
        CubaSpec(synapse_decay=decay, membrane_decay=decay),
        LISpec(decay=decay),
    )
)
# A membrane that leaks slowly and fires seldom shows what was lost hundreds of steps ago.
LONG: tuple[NeuronSpec, ...] = (
    LIFSpec(),
    LIFSpec(tau=100.0, v_reset=None),
    LIFSpec(tau=100.0, detach_reset=True),
    IFSpec(),
    PLIFSpec(leak=0.01, detach_reset=True),
    AdLIFSpec(),
    ALIFSpec(),
    CubaSpec(),
    LISpec(decay=0.99),
)
RESETTING: tuple[NeuronSpec, ...] = (
    *(
        LIFSpec(v_reset=v_reset, detach_reset=detach, decay_input=decay, surrogate=surrogate)
        for v_reset, detach, decay, surrogate in product(RESETS, DETACHED, (True, False), SURROGATES)
    ),
    *(
        spec(v_reset=v_reset, detach_reset=detach)
        for spec in (IFSpec, PLIFSpec, CubaSpec)
        for v_reset, detach in product(RESETS, DETACHED)
    ),
    *(AdLIFSpec(detach_reset=detach) for detach in DETACHED),
    *(ALIFSpec(detach_reset=detach) for detach in DETACHED),
)
SURROGATE_SPECS: tuple[SpikingSpec, ...] = tuple(
    spec(surrogate=surrogate, alpha=alpha)
    for spec, surrogate, alpha in product(
        (LIFSpec, IFSpec, PLIFSpec, AdLIFSpec, ALIFSpec, CubaSpec), SURROGATES, (0.5, 2.0, 5.0)
    )
)
UNREACHED = 100.0
"""A threshold far above every membrane, where no surrogate has a part in a gradient."""


@each_of(TAUS)
def time_constants(subject: Subject, spec: LIFSpec) -> None:
    """Spikes of LIF with tau from 1.01 to 100, with every reset and both input scales."""
    threshold = 1.0 if not spec.decay_input or spec.tau < 3 else 0.3 + (spec.v_reset or 0.0)
    for form in (threshold, torch.tensor(threshold)):
        subject.check_spikes(spec, random_currents(12, B, 32), form)


@each_of(DECAYS)
def decays(subject: Subject, spec: NeuronSpec) -> None:
    """Spikes and gradients of the other kinds with decays from 0 to 1, both included."""
    subject.check_spikes(spec, random_currents(12, B, 32), 0.7)
    subject.check_gradients(spec, random_currents(12, B, N), torch.tensor(0.7))


@each_of((LIFSpec(tau=2, v_reset=0), LIFSpec(tau=3, v_reset=None)))
def an_integer_time_constant(subject: Subject, spec: LIFSpec) -> None:
    """A recipe may say ``tau: 2``."""
    subject.check_spikes(spec, random_currents(T, B, N), 0.5)


@each_of(spec for spec in NO_LEAK if not spec.detach_reset)
def an_infinite_time_constant(subject: Subject, spec: LIFSpec) -> None:
    """LIF with tau = inf has no leak, with every reset, dtype and form of threshold."""
    for dtype in DTYPES:
        for threshold in threshold_forms(dtype, 64):
            subject.check_spikes(spec, random_currents(T, B, 64, dtype=dtype), threshold)
    subject.check_spikes(spec, random_currents(100, B, N) / 10, 0.7)


@each_of(SPECS)
def every_threshold_form(subject: Subject, spec: NeuronSpec) -> None:
    """Float, 0-d, per sample, per step, per neuron, and one for each neuron and step; also over more axes."""
    for threshold in threshold_forms():
        subject.check_spikes(spec, random_currents(T, B, N), threshold)
    subject.check_spikes(spec, random_currents(T, B, 3, N), torch.linspace(0.5, 1.0, B).reshape(1, B, 1, 1))


@each_of(SPECS)
def spikes_in_every_dtype(subject: Subject, spec: NeuronSpec) -> None:
    """float32, float64 and bfloat16, each rounded as the oracle rounds."""
    for dtype in DTYPES:
        forms = (0.7,) if dtype == torch.float32 else threshold_forms(dtype, 64)  # every_threshold_form has its others
        for threshold in forms:
            subject.check_spikes(spec, random_currents(T, B, 64, dtype=dtype), threshold)


@each_of((LIFSpec(v_reset=0.25), *SPECS))
def starts_from_rest(subject: Subject, spec: NeuronSpec) -> None:
    """The initial state is the specification's rest, in the currents' shape and dtype."""
    for dtype in DTYPES:
        current = torch.zeros(B, N, dtype=dtype)
        rest = subject.oracle(spec).initial_state(current)
        same(subject.make(spec).initial_state(current), rest, f"state at rest of {spec_text(spec)}")


@each_of(SPECS)
def continues_from_a_state(subject: Subject, spec: NeuronSpec) -> None:
    """A scan starts from the state that it is given."""
    for threshold in (0.8, torch.tensor(0.8)):
        subject.check_spikes(spec, random_currents(T, B, N), threshold, random_state(spec, B, N))


@each_of(SPECS)
def parameters_for_all_and_for_each(subject: Subject, spec: NeuronSpec) -> None:
    """Each parameter as one tensor for all neurons, and as one value per neuron."""
    currents = random_currents(T, B, N)
    plain = subject.make(spec).scan(currents, None, 0.7)[0]
    for shape in ((), (N,)):
        params = subject.as_tensors(spec, tensor_params(spec, shape))
        subject.check_spikes(spec, currents, 0.7, None, params)
        subject.check_spikes(spec, currents, torch.linspace(0.5, 1.0, N).reshape(1, 1, N), None, params)
        constant = {name: torch.full(shape, spec.parameters[name]) for name in params}
        got = subject.make(spec).scan(currents, None, 0.7, constant)[0]
        if subject.exact:
            same(got, plain, f"spikes with numbers given as tensors of shape {list(shape)}, {spec_text(spec)}")


@each_kind
def parameters_over_frames(subject: Subject, spec: NeuronSpec) -> None:
    """One value per channel, ``[C, 1, 1]``, of frames ``[T, B, C, H, W]``; spikes and gradients."""
    currents, params = random_currents(3, 2, 4, 3, 5), subject.as_tensors(spec, tensor_params(spec, (4, 1, 1)))
    subject.check_spikes(spec, currents, 0.7, None, params)
    subject.check_gradients(spec, currents, 0.7, None, params)


@each_kind
def a_large_layer(subject: Subject, spec: NeuronSpec) -> None:
    """Some 70,000 neurons, a number that no block of a kernel divides; spikes and gradients."""
    currents = random_currents(3, 33, 61, 37)
    for threshold in (0.7, torch.linspace(0.4, 1.2, 33).reshape(1, 33, 1, 1)):
        subject.check_spikes(spec, currents, threshold)
        subject.check_gradients(spec, currents, threshold)


@each_of(LONG)
def a_thousand_steps(subject: Subject, spec: NeuronSpec) -> None:
    """Spikes are the oracle's to the end of T = 1000."""
    subject.check_spikes(spec, random_currents(1000, 2, 4), 1.0)


@each_of(SURROGATE_SPECS)
def every_surrogate(subject: Subject, spec: SpikingSpec) -> None:
    """Gradients of each surrogate at several widths, also far from the threshold, where an exponential overflows."""
    for scale, threshold in zip((100.0, 1.0), FLOAT_AND_TENSOR, strict=True):
        subject.check_gradients(spec, random_currents(T, B, N) * scale, threshold)


@each_of(RESETTING)
def every_reset(subject: Subject, spec: NeuronSpec) -> None:
    """Gradients through a reset to 0, to 0.2 and by the threshold, detached or not, with both input scales."""
    for dtype, threshold in ((torch.float32, 0.7), (torch.float64, torch.tensor(0.7, dtype=torch.float64))):
        subject.check_gradients(spec, random_currents(T, B, N, dtype=dtype), threshold)


@each_of(spec for spec in TAUS if spec.decay_input)
def every_time_constant(subject: Subject, spec: LIFSpec) -> None:
    """Gradients of LIF with tau from 1.01 to 100, with every reset."""
    subject.check_gradients(spec, random_currents(12, B, N), 0.4)


@each_of(NO_LEAK)
def gradients_without_a_leak(subject: Subject, spec: LIFSpec) -> None:
    """Gradients with tau = inf, with every reset, detached or not, and every form of threshold."""
    for dtype in (torch.float32, torch.float64):
        for threshold in threshold_forms(dtype):
            subject.check_gradients(spec, random_currents(T, B, N, dtype=dtype), threshold)


@each_of((*SPECS, *(LIFSpec(v_reset=v_reset, detach_reset=True) for v_reset in RESETS)))
def learnable_thresholds(subject: Subject, spec: NeuronSpec) -> None:
    """A tensor threshold of every form gets its gradient; in float64 one for all and one for each neuron and step."""
    _, for_all, *_, for_each = threshold_forms(torch.float64)
    for threshold in (*threshold_forms(), for_all, for_each):
        dtype = threshold.dtype if isinstance(threshold, Tensor) else torch.float32
        subject.check_gradients(spec, random_currents(T, B, N, dtype=dtype), threshold)


@each_of(SPECS)
def through_a_given_state(subject: Subject, spec: NeuronSpec) -> None:
    """The state that a scan starts from gets a gradient, as it would from the chunk of time before."""
    for threshold in FLOAT_AND_TENSOR:
        subject.check_gradients(spec, random_currents(T, B, N), threshold, random_state(spec, B, N))


@each_of((*SPECS, *(LIFSpec(v_reset=v_reset, detach_reset=True) for v_reset in RESETS)))
def bfloat16_gradients(subject: Subject, spec: NeuronSpec) -> None:
    """Gradients in bfloat16 differ from the oracle's by no more than some units of its rounding."""
    for threshold in threshold_forms(torch.bfloat16, 64):
        subject.check_gradients(spec, random_currents(T, B, 64, dtype=torch.bfloat16), threshold)


@each_of(SPECS)
def every_kind_learns(subject: Subject, spec: NeuronSpec) -> None:
    """Gradients of every parameter, as one tensor and as one value per neuron, from rest and from a state."""
    for dtype, shape in product((torch.float32, torch.float64), ((), (N,))):
        currents, state = random_currents(T, B, N, dtype=dtype), random_state(spec, B, N, dtype=dtype)
        params = subject.as_tensors(spec, tensor_params(spec, shape, dtype))
        subject.check_gradients(spec, currents, 0.7, None, params)
        subject.check_gradients(spec, currents, torch.full((1, 1, N), 0.7, dtype=dtype), state, params)


@each_kind
def gradients_are_slopes(subject: Subject, spec: NeuronSpec) -> None:
    """Far below the threshold no surrogate takes part: gradients are finite differences, in float64."""
    subject.oracle(spec)
    if isinstance(spec, SpikingSpec):
        spec = replace(spec, detach_reset=True, surrogate="box", alpha=1.0)
        if not subject.accepts(spec):
            return
    neuron, level = subject.make(spec), UNREACHED if isinstance(spec, SpikingSpec) else 1.0
    params = subject.as_tensors(spec, tensor_params(spec, (N,), torch.float64))
    state = random_state(spec, 2, N, dtype=torch.float64)
    names = ("currents", *spec.states, *params)

    def summed(currents: Tensor, *others: Tensor) -> Tensor:
        used = dict(zip(params, others[len(state) :], strict=True))
        outputs, after = neuron.scan(currents, others[: len(state)], level, used or None)
        # Without a spike only the state has slopes. Its squares, for a sum has the same slope everywhere.
        return total(outputs * (not spec.spiking), tuple(x * x for x in after))

    given = (random_currents(4, 2, N, dtype=torch.float64), *state, *params.values())
    leaves = [x.detach().clone().requires_grad_() for x in given]
    gradients = torch.autograd.grad(summed(*leaves), leaves, allow_unused=True)
    for place, (name, gradient) in enumerate(zip(names, gradients, strict=True)):
        if name in ("spike", "refractory"):  # whole numbers, which have no slope
            continue
        want = _slope(summed, given, place)
        got = torch.zeros_like(want) if gradient is None else gradient
        error = float((got - want).abs().max()) / max(float(want.abs().max()), 1.0)
        subject.allow(error, 1e-5, f"slope of the {name}: {spec_text(spec)}")


@each_of(LONG)
def back_through_a_thousand_steps(subject: Subject, spec: NeuronSpec) -> None:
    """Gradients come back through T = 1000 steps."""
    subject.check_gradients(spec, random_currents(1000, 2, 4), torch.tensor(1.0))


def _slope(of: Callable[..., Tensor], given: tuple[Tensor, ...], place: int) -> Tensor:
    """Central differences of a 0-d function by one of its arguments, shape of that argument."""
    at, step = given[place], 1e-5
    slopes = torch.zeros_like(at).flatten()
    for number in range(at.numel()):
        moved = torch.zeros_like(slopes)
        moved[number] = step
        above, below = (of(*given[:place], at + side.view_as(at), *given[place + 1 :]) for side in (moved, -moved))
        slopes[number] = (above - below) / (2 * step)
    return slopes.view_as(at)
