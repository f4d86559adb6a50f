"""Spiking cross-modal attention: the products are of spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, TorchNeuron, neuron_for
from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens, WholeBatch
from neurozoo.errors import DataError
from neurozoo.nn.kept import Kept
from neurozoo.nn.sequence import at_relative_times, concatenate, zero_padding
from neurozoo.nn.synapses import NormalisedTokens

__all__ = ["SCMRLFusion", "SpikingCrossBlock", "alignment"]

SPEC = LIFSpec(tau=2.0, surrogate="sigmoid", alpha=4.0, detach_reset=True)
"""All neurons, as published: the input decays too, hard reset to 0."""
Through = Literal["through-time", "each-step"]
"""Whether membranes carry gradients from step to step."""


class _Rows(NormalisedTokens):
    """A linear, or nothing, on each row of ``[T, B, L, D]``, and batch norm over the valid ones."""

    over_time = True

    def __init__(self, hidden: int, bias: float, linear: bool = True) -> None:
        super().__init__(nn.Linear(hidden, hidden, bias=False) if linear else nn.Identity(), hidden)
        nn.init.constant_(self.norm.bias, bias)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        weighted: Tensor = self.weight(x)
        rows = None if valid is None else valid.expand(weighted.shape[:3]).flatten()
        return self.normalised(weighted.flatten(0, 2), rows).view_as(weighted)


class _Neurons(nn.Module):
    """A spiking layer, whose membranes may be cut from the graph after each step."""

    def __init__(self, make: MakeNeuron, synapse: nn.Module | None, gradient: Through) -> None:
        super().__init__()
        self.layer = SpikingLayer(neuron_for(make, SPEC), synapse)
        self.cut = gradient == "each-step"

    def forward(self, x: Tensor, threshold: float = 1.0, valid: Tensor | None = None) -> Tensor:
        """Return spikes ``[T, B, ...]`` of inputs ``[T, B, ...]``."""
        if not self.cut:
            fired: Tensor = self.layer(x, threshold, valid=valid)
            return fired
        currents, state, steps = self.layer.currents(x, valid), None, []
        for step in range(len(currents)):
            spikes, after = self.layer.run(currents[step : step + 1], state, threshold)
            state = tuple(each.detach() for each in after)
            steps.append(spikes)
        return self.layer.record(currents, torch.cat(steps), threshold, valid)


class _Attention(nn.Module):
    """Queries of one modality, keys and values of others, all spikes; and what follows the products."""

    def __init__(self, hidden: int, make: MakeNeuron, gradient: Through, bias: float, normalised: bool) -> None:
        super().__init__()
        self.query, self.key, self.value = (_Neurons(make, _Rows(hidden, bias), gradient) for _ in range(3))
        self.attend = _Neurons(make, _Rows(hidden, bias, linear=False) if normalised else None, gradient)
        self.out = _Neurons(make, _Rows(hidden, bias), gradient)


class SpikingCrossBlock(nn.Module):
    """``x`` asks ``y``: attention over places and over steps, whose product makes a spiking residual.

    Args:
        hidden: Features D.
        heads: H, divides D.
        make: Makes the backend's neuron.
        threshold: Of the attention's neurons, dimensionless.
        alpha: Factor of the residual, dimensionless.
        scale: Factor of the products of spikes, dimensionless.
        gradient: See :class:`SCMRLFusion`.
        heads_first: Whether heads and steps are mixed up behind the attention over steps, as published.
        bias: Of the batch norms at the start, dimensionless.
        normalised: Whether the products of spikes, and the linear of S times U, have a batch norm.
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        make: MakeNeuron,
        threshold: float,
        alpha: float,
        scale: float,
        gradient: Through,
        heads_first: bool,
        bias: float,
        normalised: bool,
    ) -> None:
        super().__init__()
        self.spatial, self.temporal = (_Attention(hidden, make, gradient, bias, normalised) for _ in range(2))
        self.mix = _Neurons(make, _Rows(hidden, bias) if normalised else nn.Linear(hidden, hidden), gradient)
        self.heads, self.threshold, self.alpha, self.scale = heads, threshold, alpha, scale
        self.heads_first = heads_first

    def forward(self, x: Tokens, others: Sequence[Tokens]) -> dict[str, Tensor]:
        """Return ``out``, ``residual``, ``spatial`` and ``temporal``, ``[T, B, L, D]`` each.

        Args:
            x: Spikes ``[B, L, T, D]`` of the modality that asks; 0 in padded rows.
            others: Spikes of the others, in order.
        """
        own, valid = _steps(x.x), None if x.mask is None else x.mask[None]
        y = others[0] if len(others) == 1 else concatenate(others)
        asked, seen = _steps(y.x), None if y.mask is None else y.mask[None]

        attention = self.spatial
        q = self._split(attention.query(own, valid=valid))  # [T, B, H, L, D/H]
        k, v = (self._split(_shown(each(asked, valid=seen), seen)) for each in (attention.key, attention.value))
        sums = ((q @ k.transpose(-2, -1)) @ v * self.scale).transpose(2, 3).flatten(3)
        spatial = attention.out(attention.attend(sums, self.threshold, valid), valid=valid)

        attention = self.temporal
        keys, values = (_shown(each(asked, valid=seen), seen) for each in (attention.key, attention.value))
        lengths = [each.x.shape[1] for each in others]
        pairs = zip(others, torch.split(keys, lengths, 2), torch.split(values, lengths, 2), strict=True)
        aligned = [tuple(_at(each, x, of) for each in (k, v)) for of, k, v in pairs]
        q = self._over_steps(attention.query(own, valid=valid))  # [L, B, H, T, D/H]
        k, v = (torch.cat([self._over_steps(pair[i]) for pair in aligned], 3) for i in (0, 1))
        products = (q @ k.transpose(-2, -1)) @ v * self.scale
        mixed = products.flatten(2) if self.heads_first else products.transpose(2, 3).flatten(2)
        sums = mixed.view(own.shape[2], own.shape[1], *own.shape[::3]).permute(2, 1, 0, 3)
        temporal = attention.out(attention.attend(sums, self.threshold, valid), valid=valid)

        z = _mean_over_places(spatial, valid) * temporal.mean(0, keepdim=True)
        residual = self.mix(z, valid=valid)
        out = own + self.alpha * residual
        return {"out": out, "residual": residual, "spatial": spatial, "temporal": temporal}

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:3], self.heads, x.shape[3] // self.heads).transpose(2, 3)

    def _over_steps(self, x: Tensor) -> Tensor:
        places = x.permute(2, 1, 0, 3)
        return places.reshape(*places.shape[:3], self.heads, x.shape[3] // self.heads).transpose(2, 3)


class SCMRLFusion(Fusion):
    """Spiking cross-modal attention (S-CMRL; He et al. 2025, arXiv 2502.12488).

    Each modality's spikes x ask the spikes of the others: ``q k^T v`` over places, and over steps at the same relative
    times, each followed by neurons, give S and U. ``r = LIF(Lin(mean over places of S * mean over steps of U))`` and
    the result is the mean over steps of ``x + alpha r``, one modality after another. With one modality it asks itself.

    A term of the loss draws the mean r of two modalities together where samples have the same class; of label sets, by
    the share of labels that they have in common. It depends on the samples of a batch.

    The published code passes the attention's threshold under a name that is ignored, so that it is 1 and not 0.5; cuts
    membranes from the graph after each step; mixes up heads and steps behind the attention over steps; and starts batch
    norms at the bias 0. At its sizes the attention is then silent, so that S and U are; as each is multiplied by the
    other, neither has a gradient. Here batch norms follow the products of spikes and the last linear too, and start
    at the threshold.

    Args:
        layout: The model's layout; a context has no spikes and is refused.
        alpha: Factor of the residual, dimensionless.
        threshold: Of the attention's neurons, dimensionless. Published: 1.
        scale: Factor of the products of spikes, dimensionless.
        alignment: Weight of the loss term, dimensionless.
        temperature: Of its softmax, dimensionless.
        start: Bias of the batch norms at the start, dimensionless. At 1, the neurons' threshold, about half of them
            fire. Published: 0.
        products: Whether a batch norm follows the products of spikes and the last linear, ``normalised``; or, as
            published, none does: ``scaled``.
        gradient: ``through-time``, or ``each-step`` as published.
        heads_and_steps: ``in-order``, or ``mixed`` as published.

    Raises:
        DataError: There is a context.
    """

    needs_spikes = True
    whole_batch: ClassVar[WholeBatch] = "training"

    def __init__(
        self,
        layout: Layout,
        *,
        alpha: Annotated[float, Field(ge=0, le=1e6)] = 1.5,
        threshold: Annotated[float, Field(gt=0, le=1e6)] = 0.5,
        scale: Annotated[float, Field(gt=0, le=1e6)] = 0.25,
        alignment: Annotated[float, Field(ge=0, le=1e6)] = 1.0,
        temperature: Annotated[float, Field(gt=0, le=1e6)] = 0.07,
        start: Annotated[float, Field(ge=-1e6, le=1e6)] = 1.0,
        products: Literal["normalised", "scaled"] = "normalised",
        gradient: Through = "through-time",
        heads_and_steps: Literal["in-order", "mixed"] = "in-order",
    ) -> None:
        super().__init__()
        if layout.context:
            raise DataError(
                f"scmrl takes spikes, and the context {', '.join(layout.context)} has none; set model.params.context "
                "to null, or choose another fusion"
            )
        sizes = layout.hidden, layout.heads, layout.neuron or TorchNeuron, threshold, alpha, scale, gradient
        mixed, normalised = heads_and_steps == "mixed", products == "normalised"
        self.blocks = nn.ModuleDict(
            {name: SpikingCrossBlock(*sizes, mixed, start, normalised) for name in layout.primary}
        )
        self.weight, self.temperature = alignment, temperature
        self.kept = Kept()

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        spikes = {name: _zeroed(each.spikes) for name, each in features.items() if each.spikes is not None}
        fused, residuals = [], []
        for name, x in spikes.items():
            found = self.blocks[name](x, [each for other, each in spikes.items() if other != name] or [x])
            fused.append(features[name].enhanced.with_x(found["out"].mean(0)))
            valid = None if x.mask is None else x.mask[None]
            residuals.append(_mean_over_places(found["residual"], valid)[:, :, 0].mean(0))
        if self.training:
            present = torch.stack([each.valid.any(1) for each in spikes.values()], 1)
            self.kept.keep(means=torch.stack(residuals, 1), present=present)
        return concatenate(fused)

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        if not self.kept:
            return {}
        means, present = self.kept.pop("means"), self.kept.pop("present")
        return {"alignment": self.weight * alignment(means, present, target, self.temperature)}


def alignment(means: Tensor, present: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return ``-(1/n^2) sum_ij same_ij ln softmax_j(a_i . b_j / temperature)``, mean over pairs of modalities, 0-d.

    Args:
        means: ``[B, M, D]``, a and b for each pair.
        present: ``[B, M]`` bool; a pair is compared over the n samples that have both.
        target: Classes ``[B]``, or labels 0 and 1 ``[B, K]``.
        temperature: Dimensionless.
    """
    pairs = list(combinations(range(means.shape[1]), 2))
    if not pairs:
        return means.new_zeros(())
    if target.dim() == 1:
        same = (target[:, None] == target).to(means.dtype)
    else:
        y = target.to(means.dtype)
        either = torch.maximum(y[:, None], y).sum(-1)
        # Two samples without any label are the same.
        same = torch.where(either > 0, torch.minimum(y[:, None], y).sum(-1) / either.clamp(min=1), 1.0)
    terms = []
    for m, n in pairs:
        both = present[:, m] & present[:, n]
        scores = means[:, m] @ means[:, n].T / temperature
        logs = F.log_softmax(scores.masked_fill(~both, torch.finfo(scores.dtype).min), 1)
        counted = both[:, None] & both
        count = both.sum().clamp(min=1)
        terms.append(-(same * logs.masked_fill(~counted, 0.0)).sum() / (count * count))
    return torch.stack(terms).mean()


def _zeroed(spikes: Tokens) -> Tokens:
    flat = zero_padding(spikes.x.flatten(2), spikes.mask)
    return spikes.with_x(flat.view_as(spikes.x))


def _steps(x: Tensor) -> Tensor:
    """Return ``[T, B, L, D]`` of ``[B, L, T, D]``."""
    return x.permute(2, 0, 1, 3)


def _shown(spikes: Tensor, valid: Tensor | None) -> Tensor:
    return spikes if valid is None else spikes * valid[..., None]


def _at(x: Tensor, at: Tokens, of: Tokens) -> Tensor:
    """Return ``[T, B, L', D]`` at the relative times of another modality's rows; 0 where it is absent."""
    return at_relative_times(x, of.mask, at.mask, at.x.shape[1])


def _mean_over_places(x: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean ``[T, B, 1, D]`` over valid places of ``[T, B, L, D]``."""
    if valid is None:
        return x.mean(2, keepdim=True)
    there = valid[..., None]
    return (x * there).sum(2, keepdim=True) / there.sum(2, keepdim=True).clamp(min=1)
