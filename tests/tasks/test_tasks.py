"""What holds for every task: steps that do not count, order, errors, names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.task import Task
from neurozoo.errors import CheckpointError, DataError, UnknownNameError
from neurozoo.recipe.params import component_params
from neurozoo.tasks import losses
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression

NAMES = ("a", "b", "c")
Make = Callable[..., Task]


def made(kind: type[Task], **params: Any) -> Make:
    return lambda per_step=True: kind(NAMES, per_step, **params)  # type: ignore[call-arg]


TASKS = {
    "multilabel": made(Multilabel),
    "multilabel, focal, balanced": made(Multilabel, loss="focal", weights="balanced", label_smoothing=0.1),
    "multiclass": made(Multiclass),
    "multiclass, smoothed, given": made(Multiclass, label_smoothing=0.2, weights=(1.0, 0.5, 3.0)),
    "multiclass, focal, balanced": made(Multiclass, loss="focal", gamma=0.5, weights="balanced"),
    "multiclass, squared, balanced": made(Multiclass, loss="squared", weights="balanced", label_smoothing=0.1),
    "regression": made(Regression),
    "regression, huber": made(Regression, loss="huber", delta=0.3, standardise=False),
    "regression, mae": made(Regression, loss="mae"),
}
every_task = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS.keys())


def batch(task: Task, seed: int, *lead: int) -> tuple[Tensor, Tensor]:
    """Outputs and targets ``[*lead, ...]``; the task has seen the targets of a training split."""
    random = torch.Generator().manual_seed(seed)

    def targets(*lead: int) -> Tensor:
        drawn = task.made_up(*lead, generator=random)
        return drawn * 4 + 2 if isinstance(task, Regression) else drawn

    task.prepare(targets(40))
    return torch.randn(*lead, 3, generator=random), targets(*lead)


def loss_and_gradient(
    task: Task, outputs: Tensor, target: Tensor, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    outputs = outputs.clone().requires_grad_()
    loss = task.loss(outputs, target, valid)
    assert loss.dim() == 0
    loss.backward()
    assert outputs.grad is not None
    return loss.detach(), outputs.grad


@every_task
@given(seed=st.integers(0, 10**6), b=st.integers(1, 4), length=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_the_loss_per_step_is_that_of_the_steps_one_by_one(make: Make, seed: int, b: int, length: int) -> None:
    steps = make()
    outputs, target = batch(steps, seed, b, length)
    one = make(per_step=False)
    batch(one, seed)  # sees the same training split
    flat = one.loss(outputs.flatten(0, 1), target.flatten(0, 1))
    assert torch.equal(steps.loss(outputs, target), flat)
    every = torch.ones(b, length, dtype=torch.bool)
    torch.testing.assert_close(steps.loss(outputs, target, every), flat)
    valid = torch.rand(b, length, generator=torch.Generator().manual_seed(seed)) < 0.6
    if valid.any():
        chosen = one.loss(outputs[valid], target[valid])
        torch.testing.assert_close(steps.loss(outputs, target, valid), chosen)


@every_task
@pytest.mark.parametrize("rubbish", [math.nan, math.inf, 1e30])
def test_steps_that_do_not_count_change_nothing(make: Make, rubbish: float) -> None:
    task = make()
    outputs, target = batch(task, 7, 3, 5)
    valid = torch.arange(5) < torch.tensor([5, 2, 0])[:, None]
    spoilt, wrong = outputs.clone(), target.clone()
    spoilt[~valid] = rubbish
    wrong[~valid] = rubbish if target.is_floating_point() else -1
    loss, gradient = loss_and_gradient(task, outputs, target, valid)
    other, other_gradient = loss_and_gradient(task, spoilt, wrong, valid)
    assert torch.equal(other, loss)
    assert torch.equal(other_gradient, gradient)
    assert not gradient[~valid].any()
    assert gradient[valid].any()
    for x, y in zip(task.counted(spoilt, wrong, valid), task.counted(outputs, target, valid), strict=True):
        assert torch.equal(x, y)


@every_task
def test_more_padding_changes_nothing(make: Make) -> None:
    task = make()
    outputs, target = batch(task, 8, 2, 4)
    valid = torch.arange(4) < torch.tensor([4, 2])[:, None]
    longer = [torch.cat([x, torch.full_like(x[:, :3], 9)], dim=1) for x in (outputs, target)]
    more = torch.cat([valid, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    expected, gradient = loss_and_gradient(task, outputs, target, valid)
    found, longer_gradient = loss_and_gradient(task, *longer, more)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(longer_gradient[:, :4], gradient)


@every_task
def test_a_batch_in_which_nothing_counts_has_no_loss_and_no_gradient(make: Make) -> None:
    task = make()
    outputs, target = batch(task, 9, 2, 3)
    loss, gradient = loss_and_gradient(task, outputs, target, torch.zeros(2, 3, dtype=torch.bool))
    assert float(loss) == 0.0
    assert not gradient.any()


@every_task
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_the_order_of_samples_changes_nothing(make: Make, seed: int, n: int) -> None:
    task = make(per_step=False)
    outputs, target = batch(task, seed, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(task.loss(outputs[order], target[order]), task.loss(outputs, target))
    predicted = task.predict(outputs)
    torch.testing.assert_close(task.predict(outputs[order]), predicted[order])
    decision = task.choose(target.numpy(), predicted.numpy())
    assert task.choose(target[order].numpy(), predicted[order].numpy()) == decision
    expected = task.measure(target.numpy(), predicted.numpy(), decision)
    found = task.measure(target[order].numpy(), predicted[order].numpy(), decision)
    assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)


@every_task
def test_two_halves_weigh_as_much_as_the_whole(make: Make) -> None:
    """So that gradients may be accumulated and shared between processes."""
    task = make(per_step=False)
    outputs, target = batch(task, 10, 8)
    halves = (task.loss(outputs[:4], target[:4]) + task.loss(outputs[4:], target[4:])) / 2
    torch.testing.assert_close(halves, task.loss(outputs, target))


@every_task
def test_the_gradient_is_that_of_the_loss(make: Make) -> None:
    task = make()
    outputs, target = batch(task, 11, 2, 3)
    valid = torch.tensor([[True, True, False], [True, False, False]])
    wide = target.double() if target.is_floating_point() else target
    assert torch.autograd.gradcheck(
        lambda x: task.loss(x, wide, valid), outputs.double().requires_grad_(), fast_mode=True
    )


@every_task
def test_a_step_follows_the_outputs_device_and_reads_no_value(make: Make) -> None:
    """Tensors on ``meta`` have no values: reading one, as synchronising with a GPU does, raises."""
    task = make()
    outputs, target = (x.to("meta") for x in batch(task, 15, 2, 3))
    valid = torch.ones(2, 3, dtype=torch.bool, device="meta")
    for loss in (task.loss(outputs, target, valid), task.loss(outputs, target)):
        assert (loss.device.type, loss.shape) == ("meta", ())
    assert task.predict(outputs).device.type == "meta"


@every_task
def test_a_right_answer_scores_best(make: Make) -> None:
    task = make(per_step=False)
    outputs, target = batch(task, 12, 30)
    y = target.numpy()
    if isinstance(task, Multilabel):
        y[~y.any(1), 0] = 1  # the published accuracy is 0 for a sample without labels, whatever is said
    perfect = np.eye(3)[y] if isinstance(task, Multiclass) else y.astype(np.float64)
    best = task.measure(y, perfect, task.choose(y, perfect))
    worse = task.measure(y, task.predict(outputs).numpy(), task.default_decision)
    for name in best:
        assert task.score(best, name) >= task.score(worse, name), name
        ideal = {"higher": 1.0, "lower": 0.0}[task.better(name)]
        assert best[name] == pytest.approx(ideal, abs=1e-9), name
    assert np.array_equal(task.decide(perfect, task.default_decision), y)


@every_task
def test_metrics_of_nothing_are_not_defined(make: Make) -> None:
    task = make()
    outputs, target = batch(task, 13, 2, 3)
    rows, goals = task.counted(outputs, target, torch.zeros(2, 3, dtype=torch.bool))
    found = task.measure(goals.numpy(), rows.numpy(), task.choose(goals.numpy(), rows.numpy()))
    assert found.keys() == task.definitions.keys()
    assert all(math.isnan(value) for value in found.values())


@every_task
def test_its_names(make: Make) -> None:
    task = make()
    assert task.names[0] == "loss"
    assert set(task.headline) <= set(task.names)
    assert task.selection in task.names
    assert len(set(task.names)) == len(task.names)
    assert all(task.definitions.values())
    assert all(metric.title and "_" not in metric.title for metric in task.metrics)
    assert task.score({"loss": 2.0}, "loss") == -2.0
    with pytest.raises(UnknownNameError, match="did you mean"):
        task.score({}, task.selection + "s")


@every_task
def test_made_up_targets_are_targets(make: Make) -> None:
    for task, lead in ((make(), (4, 7)), (make(per_step=False), (28,))):
        drawn = task.made_up(*lead, generator=torch.Generator().manual_seed(0))
        assert drawn.dtype is task.target_dtype
        assert drawn.shape == (*lead, *task.target_shape)
        task.check_target(drawn.numpy())
        assert len(drawn.unique()) > 1
        assert torch.equal(drawn, task.made_up(*lead, generator=torch.Generator().manual_seed(0)))


@every_task
def test_some_of_the_metrics(make: Make) -> None:
    task = make(per_step=False)
    outputs, target = batch(task, 14, 20)
    given = target.numpy(), task.predict(outputs).numpy(), task.default_decision
    every = task.measure(*given)
    assert task.measure(*given, names=[task.selection]) == {task.selection: every[task.selection]}
    with pytest.raises(UnknownNameError, match="no metric of the task"):
        task.measure(*given, names=["f2"])


@every_task
def test_an_answer_per_step_is_one_a_step(make: Make) -> None:
    steps, one = make(), make(per_step=False)
    predicted = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
    decision = steps.default_decision
    assert steps.answer(predicted, decision) == {"steps": [one.answer(each, decision) for each in predicted]}


@pytest.mark.parametrize("make", [TASKS["multilabel"], TASKS["multiclass"]])
def test_what_keeps_nothing_refuses_another_tasks_checkpoint(make: Make) -> None:
    make().load_state(make().state())
    with pytest.raises(CheckpointError, match="holds mean of its task"):
        make().load_state({"mean": [1.0]})


@pytest.mark.parametrize(
    ("task", "target", "said"),
    [
        (
            Multilabel(NAMES),
            np.array([[0, 1, 0], [0, 2, 3]]),
            "the target of sample 1, label 'b' is 2, the first of 2 such values; a label is 0 or 1",
        ),
        (Multilabel(NAMES), np.array([[0, 1, np.nan]]), "sample 0, label 'c' is nan; a label is 0 or 1"),
        (Multilabel(NAMES), np.zeros((4, 2)), r"the shape \[4, 2\]; the task \(multilabel, 3 x label\) takes \[S, 3\]"),
        (
            Multilabel(NAMES, per_step=True),
            np.zeros((4, 3)),
            r"the task \(multilabel per step, 3 x label\) takes \[S, L, 3\]",
        ),
        (Multilabel(NAMES), np.array([["x", "y", "z"]]), "of the dtype <U1; a label is 0 or 1"),
        (Multiclass(NAMES), np.array([0, 3]), "sample 1 is 3; a class is a whole number from 0 to 2"),
        (Multiclass(NAMES), np.array([-1]), "sample 0 is -1; a class is a whole number from 0 to 2"),
        (Multiclass(NAMES), np.array([1.0]), "of the dtype float64; a class is a whole number"),
        (Multiclass(NAMES), np.zeros((2, 3), dtype=int), r"takes \[S\]"),
        (Multiclass(NAMES, per_step=True), np.array([[0, 1], [2, 9]]), "sample 1, step 1 is 9"),
        (Regression(NAMES), np.array([[0, np.inf, 0]]), "sample 0, quantity 'b' is inf; a quantity is a finite number"),
        (Regression(NAMES), np.zeros((2, 3), dtype=bool), "of the dtype bool"),
    ],
)
def test_a_target_of_another_kind_is_refused(task: Task, target: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        task.check_target(target)


def test_targets_that_fit_and_steps_that_do_not_count() -> None:
    Multilabel(NAMES).check_target(np.array([[True, False, True]]))
    Multiclass(NAMES).check_target(np.array([0, 2], dtype=np.uint8))
    Multiclass(NAMES, per_step=True).check_target(np.array([[0, -1]]), np.array([[True, False]]))
    Regression(NAMES, per_step=True).check_target(np.full((1, 2, 3), np.nan), np.zeros((1, 2), dtype=bool))
    with pytest.raises(DataError, match="sample 0, step 1, quantity 'a' is nan, the first of 3 such values"):
        Regression(NAMES, per_step=True).check_target(np.full((1, 2, 3), np.nan), np.array([[False, True]]))


@pytest.mark.parametrize("kind", [Multilabel, Multiclass, Regression])
def test_outputs_have_names_of_their_own(kind: type[Task]) -> None:
    with pytest.raises(DataError, match=f"the {kind.noun} 'a' 2 times; give each its own name"):
        kind(("a", "b", "a"))
    with pytest.raises(DataError, match=f"has no {kind.noun}; name at least one"):
        kind(())


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (losses.MULTILABEL, losses.MultilabelLoss),
        (losses.MULTICLASS, losses.MulticlassLoss),
        (losses.REGRESSION, losses.RegressionLoss),
    ],
)
def test_each_loss_that_a_recipe_may_name_is_there(table: dict[str, Any], names: Any) -> None:
    assert tuple(table) == get_args(names)


@pytest.mark.parametrize(
    ("kind", "param", "value", "fits"),
    [
        (Multilabel, "loss", "mse", False),
        (Multilabel, "decision", "valid-per-label", True),
        (Multilabel, "label_smoothing", 0.5, False),
        (Multilabel, "gamma", -1.0, False),
        (Multiclass, "weights", "balanced", True),
        (Multiclass, "weights", [1.0, 2.0], True),
        (Multiclass, "weights", [1.0, 0.0], False),
        (Multiclass, "weights", "even", False),
        (Multiclass, "top_k", 1, False),
        (Regression, "loss", "huber", True),
        (Regression, "delta", 0.0, False),
    ],
)
def test_a_recipes_parameters_are_checked(kind: type[Task], param: str, value: object, fits: bool) -> None:
    assert (component_params(kind)[param].problem(value) == "") is fits
