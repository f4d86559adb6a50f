"""Streams on the engine ``events``: equal to the whole to the bit, and fast."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
import torch
from neurozoo_events.steppers import EventStepper

import neurozoo
from neurozoo.runs.streaming import Stream


@pytest.mark.parametrize("name", ["qtdb", "asc", "braille-events", "n-mnist-small"])
def test_steps_are_the_dense_ones_and_states_go_back(name: str) -> None:
    dense, events = (neurozoo.load(name, backend="torch", engine=engine) for engine in ("dense", "events"))
    ((signal, shape),) = events.module.problem.signals.items()
    drawn = torch.rand(24, *shape.shape, generator=torch.Generator().manual_seed(1)) < 0.1
    x = drawn.to(getattr(torch, shape.dtype))
    stream = Stream(events)
    if name != "n-mnist-small":
        assert all(isinstance(each, EventStepper) for each in stream._steppers)
    found = stream.push(x)
    torch.testing.assert_close(found, Stream(dense).push(x), rtol=1e-4, atol=1e-5)
    whole = events.predict({signal: x[None]})[0]
    torch.testing.assert_close(found if events.task.per_step else found[-1], whole, rtol=1e-5, atol=1e-6)
    other = Stream(events)
    begun = other.push(x[:10])
    kept = other.snapshot()
    other.push(x)
    other.restore(kept)
    assert torch.equal(torch.cat([begun, other.push(x[10:])]), found)
    other.reset()
    assert torch.equal(other.push(x), found)


def test_memory_does_not_grow() -> None:
    stream = Stream(neurozoo.load("fsdd-small", backend="torch", engine="events"), window=10)
    x = (torch.rand(100, 80, generator=torch.Generator().manual_seed(1)) < 0.1).float()
    stream.push(x)
    tracemalloc.start()
    try:
        stream.push(x)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(60):
            stream.push(x)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert stream.steps == 6_200
    assert grown < 1_000  # bytes
