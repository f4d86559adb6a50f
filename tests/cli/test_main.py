"""The command line: what it answers, with which exit status, and that it is quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import neurozoo.recipe.shipped
from neurozoo.cli import main
from neurozoo.errors import NeurozooError, RunError
from neurozoo.evaluation.evaluate import Evaluation
from neurozoo.training.listener import Checkpoint, Saved

ROOT = Path(__file__).parents[2]
NEVER = ("torch", "numpy", "sklearn", "ruamel.yaml")
HEAVY = (*NEVER, "pydantic")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "data"))


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [(["--help"], HEAVY), (["train", "--help"], NEVER), (["list"], NEVER), (["list", "backends", "--json"], NEVER)],
)
def test_help_and_list_import_nothing_heavy(arguments: list[str], heavy: tuple[str, ...]) -> None:
    code = (
        "import sys; from neurozoo.cli import main\n"
        f"assert main({arguments!r}) == 0\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout
    assert done.stderr.split() == []


def test_import_neurozoo_is_light_and_names_what_there_is() -> None:
    code = (
        "import sys, neurozoo; version = neurozoo.__version__\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])\n"
        "print(neurozoo.load_recipe('smile_pom').name, all(hasattr(neurozoo, name) for name in neurozoo.__all__),"
        " set(neurozoo.__all__) <= set(dir(neurozoo)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["", "smile_pom True True"]


def test_without_arguments_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys)
    assert status == 0
    assert all(command in out for command in ("train", "evaluate", "list", "show", "compare", "data"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "--version")
    assert status == 0
    assert out.startswith("neurozoo ")


def test_a_wrong_option_says_where_help_is(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capsys, "train", "smile_pom", "--bogus")
    assert (status, out) == (2, "")
    assert err.startswith("error: No such option: --bogus")
    assert err.rstrip().endswith("see `neurozoo train --help`")


def test_every_problem_of_a_recipe_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capsys, "train", "smile_pom", "sed=1", "training.epochs=0")
    assert (status, out) == (2, "")
    first, second = sorted(err.splitlines())
    assert first.startswith("error: command line: sed: the recipe has no key 'sed'")
    assert second == "error: command line: training.epochs: 0 is too small; give at least 1"


def test_an_error_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capsys, "train", "smile_pom", "sed=1", "--json")
    assert status == 2
    error = json.loads(out)["error"]
    assert error["type"] == "RecipeError"
    assert error["exit_status"] == 2
    assert [f"error: {problem}" for problem in error["problems"]] == err.splitlines()


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (RunError("r: already there"), 2, "error: r: already there"),
        (NeurozooError("the loss is nan"), 1, "error: the loss is nan"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (ZeroDivisionError("oh"), 1, "error: ZeroDivisionError: oh; this is a bug"),
    ],
)
def test_exit_statuses(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    words: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("neurozoo.training.train.train", fail)
    got, out, err = ran(capsys, "train", "smile_pom")
    assert (got, out) == (status, "")
    assert words in err
    assert ("Traceback" in err) == isinstance(error, ZeroDivisionError)


def test_output_cut_off_is_no_traceback() -> None:
    command = f"{sys.executable} -m neurozoo.cli list --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr


# list and show


def test_list_has_every_kind_and_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "list")
    assert status == 0
    for word in ("torch", "smile_mosei_corrected", "label-decoder", "mosei-synthetic", "mulan", "builtin", "rate-gain"):
        assert word in out
    status, out, _ = ran(capsys, "list", "recipes", "--json")
    assert [each["name"] for each in json.loads(out)["recipes"]] == sorted(neurozoo.recipe.shipped.shipped_recipes())


def test_list_takes_the_singular_and_refuses_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "list", "neuron")[1] == ran(capsys, "list", "backends")[1]
    status, _, err = ran(capsys, "list", "bakends")
    assert status == 2
    assert "no kind is called 'bakends'" in err
    assert "did you mean 'backends'?" in err


def test_a_broken_plugin_is_listed_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.metadata import EntryPoint

    from neurozoo.registry.registry import Registry

    entries = [
        EntryPoint("builtin", "neurozoo.registry.builtin", "neurozoo"),
        EntryPoint("broken", "neurozoo_that_is_not_there", "neurozoo"),
    ]
    monkeypatch.setattr("neurozoo.cli.browse.default_registry", lambda: Registry(entries))
    status, out, _ = ran(capsys, "list", "plugins")
    assert status == 0
    assert "BROKEN: ModuleNotFoundError: No module named 'neurozoo_that_is_not_there'" in out
    assert json.loads(ran(capsys, "list", "plugins", "--json")[1])["plugins"][1]["error"] == ""


def test_show_a_component(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "show", "disagreement")
    assert status == 0
    assert "part disagreement" in out
    assert "kappa" in out
    told = json.loads(ran(capsys, "show", "smile", "--json")[1])["components"][0]
    assert told["params"]["hidden"] == {"type": "int, ge=1, le=65536", "required": False, "default": 30}
    assert told["slots"]["head"] == "label-head"


def test_show_a_recipe_without_its_data(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "show", "smile_emotions", "training.epochs=3", "--json")
    assert status == 0
    told = json.loads(out)
    assert told["recipe"]["training"]["epochs"] == 3
    assert told["origins"]["training.epochs"] == "command line"
    assert told["origins"]["training.threads"] == "default"
    assert told["origins"]["data.name"].partition(":")[0].endswith("smile_emotions.yaml")
    assert told["assembled"]["total"] == sum(told["assembled"]["parameters"].values()) > 0
    text = ran(capsys, "show", "smile_emotions", "data.expect=null")[1]
    assert "parameters: unknown, since no data set 'emotions' is installed" in text


def test_show_something_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = ran(capsys, "show", "disagrement")
    assert status == 2
    assert "did you mean 'disagreement'?" in err


# train, evaluate, data

SUMMARY: dict[str, Any] = {
    "run": "runs/x",
    "synthetic": True,
    "metrics": {"valid": {"map": 0.5, "loss": float("nan")}, "test": {"map": 0.25}},
    "health": {"valid": {"branches.audio.lif": {"rate": 0.2, "dead": 0.0, "saturated": 0.1}}},
    "lesion": {"permuted": {"valid": 0.01}},
    "warnings": [],
    "duration_seconds": 1.0,
}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def train(recipe: Any, *, out: Path | None, listener: Any, start: Any) -> dict[str, Any]:
        calls.append((recipe, out))
        about = {"epochs": 2, "synthetic": True, "recipe": recipe.name, "run": "runs/x", "headline": {"map": "mAP"}}
        listener.started(about)
        listener.step(1, 1, 4, {"loss": 0.7, "rate": 0.1, "threshold": 1.0})
        record = {"epoch": 1, "train": {"loss": 0.7}, "valid": {"loss": 0.6, "map": 0.5}, "synthetic": True}
        listener.epoch(record, Checkpoint({}, {}, best=True, saved=Saved({}, {})))
        listener.warning("branches.audio.lif: dead")
        listener.finished(SUMMARY, Evaluation(None))
        return SUMMARY

    monkeypatch.setattr("neurozoo.training.train.train", train)
    monkeypatch.setattr("neurozoo.reporting.runs.conclusions.conclusion_lines", lambda run: [f"what to do with {run}"])
    return calls


def test_train_hands_over_the_recipe_and_the_folder(
    trained: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = ran(capsys, "train", "smile_pom", "seed=7", "training.epochs=2", "--out", "mine")
    assert status == 0
    ((recipe, folder),) = trained
    assert (recipe.name, recipe.seed, recipe.training.epochs, folder) == ("smile_pom", 7, 2, Path("mine"))
    assert recipe.model.parts["threshold"].params["kappa"] == 0.1
    assert "\x1b" not in out
    assert "epoch 1/2 | loss 0.700 | valid: loss 0.600  mAP 0.500 | SYNTHETIC" in out
    assert "warning: branches.audio.lif: dead" in out
    assert ["branches.audio.lif", "20.0%", "0.0%", "10.0%"] in map(str.split, out.splitlines())
    assert out.endswith("\n\nwhat to do with runs/x\n")


def test_every_table_of_made_up_data_says_so(
    trained: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = ran(capsys, "train", "smile_pom")[1].split("\n\n")
    tables = [block for block in blocks if block.splitlines() and ("metric" in block or "lesion effect" in block)]
    assert len(tables) == 2
    assert all("SYNTHETIC" in table.splitlines()[0] for table in tables)


def test_train_in_json_is_one_document_and_events(
    trained: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = ran(capsys, "train", "smile_pom", "--json")
    assert status == 0
    assert json.loads(out)["metrics"]["valid"] == {"map": 0.5, "loss": None}
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["started", "epoch", "warning"]


def test_bars_on_a_terminal_without_colour_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    from neurozoo.cli.progress import RichListener

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    with closing(RichListener(Console(file=stream, force_terminal=True, width=120))) as listener:
        listener.started({"epochs": 2, "recipe": "r"})
        listener.step(1, 2, 4, {"loss": 0.75, "rate": 0.123, "threshold": 1.01})
    shown = stream.getvalue()
    assert "loss 0.750  firing rate 12.3%  threshold 1.010" in shown
    assert "2/8" in shown
    assert "\x1b[3" not in shown


def test_evaluate_hands_over(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[Any] = []

    def evaluate_run(run: Path, **options: Any) -> dict[str, Any]:
        calls.append((run, options))
        return {"run": str(run), "synthetic": False, "metrics": {"valid": {"map": 0.5}}}

    monkeypatch.setattr("neurozoo.evaluation.evaluate.evaluate_run", evaluate_run)
    status, out, _ = ran(capsys, "evaluate", "r", "--split", "valid", "--backend", "norse", "--data-root", "d")
    assert status == 0
    assert calls == [(Path("r"), {"split": "valid", "backend": "norse", "data_root": "d", "shuffle_steps": None})]
    assert "map     0.5000" in out
    assert "SYNTHETIC" not in out
    assert ran(capsys, "evaluate", "r", "--split", "tset")[0] == 2


def test_data_import_and_info_refuse_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = ran(capsys, "data", "info", "nowhere")
    assert status == 2
    assert "there is no folder nowhere" in err
    assert "no importer is called 'mulann'" in ran(capsys, "data", "import", "mulann", "a", "b")[2]
    assert "--option 'x' is not KEY=VALUE" in ran(capsys, "data", "import", "mulan", "a", "b", "--option", "x")[2]


def test_data_check_finds_what_was_changed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, "data", "check", str(store))
    assert status == 0
    assert "whole, every checksum is as it was written" in out
    shard = next(iter(sorted(store.glob("*.safetensors"))))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    status, out, _ = ran(capsys, "data", "check", str(store), "--json")
    assert status == 3
    assert json.loads(out) == {"path": str(store), "whole": False, "changed": [shard.name]}
    assert ran(capsys, "data", "check", str(store.parent))[0] == 2


def test_an_importers_options_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "import", "mulan", "a", "b"]
    assert "format 'mulan' has no option 'nosuch'; there are: modalities" in ran(capsys, *command, "--nosuch", "1")[2]
    assert "--modalities has no value; give --modalities VALUE" in ran(capsys, *command, "--modalities")[2]
    assert "'c' is not expected here; an importer's options come last" in ran(capsys, *command, "c")[2]


def test_an_importers_options_that_are_missing_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csd").touch()
    for format, source in (("csd", tmp_path), ("guess", tmp_path / "x.csd")):
        status, _, told = ran(capsys, "data", "import", format, str(source), str(tmp_path / "store"), "--labels", "y")
        assert status == 2
        assert "format 'csd' also needs folds; add --folds VALUE (`neurozoo show csd` describes them)" in told


def test_data_import_parts_lists_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def import_data(format: str, source: Path, dest: Path, **options: Any) -> None:
        calls.append(options)
        raise RunError("enough")

    monkeypatch.setattr("neurozoo.data.importers.run_importer.import_data", import_data)
    assert main(["data", "import", "mulan", "a", "b", "--option", "modalities=timbre=64, rhythm=8"]) == 2
    assert calls == [{"modalities": ["timbre=64", "rhythm=8"]}]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupting_the_real_program() -> None:
    import signal

    code = (
        "import signal, sys, time; from neurozoo.cli import main\n"
        # Who is started in the background ignores it, and so do all that it starts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import neurozoo.training.train as module\n"
        "def train(*a, **k):\n    print('ready', file=sys.stderr, flush=True); time.sleep(60)\n"
        "module.train = train\n"
        "sys.exit(main(['train', 'smile_pom']))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read().startswith("error: interrupted")


def test_overrides_of_a_component_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, told = ran(capsys, "show", "disagreement", "kappa=0.2")
    assert status == 2
    assert told == "error: 'disagreement' is a component; overrides and --backend are for recipes\n"
    status, _, told = ran(capsys, "show", "lsnn-evidence", "model.params.regular=3")
    assert status == 2
    assert told == "error: 'lsnn-evidence' is a published size; overrides and --backend are for recipes\n"


def test_info_finds_a_changed_value(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    assert ran(capsys, "data", "info", str(store))[0] == 0
    shard = next(store.glob("**/*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    status, _, told = ran(capsys, "data", "info", str(store))
    assert status == 2
    assert shard.name in told


def test_a_part_that_needs_more_modalities_is_a_problem_of_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["model.parts.threshold=cross-entropy-ratio", "data.inputs=[timbre]", "model.params.spiking=[timbre]"]
    status, _, told = ran(capsys, "train", "smile_emotions", *changes, "--dry-run")
    assert status == 2
    assert "'cross-entropy-ratio' compares two spiking modalities, and there is timbre" in told


def test_types_of_parameters_are_shown_as_a_person_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert "none | balanced | tuple[float, gt=0, le=1e+30, ...]" in ran(capsys, "show", "multiclass")[1]
    assert "str | None" in ran(capsys, "show", "smile")[1]
