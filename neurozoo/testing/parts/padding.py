"""Cases on masks and on the batch: what a part must not see."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from neurozoo.core.interfaces import Tokens
from neurozoo.testing.findings import ConformanceError
from neurozoo.testing.parts.gradients import backward, leaves
from neurozoo.testing.parts.inputs import (
    SAMPLES,
    Masks,
    changed,
    each_sequence,
    other_padding,
    padded,
    take,
    with_mask,
)
from neurozoo.testing.parts.subject import PartSubject

__all__ = ["PADDING_CASES"]

_MASKS: tuple[Masks, ...] = ("mixed", "absent")


def padding_does_not_matter(subject: PartSubject) -> None:
    """Other values in padded rows, up to some 1e6, change no valid row of the output."""
    for setting in subject.settings():
        for masks in _MASKS:
            content = subject.made_up(setting.form, masks)
            got, want = setting.part(changed(content, other_padding)), setting.part(content)
            subject.hold_together(got, want, f"other values in padded rows, {setting.where}")


def more_padding_does_not_matter(subject: PartSubject) -> None:
    """More padded rows at either end change neither a valid row nor its position."""
    for setting in subject.settings():
        content = subject.made_up(setting.form)
        want = setting.part(content)
        for left, right in ((0, 3), (2, 0), (1, 2)):
            got = setting.part(changed(content, partial(padded, left=left, right=right)))
            subject.hold_together(got, want, f"{left} more padded rows before and {right} after, {setting.where}")


def no_mask_is_a_full_mask(subject: PartSubject) -> None:
    """Without masks every row counts, as with masks that leave nothing out."""
    for setting in subject.settings():
        content = subject.made_up(setting.form, "none")
        got, want = setting.part(content), setting.part(changed(content, with_mask))
        subject.hold_together(got, want, f"no masks, {setting.where}")


def absent_modalities_are_survived(subject: PartSubject) -> None:
    """A sample without a valid row in one modality, or in any, gives no NaN, neither forward nor backward."""
    for setting in subject.settings():
        for masks in ("absent", "empty"):
            content, found = leaves(subject.made_up(setting.form, masks))
            output = setting.part(content)
            x = output.x if isinstance(output, Tokens) else subject.rows(output).values
            where = f"a sample is {masks} in {'one' if masks == 'absent' else 'every'} sequence, {setting.where}"
            if not bool(torch.isfinite(x).all()):
                raise ConformanceError(f"the output is not finite: {where}")
            backward(subject.rows(output).values)
            for name, gradient in (*_parameter_gradients(setting.part), *((n, x.grad) for n, x in found.items())):
                if gradient is not None and not bool(torch.isfinite(gradient).all()):
                    raise ConformanceError(f"the gradient of {name} is not finite: {where}")


def samples_are_alone(subject: PartSubject) -> None:
    """A sample gives the same by itself, in another order and among others, in evaluation mode."""
    for setting in subject.settings():
        for masks in _MASKS:
            content = subject.made_up(setting.form, masks)
            together = setting.part(content)
            order = [2, 0, 3, 1]
            for samples in (order, *([i] for i in range(SAMPLES))):
                got = setting.part(changed(content, partial(take, samples=samples)))
                want = subject.samples_of(together, samples)
                subject.hold_together(got, want, f"samples {samples} of {SAMPLES}, {setting.where}")


def no_gradient_reaches_padding(subject: PartSubject) -> None:
    """The gradient of the valid rows is 0 at every padded row of the input."""
    for setting in subject.settings():
        content, found = leaves(subject.made_up(setting.form))
        backward(subject.rows(setting.part(content)).values)
        for name, sequence in each_sequence(content).items():
            gradient = found[name].grad
            if gradient is None or sequence.mask is None:
                continue
            if bool(gradient[~sequence.mask].any()):
                raise ConformanceError(f"a gradient reaches padded rows of {name}: {setting.where}")
            subject.compared += int((~sequence.mask).sum())


def _parameter_gradients(part: nn.Module) -> list[tuple[str, torch.Tensor | None]]:
    return [(name, parameter.grad) for name, parameter in part.named_parameters()]


PADDING_CASES: tuple[Callable[[PartSubject], None], ...] = (
    padding_does_not_matter,
    more_padding_does_not_matter,
    no_mask_is_a_full_mask,
    absent_modalities_are_survived,
    samples_are_alone,
    no_gradient_reaches_padding,
)
