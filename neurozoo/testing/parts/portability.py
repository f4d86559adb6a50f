"""Cases on moving and storing a part: dtypes, devices, copies, checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neurozoo.core.multimodal import Tokens
from neurozoo.testing.findings import ConformanceError, NotRun, require
from neurozoo.testing.parts.inputs import changed, with_dtype
from neurozoo.testing.parts.subject import PartSubject, Setting, each_setting, through_a_file

_MAY_MIX = ("aten.copy_", "aten._to_copy", "aten.index.", "aten.index_put")
"""What a GPU does with an operand on the CPU, too."""


@each_setting
def dtypes_are_kept(subject: PartSubject, setting: Setting) -> None:
    """float32, float64 and bfloat16 weights and inputs give an output of the same dtype."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        part = copy.deepcopy(setting.part).to(dtype)
        content = changed(subject.made_up(setting.form), partial(with_dtype, dtype=dtype))
        found = subject.run(part, content).values.dtype
        require(found == dtype, f"{dtype} in and {found} out")
        subject.compared += 1


def stays_on_the_device(subject: PartSubject) -> None:
    """No tensor is made on the CPU when the input is elsewhere: the forward runs on the meta device."""
    for setting in subject.settings(values=False):
        for masks in ("mixed", "none"):
            content = changed(subject.made_up(setting.form, masks), _to_meta)
            with _one_device():
                output = setting.part.to("meta")(content)
            for tensor in (output.x, output.mask, output.position) if isinstance(output, Tokens) else (output,):
                if tensor is not None and not tensor.is_meta:
                    raise ConformanceError(f"an output is on {tensor.device} while the input is not: {setting.where}")
            subject.compared += 1


@each_setting
def can_be_copied_after_a_forward(subject: PartSubject, setting: Setting) -> None:
    """No graph is left on the part: deepcopy works after a forward, and the copy does the same."""
    content = subject.made_up(setting.form)
    setting.part.train()(content)
    want = subject.run(setting.part.eval(), content)
    try:
        twin = copy.deepcopy(setting.part)
    except (RuntimeError, TypeError) as error:
        raise ConformanceError(f"deepcopy after a forward: {str(error).splitlines()[0]}") from error
    subject.hold_together(subject.run(twin, content), want, "a copy")


@each_setting
def loads_from_a_checkpoint(subject: PartSubject, setting: Setting) -> None:
    """All it needs is in its ``state_dict``: one of another seed does the same after loading."""
    content = subject.made_up(setting.form)
    setting.part.train()(content)
    want = subject.run(setting.part.eval(), content)
    other = through_a_file(setting.part, subject.make(setting.form, seed=1))
    subject.hold_together(subject.run(other, content), want, "loaded from a checkpoint")


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
def _one_device() -> Iterator[None]:
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


def _to_meta(sequence: Tokens) -> Tokens:
    mask = None if sequence.mask is None else sequence.mask.to("meta")
    return Tokens(sequence.x.to("meta"), mask, sequence.position.to("meta"))
