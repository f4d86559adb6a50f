"""Shared and private spaces of modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens, WholeBatch
from neurozoo.fusions.whole import Pooling, one_row, whole
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.kept import Kept
from neurozoo.nn.packed_attention import PackedAttention

__all__ = ["MISAFusion", "SharedPrivate", "difference", "reconstruction", "similarity", "weighted_terms"]

MOMENTS = 5
"""Central moments that the similarity compares, as published."""
Weight = Annotated[float, Field(ge=0, le=1e6)]


class SharedPrivate(nn.Module):
    """Two vectors a modality, one private and one in a space that all share, mixed by an encoder layer.

    Args:
        widths: Features of each modality's vector.
        hidden: Features d of both spaces.
        heads: Attention heads; divides ``hidden``.
        inner: Width of the feed-forward.
        dropout: Probability.
    """

    def __init__(self, widths: Sequence[int], hidden: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        modalities = range(len(widths))
        self.project = nn.ModuleList([nn.Linear(width, hidden) for width in widths])
        self.project_norm = nn.ModuleList([nn.LayerNorm(hidden) for _ in modalities])
        self.private = nn.ModuleList([nn.Linear(hidden, hidden) for _ in modalities])
        self.shared = nn.Linear(hidden, hidden)
        self.rebuild = nn.ModuleList([nn.Linear(hidden, hidden) for _ in modalities])
        self.attention = PackedAttention(hidden, heads, dropout)
        self.attention_norm = nn.LayerNorm(hidden)
        self.inner = nn.Linear(hidden, inner)
        self.outer = nn.Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden)
        self.mix = nn.Linear(2 * len(widths) * hidden, len(widths) * hidden)
        self.dropout = Dropout(dropout)

    def forward(self, vectors: Sequence[Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return ``fused`` ``[B, M d]``, ``mixed`` ``[B, 2 M, d]``, and what the loss terms are made of.

        The latter are ``original``, ``private``, ``shared`` and ``rebuilt``, ``[B, M, d]`` each.

        Args:
            vectors: ``[B, width]`` of each modality.
            present: ``[B, M]`` bool.
        """
        layers = zip(self.project_norm, self.project, vectors, strict=True)
        original = torch.stack([norm(torch.relu(linear(x))) for norm, linear, x in layers], 1)
        private = torch.stack([torch.sigmoid(each(original[:, m])) for m, each in enumerate(self.private)], 1)
        shared = torch.sigmoid(self.shared(original))
        sums = private + shared
        rebuilt = torch.stack([each(sums[:, m]) for m, each in enumerate(self.rebuild)], 1)

        there = torch.cat([present, present], 1)
        rows = torch.cat([private, shared], 1)
        rows = self.attention_norm(rows + self.dropout(self.attention(rows, rows, there[:, None])))
        fed = self.outer(self.dropout(torch.relu(self.inner(rows))))
        mixed = self.output_norm(rows + self.dropout(fed)) * there[..., None]
        fused = torch.relu(self.dropout(self.mix(mixed.flatten(1))))
        return {
            "fused": fused,
            "mixed": mixed,
            "original": original,
            "private": private,
            "shared": shared,
            "rebuilt": rebuilt,
        }


class MISAFusion(Fusion):
    """Modality-invariant and -specific representations (Hazarika et al., MISA, 2020).

    ``o_m = LN(relu(Lin(h_m)))``, private ``p_m = sigmoid(Lin_m(o_m))``, shared ``s_m = sigmoid(Lin(o_m))``. The 2 M
    rows ``[p; s]`` go through an encoder layer, and all of them through ``relu(Lin)``. Three terms are added to the
    loss: p and s should differ, the s of all modalities should be alike, and ``p_m + s_m`` should give o_m back.

    An absent modality is left out of the attention, and each pair's terms are of the samples that have both. The terms
    depend on the samples that share a batch; predictions do not.

    Args:
        layout: The model's layout.
        inner: Width of the encoder layer's feed-forward; None for 4 D. Published: 2048.
        difference: Weight of the term by which spaces differ, dimensionless.
        similarity: Weight of the term by which shared vectors are alike, dimensionless.
        reconstruction: Weight of the mean squared error of o_m, dimensionless.
        output: ``projected`` to D, or ``wide`` as published, M D.
        pooling: How a sequence becomes a vector: the ``mean`` over valid rows, or the ``last`` valid one.
    """

    whole_batch: ClassVar[WholeBatch] = "training"

    def __init__(
        self,
        layout: Layout,
        *,
        inner: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        difference: Weight = 0.3,
        similarity: Weight = 1.0,
        reconstruction: Weight = 1.0,
        output: Literal["projected", "wide"] = "projected",
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        modalities, hidden = len((*layout.context, *layout.primary)), layout.hidden
        self.pooling: Pooling = pooling
        self.weights = {"difference": difference, "similarity": similarity, "reconstruction": reconstruction}
        self.spaces = SharedPrivate([hidden] * modalities, hidden, layout.heads, inner or 4 * hidden, layout.dropout)
        self.out = nn.Linear(modalities * hidden, hidden) if output == "projected" else nn.Identity()
        self.width = hidden if output == "projected" else modalities * hidden
        self.kept = Kept()

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        vectors, present = whole(features, self.pooling)
        found = self.spaces(vectors, present)
        if self.training:
            self.kept.keep(present=present, **found)
        return one_row(self.out(found["fused"]), present)

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        return weighted_terms(self.kept, self.weights)


def weighted_terms(kept: Kept, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the three terms times their weights, 0-d, of what a forward kept, which is dropped; none of nothing.

    Args:
        kept: Results of :class:`SharedPrivate`, and ``present``, ``[B, M]`` bool.
        weights: Of ``difference``, ``similarity`` and ``reconstruction``, dimensionless.
    """
    if not kept:
        return {}
    present, private, shared = (kept.pop(name) for name in ("present", "private", "shared"))
    terms = {
        "difference": difference(private, shared, present),
        "similarity": similarity(shared, present),
        "reconstruction": reconstruction(kept.pop("original"), kept.pop("rebuilt"), present),
    }
    kept.clear()
    return {name: weights[name] * term for name, term in terms.items()}


def difference(private: Tensor, shared: Tensor, present: Tensor) -> Tensor:
    """Return by how much spaces overlap, 0-d: the sum over each modality's two, and over pairs of private ones.

    The overlap of two is the mean of the squares of ``X^T Y``, X and Y less their means over the samples that have
    both, each row divided by its length.

    Args:
        private: ``[B, M, d]``.
        shared: ``[B, M, d]``.
        present: ``[B, M]`` bool.
    """
    modalities = private.shape[1]
    overlaps = [_overlap(private[:, m], shared[:, m], present[:, m]) for m in range(modalities)]
    for m, n in combinations(range(modalities), 2):
        overlaps.append(_overlap(private[:, m], private[:, n], present[:, m] & present[:, n]))
    return torch.stack(overlaps).sum()


def similarity(shared: Tensor, present: Tensor) -> Tensor:
    """Return how far the shared vectors are apart, 0-d: the central moment discrepancy, mean over pairs; 0 for M = 1.

    Args:
        shared: ``[B, M, d]``.
        present: ``[B, M]`` bool; a pair is compared over the samples that have both.
    """
    pairs = list(combinations(range(shared.shape[1]), 2))
    if not pairs:
        return shared.new_zeros(())
    found = [_discrepancy(shared[:, m], shared[:, n], present[:, m] & present[:, n]) for m, n in pairs]
    return torch.stack(found).mean()


def reconstruction(original: Tensor, rebuilt: Tensor, present: Tensor) -> Tensor:
    """Return the mean squared error of ``[B, M, d]`` over present samples and features, mean over modalities, 0-d."""
    errors = (rebuilt - original).square().mean(-1) * present
    return (errors.sum(0) / present.sum(0).clamp(min=1)).mean()


def _mean(x: Tensor, present: Tensor) -> Tensor:
    return (x * present[:, None]).sum(0) / present.sum().clamp(min=1)


def _overlap(x: Tensor, y: Tensor, present: Tensor) -> Tensor:
    def rows(each: Tensor) -> Tensor:
        centred = (each - _mean(each, present)) * present[:, None]
        # The published code takes the lengths as constants.
        lengths: Tensor = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
        return centred / (lengths.detach() + 1e-6)

    overlap: Tensor = (rows(x).T @ rows(y)).square().mean()
    return overlap


def _discrepancy(x: Tensor, y: Tensor, present: Tensor) -> Tensor:
    # vector_norm has the gradient 0 where two moments agree; a square root of squares has none.
    means = _mean(x, present), _mean(y, present)
    found: Tensor = torch.linalg.vector_norm(means[0] - means[1])
    x, y = x - means[0], y - means[1]
    for power in range(2, MOMENTS + 1):
        found = found + torch.linalg.vector_norm(_mean(x**power, present) - _mean(y**power, present))
    return found
