"""What a loss must do: one finite value per answer or output, with a finite gradient, of its own answer alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from neurozoo.core.loss import Loss
from neurozoo.core.task import Task
from neurozoo.registry.registry import default_registry
from neurozoo.testing.findings import Findings, require
from neurozoo.testing.kits import Kit, cases_of
from neurozoo.testing.parts import parameters
from neurozoo.testing.parts.subject import hold

_ANSWERS = 6
_SCALES = (1.0, 60.0)
"""Of the outputs: as at the beginning of a training, and far beyond what a sigmoid can tell from 0 or 1."""


class LossSubject(Findings):
    """A loss under test, in float64, for each of its tasks and for one and three outputs."""

    def drawn(self, scale: float = 1.0) -> Iterator[tuple[Loss, Tensor, Tensor]]:
        """The loss with outputs ``[n, K]`` and targets."""
        loss: Loss = self.candidate.target(**self.candidate.params)
        for name in loss.tasks:
            for outputs in (("a", "b", "c"), ("a",)):
                task: Task = default_registry().resolve("task", name)(outputs)
                generator = torch.Generator().manual_seed(0)
                given = scale * torch.randn(_ANSWERS, len(outputs), generator=generator, dtype=torch.float64)
                target = task.made_up(_ANSWERS, generator=generator)
                self.at = f"{name}, {len(outputs)} outputs"
                yield loss, given, target.double() if target.is_floating_point() else target


def gives_losses(subject: LossSubject) -> None:
    """``[n, K]`` or ``[n, 1]``, finite with a finite gradient that is not 0, also for large outputs."""
    for scale in _SCALES:
        for loss, outputs, target in subject.drawn(scale):
            given = outputs.requires_grad_()
            found = loss(given, target)
            wanted = f"[{_ANSWERS}, {outputs.shape[1]}] or [{_ANSWERS}, 1]"
            fits = found.dim() == 2 and found.shape[0] == _ANSWERS and found.shape[1] in (1, outputs.shape[1])
            require(fits, f"it gives {list(found.shape)}, not {wanted}")
            require(torch.isfinite(found).all(), f"a loss is not finite where outputs are of size {scale:g}")
            (gradient,) = torch.autograd.grad(found.mean(), given)
            require(torch.isfinite(gradient).all(), f"a gradient is not finite where outputs are of size {scale:g}")
            require(scale > 1 or gradient.any(), "no output has a gradient")
            subject.compared += found.numel()


def answers_are_alone(subject: LossSubject) -> None:
    """An answer's loss does not depend on the other answers."""
    for loss, outputs, target in subject.drawn():
        together = loss(outputs, target)
        for i in range(_ANSWERS):
            hold(subject, loss(outputs[i : i + 1], target[i : i + 1])[0], together[i], f"answer {i} alone")


def dtypes_and_devices_are_kept(subject: LossSubject) -> None:
    """float32 and float64 in, the same out; on torch's ``meta`` device too."""
    for loss, outputs, target in subject.drawn():
        for dtype in (torch.float32, torch.float64):
            goals = target.float() if target.is_floating_point() else target
            found = loss(outputs.to(dtype), goals)
            require(found.dtype == dtype, f"{dtype} in and {found.dtype} out")
            away = loss(outputs.to("meta", dtype), goals.to("meta"))
            require(away.is_meta, f"the loss is on {away.device} while the outputs are not")
            subject.compared += 1


LOSS = Kit("loss", LossSubject, cases_of(sys.modules[__name__], parameters), tiny=("gives_losses",))
