"""LIF along the sequence: what came before decides, what comes after does not, and chunks are as good as the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.recording import over_neurons, recorded
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import SpikingError
from neurozoo.evaluation.health import HealthMonitor, firing_rates, lesion_effects
from neurozoo.models.smile.sequence_model import SpikingSequence, StreamState
from neurozoo.registry.registry import default_registry, slot_kind
from neurozoo.tasks.multilabel import Multilabel
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

    def build(slot: str, *args: Any) -> Any:
        kind, base = slot_kind(SpikingSequence.slots[slot])
        return registry.resolve(kind, chosen[slot], base)(*args)

    used = [*([context] if context else []), *spiking]
    problem = Problem({m: SignalShape((SHAPES[m][1],), SHAPES[m][0]) for m in used}, Multilabel(("a", "b", "c")))
    torch.manual_seed(0)
    neuron = registry.resolve("neuron", backend)
    sizes = {"hidden": 10, "spiking_inner": 8} | params
    return SpikingSequence(problem, build, neuron, context=context, spiking=spiking, **sizes)


@pytest.fixture
def awake(random_batch: Callable[..., Batch]) -> Made:
    """In evaluation mode, driven to fire."""

    def build(**options: Any) -> SpikingSequence:
        model = make(**options)
        initialise_fluctuation_driven(model, random_batch(SHAPES, samples=32), 0.25)
        return model.eval()

    return build


def cut(batch: Batch, first: int, last: int) -> Batch:
    """The positions from ``first`` up to ``last``."""
    return Batch.of(
        {m: signal.values[:, first:last] for m, signal in batch.signals.items()},
        {m: signal.mask[:, first:last] for m, signal in batch.signals.items()},
    )


def of(batch: Batch, modality: str = "text") -> Batch:
    return Batch({modality: batch.signals[modality]}, batch.target)


def streamed(model: SpikingSequence, batch: Batch, ends: list[int]) -> Tensor:
    """The logits after the last chunk."""
    state: StreamState | None = None
    logits = torch.empty(0)
    for first, last in zip([0, *ends], [*ends, 9], strict=True):
        logits, state = model.stream(cut(batch, first, last), state)
    return logits


EXACT = [n for n, c in default_registry().components("neuron").items() if c.exact and not c.native]


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
    first, rest = cut(batch, 0, 4), cut(batch, 4, 12)
    _, state = model.stream(first)
    logits, _ = model.stream(rest, state)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(batch), rtol=0, atol=1e-6)


def test_a_spike_depends_on_what_came_before_and_on_nothing_after(awake: Made) -> None:
    model = awake()
    x = torch.randn(16, 9, 5, generator=torch.Generator().manual_seed(4))
    valid = torch.ones(16, 9, dtype=torch.bool)

    def spikes(features: Tensor) -> Tensor:
        with recorded(model) as seen, torch.no_grad():
            model(Batch.of({"text": features}, {"text": valid}))
        return seen["branches.text.first"].spikes  # [T = L, B, N]

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
        monitor.count()
    with recorded(model) as seen, torch.no_grad():
        model(batch)
    counts = batch.signals["text"].mask.sum(1)
    assert list(seen) == ["branches.text.first", "branches.text.second"]
    for name, firing in seen.items():
        fired = sum(firing.spikes[:n, i].sum() for i, n in enumerate(counts.tolist()))
        by_hand = fired / (counts.sum() * firing.spikes.shape[-1])
        assert monitor.layers()[name].rate == pytest.approx(float(by_hand), rel=1e-6)
        assert float(firing_rates(firing).mean()) == pytest.approx(float(by_hand), rel=1e-5)
        assert int(over_neurons(firing.spikes, firing.valid)[1]) == int(counts.sum())


def test_it_is_driven_to_the_wanted_rate(random_batch: Callable[..., Batch]) -> None:
    model = make(spiking_inner=32)
    reached = initialise_fluctuation_driven(model, of(random_batch(SHAPES, samples=256)), 0.2)
    assert set(reached) == {"branches.text.first", "branches.text.second"}
    assert all(rate == pytest.approx(0.2, abs=0.03) for rate in reached.values())


def test_lesions_move_the_predictions(awake: Made, random_batch: Callable[..., Batch]) -> None:
    model, batch = awake(), of(random_batch(SHAPES, samples=12, seed=6))

    class Split:
        def __len__(self) -> int:
            return 12

        def batch(self, indices: Tensor) -> Batch:
            text = batch.signals["text"]
            return Batch.of({"text": text.values[indices]}, {"text": text.mask[indices]})

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
    text = batch.signals["text"]
    other = Batch.of({"text": text.values[:1]}, {"text": text.mask[:1]})
    with pytest.raises(SpikingError, match="the chunk has 1 samples and the state is of 4; give the same"):
        model.stream(other, state)


def test_heads_must_divide_the_width() -> None:
    assert list(SpikingSequence.check_params(hidden=10, heads=3, context=None, spiking=None)) == [
        ("heads", "3 heads do not divide hidden = 10; choose a divisor of 10")
    ]
