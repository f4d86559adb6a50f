"""What a label head must do."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.multimodal import Layout
from neurozoo.testing.findings import ConformanceError, require
from neurozoo.testing.kits import Kit, cases_of
from neurozoo.testing.parts import learning, padding, parameters, portability
from neurozoo.testing.parts.inputs import SAMPLES, Content, Masks, made_up_mask, made_up_sequence
from neurozoo.testing.parts.subject import LayoutSubject, Rows, Setting, each_setting, layout_of

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


@each_setting
def gives_outputs(subject: LabelHeadSubject, setting: Setting) -> None:
    """Outputs ``[B, K]``, finite, for K of 1, 2 and 6."""
    for masks in ("mixed", "none"):
        outputs = subject.run(setting.part, subject.made_up(setting.form, masks)).values
        wanted = [SAMPLES, setting.form.outputs]
        require(list(outputs.shape) == wanted, f"outputs are {list(outputs.shape)}, not {wanted}")
        require(torch.isfinite(outputs).all(), "an output is not finite")


LABEL_HEAD = Kit(
    "label-head",
    LabelHeadSubject,
    cases_of(sys.modules[__name__], padding, learning, portability, parameters),
    tiny=("gives_outputs", "padding_does_not_matter"),
)
