"""Where a comparison's model and samples come from: a recipe, or a trained run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor

from neurozoo.compare.result import Setting
from neurozoo.core.model import Model
from neurozoo.core.signals import Batch, Problem
from neurozoo.core.task import Decision, Task
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.data.view import DataView
from neurozoo.errors import NotInstalledError
from neurozoo.evaluation.evaluate import data_of
from neurozoo.models.build import build_model, expected_problem, open_experiment
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import Registry
from neurozoo.runs.device import choose_device, device_of_run
from neurozoo.runs.loading import load
from neurozoo.training.prepare import prepare, prepare_task

__all__ = ["Source", "recipe_source", "run_source"]


@dataclass(frozen=True)
class Source:
    """One model's weights, and samples for it.

    Attributes:
        recipe: What the model is made by.
        problem: What it is built for.
        weights: Its state, on the CPU.
        view: The data; None where it is not there and samples are made up.
        decision: How predictions become answers.
        device: Where the models run.
        registry: Where backends are looked up.
        setting: The same in words.
    """

    recipe: Recipe
    problem: Problem
    weights: Mapping[str, Tensor]
    view: DataView | None
    decision: Decision
    device: torch.device
    registry: Registry
    setting: Setting

    @property
    def task(self) -> Task:
        """What the outputs mean."""
        return self.problem.task

    def build(self, backend: str) -> Model:
        """The model on a backend, on the device.

        Raises:
            SpikingError: The backend does not run its neurons.
        """
        model = build_model(self.recipe, self.problem, backend=backend, registry=self.registry)
        model.load_state_dict(self.weights)
        return model.to(self.device)

    def batches(self, split: str, number: int, size: int) -> list[Batch]:
        """Return the first batches of a split, on the device; synthetic ones without data.

        Raises:
            DataError: The data has no such samples.
        """
        return [batch.to(self.device) for batch in islice(self._in_order(split, size), number)]

    def whole(self, split: str, size: int) -> Iterator[Batch]:
        """Return all samples of a split, in order; one batch of synthetic ones without data."""
        return islice(self._in_order(split, size), 1 if self.view is None else None)

    def training_batches(self, steps: int) -> Iterator[Batch]:
        """Return the first batches of training, shuffled by the recipe's seed."""
        size, seed = self.recipe.training.batch_size, self.recipe.seed
        generator = torch.Generator().manual_seed(seed)

        def epochs() -> Iterator[Batch]:
            if self.view is None:
                yield from self._in_order("train", size)
                return
            while True:
                yield from self.view.batches("train", size, generator)

        return (batch.to(self.device) for batch in islice(epochs(), steps))

    def _in_order(self, split: str, size: int) -> Iterator[Batch]:
        if self.view is None:
            # Each split has samples of its own, so that valid is not what was trained on.
            first = self.recipe.seed + (0 if split == "train" else 1_000_000)
            return (made_up(self.problem.signals, self.task, size, seed) for seed in count(first))
        self.view.check_samples(split)
        return self.view.batches(split, size)


def recipe_source(recipe: Recipe, backend: str, *, registry: Registry, device: str | None = None) -> Source:
    """Return a recipe's model as training would begin with it, scaled and initialised as the recipe says.

    If the data is not installed and the recipe says what to expect, samples are synthetic and the model has its default
    weights. They are initialised on ``backend``, with torch's random numbers; seed them before.

    Raises:
        UserError: There is neither data nor its shapes, or no such device.
        SpikingError: The backend does not run the model's neurons.
    """
    view: DataView | None = None
    try:
        experiment = open_experiment(recipe, registry=registry)
        view, problem = experiment.view, experiment.problem
    except NotInstalledError:
        problem, _ = expected_problem(recipe, registry=registry)
    there = choose_device(device or recipe.training.device)
    model = build_model(recipe, problem, backend=backend, registry=registry).to(there)
    if view is not None:
        if any(True for _ in model.parameters()):
            prepare(model, view, recipe)
        prepare_task(model, view, there)
    weights = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
    data, synthetic = _origin(recipe, view)
    setting = Setting(recipe.name, data, synthetic, trained=False, device=str(there))
    return Source(recipe, problem, weights, view, problem.task.default_decision, there, registry, setting)


def run_source(run: Path, *, registry: Registry, device: str | None = None) -> Source:
    """Return a trained model's weights, data and decision; it runs by default where it was trained, if available.

    Raises:
        UserError: The run, its checkpoint or its data cannot be used, or there is no such device.
    """
    loaded = load(run).check_finite()
    recipe = loaded.recipe
    view = data_of(loaded, registry=registry)
    name = str(loaded.source.summary.get("recipe", recipe.name))
    there = choose_device(device) if device is not None else device_of_run(recipe.training.device)
    weights = {name: tensor.cpu().clone() for name, tensor in loaded.module.state_dict().items()}
    if not loaded.module.problem.task.state():  # such as class weights, which training needs and a checkpoint has not
        prepare_task(loaded.module, view, torch.device("cpu"))
    data, synthetic = _origin(recipe, view)
    if view.description.checksum != loaded.source.data.get("checksum"):
        data += ", which is NOT the data that it was trained on"
    setting = Setting(name, data, synthetic, trained=True, run=str(run), device=str(there))
    return Source(recipe, loaded.module.problem, weights, view, loaded.decision, there, registry, setting)


def _origin(recipe: Recipe, view: DataView | None) -> tuple[str, bool]:
    """Where samples come from, in words, and whether they are made up."""
    if view is None:
        return f"{recipe.data.name} is not installed, so the samples are made up, at default weights", True
    return str(view.description.origin.get("source", "a store")), view.description.synthetic
