"""What a task must do: steps that do not count change nothing, targets and answers have one form, names stand."""

from __future__ import annotations

import json
import math
import sys
from importlib import import_module

import numpy as np
import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from neurozoo.core.task import LOSS, Task
from neurozoo.errors import DataError
from neurozoo.testing.findings import ConformanceError, Findings, require
from neurozoo.testing.kits import Kit, cases_of
from neurozoo.testing.parts import parameters
from neurozoo.testing.parts.subject import hold

_OUTPUTS = ("a", "b", "c")


class TaskSubject(Findings):
    """A task under test."""

    def make(self, per_step: bool = False) -> Task:
        """The task of three outputs, prepared by made-up targets."""
        task: Task = self.candidate.target(_OUTPUTS, per_step, **self.candidate.params)
        task.prepare(task.made_up(40, generator=torch.Generator().manual_seed(1)))
        return task

    def drawn(self, task: Task, *lead: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Outputs ``[*lead, K]`` float64 and targets."""
        generator = torch.Generator().manual_seed(seed)
        outputs = torch.randn(*lead, len(_OUTPUTS), generator=generator, dtype=torch.float64)
        target = task.made_up(*lead, generator=generator)
        return outputs, target.double() if target.is_floating_point() else target

    def graded(self, task: Task, outputs: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient.

        Raises:
            ConformanceError: It is not 0-d, or has none.
        """
        outputs = outputs.detach().clone().requires_grad_()
        loss = task.loss(outputs, target, valid)
        fits = not loss.dim() and loss.requires_grad
        require(fits, f"the loss is {list(loss.shape)}, or has no gradient; give one number of the outputs")
        (gradient,) = torch.autograd.grad(loss, outputs)
        return loss.detach(), gradient


def names_are_defined(subject: TaskSubject) -> None:
    """Metrics have definitions, titles and names of their own; headline, selection and report section exist."""
    for task in (subject.make(), subject.make(True)):
        names = [metric.name for metric in task.metrics]
        own = names and LOSS not in names and len(set(names)) == len(names)
        require(own, f"its metrics are called {', '.join(names) or 'nothing'}; each needs its own name")
        lacking = [metric.name for metric in task.metrics if not metric.definition]
        require(not lacking, f"without a definition: {', '.join(lacking)}; say in a sentence what it is")
        unknown = [name for name in (*task.headline, task.selection) if name not in task.names]
        known = ", ".join(task.names)
        require(not unknown, f"headline and selection name {', '.join(unknown)}; there are: {known}")
        if task.section:
            module, _, function = task.section.partition(":")
            try:
                getattr(import_module(module), function)
            except (ImportError, AttributeError) as error:
                raise ConformanceError(f"its section {task.section} cannot be imported: {error}") from error
        subject.compared += len(names)


def made_up_targets_are_targets(subject: TaskSubject) -> None:
    """made_up gives targets that check_target takes, of the shape and dtype that it says; other shapes are refused."""
    for per_step, lead in ((False, (28,)), (True, (4, 7))):
        task = subject.make(per_step)
        target = subject.drawn(task, *lead)[1]
        drawn = task.made_up(*lead, generator=torch.Generator().manual_seed(0))
        got, want = (drawn.dtype, [*drawn.shape]), (task.target_dtype, [*lead, *task.target_shape])
        require(got == want, f"targets are {got[0]} {got[1]}, not {want[0]} {want[1]}")
        require((drawn != drawn.flatten()[0]).any(), "all made-up targets are one; draw them")
        task.check_target(target.numpy())
        for wrong in (target[..., None].numpy(), target.numpy().astype("U8")):
            try:
                task.check_target(wrong)
            except DataError:
                continue
            raise ConformanceError(f"check_target takes {wrong.dtype} {list(wrong.shape)}; refuse it by a DataError")
        subject.compared += drawn.numel()


def steps_are_answers(subject: TaskSubject) -> None:
    """Per step the loss is that of the steps that count, one by one, and an answer is a list of their answers."""
    steps, one = subject.make(True), subject.make()
    outputs, target = subject.drawn(steps, 3, 5)
    valid = torch.tensor([[True] * 5, [True, False, True, False, False], [False] * 5])
    for mask, rows in ((None, (outputs.flatten(0, 1), target.flatten(0, 1))), (valid, (outputs[valid], target[valid]))):
        hold(subject, steps.loss(outputs, target, mask), one.loss(*rows), "the loss per step", 1e-9)
    predicted = steps.predict(outputs)[0].numpy()
    got = steps.answer(predicted, steps.default_decision)
    want = {"steps": [one.answer(each, one.default_decision) for each in predicted]}
    require(got == want, "the answer per step is not the list of each step's answer under `steps`")


def steps_that_do_not_count_change_nothing(subject: TaskSubject) -> None:
    """Values that are not finite and wrong targets there reach neither loss nor gradient nor what is counted."""
    task = subject.make(True)
    outputs, target = subject.drawn(task, 3, 5)
    valid = torch.arange(5) < torch.tensor([5, 2, 0])[:, None]
    loss, gradient = subject.graded(task, outputs, target, valid)
    right = gradient[valid].any() and not gradient[~valid].any()
    require(right, "the gradient is not that of the steps that count")
    for junk in (math.nan, math.inf, 1e30):
        spoilt, wrong = outputs.clone(), target.clone()
        spoilt[~valid] = junk
        wrong[~valid] = junk if target.is_floating_point() else -1
        for got, want in zip(subject.graded(task, spoilt, wrong, valid), (loss, gradient), strict=True):
            hold(subject, got, want, f"{junk} in steps that do not count", 1e-9)
        counted = map(torch.equal, task.counted(spoilt, wrong, valid), task.counted(outputs, target, valid))
        require(all(counted), "`counted` gives steps that do not count")
    nothing, gradient = subject.graded(task, outputs, target, torch.zeros_like(valid))
    zero = not float(nothing) and not gradient.any()
    require(zero, f"where no step counts the loss is {float(nothing):g}, or has a gradient; make it 0")


def order_does_not_matter(subject: TaskSubject) -> None:
    """Loss, metrics and decision do not depend on the order of samples; two halves weigh as much as the whole."""
    task = subject.make()
    outputs, target = subject.drawn(task, 12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    hold(subject, task.loss(outputs[order], target[order]), task.loss(outputs, target), "another order", 1e-9)
    halves = (task.loss(outputs[:6], target[:6]) + task.loss(outputs[6:], target[6:])) / 2
    hold(subject, halves, task.loss(outputs, target), "two halves, whose gradients are accumulated", 1e-9)
    measured = []
    for places in (torch.arange(12), order):
        goals, predicted = target[places].numpy(), task.predict(outputs[places]).numpy()
        decision = task.choose(goals, predicted)
        measured.append((decision, task.measure(goals, predicted, decision)))
    (decision, metrics), (other, others) = measured
    differ = [name for name in metrics if not np.isclose(metrics[name], others[name], equal_nan=True)]
    changes = f"another order of samples changes {', '.join(differ) or 'the decision'}"
    require(decision == other and not differ, changes)


def the_gradient_is_that_of_the_loss(subject: TaskSubject) -> None:
    """Finite differences give the same gradient, and it runs where tensors have no values, as on a GPU."""
    task = subject.make(True)
    outputs, target = subject.drawn(task, 2, 3)
    valid = torch.tensor([[True, True, False], [True, False, False]])
    try:
        torch.autograd.gradcheck(lambda x: task.loss(x, target, valid), outputs.requires_grad_(), fast_mode=True)
    except GradcheckError as error:
        raise ConformanceError(f"the gradient is not that of the loss: {str(error).splitlines()[0]}") from error
    meta = [each.detach().to("meta") for each in (outputs, target, valid)]
    there = task.loss(*meta).is_meta and task.predict(meta[0]).is_meta
    require(there, "loss or prediction is not on the device of the outputs")


def metrics_are_measured(subject: TaskSubject) -> None:
    """Every metric is a number; a prediction that decides on the target is as good as any; of nothing all are NaN."""
    task = subject.make()
    outputs, target = subject.drawn(task, 30)
    goals, predicted = target.numpy(), task.predict(outputs).numpy()
    found = task.measure(goals, predicted, task.default_decision)
    numbers = found.keys() == task.definitions.keys() and all(isinstance(value, float) for value in found.values())
    require(numbers, "measure does not give a number for each metric")
    decided = task.decide(predicted, task.default_decision)
    shapes = f"{list(decided.shape)}, not the form of targets {list(goals.shape)}"
    require(decided.shape == goals.shape, f"decide gives {shapes}")
    task.check_target(decided.astype(goals.dtype))
    own = task.measure(decided.astype(goals.dtype), predicted, task.default_decision)
    better = task.score(own, task.selection) >= task.score(found, task.selection)
    require(better, f"{task.selection} is worse on the answers that were given than on others; see `better`")
    of_nothing = task.measure(goals[:0], predicted[:0], task.default_decision)
    require(all(map(math.isnan, of_nothing.values())), "a metric of no sample is not NaN")


def answers_and_state_are_json(subject: TaskSubject) -> None:
    """An answer, a decision and what a checkpoint keeps survive JSON; one that loads it predicts the same."""
    task = subject.make()
    outputs, target = subject.drawn(task, 8)
    predicted = task.predict(outputs).numpy()
    decision = task.choose(target.numpy(), predicted)
    for value in (task.answer(predicted[0], decision), decision, task.state()):
        same = isinstance(value, tuple) or json.loads(json.dumps(value)) == value
        require(same, f"{value!r} is another thing after JSON")
    fresh: Task = subject.candidate.target(_OUTPUTS, False, **subject.candidate.params)
    fresh.load_state(json.loads(json.dumps(task.state())))
    hold(subject, fresh.predict(outputs), task.predict(outputs), "a prediction after `load_state`", 1e-12)


def the_baseline_predicts(subject: TaskSubject) -> None:
    """The linear baseline gives predictions of each set, ``[m, K]`` and finite."""
    task = subject.make()
    features = np.random.default_rng(0).normal(size=(40, 5))
    goals = task.made_up(40, generator=torch.Generator().manual_seed(4)).numpy()
    for found, rows in zip(task.baseline(1.0, features, goals, [features[:6], features]), (6, 40), strict=True):
        shape = (rows, len(_OUTPUTS))
        fits = found.shape == shape and np.isfinite(found).all()
        require(fits, f"the baseline gives {list(found.shape)}, not {list(shape)} finite numbers")


TASK = Kit("task", TaskSubject, cases_of(sys.modules[__name__], parameters), tiny=("made_up_targets_are_targets",))
