"""The loss of each step's outputs, as a term that a model adds to the loss of its answer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from neurozoo.core.model import Trained
from neurozoo.core.task import Task

__all__ = ["StepLoss"]


class StepLoss(Trained):
    """Temporal efficient training: the loss of each step's outputs, in place of that of the answer read from them all.

    ``(1 - share) mean over t of loss(outputs_t) + share * mean((outputs - level)^2)``, over valid steps (Deng et al.
    2022, equation 11). A task per sample.

    Args:
        task: Whose loss it is.
        share: lambda, between 0 and 1, dimensionless.
        level: phi, which the outputs are drawn to, in the unit of the outputs.
    """

    def __init__(self, task: Task, share: float, level: float) -> None:
        super().__init__()
        self.task, self.share, self.level = task, share, level
        self._kept: tuple[Tensor, Tensor, Tensor | None] | None = None

    def keep(self, outputs: Tensor, answer: Tensor, valid: Tensor | None) -> None:
        """Keep a forward's outputs until the optimiser's step; :meth:`losses` may need them for several targets.

        Args:
            outputs: ``[T, B, K]``.
            answer: What was read from them, ``[B, K]``.
            valid: ``[T, B]``; None if all steps are valid.
        """
        if not self.training:  # a graph that stays would keep the model from being copied
            outputs, answer = outputs.detach(), answer.detach()
        self._kept = outputs, answer, valid

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        """Return what the loss of the answer, which is added elsewhere, lacks of that of each step."""
        assert self._kept is not None
        outputs, answer, valid = self._kept
        return {"each_step": self.of(outputs, target, valid) - self.task.loss(answer, target)}

    def after_step(self) -> None:
        self._kept = None

    def of(self, outputs: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the whole loss, 0-d; 0 if no step is valid.

        Args:
            outputs: ``[T, B, K]``.
            target: ``[B, ...]``, of the task.
            valid: ``[T, B]``; None if all steps are valid.
        """
        rows, goals = outputs.flatten(0, 1), target.expand(len(outputs), *target.shape).flatten(0, 1)
        if valid is None:
            return (1 - self.share) * self.task.loss(rows, goals) + self.share * (rows - self.level).square().mean()
        # Mask instead of index: rows[keep] would make a GPU synchronise.
        keep = valid.flatten()[:, None]
        rows, steps = rows.masked_fill(~keep, 0.0), keep.sum().clamp(min=1)
        losses = self.task.training_objective(rows, goals, "none").flatten(1).mean(1, keepdim=True)
        far = (rows - self.level).square().mean(1, keepdim=True)
        return (((1 - self.share) * losses + self.share * far) * keep).sum() / steps
