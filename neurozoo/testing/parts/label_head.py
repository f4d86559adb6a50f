"""What a label head must do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurozoo.core.multimodal import Layout
from neurozoo.testing.findings import ConformanceError
from neurozoo.testing.parts.inputs import SAMPLES, Content, Masks, made_up_mask, made_up_sequence
from neurozoo.testing.parts.learning import LEARNING_CASES
from neurozoo.testing.parts.padding import PADDING_CASES
from neurozoo.testing.parts.portability import HANDLING_CASES
from neurozoo.testing.parts.subject import LayoutSubject, Rows, layout_of
from neurozoo.testing.report import Kit

__all__ = ["LABEL_HEAD", "LabelHeadSubject"]

_LENGTH = 7


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


def gives_outputs(subject: LabelHeadSubject) -> None:
    """Outputs ``[B, K]``, finite, for K of 1, 2 and 6."""
    for setting in subject.settings():
        for masks in ("mixed", "none"):
            outputs = subject.run(setting.part, subject.made_up(setting.form, masks)).values
            wanted = [SAMPLES, setting.form.outputs]
            if list(outputs.shape) != wanted:
                raise ConformanceError(f"outputs are {list(outputs.shape)}, not {wanted}: {setting.where}")
            if not bool(torch.isfinite(outputs).all()):
                raise ConformanceError(f"an output is not finite: {setting.where}")


LABEL_HEAD = Kit(
    "label-head",
    LabelHeadSubject,
    {case.__name__: case for case in (gives_outputs, *PADDING_CASES, *LEARNING_CASES, *HANDLING_CASES)},
    tiny=("gives_outputs", "padding_does_not_matter"),
)
