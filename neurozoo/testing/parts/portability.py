"""Cases on what is done with a part besides calling it: dtypes, devices, copies, checkpoints, recipes."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from neurozoo.core.multimodal import Tokens
from neurozoo.runs.checkpoint import load_checkpoint, write_tensors
from neurozoo.testing.findings import ConformanceError
from neurozoo.testing.parts.devices import run_on_meta, to_meta
from neurozoo.testing.parts.inputs import Masks, changed
from neurozoo.testing.parts.parameters import check_declared
from neurozoo.testing.parts.subject import PartSubject, same_state

__all__ = ["HANDLING_CASES", "copy_of", "through_a_file"]

T = TypeVar("T")

_MASKS: tuple[Masks, ...] = ("mixed", "none")


def dtypes_are_kept(subject: PartSubject) -> None:
    """float32, float64 and bfloat16 weights and inputs give an output of the same dtype."""
    for setting in subject.settings():
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            part = copy.deepcopy(setting.part).to(dtype)
            content = changed(subject.made_up(setting.form), partial(_to_dtype, dtype=dtype))
            found = subject.run(part, content).values.dtype
            if found != dtype:
                raise ConformanceError(f"{dtype} in and {found} out: {setting.where}")
            subject.compared += 1


def stays_on_the_device(subject: PartSubject) -> None:
    """No tensor is made on the CPU when the input is elsewhere: the forward runs on the meta device."""
    for setting in subject.settings(values=False):
        for masks in _MASKS:
            content = changed(subject.made_up(setting.form, masks), to_meta)
            output = run_on_meta(setting.part, content)
            for tensor in (output.x, output.mask, output.position) if isinstance(output, Tokens) else (output,):
                if tensor is not None and not tensor.is_meta:
                    raise ConformanceError(f"an output is on {tensor.device} while the input is not: {setting.where}")
            subject.compared += 1


def can_be_copied_after_a_forward(subject: PartSubject) -> None:
    """No graph is left on the part: deepcopy works after a forward, and the copy does the same."""
    for setting in subject.settings():
        content = subject.made_up(setting.form)
        setting.part.train()(content)
        want = subject.run(setting.part.eval(), content)
        subject.hold_together(subject.run(copy_of(setting.part), content), want, f"a copy, {setting.where}")


def loads_from_a_checkpoint(subject: PartSubject) -> None:
    """All it needs is in its ``state_dict``: one of another seed does the same after loading."""
    for setting in subject.settings():
        content = subject.made_up(setting.form)
        setting.part.train()(content)
        want = subject.run(setting.part.eval(), content)
        other = through_a_file(setting.part, subject.make(setting.form, seed=1))
        subject.hold_together(subject.run(other, content), want, f"loaded from a checkpoint, {setting.where}")


def parameters_fit_a_recipe(subject: PartSubject) -> None:
    """Keyword-only parameters, annotated, each default within its own bounds; those given are accepted."""
    check_declared(subject)


def copy_of(part: T) -> T:
    """A deep copy.

    Raises:
        ConformanceError: It cannot be copied.
    """
    try:
        return copy.deepcopy(part)
    except (RuntimeError, TypeError) as error:
        raise ConformanceError(f"deepcopy after a forward: {str(error).splitlines()[0]}") from error


def through_a_file(part: nn.Module, other: nn.Module) -> nn.Module:
    """``other`` with the weights of ``part``, which went through a safetensors file.

    Raises:
        ConformanceError: They do not fit.
    """
    state = part.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise ConformanceError(f"{', '.join(odd)} of its state_dict is no tensor, and cannot be in a checkpoint")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.safetensors"
        write_tensors(path, state, {})
        load_checkpoint(path, other)
    same_state(other.state_dict(), state, "not as it was saved")
    return other


def _to_dtype(sequence: Tokens, dtype: torch.dtype) -> Tokens:
    return sequence.with_x(sequence.x.to(dtype) if sequence.x.is_floating_point() else sequence.x)


HANDLING_CASES: tuple[Callable[[PartSubject], None], ...] = (
    dtypes_are_kept,
    stays_on_the_device,
    can_be_copied_after_a_forward,
    loads_from_a_checkpoint,
    parameters_fit_a_recipe,
)
