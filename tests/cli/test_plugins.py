"""``plugins`` and ``doctor`` on the command line: what they print, with which exit status; whose fault a failure is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli import main
from neurozoo.registry.registry import default_registry

Install = Callable[..., Path]

NEURON = """
from neurozoo.registry.hookspecs import Component, hookimpl
neurozoo_api = "2.0"

@hookimpl
def neurozoo_components():
    yield Component("neuron", "mine", "mine_part:Mine", "a neuron"{more})
"""
PART = """
from neurozoo.core.layer import TorchNeuron

class Mine(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        s, v = super().step(current, state, threshold, params)
        return s{change}, v
"""


@pytest.fixture(autouse=True)
def _anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    default_registry.cache_clear()
    yield
    default_registry.cache_clear()


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status, out, _ = ran(capsys, *arguments, "--json")
    return status, json.loads(out)


def install_neuron(install: Install, change: str = "", more: str = "") -> None:
    install("mine-part", PART.format(change=change), entry_points="")
    install("neurozoo-x", NEURON.format(more=more))


# list


def test_plugins_list_and_list_plugins_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "plugins", "list") == ran(capsys, "list", "plugins")
    assert told(capsys, "plugins", "list") == told(capsys, "list", "plugins")


def test_every_kind_of_trouble_has_its_line(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("neurozoo-a", "1 / 0\n")
    install("neurozoo-b", NEURON.replace('"2.0"', '"1.0"').format(more=""))
    install_neuron(install, more=', requires=("a_library_nobody_has",), install="pip install it"')
    install("neurozoo-y", "print('hello')\n" + NEURON.replace('"mine"', '"yours"').format(more=""))
    status, out, err = ran(capsys, "plugins", "list")
    assert (status, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(line.startswith("a neurozoo-a 0.3 BROKEN: ZeroDivisionError: division by zero (") for line in lines)
    assert any(
        line.startswith("b neurozoo-b 0.3 BROKEN: neurozoo-b 0.3 was written for plugin API 1") for line in lines
    )
    place = lines.index("x neurozoo-x 0.3 neuron mine")
    assert lines[place + 1] == "neuron mine cannot be used: no a_library_nobody_has; install it with: pip install it"
    assert "note: it printed 'hello' when it was loaded" in lines
    rows = {row["name"]: row for row in told(capsys, "plugins", "list")[1]["plugins"]}
    assert rows["x"]["unusable"] == [
        {"component": "neuron mine", "missing": ["a_library_nobody_has"], "install": "pip install it"}
    ]
    assert (rows["x"]["api"], rows["x"]["error"]) == ("2.0", "")


def test_what_plugins_print_at_import_does_not_spoil_the_output(install: Install) -> None:
    path = install("neurozoo-x", "print('hello')\nimport warnings\nwarnings.warn('old')\n" + NEURON.format(more=""))
    code = f"import sys; sys.path.insert(0, {str(path.parent)!r}); from neurozoo.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "backends", "--json"], capture_output=True, text=True, check=True
    )
    assert "mine" in [row["name"] for row in json.loads(done.stdout)["backends"]]
    assert done.stderr == ""


def test_a_native_backend_is_marked(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install_neuron(install, more=", native=True, exact=False")
    assert "a neuron (native: not held against the oracle)" in ran(capsys, "list", "backends")[1]
    assert "another model: its library's own neuron, unchanged" in ran(capsys, "show", "mine")[1]


# check


@pytest.mark.parametrize("name", ["mine", "x", "neurozoo-x", "neurozoo_X"])
def test_check_takes_a_component_a_plugin_or_a_distribution(
    name: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install_neuron(install)
    status, out, _ = ran(capsys, "plugins", "check", name, "--case", "ties_fire", "--case", "one_step")
    assert status == 0
    assert out.startswith("neuron mine: 2 of 2 cases passed\n")


def test_check_of_one_that_does_not_conform_says_where(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install_neuron(install, change=" * 0")
    status, out, _ = ran(capsys, "plugins", "check", "mine", "--case", "ties_fire")
    assert status == 3
    assert "0 of 1 cases passed, 1 failed" in out
    status, content = told(capsys, "plugins", "check", "mine", "--case", "ties_fire")
    assert status == 3
    (checked,) = content["checked"]
    assert (checked["kind"], checked["name"], checked["outcome"]) == ("neuron", "mine", "failed")
    assert checked["report"]["results"][0]["outcome"] == "failed"


def test_check_runs_every_case_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from neurozoo.testing import kit_of

    kit = kit_of("label-head")
    assert kit is not None

    status, content = told(capsys, "plugins", "check", "pooled")
    assert status == 0
    names = [each["name"] for each in content["checked"][0]["report"]["results"]]
    assert names == list(kit.cases)


def test_check_gives_params(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "plugins", "check", "pooled", "dropout=0.5", "--case", "gives_outputs")[0] == 0
    status, _, err = ran(capsys, "plugins", "check", "pooled", "dropout=2")
    assert status == 2
    assert err.startswith("error: dropout: 2 is too large")
    status, _, err = ran(capsys, "plugins", "check", "pooled", "droput=0.5")
    assert status == 2
    assert "did you mean 'dropout'?" in err
    assert ran(capsys, "plugins", "check", "pooled", "dropout")[0] == 2
    status, _, err = ran(capsys, "plugins", "check", "builtin", "dropout=0.5")
    assert status == 2
    assert "KEY=VALUE is for one component, and these are " in err


def test_kinds_without_a_kit_are_held_to_their_interface_and_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "plugins", "check", "csd", "--kind", "importer")
    assert status == 0
    assert "it can be imported and has the interface of its kind; there is no kit" in out


def test_a_function_lacks_no_parameters_before_it_is_called(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    code = NEURON.format(more="") + '    yield Component("importer", "songs", "mine_part:import_songs", "not there")\n'
    install("mine-part", PART.format(change=""), entry_points="")
    install("neurozoo-x", code)
    status, out, _ = ran(capsys, "plugins", "check", "csd", "--kind", "importer")
    assert (status, "importer csd: interface: it can be imported" in out) == (0, True)
    status, out, _ = ran(capsys, "plugins", "check", "songs")
    assert status == 3
    assert "importer songs: failed: importer 'songs' of neurozoo-x 0.3 could not be imported" in out


def test_check_of_a_native_backend_says_that_it_is_another_model(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install_neuron(install, change=" * 0", more=", native=True")
    status, out, _ = ran(capsys, "plugins", "check", "mine")
    assert status == 0
    assert "another model; `neurozoo compare` shows how far off it is" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mien"], "no component or plugin is called 'mien'"),
        (["mine", "--kind", "fusion"], "no fusion is called 'mine'"),
        (["mine", "--kind", "neron"], "no kind is called 'neron'"),
        (["mine", "--case", "tie_fires"], "no case is called 'tie_fires'"),
    ],
)
def test_what_is_not_there_has_status_2(
    arguments: list[str], words: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install_neuron(install)
    status, out, err = ran(capsys, "plugins", "check", *arguments)
    assert (status, out) == (2, "")
    assert words in err


def test_a_name_of_two_kinds_asks_which(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        NEURON.format(more="")
        + '    yield Component("part", "torch", "neurozoo.models.smile.scaling:NoScaling", "a part")\n'
    )
    install("neurozoo-x", code)
    status, _, err = ran(capsys, "plugins", "check", "torch")
    assert status == 2
    assert "'torch' is the name of a neuron and of a part; say which with --kind" in err
    assert ran(capsys, "plugins", "check", "torch", "--kind", "neuron", "--case", "ties_fire")[0] == 0


def test_check_of_a_broken_plugin_or_without_its_library_has_status_1(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("neurozoo-a", "1 / 0\n")
    install_neuron(install, more=', requires=("a_library_nobody_has",), install="pip install it"')
    status, _, err = ran(capsys, "plugins", "check", "a")
    assert status == 1
    assert "plugin a of neurozoo-a 0.3 is not loaded: ZeroDivisionError" in err
    status, out, _ = ran(capsys, "plugins", "check", "mine")
    assert status == 1
    assert "neuron mine: unusable: neuron 'mine' needs a_library_nobody_has, which is not installed" in out


# new


def test_what_is_next_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "with space"
    assert main(["plugins", "new", "mine", "--kind", "fusion", "--out", str(folder)]) == 0
    assert f"  pip install -e '{folder}/neurozoo-mine'" in capsys.readouterr().out


def test_new_writes_and_says_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "plugins", "new", "mine", "--kind", "fusion")
    assert status == 0
    assert out.splitlines() == [
        "wrote neurozoo-mine, with the fusion 'mine' in neurozoo_mine/fusion.py; next:",
        "  pip install -e neurozoo-mine",
        "  neurozoo plugins list",
        "  neurozoo plugins check neurozoo-mine",
        "  pytest neurozoo-mine",
    ]
    status, content = told(capsys, "plugins", "new", "mine", "--kind", "fusion", "--out", "there")
    assert status == 0
    assert content["path"] == "there/neurozoo-mine"
    assert content["component"] == {"kind": "fusion", "name": "mine"}
    assert all((tmp_path / content["path"] / file).is_file() for file in content["files"])


def test_new_refuses_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "plugins", "new", "torch", "--kind", "neuron")[0] == 2
    assert ran(capsys, "plugins", "new", "mine", "--kind", "neron")[0] == 2
    assert ran(capsys, "plugins", "new", "mine")[0] == 2


# whose fault


def test_an_exception_in_a_plugin_names_the_plugin(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install_neuron(install, change=" / (1 // 0)")
    path = Path("site/mine_part.py").absolute()
    status, out, err = ran(capsys, "train", "smile_mosei_corrected", "--backend", "mine", "--dry-run")
    assert (status, out) == (1, "")
    assert "Traceback" in err
    assert err.splitlines()[-1] == (
        f"error: ZeroDivisionError: integer division or modulo by zero; this is a bug of the plugin neurozoo-x 0.3 "
        f"({path}, line 7); please report it to its author"
    )


def test_a_panic_in_a_plugins_code_is_its_bug(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    panic = "class Panic(BaseException): pass\n"
    body = "        raise Panic('unwrap')\n"
    code = (
        "from neurozoo.core.layer import TorchNeuron\nfrom neurozoo.registry.hookspecs import Component, hookimpl\n"
        f"neurozoo_api = '2.0'\n{panic}class Mine(TorchNeuron):\n    def __init__(self, spec):\n{body}"
        "@hookimpl\ndef neurozoo_components():\n"
        "    yield Component('neuron', 'mine', 'neurozoo_x:Mine', 'a neuron')\n"
    )
    install("neurozoo-x", code)
    status, _, err = ran(capsys, "train", "spiking_convnet", "--dry-run", "--backend", "mine")
    assert status == 1
    assert "error: Panic: unwrap; this is a bug of the plugin neurozoo-x 0.3 (" in err


# doctor


def test_doctor_in_text_and_json(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from neurozoo.testing import doctor
    from neurozoo.testing.doctor import SECTIONS

    monkeypatch.setattr(doctor, "SECTIONS", {name: SECTIONS[name] for name in ("plugins", "data")})
    monkeypatch.setenv("PYTHONPATH", sys.path[0])  # the fixture's folder, for the process that examines
    install_neuron(install, more=', tested=("torch ==1.0.*",)')
    status, out, _ = ran(capsys, "doctor")
    assert status == 0
    assert out.splitlines()[-1] == "nothing failed, 1 warning"
    assert "WARNING" in out
    install("neurozoo-a", "1 / 0\n")
    default_registry.cache_clear()
    status, out, _ = ran(capsys, "doctor")
    assert status == 1
    *_, count, last = out.splitlines()
    assert count == "1 failed, 1 warning"
    assert last.startswith("  plugins, a (neurozoo-a 0.3): not loaded: ZeroDivisionError")
    status, content = told(capsys, "doctor")
    assert (status, content["status"]) == (1, "failed")
    assert [each["name"] for each in content["failures"]] == ["a (neurozoo-a 0.3)"]
