"""Cases on what a part does around a training: its terms of the loss, and what it learns of the targets."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from neurozoo.core.model import Trained, trained_modules
from neurozoo.testing.findings import require
from neurozoo.testing.parts.inputs import SAMPLES, Masks, changed, leaves, of_samples, other_padding
from neurozoo.testing.parts.subject import (
    LayoutSubject,
    Setting,
    each_setting,
    hold,
    same_state,
    targets,
    through_a_file,
    without_dropout,
)

_MASKS: tuple[Masks, ...] = ("mixed", "none", "absent", "empty")
_LOGGED = ("loss", "rate", "threshold")
"""Names of other values of a step."""


@each_setting
def losses_are_terms(subject: LayoutSubject, setting: Setting) -> None:
    """``losses`` gives finite 0-d terms with finite gradients, the same names each time; none in evaluation."""
    names: set[str] | None = None
    for masks in _MASKS:
        for samples in (range(SAMPLES), [1]):
            content, found = leaves(of_samples(subject.made_up(setting.form, masks), list(samples)))
            setting.part.train().zero_grad(set_to_none=True)
            terms: dict[str, Tensor] = {}
            subject.run(setting.part, content)
            for _, module in trained_modules(setting.part):
                terms |= module.losses(targets(setting.form)[list(samples)])
            require(not terms.keys() & set(_LOGGED), f"{', '.join(_LOGGED)} are names of other values: {sorted(terms)}")
            names = set(terms) if names is None else names
            require(set(terms) == names, f"the terms are {sorted(terms)}, and were {sorted(names)}")
            where = f"where the masks are {masks!r} and the samples {list(samples)}"
            for name, term in terms.items():
                require(not term.dim(), f"the term {name} is {list(term.shape)}, not 0-d")
                require(bool(torch.isfinite(term)), f"the term {name} is {float(term.detach())} {where}")
                if term.requires_grad:
                    term.backward(retain_graph=True)  # type: ignore[no-untyped-call]
                subject.compared += 1
            for name, value in (*setting.part.named_parameters(), *found.items()):
                finite = value.grad is None or torch.isfinite(value.grad).all()
                require(finite, f"the terms' gradient of {name} is not finite {where}")
    setting.part.eval()
    with torch.no_grad():
        left = subject.terms(setting, subject.made_up(setting.form))
    require(not any(term.requires_grad for term in left.values()), "a forward in evaluation leaves a graph for losses")


@each_setting
def losses_see_no_padding(subject: LayoutSubject, setting: Setting) -> None:
    """Values in padded rows change no term of the loss."""
    steady = Setting(setting.form, setting.where, without_dropout(setting.part))
    for masks in ("mixed", "absent"):
        content = subject.made_up(setting.form, masks)
        want = subject.terms(steady, content)
        got = subject.terms(steady, changed(content, other_padding))
        for name, term in want.items():
            hold(subject, got[name], term, f"the term {name} with other values in padded rows")


@each_setting
def prepared_once_and_kept(subject: LayoutSubject, setting: Setting) -> None:
    """What ``prepare`` learns of the targets is finite, in buffers, the same a second time, and in a checkpoint."""
    modules = [each for _, each in trained_modules(setting.part) if type(each).prepare is not Trained.prepare]
    if not modules:
        return
    target, content = targets(setting.form), subject.made_up(setting.form)
    learnt = {name: value.detach().clone() for name, value in setting.part.named_parameters()}
    with torch.no_grad():
        for module in modules:
            module.prepare(target)
        once = copy.deepcopy(setting.part.state_dict())
        for module in modules:
            module.prepare(target)
    same_state(setting.part.state_dict(), once, "prepared a second time")
    same_state(dict(setting.part.named_parameters()), learnt, "prepare changes a parameter")
    want = subject.run(setting.part, content)
    require(bool(torch.isfinite(want.values).all()), "after prepare an output is not finite")
    other = through_a_file(setting.part, subject.make(setting.form, seed=1))
    subject.hold_together(subject.run(other, content), want, "prepared, and loaded from a checkpoint")
