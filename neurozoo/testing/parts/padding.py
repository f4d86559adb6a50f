"""Cases on masks and on the batch: what a part must not see."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from neurozoo.core.multimodal import Tokens
from neurozoo.core.signals import Batch
from neurozoo.testing.findings import ConformanceError
from neurozoo.testing.parts.inputs import (
    SAMPLES,
    Content,
    Masks,
    changed,
    each_sequence,
    longer,
    of_samples,
    other_padding,
    with_mask,
)
from neurozoo.testing.parts.subject import PartSubject, backward

__all__ = ["PADDING_CASES", "leaves"]

_MASKS: tuple[Masks, ...] = ("mixed", "absent")


def padding_does_not_matter(subject: PartSubject) -> None:
    """Other values in padded rows change no valid row of the output: up to some 1e6, and of a model's input NaN."""
    for setting in subject.settings():
        for masks in _MASKS:
            content = subject.made_up(setting.form, masks)
            want = subject.run(setting.part, content)
            for junk in (1e6, math.nan) if isinstance(content, Batch) else (1e6,):
                got = subject.run(setting.part, changed(content, partial(other_padding, junk=junk)))
                subject.hold_together(got, want, f"other values in padded rows, {setting.where}")


def more_padding_does_not_matter(subject: PartSubject) -> None:
    """More padded rows at either end change neither a valid row nor its position."""
    for setting in subject.settings():
        content = subject.made_up(setting.form)
        want = subject.run(setting.part, content)
        for left, right in ((0, 3), (2, 0), (1, 2)):
            got = subject.run(setting.part, longer(content, left, right))
            subject.hold_together(got, want, f"{left} more padded rows before and {right} after, {setting.where}")


def no_mask_is_a_full_mask(subject: PartSubject) -> None:
    """Without masks every row counts, as with masks that leave nothing out."""
    for setting in subject.settings():
        content = subject.made_up(setting.form, "none")
        got, want = (subject.run(setting.part, each) for each in (content, changed(content, with_mask)))
        subject.hold_together(got, want, f"no masks, {setting.where}")


def absent_signals_are_survived(subject: PartSubject) -> None:
    """A sample without a valid row in one signal, or in any, gives no NaN, neither forward nor backward."""
    for setting in subject.settings():
        for masks in ("absent", "empty"):
            content, found = leaves(subject.made_up(setting.form, masks))
            output = setting.part(content)
            x = output.x if isinstance(output, Tokens) else output
            where = f"a sample is {masks} in {'one' if masks == 'absent' else 'every'} sequence, {setting.where}"
            if not bool(torch.isfinite(x).all()):
                raise ConformanceError(f"the output is not finite: {where}")
            backward(subject.rows(output, content).values)
            gradients = {name: parameter.grad for name, parameter in setting.part.named_parameters()}
            for name, gradient in (gradients | {name: x.grad for name, x in found.items()}).items():
                if gradient is not None and not bool(torch.isfinite(gradient).all()):
                    raise ConformanceError(f"the gradient of {name} is not finite: {where}")


def samples_are_alone(subject: PartSubject) -> None:
    """A sample gives the same alone, in another order and among others, in evaluation mode."""
    for setting in subject.settings():
        for masks in _MASKS:
            content = subject.made_up(setting.form, masks)
            together = subject.run(setting.part, content)
            for samples in ([2, 0, 3, 1], *([i] for i in range(SAMPLES))):
                got = subject.run(setting.part, of_samples(content, samples))
                subject.hold_together(got, together.of(samples), f"samples {samples} of {SAMPLES}, {setting.where}")


def no_gradient_reaches_padding(subject: PartSubject) -> None:
    """The gradient of the valid rows is 0 at every padded row of the input."""
    for setting in subject.settings():
        content, found = leaves(subject.made_up(setting.form))
        backward(subject.run(setting.part, content).values)
        for name, sequence in each_sequence(content).items():
            gradient = found[name].grad if name in found else None
            if gradient is None or sequence.mask is None:
                continue
            if bool(gradient[~sequence.mask].any()):
                raise ConformanceError(f"a gradient reaches padded rows of {name}: {setting.where}")
            subject.compared += int((~sequence.mask).sum())


def leaves(content: Content) -> tuple[Content, dict[str, torch.Tensor]]:
    """The same content with its floating tensors as leaves of a graph, and these by the names of each_sequence."""

    def leaf(sequence: Tokens) -> Tokens:
        x = sequence.x.detach().clone()
        return sequence.with_x(x.requires_grad_() if x.is_floating_point() else x)

    own = changed(content, leaf)
    return own, {name: each.x for name, each in each_sequence(own).items() if each.x.requires_grad}


PADDING_CASES: tuple[Callable[[PartSubject], None], ...] = (
    padding_does_not_matter,
    more_padding_does_not_matter,
    no_mask_is_a_full_mask,
    absent_signals_are_survived,
    samples_are_alone,
    no_gradient_reaches_padding,
)
