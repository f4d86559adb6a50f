"""``neurozoo compare``: what it answers, with which exit status, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli import main
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.train import train

EQUAL, DIFFERENT, WRONG = 0, 3, 2


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small(recipe: Callable[..., Recipe], tmp_path: Path) -> str:
    """The path of the small recipe."""
    recipe()
    return str(tmp_path / "small.yaml")


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["compare", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status, out, err = ran(capsys, *arguments, "--json")
    assert err == ""
    return status, json.loads(out)


def test_equivalent_backends_give_0(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capsys, small, "--backends", "torch, spikingjelly,snntorch", "--repeats", "1")
    assert (status, err) == (EQUAL, "")
    assert "small, untrained weights, as training begins with: 10 samples in 1 batch (made up by the tests" in out
    assert "metrics on these 10 samples, untrained weights" in out
    assert out.rstrip().endswith("verdict: equivalent (equivalent: spikingjelly, snntorch; compared with torch)")


def test_another_model_gives_3_and_says_how_far_off_it_is(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = told(
        capsys, small, "--backends", "torch,snntorch-native", "--batches", "2", "--batch-size", "4", "--repeats", "1"
    )
    assert status == DIFFERENT
    assert found["verdict"] == "different"
    assert (found["samples"], found["batches"], found["schema"]) == (8, 2, 2)
    torch, native = found["backends"]
    assert (torch["verdict"], native["verdict"]) == ("reference", "another model")
    assert 0 < native["mismatches"] < native["spikes"]
    assert native["first"]["batch"] == 0
    assert native["prediction_difference"] > 1e-6
    assert native["gradient_difference"] > 0.01
    assert native["peak_bytes"] > 100_000
    assert native["memory_ratio"] == pytest.approx(native["peak_bytes"] / torch["peak_bytes"])
    assert native["calls"]["snntorch._neurons.leaky:Leaky.forward"] == 5
    traits = {trait["name"]: trait["found"] for trait in native["traits"]}
    assert traits["reset"] == "one step late"


def test_the_split_and_overrides_are_taken(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--split", "test", "--batch-size", "6", "--repeats", "1"]
    status, found = told(capsys, small, "model.params.time_steps=3", "--backends", "torch,norse", *options)
    assert (status, found["samples"], found["batches"]) == (EQUAL, 11, 2)
    assert found["setting"]["data"].endswith("split test")
    assert found["backends"][1]["layers"][0]["spikes"] == 3 * 11 * 8 * 16


def test_training_side_by_side(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--train", "--steps", "4", "--repeats", "1", "--batches", "1"]
    status, found = told(capsys, small, "--backends", "torch,spikingjelly,norse-native", *options)
    assert status == DIFFERENT
    torch, same, native = found["training"]["backends"]
    assert same["losses"] == torch["losses"]
    assert (same["first_difference"], same["first_spike"], same["problems"]) == (None, None, [])
    assert native["first_difference"] > 1  # the first step's forward is the same, its gradient is not
    assert native["weight_difference"] > 1e-4
    assert native["problems"]
    assert found["training"]["samples"] == 10


def test_a_trained_run(recipe: Callable[..., Recipe], capsys: pytest.CaptureFixture[str]) -> None:
    summary = train(recipe("task.params.decision=valid-per-label", "training.epochs=1"), out=Path("run"))
    status, found = told(capsys, "--run", "run", "--backends", "torch,norse", "--batch-size", "32", "--repeats", "1")
    assert status == EQUAL
    assert (found["setting"]["trained"], found["setting"]["run"]) == (True, "run")
    assert found["setting"]["recipe"] == summary["recipe"]
    status, _, err = ran(capsys, "run", "--backends", "torch,norse")
    assert status == WRONG
    assert "run is a run; to compare backends on it, give --run run" in err
    assert found["decision"] == summary["decision"]
    for backend in found["backends"]:
        for name, value in backend["metrics"].items():
            assert value == pytest.approx(summary["metrics"]["valid"][name], abs=1e-6)


def test_any_split(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        options = ["--batches", "1", "--batch-size", "1", "--repeats", "1", "--split", split]
        status, out, _ = ran(capsys, small, "--backends", "torch,norse", *options)
        assert status == EQUAL
        assert "1 sample in 1 batch" in out
        assert f"split {split}" in out


def test_the_page(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys, small, "--backends", "torch,norse-native", "--repeats", "1", "--out", "page.md")
    assert status == DIFFERENT
    assert "verdict: different" in out
    page = Path("page.md").read_text("utf-8")
    assert f"neurozoo compare --backends torch,norse-native {small} --repeats 1 --out page.md" in page
    assert "| membrane equal to the threshold | fires | silent |" in page
    assert " ms " not in page
    assert "memory |" not in page
    Path("in_the_way").write_text("x")
    status, _, err = ran(capsys, small, "--backends", "torch,norse", "--repeats", "1", "--out", "in_the_way/page.md")
    assert status == WRONG
    assert "in_the_way/page.md: cannot be written" in err


def test_data_that_is_not_there_is_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--repeats", "1", "--batches", "1", "--batch-size", "4"]
    status, out, _ = ran(capsys, "smile_emotions", "--backends", "torch,norse", *options)
    assert status == EQUAL
    assert out.startswith("SYNTHETIC data")
    assert "emotions is not installed, so the samples are made up, at default weights" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backends", "torch"], "names 1; give two or more different ones, such as torch and one of a plugin"),
        (["--backends", "torch,torch"], "names 1; give two or more different ones"),
        (["--backends", "torch,touch"], "no backend is called 'touch'"),
        (["--backends", "torch,norse", "--mixed"], "--mixed is for runs"),
        (["--backends", "torch,norse", "--run", "nowhere"], "there is no such run folder"),
        (["--backends", "torch,norse", "--run", "x", "seed=1"], "--run x has a recipe of its own; leave out seed=1"),
        (["--backends", "torch,norse", "--device", "cuda:9"], "'cuda:9' and is not available"),
        ([], "without --backends, compare lines up finished runs: give two or more run folders"),
        (["smile_pom"], "to compare backends on a recipe or on a --run, give --backends torch,OTHER"),
        (["--run", "x"], "--run, --out and --train are for backends; give --backends torch,OTHER"),
        (["a", "b", "--train"], "--run, --out and --train are for backends"),
    ],
)
def test_what_is_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capsys, *arguments)
    assert (status, out) == (WRONG, "")
    assert words in err


def test_a_neuron_that_the_library_cannot_be_is_refused(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    activation = "model.parts.activation={name: lif, params: {v_reset: 0.2}}"
    status, _, err = ran(capsys, small, activation, "--backends", "torch,snntorch-native")
    assert status == 1
    assert "snnTorch resets to 0 or by the threshold, and v_reset is 0.2" in err


def test_runs_side_by_side(recipe: Callable[..., Recipe], capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        train(recipe("training.epochs=1", f"seed={seed}"), out=Path(name))
    status, found = told(capsys, "a", "b")
    assert status == EQUAL
    assert found["recipes_differ"] == {"seed": [1, 2]}
    status, out, _ = ran(capsys, "a", "b")
    assert status == EQUAL
    assert "2 runs that differ by their seed alone: a, b" in out
    status, _, err = ran(capsys, "a", "c")
    assert status == WRONG
    assert "c: there is no such run folder" in err
