"""What the labels look at, recorded without changing anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from neurozoo.core.signals import Batch
from neurozoo.heads.label_decoder import LabelAttention, record_label_attention
from neurozoo.heads.pooled import PooledHead
from neurozoo.nn.attention import record_attention
from neurozoo.nn.sequence import concatenate, tokens

SHAPES = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
DIMS = {name: dim for name, (_, dim) in SHAPES.items()}


@pytest.fixture
def batch(random_batch: Callable[..., Batch]) -> Batch:
    return random_batch(SHAPES)


@pytest.mark.parametrize("fusion", ["interactive", "concat"])
def test_recording_changes_no_number_and_leaves_no_hook(fusion: str, smile: Callable[..., Any], batch: Batch) -> None:
    model = smile(DIMS, ("audio", "vision"), "text", parts={"fusion": fusion}, hidden=10).eval()
    before = model(batch)
    with record_label_attention(model) as seen:
        torch.testing.assert_close(model(batch), before)  # seen weights are computed whole, and round otherwise
    assert torch.equal(model(batch), before)
    (found,) = seen
    assert found.weights.shape[:2] == (4, 3)
    assert found.weights.sum(2) == pytest.approx(1, abs=1e-5)
    assert (found.weights.masked_select(~found.valid[:, None]) == 0).all()
    weights, shares = found.by_modality()
    assert list(weights) == ["text", "audio", "vision"]
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)


def test_the_rows_of_the_interactive_fusion_are_those_of_who_asks(smile: Callable[..., Any], batch: Batch) -> None:
    model = smile(DIMS, ("audio", "vision"), "text", hidden=10).eval()
    with record_label_attention(model) as seen:
        model(batch)
    asked = [("text", 6), ("text", 6), ("audio", 8), ("vision", 7), ("text", 6), ("audio", 8), ("vision", 7)]
    assert list(seen[0].segments) == asked


def test_by_modality_by_hand() -> None:
    weights = torch.tensor([[[0.1, 0.2, 0.3, 0.4]], [[0.5, 0.5, 0.0, 0.0]]])
    valid = torch.tensor([[True, True, True, True], [True, True, False, False]])
    own, shares = LabelAttention(weights, valid, (("a", 1), ("b", 2), ("a", 1))).by_modality()
    assert own["a"].tolist() == [[0.5], [0.5]]
    assert own["b"].tolist() == [[0.5], [0.5]]
    assert shares["a"].tolist() == [0.5, 0.5]
    assert LabelAttention(weights, valid, (("a", 1),)).by_modality() == ({}, {})
    assert LabelAttention(weights, valid, ()).by_modality() == ({}, {})


def test_a_head_without_attention_records_nothing(layout: Callable[..., Any]) -> None:
    head = PooledHead(layout())
    with record_label_attention(head) as seen, record_attention(head) as weights:
        head(tokens(torch.randn(2, 4, 10), None))
    assert (seen, weights) == ([], {})


def test_segments_go_with_the_rows() -> None:
    x = torch.zeros(2, 3, 4)
    plain, named = tokens(x, None), tokens(x, None).of("a")
    assert plain.segments == ()
    assert named.with_x(x + 1).segments == (("a", 3),)
    assert concatenate([named, named.of("b")]).segments == (("a", 3), ("b", 3))
    assert concatenate([named, plain]).segments == ()
