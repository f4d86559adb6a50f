"""Compare a published model with numbers that its authors' own code gave.

A golden file holds the authors' weights and, for two batches, inputs, outputs, spikes, gradients, running statistics
and five steps of their optimiser; ``tests/golden/README.md`` lists its keys. A :class:`GoldenCase`
gives the recipe of a file's model and maps its layers to the authors'; the rest is the same for all models.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.models.authors_weights import Taken, load_authors_weights
from neurozoo.models.build import build_model, expected_problem
from neurozoo.recipe.recipe import Recipe
from neurozoo.testing.findings import require
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.step import Stepper

__all__ = ["Golden", "GoldenCase", "GoldenFile", "optimizer_of", "picture_recipe"]

OUTPUTS, LOSSES, GRADIENTS, STATISTICS = 1e-6, 1e-6, 1e-5, 1e-6
"""Tolerances: of the scale of the outputs; relative; of a tensor's largest entry; of the scale of the statistics."""
CANCELLED = 1e-6
"""Absolute tolerance of a gradient that is 0 but for rounding."""
NEARLY_CANCELLED = 1e-8
"""Absolute tolerance of a gradient that is a small difference of large terms."""
NOT_LOSSES = ("rate", "threshold", "operations")
"""Values of a step that are not terms of its loss."""


@dataclass(frozen=True)
class GoldenFile:
    """A golden file's header and tensors.

    Attributes:
        name: The file's, for errors.
        header: Texts by key.
        tensors: By key.
    """

    name: str
    header: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose keys begin with a prefix, by the rest of the key."""
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


class GoldenCase(ABC):
    """How a published model meets its golden files."""

    layers: ClassVar[tuple[tuple[str, str], ...]]
    """Pairs of a regular expression for a layer's whole name in the authors' code, and the name of the layer here, a
    template for :meth:`re.Match.expand`."""
    cancelled: ClassVar[tuple[str, ...]] = ()
    """Regular expressions for the authors' parameters whose gradient is 0 but for rounding, as biases before a norm."""
    nearly_cancelled: ClassVar[tuple[str, ...]] = ()
    """The same for gradients that are a small difference of large terms."""

    @abstractmethod
    def claims(self, header: Mapping[str, str]) -> bool:
        """Return whether a file is of this model."""

    @abstractmethod
    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        """Return the recipe of the file's model in its published form, with its optimiser, as a mapping.

        Signals and outputs are under ``data.expect`` and ``task.outputs``.
        """

    def batch(self, file: GoldenFile, which: int) -> Batch:
        """Return a batch of the file; by default ``x [B, C, H, W]``, or ``[B, T, ...]``, and ``labels [B]``."""
        x = file.tensors[f"batch{which}/x"]
        form = self.recipe(file.header)["data"]["expect"]
        ((name, shape),) = form.items()
        values = x.float()[:, None] if shape["length"] == 1 and x.shape[1] != 1 else x.float()
        return Batch({name: Signal(values)}, file.tensors[f"batch{which}/labels"])

    def variations(self, header: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
        """Return parameters of the model to change, by the key of the outputs that it then gives in evaluation.

        A key is that of the file, such as ``batch2/eval/logits_AND``; weights and batch are the same.
        """
        return {}

    def given(self, model: Model, file: GoldenFile, which: int) -> AbstractContextManager[Any]:
        """Return a context in which a forward of a batch uses the file's random draws, such as dropout masks."""
        return nullcontext()

    def joined(self, file: GoldenFile, layer: str, spikes: Tensor) -> Tensor:
        """Return a layer's spikes as the authors' layer returns them, ``[T, B, ...]``; directions may be joined."""
        return spikes

    def arranged(self, layer: str, spikes: Tensor, like: Tensor) -> Tensor:
        """Return the spikes ``[T, B, ...]`` of one of the authors' layers in the file's layout, that of ``like``."""
        return spikes.reshape(like.shape)

    def expected(self, outputs: Tensor) -> Tensor:
        """Return the file's outputs in the form of a model's answer, such as the mean of those of all steps."""
        return outputs

    def loss(self, model: Model, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the loss in evaluation, 0-d, of a model's answer; in training it is that of a training step."""
        assert batch.target is not None
        return model.problem.task.loss(outputs, batch.target, batch.target_valid)

    def outputs(self, outputs: Tensor, like: Tensor) -> Tensor:
        """Return a model's outputs in the file's layout, that of ``like``."""
        return outputs.reshape(like.shape)


def optimizer_of(header: Mapping[str, str]) -> dict[str, Any]:
    """Return the optimiser that a header names, such as ``Adam lr 6e-4 betas 0.9 0.99``, as a recipe's mapping."""
    name, *words = header["optimizer"].split()
    found: dict[str, list[float]] = {}
    for word in words:
        if word[0].isdecimal():
            found[list(found)[-1]].append(float(word))
        else:
            found[word] = []
    return {"name": name.lower()} | {key: each if len(each) > 1 else each[0] for key, each in found.items()}


def picture_recipe(
    header: Mapping[str, str], name: str, params: Mapping[str, Any], *, frames: bool, parts: Any = None
) -> dict[str, Any]:
    """Return the recipe of a classifier of square pictures, or of event frames.

    Args:
        header: With ``image``, ``T``, ``classes`` and ``optimizer``.
        name: Of the model.
        params: Of the model.
        frames: Whether it reads event frames ``[T, 2, H, W]``, or pictures ``[3, H, W]``.
        parts: Of the model.
    """
    side, steps = int(header["image"]), int(header["T"])
    shape = {"shape": [2 if frames else 3, side, side], "length": steps if frames else 1}
    return {
        "data": {"name": "golden", "expect": {"x": shape}},
        "task": {"name": "multiclass", "outputs": int(header["classes"])},
        "model": {"name": name, "params": dict(params), "parts": parts or {}},
        "training": {"optimizer": optimizer_of(header)},
    }


class Golden:
    """A case, a file and a backend; every method raises a ConformanceError with what differs.

    Args:
        case: That of the file's model.
        file: The golden file.
        recipe: The case's, read and checked.
        backend: Name of the backend that the neurons run on.
    """

    def __init__(self, case: GoldenCase, file: GoldenFile, recipe: Recipe, backend: str = "torch") -> None:
        self.case, self.file, self.recipe, self.backend = case, file, recipe, backend
        self.problem, _ = expected_problem(recipe)

    def model(self, **params: Any) -> tuple[Model, Taken]:
        """Return a new model with the file's weights, and other parameters than the recipe's where given."""
        chosen = self.recipe.model.model_copy(update={"params": {**self.recipe.model.params, **params}})
        recipe = self.recipe.model_copy(update={"model": chosen})
        model = build_model(recipe, self.problem, backend=self.backend)
        taken = load_authors_weights(model, self.file.under("weights/"), self.file.name)
        return model, taken

    def check_training(self) -> None:
        """Compare outputs, loss and spikes of both batches; of the second also gradients and running statistics."""
        for which in (1, 2):
            model, taken = self.model()
            expected = self.file.under(f"batch{which}/train/")
            outputs, loss, spikes = self._step(model, which)
            self._compare_spikes(spikes, expected, f"batch {which}")
            self._compare_outputs(outputs, expected["logits"], f"batch {which}, training")
            self._compare_loss(loss, expected["loss"], f"batch {which}, training")
            if which == 2:
                self._compare_gradients(model, taken)
                self._compare_statistics(model, taken)

    @torch.no_grad()
    def check_evaluation(self) -> None:
        """Compare outputs, loss and spikes in evaluation mode; a file may have none if it is the same function."""
        for which in (1, 2):
            expected = self.file.under(f"batch{which}/eval/")
            if "logits" not in expected:
                continue
            model, _ = self.model()
            batch = self.case.batch(self.file, which)
            with self.case.given(model.eval(), self.file, which), recorded(model) as firings:
                outputs = model(batch)
            self._compare_spikes(self._spikes(firings), expected, f"batch {which}, evaluation")
            self._compare_outputs(outputs, expected["logits"], f"batch {which}, evaluation")
            if "loss" in expected:
                loss = self.case.loss(model, outputs, batch)
                self._compare_loss(loss, expected["loss"], f"batch {which}, evaluation")

    @torch.no_grad()
    def check_variations(self) -> None:
        """Compare the outputs of the model with other parameters, see :meth:`GoldenCase.variations`."""
        for key, params in self.case.variations(self.file.header).items():
            which = int(key[len("batch")])
            model, _ = self.model(**params)
            with self.case.given(model.eval(), self.file, which):
                outputs = model(self.case.batch(self.file, which))
            self._compare_outputs(outputs, self.file.tensors[key], key)

    def check_steps(self) -> None:
        """Compare the losses before each of the steps of the optimiser, on batches 1, 2, 1, 2, 1."""
        model, _ = self.model()
        model.train()
        optimizer = make_optimizer(self.recipe, model)
        with closing(Stepper(model, optimizer, self.recipe)) as stepper:
            for n, expected in enumerate(self.file.tensors["train/losses"]):
                which = 1 + n % 2
                stepper.clear()
                with self.case.given(model, self.file, which):
                    values = stepper.add(self.case.batch(self.file, which))
                self._compare_loss(_total(values), expected, f"step {n + 1}")
                stepper.step()

    def _step(self, model: Model, which: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Take a training forward and backward; returns outputs, loss and spikes by layer."""
        model.train()
        kept: list[Tensor] = []
        handle = model.register_forward_hook(lambda _, __, outputs: kept.append(outputs.detach()))
        optimizer = make_optimizer(self.recipe, model)
        with (
            closing(Stepper(model, optimizer, self.recipe)) as stepper,
            recorded(model) as firings,
            self.case.given(model, self.file, which),
        ):
            values = stepper.add(self.case.batch(self.file, which))
        handle.remove()
        return kept[-1], _total(values), self._spikes(firings)

    def _spikes(self, firings: Mapping[str, Any]) -> dict[str, Tensor]:
        return {name: self.case.joined(self.file, name, firing.spikes.detach()) for name, firing in firings.items()}

    def _layer(self, theirs: str, spikes: Mapping[str, Tensor]) -> Tensor:
        for pattern, template in self.case.layers:
            if match := re.fullmatch(pattern, theirs):
                name = match.expand(template)
                require(name in spikes, f"{self.file.name}: {theirs} is {name!r} here, and no such layer ran")
                return spikes[name]
        require(False, f"{self.file.name}: no layer here is named for {theirs}")
        raise AssertionError  # not reached

    def _compare_spikes(self, spikes: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
        for key, want in _by_kind(expected, "spikes/"):
            found = self.case.arranged(key, self._layer(key, spikes), want)
            wrong = int((found != want).sum())
            require(wrong == 0, f"{self.file.name}, {where}: {wrong} of {want.numel()} spikes of {key} differ")
        for key, want in _by_kind(expected, "count/"):
            layer = self._layer(key, spikes)
            found = layer.reshape(len(want), want.shape[1], -1).sum(2)
            require(bool((found == want).all()), f"{self.file.name}, {where}: {key} fires {found} and not {want}")

    def _compare_outputs(self, outputs: Tensor, want: Tensor, where: str) -> None:
        want = self.case.expected(want)
        found = self.case.outputs(outputs.detach(), want)
        difference, scale = _largest(found - want), _largest(want)
        require(
            difference <= OUTPUTS * max(scale, 1.0),
            f"{self.file.name}, {where}: outputs are off by {difference:.2g}, at a scale of {scale:.2g}",
        )

    def _compare_loss(self, found: Tensor, want: Tensor, where: str) -> None:
        difference = abs(float(found) - float(want))
        require(
            difference <= LOSSES * max(abs(float(want)), 1.0),
            f"{self.file.name}, {where}: the loss is {float(found):.9g} and not {float(want):.9g}",
        )

    def _compare_gradients(self, model: Model, taken: Taken) -> None:
        expected = self.file.under("batch2/grad/")
        parameters = dict(model.named_parameters())
        for here, theirs in taken.names.items():
            if here not in parameters:
                continue
            gradient = parameters[here].grad
            found = torch.zeros_like(parameters[here]) if gradient is None else gradient
            if theirs not in expected:
                require(not found.any(), f"{self.file.name}: {theirs} has no gradient there, and has one here")
                continue
            assert model.authors_names is not None
            found = found.T if model.authors_names.is_transposed(here) else found
            want = expected[theirs]
            difference, scale = _largest(found.reshape(want.shape) - want), _largest(want)
            allowed = GRADIENTS * scale
            for patterns, absolute in (
                (self.case.nearly_cancelled, max(allowed, NEARLY_CANCELLED)),
                (self.case.cancelled, CANCELLED),
            ):
                if any(re.fullmatch(pattern, theirs) for pattern in patterns):
                    allowed = absolute
            require(
                difference <= allowed,
                f"{self.file.name}: the gradient of {theirs} is off by {difference:.2g}, its largest is {scale:.2g}",
            )

    def _compare_statistics(self, model: Model, taken: Taken) -> None:
        buffers, here = dict(model.named_buffers()), {theirs: name for name, theirs in taken.names.items()}
        for theirs, want in self.file.under("batch2/stats/").items():
            if theirs in taken.left:
                continue
            difference, scale = _largest(buffers[here[theirs]].reshape(want.shape) - want), _largest(want)
            require(
                difference <= STATISTICS * max(scale, 1.0),
                f"{self.file.name}: {theirs} is off by {difference:.2g}, its largest is {scale:.2g}",
            )

    @torch.no_grad()
    def check_unchanged(self) -> None:
        """Check that evaluation changes nothing that is stored."""
        model, _ = self.model()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with self.case.given(model.eval(), self.file, 1):
            model(self.case.batch(self.file, 1))
        changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
        require(not changed, f"{self.file.name}: evaluation changes {', '.join(changed)}")


def _by_kind(expected: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((key.removeprefix(prefix), value) for key, value in expected.items() if key.startswith(prefix))


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _total(values: Mapping[str, Tensor]) -> Tensor:
    """Return the loss of a step with the terms that modules and the recipe add to it, 0-d."""
    return torch.stack([value for name, value in values.items() if name not in NOT_LOSSES]).sum()
