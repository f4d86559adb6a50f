"""Tensor fusion, and its low-rank form: products of the modalities' vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.errors import DataError
from neurozoo.fusions.whole import Pooling, one_row, whole
from neurozoo.nn.dropout import Dropout

__all__ = ["LMFFusion", "LowRankProduct", "TFNFusion", "TensorProduct"]

MOST_WEIGHTS = 2**22
"""Weights of the linear on the outer product, beyond which the product is refused."""


def _with_one(x: Tensor) -> Tensor:
    """Return ``[1; x]`` of ``[B, width]``."""
    return torch.cat([x.new_ones(x.shape[0], 1), x], 1)


class TensorProduct(nn.Module):
    """Outer product of ``[1; h_m]`` and two layers on it (Zadeh et al. 2017).

    Args:
        widths: Features of each modality's vector.
        hidden: Features D of the result.
        dropout: Probability, on the outer product.
    """

    def __init__(self, widths: Sequence[int], hidden: int, dropout: float) -> None:
        super().__init__()
        size = 1
        for width in widths:
            size *= width + 1
        if size * hidden > MOST_WEIGHTS:
            factors = " x ".join(str(width + 1) for width in widths)
            raise DataError(
                f"tfn: the product of {factors} = {size:,} numbers needs {size * hidden:,} weights, and at most "
                f"{MOST_WEIGHTS:,} are allowed; give a smaller size, or use lmf"
            )
        self.dropout = Dropout(dropout)
        self.first = nn.Linear(size, hidden)
        self.second = nn.Linear(hidden, hidden)

    def product(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return the outer product ``[B, (w_1 + 1) ... (w_M + 1)]``, the last modality fastest."""
        found = _with_one(vectors[0])
        for x in vectors[1:]:
            found = (found[:, :, None] * _with_one(x)[:, None]).flatten(1)
        return found

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return ``[B, D]`` of vectors ``[B, width]``, 0 where a modality is absent."""
        x = torch.relu(self.first(self.dropout(self.product(vectors))))
        return torch.relu(self.second(x))


class TFNFusion(Fusion):
    """Tensor fusion network (Zadeh et al., Tensor Fusion Network for Multimodal Sentiment Analysis, 2017).

    Each modality's vector is reduced to ``size`` features h_m. The outer product of all ``[1; h_m]`` goes through
    dropout and two layers ``relu(Lin)`` of width D. An absent modality is ``[1; 0]``, which leaves the product of the
    others.

    Args:
        layout: The model's layout.
        size: Features of each modality in the product.
        pooling: How a sequence becomes a vector: the ``mean`` over valid rows, or the ``last`` valid one.

    Raises:
        DataError: The product would need more than 4,194,304 weights.
    """

    def __init__(
        self, layout: Layout, *, size: Annotated[int, Field(ge=1, le=1024)] = 8, pooling: Pooling = "mean"
    ) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        modalities = len((*layout.context, *layout.primary))
        self.reduce = nn.ModuleList([nn.Linear(layout.hidden, size) for _ in range(modalities)])
        self.product = TensorProduct([size] * modalities, layout.hidden, layout.dropout)

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        vectors, present = whole(features, self.pooling)
        there = present[..., None]
        reduced = [linear(x) * there[:, m] for m, (linear, x) in enumerate(zip(self.reduce, vectors, strict=True))]
        return one_row(self.product(reduced), present)


class LowRankProduct(nn.Module):
    """Sum of R products of linears of ``[1; h_m]`` (Liu et al. 2018).

    Args:
        widths: Features of each modality's vector.
        hidden: Features D of the result.
        rank: R.
        init: See :class:`LMFFusion`.
    """

    def __init__(self, widths: Sequence[int], hidden: int, rank: int, init: Literal["matrix", "published"]) -> None:
        super().__init__()
        self.factors = nn.ParameterList([nn.Parameter(torch.empty(rank, width + 1, hidden)) for width in widths])
        self.weights = nn.Parameter(torch.empty(1, rank))
        self.bias = nn.Parameter(torch.zeros(1, hidden))
        nn.init.xavier_normal_(self.weights)
        for factor in self.factors:
            if init == "published":
                nn.init.xavier_normal_(factor)
            else:
                nn.init.normal_(factor, std=(2 / (factor.shape[1] + hidden)) ** 0.5)

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return ``[B, D]`` of vectors ``[B, width]``, 0 where a modality is absent."""
        product = torch.matmul(_with_one(vectors[0]), self.factors[0])  # [R, B, D]
        for x, factor in zip(vectors[1:], list(self.factors)[1:], strict=True):
            product = product * torch.matmul(_with_one(x), factor)
        return (self.weights[0][:, None, None] * product).sum(0) + self.bias


class LMFFusion(Fusion):
    """Low-rank multimodal fusion (Liu et al., Efficient Low-rank Multimodal Fusion, 2018).

    ``h = sum_r w_r prod_m [1; h_m] F_m[r] + b``, with the outer product of tensor fusion in factors of rank R. An
    absent modality gives the factor ``F_m[r, 0]``.

    Args:
        layout: The model's layout.
        rank: R.
        init: Deviation of the factors: of a ``matrix`` of their size, ``sqrt(2 / (D + 1 + D))``; or as ``published``,
            ``sqrt(2 / (D (D + 1 + R)))``, for which all products are close to 0.
        pooling: How a sequence becomes a vector: the ``mean`` over valid rows, or the ``last`` valid one.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        rank: Annotated[int, Field(ge=1, le=256)] = 4,
        init: Literal["matrix", "published"] = "matrix",
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        modalities = len((*layout.context, *layout.primary))
        self.product = LowRankProduct([layout.hidden] * modalities, layout.hidden, rank, init)

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        vectors, present = whole(features, self.pooling)
        return one_row(self.product(vectors), present)
