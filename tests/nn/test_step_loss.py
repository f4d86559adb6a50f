"""The loss of each step's outputs: its definition, padding, and the term that it adds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from neurozoo.nn.step_loss import StepLoss
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel

TASK = Multiclass(("a", "b", "c"), label_smoothing=0.1)
OUTPUTS = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([2, 0])


def by_hand(outputs: Tensor, steps: list[int], share: float, level: float) -> Tensor:
    """The definition, step by step, for samples of these numbers of steps."""
    rows = [(outputs[t, b], TARGET[b]) for b, length in enumerate(steps) for t in range(length)]
    losses = torch.stack([TASK.loss(row[None], goal[None]) for row, goal in rows])
    far = torch.stack([(row - level).square().mean() for row, _ in rows])
    return (1 - share) * losses.mean() + share * far.mean()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_it_is_the_mean_over_valid_steps(share: float) -> None:
    loss = StepLoss(TASK, share, 1.5)
    torch.testing.assert_close(loss.of(OUTPUTS, TARGET), by_hand(OUTPUTS, [4, 4], share, 1.5))
    valid = torch.arange(4)[:, None] < torch.tensor([3, 1])
    padded = OUTPUTS.masked_fill(~valid[..., None], float("nan"))
    torch.testing.assert_close(loss.of(padded, TARGET, valid), by_hand(OUTPUTS, [3, 1], share, 1.5))
    assert not loss.of(OUTPUTS, TARGET, torch.zeros_like(valid)).any()


def test_its_term_and_the_loss_of_the_answer_add_up_to_it() -> None:
    loss = StepLoss(TASK, 0.2, 1.0).train()
    outputs = OUTPUTS.clone().requires_grad_()
    answer = outputs.mean(0)
    loss.keep(outputs, answer, None)
    (term,) = loss.losses(TARGET).values()
    torch.testing.assert_close(TASK.loss(answer, TARGET) + term, loss.of(outputs, TARGET))
    (other,) = loss.losses(TARGET.flip(0)).values()  # as of a batch that is mixed with itself in reverse
    torch.testing.assert_close(TASK.loss(answer, TARGET.flip(0)) + other, loss.of(outputs, TARGET.flip(0)))
    (term + other).backward()
    assert outputs.grad is not None
    assert outputs.grad.abs().sum() > 0


@pytest.mark.parametrize("training", [False, True])
def test_a_model_can_be_copied_after_an_evaluation_and_after_a_step(training: bool) -> None:
    loss = StepLoss(TASK, 0.2, 1.0).train(training)
    outputs = (OUTPUTS.clone().requires_grad_() * 1).exp()
    loss.keep(outputs, outputs.mean(0), None)
    if training:
        loss.after_step()
    copy.deepcopy(loss)


def test_it_takes_any_task_per_sample() -> None:
    task, target = Multilabel(("a", "b", "c")), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    valid = torch.arange(4)[:, None] < torch.tensor([2, 2])
    loss = StepLoss(task, 0.1, 0.0)
    torch.testing.assert_close(loss.of(OUTPUTS, target, valid), loss.of(OUTPUTS[:2], target))
