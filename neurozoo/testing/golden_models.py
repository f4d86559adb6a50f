"""Compare a multimodal model with numbers that its authors' own code gave.

Its golden files are like those of parts, see :mod:`neurozoo.testing.golden_parts`; a :class:`ModelCase` gives the
recipe of a file's model, which takes the weights by its table of the authors' names and trains as the recipe says.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from neurozoo.core.model import Model, trained_modules
from neurozoo.core.signals import Batch
from neurozoo.models.authors_weights import load_authors_weights
from neurozoo.models.build import build_model, expected_problem
from neurozoo.recipe.recipe import Recipe, make_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.testing.golden_parts import GoldenPart, PartCase
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.schedule import Schedule
from neurozoo.training.step import Stepper

__all__ = ["GoldenModel", "ModelCase"]

NOT_TERMS = ("rate", "threshold", "operations")
"""Values of a step that are not terms of its loss."""


class ModelCase(PartCase):
    """How a multimodal model meets its golden file.

    ``run`` gives ``out``, ``loss``, the activations of :attr:`seams` and the losses of :attr:`terms`; a case adds to
    it what neither can say.
    """

    names = ()
    seams: ClassVar[Mapping[str, str]] = {}
    """By the file's name of an activation, the dotted name of the module whose output it is. An output that is no
    tensor has its tensor at ``x``."""
    terms: ClassVar[Mapping[str, tuple[str, float]]] = {}
    """By the file's name of a loss, the name of the term here (``loss`` for the task's) and its weight, by which it is
    divided."""
    modalities: ClassVar[tuple[str, ...]] = ("text", "vision", "audio")
    """The file's names of the modalities, as the model's."""

    @abstractmethod
    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        """Return the recipe of the file's model in its published form, with optimiser and schedule, as a mapping.

        Signals and outputs are under ``data.expect`` and ``task.outputs``. The schedule counts the file's steps as
        epochs, with ``each: step``.
        """

    def batch(self, tensors: Mapping[str, Tensor]) -> Batch:
        """Return a batch of the file's tensors: modalities, ``NAME_mask`` where there is one, and ``labels``."""
        masks = {name: tensors.get(f"{name}_mask") for name in self.modalities}
        valid = {name: None if mask is None else mask.bool() for name, mask in masks.items()}
        return Batch.of({name: tensors[name] for name in self.modalities}, valid, tensors["labels"])

    def answer(self, outputs: Tensor) -> Tensor:
        """Return the file's ``out`` of the model's outputs."""
        return torch.sigmoid(outputs)

    def given(self, model: Model, tensors: Mapping[str, Tensor]) -> AbstractContextManager[Any]:
        """Return a context in which a forward of a batch uses the file's random draws, such as permutations."""
        return nullcontext()

    def kept(self, model: Model) -> Mapping[str, Tensor]:
        """Return activations by the file's names that a training forward left in a model, before its loss terms."""
        return {}

    def checked(self, header: Mapping[str, str]) -> Recipe:
        """Return the recipe, read and checked."""
        return make_recipe({"schema": 2, **self.recipe(header)}, self.file, default_registry())

    def network(self, header: Mapping[str, str]) -> nn.Module:
        recipe = self.checked(header)
        return build_model(recipe, expected_problem(recipe)[0])

    def run(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        model, found = cast(Model, network), dict[str, Tensor]()
        given = self.batch(batch)
        with ExitStack() as hooks:
            for theirs, ours in self.seams.items():
                keep = partial(_keep, found, f"act/{theirs}")
                hooks.callback(model.get_submodule(ours).register_forward_hook(keep).remove)
            hooks.enter_context(self.given(model, batch))
            outputs = model(given)
            assert given.target is not None
            values = {"loss": model.problem.task.loss(outputs, given.target)}
            if model.training and torch.is_grad_enabled():
                found |= {f"act/{name}": each for name, each in self.kept(model).items()}
                for _, module in trained_modules(model):
                    values |= module.losses(given.target)
                found["loss"] = torch.stack([*values.values()]).sum().reshape(1)
                for theirs, (ours, weight) in self.terms.items():
                    found[f"losses/{theirs}"] = values[ours].reshape(1) / weight
        return {"out": self.answer(outputs), **found}


class GoldenModel(GoldenPart):
    """A case and its file; every method raises a ConformanceError with what differs."""

    case: ModelCase

    def network(self) -> tuple[nn.Module, dict[str, str]]:
        model = cast(Model, self.case.network(self.file.header))
        given = {**self.file.under("weights/"), **self.file.under("buffers/")}
        converted = {theirs: self.case.converted(theirs, tensor) for theirs, tensor in given.items()}
        taken = load_authors_weights(model, converted, self.file.name)
        return model.train(), {theirs: ours for ours, theirs in taken.names.items()}

    def check_steps(self) -> None:
        """Compare the losses before each step of the recipe's optimiser, and the output afterwards."""
        network, _ = self.network()
        model, recipe = cast(Model, network), self.case.checked(self.file.header)
        optimizer = make_optimizer(recipe, model)
        schedule = Schedule(recipe, optimizer)
        with closing(Stepper(model, optimizer, recipe)) as stepper:
            for n, expected in enumerate(self.file.tensors["train/losses"]):
                stepper.clear()
                tensors = self.file.under(f"batch{1 + n % 2}/")
                with self.case.given(model, tensors):
                    values = stepper.add(self.case.batch(tensors))
                found = torch.stack([each for name, each in values.items() if name not in NOT_TERMS]).sum()
                self._close("training", found, expected.float(), f"step {n + 1}")
                stepper.step()
                schedule.after_step()
        with torch.no_grad():
            out = self.case.run(model, self.file.under("batch1/"))["out"]
        self._close("training", out, self.file.tensors["train/out"], "the output after the last step")


def _keep(found: dict[str, Tensor], name: str, _: nn.Module, __: Any, output: Any) -> None:
    found[name] = output if isinstance(output, Tensor) else output.x
