"""Cases on gradients and modes: a part can be trained, and does not change otherwise."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from neurozoo.testing.findings import require
from neurozoo.testing.parts.inputs import Content, changed, each_sequence, leaves, longer, other_padding
from neurozoo.testing.parts.subject import (
    PartSubject,
    Setting,
    backward,
    each_setting,
    hold,
    same_state,
    without_dropout,
)


def gradients_reach_every_parameter(subject: PartSubject) -> None:
    """Each learnable parameter takes part in output or loss, for every layout; not all its gradients are 0."""
    moved: dict[str, bool] = {}
    for setting in subject.settings():
        for seed in (0, 1):
            content, _ = leaves(subject.made_up(setting.form, seed=seed))
            backward(subject.run(setting.part, content).values)
        setting.part.train()
        for term in subject.terms(setting, content).values():
            if term.requires_grad:
                term.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        for name, parameter in setting.part.named_parameters():
            if parameter.requires_grad:
                gradient = parameter.grad
                require(gradient is not None, f"no gradient reaches the parameter {name}: {setting.where}")
                assert gradient is not None
                finite = torch.isfinite(gradient).all()
                require(finite, f"the gradient of the parameter {name} is not finite: {setting.where}")
                moved[name] = moved.get(name, False) or bool(gradient.any())
                subject.compared += 1
    stuck = [name for name, ever in moved.items() if not ever]
    require(not stuck, f"the gradient is 0, whatever the layout, of: {', '.join(stuck)}")


@each_setting
def every_input_counts(subject: PartSubject, setting: Setting) -> None:
    """A gradient reaches what it is given: of each signal, or one of a modality's sequences, at its valid rows."""
    content, found = leaves(subject.made_up(setting.form))
    backward(subject.run(setting.part, content).values)
    counts: dict[str, bool] = {}
    for name, sequence in each_sequence(content).items():
        if name not in found:  # token numbers have none
            continue
        gradient, owner = found[name].grad, name.partition(".")[0]
        reached = gradient is not None and bool(gradient[... if sequence.mask is None else sequence.mask].any())
        counts[owner] = counts.get(owner, False) or reached
    unused = [owner for owner, reached in counts.items() if not reached]
    require(not unused, f"{', '.join(unused)} does not count in the output")
    subject.compared += len(counts)


@each_setting
def evaluation_leaves_no_trace(subject: PartSubject, setting: Setting) -> None:
    """In evaluation mode the same input gives the same output, and changes no buffer, input or mode."""
    part, content = setting.part, subject.made_up(setting.form)
    given = {name: sequence.x.clone() for name, sequence in each_sequence(content).items()}
    before = _copied(part)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = subject.run(part, content)
        part(subject.made_up(setting.form, "none", seed=7))
        torch.manual_seed(2)
        again = subject.run(part, content)
    subject.hold_together(again, first, "the same input twice")
    same_state(_copied(part), before, "changed by a forward in evaluation mode")
    same_state({name: each.x for name, each in each_sequence(content).items()}, given, "it writes into its input")
    require(not part.training, "a forward left the evaluation mode")


@each_setting
def training_mode_works(subject: PartSubject, setting: Setting) -> None:
    """Training, with dropout, gives finite outputs and gradients; evaluation afterwards is steady again."""
    part = setting.part.train()
    content, _ = leaves(subject.made_up(setting.form))
    for seed in range(3):
        part.zero_grad(set_to_none=True)
        values = _seeded(part, content, subject, seed)
        require(torch.isfinite(values).all(), "in training mode the output is not finite")
        backward(values)
        for name, parameter in part.named_parameters():
            finite = parameter.grad is None or torch.isfinite(parameter.grad).all()
            require(finite, f"in training mode the gradient of {name} is not finite")
    part.eval()
    once, again = subject.run(part, content), subject.run(part, content)
    subject.hold_together(once, again, "evaluation after training")


@each_setting
def training_sees_no_padding(subject: PartSubject, setting: Setting) -> None:
    """In training mode, too, neither padded values nor their number reach valid rows and running statistics."""
    content = subject.made_up(setting.form)
    _same_training(subject, setting.part, content, changed(content, other_padding), "other values")
    steady = without_dropout(setting.part)
    if torch.equal(*(_seeded(copy.deepcopy(steady), content, subject, seed) for seed in (3, 4))):
        # Only then: dropout draws by shape, and more padding is another shape.
        _same_training(subject, steady, content, longer(content, 1, 2), "more rows")


def _same_training(subject: PartSubject, part: nn.Module, content: Content, other: Content, what: str) -> None:
    """What counts of the output, and all buffers afterwards, are the same for two contents."""
    one, two = (copy.deepcopy(part).train() for _ in range(2))
    want, got = _seeded(one, content, subject, 3), _seeded(two, other, subject, 3)
    hold(subject, got, want, f"in training mode, padding with {what}")
    after = dict(two.named_buffers())
    for name, value in one.named_buffers():
        if value.is_floating_point():
            hold(subject, after[name], value, f"{name} after training on padding with {what}")


def _seeded(part: nn.Module, content: Content, subject: PartSubject, seed: int) -> Tensor:
    """What counts of the output, its dropout fixed by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return subject.run(part, content).values


def _copied(part: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, those that no checkpoint holds included."""
    return {name: value.detach().clone() for name, value in (*part.named_parameters(), *part.named_buffers())}
