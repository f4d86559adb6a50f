from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.backends.fused import pages
from neurozoo.backends.fused.pages import KEPT, LARGE, SPARE, empty, release
from neurozoo.compare.memory import peak_bytes

CPU = torch.device("cpu")
LIKE = torch.zeros(1)


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    release()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_memory_like_any_other(dtype: torch.dtype) -> None:
    for count in (0, 1, LARGE // 8, KEPT // 8, KEPT + 1):
        tensor = empty(torch.zeros(1, dtype=dtype), count)
        assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == ((count,), dtype, True)
        assert float(tensor.fill_(1).sum(dtype=torch.float64)) == count


def test_what_became_free_is_used_again() -> None:
    place = empty(LIKE, KEPT).data_ptr()
    assert empty(LIKE, 2, KEPT // 2).data_ptr() == place
    assert pages._blocks.total == 4 * KEPT
    release()
    assert pages._blocks.total == 0


def test_what_is_kept_counts_in_a_measure_of_memory() -> None:
    for _ in range(2):
        assert peak_bytes(lambda: empty(LIKE, KEPT), CPU) == 4 * KEPT


def test_what_is_small_is_not_kept() -> None:
    for _ in range(2):
        assert peak_bytes(lambda: empty(LIKE, KEPT // 8), CPU) == KEPT // 2


@pytest.mark.parametrize("look", [lambda x: x[3:], lambda x: x.detach(), lambda x: x.numpy(), lambda x: x.view(-1, 1)])
def test_whoever_looks_at_it_keeps_it_in_use(look: object) -> None:
    view = look(empty(LIKE, KEPT).fill_(1))  # type: ignore[operator]
    assert float(empty(LIKE, KEPT).fill_(2).mean()) == 2
    assert (view == 1).all()


def test_it_may_be_made_where_nothing_is_recorded_and_used_where_it_is() -> None:
    with torch.inference_mode():
        empty(LIKE, KEPT)
    x = torch.ones(1, requires_grad=True)
    (empty(LIKE, KEPT).fill_(1) * x).sum().backward()
    assert float(x.grad) == KEPT  # type: ignore[arg-type]


@given(takes=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5)), max_size=20))
def test_nobody_gets_what_another_uses_and_little_is_kept(takes: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "KEPT", 8)
        patch.setattr(pages, "_blocks", pages._Blocks())
        used: list[tuple[int, Tensor]] = []
        most = 0

        def run() -> None:
            nonlocal most
            for number, (size, ended) in enumerate(takes):
                used.append((number, empty(LIKE, 2 * size).fill_(number)))
                most = max(most, sum(each.nbytes for _, each in used))
                used.pop(ended % len(used))
                assert all((each == mine).all() for mine, each in used)

        run()
        assert pages._blocks.total <= SPARE * most


def test_it_becomes_free_in_any_thread() -> None:
    def run(number: int) -> bool:
        return all(bool((empty(LIKE, KEPT // 4).fill_(number) == number).all()) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(8)))
