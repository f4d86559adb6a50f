"""Plugins are loaded one by one: a broken one is reported and stops nobody else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import pytest

from neurozoo.errors import PluginError, UnknownNameError
from neurozoo.hookspecs import KINDS, Component, hookimpl
from neurozoo.interfaces import Neuron
from neurozoo.registry import Plugin, Registry, default_registry

CORE = EntryPoint("builtin", "neurozoo.builtin", "neurozoo")


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """An importable module of its own for each test."""
    made = ModuleType("a_plugin_" + request.node.name.partition("[")[0])
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def offer(module: ModuleType, *components: Component, hook: str = "neurozoo_components") -> EntryPoint:
    def neurozoo_components() -> Iterable[Component]:
        yield from components

    setattr(module, hook, hookimpl(neurozoo_components))
    return EntryPoint("mine", module.__name__, "neurozoo")


def loaded(registry: Registry, name: str = "mine") -> Plugin:
    return next(plugin for plugin in registry.plugins if plugin.name == name)


def part(name: str = "mine", kind: str = "scaling", target: str = "json:dumps", **other: object) -> Component:
    return Component(kind, name, target, "a part", **other)  # type: ignore[arg-type]


def assert_core_works(registry: Registry) -> None:
    assert "torch" in registry.components("backend")
    assert registry.resolve("backend", "torch").__name__ == "TorchNeuron"


def test_core_is_a_plugin_and_offers_every_kind() -> None:
    registry = Registry([CORE])
    assert [plugin.error for plugin in registry.plugins] == [""]
    assert all(registry.components(kind) for kind in KINDS)


def test_every_component_of_the_core_can_be_resolved_and_read() -> None:
    from neurozoo.params import component_params

    registry = Registry([CORE])
    found = [(kind, name) for kind in KINDS for name in registry.components(kind)]
    assert len(found) >= 15
    for kind, name in found:
        component_params(registry.resolve(kind, name))  # type: ignore[arg-type]


def test_a_good_plugin_adds_its_part(module: ModuleType) -> None:
    registry = Registry([offer(module, part(target="neurozoo.nn.scaling:NoScaling")), CORE])
    assert loaded(registry).error == ""
    assert registry.resolve("scaling", "mine").__name__ == "NoScaling"
    assert registry.owner("scaling", "mine") == module.__name__


def test_an_exception_at_import_is_reported() -> None:
    registry = Registry([EntryPoint("mine", "neurozoo_that_is_not_there", "neurozoo"), CORE])
    assert "ModuleNotFoundError" in loaded(registry).error
    assert_core_works(registry)


@pytest.mark.parametrize("error", [RuntimeError("no luck"), SystemExit(3)])
def test_an_exception_in_the_hook_is_reported(module: ModuleType, error: BaseException) -> None:
    def neurozoo_components() -> Iterable[Component]:
        yield part("first")
        raise error

    module.neurozoo_components = hookimpl(neurozoo_components)  # type: ignore[attr-defined]
    registry = Registry([EntryPoint("mine", module.__name__, "neurozoo"), CORE])
    assert loaded(registry).error == f"{type(error).__name__}: {error}"
    assert loaded(registry).components == ()
    assert "first" not in registry.components("scaling")
    assert_core_works(registry)


def test_a_misspelt_hook_is_reported_with_the_hooks_there_are(module: ModuleType) -> None:
    registry = Registry([offer(module, part(), hook="neurozoo_component"), CORE])
    error = loaded(registry).error
    assert "unknown hook neurozoo_component" in error
    assert "there are: neurozoo_components" in error
    assert_core_works(registry)


def test_a_duplicate_of_a_core_name_is_refused_and_the_core_keeps_it(module: ModuleType) -> None:
    # As installed: the core's entry point knows its distribution, and comes first by that alone.
    (core,) = [entry for entry in entry_points(group="neurozoo") if entry.name == "builtin"]
    registry = Registry([offer(module, part("torch", kind="backend")), core])
    assert "backend 'torch'" in loaded(registry).error
    assert "already registered by neurozoo" in loaded(registry).error
    assert loaded(registry, "builtin").error == ""
    assert registry.owner("backend", "torch").startswith("neurozoo ")
    assert registry.get("backend", "torch").target == "neurozoo.nn.neurons:TorchNeuron"


def test_an_unknown_kind_is_reported_with_the_kinds_there_are(module: ModuleType) -> None:
    registry = Registry([offer(module, part(kind="neuron")), CORE])
    error = loaded(registry).error
    assert "unknown kind 'neuron'" in error
    assert "label-head" in error
    assert_core_works(registry)


def test_a_missing_library_says_how_to_install_it(module: ModuleType) -> None:
    component = part(kind="backend", requires=("a_library_nobody_has",), install="pip install it")
    registry = Registry([offer(module, component), CORE])
    assert loaded(registry).error == ""
    with pytest.raises(PluginError, match="needs a_library_nobody_has, which is not installed; install it with: pip"):
        registry.resolve("backend", "mine")


@pytest.mark.parametrize("target", ["json:nothing", "no_such_module:thing"])
def test_a_part_that_cannot_be_imported_names_its_target(module: ModuleType, target: str) -> None:
    registry = Registry([offer(module, part(target=target)), CORE])
    with pytest.raises(PluginError, match=f"could not be imported from '{target}'"):
        registry.resolve("scaling", "mine")


def test_an_unknown_name_has_the_nearest_one_and_the_broken_plugin() -> None:
    registry = Registry([CORE, EntryPoint("mine", "neurozoo_that_is_not_there", "neurozoo")])
    with pytest.raises(UnknownNameError) as caught:
        registry.get("threshold", "disagrement")
    message = str(caught.value)
    assert "no threshold is called 'disagrement'" in message
    assert "did you mean 'disagreement'?" in message
    assert "; plugins that failed to load: mine (`neurozoo list plugins` says why)" in message


def test_a_part_that_is_not_what_its_kind_must_be_is_refused(module: ModuleType) -> None:
    module.Lazy = type("Lazy", (Neuron,), {})  # type: ignore[attr-defined]
    parts = [part("other"), part("unfinished", kind="backend", target=f"{module.__name__}:Lazy")]
    registry = Registry([offer(module, *parts), CORE])
    with pytest.raises(PluginError, match=r"'json:dumps' is not a subclass of neurozoo\.interfaces\.Scaling"):
        registry.resolve("scaling", "other")
    with pytest.raises(PluginError, match="lacks step, which Neuron asks for"):
        registry.resolve("backend", "unfinished")


def test_a_hook_without_its_mark_is_reported(module: ModuleType) -> None:
    module.neurozoo_components = lambda: [part()]  # type: ignore[attr-defined]
    registry = Registry([EntryPoint("mine", module.__name__, "neurozoo"), CORE])
    assert "it offers nothing; mark a function neurozoo_components with @hookimpl" in loaded(registry).error


@pytest.mark.parametrize("offered", ["backend", None])
def test_what_is_no_component_is_reported(module: ModuleType, offered: object) -> None:
    registry = Registry([offer(module, offered), CORE])  # type: ignore[arg-type]
    assert f"it offers {offered!r}; yield Component(kind, name, 'module:attribute', summary)" in loaded(registry).error
    assert_core_works(registry)


def test_a_library_inside_a_missing_package_is_missing(module: ModuleType) -> None:
    component = part(kind="backend", requires=("a_library_nobody_has.inside",))
    registry = Registry([offer(module, component), CORE])
    assert registry.missing("backend", "mine") == ["a_library_nobody_has"]


def test_what_is_installed_has_the_core() -> None:
    assert "smile" in default_registry().components("model")
