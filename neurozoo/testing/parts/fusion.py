"""What a fusion must do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurozoo.core.multimodal import Layout, Tokens
from neurozoo.testing.findings import ConformanceError
from neurozoo.testing.parts.inputs import SAMPLES, Content, Masks, made_up_features
from neurozoo.testing.parts.learning import LEARNING_CASES
from neurozoo.testing.parts.padding import PADDING_CASES
from neurozoo.testing.parts.portability import HANDLING_CASES
from neurozoo.testing.parts.subject import LayoutSubject, Rows, layout_of
from neurozoo.testing.report import Kit

__all__ = ["FUSION", "FusionSubject"]


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
        return made_up_features(form, masks, seed)

    def rows(self, output: Any, content: Content) -> Rows:
        x, mask, position = _form(output)
        position = position.expand(x.shape[0], -1)
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool)
        return Rows(x[mask], mask.sum(1), position[mask])


def gives_a_sequence(subject: FusionSubject) -> None:
    """x ``[B, L', D]``, mask bool or None, position int64 below L'; valid rows where the input has some."""
    for setting in subject.settings():
        width = setting.form.hidden
        for masks in ("mixed", "none", "absent"):
            content = subject.made_up(setting.form, masks)
            output = setting.part(content)
            x, mask, position = _form(output)
            length = x.shape[1]
            if x.shape != (SAMPLES, length, width) or not length:
                raise ConformanceError(f"x is {list(x.shape)}, not [{SAMPLES}, L', {width}]: {setting.where}")
            if mask is not None and mask.shape != (SAMPLES, length):
                raise ConformanceError(f"the mask is {list(mask.shape)}, not {[SAMPLES, length]}: {setting.where}")
            if position.shape not in ((SAMPLES, length), (1, length)):
                raise ConformanceError(
                    f"position is {list(position.shape)}, not {[SAMPLES, length]} or {[1, length]}: {setting.where}"
                )
            if int(position.min()) < 0 or int(position.max()) >= length:
                raise ConformanceError(
                    f"positions from {int(position.min())} to {int(position.max())} in a sequence of {length}; "
                    f"they count from 0: {setting.where}"
                )
            found = subject.rows(output, content)
            counts = found.counts
            if counts is not None and not bool(counts.all()) and not _only_one(setting.form, masks):
                raise ConformanceError(f"a sample with valid rows has none in the output: {setting.where}")
            if not bool(torch.isfinite(found.values).all()):
                raise ConformanceError(f"a valid row is not finite: {setting.where}")


def _only_one(layout: Layout, masks: Masks) -> bool:
    """Whether the modality that is absent is the only one."""
    return masks == "absent" and len(layout.primary) == 1 and not layout.context


def _form(output: Any) -> tuple[Tensor, Tensor | None, Tensor]:
    """The three tensors of a sequence, their types checked."""
    if not isinstance(output, Tokens):
        raise ConformanceError(f"it gives {type(output).__name__}, not neurozoo.core.multimodal.Tokens")
    if output.x.dim() != 3:
        raise ConformanceError(f"x has the shape {list(output.x.shape)}, not [B, L', D]")
    if output.mask is not None and output.mask.dtype != torch.bool:
        raise ConformanceError(f"the mask is {output.mask.dtype}; it must be bool, or None where every row counts")
    if output.position.dtype != torch.int64:
        raise ConformanceError(f"position is {output.position.dtype}, not int64")
    return output.x, output.mask, output.position


FUSION = Kit(
    "fusion",
    FusionSubject,
    {case.__name__: case for case in (gives_a_sequence, *PADDING_CASES, *LEARNING_CASES, *HANDLING_CASES)},
    tiny=("gives_a_sequence", "padding_does_not_matter"),
)
