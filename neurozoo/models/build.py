"""From recipe and data to a model: the one place where names become objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from neurozoo.core.model import Model
from neurozoo.core.signals import Problem, SignalShape
from neurozoo.core.task import Task
from neurozoo.data.locations import installed, locate
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.errors import DataError, SpikingError
from neurozoo.recipe.params import REQUIRED, component_params
from neurozoo.recipe.recipe import FASTEST, Recipe
from neurozoo.registry.registry import Registry, default_registry, slot_kind

__all__ = [
    "Experiment",
    "build_model",
    "describe",
    "expected_problem",
    "make_problem",
    "open_data",
    "open_experiment",
    "parameters_by_component",
    "view_of",
]


@dataclass(frozen=True)
class Experiment:
    """A recipe with its data opened, and the problem that its model is built for."""

    recipe: Recipe
    view: DataView
    problem: Problem

    def build(self, *, backend: str | None = None) -> Model:
        """Build a new model, its weights drawn by torch's generator; see :func:`build_model`."""
        return build_model(self.recipe, self.problem, backend=backend)


def open_experiment(
    recipe: Recipe,
    *,
    closed: Collection[str] = (),
    registry: Registry | None = None,
    view: DataView | None = None,
) -> Experiment:
    """Open a checked recipe's data, unless its ``view`` is given, and state the problem that its model is to solve.

    Raises:
        DataError: As :func:`open_data`, or the data's task is not the recipe's.
    """
    view = open_data(recipe, registry=registry, closed=closed) if view is None else view
    found = view.description.task
    task = recipe.task
    if (found.name, found.per_step) != (task.name, task.per_step):
        raise DataError(
            f"{_source(view)}: its task is {_task_text(found.name, found.per_step)} and the recipe's is "
            f"{_task_text(task.name, task.per_step)}; set task.name={found.name} and task.per_step="
            f"{str(found.per_step).lower()}, or use other data"
        )
    problem = make_problem(recipe, view.signals, found.outputs, registry=registry)
    view.check_by(problem.task)
    return Experiment(recipe, view, problem)


def make_problem(
    recipe: Recipe,
    signals: Mapping[str, SignalShape],
    outputs: Collection[str],
    *,
    registry: Registry | None = None,
) -> Problem:
    """Return the problem of a recipe on signals of these shapes with these outputs.

    Raises:
        DataError: The recipe names a loss of another task.
    """
    registry = registry or default_registry()
    make_task: type[Task] = registry.resolve("task", recipe.task.name)
    task = make_task(tuple(outputs), recipe.task.per_step, **recipe.task.params)
    losses = [(each, registry.resolve("loss", each.name)) for each in recipe.training.losses]
    for each, loss in losses:
        if task.name not in loss.tasks:
            of, use = ", ".join(loss.tasks), "name another loss, or leave training.losses out"
            raise DataError(f"training.losses: {each.name} is of the task {of}, and the recipe's is {task.name}; {use}")
    task.minimise([(each.weight, loss(**each.params)) for each, loss in losses])
    return Problem(dict(signals), task, tuple(signals) if recipe.data.standardise else ())


def build_model(
    recipe: Recipe, problem: Problem, *, backend: str | None = None, registry: Registry | None = None
) -> Model:
    """Build the recipe's model for a problem.

    Args:
        recipe: A checked recipe.
        problem: What the model is built for.
        backend: Another backend than the recipe's.
        registry: Where names are looked up; by default what is installed.

    Raises:
        DataError: The model cannot be built for these signals or this task.
    """
    registry = registry or default_registry()
    model_class: type[Model] = registry.resolve("model", recipe.model.name)
    # A run's recipe is not completed when read, and may be older than a parameter of its model.
    known = component_params(model_class)
    defaults = {name: each.default for name, each in known.items() if each.default is not REQUIRED}
    params = {**defaults, **recipe.model.params}
    for parameter, wrong in model_class.check_params(problem, **params):
        raise DataError(f"model.params.{parameter}: {wrong}")

    def parts(slot: str, *args: Any) -> Any:
        part = recipe.model.parts.get(slot)
        if part is None:  # optional, as the recipe's check requires the others
            return None
        kind, base = slot_kind(model_class.slots[slot])
        try:
            return registry.resolve(kind, part.name, base)(*args, **part.params)
        except SpikingError as error:
            raise DataError(f"model.parts.{slot}: {error}") from error

    name = backend or recipe.backend
    if name == FASTEST:  # of a recipe whose names are not checked yet
        name = registry.fastest_backend(recipe.training.device)
    neuron = registry.resolve("neuron", name)
    model: Model = model_class(problem, parts, neuron, **params)  # type: ignore[call-arg]
    return model


def open_data(recipe: Recipe, *, registry: Registry | None = None, closed: Collection[str] = ()) -> DataView:
    """Open the recipe's data: its store, or ``data.instead`` if that is not installed.

    Args:
        recipe: A checked recipe.
        registry: Where data sets are looked up; by default what is installed.
        closed: Splits that cannot be read through the view.

    Raises:
        DataError: There is no such data set and none to use instead, or it lacks what the recipe expects.
    """
    registry = registry or default_registry()
    data = recipe.data
    if data.root is None and data.name is not None and data.name in registry.components("data"):
        store: Store = registry.resolve("data", data.name)().store()
    elif data.root is None and data.instead is not None and data.name not in installed():
        store = registry.resolve("data", data.instead.name)(**data.instead.params).store()
    else:
        store = Store(locate(data.name, data.root))
    valid = (data.valid.fraction, data.valid.seed) if data.valid is not None else None
    view = view_of(recipe, store, valid=valid, closed=closed, registry=registry)
    _check_expected(recipe, view)
    return view


def view_of(
    recipe: Recipe,
    store: Store,
    *,
    valid: tuple[float, int] | None = None,
    closed: Collection[str] = (),
    registry: Registry | None = None,
) -> DataView:
    """Return what a recipe's model sees of a store.

    Args:
        recipe: A checked recipe.
        store: The data.
        valid: How a valid split is drawn, see :class:`~neurozoo.data.view.DataView`; None for not at all.
        closed: Splits that cannot be read through the view.
        registry: Where representations are looked up; by default what is installed.

    Raises:
        DataError: The store lacks a signal, a representation does not fit one, or events are not represented.
    """
    registry, data = registry or default_registry(), recipe.data
    represent = {
        name: [(ref.name, registry.resolve("representation", ref.name)(**ref.params)) for ref in refs]
        for name, refs in data.representations.items()
    }
    view = DataView(
        store,
        inputs=data.inputs,
        represent=represent,
        join=data.join,
        valid=valid,
        closed=closed,
        shuffle=data.shuffle_steps,
    )
    for name, shape in view.signals.items():
        if shape.sensor is not None:
            raise DataError(
                f"{store.path}: {name} is events, {shape}, and a model reads arrays; say how it sees them, such as "
                f"data.represent.{name}={{name: bins, params: {{step: 0.01}}}}"
            )
    return view


def expected_problem(recipe: Recipe, *, registry: Registry | None = None) -> tuple[Problem, bool]:
    """Return the problem, and whether its shapes are those of the data, not those that the recipe expects.

    Raises:
        DataError: There is no data, and the recipe does not say what to expect.
    """
    data = recipe.data
    # Without the data a recipe's expectation is enough; no stand-in is made for its shapes alone.
    if data.expect and recipe.task.outputs and data.root is None and data.name not in installed():
        shapes = {
            name: SignalShape(data.expect[name].axes, data.expect[name].length, data.expect[name].dtype)
            for name in data.inputs or data.expect
        }
        return make_problem(recipe, shapes, recipe.task.outputs, registry=registry), False
    return open_experiment(recipe, registry=registry).problem, True


def parameters_by_component(model: Model) -> dict[str, int]:
    """Return the number of learnable parameters of each direct part of a model, and of each that is the model's own."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    counts |= {name: each.numel() for name, each in model.named_parameters(recurse=False)}
    return {name: count for name, count in counts.items() if count}


def describe(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe builds: signals, outputs and parameters by component."""
    problem, from_data = expected_problem(recipe)
    # They are the same on every backend; one that the registry chose need not be imported to count them.
    parameters = parameters_by_component(build_model(recipe, problem, backend="torch" if recipe.was_fastest else None))
    return {
        "signals": {name: {"shape": list(each.shape), "length": each.length} for name, each in problem.signals.items()},
        "task": recipe.task.name,
        "outputs": list(problem.task.outputs),
        "shapes_from": "data" if from_data else "recipe",
        "parameters": parameters,
        "total": sum(parameters.values()),
    }


def _source(view: DataView) -> str:
    return str(view.description.origin.get("source", "the data"))


def _task_text(name: str, per_step: bool) -> str:
    return f"{name} per step" if per_step else name


def _check_expected(recipe: Recipe, view: DataView) -> None:
    for name, expected in (recipe.data.expect or {}).items():
        found = view.signals[name].shape if name in view.signals else expected.axes
        if found != expected.axes:
            remedy = (
                f"data.expect.{name}.dim={found[0]}" if len(found) == 1 else f"data.expect.{name}.shape={list(found)}"
            )
            raise DataError(
                f"{_source(view)}: {name} has positions of {list(found)} and the recipe expects "
                f"{list(expected.axes)}; use other data, or set {remedy} if that is what you mean"
            )
    outputs = recipe.task.outputs
    if outputs and outputs != view.description.task.outputs:
        raise DataError(
            f"{_source(view)}: its outputs are {', '.join(view.description.task.outputs)} and the recipe expects "
            f"{', '.join(outputs)}, in this order; use other data, or set task.outputs"
        )
