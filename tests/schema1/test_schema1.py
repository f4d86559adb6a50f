"""Runs, packed models and recipes that were made before schema 2 are read as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from neurozoo.data.store import Store
from neurozoo.errors import CheckpointError, RecipeError
from neurozoo.evaluation.evaluate import evaluate_run
from neurozoo.evaluation.verify import verify_run
from neurozoo.hub.packing import pack
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.reporting.runs.run_report import report_runs
from neurozoo.runs.loading import load
from neurozoo.runs.run import Run
from neurozoo.training.train import resume

HERE = Path(__file__).parent
CLOSE: dict[str, Any] = {"rel": 1e-5, "abs": 1e-6}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, which is the current one, as recipes name their store relative to it."""
    folder = shutil.copytree(HERE, tmp_path / "old")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((HERE / "expected.json").read_text())
    return content


@pytest.mark.parametrize("source", ["finished", "packed"])
@pytest.mark.parametrize("backend", [None, "numba"])
def test_a_model_predicts_the_same(old: Path, expected: dict[str, Any], source: str, backend: str | None) -> None:
    model = load(source, backend=backend)
    assert model.outputs == ("calm", "angry", "sad")
    assert model.decision == expected["decision_threshold"]
    for name, probabilities in expected["predictions"].items():
        split = Store(old / "store").split(name)
        batch = split.batch(torch.arange(len(split)))
        masks = {signal: each.mask for signal, each in batch.signals.items()}
        found = model.predict({signal: each.values for signal, each in batch.signals.items()}, masks)
        torch.testing.assert_close(found, torch.tensor(probabilities), rtol=0, atol=1e-6)


@pytest.mark.parametrize("source", ["finished", "packed"])
def test_published_numbers_come_back(old: Path, source: str) -> None:
    verification = verify_run(Path(source), data_root="store")
    assert verification.verified, verification.differing
    assert len(verification.numbers) == 22


def test_a_run_is_evaluated(old: Path, expected: dict[str, Any]) -> None:
    found = evaluate_run("finished", split="valid")
    assert found["metrics"]["valid"] == pytest.approx(expected["metrics"]["valid"], **CLOSE)
    assert found["same_data_as_trained"]


def test_a_run_continues_to_the_bit(old: Path, expected: dict[str, Any]) -> None:
    """On one thread and CPU of the kind that made the files; elsewhere sums are rounded in another order."""
    summary = resume(old / "interrupted")
    assert summary["decision"] == expected["decision_threshold"]
    assert summary["best_epoch"] == expected["best_epoch"] == summary["epochs"] == 2
    same = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.__version__.startswith("2.13.")
    close = {"rel": 0.0, "abs": 0.0} if same else CLOSE
    for split in ("valid", "test"):
        assert summary["metrics"][split] == pytest.approx(expected["metrics"][split], **close)
    for kind, effects in expected["lesion"].items():
        assert summary["lesion"][kind] == pytest.approx(effects, **close)
    for record, before in zip(Run(old / "interrupted").records(), Run(old / "finished").records(), strict=True):
        for part in ("train", "valid"):
            assert record[part] == pytest.approx(before[part], **close)
    tolerance = {"rtol": 0.0, "atol": 0.0} if same else {"rtol": 1e-4, "atol": 1e-5}
    found = load_file(old / "interrupted" / "predictions" / "test.safetensors")["predicted"]
    torch.testing.assert_close(found, torch.tensor(expected["predictions"]["test"]), **tolerance)
    # All weights and statistics, by the names of today.
    renamed = {"linear1": "first.synapse", "linear2": "second.synapse"}
    before = {}
    for name, weight in load_file(old / "finished" / "checkpoints" / "last.safetensors").items():
        for theirs, ours in renamed.items():
            name = name.replace(theirs, ours)
        before[name] = weight
    now = load_file(old / "interrupted" / "checkpoints" / "last.safetensors")
    assert now.keys() == before.keys()
    for name, weight in now.items():
        torch.testing.assert_close(weight, before[name], **tolerance)


def test_the_continued_run_is_one_of_today(old: Path) -> None:
    resume(old / "interrupted")
    assert verify_run(old / "interrupted").verified
    assert load("interrupted").recipe.content == load("finished").recipe.content


def test_a_state_of_another_recipe_is_refused(old: Path) -> None:
    path = old / "interrupted" / "recipe.yaml"
    path.write_text(path.read_text().replace("gamma: 1.5", "gamma: 1.6"))
    with pytest.raises(CheckpointError, match="of another recipe than"):
        resume(old / "interrupted")


def test_a_run_is_packed_and_reported(old: Path, tmp_path: Path) -> None:
    folder = pack("finished", tmp_path / "again", licence="Apache-2.0")
    assert verify_run(folder, data_root="store").verified
    for source in ("finished", "packed"):
        assert "branches" in report_runs([Path(source)], data_root="store").page


def test_a_recipe_resolves(old: Path) -> None:
    recipe = load_recipe("old.yaml", registry=default_registry())
    assert recipe.data.inputs == ("text", "audio", "vision")
    assert recipe.model.params["context"] == "text"
    assert recipe.task.outputs == ("calm", "angry", "sad")
    told = {"label_smoothing": 0.1, "loss": "focal", "gamma": 1.5, "weights": "balanced"}
    assert recipe.task.params == told | {"decision": "valid-per-label", "threshold": 0.4}
    assert "old.yaml:" in recipe.origin_of("task.params.gamma")
    assert recipe.ablations["without-vision"] == ('data.inputs=["text", "audio"]', 'model.params.context="text"')
    assert recipe.tune is not None
    assert list(recipe.tune.space) == ["task.params.label_smoothing", "task.params.gamma", "training.optimizer.lr"]


def test_the_recipe_of_a_run_is_that_of_the_file(old: Path) -> None:
    """What an earlier version noted as the digest of a run is that of the run's resolved recipe."""
    noted = json.loads((old / "finished" / "summary.json").read_text())["recipe_digest"]
    resolved = load_recipe("old.yaml", registry=default_registry())
    assert Run(old / "finished").recipe().is_of(noted)
    assert not resolved.with_overrides(["seed=4"]).is_of(noted)
    again = load_recipe(old / "finished" / "recipe.yaml", registry=default_registry())
    assert again.is_of(resolved.digest)


def test_old_overrides_work_on_it(old: Path) -> None:
    overrides = ["training.loss.name=cross-entropy", "evaluation.decision.rule=fixed", "training.label_smoothing=0.2"]
    recipe = load_recipe("old.yaml", overrides, registry=default_registry())
    assert [recipe.task.params[name] for name in ("loss", "decision", "label_smoothing")] == [
        "cross-entropy",
        "fixed",
        0.2,
    ]
    for name, context, inputs in (
        ("without-vision", "text", ("text", "audio")),
        ("no-context", None, ("text", "audio", "vision")),
    ):
        variant = load_recipe("old.yaml", load_recipe("old.yaml").ablations[name], registry=default_registry())
        assert (variant.model.params["context"], variant.data.inputs) == (context, inputs)


def test_errors_point_to_the_lines_of_the_file(old: Path) -> None:
    path = old / "wrong.yaml"
    text = (old / "old.yaml").read_text()
    for right, wrong in (
        ("label_smoothing: 0.1", "label_smoothing: 1.5"),
        ("gamma: 1.5", "gamma: -1"),
        ("rule: valid-per-label", "rule: sometimes"),
        ("spiking: [audio, vision]", "spiking: [audio, audio]"),
        ("label_smoothing: {low: 0.0, high: 0.3}", "label_smoothing: {low: 0.3, high: 0.0}"),
        ("values: [0.0, 2.0]", "values: [0.0, -2.0]"),
    ):
        assert right in text
        text = text.replace(right, wrong)
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, registry=default_registry())
    lines = text.splitlines()
    for part in ("label_smoothing: 1.5", "gamma: -1", "rule: sometimes", "spiking: [", "high: 0.0}", "-2.0"):
        (number,) = [i for i, line in enumerate(lines, 1) if part in line]
        assert f"wrong.yaml:{number}:" in str(caught.value), part
