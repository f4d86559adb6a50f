"""LIF along the sequence: what came before decides, what comes after does not, and chunks are as good as the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.interfaces import Batch, Inputs, Layout
from neurozoo.core.layer import record_spikes
from neurozoo.errors import SpikingError
from neurozoo.evaluation.health import HealthMonitor, lesion_effects, neuron_rates
from neurozoo.models.smile.sequence_model import SpikingSequence, StreamState
from neurozoo.registry.registry import default_registry
from neurozoo.training.initialisation import initialise_fluctuation_driven

SHAPES = {"text": (9, 5), "audio": (12, 4)}
PARTS = {"activation": "lif", "threshold": "constant", "head": "label-decoder"}

Made = Callable[..., SpikingSequence]


def make(
    *,
    spiking: tuple[str, ...] = ("text",),
    context: str | None = None,
    backend: str = "torch",
    parts: dict[str, str] | None = None,
    **params: Any,
) -> SpikingSequence:
    registry = default_registry()
    chosen = PARTS | (parts or {})

    def build(slot: str, layout: Layout) -> Any:
        return registry.resolve(SpikingSequence.slots[slot], chosen[slot])(layout)

    used = [*([context] if context else []), *spiking]
    inputs = Inputs({m: SHAPES[m][1] for m in used}, spiking, context, 3)
    torch.manual_seed(0)
    neuron = registry.resolve("backend", backend)
    return SpikingSequence(inputs, build, neuron, False, **({"hidden": 10, "spiking_inner": 8} | params))


@pytest.fixture
def awake(random_batch: Callable[..., Batch]) -> Made:
    """In evaluation mode, driven to fire."""

    def build(**options: Any) -> SpikingSequence:
        model = make(**options)
        initialise_fluctuation_driven(model, [random_batch(SHAPES, samples=16, seed=seed) for seed in range(2)], 0.25)
        return model.eval()

    return build


def cut(batch: Batch, first: int, last: int) -> Batch:
    """The positions from ``first`` up to ``last``."""
    return Batch(
        {m: x[:, first:last] for m, x in batch.features.items()},
        {m: mask[:, first:last] for m, mask in batch.masks.items()},
    )


def of(batch: Batch, modality: str = "text") -> Batch:
    return Batch({modality: batch.features[modality]}, {modality: batch.masks[modality]}, batch.labels)


def streamed(model: SpikingSequence, batch: Batch, ends: list[int]) -> Tensor:
    """The logits after the last chunk."""
    state: StreamState | None = None
    logits = torch.empty(0)
    for first, last in zip([0, *ends], [*ends, 9], strict=True):
        logits, state = model.stream(cut(batch, first, last), state)
    return logits


EXACT = [n for n, c in default_registry().components("backend").items() if c.exact and not c.native]


@pytest.mark.parametrize("backend", EXACT)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.sets(st.integers(1, 8)), seed=st.integers(0, 50))
def test_chunks_give_the_bits_of_the_whole(
    awake: Made, random_batch: Callable[..., Batch], backend: str, ends: set[int], seed: int
) -> None:
    model = awake(backend=backend)
    batch = of(random_batch(SHAPES, seed=seed))
    with torch.no_grad():
        whole = model(batch)
    assert torch.equal(streamed(model, batch, sorted(ends)), whole)


@pytest.mark.parametrize("activation", ["lif", "relu"])
def test_a_context_streams_too(awake: Made, random_batch: Callable[..., Batch], activation: str) -> None:
    model = awake(spiking=("audio",), context="text", parts={"activation": activation, "head": "pooled"})
    batch = random_batch(SHAPES, seed=3)
    # Modalities of different lengths come each in chunks of their own.
    first = Batch({m: x[:, :4] for m, x in batch.features.items()}, {m: x[:, :4] for m, x in batch.masks.items()})
    rest = Batch({m: x[:, 4:] for m, x in batch.features.items()}, {m: x[:, 4:] for m, x in batch.masks.items()})
    _, state = model.stream(first)
    logits, _ = model.stream(rest, state)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(batch), rtol=0, atol=1e-6)


def test_a_spike_depends_on_what_came_before_and_on_nothing_after(awake: Made) -> None:
    model = awake()
    x = torch.randn(16, 9, 5, generator=torch.Generator().manual_seed(4))
    valid = torch.ones(16, 9, dtype=torch.bool)

    def spikes(features: Tensor) -> Tensor:
        with record_spikes(model) as seen, torch.no_grad():
            model(Batch({"text": features}, {"text": valid}))
        return seen["branches.text.activation1.lif"][:, :, 0]  # [T = L, B, N]

    before = spikes(x)
    changed = x.clone()
    changed[:, 5] += 3
    after = spikes(changed)
    assert torch.equal(after[:5], before[:5])
    assert not torch.equal(after[5:], before[5:])
    # The membrane is carried: the same word does something else after another one.
    assert not torch.equal(after[6:], before[6:])


def test_padding_takes_no_step(awake: Made, random_batch: Callable[..., Batch]) -> None:
    model = awake()
    batch = of(random_batch(SHAPES, seed=5))
    monitor = HealthMonitor(model)
    with monitor, torch.no_grad():
        model(batch)
        monitor.count(batch)
    with record_spikes(model) as seen, torch.no_grad():
        model(batch)
    counts = batch.masks["text"].sum(1)
    for name, train in seen.items():
        by_hand = sum(train[:n, i, 0].sum() for i, n in enumerate(counts.tolist())) / (counts.sum() * train.shape[-1])
        assert monitor.layers()[name].rate == pytest.approx(float(by_hand), rel=1e-6)
        rates = neuron_rates(train, model.layer_masks(batch)[name])
        assert float(rates.mean()) == pytest.approx(float(by_hand), rel=1e-5)


def test_it_is_driven_to_the_wanted_rate(random_batch: Callable[..., Batch]) -> None:
    model = make(spiking_inner=32)
    batches = [of(random_batch(SHAPES, samples=64, seed=seed)) for seed in range(4)]
    reached = initialise_fluctuation_driven(model, batches, 0.2)
    assert set(reached) == {"branches.text.activation1", "branches.text.activation2"}
    assert all(rate == pytest.approx(0.2, abs=0.03) for rate in reached.values())


def test_lesions_move_the_predictions(awake: Made, random_batch: Callable[..., Batch]) -> None:
    model, batch = awake(), of(random_batch(SHAPES, samples=12, seed=6))

    class Split:
        def __len__(self) -> int:
            return 12

        def batch(self, indices: Tensor) -> Batch:
            return Batch({"text": batch.features["text"][indices]}, {"text": batch.masks["text"][indices]})

    effects = lesion_effects(model, Split(), 5)
    assert effects["permuted"] > 0.05
    assert effects["silent"] > 0.05
    # Whoever gets their own trains back is not moved; with batches of another size it is the same exchange.
    assert lesion_effects(model, Split(), 12)["permuted"] == pytest.approx(effects["permuted"], rel=1e-4)


def test_what_cannot_stream_says_why(awake: Made, random_batch: Callable[..., Batch]) -> None:
    batch = of(random_batch(SHAPES))
    with pytest.raises(SpikingError, match=r"in training mode cannot stream.*call eval\(\) first"):
        awake().train().stream(batch)
    with pytest.raises(SpikingError, match=r"Disagreement chooses.* the whole sequence.*threshold=constant"):
        awake(parts={"threshold": "disagreement"}).stream(batch)
    model = awake()
    _, state = model.stream(batch)
    other = Batch({"text": batch.features["text"][:1]}, {"text": batch.masks["text"][:1]})
    with pytest.raises(SpikingError, match="the chunk has 1 samples and the state is of 4; give the same"):
        model.stream(other, state)


def test_heads_must_divide_the_width() -> None:
    assert list(SpikingSequence.check_params(hidden=10, heads=3)) == [
        ("heads", "3 heads do not divide hidden = 10; choose a divisor of 10")
    ]
