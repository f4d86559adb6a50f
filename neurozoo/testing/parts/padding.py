"""Cases on masks and on the batch: what a part must not see."""

from __future__ import annotations

import math
from functools import partial

import torch

from neurozoo.core.multimodal import Tokens
from neurozoo.core.signals import Batch
from neurozoo.testing.findings import require
from neurozoo.testing.parts.inputs import (
    SAMPLES,
    Masks,
    changed,
    each_sequence,
    leaves,
    longer,
    of_samples,
    other_padding,
    with_mask,
)
from neurozoo.testing.parts.subject import PartSubject, Setting, backward, each_setting

_MASKS: tuple[Masks, ...] = ("mixed", "absent")


@each_setting
def padding_does_not_matter(subject: PartSubject, setting: Setting) -> None:
    """Other values in padded rows change no valid row of the output: up to some 1e6, and of a model's input NaN."""
    for masks in _MASKS:
        content = subject.made_up(setting.form, masks)
        want = subject.run(setting.part, content)
        for junk in (1e6, math.nan) if isinstance(content, Batch) else (1e6,):
            got = subject.run(setting.part, changed(content, partial(other_padding, junk=junk)))
            subject.hold_together(got, want, "other values in padded rows")


@each_setting
def more_padding_does_not_matter(subject: PartSubject, setting: Setting) -> None:
    """More padded rows at either end change neither a valid row nor its position."""
    content = subject.made_up(setting.form)
    want = subject.run(setting.part, content)
    for left, right in ((0, 3), (2, 0), (1, 2)):
        got = subject.run(setting.part, longer(content, left, right))
        subject.hold_together(got, want, f"{left} more padded rows before and {right} after")


@each_setting
def no_mask_is_a_full_mask(subject: PartSubject, setting: Setting) -> None:
    """Without masks every row counts, as with masks that leave nothing out."""
    content = subject.made_up(setting.form, "none")
    got, want = (subject.run(setting.part, each) for each in (content, changed(content, with_mask)))
    subject.hold_together(got, want, "no masks")


@each_setting
def absent_signals_are_survived(subject: PartSubject, setting: Setting) -> None:
    """A sample without a valid row in one signal, or in any, gives no NaN, neither forward nor backward."""
    for masks in ("absent", "empty"):
        content, found = leaves(subject.made_up(setting.form, masks))
        output = setting.part(content)
        where = f"where a sample is {masks} in {'one' if masks == 'absent' else 'every'} sequence"
        x = output.x if isinstance(output, Tokens) else output
        require(torch.isfinite(x).all(), f"the output is not finite {where}")
        backward(subject.rows(output, content).values)
        gradients = {name: each.grad for name, each in (*setting.part.named_parameters(), *found.items())}
        for name, gradient in gradients.items():
            finite = gradient is None or torch.isfinite(gradient).all()
            require(finite, f"the gradient of {name} is not finite {where}")


@each_setting
def samples_are_alone(subject: PartSubject, setting: Setting) -> None:
    """A sample gives the same alone, in another order and among others, in evaluation mode."""
    for masks in _MASKS:
        content = subject.made_up(setting.form, masks)
        together = subject.run(setting.part, content)
        for samples in ([2, 0, 3, 1], *([i] for i in range(SAMPLES))):
            got = subject.run(setting.part, of_samples(content, samples))
            subject.hold_together(got, together.of(samples), f"samples {samples} of {SAMPLES}")


@each_setting
def no_gradient_reaches_padding(subject: PartSubject, setting: Setting) -> None:
    """The gradient of the valid rows is 0 at every padded row of the input."""
    content, found = leaves(subject.made_up(setting.form))
    backward(subject.run(setting.part, content).values)
    for name, sequence in each_sequence(content).items():
        gradient = found[name].grad if name in found else None
        if gradient is not None and sequence.mask is not None:
            require(not gradient[~sequence.mask].any(), f"a gradient reaches padded rows of {name}")
            subject.compared += int((~sequence.mask).sum())
