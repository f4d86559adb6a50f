"""Arithmetic element by element that happens outside of synapses and neurons, such as residual sums, gates and norms.

It is counted to be named, next to the products of matrices, and has no part in the estimate of energy: the control has
the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from neurozoo.operations.synaptic import fed_with

__all__ = ["Arithmetic", "ElementwiseCounter"]

_MULTIPLY = {"mul", "div", "square", "addcmul", "lerp"}
_ADD = {"add", "sub", "rsub"}
_REDUCE = {"sum", "mean", "cumsum"}
_NO_ARITHMETIC = {
    "addmm", "baddbmm", "bmm", "convolution", "mm",  # products of matrices, which are counted elsewhere
    "_to_copy", "arange", "bernoulli", "cat", "clone", "constant_pad_nd", "copy", "embedding", "empty", "empty_like",
    "empty_strided", "fill", "flip", "full", "full_like", "gather", "index", "index_select", "lift_fresh",
    "masked_fill", "new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros", "ones", "ones_like",
    "repeat", "roll", "scalar_tensor", "scatter", "stack", "uniform", "where", "zero", "zeros", "zeros_like",
}  # fmt: skip


@dataclass
class Arithmetic:
    """What a module computed element by element, summed over its calls.

    Attributes:
        multiplications: Products and quotients of elements.
        gates: Products with a tensor of bits, which lets an element pass or not: nothing is multiplied.
        additions: Sums and differences; a sum or mean over n elements takes n - 1.
        functions: Elements that other functions gave: norms, pools, exponentials, comparisons.
    """

    multiplications: int = 0
    gates: int = 0
    additions: int = 0
    functions: int = 0


class ElementwiseCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts arithmetic of floating-point tensors by the module that is running.

    Args:
        running: Returns the name of the innermost module that runs, or None where nothing is to be counted.
        alike: Returns at how many steps an output ``[T, ...]`` is the same, to be counted once; 1 for each one apart.
    """

    def __init__(self, running: Callable[[], str | None], alike: Callable[[Tensor], int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, Arithmetic] = {}
        self._running, self._alike = running, alike

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        name = self._running()
        if name is None:
            return made
        output = made[0] if isinstance(made, tuple | list) and made else made
        if isinstance(output, Tensor) and output.is_floating_point() and not _is_view(function):
            what, number = _counted(function.overloadpacket.__name__.rstrip("_"), args, output)
            if number:
                mine = self.found.setdefault(name, Arithmetic())
                setattr(mine, what, getattr(mine, what) + number // self._alike(output))
        return made


def _is_view(function: Any) -> bool:
    return any(each.alias_info is not None and not each.alias_info.is_write for each in function._schema.returns)


def _counted(name: str, args: tuple[Any, ...], output: Tensor) -> tuple[str, int]:
    """Return the kind of arithmetic of a function of torch, and how much of it there is; 0 if it is none."""
    if name in _NO_ARITHMETIC or name == "detach":
        return "functions", 0
    if name in _REDUCE:
        return "additions", output.numel() if name == "cumsum" else args[0].numel() - output.numel()
    if name in _ADD:
        return "additions", output.numel()
    if name in _MULTIPLY:
        given = [each for each in args[:2] if isinstance(each, Tensor) and each.dim()]
        gates = name == "mul" and len(given) == 2 and any(map(_lets_pass, given))
        return "gates" if gates else "multiplications", output.numel()
    return "functions", output.numel()


def _lets_pass(x: Tensor) -> bool:
    return x.dtype is torch.bool or (not isinstance(x, nn.Parameter) and fed_with(x) == "bits")
