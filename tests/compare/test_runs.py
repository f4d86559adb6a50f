"""Finished runs side by side."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli.common import plain
from neurozoo.compare.runs import compare_runs
from neurozoo.errors import DataError, RunError, UserError
from neurozoo.operations.profiling import keep, profile_run
from neurozoo.recipe.recipe import Recipe
from neurozoo.reporting.run_comparison import as_text
from neurozoo.runs.trained_folder import open_trained, own_description
from neurozoo.training.train import train


@pytest.fixture
def run(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    """A finished run of one epoch, with seed 3."""
    train(recipe("training.epochs=1"), out=tmp_path / "run")
    return tmp_path / "run"


def copied(run: Path, name: str, **changes: Any) -> Path:
    """The same run under another name, its summary and recipe changed."""
    folder = run.parent / name
    shutil.copytree(run, folder)
    summary = json.loads((folder / "summary.json").read_text()) | changes
    (folder / "summary.json").write_text(json.dumps(summary))
    if "seed" in changes:
        recipe = (folder / "recipe.yaml").read_text()
        (folder / "recipe.yaml").write_text(recipe.replace("seed: 3", f"seed: {changes['seed']}"))
    return folder


def data(run: Path, **changes: Any) -> dict[str, Any]:
    """The run's record of its data, changed."""
    return json.loads((run / "summary.json").read_text())["data"] | changes


def test_what_a_run_is(run: Path) -> None:
    found = compare_runs([run, copied(run, "other", backend="norse")])
    first, second = found.runs
    summary = json.loads((run / "summary.json").read_text())
    assert (first.run, first.recipe, first.backend, second.backend) == (str(run), "small", "torch", "norse")
    assert (first.seed, first.epochs, first.best_epoch, first.synthetic) == (3, 1, 1, False)
    assert first.metrics == summary["metrics"]
    assert first.lesion == summary["lesion"]
    assert first.decision == {"rule": "fixed", "threshold": 0.35}
    assert first.splits == {"train": 24, "valid": 10, "test": 11}
    assert found.recipes_differ == {}
    assert found.spreads == ()
    assert found.notes == ()
    text = as_text(found)
    assert "2 runs" in text
    assert f"{summary['metrics']['test']['map']:.4f}" in text
    assert "what of the recipes differs\n  nothing" in text
    json.dumps(found.to_dict(), allow_nan=False)


def test_operations_stand_beside_the_scores_where_they_were_counted(run: Path) -> None:
    other = copied(run, "other")
    assert "operations a sample" not in as_text(compare_runs([run, other]))
    profile = profile_run(run)
    keep(open_trained(run), profile)
    found = compare_runs([run, other])
    assert found.runs[0].operations == profile
    assert found.runs[1].operations is None
    table = as_text(found).partition("operations a sample")[2]
    assert f"{profile.network.acs / 10:,.0f}" in table
    assert "10 of 10" in table
    assert "`neurozoo profile RUN`" in table
    json.dumps(plain(found.to_dict()))


def test_seeds_have_a_mean_and_a_deviation(run: Path) -> None:
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    values = [metrics["test"]["map"], 0.25, 0.75]
    folders = [run]
    for seed, value in zip((4, 5), values[1:], strict=True):
        changed = {split: dict(of) for split, of in metrics.items()}
        changed["test"]["map"] = value
        changed["valid"]["map"] = None  # not defined there
        folders.append(copied(run, f"seed{seed}", seed=seed, metrics=changed))
    found = compare_runs(folders)
    (spread,) = found.spreads
    assert spread.runs == tuple(map(str, folders))
    assert spread.mean["test"]["map"] == pytest.approx(statistics.fmean(values))
    assert spread.deviation["test"]["map"] == pytest.approx(statistics.stdev(values))
    assert spread.deviation["valid"]["accuracy"] == 0
    assert "map" not in spread.mean["valid"]
    assert found.recipes_differ == {"seed": (3, 4, 5)}
    assert f"{spread.mean['test']['map']:.4f} ± {spread.deviation['test']['map']:.4f}" in as_text(found)


def test_recipes_are_told_apart_by_dotted_path(run: Path, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    train(recipe("training.epochs=1", "training.optimizer.lr=0.01", "seed=4"), out=tmp_path / "fast")
    found = compare_runs([run, tmp_path / "fast"])
    assert found.recipes_differ == {"seed": (3, 4), "training.optimizer.lr": (0.001, 0.01)}
    assert found.spreads == ()  # more than the seed differs
    assert ["training.optimizer.lr", "0.001", "0.01"] in [line.split() for line in as_text(found).splitlines()]


def test_other_data_is_refused_unless_told(run: Path) -> None:
    other = copied(run, "other", data=data(run, checksum="f" * 64, splits={"train": 5, "valid": 5, "test": 5}))
    with pytest.raises(DataError, match=r"made with different data: .*other: .*ffffffffffff; .*give --mixed"):
        compare_runs([run, other])
    found = compare_runs([run, other], mixed=True)
    assert found.notes[0] == "the runs were made with different data: their scores do not compare"
    assert "the splits differ" in found.notes[1]
    assert "their scores do not compare" in as_text(found)


def test_made_up_and_real_data_are_refused_unless_told(run: Path) -> None:
    other = copied(run, "other", synthetic=True)
    with pytest.raises(DataError, match=r"synthetic and real data are mixed: .*run: real; .*other: SYNTHETIC"):
        compare_runs([run, other])
    text = as_text(compare_runs([run, other], mixed=True))
    assert text.startswith("SYNTHETIC data")


def test_other_definitions_of_a_metric_are_said(run: Path) -> None:
    definitions = json.loads((run / "summary.json").read_text())["metric_definitions"] | {"map": "something else"}
    (note,) = compare_runs([run, copied(run, "other", metric_definitions=definitions)]).notes
    assert note == "metrics of the same name are defined differently: map"


def test_what_cannot_be_lined_up(run: Path, tmp_path: Path) -> None:
    for folders in ([], [run], [run, run], [run, tmp_path / "store" / ".." / "run"]):
        with pytest.raises(UserError, match="give two or more different ones"):
            compare_runs(folders)
    with pytest.raises(RunError, match="there is no such run folder"):
        compare_runs([run, tmp_path / "nowhere"])
    for name in ("begun", "stopped"):
        (copied(run, name) / "summary.json").unlink()
    with pytest.raises(RunError, match=r"begun, .*stopped: not finished, there is no summary\.json"):
        compare_runs([run, tmp_path / "begun", tmp_path / "stopped"])
    broken = copied(run, "broken")
    (broken / "summary.json").write_text('{"recipe": "small"}')
    with pytest.raises(RunError, match=r"broken.summary\.json: not what a run has there \(model: Field required"):
        compare_runs([run, broken])


def test_runs_of_different_tasks_are_refused(run: Path) -> None:
    other = copied(run, "other")
    text = (other / "recipe.yaml").read_text()
    assert "name: multilabel" in text
    start = text.index("task:")
    end = text.index("model:")
    (other / "recipe.yaml").write_text(text[:start] + "task:\n  name: regression\n" + text[end:])
    with pytest.raises(DataError, match=r"tasks: .*run: multilabel; .*other: regression; their metrics do not compare"):
        compare_runs([run, other], mixed=True)


def test_one_store_is_one_set_of_data_under_every_name(run: Path, recipe: Callable[..., Recipe]) -> None:
    """A recipe that was written for another data set, trained on a store of one's own, and later on a copy of it."""
    other = copied(run, "other", data=data(run, name="a-copy"), seed=4)
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace("  name: null\n", "  name: cmu-mosei\n", 1))
    assert open_trained(run).recipe.data.name == "cmu-mosei"
    found = compare_runs([run, other])
    assert [each.data for each in found.runs] == ["store", "a-copy"]
    assert found.notes == ()
    older = {key: value for key, value in data(run).items() if key != "name"}
    assert compare_runs([other, copied(run, "older", data=older)]).runs[1].data == "store"
    content = open_trained(run).recipe.content
    said = own_description(content["description"], content["data"], data(run))
    assert said == "a small model on made-up data; here on the data store"
    assert own_description("words", content["data"] | {"root": None}, data(run)) == "words"
