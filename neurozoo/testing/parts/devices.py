"""Sees tensors of two devices meet, on a machine that has one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neurozoo.core.multimodal import Tokens
from neurozoo.testing.findings import ConformanceError, NotRun
from neurozoo.testing.parts.inputs import Content

__all__ = ["one_device", "run_on_meta", "to_meta"]

_MAY_MIX = ("aten.copy_", "aten._to_copy", "aten.index.", "aten.index_put")
"""What a GPU does with an operand on the CPU, too."""


class _OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations on a meta tensor and one of the CPU; a 0-d one may be there, as on a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        stray = [each for each in tensors if each.device.type == "cpu" and each.dim()]
        if stray and any(each.is_meta for each in tensors) and not str(func).startswith(_MAY_MIX):
            raise ConformanceError(
                f"{func} meets a tensor {list(stray[0].shape)} on the CPU while the input is on another device; make "
                "new tensors on the device of the input, and register those that are kept as parameters or buffers"
            )
        return func(*args, **(kwargs or {}))


@contextmanager
def one_device() -> Iterator[None]:
    """Around what is done on the meta device, whose tensors have shapes and no values.

    Raises:
        ConformanceError: A tensor on the CPU takes part.
        NotRun: Values are read, which are not there.
    """
    try:
        with torch.random.fork_rng(devices=[]), _OneDevice():  # type: ignore[no-untyped-call]
            yield
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise
        raise NotRun(f"it reads values, and the meta device has none ({str(error).splitlines()[0][:80]})") from error


def run_on_meta(part: nn.Module, content: Content) -> Any:
    """Call a part in :func:`one_device`."""
    with one_device():
        return part.to("meta")(content)


def to_meta(sequence: Tokens) -> Tokens:
    """The same sequence without values."""
    mask = None if sequence.mask is None else sequence.mask.to("meta")
    return Tokens(sequence.x.to("meta"), mask, sequence.position.to("meta"))
