"""Large results use memory of earlier ones again, never one that a tensor still looks at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from neurozoo.backends.fused import pages
from neurozoo.backends.fused.pages import empty, release

LIKE = torch.empty(0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pages, "KEPT", 4096)
    monkeypatch.setattr(pages, "_blocks", pages._Blocks())
    yield
    release()


def test_memory_that_became_free_is_used_again() -> None:
    first = empty(LIKE, (4, 1024))
    place = first.data_ptr()
    assert first.shape == (4, 1024)
    del first
    assert empty(LIKE, (1024, 4)).data_ptr() == place


def test_memory_that_a_view_looks_at_is_not_free() -> None:
    whole = empty(LIKE, (4, 1024)).fill_(1)
    view = whole[2:]
    del whole
    empty(LIKE, (4, 1024)).fill_(2)
    assert bool((view == 1).all())


def test_little_more_is_kept_than_was_in_use() -> None:
    for size in range(2000, 2100):
        empty(LIKE, (size,))
    assert pages._blocks._in_use == 0
    assert pages._blocks._kept <= pages.SPARE * pages._blocks._most
    release()
    assert pages._blocks._kept == 0


def test_a_result_made_in_inference_mode_may_be_trained_with_later() -> None:
    with torch.inference_mode():
        empty(LIKE, (4, 1024))
    leaf = empty(LIKE, (4, 1024)).zero_().requires_grad_()
    leaf.sum().backward()
    assert leaf.grad is not None
