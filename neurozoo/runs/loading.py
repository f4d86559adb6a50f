"""A trained model, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from torch import Tensor

from neurozoo.core.engine import Plan
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics
from neurozoo.core.signals import Batch, Problem, SignalShape
from neurozoo.core.task import Decision, Task
from neurozoo.data.writer import valid_rows
from neurozoo.errors import CheckpointError, DataError
from neurozoo.models.build import build_model, make_problem
from neurozoo.models.engines import use_engine
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import load_tensors, read_tensors
from neurozoo.runs.trained_folder import Trained, open_trained

__all__ = ["TrainedModel", "load", "problem_of"]


@dataclass(frozen=True)
class TrainedModel:
    """A model with the weights of a run's best epoch, in evaluation mode, with its recipe and folder."""

    module: Model
    recipe: Recipe
    source: Trained
    plan: Plan | None = None
    """How an engine runs its layers; None if it was loaded without one."""

    @property
    def task(self) -> Task:
        """The model's task."""
        return self.module.problem.task

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the K outputs: labels, classes or quantities."""
        return self.task.outputs

    @property
    def decision(self) -> Decision:
        """How predictions become answers; the recipe's default for an unfinished run."""
        decided = self.source.decision
        return self.task.default_decision if decided is None else decided

    @property
    def labels(self) -> tuple[str, ...]:
        """The same as :attr:`outputs`, for the code in cards of models that were packed before tasks existed."""
        return self.outputs

    @property
    def decision_threshold(self) -> Decision:
        """The same as :attr:`decision`, for the same cards."""
        return self.decision

    def check_finite(self) -> TrainedModel:
        """Return it, to be compared, counted or exported.

        Raises:
            CheckpointError: A weight is NaN or infinite.
        """
        wrong = [name for name, value in self.module.state_dict().items() if not value.isfinite().all()]
        if wrong:
            raise CheckpointError(
                f"{self.source.checkpoint}: values are NaN or infinite in {', '.join(wrong[:3])}"
                f"{' and others' if len(wrong) > 3 else ''}, so that spikes mean nothing; take another checkpoint"
            )
        return self

    def predict(self, signals: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return predictions ``[B, K]``, per step ``[B, L, K]``, independent of earlier calls; see :meth:`batch`."""
        return self.predict_batch(self.batch(signals, valid))

    @torch.no_grad()
    def predict_batch(self, batch: Batch) -> Tensor:
        """Return predictions of a batch, on the CPU; see :meth:`predict`."""
        self.module.eval()
        device = next(self.module.parameters()).device
        # The published threshold changes in evaluation too.
        with frozen_statistics(self.module):
            return self.task.predict(self.module(batch.to(device))).cpu()

    def batch(self, signals: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None) -> Batch:
        """Make a batch for the model, in the dtypes that it was trained on.

        Args:
            signals: ``[B, L, *shape]`` by name, in the data's units; signals that the model lacks are ignored.
            valid: ``[B, L]`` bool by name, True where a position is real; by default rows of zeros at either end of
                features ``[B, L, D]`` of varying length are padding, as in the store, and every other position counts.

        Raises:
            DataError: A signal is missing, or signals or masks have another form, are not finite, or do not fit the
                signal's dtype.
        """
        shapes = self.module.problem.signals
        chosen: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            x = torch.as_tensor(signals[name]) if name in signals else None
            if x is None or x.dim() != 2 + len(shape.shape) or tuple(x.shape[2:]) != shape.shape or 0 in x.shape:
                takes = ", ".join(["B", "L", *map(str, shape.shape)])
                raise DataError(
                    f"signals[{name!r}] is {'missing' if x is None else list(x.shape)}; "
                    f"the model takes [{takes}], none of them 0, and the signals {', '.join(shapes)}"
                )
            chosen[name] = _as_stored(name, x, shape.dtype)
        if len({len(x) for x in chosen.values()}) > 1:
            sizes = ", ".join(f"{name} {len(x)}" for name, x in chosen.items())
            raise DataError(f"the signals have different numbers of samples ({sizes}); give the same B for all")
        known = {
            name: torch.from_numpy(valid_rows(x.cpu().numpy()))
            for name, x in chosen.items()
            if shapes[name].ragged and x.is_floating_point() and x.dim() == 3
        }
        for name, mask in (valid or {}).items():
            form = list(chosen[name].shape[:2]) if name in chosen else None
            if form is None or mask.dtype != torch.bool or list(mask.shape) != form:
                raise DataError(
                    f"valid[{name!r}] is {mask.dtype} {list(mask.shape)}; give torch.bool [B, L] as of the signal "
                    f"({form or 'there is none of that name'}), for {', '.join(shapes)}"
                )
        masks = known | dict(valid or {})
        for name, x in chosen.items():
            wrong = ~x.isfinite().reshape(*x.shape[:2], -1).all(2)  # token numbers have no axes after L
            if bad := int((wrong & masks[name].to(x.device) if name in masks else wrong).sum()):
                raise DataError(
                    f"signals[{name!r}] has {bad} valid positions with values that are NaN or infinite in float32; "
                    "fill them in, as an importer does with 0, or leave the positions out by a mask"
                )
        return Batch.of(chosen, masks)


def _as_stored(name: str, x: Tensor, dtype: str) -> Tensor:
    """Return values in a signal's dtype, unless it cannot hold one of them."""
    kind: torch.dtype = getattr(torch, dtype)
    if kind.is_floating_point:
        return x.float()
    if kind == x.dtype:
        return x
    if not bool((x.to(kind).double() == x.double()).all()):
        raise DataError(f"signals[{name!r}] has values that are no {dtype}; the model was trained on {dtype}")
    return x.to(kind)


def load(run: str | Path, *, backend: str | None = None, engine: str | None = None) -> TrainedModel:
    """Load a trained model, on the backend it was trained with or another.

    Args:
        run: A run folder, whose best weights are loaded; a packed one, whose files are first compared with their
            hashes; the name of a model that comes with neurozoo; or the address of one on the Hugging Face hub,
            ``hf://USER/NAME`` or ``hf://USER/NAME@REVISION``.
        backend: Another backend than its own.
        engine: Who runs its layers where no gradient is recorded, such as ``events``; ``neurozoo list engines`` has
            them. The weights must not be changed afterwards.

    Raises:
        RunError: It is none of these.
        CheckpointError: Its checkpoint is missing, damaged or of another model, or it is not as it was packed.
        FetchError: The hub cannot be reached.
        SpikingError: The engine runs none of its layers.

    Example:
        >>> model = neurozoo.load("runs/smile", backend="norse")
        >>> model.predict({"audio": audio, "vision": vision, "text": text})
    """
    source = open_trained(run, backend=backend)
    recipe, path = source.recipe, source.checkpoint
    tensors, metadata = read_tensors(path, inside=source.folder)
    model = build_model(recipe, problem_of(recipe, metadata, path))
    load_tensors(path, tensors, model)
    model.eval()
    return TrainedModel(model, recipe, source, None if engine is None else use_engine(model, engine))


def problem_of(recipe: Recipe, metadata: Mapping[str, Any], path: Path) -> Problem:
    """Return the problem that a checkpoint's model was built for; before tasks existed it named features and labels.

    Raises:
        CheckpointError: It names neither, or values that are none.
    """
    try:
        if "signals" in metadata:
            signals = _SHAPES.validate_python(metadata["signals"])
            task = dict(metadata["task"])
            outputs = _NAMES.validate_python(task.pop("outputs"))
            state = _NUMBERS.validate_python({key: task[key] for key in task.keys() - {"name", "per_step"}})
        else:
            signals = {name: SignalShape((dim,), 1) for name, dim in _DIMS.validate_python(metadata["dims"]).items()}
            outputs, state = _NAMES.validate_python(metadata["labels"]), {}
        for name, shape in signals.items():
            if min((shape.length, *shape.shape)) < 1 or not isinstance(getattr(torch, shape.dtype, None), torch.dtype):
                raise ValueError(f"{name} is {shape} of {shape.dtype}")
    except (KeyError, TypeError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise CheckpointError(
            f"{path}: not a checkpoint of a model, it does not name its signals and outputs ({reason}); copy it again "
            "from its source"
        ) from error
    problem = make_problem(recipe, signals, outputs)
    problem.task.load_state(state)
    return problem


_SHAPES = TypeAdapter(dict[str, SignalShape])
_NAMES = TypeAdapter(tuple[str, ...])
_DIMS = TypeAdapter(dict[str, int])
_NUMBERS = TypeAdapter(dict[str, list[FiniteFloat]])
