"""Cases on calls: how time, samples and memory may be cut and ordered, and what comes out in which dtype."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from neurozoo.core.neuron import NeuronSpec, Params
from neurozoo.testing.backend.inputs import (
    DTYPES,
    FLOAT_AND_TENSOR,
    SPECS,
    B,
    N,
    T,
    cut_threshold,
    random_currents,
    same,
    spec_text,
    tensor_params,
    threshold_forms,
    threshold_text,
    total,
)
from neurozoo.testing.backend.subject import Subject, each_kind, each_of
from neurozoo.testing.findings import require


@each_kind
def sequences_may_be_interleaved(subject: Subject, spec: NeuronSpec) -> None:
    """Two sequences stepped alternately, on one neuron or on two, give what each gives alone."""
    sequences = [random_currents(T, B, N, seed=seed) for seed in (0, 5)]
    one = subject.make(spec)
    alone = [one.scan(sequence, None, 0.7) for sequence in sequences]
    for neurons, how in (((one, one), "on one neuron"), ((one, subject.make(spec)), "on two neurons")):
        states = [neuron.initial_state(x[0]) for neuron, x in zip(neurons, sequences, strict=True)]
        for step in range(T):
            for which, neuron in enumerate(neurons):
                spikes, states[which] = neuron.step(sequences[which][step], states[which], 0.7)
                same(spikes, alone[which][0][step], f"spikes of step {step} of two interleaved sequences {how}")
        for which in range(2):
            same(states[which], alone[which][1], f"last state of two interleaved sequences {how}")


@each_kind
def a_sample_is_alone(subject: Subject, spec: NeuronSpec) -> None:
    """A sample does not depend on its batch, and the batch size may change from call to call."""
    neuron, currents = subject.make(spec), random_currents(T, B, N)
    for threshold in FLOAT_AND_TENSOR:
        whole, _ = neuron.scan(currents, None, threshold)
        for size in (1, 3, 2):
            part, _ = neuron.scan(currents[:, :size], None, threshold)
            same(part, whole[:, :size], f"spikes of the first {size} samples by themselves")


@each_of(SPECS)
def chunked_equals_whole(subject: Subject, spec: NeuronSpec) -> None:
    """Time may be cut anywhere, the state carried over; with parameters too."""
    neuron, currents = subject.make(spec), random_currents(T, B, N)
    params = subject.as_tensors(spec, tensor_params(spec, (N,)))
    calls: list[tuple[Tensor | float, Params | None]] = [(threshold, None) for threshold in threshold_forms()]
    for threshold, given in (*calls, (0.7, params)):
        whole, last = neuron.scan(currents, None, threshold, given)
        for cut in (1, T // 2):
            head, tail = cut_threshold(threshold, cut)
            early, state = neuron.scan(currents[:cut], None, head, given)
            late, after = neuron.scan(currents[cut:], state, tail, given)
            where = f"cut after step {cut}, {spec_text(spec)}, {threshold_text(threshold)}"
            where += f", parameters {', '.join(given)}" if given else ""
            same(torch.cat([early, late]), whole, f"spikes {where}")
            same(after, last, f"last state, {where}")


@each_kind
def steps_equal_the_scan(subject: Subject, spec: NeuronSpec) -> None:
    """``scan`` is ``step``, T times; with parameters too."""
    neuron, currents = subject.make(spec), random_currents(T, B, N)
    params = subject.as_tensors(spec, tensor_params(spec, (N,)))
    per_sample = torch.linspace(0.5, 1.0, B).reshape(B, 1)
    calls: tuple[tuple[Tensor | float, Tensor | float, Params | None], ...] = (
        (0.7, 0.7, None),
        (torch.tensor(0.7), torch.tensor(0.7), None),
        (per_sample.unsqueeze(0), per_sample, None),
        (0.7, 0.7, params),
    )
    for of_scan, of_step, given in calls:
        whole, last = neuron.scan(currents, None, of_scan, given)
        state = neuron.initial_state(currents[0], given)
        for step, current in enumerate(currents.unbind(0)):
            spikes, state = neuron.step(current, state, of_step, given)
            same(spikes, whole[step], f"spikes of step {step}")
        same(state, last, "the last state")


@each_kind
def thresholds_are_read_at_each_call(subject: Subject, spec: NeuronSpec) -> None:
    """A threshold changed in place, as by an optimiser, counts for later calls and changes no earlier result."""
    neuron, currents = subject.make(spec), random_currents(T, B, N)
    for shape in ((), (1, B, 1)):
        expected = neuron.scan(currents, None, torch.full(shape, 1.5))[0].clone()
        level = torch.full(shape, 0.5)
        early, state = neuron.scan(currents, None, level)
        before = early.clone(), tuple(each.clone() for each in state)
        level.fill_(1.5)
        same(early, before[0], "spikes after their threshold was changed in place")
        same(state, before[1], "state after its threshold was changed in place")
        late, _ = neuron.scan(currents, None, level)
        same(late, expected, "spikes of a threshold that was changed in place before the call")


@each_of(SPECS)
def dtypes_are_kept(subject: Subject, spec: NeuronSpec) -> None:
    """float32, float64 and bfloat16 come out as they go in, whatever the threshold's dtype; so do shapes."""
    neuron = subject.make(spec)
    for dtype in DTYPES:
        currents = random_currents(T, B, N, dtype=dtype)
        for each in neuron.initial_state(currents[0]):
            same(each.dtype, dtype, f"dtype of the initial state of {spec_text(spec)}")
        for threshold in (*threshold_forms(dtype), torch.ones(1, B, 1)):
            spikes, after = neuron.scan(currents, None, threshold)
            where = f"{spec_text(spec)}, {threshold_text(threshold)}"
            same(spikes.shape, currents.shape, f"shape of its spikes, {where}")
            for name, each in zip(("spikes", *spec.states), (spikes, *after), strict=True):
                same(each.dtype, dtype, f"dtype of its {name}, {where}")
                same(each.shape[-2:], currents.shape[1:], f"shape of its {name}, {where}")


@each_kind
def any_memory_layout(subject: Subject, spec: NeuronSpec) -> None:
    """Transposed, strided and expanded currents give what contiguous ones give."""
    neuron = subject.make(spec)
    layouts = {
        "transposed": random_currents(N, B, T).permute(2, 1, 0),
        "strided": random_currents(2 * T, B, 2 * N)[::2, :, ::2],
        "expanded over time": random_currents(1, B, N).expand(T, B, N),
        "expanded over the batch": random_currents(T, 1, N).expand(T, B, N),
    }
    for threshold in (*FLOAT_AND_TENSOR, torch.full((1, B, 1), 0.7)):
        for name, currents in layouts.items():
            spikes, state = neuron.scan(currents, None, threshold)
            expected, last = neuron.scan(currents.contiguous(), None, threshold)
            same(spikes, expected, f"spikes of {name} currents")
            same(state, last, f"state of {name} currents")
        held, whole = random_currents(B, N), random_currents(B, N).expand(T, B, N)
        spikes, state = neuron.hold(held, T, None, threshold)
        expected, last = neuron.scan(whole, None, threshold)
        same(spikes, expected, "spikes of a current that `hold` gives at every step")
        same(state, last, "state of a current that `hold` gives at every step")


@each_kind
def one_step(subject: Subject, spec: NeuronSpec) -> None:
    """T = 1 keeps the time axis, and gives the first of two steps."""
    neuron, currents = subject.make(spec), random_currents(2, B, N)
    for threshold in (*FLOAT_AND_TENSOR, torch.full((1, B, 1), 0.7)):
        both, _ = neuron.scan(currents, None, threshold)
        spikes, after = neuron.scan(currents[:1], None, threshold)
        for name, each in zip(spec.states, after, strict=True):
            same(each.shape, currents[0].shape, f"shape of its {name} after one step")
        same(spikes, both[:1], "spikes of one step")


@each_kind
def an_empty_batch(subject: Subject, spec: NeuronSpec) -> None:
    """A batch without samples gives outputs without samples, and a gradient without entries."""
    neuron = subject.make(spec)
    for threshold in (0.7, torch.tensor(0.7, requires_grad=True), torch.ones(1, 0, 1)):
        currents = torch.zeros(T, 0, N, requires_grad=True)
        spikes, after = neuron.scan(currents, None, threshold)
        same(spikes.shape, currents.shape, "shape of the spikes of an empty batch")
        for name, each in zip(spec.states, after, strict=True):
            same(each.shape, currents[0].shape, f"shape of its {name} for an empty batch")
        (gradient,) = torch.autograd.grad(total(spikes, after), currents)
        same(gradient.shape, currents.shape, "shape of the gradient of an empty batch")


@each_kind
def work_grows_with_the_steps(subject: Subject, spec: NeuronSpec) -> None:
    """Twice the steps compute twice the numbers, forward and backward; indexing currents[t] makes it four times."""
    for threshold in (*FLOAT_AND_TENSOR, torch.full((1, 2, 1), 0.7)):
        neuron, made = subject.make(spec), []
        for steps in (32, 64):
            currents = random_currents(steps, 2, 4).requires_grad_()
            numbers = _Numbers()  # type: ignore[no-untyped-call]
            with numbers:
                torch.autograd.grad(total(*neuron.scan(currents, None, threshold)), currents)
            made.append(numbers.made)
        short, long = made
        require(
            long <= 2.5 * short,
            f"32 steps make {short} numbers and 64 steps {long}, {long / short:.1f} times as many; "
            "take the steps by currents.unbind(0), for the backward of currents[t] is as long as all steps",
        )


class _Numbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers in all that torch's operators return, backward passes included."""

    made: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        for tensor in returned if isinstance(returned, (tuple, list)) else (returned,):
            self.made += tensor.numel() if isinstance(tensor, Tensor) else 0
        return returned
