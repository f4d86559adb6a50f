"""Cases on what a backend is: a plain object that holds its spec, and runs its library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.backends.library_calls import library_calls
from neurozoo.core.interfaces import Neuron
from neurozoo.testing.backend.inputs import T, made_up_currents
from neurozoo.testing.backend.subject import USUAL, Refused, Subject
from neurozoo.testing.findings import ConformanceError, NotRun

__all__ = ["INTERFACE_CASES"]


def accepts_a_neuron(subject: Subject) -> None:
    """A backend may refuse a spec with a SpikingError in its constructor, but not every spec."""
    try:
        spec = subject.usual()
    except Refused as refusal:
        raise ConformanceError(f"it refuses all of {len(USUAL)} ordinary neurons; {refusal}") from refusal
    if subject.make(spec).spec != spec:
        raise ConformanceError("it does not keep the spec that it was given; call super().__init__(spec)")


def is_a_plain_object(subject: Subject) -> None:
    """No module, no parameter, no tensor with a gradient, before a call or after one with a learnable threshold."""
    neuron = subject.neuron()
    if not isinstance(neuron, Neuron):
        raise ConformanceError(f"{type(neuron).__name__} is no neurozoo.core.interfaces.Neuron; subclass it")
    if isinstance(neuron, nn.Module):
        raise ConformanceError(
            "it is an nn.Module, and what it registers would be in checkpoints; keep library modules as attributes"
        )
    _no_gradients(neuron, "when made")
    for threshold in (0.7, torch.tensor(0.7, requires_grad=True)):
        neuron.scan(made_up_currents(T, 4, 8).requires_grad_(), None, threshold)
        _no_gradients(neuron, "after a call")


def keeps_no_membrane(subject: Subject) -> None:
    """No tensor of a batch's size is left on it; a data-parallel run would broadcast it from one process to all."""
    batch = (3, 7)  # sizes that no constant has
    for threshold in (0.7, torch.tensor(0.7)):
        neuron, currents = subject.neuron(), made_up_currents(T, *batch)
        neuron.scan(currents, None, threshold)
        neuron.step(currents[0], neuron.initial_state(currents[0]), threshold)
        kept = [path for path, tensor in _tensors(neuron) if tuple(tensor.shape[-2:]) == batch]
        if kept:
            raise ConformanceError(
                f"{', '.join(kept)} has the size of the last batch; return the membrane, and keep nothing"
            )


def runs_its_library(subject: Subject) -> None:
    """At least one Python function of a library that it requires runs in every scan."""
    libraries = subject.candidate.requires
    if not libraries:
        raise NotRun("it names no library in Component.requires")
    neuron, currents = subject.neuron(), made_up_currents(T, 4, 8)
    for threshold in (0.7, torch.tensor(0.7)):
        if not library_calls(partial(neuron.scan, currents, None, threshold), libraries):
            kind = "tensor" if isinstance(threshold, Tensor) else "float"
            raise ConformanceError(
                f"a scan with a {kind} threshold runs no Python function of {', '.join(libraries)}; "
                "let the library do the work, or do not name it in Component.requires"
            )


INTERFACE_CASES: tuple[Callable[[Subject], None], ...] = (
    accepts_a_neuron,
    is_a_plain_object,
    keeps_no_membrane,
    runs_its_library,
)


def _no_gradients(neuron: Neuron, when: str) -> None:
    for path, tensor in _tensors(neuron):
        if isinstance(tensor, nn.Parameter):
            raise ConformanceError(f"{path} is a Parameter {when}; what learns belongs to modules of the core")
        if tensor.requires_grad:
            raise ConformanceError(f"{path} requires a gradient {when}; it would keep the graph of a call alive")


def _tensors(root: object) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that an object or its class holds, in attributes, containers and modules, with the way to it."""
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
