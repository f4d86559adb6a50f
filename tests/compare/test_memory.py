from __future__ import annotations

import torch

from neurozoo.compare.memory import peak_bytes

MEGABYTE = 1_000_000
CPU = torch.device("cpu")


def test_a_known_allocation() -> None:
    def run() -> None:
        first = torch.empty(MEGABYTE // 4)
        second = torch.empty(2 * MEGABYTE // 4)  # 3 MB are held here
        del first, second
        third = torch.empty(MEGABYTE // 2 // 4)
        del third

    assert peak_bytes(run, CPU) == 3 * MEGABYTE


def test_what_was_there_before_does_not_count() -> None:
    before = torch.ones(MEGABYTE)
    assert peak_bytes(lambda: None, CPU) == 0
    found = peak_bytes(lambda: before.clone().add_(1), CPU)
    assert found is not None
    assert 4 * MEGABYTE <= found < 4 * MEGABYTE + 1000  # and a scalar


def test_what_the_backward_needs_counts() -> None:
    x = torch.ones(MEGABYTE // 4, requires_grad=True)

    def run(steps: int) -> None:
        y = x
        for _ in range(steps):
            y = y.sin()  # each keeps its input
        torch.autograd.grad(y.sum(), [x])

    few, many = peak_bytes(lambda: run(2), CPU), peak_bytes(lambda: run(6), CPU)
    assert few is not None
    assert many is not None
    assert many - few == 4 * MEGABYTE


def test_other_devices_do_not_tell() -> None:
    ran = []
    assert peak_bytes(lambda: ran.append(1), torch.device("meta")) is None
    assert ran == [1]
