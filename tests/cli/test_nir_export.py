"""``nir export`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.cli import main
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.train import train

Said = tuple[int, str, str]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Said]:
    def run(*arguments: str) -> Said:
        status = main(["nir", "export", *arguments, "--out", str(tmp_path / "out")])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_it_says_what_it_wrote_left_out_and_found(say: Callable[..., Said], tmp_path: Path) -> None:
    status, out, _ = say("emotions-corrected", "--dt", "1e-3", "--check", "norse,snntorch")
    assert status == 0
    assert "dt 0.001 s, threshold 1 (that of 'disagreement' at kappa = 0); reset to v_reset" in out
    assert "timbre.nir  Input 30, Affine 30 -> 128, LIF 128, Affine 128 -> 30, LIF 30, Output 30" in out
    assert "  fusion: interactive\n" in out
    lines = [line.split() for line in out.splitlines()]
    for library in (["norse", "1.1.0"], ["snntorch", "1.0.0"]):
        for branch in ("timbre", "rhythm"):
            (found,) = (line for line in lines if line[:3] == [*library, branch])
            assert found[-2] == "0"
    assert "snntorch: snnTorch takes dt for 0.0001 s" in out
    assert out.endswith(f"exported: {tmp_path / 'out'}\n")


def test_json_has_all_of_it(say: Callable[..., Said], tmp_path: Path) -> None:
    status, out, _ = say("emotions-corrected", "--dt", "1e-4", "--threshold", "0.8", "--fold", "--json")
    assert status == 0
    told = json.loads(out)
    assert (told["dt"], told["threshold"], told["threshold_from"], told["folded"]) == (1e-4, 0.8, "stated", True)
    assert {branch["file"] for branch in told["branches"]} == {"timbre.nir", "rhythm.nir"}
    assert told["branches"][0]["settings"]["neuron_tau"] == "2.0"
    assert told["read_back"]["same"] is True
    assert {row["library"] for row in told["read_back"]["rows"]} == {"norse", "snntorch", "spikingjelly"}
    assert {row["mismatches"] for row in told["read_back"]["rows"]} == {0}


def test_without_dt_it_says_what_to_give(say: Callable[..., Said], tmp_path: Path) -> None:
    status, _, err = say("emotions-corrected")
    assert status == 2
    assert "say how long a step is: --dt SECONDS, such as --dt 1e-3" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--check", "nrose"], "no backend is called 'nrose'; there are: "),
        (["--check", ","], "--check names nothing; there are: norse, snntorch, spikingjelly"),
        (["--check", "norse", "--no-check"], "--check and --no-check exclude each other"),
        (["--threshold", "0"], "threshold is 0.0; give a positive number"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    say: Callable[..., Said], tmp_path: Path, options: list[str], words: str
) -> None:
    status, _, err = say("emotions-corrected", "--dt", "1e-3", *options)
    assert status == 2
    assert words in err
    assert not (tmp_path / "out").exists()


def test_nobody_need_read_it_back(say: Callable[..., Said]) -> None:
    status, out, _ = say("emotions-corrected", "--dt", "1e-3", "--no-check")
    assert status == 0
    assert "not read back" in out


def test_a_difference_ends_with_three_and_the_files_are_there(
    say: Callable[..., Said], tmp_path: Path, recipe: Callable[..., Recipe]
) -> None:
    soft = "model.parts.activation={name: lif, params: {v_reset: null}}"
    train(recipe("training.epochs=1", soft), out=tmp_path / "run")
    status, out, _ = say(str(tmp_path / "run"), "--dt", "1e-3", "--check", "norse")
    assert status == 3
    assert "reset by subtracting the threshold" in out
    assert "norse: Norse does not hand its option reset_method on to LIF nodes" in out
    assert (tmp_path / "out" / "audio.nir").is_file()
