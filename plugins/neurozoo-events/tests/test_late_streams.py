"""Streams of models with delays and late readouts on the engine ``events``, and that their memory does not grow."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace

import pytest
import torch
from neurozoo_events.steppers import CurrentStepper, DelayStepper, EventStepper

import neurozoo
from neurozoo.models.engines import use_engine
from neurozoo.runs.streaming import Stream


@torch.no_grad()
def made(size: str, **params: object) -> neurozoo.TrainedModel:
    """A model of a published size, with weights that make its neurons fire."""
    torch.manual_seed(1)
    model = neurozoo.create_model(size, **params).eval()
    for name, each in model.named_parameters():
        if each.dim() > 1 and "position" not in name:
            each.mul_(2 if "shd" in size else 25)
    return replace(neurozoo.load("fsdd-small", backend="torch"), module=model)


@pytest.mark.parametrize(
    ("size", "params", "steppers"),
    [
        ("cuba-rsnn-shd", {"hidden": 30}, [EventStepper] * 3),
        (
            "cuba-rsnn-braille",
            {"hidden": 30, "encoder": 3, "encoder_scale": 20, "tau": 5},
            [CurrentStepper, *[EventStepper] * 3],
        ),
        ("dcls-delays-shd", {"hidden": (24, 16), "kernel": 5}, [DelayStepper] * 3),
        ("plif-net-n-mnist", {"channels": (2, 2), "hidden": 16, "head": "votes"}, None),
    ],
)
def test_steps_are_the_whole_and_the_dense_ones(size: str, params: dict[str, object], steppers: list[type]) -> None:
    trained = made(size, **params)
    ((_, shape),) = trained.module.problem.signals.items()
    x = (torch.rand(12, *shape.shape) < 0.2).float() if size != "cuba-rsnn-braille" else torch.randn(12, 4)
    dense = Stream(trained)
    expected, last = dense.push(x), dense.whole()
    use_engine(trained.module, "events")
    with torch.no_grad():
        whole = trained.task.predict(trained.module(x[None]))[0]
    stream = Stream(trained)
    if steppers is not None:
        assert [type(each) for each in stream._steppers] == steppers
    begun = stream.push(x[:7])
    kept = stream.snapshot()
    found = torch.cat([begun, stream.push(x[7:])])
    assert float(found.std(0).max()) > 1e-3  # the answer changes with the steps
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stream.whole(), last, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stream.whole(), whole, rtol=1e-5, atol=1e-6)
    other = Stream(trained)
    other.restore(kept)
    assert torch.equal(other.push(x[7:]), found[7:])
    other.reset()
    assert torch.equal(other.push(x), found)


@pytest.mark.parametrize(
    ("size", "params"),
    [
        ("dcls-delays-shd", {"hidden": (24,), "kernel": 5}),
        ("cuba-rsnn-shd", {"hidden": 24}),
    ],
)
def test_memory_does_not_grow(size: str, params: dict[str, object]) -> None:
    trained = made(size, **params)
    use_engine(trained.module, "events")
    stream = Stream(trained, window=10)
    ((_, shape),) = trained.module.problem.signals.items()
    x = (torch.rand(40, *shape.shape) < 0.02).float()
    stream.push(x)
    tracemalloc.start()
    try:
        stream.push(x)
        stream.whole()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            stream.push(x)
            stream.whole()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert stream.steps == 280
    assert grown < 1_000  # bytes
