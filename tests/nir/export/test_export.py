"""What is written of a run, what is said of it, and what is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import pytest

from neurozoo.errors import RunError, UserError
from neurozoo.nir.export import export_run
from neurozoo.nir.export.branches import observe
from neurozoo.nir.export.export import SUMMARY
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.shipped_models import shipped_model
from neurozoo.training.train import train


def test_a_packed_model(tmp_path: Path) -> None:
    export = export_run("emotions-corrected", tmp_path / "out", dt=1e-3)
    assert [branch.file for branch in export.branches] == ["timbre.nir", "rhythm.nir"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [SUMMARY, "rhythm.nir", "timbre.nir"]
    assert (export.threshold, export.threshold_from) == (1.0, "that of 'disagreement' at kappa = 0")
    assert any(line.startswith("threshold: disagreement, which moves the threshold") for line in export.left_out)
    for name in ("project", "standardise", "refine", "scaling: rate-gain", "enhance", "fusion: interactive", "head"):
        assert any(line.startswith(name) for line in export.left_out), name
    folder = shipped_model("emotions-corrected")
    assert folder is not None
    for branch in export.branches:
        file = tmp_path / "out" / branch.file
        assert hashlib.sha256(file.read_bytes()).hexdigest() == branch.sha256
        metadata = nir.read(file).metadata
        assert metadata == branch.settings
        assert metadata["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        assert {
            key: metadata[key]
            for key in (
                "branch",
                "dt",
                "reset",
                "fires",
                "time_steps",
                "neuron_surrogate",
                "neuron_detach_reset",
                "neuron_v_reset",
                "neuron_apply",
            )
        } == {
            "branch": branch.name,
            "dt": 1e-3,
            "reset": "value",
            "fires": "above",
            "time_steps": 5,
            "neuron_surrogate": "atan",
            "neuron_detach_reset": "false",
            "neuron_v_reset": "0.0",
            "neuron_apply": "threshold",
        }
    told = json.loads((tmp_path / "out" / SUMMARY).read_text())
    assert told == json.loads(json.dumps(export.to_dict()))
    assert str(tmp_path) not in json.dumps(told)


def test_the_same_export_is_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_run("emotions-corrected", tmp_path / name, dt=1e-3)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_sequence_model_says_that_a_position_is_a_step(tmp_path: Path, sequence_run: Path) -> None:
    (settings, *_) = (branch.settings for branch in export_run(sequence_run, tmp_path / "out", dt=1e-3).branches)
    assert settings["input"].startswith("the projection of one position a step")
    assert "time_steps" not in settings
    assert settings["threshold_from"] == "that of 'constant'"


def test_a_stated_threshold_is_folded_where_asked(tmp_path: Path, run: Callable[..., Path]) -> None:
    folder = run()
    plain = export_run(folder, tmp_path / "plain", dt=1e-3, threshold=0.5)
    folded = export_run(folder, tmp_path / "folded", dt=1e-3, threshold=0.5, fold=True)
    assert plain.threshold_from == folded.threshold_from == "stated"
    one, other = (nir.read(tmp_path / name / "audio.nir").nodes["affine_2"] for name in ("plain", "folded"))
    assert (2 * one.weight == other.weight).all()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["model.parts.activation=relu"],
            "branches.audio.first: NIR has no node for relu neurons; it has one for lif",
        ),
        (["model.parts.threshold=cross-entropy-ratio"], "'cross-entropy-ratio' has no threshold of its own"),
    ],
)
def test_what_nir_cannot_say_is_refused_by_name(
    tmp_path: Path, run: Callable[..., Path], overrides: list[str], words: str
) -> None:
    folder = run(*overrides)
    with pytest.raises(UserError) as raised:
        export_run(folder, tmp_path / "out", dt=1e-3)
    assert words in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_threshold_made_of_batches_can_be_stated(tmp_path: Path, run: Callable[..., Path]) -> None:
    folder = run("model.parts.threshold=cross-entropy-ratio")
    assert export_run(folder, tmp_path / "out", dt=1e-3, threshold=1.0).threshold_from == "stated"


def test_weights_of_a_librarys_own_neuron_are_refused(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    train(recipe("training.epochs=1", backend="norse-native"), out=tmp_path / "run")
    with pytest.raises(UserError, match="was trained on norse-native, whose neuron is its library's own"):
        export_run(tmp_path / "run", tmp_path / "out", dt=1e-3)


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurozoo.nir.export.export.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed; `pip install 'neurozoo-toolkit\[nir\]'`"):
        export_run("emotions-corrected", tmp_path / "out", dt=1e-3)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="already there and not empty; give another --out"):
        export_run("emotions-corrected", tmp_path, dt=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neurozoo.nir.writing.nir.write", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device; give another --out"):
        export_run("emotions-corrected", tmp_path / "out", dt=1e-3)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_error_and_nothing_is_left(tmp_path: Path) -> None:
    # HDF5 itself crashes where a write fails. A limit on the size of files stands for a full disk.
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); "
        "from neurozoo.cli import main; sys.exit(main())"
    )
    command = ["nir", "export", "emotions-corrected", "--dt", "1e-3", "--no-check", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be written: " in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def renamed(*args: Any) -> dict[str, Any]:
        return {name: observe(*args)["timbre"]}

    monkeypatch.setattr("neurozoo.nir.export.export.observe", renamed)
    with pytest.raises(RunError, match="cannot be written"):
        export_run("emotions-corrected", tmp_path / "a" / "out", dt=1e-3)
    assert [*tmp_path.rglob("*.nir")] == []
