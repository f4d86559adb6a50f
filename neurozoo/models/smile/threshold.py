"""Threshold policies: the firing threshold of a batch or a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from neurozoo.errors import SpikingError
from neurozoo.models.smile.parts import Layout, ThresholdPolicy, Tokens
from neurozoo.nn.running import RunningMean
from neurozoo.nn.sequence import at_relative_times

__all__ = ["Constant", "CrossEntropyRatio", "Disagreement", "disagreement"]

_EPS = 1e-8


class Constant(ThresholdPolicy):
    """A fixed threshold.

    Args:
        layout: Not used.
        value: The threshold, dimensionless.
    """

    whole_sequence = False
    value: Tensor

    def __init__(self, layout: Layout, *, value: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(float(value)))

    def forward(self, projected: Mapping[str, Tokens]) -> Tensor:
        return self.value

    def base(self) -> float:
        return float(self.value)


class CrossEntropyRatio(ThresholdPolicy):
    """``xi_u = CE_u / CE_{u-1}``, one scalar for the batch: SMILE's threshold as published.

    ``CE_u`` is the cross-entropy of the first spiking modality's projection (as logits) against the largest feature of
    the second's (as target), over all positions. The previous value is carried from batch to batch, in evaluation too,
    so that predictions depend on the order of batches. For recipes that reproduce the paper only.

    Args:
        layout: Needs two or more spiking modalities.
    """

    least_spiking = 2
    whole_batch = True
    previous: Tensor
    cross_entropy: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        if len(layout.primary) < self.least_spiking:
            raise SpikingError(
                "the threshold policy 'cross-entropy-ratio' compares two spiking modalities, "
                f"and there is {', '.join(layout.primary)}; name a second one, or use 'disagreement' or 'constant'"
            )
        self.register_buffer("previous", torch.ones(()))
        self.register_buffer("cross_entropy", torch.ones(()), persistent=False)

    @torch.no_grad()
    def forward(self, projected: Mapping[str, Tokens]) -> Tensor:
        first, second = list(projected.values())[:2]
        length = first.x.shape[1]
        target = at_relative_times(second.x, second.mask, first.mask, length).argmax(-1)
        each = F.cross_entropy(first.x.flatten(0, 1), target.flatten(), reduction="none")
        if first.mask is None and second.mask is None:
            entropy = each.mean()
        else:
            valid = _valid_in_both(first, second)
            count = valid.sum()
            entropy = (each * valid.flatten()).sum() / count.clamp(min=1)
            entropy = torch.where(count > 0, entropy, self.previous)
        threshold = entropy / self.previous
        # Out of place, since an earlier batch's backward may still need its threshold.
        self.cross_entropy, self.previous = entropy, entropy.clone()
        return _finite(threshold, "the cross-entropy between the modalities")

    def report(self) -> Mapping[str, Tensor]:
        return {"cross_entropy": self.cross_entropy}


class Disagreement(ThresholdPolicy):
    """A threshold for each sample, ``xi_i = xi_0 exp(kappa tanh z_i)``.

    ``z_i`` is the standardised logarithm of ``D_i``, the mean Jensen-Shannon divergence between the modalities'
    projections at each position, shrunk towards the running mean for short samples. Mean and deviation are those of
    training samples and part of the checkpoint. D has no gradient; ``kappa`` is learned.

    Args:
        layout: Not used.
        xi_0: Threshold of a sample with average disagreement, dimensionless.
        kappa: Initial value of the learned exponent, dimensionless, between -ln 2 and ln 2.
        n0: Weight of the running mean, in positions.
        momentum: Weight of the newest batch in the running means.
    """

    LIMIT = math.log(2.0)

    def __init__(
        self,
        layout: Layout,
        *,
        xi_0: Annotated[float, Field(gt=0)] = 1.0,
        kappa: Annotated[float, Field(ge=-LIMIT, le=LIMIT)] = 0.1,
        n0: Annotated[float, Field(ge=0)] = 8.0,
        momentum: Annotated[float, Field(gt=0, le=1)] = 0.05,
    ) -> None:
        super().__init__()
        self.xi_0, self.n0 = xi_0, n0
        self.kappa = nn.Parameter(torch.tensor(float(kappa)))
        # The variance is a small difference of two means: in float32 its error of a thousandth would make spikes
        # depend on how a batch is divided among processes.
        self.mean_divergence = RunningMean(momentum=momentum, dtype=torch.float64)
        self.mean_log = RunningMean(momentum=momentum, dtype=torch.float64)
        self.mean_square_log = RunningMean(momentum=momentum, initial=1.0, dtype=torch.float64)

    def forward(self, projected: Mapping[str, Tokens]) -> Tensor:
        z = self._standardised(list(projected.values()))
        return _finite(
            self.xi_0 * torch.exp(self._limited_kappa() * torch.tanh(z)), "the disagreement between the modalities"
        )

    def report(self) -> Mapping[str, Tensor]:
        return {"kappa": self._limited_kappa().detach(), "divergence": self.mean_divergence.value}

    def base(self) -> float:
        """``xi_0``, which ``kappa = 0`` gives to every sample."""
        return self.xi_0

    def _limited_kappa(self) -> Tensor:
        # The gradient passes the limit, so that kappa can return from beyond it.
        return self.kappa + (self.kappa.clamp(-self.LIMIT, self.LIMIT) - self.kappa).detach()

    @torch.no_grad()
    def _standardised(self, sequences: list[Tokens]) -> Tensor:
        precision = self.mean_log.total.dtype
        total, count = (x.to(precision) for x in disagreement(sequences))
        known = count > 0
        if self.training:
            self.mean_divergence.update(total.sum(), count.sum())
        usual = self.mean_divergence.value
        shrunk = (total + self.n0 * usual) / (count + self.n0).clamp(min=_EPS)
        log = torch.log(shrunk + _EPS)
        if self.training:
            self.mean_log.update((log * known).sum(), known.sum())
            self.mean_square_log.update((log.square() * known).sum(), known.sum())
        mean = self.mean_log.value
        deviation = (self.mean_square_log.value - mean.square()).clamp(min=1e-8).sqrt()
        # A sample without a valid position, or any before the first training step, gets xi_0.
        seen = known & (self.mean_log.weight > 0)
        return torch.where(seen, (log - mean) / deviation, torch.zeros_like(log)).to(sequences[0].x.dtype)


def disagreement(sequences: list[Tokens]) -> tuple[Tensor, Tensor]:
    """Return how much modalities disagree, in nats: Jensen-Shannon divergences of softmax(LayerNorm(p)).

    The mean over all pairs, with the second resampled to the first one's relative times. A single modality is compared
    with itself at the next position.

    Args:
        sequences: Projections ``[B, L, D]``.

    Returns:
        The sum over valid positions and their number, both ``[B]``; for several pairs so that their quotient is the
        unweighted mean of the pairs' means, and their number the mean of the pairs'.
    """
    logs = [F.log_softmax(F.layer_norm(s.x, s.x.shape[-1:]), dim=-1) for s in sequences]
    if len(sequences) == 1:
        mask = sequences[0].valid
        pairs = [(logs[0][:, :-1], logs[0][:, 1:], mask[:, :-1] & mask[:, 1:])]
    else:
        pairs = [
            (log_a, at_relative_times(log_b, b.mask, a.mask, a.x.shape[1]), _valid_in_both(a, b))
            for (log_a, a), (log_b, b) in combinations(zip(logs, sequences, strict=True), 2)
        ]
    sums = [
        torch.where(valid, _jensen_shannon(log_a, log_b), 0.0).sum(1, dtype=torch.float64)
        for log_a, log_b, valid in pairs
    ]
    counts = [valid.sum(1).double() for _, _, valid in pairs]
    if len(pairs) == 1:
        return sums[0], counts[0]
    total, count = torch.stack(sums), torch.stack(counts)  # [pairs, B]
    comparable = (count > 0).sum(0).clamp(min=1)
    positions = count.sum(0) / comparable
    return (total / count.clamp(min=1)).sum(0) / comparable * positions, positions


def _jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return the divergence of two log-probabilities over the last axis, in nats, between 0 and ln 2."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2.0)
    divergence = (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum(-1) / 2
    return divergence.clamp(min=0.0)


def _valid_in_both(a: Tokens, b: Tokens) -> Tensor:
    """Return the valid positions ``[B, L]`` of ``a`` in samples where ``b`` has any."""
    return a.valid if b.mask is None else a.valid & b.mask.any(1, keepdim=True)


def _finite(threshold: Tensor, origin: str) -> Tensor:
    """Return the threshold, or raise if it is NaN or infinite, which would silence the neurons."""
    if torch.compiler.is_compiling():
        return threshold
    finite = torch.isfinite(threshold).all()
    if threshold.is_cuda:
        torch._assert_async(finite)  # raises at the next synchronisation, without waiting for one
    elif not finite:
        raise SpikingError(
            f"the firing threshold is not finite: {origin} is NaN or infinite. Look for non-finite weights "
            "(a learning rate too high) or features (`neurozoo data info`)"
        )
    return threshold
