"""A vector for each label, learned or from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.model import Trained
from neurozoo.core.multimodal import Layout
from neurozoo.data.vectors import read_vectors
from neurozoo.errors import DataError

__all__ = ["LabelVectors", "VectorSize"]

VectorSize = Annotated[int, Field(ge=1, le=65_536)]


class LabelVectors(Trained):
    """Vectors E ``[K, size]``, normal at the start.

    A file is read by ``prepare``, once before a training. A checkpoint has what was read, so that a trained model does
    not need the file.

    Args:
        layout: The model's layout, whose labels name the vectors of a file.
        size: Numbers of a vector.
        path: A safetensors file, see :func:`~neurozoo.data.vectors.read_vectors`; None for none.
        learned: Whether they learn.
    """

    weight: Tensor

    def __init__(self, layout: Layout, size: int, path: str | Path | None, *, learned: bool) -> None:
        super().__init__()
        self.path, self.labels = path, layout.labels
        vectors = torch.randn(layout.outputs, size)
        if learned:
            self.weight = nn.Parameter(vectors)
        else:
            self.register_buffer("weight", vectors)

    def prepare(self, target: Tensor, valid: Tensor | None = None) -> None:
        if self.path is None:
            return
        if len(self.labels) != len(self.weight):
            raise DataError(f"the model does not name its outputs, by which the vectors in {self.path} are found")
        found = read_vectors(Path(self.path).expanduser(), self.labels, self.weight.shape[1])
        with torch.no_grad():
            self.weight.copy_(found)

    def forward(self) -> Tensor:
        """Return the vectors."""
        return self.weight
