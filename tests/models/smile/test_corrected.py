"""The corrected preset: a prediction depends on its own sample alone, for any set of modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch
from neurozoo.errors import SpikingError
from neurozoo.models.smile.model import SMILE

SHAPES = {"text": (9, 5), "audio": (12, 4), "vision": (7, 3)}
DIMS = {name: dim for name, (_, dim) in SHAPES.items()}


def take(batch: Batch, rows: Tensor) -> Batch:
    return Batch.of(
        {m: signal.values[rows] for m, signal in batch.signals.items()},
        {m: signal.mask[rows] for m, signal in batch.signals.items()},
        None if batch.target is None else batch.target[rows],
    )


def pad(batch: Batch, left: int, right: int, junk: float = 0.0) -> Batch:
    features = {m: F.pad(signal.values, (0, 0, left, right), value=junk) for m, signal in batch.signals.items()}
    return Batch.of(features, {m: F.pad(each.mask, (left, right)) for m, each in batch.signals.items()}, batch.target)


@pytest.fixture
def awake(smile: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> Callable[..., SMILE]:
    """A model in evaluation mode that has seen training batches and fires."""

    def make(
        shapes: Mapping[str, tuple[int, int]] = SHAPES,
        spiking: tuple[str, ...] = ("audio", "vision"),
        context: str | None = "text",
        **options: object,
    ) -> SMILE:
        model = smile({m: dim for m, (_, dim) in shapes.items()}, spiking, context, hidden=10, **options)
        with torch.no_grad():
            for branch in model.branches.values():
                for layer in (branch.first, branch.second):
                    layer.synapse.weight.mul_(3)
            model.train()
            for seed in range(3):
                model(random_batch(shapes, samples=16, seed=seed))
        batch = random_batch(shapes, seed=9)
        model.eval()
        with recorded(model) as firings, torch.no_grad():
            model(batch)
        assert all(0.01 < firing.spikes.mean() < 0.9 for firing in firings.values())
        return model

    return make


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Equal within what a matrix product's rounding by shape allows, which a flipped spike would exceed."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


@torch.no_grad()
def test_neither_neighbours_nor_order_matter(awake: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> None:
    model = awake()
    batch = random_batch(SHAPES, samples=16, seed=5)
    together = model(batch)
    assert together.std() > 1e-3
    for i in range(16):
        assert_same(model(take(batch, torch.tensor([i]))), together[i : i + 1])
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    assert_same(model(take(batch, order)), together[order])
    assert torch.equal(model(batch), together)


@torch.no_grad()
@given(left=st.integers(0, 6), right=st.integers(0, 6), junk=st.sampled_from([0.0, 7.0, -50.0, float("nan")]))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_padding_does_not_matter(
    awake: Callable[..., SMILE], random_batch: Callable[..., Batch], left: int, right: int, junk: float
) -> None:
    model = awake()
    batch = random_batch(SHAPES, samples=6, seed=6)
    assert_same(model(pad(batch, left, right, junk)), model(batch))


@torch.no_grad()
@pytest.mark.parametrize("visible", [False, True])
def test_visible_padding_matters(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch], visible: bool
) -> None:
    model = smile(DIMS, ("audio", "vision"), "text", hidden=10, padding="visible" if visible else "masked").eval()
    batch = random_batch(SHAPES)
    moved = (model(pad(batch, 0, 3)) - model(batch)).abs().max()
    assert (moved > 1e-4) == visible


@pytest.mark.parametrize(
    ("spiking", "context"),
    [
        (("audio",), None),
        (("audio",), "text"),
        (("audio", "vision"), None),
        (("audio", "vision"), "text"),
        (("text", "audio", "vision"), None),
        (("vision", "audio", "depth"), "text"),
    ],
)
@pytest.mark.parametrize("fusion", ["interactive", "concat"])
@pytest.mark.parametrize("head", ["label-decoder", "pooled"])
def test_any_set_of_modalities(
    smile: Callable[..., SMILE],
    random_batch: Callable[..., Batch],
    spiking: tuple[str, ...],
    context: str | None,
    fusion: str,
    head: str,
) -> None:
    shapes = {**SHAPES, "depth": (1, 6)}
    shapes = {m: shapes[m] for m in (*spiking, *([context] if context else []))}
    model = smile(
        {m: d for m, (_, d) in shapes.items()}, spiking, context, hidden=10, parts={"fusion": fusion, "head": head}
    )
    batch = random_batch(shapes)
    with torch.no_grad():
        for branch in model.branches.values():
            for layer in (branch.first, branch.second):
                layer.synapse.weight.mul_(10)
    logits = model(batch)
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None]
    assert silent == []
    model.eval()
    with torch.no_grad():
        assert_same(model(pad(batch, 2, 3)), model(batch))


@torch.no_grad()
def test_a_sample_without_any_valid_position(awake: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> None:
    model = awake()
    batch = random_batch(SHAPES, samples=3)
    features = {m: signal.values for m, signal in batch.signals.items()}
    masks = {m: signal.mask.clone() for m, signal in batch.signals.items()}
    for mask in masks.values():
        mask[1] = False
    logits = model(Batch.of(features, masks))
    assert torch.isfinite(logits).all()
    others = torch.tensor([0, 2])
    assert_same(logits[others], model(take(batch, others)))
    threshold: list[Tensor] = []
    model.threshold.register_forward_hook(lambda _m, _i, level: threshold.append(level))
    model(Batch.of(features, masks))
    assert threshold[0][1] == 1.0


def test_each_choice_can_be_taken_back_by_itself(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch]
) -> None:
    changes: list[dict[str, object]] = [
        {"parts": {"threshold": "cross-entropy-ratio"}},
        {"parts": {"scaling": "batch-softmax"}},
        {"part_params": {"head": {"dropout_at": "logits"}}},
        {"padding": "visible"},
        {"parts": {"scaling": "none"}},
        {"parts": {"activation": "relu"}},
        {"parts": {"threshold": "constant"}},
        {"part_params": {"activation": {"apply": "gain"}}},
    ]
    batch = random_batch(SHAPES, scale=10.0)

    def run(**change: object) -> Tensor:
        model = smile(DIMS, ("audio", "vision"), "text", hidden=10, **change)
        with torch.no_grad():
            for branch in model.branches.values():
                for layer in (branch.first, branch.second):
                    layer.synapse.weight.mul_(10)
        torch.manual_seed(1)  # of the dropout
        logits: Tensor = model(batch)
        logits.square().sum().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
        return logits.detach()

    full = run()
    assert torch.equal(run(), full)
    for change in changes:
        same = torch.equal(run(**change), full)
        # A gain gives the same spikes, by other arithmetic: only its gradients need differ.
        assert not same or "gain" in str(change), change


def test_a_gain_gives_the_same_spikes(smile: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> None:
    batch = random_batch(SHAPES, scale=10.0)
    fired = []
    for apply in ("threshold", "gain"):
        model = smile(
            DIMS, ("audio", "vision"), "text", hidden=10, part_params={"activation": {"apply": apply}}
        ).double()
        features = {m: signal.values.double() for m, signal in batch.signals.items()}
        with recorded(model) as firings, torch.no_grad():
            model(Batch.of(features, {m: signal.mask for m, signal in batch.signals.items()}))
        fired.append(firings["branches.audio.first"].spikes)
    assert fired[0].mean() > 0.01
    assert torch.equal(*fired)


def test_state_does_not_pass_between_forwards(awake: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> None:
    model = awake()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model(random_batch(SHAPES, samples=5))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_weight_that_is_not_finite_is_reported(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch]
) -> None:
    model = smile(DIMS, ("audio", "vision"), "text", hidden=10)
    with torch.no_grad():
        model.project["audio"].weight.fill_(float("nan"))
    with pytest.raises(SpikingError, match="the firing threshold is not finite"):
        model(random_batch(SHAPES))


def test_impossible_sizes_are_named() -> None:
    roles = {"context": None, "spiking": None}
    assert list(SMILE.check_params(hidden=30, heads=5, **roles)) == []
    ((name, problem),) = SMILE.check_params(hidden=30, heads=4, **roles)
    assert name == "heads"
    assert problem == "4 heads do not divide hidden = 30; choose a divisor of 30"
