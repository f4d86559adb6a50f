"""What a label head must do."""

from __future__ import annotations

import torch

from neurozoo.core.interfaces import Layout
from neurozoo.testing.findings import ConformanceError
from neurozoo.testing.parts.inputs import SAMPLES, Content, Masks, made_up_mask, made_up_sequence
from neurozoo.testing.parts.layouts import layout_of
from neurozoo.testing.parts.learning import LEARNING_CASES
from neurozoo.testing.parts.padding import PADDING_CASES
from neurozoo.testing.parts.portability import HANDLING_CASES
from neurozoo.testing.parts.subject import LayoutSubject, LogitsSubject
from neurozoo.testing.report import Kit

__all__ = ["LABEL_HEAD", "LabelHeadSubject"]

_LENGTH = 7


class LabelHeadSubject(LogitsSubject, LayoutSubject):
    """A label head under test."""

    forms = (
        layout_of(("audio", "vision"), "text", labels=6),
        layout_of(("audio", "vision"), "text", labels=2, hidden=10, heads=5),
        layout_of(("audio",), None, labels=1, hidden=9),
    )

    def made_up(self, form: Layout, masks: Masks = "mixed", seed: int = 0) -> Content:
        mask = None if masks == "none" else made_up_mask(_LENGTH, 2, seed)  # valid in pieces, as a fusion gives it
        if mask is not None and masks in ("absent", "empty"):
            mask[1] = False
        return made_up_sequence(_LENGTH, form.hidden, mask, seed)


def gives_logits(subject: LabelHeadSubject) -> None:
    """Logits ``[B, K]``, finite, for 1, 2 and 6 labels."""
    for setting in subject.settings():
        for masks in ("mixed", "none"):
            logits = subject.rows(setting.part(subject.made_up(setting.form, masks))).values
            wanted = [SAMPLES, setting.form.labels]
            if list(logits.shape) != wanted:
                raise ConformanceError(f"logits are {list(logits.shape)}, not {wanted}: {setting.where}")
            if not bool(torch.isfinite(logits).all()):
                raise ConformanceError(f"a logit is not finite: {setting.where}")


LABEL_HEAD = Kit(
    "label-head",
    LabelHeadSubject,
    {case.__name__: case for case in (gives_logits, *PADDING_CASES, *LEARNING_CASES, *HANDLING_CASES)},
    tiny=("gives_logits", "padding_does_not_matter"),
)
