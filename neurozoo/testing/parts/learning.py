"""Cases on gradients and modes: whether a part can be trained, and keeps still when it is not."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from neurozoo.testing.findings import ConformanceError
from neurozoo.testing.parts.inputs import Content, changed, each_sequence, longer, other_padding
from neurozoo.testing.parts.padding import leaves
from neurozoo.testing.parts.subject import PartSubject, backward, hold, same_state

__all__ = ["LEARNING_CASES", "without_dropout"]


def gradients_reach_every_parameter(subject: PartSubject) -> None:
    """Each learnable parameter takes part, for every layout, and its gradient is not 0 for all of them."""
    moved: dict[str, bool] = {}
    for setting in subject.settings():
        for seed in (0, 1):
            content, _ = leaves(subject.made_up(setting.form, seed=seed))
            backward(subject.run(setting.part, content).values)
        for name, parameter in setting.part.named_parameters():
            if not parameter.requires_grad:
                continue
            if parameter.grad is None:
                raise ConformanceError(f"no gradient reaches the parameter {name}: {setting.where}")
            if not bool(torch.isfinite(parameter.grad).all()):
                raise ConformanceError(f"the gradient of the parameter {name} is not finite: {setting.where}")
            moved[name] = moved.get(name, False) or bool(parameter.grad.any())
            subject.compared += 1
    stuck = [name for name, ever in moved.items() if not ever]
    if stuck:
        raise ConformanceError(f"the gradient is 0, whatever the layout, of: {', '.join(stuck)}")


def every_input_counts(subject: PartSubject) -> None:
    """A gradient reaches what it is given: of each signal, or one of a modality's sequences, at its valid rows."""
    for setting in subject.settings():
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
        if unused:
            raise ConformanceError(f"{', '.join(unused)} does not count in the output: {setting.where}")
        subject.compared += len(counts)


def evaluation_leaves_no_trace(subject: PartSubject) -> None:
    """In evaluation mode the same input gives the same output, and changes no buffer, input or mode."""
    for setting in subject.settings():
        part, content = setting.part, subject.made_up(setting.form)
        given = {name: sequence.x.clone() for name, sequence in each_sequence(content).items()}
        before = _copied(part)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            first = subject.run(part, content)
            part(subject.made_up(setting.form, "none", seed=7))
            torch.manual_seed(2)
            again = subject.run(part, content)
        subject.hold_together(again, first, f"the same input twice, {setting.where}")
        same_state(_copied(part), before, f"changed by a forward in evaluation mode, {setting.where}")
        written = [
            name for name, sequence in each_sequence(content).items() if not torch.equal(sequence.x, given[name])
        ]
        if written:
            raise ConformanceError(f"it writes into its input {', '.join(written)}: {setting.where}")
        if part.training:
            raise ConformanceError(f"a forward left the evaluation mode: {setting.where}")


def training_mode_works(subject: PartSubject) -> None:
    """Training, with dropout, gives finite outputs and gradients; evaluation afterwards is steady again."""
    for setting in subject.settings():
        part = setting.part.train()
        content, _ = leaves(subject.made_up(setting.form))
        for seed in range(3):
            part.zero_grad(set_to_none=True)
            values = _seeded(part, content, subject, seed)
            if not bool(torch.isfinite(values).all()):
                raise ConformanceError(f"in training mode the output is not finite: {setting.where}")
            backward(values)
            bad = [
                n for n, p in part.named_parameters() if p.grad is not None and not bool(torch.isfinite(p.grad).all())
            ]
            if bad:
                raise ConformanceError(f"in training mode the gradient of {bad[0]} is not finite: {setting.where}")
        part.eval()
        once, again = subject.run(part, content), subject.run(part, content)
        subject.hold_together(once, again, f"evaluation after training, {setting.where}")


def training_sees_no_padding(subject: PartSubject) -> None:
    """In training mode, too, neither padded values nor their number reach valid rows and running statistics."""
    for setting in subject.settings():
        content = subject.made_up(setting.form)
        _same_training(
            subject, setting.part, content, changed(content, other_padding), f"other values, {setting.where}"
        )
        steady = without_dropout(setting.part)
        if torch.equal(*(_seeded(copy.deepcopy(steady), content, subject, seed) for seed in (3, 4))):
            # Only then: dropout draws by shape, and more padding is another shape.
            _same_training(subject, steady, content, longer(content, 1, 2), f"more rows, {setting.where}")


def _same_training(subject: PartSubject, part: nn.Module, content: Content, other: Content, where: str) -> None:
    """What counts of the output, and all buffers afterwards, are the same for two contents."""
    one, two = (copy.deepcopy(part).train() for _ in range(2))
    want, got = _seeded(one, content, subject, 3), _seeded(two, other, subject, 3)
    hold(subject, got, want, f"in training mode, padding with {where}")
    after = dict(two.named_buffers())
    for name, value in one.named_buffers():
        if value.is_floating_point():
            hold(subject, after[name], value, f"{name} after training on padding with {where}")


def without_dropout(part: nn.Module) -> nn.Module:
    """A copy in training mode whose dropout layers let everything pass."""
    steady = copy.deepcopy(part).train()
    for module in steady.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return steady


def _seeded(part: nn.Module, content: Content, subject: PartSubject, seed: int) -> Tensor:
    """What counts of the output, its dropout fixed by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return subject.run(part, content).values


def _copied(part: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, those that no checkpoint holds included."""
    return {name: value.detach().clone() for name, value in (*part.named_parameters(), *part.named_buffers())}


LEARNING_CASES: tuple[Callable[[PartSubject], None], ...] = (
    gradients_reach_every_parameter,
    every_input_counts,
    evaluation_leaves_no_trace,
    training_mode_works,
    training_sees_no_padding,
)
