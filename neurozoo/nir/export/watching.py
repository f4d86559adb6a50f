"""What runs in a model: calls of its modules, and operations on their outputs, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from neurozoo.core.layer import SpikingLayer

__all__ = ["Call", "Later", "Operation", "PlaceMean", "Sum", "Watch"]


class Operation(nn.Module):
    """An operation outside of all modules that no graph can say."""


class Sum(Operation):
    """A sum of two tensors of one shape."""


class PlaceMean(Operation):
    """A mean over all places of a picture, which is average pooling.

    Args:
        edges: Height and width.
    """

    def __init__(self, edges: tuple[int, int]) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(edges)


class Later(Operation):
    """Passes its input on some steps later, and zeros before.

    Args:
        steps: How many.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps


@dataclass(frozen=True)
class Call:
    """A call of a layer of neurons, of a module outside of all of them, or of an operation on their outputs.

    It keeps the tensors' memory from reuse, as a tensor is known by where it begins.

    Attributes:
        name: Dotted name of the module; of an operation torch's name for it.
        module: The module; an operation's is made for it.
        given: The inputs that are tensors, of a module the first.
        made: The output.
        steps: T, where the input is held.
    """

    name: str
    module: nn.Module
    given: tuple[Tensor, ...]
    made: Tensor
    steps: int | None = None

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shapes of input and output at one step."""
        given, made = self.given[0].shape, self.made.shape
        if isinstance(self.module, SpikingLayer | Later):
            return tuple(given[1 if self.steps is not None else 2 :]), tuple(made[2:])
        if isinstance(self.module, nn.AvgPool2d) and self.made.dim() < self.given[0].dim():
            return tuple(given[-3:]), (given[-3], 1, 1)  # a mean over all places
        axes = 1 if isinstance(self.module, nn.Linear) else 2 if isinstance(self.module, nn.Conv1d) else 3
        return tuple(given[-axes:]), tuple(made[-axes:])


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects, by hooks, calls of the given modules, and operations outside of them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self._inside = 0

    def enter(self, *_: object) -> None:
        """Note that a module begins: a forward pre-hook."""
        self._inside += 1

    def leave(self, name: str) -> Callable[..., None]:
        """Return a forward hook that notes a module's call."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self._inside -= 1
            given = args[0] if args else next(iter(kwargs.values()), None)
            if isinstance(given, Tensor) and isinstance(output, Tensor) and output.data_ptr() != given.data_ptr():
                self.calls.append(Call(name, module, (given,), output, kwargs.get("steps")))

        return hook

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        if self._inside or not isinstance(made, Tensor) or not made.is_floating_point():
            return made
        flat = [each for arg in args for each in (arg if isinstance(arg, list) else [arg])]
        given = tuple(each for each in flat if isinstance(each, Tensor))
        if given and all(each.data_ptr() != made.data_ptr() for each in given):
            name = function.overloadpacket.__name__
            said = _said(name, given, args, kwargs or {})
            self.calls.append(Call(name, said, given[1:] if isinstance(said, Later) else given, made))
        return made


def _said(name: str, given: tuple[Tensor, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Operation:
    """Return what an operation is for a graph."""
    if name == "add" and len(given) == 2 and given[0].shape == given[1].shape and kwargs.get("alpha", 1) == 1:
        return Sum()
    if name == "mean" and given[0].dim() >= 4 and len(args) > 1 and isinstance(args[1], list):
        axes = given[0].dim()
        if sorted(axis % axes for axis in args[1]) == [axes - 2, axes - 1]:
            return PlaceMean((given[0].shape[-2], given[0].shape[-1]))
    if name == "cat" and len(given) == 2 and (args[1] if len(args) > 1 else 0) == 0 and not given[0].any():
        zeros, rest = given
        if zeros.shape[1:] == rest.shape[1:] and rest.is_contiguous():
            return Later(len(zeros))
    return Operation()
