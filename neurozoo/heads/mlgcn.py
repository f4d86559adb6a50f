"""ML-GCN: classifiers made by a graph convolution over the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import LabelHead, Layout, Tokens
from neurozoo.heads.label_vectors import LabelVectors, VectorSize
from neurozoo.heads.targets import counted_labels
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.sequence import pooled

__all__ = ["MLGCNHead", "adjacency"]

NEIGHBOURS = 0.25
"""Weight of a label's neighbours together, dimensionless (as published)."""


class MLGCNHead(LabelHead):
    """Multi-label graph convolution (Chen et al., Multi-Label Image Recognition with Graph Convolutional Networks).

    Two graph convolutions map the labels' vectors to their classifiers, ``Y = G leaky_relu(G E W1) W2``, and the logits
    are ``x Y^T``, x the pooled sequence. G joins labels that are there together, see :func:`adjacency`; it has no
    edges before the model has seen training targets.

    Args:
        layout: The model's layout.
        vectors: Safetensors file with a vector for each label by its name, which do not learn, as published; null for
            learned vectors.
        size: Numbers E of such a vector. Published: 300.
        inner: Features between the two convolutions. Published: 1024.
        threshold: Edges are from a label to those that at least this share of its samples has, dimensionless.
        pooling: Over valid rows; published: ``max``.
        dropout: Probability, on the pooled features.
    """

    counts: Tensor
    together: Tensor

    def __init__(
        self,
        layout: Layout,
        *,
        vectors: Path | None = None,
        size: VectorSize = 64,
        inner: Annotated[int, Field(ge=1, le=65_536)] = 64,
        threshold: Annotated[float, Field(gt=0, le=1)] = 0.4,
        pooling: Literal["mean", "max"] = "mean",
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__()
        self.vectors = LabelVectors(layout, size, vectors, learned=vectors is None)
        self.first = nn.Parameter(torch.empty(size, inner).uniform_(-(inner**-0.5), inner**-0.5))
        width = layout.hidden
        self.second = nn.Parameter(torch.empty(inner, width).uniform_(-(width**-0.5), width**-0.5))
        self.threshold, self.pooling = threshold, pooling
        self.dropout = Dropout(dropout)
        # Whole numbers, which stay exact when the model is cast to another dtype.
        self.register_buffer("counts", torch.zeros(layout.outputs, dtype=torch.int64))
        self.register_buffer("together", torch.zeros(layout.outputs, layout.outputs, dtype=torch.int64))

    def prepare(self, target: Tensor, valid: Tensor | None = None) -> None:
        labels = counted_labels(target, len(self.counts), "ml-gcn").double()  # CUDA multiplies no whole numbers
        self.counts.copy_(labels.sum(0))
        self.together.copy_((labels.T @ labels).fill_diagonal_(0))

    def forward(self, sequence: Tokens, target: Any = None) -> Tensor:
        logits: Tensor = self.dropout(pooled(sequence, self.pooling)) @ self.classifiers().T
        return logits

    def classifiers(self) -> Tensor:
        """Return each label's weights ``[K, D]``."""
        graph = adjacency(self.counts, self.together, self.threshold).to(self.first.dtype)
        return graph @ (F.leaky_relu(self.convolved(graph), 0.2) @ self.second)

    def convolved(self, graph: Tensor) -> Tensor:
        """Return the first convolution before its nonlinearity, ``[K, inner]``."""
        convolved: Tensor = graph @ (self.vectors() @ self.first)
        return convolved


def adjacency(counts: Tensor, together: Tensor, threshold: float) -> Tensor:
    """Return G ``[K, K]``, float32.

    ``P_ij = 1`` where at least a share ``threshold`` of the samples with label i have label j too;
    ``A = 0.25 P / column sums of P + I``; ``G_ij = d_i A_ji d_j``, ``d_i = (sum_j A_ij)^-1/2``. That it is columns, and
    the transposed A, is the published code's; the paper divides by rows. A label without samples has no edges.

    Args:
        counts: Samples with each label, ``[K]``.
        together: Samples with both of two labels, ``[K, K]``; 0 on the diagonal.
        threshold: From 0 to 1.
    """
    share = together.float() / counts.clamp(min=1)[:, None]
    edges = (share >= threshold).float()
    weights = NEIGHBOURS * edges / (edges.sum(0) + 1e-6) + torch.eye(len(counts), device=counts.device)
    scale = weights.sum(1).rsqrt()
    return scale[:, None] * weights.T * scale
