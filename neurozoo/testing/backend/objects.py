"""Cases on the neuron as an object: it runs its library, keeps nothing of a call, and refuses what it cannot run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.backends.library_calls import library_calls
from neurozoo.core.kinds import KINDS
from neurozoo.core.neuron import Neuron, NeuronSpec, Params
from neurozoo.errors import SpikingError
from neurozoo.testing.backend.inputs import (
    FLOAT_AND_TENSOR,
    ORDINARY,
    SPECS,
    B,
    N,
    T,
    random_currents,
    random_state,
    same,
    spec_text,
)
from neurozoo.testing.backend.subject import Refused, Subject, each_kind
from neurozoo.testing.findings import ConformanceError, NotRun, require

_RAISE = "raise SpikingError (neurozoo.core.neuron.steps_of does)"


def accepts_a_neuron(subject: Subject) -> None:
    """The constructor may refuse a specification with a SpikingError, but not every ordinary one."""
    try:
        spec = subject.usual()
    except Refused as refusal:
        raise ConformanceError(f"it refuses all of {len(ORDINARY)} ordinary neurons; {refusal}") from refusal
    kept = subject.make(spec).spec
    require(kept == spec, "it does not keep the spec that it was given; call super().__init__(spec)")


def refusals_name_the_neuron(subject: Subject) -> None:
    """``kinds``, ``refusal`` and the constructor agree, and a reason names the kind that is refused."""
    reasons = dict.fromkeys(SPECS, "")
    for spec in SPECS:
        try:
            subject.candidate.target(spec)
        except SpikingError as error:
            reasons[spec] = str(error)
    for kind, cls in KINDS.items():
        of_kind = [reason for spec, reason in reasons.items() if spec.kind == kind]
        taken = of_kind.count("")
        declares = "does not declare" if taken else "declares"
        agrees = (kind in subject.declared) == bool(taken)
        require(agrees, f"it {declares} {kind} in `kinds`, and takes {taken} of {len(of_kind)} {cls.__name__}")
    for spec, reason in reasons.items():
        given = subject.candidate.target.refusal(spec)
        said = f"refusal says {given!r} of {spec_text(spec)}, and its constructor {reason!r}"
        require(given == reason, f"{said}; decide in `refusal` alone")
        named = spec.kind in subject.declared or spec.kind in given
        require(named, f"it refuses {spec_text(spec)} without naming {spec.kind}: {given}")


@each_kind
def is_a_plain_object(subject: Subject, spec: NeuronSpec) -> None:
    """No module, no parameter, no tensor with a gradient, before a call or after one with a learnable threshold."""
    neuron = subject.make(spec)
    require(isinstance(neuron, Neuron), f"{type(neuron).__name__} is no neurozoo.core.neuron.Neuron; subclass it")
    require(
        not isinstance(neuron, nn.Module),
        "it is an nn.Module, and what it registers would be in checkpoints; keep library modules as attributes",
    )
    _check_no_gradients(neuron, "when made")
    for threshold in (0.7, torch.tensor(0.7, requires_grad=True)):
        neuron.scan(random_currents(T, B, N).requires_grad_(), None, threshold)
        _check_no_gradients(neuron, "after a call")


@each_kind
def keeps_no_membrane(subject: Subject, spec: NeuronSpec) -> None:
    """No tensor of a batch's size stays on it or its class; a data-parallel run would broadcast it."""
    batch = (3, 7)  # sizes that no constant has
    for threshold in FLOAT_AND_TENSOR:
        neuron, currents = subject.make(spec), random_currents(T, *batch)
        neuron.scan(currents, None, threshold)
        neuron.step(currents[0], neuron.initial_state(currents[0]), threshold)
        kept = [path for path, tensor in _tensors(neuron) if tuple(tensor.shape[-2:]) == batch]
        require(not kept, f"{', '.join(kept)} has the size of the last batch; return the membrane, and keep nothing")


@each_kind
def runs_its_library(subject: Subject, spec: NeuronSpec) -> None:
    """Every scan over time runs at least one Python function of a library that the component requires."""
    libraries = subject.candidate.requires
    if not libraries:
        raise NotRun("it names no library in Component.requires")
    neuron, currents = subject.make(spec), random_currents(T, B, N)
    for threshold in FLOAT_AND_TENSOR:
        form = "tensor" if isinstance(threshold, Tensor) else "float"
        require(
            library_calls(partial(neuron.scan, currents, None, threshold), libraries),
            f"a scan of {spec.kind} with a {form} threshold runs no Python function of {', '.join(libraries)}; "
            "let the library do the work, or do not name it in Component.requires",
        )


@each_kind
def can_be_copied_after_a_forward(subject: Subject, spec: NeuronSpec) -> None:
    """``deepcopy`` works, for no graph stays on the neuron, and the copy does the same."""
    for threshold in (0.7, torch.tensor(0.7, requires_grad=True)):
        neuron, currents = subject.make(spec), random_currents(T, B, N).requires_grad_()
        spikes, _ = neuron.scan(currents, None, threshold)
        neuron.step(currents[0], neuron.initial_state(currents[0]), threshold)
        try:
            twin = copy.deepcopy(neuron)
        except RuntimeError as error:
            raise ConformanceError(f"deepcopy after a forward: {error}") from error
        same(twin.scan(currents, None, threshold)[0], spikes, "spikes of a copy")


@each_kind
def other_threshold_shapes_are_refused(subject: Subject, spec: NeuronSpec) -> None:
    """A shape that would broadcast by accident is an error."""
    for shape in ((N,), (B, 1), (B, N), (T,), (1,), (2, 1, 1), (1, B + 1, 1), (1, 1, 1, N), (T, B, N, 1)):
        scan = partial(subject.make(spec).scan, random_currents(T, B, N), None, torch.ones(shape))
        _check_refused(scan, f"threshold of {shape} was accepted; {_RAISE}")


@each_kind
def currents_without_steps_are_refused(subject: Subject, spec: NeuronSpec) -> None:
    """Currents without a time step or without a batch axis are an error."""
    for currents in (torch.zeros(0, B, N), torch.zeros(N), torch.zeros(())):
        scan = partial(subject.make(spec).scan, currents, None, 1.0)
        _check_refused(scan, f"currents of {tuple(currents.shape)} was accepted; {_RAISE}")


@each_kind
def a_state_of_another_batch_is_refused(subject: Subject, spec: NeuronSpec) -> None:
    """A state of another batch size is an error, where some libraries silently start from zeros."""
    if not spec.states:
        return
    try:
        subject.make(spec).scan(random_currents(T, B, N), random_state(spec, B + 1, N), 1.0)
    except (SpikingError, RuntimeError):
        return
    raise ConformanceError(f"a state of batch {B + 1} was accepted for currents of batch {B}")


@each_kind
def parameters_are_checked(subject: Subject, spec: NeuronSpec) -> None:
    """An unknown name, or a shape that does not fit, is an error."""
    neuron = subject.make(spec)
    wrong: list[tuple[str, Params]] = [("a parameter 'nonsense'", {"nonsense": 0.5})]
    for name, value in spec.parameters.items():
        for shape in ((N + 1,), (B, N), (T, B, N)):
            wrong.append((f"{name} of shape {list(shape)}", {name: torch.full(shape, value)}))
    for what, params in wrong:
        scan = partial(neuron.scan, random_currents(T, B, N), None, 0.7, params)
        remedy = "call spec.complete and neurozoo.core.neuron.check_params"
        _check_refused(scan, f"{what} was accepted by {spec_text(spec)}; {remedy}")


@each_kind
def arguments_are_left_alone(subject: Subject, spec: NeuronSpec) -> None:
    """Currents, state and threshold are not written to."""
    given = (random_currents(T, B, N), torch.full((1, B, 1), 0.7), *random_state(spec, B, N))
    before = tuple(x.clone() for x in given)
    for threshold in (given[1], 0.7):
        subject.make(spec).scan(given[0], given[2:], threshold)
    names = ("currents", "threshold", *("state" for _ in spec.states))
    for name, was, now in zip(names, before, given, strict=True):
        same(now, was, f"{name} after the call")


@each_kind
def nothing_is_kept_between_calls(subject: Subject, spec: NeuronSpec) -> None:
    """The same call gives the same result, whatever was called between."""
    neuron = subject.make(spec)
    for threshold in FLOAT_AND_TENSOR:
        first = neuron.scan(random_currents(T, B, N), None, threshold)
        neuron.scan(random_currents(T, B, N, seed=5) * 9, None, threshold)
        neuron.step(random_currents(B, N), random_state(spec, B, N), 5.0)
        second = neuron.scan(random_currents(T, B, N), None, threshold)
        same(second[0], first[0], "spikes of the same call, made twice")
        same(second[1], first[1], "state of the same call, made twice")


def _check_refused(scan: Callable[[], object], problem: str) -> None:
    try:
        scan()
    except SpikingError:
        return
    raise ConformanceError(problem)


def _check_no_gradients(neuron: Neuron, when: str) -> None:
    for path, tensor in _tensors(neuron):
        is_parameter = isinstance(tensor, nn.Parameter)
        require(not is_parameter, f"{path} is a Parameter {when}; what learns belongs to modules of the core")
        kept = tensor.requires_grad
        require(not kept, f"{path} requires a gradient {when}; it would keep the graph of a call alive")


def _tensors(root: object) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that an object or its class holds, in attributes, containers and modules, with its path."""
    seen: set[int] = set()
    classes = [cls for cls in type(root).__mro__ if cls is not object]
    todo: list[tuple[str, Any]] = [*((cls.__name__, dict(vars(cls))) for cls in classes), ("self", root)]
    while todo:
        path, item = todo.pop()
        if id(item) in seen or isinstance(item, (str, bytes, type, ModuleType, FunctionType)):
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield path, item
        elif isinstance(item, dict):
            todo += [(f"{path}[{key!r}]", value) for key, value in item.items()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            todo += [(f"{path}[{index}]", value) for index, value in enumerate(item)]
        elif hasattr(item, "__dict__"):
            todo += [(f"{path}.{name}", value) for name, value in vars(item).items()]
