"""A trained model, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from neurozoo.core.interfaces import Batch, ZooModel
from neurozoo.data.writer import valid_rows
from neurozoo.errors import CheckpointError, DataError
from neurozoo.models.build import assemble, inputs_of
from neurozoo.nn.running import frozen_statistics
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import load_tensors, read_tensors
from neurozoo.runs.trained_folder import Trained, open_trained

__all__ = ["TrainedModel", "load"]


@dataclass(frozen=True)
class TrainedModel:
    """A model with the weights of a run's best epoch.

    Attributes:
        module: The model, in evaluation mode.
        recipe: What it was made with.
        labels: Names of the K labels.
        source: The folder it was loaded from, and what that says of it.
    """

    module: ZooModel
    recipe: Recipe
    labels: tuple[str, ...]
    source: Trained

    @property
    def decision_threshold(self) -> float | list[float]:
        """The probability above which a label is predicted, or one a label."""
        decided = self.source.decision_threshold
        # A run that did not come to its end has decided nothing yet.
        return self.recipe.evaluation.decision.threshold if decided is None else decided

    @torch.no_grad()
    def predict(self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities ``[B, K]`` of the labels; what was predicted before leaves no trace in them.

        Args:
            features: ``[B, L, D]`` float32 by modality, in the data's own units.
            masks: ``[B, L]`` bool by modality, True where valid; by default rows of zeros at
                either end are padding, as in the store.

        Raises:
            DataError: A modality is missing, features or masks are not of the form above, or not finite.
        """
        batch = self._batch(features, masks or {})
        self.module.eval()
        # The published threshold changes in evaluation too.
        with frozen_statistics(self.module):
            return torch.sigmoid(self.module(batch.to(next(self.module.parameters()).device))).cpu()

    def _batch(self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Batch:
        dims = self.module.inputs.dims
        chosen: dict[str, Tensor] = {}
        for name, dim in dims.items():
            x = torch.as_tensor(features[name]) if name in features else None
            if x is None or x.dim() != 3 or x.shape[-1] != dim or 0 in x.shape:
                raise DataError(
                    f"features[{name!r}] is {'missing' if x is None else list(x.shape)}; "
                    f"the model takes [B, L, {dim}], none of them 0, and the modalities {', '.join(dims)}"
                )
            chosen[name] = x.float()
        if len({len(x) for x in chosen.values()}) > 1:
            sizes = ", ".join(f"{name} {len(x)}" for name, x in chosen.items())
            raise DataError(f"the modalities have different numbers of samples ({sizes}); give the same B for all")
        known = {name: torch.from_numpy(valid_rows(x.cpu().numpy())) for name, x in chosen.items()}
        for name, mask in masks.items():
            shape = list(chosen[name].shape[:2]) if name in chosen else None
            if shape is None or mask.dtype != torch.bool or list(mask.shape) != shape:
                raise DataError(
                    f"masks[{name!r}] is {mask.dtype} {list(mask.shape)}; give torch.bool [B, L] as of the features "
                    f"({shape or 'there are none of that name'}), for {', '.join(dims)}"
                )
        valid = known | dict(masks)
        for name, x in chosen.items():
            if bad := int((~x.isfinite() & valid[name].to(x.device)[..., None]).sum()):
                raise DataError(
                    f"features[{name!r}] has {bad} values that are NaN or infinite in float32, in valid rows; fill "
                    "them in, as an importer does with 0, or leave the rows out by a mask"
                )
        return Batch(chosen, valid)


def load(run: str | Path, *, backend: str | None = None) -> TrainedModel:
    """Load a trained model, on the backend it was trained with or another.

    Args:
        run: A run folder, whose best weights are taken; a packed one, all of whose files are compared with their
            hashes first; or the name of a model that comes with neurozoo.
        backend: Another backend than its own.

    Raises:
        RunError: It is none of these.
        CheckpointError: Its checkpoint is missing, damaged or of another model, or it is not as it was packed.

    Example:
        >>> model = neurozoo.load("runs/smile", backend="norse")
        >>> model.predict({"audio": audio, "vision": vision, "text": text})
    """
    source = open_trained(run, backend=backend)
    recipe, path = source.recipe, source.checkpoint
    tensors, metadata = read_tensors(path)
    if not {"dims", "labels"} <= metadata.keys():
        raise CheckpointError(f"{path}: not a checkpoint of a model, it names no dims and labels; copy it anew")
    model = assemble(recipe, inputs_of(recipe, metadata["dims"], len(metadata["labels"])))
    load_tensors(path, tensors, model)
    return TrainedModel(model.eval(), recipe, tuple(metadata["labels"]), source)
