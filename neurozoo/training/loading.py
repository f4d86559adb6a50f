"""A trained model, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from neurozoo.assemble import assemble, inputs_of
from neurozoo.data.writer import valid_rows
from neurozoo.errors import DataError
from neurozoo.interfaces import Batch, ZooModel
from neurozoo.recipe import Recipe
from neurozoo.training.checkpoint import load_checkpoint, read_tensors
from neurozoo.training.run import Run

__all__ = ["TrainedModel", "load"]


@dataclass(frozen=True)
class TrainedModel:
    """A model with the weights of a run's best epoch.

    Attributes:
        module: The model, in evaluation mode.
        recipe: What it was made with.
        labels: Names of the K labels.
    """

    module: ZooModel
    recipe: Recipe
    labels: tuple[str, ...]

    @torch.no_grad()
    def predict(self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities ``[B, K]`` of the labels.

        Args:
            features: ``[B, L, D]`` float32 by modality, in the data's own units.
            masks: ``[B, L]`` bool by modality, True where valid; by default rows of zeros at
                either end are padding, as in the store.

        Raises:
            DataError: A modality is missing or has another number of features.
        """
        dims = self.module.inputs.dims
        for name, dim in dims.items():
            given = list(features[name].shape) if name in features else None
            if given is None or len(given) != 3 or given[-1] != dim:
                raise DataError(
                    f"features[{name!r}] is {given or 'missing'}; the model takes [B, L, {dim}], "
                    f"and the modalities {', '.join(dims)}"
                )
        chosen = {name: features[name] for name in dims}
        known = {name: torch.from_numpy(valid_rows(x.cpu().numpy())) for name, x in chosen.items()} | dict(masks or {})
        device = next(self.module.parameters()).device
        self.module.eval()
        return torch.sigmoid(self.module(Batch(chosen, known).to(device))).cpu()


def load(run: str | Path, *, backend: str | None = None) -> TrainedModel:
    """Load a run's best weights, on the backend it was trained with or another.

    Raises:
        RunError: It is not a run folder.
        CheckpointError: Its checkpoint is missing, damaged or of another model.

    Example:
        >>> model = neurozoo.load("runs/smile", backend="norse")
        >>> model.predict({"audio": audio, "vision": vision, "text": text})
    """
    folder = Run(Path(run))
    recipe = folder.recipe(backend=backend)
    _, metadata = read_tensors(folder.best)
    model = assemble(recipe, inputs_of(recipe, metadata["dims"], len(metadata["labels"])))
    load_checkpoint(folder.best, model)
    return TrainedModel(model.eval(), recipe, tuple(metadata["labels"]))
