"""Hooks of a module are found, in every part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from torch import nn
from torch.nn.modules import module as modules

from neurozoo.nn.hook_checks import has_hooks


@pytest.fixture
def layer() -> Iterator[nn.Module]:
    """Parts in three levels, some of which have none."""
    yield nn.Sequential(nn.ModuleDict(), nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    modules._global_forward_hooks.clear()


@pytest.mark.parametrize(
    "listen",
    [
        lambda layer: layer.register_forward_hook(print),
        lambda layer: layer[1].register_forward_pre_hook(print),
        lambda layer: layer[1][0].register_full_backward_hook(print),
        lambda layer: layer[1][1].register_full_backward_pre_hook(print),
        lambda layer: layer[0].register_forward_hook(print),
        lambda _layer: modules.register_module_forward_hook(print),
    ],
    ids=["itself", "a part", "a part's part", "another one", "a part without parts", "all"],
)
def test_hooks_are_found_until_they_go(layer: nn.Module, listen: Callable[[nn.Module], object]) -> None:
    assert not has_hooks(layer)
    handle = listen(layer)
    assert has_hooks(layer)
    handle.remove()  # type: ignore[attr-defined]
    assert not has_hooks(layer)


def test_a_forward_of_its_own_is_found() -> None:
    linear = nn.Linear(2, 2)
    around = nn.Sequential(linear)
    linear.forward = lambda x: x  # type: ignore[method-assign]
    assert has_hooks(around)
