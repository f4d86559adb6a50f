"""Parts that are right in ways of their own: the kits must refuse none of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.multimodal import Fusion, LabelHead, Tokens
from neurozoo.nn.sequence import concatenate
from neurozoo.registry.hookspecs import Kind
from neurozoo.testing import Candidate, check


def mask_of(sequence: Tokens) -> Tensor:
    return torch.ones_like(sequence.x[..., 0], dtype=torch.bool) if sequence.mask is None else sequence.mask


class TorchAttention(Fusion):
    """torch's own attention, kept from a softmax over nothing."""

    def __init__(self, layout):
        super().__init__()
        self.attention = nn.MultiheadAttention(layout.hidden, layout.heads, layout.dropout, batch_first=True)

    def forward(self, features):
        sequence = concatenate([each.enhanced for each in features.values()])
        some = mask_of(sequence).any(1, keepdim=True)
        x, _ = self.attention(*[sequence.x] * 3, key_padding_mask=~mask_of(sequence) & some, need_weights=False)
        return sequence.with_x(sequence.x + x * some[..., None])


class Latents(Fusion):
    """As many rows as it has queries, all of them valid, whatever the masks."""

    def __init__(self, layout):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(4, layout.hidden))
        self.values = nn.Linear(layout.hidden, layout.hidden)

    def forward(self, features):
        sequence = concatenate([each.encoded for each in features.values()])
        mask = mask_of(sequence)[..., None]
        scores = (sequence.x @ self.queries.T).masked_fill(~mask, torch.finfo(sequence.x.dtype).min)
        x = (scores.softmax(1) * mask).transpose(1, 2) @ self.values(sequence.x)
        return Tokens(x, None, torch.arange(4, device=x.device)[None])


class NormOfValidRows(Fusion):
    """Samples meet in training, as in every batch norm, and padding does not."""

    def __init__(self, layout):
        super().__init__()
        self.norm = nn.BatchNorm1d(layout.hidden)

    def forward(self, features):
        sequence = concatenate([each.enhanced for each in features.values()])
        mask = mask_of(sequence)
        x = torch.zeros_like(sequence.x)
        x[mask] = self.norm(sequence.x[mask])
        return sequence.with_x(x)


class Recurrent(LabelHead):
    """A GRU over the valid rows, brought together first."""

    def __init__(self, layout):
        super().__init__()
        self.gru = nn.GRU(layout.hidden, layout.hidden, batch_first=True)
        self.linear = nn.Linear(layout.hidden, layout.outputs)

    def forward(self, sequence):
        mask = mask_of(sequence)
        order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
        x, _ = self.gru(torch.gather(sequence.x, 1, order[..., None].expand_as(sequence.x)))
        last = (mask.sum(1) - 1).clamp(min=0)[:, None, None].expand(-1, 1, x.shape[2])
        return self.linear(torch.gather(x, 1, last)[:, 0] * mask.any(1, keepdim=True))


class Largest(LabelHead):
    """Few rows get a gradient."""

    def __init__(self, layout):
        super().__init__()
        self.linear = nn.Linear(layout.hidden, layout.outputs)

    def forward(self, sequence):
        return self.linear(sequence.x).masked_fill(~mask_of(sequence)[..., None], -100.0).amax(1)


@pytest.mark.parametrize(
    ("kind", "part", "not_run"),
    [
        ("fusion", TorchAttention, set()),
        ("fusion", Latents, set()),
        ("fusion", NormOfValidRows, {"stays_on_the_device"}),
        ("label-head", Recurrent, set()),
        ("label-head", Largest, set()),
    ],
)
def test_what_is_right_passes(kind: Kind, part: type[nn.Module], not_run: set[str]) -> None:
    report = check(Candidate(kind, part.__name__, part))
    report.raise_if_failed()
    assert {result.name for result in report.results if result.outcome == "not run"} == not_run
