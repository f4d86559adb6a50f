"""Cases on spikes and membranes. Each raises ConformanceError where the backend is wrong."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from neurozoo.errors import SpikingError
from neurozoo.interfaces import LIFSpec
from neurozoo.nn.neurons import TorchNeuron
from neurozoo.testing.backend.subject import Subject, made_up_currents, same
from neurozoo.testing.backend.tables import TABLES
from neurozoo.testing.findings import ConformanceError

__all__ = ["FORWARD_CASES", "threshold_forms"]

T, B, N = 6, 4, 8


def hand_computed_membranes(subject: Subject) -> None:
    """The tables of tables.py: spikes as they stand, membranes to 1e-6."""
    for table in TABLES:
        currents = torch.tensor(table.currents).unsqueeze(1)
        thresholds = torch.tensor(table.thresholds).unsqueeze(1)
        neuron = subject.make(table.spec)
        spikes, _ = neuron.scan(currents, None, thresholds)
        same(tuple(int(s) for s in spikes.flatten().tolist()), table.spikes, f"spikes of {table.name!r}")
        v: Tensor | None = None
        for step, want in enumerate(table.membranes):
            now = slice(step, step + 1)
            _, v = neuron.scan(currents[now], v, thresholds[now])
            if not abs(v.item() - want) < 1e-6:
                raise ConformanceError(f"membrane {v.item():.7g} after step {step} of {table.name!r}, not {want:.7g}")


def ties_fire(subject: Subject) -> None:
    """With eighths and tau 2 no way of writing the equation rounds, and h = threshold is frequent: it fires."""
    grid = torch.randint(-16, 33, (T, B, 256), generator=torch.Generator().manual_seed(0)) / 8
    thresholds: tuple[Tensor | float, ...] = (0.5, torch.tensor(1.0), torch.full((1, B, 1), 0.25))
    for v_reset, threshold in itertools.product((0.0, None), thresholds):
        spec = LIFSpec(v_reset=v_reset)
        spikes, _ = subject.make(spec).scan(grid, None, threshold)
        expected, _ = TorchNeuron(spec).scan(grid, None, threshold)
        same(spikes, expected, f"spikes on a grid of eighths, {spec}")
        tie = torch.as_tensor(threshold).reshape(-1)[0] * 2  # h = threshold in the first step
        spikes, _ = subject.make(spec).scan(tie.expand(1, B, N), None, threshold)
        same(spikes, torch.ones(1, B, N), "spikes where the membrane equals the threshold")


def time_constants(subject: Subject) -> None:
    """tau from 1.01 to 100, with every reset and both input scales."""
    currents = made_up_currents(12, B, 32)
    for tau, decay, v_reset in itertools.product((1.01, 1.5, 2.0, 3.0, 10.0, 100.0), (True, False), (0.0, None, 0.2)):
        spec = LIFSpec(tau=tau, decay_input=decay, v_reset=v_reset)
        threshold = 1.0 if not decay or tau < 3 else 0.3 + (v_reset or 0.0)
        subject.check_spikes(spec, currents, threshold)
        subject.check_spikes(spec, currents, torch.tensor(threshold))


def an_integer_time_constant(subject: Subject) -> None:
    """Recipes may write tau: 2."""
    subject.check_spikes(LIFSpec(tau=2, v_reset=0), made_up_currents(T, B, N), 0.5)


def every_threshold_form(subject: Subject) -> None:
    """Float, 0-d, per sample, per step, per neuron, and one for each neuron and step."""
    currents = made_up_currents(T, B, N)
    for threshold, v_reset in itertools.product(threshold_forms(torch.float32), (0.0, None, 0.2)):
        subject.check_spikes(LIFSpec(v_reset=v_reset), currents, threshold)
    deep = made_up_currents(T, B, 3, N)
    subject.check_spikes(LIFSpec(), deep, torch.linspace(0.5, 1.0, B).reshape(1, B, 1, 1))


def other_threshold_shapes_are_refused(subject: Subject) -> None:
    """A shape that would broadcast by accident is an error, not a guess."""
    currents = made_up_currents(T, B, N)
    for shape in ((N,), (B, 1), (B, N), (T,), (1,), (2, 1, 1), (1, B + 1, 1), (1, 1, 1, N), (T, B, N, 1)):
        _refused(subject, currents, torch.ones(shape), f"threshold of {shape}")


def currents_without_steps_are_refused(subject: Subject) -> None:
    """No time step, or no batch axis."""
    for currents in (torch.zeros(0, B, N), torch.zeros(N), torch.zeros(())):
        _refused(subject, currents, 1.0, f"currents of {tuple(currents.shape)}")


def a_state_of_another_batch_is_refused(subject: Subject) -> None:
    """Some libraries start again from zeros without a word."""
    neuron = subject.make(LIFSpec())
    try:
        neuron.scan(made_up_currents(T, B, N), torch.full((B + 1, N), 0.5), 1.0)
    except (SpikingError, RuntimeError):
        return
    raise ConformanceError(f"a state of batch {B + 1} was accepted for currents of batch {B}")


def starts_from_rest(subject: Subject) -> None:
    """The initial state is v_reset (0 for a soft reset), in the currents' shape and dtype."""
    for v_reset, rest in ((0.0, 0.0), (None, 0.0), (0.25, 0.25)):
        state = subject.make(LIFSpec(v_reset=v_reset)).initial_state(torch.zeros(B, N, dtype=torch.float64))
        same(state, torch.full((B, N), rest, dtype=torch.float64), f"state at rest for v_reset {v_reset}")


def continues_from_a_state(subject: Subject) -> None:
    """A membrane that is given is where it starts."""
    state = made_up_currents(B, N, seed=3)
    for v_reset in (0.0, None, 0.2):
        subject.check_spikes(LIFSpec(v_reset=v_reset), made_up_currents(T, B, N), 0.8, state)
        subject.check_spikes(LIFSpec(v_reset=v_reset), made_up_currents(T, B, N), torch.tensor(0.8), state)


def nothing_is_kept_between_calls(subject: Subject) -> None:
    """The same call gives the same answer, whatever came between."""
    neuron = subject.make(LIFSpec())
    for threshold in (0.7, torch.tensor(0.7)):
        first = neuron.scan(made_up_currents(T, B, N), None, threshold)
        neuron.scan(made_up_currents(T, B, N, seed=5) * 9, None, threshold)
        neuron.step(made_up_currents(B, N), torch.full((B, N), 0.6), 5.0)
        again = neuron.scan(made_up_currents(T, B, N), None, threshold)
        same(again[0], first[0], "spikes of the same call, made twice")
        same(again[1], first[1], "membrane of the same call, made twice")


def a_sample_is_alone(subject: Subject) -> None:
    """A sample's spikes do not depend on the batch, and the batch size may change from call to call."""
    neuron, currents = subject.make(LIFSpec()), made_up_currents(T, B, N)
    whole, _ = neuron.scan(currents, None, 0.7)
    for size in (1, 3, 2):
        part, _ = neuron.scan(currents[:, :size], None, 0.7)
        same(part, whole[:, :size], f"spikes of the first {size} samples by themselves")


def chunked_equals_whole(subject: Subject) -> None:
    """Time may be cut anywhere, the state carried over."""
    currents = made_up_currents(T, B, N)
    for v_reset, threshold in itertools.product((0.0, None, 0.2), threshold_forms(torch.float32)):
        neuron = subject.make(LIFSpec(v_reset=v_reset))
        spikes, v = neuron.scan(currents, None, threshold)
        for cut in (1, T // 2):
            head, tail = _cut(threshold, cut)
            early, state = neuron.scan(currents[:cut], None, head)
            late, last = neuron.scan(currents[cut:], state, tail)
            same(torch.cat([early, late]), spikes, f"spikes cut after step {cut}")
            same(last, v, f"last membrane, cut after step {cut}")


def steps_equal_the_scan(subject: Subject) -> None:
    """scan is step, T times."""
    currents = made_up_currents(T, B, N)
    per_sample = torch.linspace(0.5, 1.0, B).reshape(B, 1)
    pairs: tuple[tuple[Tensor | float, Tensor | float], ...] = (
        (0.7, 0.7),
        (torch.tensor(0.7), torch.tensor(0.7)),
        (per_sample.unsqueeze(0), per_sample),
    )
    for thresholds, threshold in pairs:
        neuron = subject.make(LIFSpec())
        whole, last = neuron.scan(currents, None, thresholds)
        v = neuron.initial_state(currents[0])
        for step, current in enumerate(currents.unbind(0)):
            spikes, v = neuron.step(current, v, threshold)
            same(spikes, whole[step], f"spikes of step {step}")
        same(v, last, "the last membrane")


def dtypes_are_kept(subject: Subject) -> None:
    """float32, float64 and bfloat16, in and out; a threshold of another dtype changes none."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        currents = made_up_currents(T, B, 64, dtype=dtype)
        for v_reset, threshold in itertools.product((0.0, None, 0.2), threshold_forms(dtype, 64)):
            subject.check_spikes(LIFSpec(v_reset=v_reset), currents, threshold)
        spikes, v = subject.make(LIFSpec()).scan(currents, None, torch.ones(1, B, 1))
        same((spikes.dtype, v.dtype), (dtype, dtype), "dtypes of spikes and membrane with a float32 threshold")


def any_memory_layout(subject: Subject) -> None:
    """Transposed, strided and expanded currents are currents like others."""
    for threshold in (0.7, torch.tensor(0.7), torch.full((1, B, 1), 0.7)):
        for name, currents in (
            ("transposed", made_up_currents(N, B, T).permute(2, 1, 0)),
            ("strided", made_up_currents(2 * T, B, 2 * N)[::2, :, ::2]),
            ("expanded over time", made_up_currents(1, B, N).expand(T, B, N)),
            ("expanded over the batch", made_up_currents(T, 1, N).expand(T, B, N)),
        ):
            neuron = subject.make(LIFSpec())
            spikes, v = neuron.scan(currents, None, threshold)
            expected, membrane = neuron.scan(currents.contiguous(), None, threshold)
            same(spikes, expected, f"spikes of {name} currents")
            same(v, membrane, f"membrane of {name} currents")


def one_step(subject: Subject) -> None:
    """T = 1 is a scan like others."""
    for threshold in (0.7, torch.tensor(0.7), torch.full((1, B, 1), 0.7)):
        subject.check_spikes(LIFSpec(), made_up_currents(1, B, N), threshold)


def an_empty_batch(subject: Subject) -> None:
    """No sample in, no spike out, no error."""
    for threshold in (0.7, torch.tensor(0.7), torch.ones(1, 0, 1)):
        spikes, v = subject.make(LIFSpec()).scan(torch.zeros(T, 0, N), None, threshold)
        same((tuple(spikes.shape), tuple(v.shape)), ((T, 0, N), (0, N)), "shapes for an empty batch")


def can_be_copied_after_a_forward(subject: Subject) -> None:
    """No graph is left on the neuron: deepcopy works, and the copy does the same."""
    for threshold in (0.7, torch.tensor(0.7, requires_grad=True)):
        neuron, currents = subject.make(LIFSpec()), made_up_currents(T, B, N).requires_grad_()
        spikes, _ = neuron.scan(currents, None, threshold)
        neuron.step(currents[0], torch.zeros(B, N), threshold)
        try:
            twin = copy.deepcopy(neuron)
        except RuntimeError as error:
            raise ConformanceError(f"deepcopy after a forward: {error}") from error
        same(twin.scan(currents, None, threshold)[0], spikes, "spikes of a copy")


def arguments_are_left_alone(subject: Subject) -> None:
    """Currents, state and threshold are read, not written."""
    given = (made_up_currents(T, B, N), made_up_currents(B, N, seed=2), torch.full((1, B, 1), 0.7))
    before = tuple(x.clone() for x in given)
    for threshold in (given[2], 0.7):
        subject.make(LIFSpec()).scan(given[0], given[1], threshold)
    for name, was, now in zip(("currents", "state", "threshold"), before, given, strict=True):
        same(now, was, f"{name} after the call")


FORWARD_CASES: tuple[Callable[[Subject], None], ...] = (
    hand_computed_membranes,
    ties_fire,
    time_constants,
    an_integer_time_constant,
    every_threshold_form,
    other_threshold_shapes_are_refused,
    currents_without_steps_are_refused,
    a_state_of_another_batch_is_refused,
    starts_from_rest,
    continues_from_a_state,
    nothing_is_kept_between_calls,
    a_sample_is_alone,
    chunked_equals_whole,
    steps_equal_the_scan,
    dtypes_are_kept,
    any_memory_layout,
    one_step,
    an_empty_batch,
    can_be_copied_after_a_forward,
    arguments_are_left_alone,
)


def threshold_forms(dtype: torch.dtype, neurons: int = N) -> Iterator[Tensor | float]:
    """A threshold of every allowed form, for currents ``[T, B, neurons]``."""
    yield 0.7
    yield torch.tensor(0.7, dtype=dtype)
    for shape in ((1, B, 1), (T, 1, 1), (1, 1, neurons), (T, B, neurons)):
        size = torch.Size(shape).numel()
        yield torch.linspace(0.4, 1.2, size).reshape(shape).to(dtype)


def _cut(threshold: Tensor | float, step: int) -> tuple[Tensor | float, Tensor | float]:
    if isinstance(threshold, Tensor) and threshold.dim() and threshold.shape[0] > 1:
        return threshold[:step], threshold[step:]
    return threshold, threshold


def _refused(subject: Subject, currents: Tensor, threshold: Tensor | float, what: str) -> None:
    try:
        subject.make(LIFSpec()).scan(currents, None, threshold)
    except SpikingError:
        return
    raise ConformanceError(f"{what} was accepted; raise SpikingError (neurozoo.interfaces.steps_of does)")
