"""The doctor says what is well, what is not, and what to do; a broken part never stops it."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.cli import main
from neurozoo.core.layer import TorchNeuron
from neurozoo.registry.registry import Registry
from neurozoo.testing import Candidate, check, doctor
from neurozoo.testing.doctor import SECTIONS, Finding, examine

Install = Callable[..., Path]

PLUGIN = """
from neurozoo.registry.hookspecs import Component, hookimpl
from neurozoo.core.layer import TorchNeuron
neurozoo_api = "2.0"
class Silent(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        s, v = super().step(current, state, threshold, params)
        return s * 0, v
class Panic(BaseException):
    pass
class Panics(TorchNeuron):
    def __init__(self, spec):
        raise Panic("index out of range")
@hookimpl
def neurozoo_components():
    yield Component("neuron", "mine", "neurozoo_x:{target}", "a neuron"{more})
"""


def install_neuron(install: Install, target: str = "TorchNeuron", more: str = "") -> None:
    install("neurozoo-x", PLUGIN.format(target=target, more=more))


def look(section: str, registry: Registry | None = None) -> list[Finding]:
    return list(SECTIONS[section](registry or Registry()))


def core_and(*names: str) -> Registry:
    """The core's own components, and those of some installed plugins by entry point: not every backend there is."""
    return Registry(
        [each for each in importlib.metadata.entry_points(group="neurozoo") if each.name in ("builtin", *names)]
    )


def of(findings: list[Finding], name: str) -> Finding:
    (found,) = [each for each in findings if each.name.startswith(name)]
    return found


def test_a_healthy_core_has_every_section_and_no_failure() -> None:
    findings = list(examine(core_and()))
    assert list(dict.fromkeys(each.section for each in findings)) == list(SECTIONS)
    assert [each for each in findings if each.status == "failed"] == []
    assert next(each for each in findings if each.name == "torch").said == importlib.metadata.version("torch")
    assert "4 quick cases passed" in next(each.said for each in findings if each.section == "conformance")


def test_versions_are_held_against_what_neurozoo_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch>=99", "numpy>=1", "a-library-nobody-has>=2", "mkdocs>=1.6; extra == 'docs'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _name: wanted)
    found = look("versions")
    assert of(found, "torch").status == "failed"
    assert of(found, "torch").said.endswith("neurozoo needs torch>=99: pip install 'torch>=99'")
    assert of(found, "numpy").status == "ok"
    assert of(found, "a-library").said.startswith("is not installed; neurozoo needs")
    assert not [each for each in found if each.name == "mkdocs"]


def test_fix_prints_the_commands_that_mend_it_and_runs_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [
        Finding("versions", "torch", "failed", "1.0; neurozoo needs torch>=99: pip install 'torch>=99'"),
        Finding("plugins", "x", "warning", "mine cannot be used: y is not installed; install it with: pip install y"),
        Finding("plugins", "builtin", "ok", "an extra is not installed; install it with: pip install z"),
        Finding("devices", "threads", "warning", "9: more than the 2 cores; set OMP_NUM_THREADS=2 or training.threads"),
        Finding("data", "set", "failed", "is damaged;\nimport it again"),
    ]
    monkeypatch.setattr("neurozoo.testing.doctor.examine", lambda: iter(findings))
    assert main(["doctor", "--fix"]) == 1
    commands = ["pip install 'torch>=99'", "pip install y", "export OMP_NUM_THREADS=2"]
    assert capsys.readouterr().out.splitlines() == [*commands, "# data, set: is damaged; import it again"]
    assert main(["doctor", "--fix", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["fixes"] == commands
    findings[:] = [findings[2]]
    assert main(["doctor", "--fix"]) == 0
    assert capsys.readouterr().out == "# nothing to mend\n"


def test_more_threads_than_cores_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    threads = of(look("devices"), "threads")
    assert threads.status == "warning"
    assert "set OMP_NUM_THREADS=" in threads.said


def test_a_plugin_that_failed_to_load_has_its_reason(install: Install) -> None:
    install("neurozoo-x", "1 / 0\n")
    plugin = of(look("plugins"), "x (neurozoo-x 0.3)")
    assert plugin.status == "failed"
    assert plugin.said.startswith("not loaded: ZeroDivisionError: division by zero (")


def test_a_missing_library_is_a_warning_with_the_command(install: Install) -> None:
    install_neuron(install, more=', requires=("a_library_nobody_has",), install="pip install it"')
    registry = core_and("x")
    plugin = of(look("plugins", registry), "x ")
    assert plugin.status == "warning"
    assert plugin.said == (
        "neuron mine cannot be used: a_library_nobody_has is not installed; install it with: pip install it"
    )
    assert not [each for each in look("conformance", registry) if each.name == "mine"]


def test_an_extra_of_the_core_that_is_not_installed_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurozoo.registry.registry._is_there", lambda library: library != "tensorboard")
    plugin = of(look("plugins", Registry()), "builtin ")
    assert plugin.status == "ok"
    assert plugin.said.endswith(
        "; logger tensorboard cannot be used: tensorboard is not installed; "
        "install it with: pip install 'neurozoo-toolkit[tensorboard]'"
    )


@pytest.mark.parametrize(
    ("tested", "status", "words"),
    [
        ("torch >=2", "ok", "loaded, 1 component, plugin API 2.0, torch "),
        ("torch ==1.0.*", "warning", "and the plugin was tested with ==1.0.*; check it before use"),
        ("not a requirement", "warning", "'not a requirement', which is no requirement"),
        ("a-library-nobody-has >=1", "ok", "loaded"),
    ],
)
def test_versions_that_a_plugin_was_tested_with(install: Install, tested: str, status: str, words: str) -> None:
    install_neuron(install, more=f', tested=("{tested}",)')
    plugin = of(look("plugins"), "x ")
    assert plugin.status == status
    assert words in plugin.said


def test_a_distribution_that_offers_nothing_is_a_warning(install: Install) -> None:
    install("neurozoo-x", entry_points="[neurozoo.plugins]\nx = neurozoo_x\n")
    found = of(look("plugins"), "neurozoo-x")
    assert found.status == "warning"
    assert "offers nothing; its entry points are in 'neurozoo.plugins': a plugin's is in the group 'neurozoo'" in (
        found.said
    )


def test_a_backend_that_does_not_conform_fails(install: Install) -> None:
    install_neuron(install, target="Silent")
    found = of(look("conformance", core_and("x")), "mine")
    assert found.status == "failed"
    assert "ties_fire: " in found.said
    assert found.said.endswith("all cases: neurozoo plugins check mine")


def test_a_backend_that_cannot_be_imported_fails(install: Install) -> None:
    install_neuron(install, target="Nothing")
    found = of(look("conformance", core_and("x")), "mine")
    assert found.status == "failed"
    assert "could not be imported from 'neurozoo_x:Nothing'" in found.said


def test_a_backend_that_panics_costs_itself_alone(install: Install) -> None:
    install_neuron(install, target="Panics")
    found = look("conformance", core_and("x"))
    assert of(found, "mine").status == "failed"
    assert "Panic: index out of range" in of(found, "mine").said
    assert of(found, "torch").status == "ok"


def test_a_native_backend_is_not_held_against_the_oracle(install: Install) -> None:
    install_neuron(install, target="Silent", more=", native=True")
    assert of(look("conformance", core_and("x")), "mine").status == "ok"


def test_data_that_is_there_is_told_and_not_verified(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(store.parent))
    found = of(look("data"), "store")
    assert (found.status, found.said) == (
        "ok",
        f"train 24, valid 10, test 11; values not verified here: neurozoo data info {store}",
    )
    (store / "dataset.json").write_text("{")
    assert of(look("data"), "store").status == "failed"


def test_a_data_folder_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "file" / "data"))
    (found,) = look("data")
    assert found.status == "failed"
    assert found.said.endswith("set NEUROZOO_DATA to a folder that can")
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "new"))
    assert look("data")[0].said == "can be written (NEUROZOO_DATA)"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_recipes_say_where_their_data_is() -> None:
    found = look("recipes")
    assert of(found, "smile_pom").said == "pom is not installed"
    assert of(found, "smile_mosei_corrected").said == "cmu-mosei is not installed; mosei-synthetic stands in"


def test_a_section_that_breaks_is_told_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_registry: Registry) -> list[Finding]:
        raise RuntimeError("no luck")

    monkeypatch.setattr(doctor, "SECTIONS", {"devices": broken, "recipes": SECTIONS["recipes"]})
    first, *rest = examine(Registry())
    assert (first.status, first.said) == ("failed", "could not be checked: RuntimeError: no luck")
    assert rest


def test_a_distribution_with_damaged_metadata_is_named(install: Install) -> None:
    install("somebodys-library", entry_points="[console_scripts]\nno equals sign\n")
    found = of(look("versions", Registry([])), "somebodys_library")
    assert found.status == "warning"
    assert "its metadata is damaged (TypeError: " in found.said
    assert found.said.endswith("somebodys_library-0.3.dist-info again, or remove it")


def test_without_torch_nothing_imports_it_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_import_problem", lambda library: f"OSError: no lib{library}.so")
    findings = [each for each in examine(Registry()) if each.section != "versions"]
    assert [each.section for each in findings] == [section for section in SECTIONS if section != "versions"]
    assert {each.said for each in findings} == {"not examined, as torch cannot be imported: OSError: no libtorch.so"}


class Panic(BaseException):
    """What an extension in another language raises."""


def test_what_is_no_exception_is_told_too(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    def panics(_registry: Registry) -> list[Finding]:
        raise Panic("index out of range")

    monkeypatch.setattr(doctor, "SECTIONS", {"devices": panics, "recipes": SECTIONS["recipes"]})
    first, *rest = examine(Registry())
    assert (first.status, first.said) == ("failed", "could not be checked: Panic: index out of range")
    assert rest


def test_a_neuron_that_panics_fails_its_cases_alone() -> None:
    class Panics(TorchNeuron):
        def scan(self, *arguments, **options):
            raise Panic("index out of range")

    report = check(Candidate("neuron", "panics", Panics), ["ties_fire", "refusals_name_the_neuron"])
    assert [result.outcome for result in report.results] == ["failed", "passed"]
    assert report.results[0].problem == "Panic: index out of range"
