"""Cases on how a neuron is called, for any neuron: what is refused, what is kept, and in what shape and dtype."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from neurozoo.core.interfaces import LIFSpec
from neurozoo.errors import SpikingError
from neurozoo.testing.backend.inputs import (
    B,
    N,
    T,
    cut_threshold,
    made_up_currents,
    same,
    spec_text,
    threshold_forms,
    threshold_text,
)
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.findings import ConformanceError

__all__ = ["CALL_CASES"]


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
    neuron = subject.neuron()
    try:
        neuron.scan(made_up_currents(T, B, N), torch.full((B + 1, N), 0.5), 1.0)
    except (SpikingError, RuntimeError):
        return
    raise ConformanceError(f"a state of batch {B + 1} was accepted for currents of batch {B}")


def nothing_is_kept_between_calls(subject: Subject) -> None:
    """The same call gives the same answer, whatever came between."""
    neuron = subject.neuron()
    for threshold in (0.7, torch.tensor(0.7)):
        first = neuron.scan(made_up_currents(T, B, N), None, threshold)
        neuron.scan(made_up_currents(T, B, N, seed=5) * 9, None, threshold)
        neuron.step(made_up_currents(B, N), torch.full((B, N), 0.6), 5.0)
        again = neuron.scan(made_up_currents(T, B, N), None, threshold)
        same(again[0], first[0], "spikes of the same call, made twice")
        same(again[1], first[1], "membrane of the same call, made twice")


def sequences_may_be_interleaved(subject: Subject) -> None:
    """Two sequences stepped in turn, on one neuron or on two, are what each is by itself."""
    sequences = [made_up_currents(T, B, N, seed=seed) for seed in (0, 5)]
    one = subject.neuron()
    alone = []
    for sequence in sequences:
        steps = one.scan(sequence, None, 0.7)
        alone.append(steps)
    for neurons, how in (((one, one), "on one neuron"), ((one, subject.neuron()), "on two neurons")):
        states = [neuron.initial_state(x[0]) for neuron, x in zip(neurons, sequences, strict=True)]
        for step in range(T):
            for which, neuron in enumerate(neurons):
                spikes, states[which] = neuron.step(sequences[which][step], states[which], 0.7)
                same(spikes, alone[which][0][step], f"spikes of step {step} of two interleaved sequences {how}")
        for which in range(2):
            same(states[which], alone[which][1], f"last membrane of two interleaved sequences {how}")


def a_sample_is_alone(subject: Subject) -> None:
    """A sample's spikes do not depend on the batch, and the batch size may change from call to call."""
    neuron, currents = subject.neuron(), made_up_currents(T, B, N)
    for threshold in (0.7, torch.tensor(0.7)):
        whole, _ = neuron.scan(currents, None, threshold)
        for size in (1, 3, 2):
            part, _ = neuron.scan(currents[:, :size], None, threshold)
            same(part, whole[:, :size], f"spikes of the first {size} samples by themselves")


def chunked_equals_whole(subject: Subject) -> None:
    """Time may be cut anywhere, the state carried over."""
    currents = made_up_currents(T, B, N)
    for spec in subject.accepted(LIFSpec(v_reset=v_reset) for v_reset in (0.0, None, 0.2)):
        neuron = subject.make(spec)
        for threshold in threshold_forms():
            spikes, v = neuron.scan(currents, None, threshold)
            for cut in (1, T // 2):
                head, tail = cut_threshold(threshold, cut)
                early, state = neuron.scan(currents[:cut], None, head)
                late, last = neuron.scan(currents[cut:], state, tail)
                where = f"cut after step {cut}, {spec_text(spec)}, {threshold_text(threshold)}"
                same(torch.cat([early, late]), spikes, f"spikes {where}")
                same(last, v, f"last membrane, {where}")


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
        neuron = subject.neuron()
        whole, last = neuron.scan(currents, None, thresholds)
        v = neuron.initial_state(currents[0])
        for step, current in enumerate(currents.unbind(0)):
            spikes, v = neuron.step(current, v, threshold)
            same(spikes, whole[step], f"spikes of step {step}")
        same(v, last, "the last membrane")


def thresholds_are_read_at_each_call(subject: Subject) -> None:
    """An optimiser changes a threshold in place: later calls see it, and results that stand do not change."""
    neuron, currents = subject.neuron(), made_up_currents(T, B, N)
    for shape in ((), (1, B, 1)):
        low, high = torch.full(shape, 0.5), torch.full(shape, 1.5)
        expected = neuron.scan(currents, None, high)[0].clone()
        level = low.clone()
        early, v = neuron.scan(currents, None, level)
        stood = early.clone(), v.clone()
        level.fill_(1.5)
        same(early, stood[0], "spikes after their threshold was changed in place")
        same(v, stood[1], "membrane after its threshold was changed in place")
        late, _ = neuron.scan(currents, None, level)
        same(late, expected, "spikes of a threshold that was changed in place before the call")


def dtypes_are_kept(subject: Subject) -> None:
    """float32, float64 and bfloat16, in and out; a threshold of another dtype changes none."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        currents = made_up_currents(T, B, N, dtype=dtype)
        for spec in subject.accepted(LIFSpec(v_reset=v_reset) for v_reset in (0.0, None, 0.2)):
            neuron = subject.make(spec)
            same(neuron.initial_state(currents[0]).dtype, dtype, f"dtype of the initial state of {spec_text(spec)}")
            for threshold in (*threshold_forms(dtype), torch.ones(1, B, 1)):
                spikes, v = neuron.scan(currents, None, threshold)
                where = f"{spec_text(spec)}, {threshold_text(threshold)}"
                same((spikes.dtype, v.dtype), (dtype, dtype), f"dtypes of spikes and membrane, {where}")
                same((spikes.shape, v.shape), (currents.shape, currents[0].shape), f"shapes, {where}")


def any_memory_layout(subject: Subject) -> None:
    """Transposed, strided and expanded currents are currents like others."""
    neuron = subject.neuron()
    for threshold in (0.7, torch.tensor(0.7), torch.full((1, B, 1), 0.7)):
        for name, currents in (
            ("transposed", made_up_currents(N, B, T).permute(2, 1, 0)),
            ("strided", made_up_currents(2 * T, B, 2 * N)[::2, :, ::2]),
            ("expanded over time", made_up_currents(1, B, N).expand(T, B, N)),
            ("expanded over the batch", made_up_currents(T, 1, N).expand(T, B, N)),
        ):
            spikes, v = neuron.scan(currents, None, threshold)
            expected, membrane = neuron.scan(currents.contiguous(), None, threshold)
            same(spikes, expected, f"spikes of {name} currents")
            same(v, membrane, f"membrane of {name} currents")


def one_step(subject: Subject) -> None:
    """T = 1 is a scan like others."""
    neuron, currents = subject.neuron(), made_up_currents(2, B, N)
    for threshold in (0.7, torch.tensor(0.7), torch.full((1, B, 1), 0.7)):
        both, _ = neuron.scan(currents, None, threshold)
        spikes, v = neuron.scan(currents[:1], None, threshold)
        same(v.shape, currents[0].shape, "shape of the membrane after one step")
        same(spikes, both[:1], "spikes of one step")


def an_empty_batch(subject: Subject) -> None:
    """No sample in, no spike out, no error; and a gradient of nothing, as an uneven last batch may ask for."""
    neuron = subject.neuron()
    for threshold in (0.7, torch.tensor(0.7, requires_grad=True), torch.ones(1, 0, 1)):
        currents = torch.zeros(T, 0, N, requires_grad=True)
        spikes, v = neuron.scan(currents, None, threshold)
        same((spikes.shape, v.shape), (currents.shape, currents[0].shape), "shapes for an empty batch")
        (gradient,) = torch.autograd.grad(spikes.sum() + v.sum(), currents)
        same(gradient.shape, currents.shape, "shape of the gradient of an empty batch")


def can_be_copied_after_a_forward(subject: Subject) -> None:
    """No graph is left on the neuron: deepcopy works, and the copy does the same."""
    for threshold in (0.7, torch.tensor(0.7, requires_grad=True)):
        neuron, currents = subject.neuron(), made_up_currents(T, B, N).requires_grad_()
        spikes, _ = neuron.scan(currents, None, threshold)
        neuron.step(currents[0], neuron.initial_state(currents[0]), threshold)
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
        subject.neuron().scan(given[0], given[1], threshold)
    for name, was, now in zip(("currents", "state", "threshold"), before, given, strict=True):
        same(now, was, f"{name} after the call")


CALL_CASES: tuple[Callable[[Subject], None], ...] = (
    other_threshold_shapes_are_refused,
    currents_without_steps_are_refused,
    a_state_of_another_batch_is_refused,
    nothing_is_kept_between_calls,
    sequences_may_be_interleaved,
    a_sample_is_alone,
    chunked_equals_whole,
    steps_equal_the_scan,
    thresholds_are_read_at_each_call,
    dtypes_are_kept,
    any_memory_layout,
    one_step,
    an_empty_batch,
    can_be_copied_after_a_forward,
    arguments_are_left_alone,
)


def _refused(subject: Subject, currents: Tensor, threshold: Tensor | float, what: str) -> None:
    try:
        subject.neuron().scan(currents, None, threshold)
    except SpikingError:
        return
    raise ConformanceError(f"{what} was accepted; raise SpikingError (neurozoo.core.interfaces.steps_of does)")
