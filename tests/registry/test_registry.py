"""Plugins are loaded one by one: a broken one is reported and stops nobody else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pytest

from neurozoo.core.neuron import Neuron
from neurozoo.errors import PluginError, UnknownNameError
from neurozoo.models.smile.parts import Scaling
from neurozoo.registry.hookspecs import API_VERSION, CHANGES, KINDS, Component, hookimpl
from neurozoo.registry.registry import Plugin, Registry, default_registry

CORE = EntryPoint("builtin", "neurozoo.registry.builtin", "neurozoo")


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """An importable module of its own for each test."""
    made = ModuleType("a_plugin_" + request.node.name.partition("[")[0])
    made.neurozoo_api = API_VERSION  # type: ignore[attr-defined]
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


def part(name: str = "mine", kind: str = "part", target: str = "json:dumps", **other: object) -> Component:
    return Component(kind, name, target, "a part", **other)  # type: ignore[arg-type]


def assert_core_works(registry: Registry) -> None:
    assert "torch" in registry.components("neuron")
    assert registry.resolve("neuron", "torch").__name__ == "TorchNeuron"


def test_core_is_a_plugin_and_offers_every_kind_but_what_other_libraries_read() -> None:
    registry = Registry([CORE])
    assert [plugin.error for plugin in registry.plugins] == [""]
    assert not [kind for kind in KINDS if not registry.components(kind)]


def test_every_component_of_the_core_can_be_resolved_and_read() -> None:
    from neurozoo.recipe.params import component_params

    registry = Registry([CORE])
    found = [(kind, name) for kind in KINDS for name in registry.components(kind)]
    assert len(found) >= 15
    for kind, name in found:
        component_params(registry.resolve(kind, name))  # type: ignore[arg-type]


def test_a_good_plugin_adds_its_part(module: ModuleType) -> None:
    registry = Registry([offer(module, part(target="neurozoo.models.smile.scaling:NoScaling")), CORE])
    assert loaded(registry).error == ""
    assert registry.resolve("part", "mine").__name__ == "NoScaling"
    assert registry.owner("part", "mine") == module.__name__


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
    assert "first" not in registry.components("part")
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
    registry = Registry([offer(module, part("torch", kind="neuron")), core])
    assert "neuron 'torch'" in loaded(registry).error
    assert "already registered by neurozoo" in loaded(registry).error
    assert loaded(registry, "builtin").error == ""
    assert registry.owner("neuron", "torch").startswith("neurozoo-toolkit ")
    assert registry.get("neuron", "torch").target == "neurozoo.core.layer:TorchNeuron"


def test_an_unknown_kind_is_reported_with_the_kinds_there_are(module: ModuleType) -> None:
    registry = Registry([offer(module, part(kind="neurons")), CORE])
    error = loaded(registry).error
    assert "unknown kind 'neurons'" in error
    assert "label-head" in error
    assert_core_works(registry)


def test_a_missing_library_says_how_to_install_it(module: ModuleType) -> None:
    component = part(kind="neuron", requires=("a_library_nobody_has",), install="pip install it")
    registry = Registry([offer(module, component), CORE])
    assert loaded(registry).error == ""
    with pytest.raises(PluginError, match="needs a_library_nobody_has, which is not installed; install it with: pip"):
        registry.resolve("neuron", "mine")


@pytest.mark.parametrize("target", ["json:nothing", "no_such_module:thing"])
def test_a_part_that_cannot_be_imported_names_its_target(module: ModuleType, target: str) -> None:
    registry = Registry([offer(module, part(target=target)), CORE])
    with pytest.raises(PluginError, match=f"could not be imported from '{target}'"):
        registry.resolve("part", "mine")


def test_an_unknown_name_has_the_nearest_one_and_the_broken_plugin() -> None:
    registry = Registry([CORE, EntryPoint("mine", "neurozoo_that_is_not_there", "neurozoo")])
    with pytest.raises(UnknownNameError) as caught:
        registry.get("part", "disagrement")
    message = str(caught.value)
    assert "no part is called 'disagrement'" in message
    assert "did you mean 'disagreement'?" in message
    assert "; plugins that failed to load: mine (`neurozoo plugins list` says why)" in message


def test_a_part_that_is_not_what_its_kind_must_be_is_refused(module: ModuleType) -> None:
    module.Lazy = type("Lazy", (Neuron,), {})  # type: ignore[attr-defined]
    parts = [part("other"), part("unfinished", kind="neuron", target=f"{module.__name__}:Lazy")]
    registry = Registry([offer(module, *parts), CORE])
    with pytest.raises(PluginError, match=r"'json:dumps' is not a subclass of neurozoo\.models\.smile\.parts\.Scaling"):
        registry.resolve("part", "other", Scaling)
    with pytest.raises(PluginError, match="lacks step, which Neuron asks for"):
        registry.resolve("neuron", "unfinished")


def test_a_hook_without_its_mark_is_reported(module: ModuleType) -> None:
    module.neurozoo_components = lambda: [part()]  # type: ignore[attr-defined]
    registry = Registry([EntryPoint("mine", module.__name__, "neurozoo"), CORE])
    assert "its neurozoo_components is not marked; mark a function neurozoo_components with" in loaded(registry).error


@pytest.mark.parametrize("offered", ["backend", None])
def test_what_is_no_component_is_reported(module: ModuleType, offered: object) -> None:
    registry = Registry([offer(module, offered), CORE])  # type: ignore[arg-type]
    assert f"it yields {offered!r}; yield Component(kind, name, 'module:attribute', summary)" in loaded(registry).error
    assert_core_works(registry)


def test_a_library_inside_a_missing_package_is_missing(module: ModuleType) -> None:
    component = part(kind="neuron", requires=("a_library_nobody_has.inside",))
    registry = Registry([offer(module, component), CORE])
    assert registry.missing("neuron", "mine") == ["a_library_nobody_has"]


def test_what_is_installed_has_the_core() -> None:
    assert "smile" in default_registry().components("model")


# As installed: distributions with metadata of their own

GOOD = """
from neurozoo.registry.hookspecs import Component, hookimpl
neurozoo_api = "2.0"
@hookimpl
def neurozoo_components():
    yield Component("part", "{name}", "json:dumps", "a part")
"""

Install = Callable[..., Path]


def errors(registry: Registry) -> dict[str, str]:
    assert_core_works(registry)
    return {plugin.name: plugin.error for plugin in registry.plugins if plugin.error}


def test_a_distribution_is_found_with_its_version(install: Install) -> None:
    install("neurozoo-x", GOOD.format(name="mine"))
    plugin = loaded(Registry(), "x")
    assert (plugin.distribution, plugin.api, plugin.error, plugin.note) == ("neurozoo-x 0.3", "2.0", "", "")


def test_a_plugin_for_another_major_is_refused_by_name(install: Install) -> None:
    install("neurozoo-x", GOOD.format(name="mine").replace('"2.0"', '"1.1"'))
    registry = Registry()
    assert errors(registry) == {
        "x": f"neurozoo-x 0.3 was written for plugin API 1.x, and this neurozoo offers {API_VERSION}; "
        f"install a neurozoo that offers 1.x, or a version of the plugin for 2.x. To change it: {CHANGES['1']}"
    }
    assert "mine" not in registry.components("part")


def test_a_plugin_for_another_major_that_cannot_even_be_imported_is_refused_by_its_api(install: Install) -> None:
    install("neurozoo-x", 'neurozoo_api = "3.0"\nfrom neurozoo.registry.hookspecs import SomethingOfThree\n')
    told = f"neurozoo-x 0.3 was written for plugin API 3.x, and this neurozoo offers {API_VERSION}"
    assert told in errors(Registry())["x"]


def test_a_newer_minor_is_loaded_with_a_note(install: Install) -> None:
    install("neurozoo-x", GOOD.format(name="mine").replace('"2.0"', '"2.7"'))
    registry = Registry()
    assert "mine" in registry.components("part")
    note = loaded(registry, "x").note
    assert note.startswith(f"it was written for plugin API 2.7, and this neurozoo offers {API_VERSION}")


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("", f'does not declare its plugin API version; add neurozoo_api = "{API_VERSION}" next to its hook'),
        (
            "neurozoo_api = 1.0",
            f'neurozoo_api = 1.0, which is not MAJOR.MINOR; write neurozoo_api = "{API_VERSION}"',
        ),
        ('neurozoo_api = "one"', "neurozoo_api = 'one', which is not MAJOR.MINOR"),
    ],
)
def test_an_api_that_is_missing_or_malformed_is_refused_with_the_line_to_add(
    install: Install, declared: str, words: str
) -> None:
    install("neurozoo-x", GOOD.format(name="mine").replace('neurozoo_api = "2.0"', declared))
    assert words in errors(Registry())["x"]


def test_an_exception_at_import_has_its_file_and_line(install: Install) -> None:
    path = install("neurozoo-x", "\n1 / 0\n")
    assert errors(Registry()) == {"x": f"ZeroDivisionError: division by zero ({path}, line 2)"}


def test_an_exception_in_the_hook_has_the_plugins_line_and_not_the_librarys(install: Install) -> None:
    path = install("neurozoo-x", GOOD.format(name="mine") + "    __import__('json').loads('{')\n")
    error = errors(Registry())["x"]
    assert error.startswith("JSONDecodeError: ")
    assert error.endswith(f"({path}, line 7)")


def test_a_library_missing_at_import_says_what_to_install(install: Install) -> None:
    path = install("neurozoo-x", "import a_library_nobody_has\n")
    assert errors(Registry())["x"] == (
        f"ModuleNotFoundError: No module named 'a_library_nobody_has' ({path}, line 1); "
        "install what it needs with: pip install neurozoo-x"
    )


def test_a_plugin_without_its_module_says_to_install_it_again(install: Install) -> None:
    install("neurozoo-x", entry_points="[neurozoo]\nx = neurozoo_gone\n")
    assert errors(Registry())["x"].endswith("not completely installed, install it again with: pip install neurozoo-x")


def test_a_name_offered_twice_names_both_distributions(install: Install) -> None:
    install("neurozoo-a", GOOD.format(name="mine"), version="1.0")
    install("neurozoo-b", GOOD.format(name="mine"), version="2.0")
    registry = Registry()
    assert errors(registry) == {
        "b": "part 'mine' of neurozoo-b 2.0 is already registered by neurozoo-a 1.0; "
        "uninstall one of the two, or rename it"
    }
    assert registry.owner("part", "mine") == "neurozoo-a 1.0"


def test_two_plugins_of_one_name_name_the_other_distribution(install: Install) -> None:
    for name in ("a", "b"):
        install(f"neurozoo-{name}", GOOD.format(name=name), entry_points=f"[neurozoo]\nsame = neurozoo_{name}\n")
    registry = Registry()
    assert errors(registry)["same"].startswith("a plugin of neurozoo-a 0.3 is called 'same' as well")
    assert "b" not in registry.components("part")


def test_a_plugin_that_offers_one_name_twice_is_refused(module: ModuleType) -> None:
    registry = Registry([offer(module, part("one"), part("one")), CORE])
    assert "part 'one'" in loaded(registry).error
    assert "already registered by itself" in loaded(registry).error
    assert "one" not in registry.components("part")


@pytest.mark.parametrize(
    ("metadata", "entry_points"),
    [("", None), (None, "[neurozoo]\nno equals sign\n"), (None, "[neurozoo]\nx = two words\n")],
)
def test_malformed_metadata_is_told_and_stops_nobody(
    install: Install, metadata: str | None, entry_points: str | None
) -> None:
    install("neurozoo-x", GOOD.format(name="x"), metadata=metadata, entry_points=entry_points)
    install("neurozoo-y", GOOD.format(name="y"))
    registry = Registry()
    assert "y" in registry.components("part")
    ((_, error),) = errors(registry).items()
    assert "its metadata cannot be read" in error or "is malformed; name a module" in error


def test_a_plugin_that_prints_and_warns_is_quiet_and_told_of(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    code = 'print("hello\\nthere")\nimport warnings\nwarnings.simplefilter("always")\nwarnings.warn("old")\n'
    install("neurozoo-x", code + GOOD.format(name="mine"))
    registry = Registry()
    assert "mine" in registry.components("part")
    assert capsys.readouterr() == ("", "")
    assert loaded(registry, "x").note == "it warned: old; it printed 'hello there' when it was loaded"


def test_ctrl_c_while_a_plugin_is_loaded_goes_through(install: Install) -> None:
    install("neurozoo-x", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        Registry()


@pytest.mark.parametrize("field", ["requires", "tested"])
def test_a_forgotten_comma_is_told(module: ModuleType, field: str) -> None:
    registry = Registry([offer(module, part(**{field: "mylib"})), CORE])
    assert f"{field} is 'mylib'; give a tuple of texts, such as ('name',)" in loaded(registry).error


@pytest.mark.parametrize(("name", "target"), [("two words", "json:dumps"), ("mine", "json"), ("mine", "json:")])
def test_a_name_or_target_that_cannot_be_used_is_told(module: ModuleType, name: str, target: str) -> None:
    registry = Registry([offer(module, part(name, target=target)), CORE])
    assert "give a name of one word" in loaded(registry).error or "give 'module:attribute'" in loaded(registry).error
    assert_core_works(registry)


PART = """
from neurozoo.core.equations import spike
def own():
    return 1 / 0
def wrong_argument():
    return spike("not a tensor")
def hand_back(callback):
    return callback()
"""


@pytest.mark.parametrize("function", ["own", "wrong_argument"])
def test_the_culprit_is_the_plugin_in_whose_code_it_failed(install: Install, function: str) -> None:
    registry, module, path = with_part(install)
    with pytest.raises(Exception) as caught:
        getattr(module, function)()
    culprit = registry.culprit(caught.value)
    assert culprit.startswith(f"neurozoo-x 0.3 ({path}, line ")


def test_what_fails_in_the_core_is_no_plugins_fault(install: Install) -> None:
    from neurozoo.recipe.recipe import load_recipe

    registry, module, _ = with_part(install)
    with pytest.raises(TypeError) as caught:
        module.hand_back(lambda: load_recipe(3))  # type: ignore[arg-type]
    assert registry.culprit(caught.value) == ""
    assert registry.culprit(ValueError("never raised")) == ""


def with_part(install: Install) -> tuple[Registry, ModuleType, Path]:
    path = install("neurozoo-x", GOOD.format(name="mine").replace("json:dumps", "neurozoo_x:own") + PART)
    return Registry(), importlib.import_module("neurozoo_x"), path


@pytest.mark.parametrize(
    ("offered", "device", "expected"),
    [
        ({"fused": ("cpu",)}, "cpu", "mine"),
        ({"fused": ("cuda",)}, "cpu", "torch"),
        ({"fused": ("cuda",)}, "cuda:1", "mine"),
        ({"fused": ("cpu",), "exact": False}, "cpu", "torch"),
        ({"fused": ("cpu",), "native": True}, "cpu", "torch"),
        ({"fused": ("cpu",), "requires": ("nosuchlibrary",)}, "cpu", "torch"),
        ({}, "cpu", "torch"),
    ],
)
def test_the_fastest_backend_is_a_fused_exact_one(
    offered: dict[str, object], device: str, expected: str, module: ModuleType
) -> None:
    registry = Registry([CORE, offer(module, part(kind="neuron", **offered))])
    assert registry.fastest_backend(device) == expected
