"""What a fusion and a label head must do: the parts that are built of a layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurozoo.core.multimodal import Layout, Tokens
from neurozoo.testing.findings import ConformanceError, require
from neurozoo.testing.kits import Kit, cases_of
from neurozoo.testing.parts import learning, padding, parameters, portability, terms
from neurozoo.testing.parts.inputs import (
    SAMPLES,
    Content,
    Masks,
    leaves,
    made_up_features,
    made_up_mask,
    made_up_sequence,
)
from neurozoo.testing.parts.subject import (
    LayoutSubject,
    Rows,
    Setting,
    backward,
    each_setting,
    layout_of,
    targets,
)

_LENGTH = 7
"""Positions of a label head's sequence."""


class FusionSubject(LayoutSubject):
    """A fusion under test."""

    forms = (
        layout_of(("audio", "vision"), ("text",)),
        layout_of(("audio",), ("text",), hidden=10, heads=5),
        layout_of(("audio", "vision", "depth"), ("text",), hidden=8, heads=1),
        layout_of(("audio",), (), hidden=9),
        layout_of(("audio", "vision")),
        layout_of(("audio", "vision", "depth"), (), hidden=8, heads=2),
    )

    def made_up(self, form: Layout, masks: Masks = "mixed", seed: int = 0) -> Content:
        return made_up_features(form, masks, seed, spikes=self.candidate.target.needs_spikes)

    def rows(self, output: Any, content: Content) -> Rows:
        x, mask, position = _form(output)
        position = position.expand(x.shape[0], -1)
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool)
        return Rows(x[mask], mask.sum(1), position[mask])


@each_setting
def gives_a_sequence(subject: FusionSubject, setting: Setting) -> None:
    """x ``[B, L', D]``, mask bool or None, position int64 below L'; valid rows where the input has some."""
    layout = setting.form
    width = setting.part.width or layout.hidden
    for masks in ("mixed", "none", "absent"):
        content = subject.made_up(layout, masks)
        output = setting.part(content)
        x, mask, position = _form(output)
        length = x.shape[1]
        wanted, whole = (SAMPLES, length, width), [SAMPLES, length]
        require(x.shape == wanted and length, f"x is {list(x.shape)}, not [{SAMPLES}, L', {width}]")
        if mask is not None:
            require(mask.shape == wanted[:2], f"the mask is {list(mask.shape)}, not {whole}")
        aligned = position.shape in ((SAMPLES, length), (1, length))
        require(aligned, f"position is {list(position.shape)}, not {whole} or {[1, length]}")
        first, last = int(position.min()), int(position.max())
        within = first >= 0 and last < length
        require(within, f"positions from {first} to {last} in a sequence of {length}; they count from 0")
        found = subject.rows(output, content)
        only_one_absent = masks == "absent" and len(layout.primary) == 1 and not layout.context
        some = only_one_absent or (found.counts is not None and found.counts.all())
        require(some, "a sample with valid rows has none in the output")
        require(torch.isfinite(found.values).all(), "a valid row is not finite")


def _form(output: Any) -> tuple[Tensor, Tensor | None, Tensor]:
    """The three tensors of a sequence, their types checked."""
    if not isinstance(output, Tokens):
        raise ConformanceError(f"it gives {type(output).__name__}, not neurozoo.core.multimodal.Tokens")
    x, mask, position = output.x, output.mask, output.position
    require(x.dim() == 3, f"x has the shape {list(x.shape)}, not [B, L', D]")
    if mask is not None:
        require(mask.dtype == torch.bool, f"the mask is {mask.dtype}; it must be bool, or None where every row counts")
    require(position.dtype == torch.int64, f"position is {position.dtype}, not int64")
    return x, mask, position


class LabelHeadSubject(LayoutSubject):
    """A label head under test."""

    forms = (
        layout_of(("audio", "vision"), ("text",), outputs=6),
        layout_of(("audio", "vision"), ("text",), outputs=2, hidden=10, heads=5),
        layout_of(("audio",), (), outputs=1, hidden=9),
    )

    def made_up(self, form: Layout, masks: Masks = "mixed", seed: int = 0) -> Content:
        mask = None if masks == "none" else made_up_mask(_LENGTH, 2, seed)  # valid in pieces, as a fusion gives it
        if mask is not None and masks in ("absent", "empty"):
            mask[1] = False
        return made_up_sequence(_LENGTH, form.hidden, mask, seed)

    def rows(self, output: Any, content: Content) -> Rows:
        if not isinstance(output, Tensor):
            raise ConformanceError(f"it gives {type(output).__name__}, not a tensor of outputs [B, K]")
        return Rows(output)


@each_setting
def gives_outputs(subject: LabelHeadSubject, setting: Setting) -> None:
    """Outputs ``[B, K]``, finite, for K of 1, 2 and 6."""
    for masks in ("mixed", "none"):
        outputs = subject.run(setting.part, subject.made_up(setting.form, masks)).values
        wanted = [SAMPLES, setting.form.outputs]
        require(list(outputs.shape) == wanted, f"outputs are {list(outputs.shape)}, not {wanted}")
        require(torch.isfinite(outputs).all(), "an output is not finite")


@each_setting
def targets_are_taken(subject: LabelHeadSubject, setting: Setting) -> None:
    """In training, given the batch's targets as a model gives them, outputs and gradients are finite."""
    part: Any = setting.part.train()
    target = targets(setting.form)
    for masks in ("mixed", "empty"):
        part.zero_grad(set_to_none=True)
        content, found = leaves(subject.made_up(setting.form, masks))
        outputs = subject.rows(part.outputs(content, target), content).values
        wanted = [SAMPLES, setting.form.outputs]
        require(list(outputs.shape) == wanted, f"given targets, outputs are {list(outputs.shape)}, not {wanted}")
        require(torch.isfinite(outputs).all(), "given targets, an output is not finite")
        backward(outputs)
        for name, each in (*part.named_parameters(), *found.items()):
            finite = each.grad is None or torch.isfinite(each.grad).all()
            require(finite, f"given targets, the gradient of {name} is not finite")
        subject.compared += outputs.numel()


_SHARED = cases_of(padding, learning, terms, portability, parameters)

FUSION = Kit(
    "fusion",
    FusionSubject,
    {"gives_a_sequence": gives_a_sequence, **_SHARED},
    tiny=("gives_a_sequence", "padding_does_not_matter"),
)
LABEL_HEAD = Kit(
    "label-head",
    LabelHeadSubject,
    {"gives_outputs": gives_outputs, "targets_are_taken": targets_are_taken, **_SHARED},
    tiny=("gives_outputs", "padding_does_not_matter"),
)
