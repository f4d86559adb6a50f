"""Runs of every task, from training to card: frames to classes, spikes to a class a step, series to quantities."""

from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

import neurozoo
from neurozoo.cli import main
from neurozoo.core.layer import Firing
from neurozoo.errors import DataError
from neurozoo.evaluation.prediction import Predictor
from neurozoo.models.build import open_data, open_experiment
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.reporting.results_page import read_ablation, results_page
from neurozoo.reporting.runs import report_runs
from neurozoo.reporting.runs.observations import _train
from neurozoo.reporting.runs.run_report import RunReport
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.packed import read_packed
from neurozoo.studies.baseline import baselines, on_pooled_features, pooled_features
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.training.train import train

RECIPE = """\
schema: 2
description: {description}
seed: 1
data: {{name: {name}, instead: {{name: {name}-synthetic, params: {params}}}}}
task: {task}
model: {{name: {model}, params: {{{sizes}}}}}
training:
  epochs: 2
  batch_size: 16
  threads: 1
  initialisation: {{name: fluctuation-driven, firing_rate: 0.2, batches: 2}}
"""
KINDS: dict[str, dict[str, str]] = {
    "frames": {
        "params": "{size: 32, length: 5, side: 8}",
        "task": "multiclass",
        "model": "spiking-convnet",
        "sizes": "channels: [3, 4]",
    },
    "spikes": {
        "params": "{size: 32, length: 8, neurons: 6, per_step: true}",
        "task": "{name: multiclass, per_step: true}",
        "model": "recurrent",
        "sizes": "",
    },
    "series": {
        "params": "{size: 32, length: 8}",
        "task": "regression",
        "model": "cuba-mlp",
        "sizes": "",
    },
}
EVERY = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of recipes, runs and made-up data of this module."""
    folder = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROZOO_DATA", str(folder / "data"))
        for kind, given in KINDS.items():
            (folder / f"{kind}.yaml").write_text(RECIPE.format(name=kind, description=f"small {kind}", **given))
        yield folder


@pytest.fixture(scope="module")
def runs(home: Path) -> dict[str, Path]:
    """A finished run of each kind, which no test changes."""
    for kind in KINDS:
        train(home / f"{kind}.yaml", out=home / kind)
    return {kind: home / kind for kind in KINDS}


@pytest.fixture(scope="module")
def reports(runs: dict[str, Path]) -> dict[str, RunReport]:
    """What is reported of each kind's run."""
    return {kind: report_runs([run]) for kind, run in runs.items()}


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


# The report


@EVERY
def test_each_is_one_page(kind: str, runs: dict[str, Path], reports: dict[str, RunReport]) -> None:
    made = reports[kind]
    title, what = ("Quantities", "quantities") if kind == "series" else ("Classes", "classes")
    assert f"<h2>{title}, on test</h2>" in made.page
    assert "Labels, on test" not in made.page
    assert made.facts["not_looked_at"] == {}
    assert made.facts["not_counted"] == {}
    found = summary(runs[kind])
    assert list(made.facts[what]) == found["data"]["task"]["outputs"]
    for name, value in found["metrics"]["test"].items():
        assert name in made.page
        assert f"{value:.4f}" in made.page
    assert f"{next(iter(found['metric_definitions']))} on valid" in made.page
    assert made.page.count("spikes of ") == 3 * len(found["health"]["valid"])
    assert ("<td>decision" in made.page) is (found["decision"] is not None)
    assert "loss, deviations^2" in made.page if kind == "series" else "loss, nats" in made.page


@EVERY
def test_the_numbers_of_a_section_are_those_of_the_predictions(
    kind: str, runs: dict[str, Path], reports: dict[str, RunReport]
) -> None:
    tensors, _ = read_tensors(runs[kind] / "predictions" / "test.safetensors")
    target, predicted = tensors["target"].numpy(), tensors["predicted"].numpy()
    facts, metrics = reports[kind].facts, summary(runs[kind])["metrics"]["test"]
    if kind == "series":
        errors = [each[kind]["mae"] for each in facts["quantities"].values()]
        np.testing.assert_allclose(errors, np.abs(predicted - target).mean(0), rtol=1e-5)
        assert np.mean(errors) == pytest.approx(metrics["mae"], rel=1e-5)
        return
    said = predicted.argmax(1)
    for k, each in enumerate(facts["classes"].values()):
        right, claimed, there = (said[target == k] == k).sum(), (said == k).sum(), (target == k).sum()
        assert each[kind]["recall"] == pytest.approx(right / max(there, 1))
        assert each[kind]["precision"] == pytest.approx(right / max(claimed, 1))
    occurring = [each[kind]["recall"] for k, each in enumerate(facts["classes"].values()) if (target == k).any()]
    assert np.mean(occurring) == pytest.approx(metrics["balanced_accuracy"])


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The document of a command."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_it_answers_at_each_step(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    tensors, metadata = read_tensors(runs["spikes"] / "predictions" / "valid.safetensors")
    facts = told(capsys, "report", str(runs["spikes"]))["samples"]["spikes"]
    assert [each["id"] for each in facts] == metadata["ids"][:3]
    begin = 0
    for each in facts:
        steps = each["steps"]
        assert steps["counted"] == steps["steps"] == each["signals"]["spikes"]["positions"]
        end = begin + steps["counted"]
        np.testing.assert_allclose(steps["predicted"], tensors["predicted"][begin:end].numpy(), atol=1e-3)
        assert steps["target"] == tensors["target"][begin:end].tolist()
        assert steps["answer"] == np.argmax(steps["predicted"], axis=1).tolist()
        right = sum(a == b for a, b in zip(steps["answer"], steps["target"], strict=True))
        assert steps["right"] == right
        assert right + sum(steps["wrong"].values()) == steps["counted"]
        page = (runs["spikes"] / "report.html").read_text()
        assert f"the model is right in {right / steps['counted']:.0%}" in page
        assert f"{right / steps['counted']:.1%} of the steps are right" in page
        begin = end


def test_membranes_of_chosen_neurons(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["report", str(runs["frames"]), "--neurons", "blocks.1:5", "--neurons", "blocks.1:0,5"]
    sample = "synthetic-valid-00003"
    (trace,) = told(capsys, *command, "--sample", sample)["traces"]["frames"]
    assert (trace["sample"], trace["layer"], trace["neurons"], trace["steps"]) == (sample, "blocks.1", [5, 0], 5)
    page = (runs["frames"] / "report.html").read_text()
    assert "Neuron 5 (channel 0, y 1, x 1): membrane between" in page
    for membrane, level, spikes in zip(trace["membrane"], trace["threshold"], trace["spikes"], strict=True):
        assert level == [1.0] * 5
        assert spikes == [step for step in range(5) if membrane[step] >= 1]


def test_the_samples_of_a_page_are_of_different_classes(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tensors, metadata = read_tensors(runs["frames"] / "predictions" / "valid.safetensors")
    target = tensors["target"].tolist()
    wanted = sorted({k: metadata["ids"][target.index(k)] for k in set(target)}.values())[:3]
    samples = told(capsys, "report", str(runs["frames"]))["samples"]["frames"]
    assert [each["id"] for each in samples] == wanted
    outputs = summary(runs["frames"])["data"]["task"]["outputs"]
    assert [each["true"] for each in samples] == [outputs[target[metadata["ids"].index(name)]] for name in wanted]


def test_neurons_that_are_not_there(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for given, words in (
        ("blocks.7:1", "no layer of neurons is called 'blocks.7'; there are: blocks.0, blocks.1"),
        ("blocks.0:192", "blocks.0 has no neuron 192; it has 192, from 0 to 191"),
        ("blocks.0", "--neurons 'blocks.0' is not LAYER:NUMBER,NUMBER"),
        ("blocks.0:-1", "is not LAYER:NUMBER,NUMBER"),
        (
            f"blocks.0:{','.join(map(str, range(13)))}",
            "13 neurons of blocks.0 are named, and a picture has room for 12",
        ),
    ):
        assert main(["report", str(runs["frames"]), "--neurons", given]) == 2
        assert words in capsys.readouterr().err


def test_the_neurons_of_the_rule(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (trace,) = told(capsys, "report", str(runs["spikes"]))["traces"]["spikes"]
    counts = [len(each) for each in trace["spikes"]]
    assert counts == sorted(counts, reverse=True)
    assert 2 <= len(counts) <= 3
    assert counts[0] > 0


def test_confusion_for_programs(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    tensors, _ = read_tensors(runs["frames"] / "predictions" / "test.safetensors")
    target, answer = tensors["target"].numpy(), tensors["predicted"].numpy().argmax(1)
    counts = told(capsys, "report", str(runs["frames"]))["confusion"]["frames"]
    assert counts == [[int(((target == i) & (answer == j)).sum()) for j in range(4)] for i in range(4)]
    i, j = max(((i, j) for i in range(4) for j in range(4) if i != j), key=lambda pair: counts[pair[0]][pair[1]])
    names = summary(runs["frames"])["data"]["task"]["outputs"]
    row = f"<td>{names[i]}</td><td>{names[j]}</td><td>{counts[i][j]}</td>"
    assert row in (runs["frames"] / "report.html").read_text()


def test_runs_of_several_tasks_have_a_section_each(runs: dict[str, Path]) -> None:
    made = report_runs(list(runs.values()), mixed=True)
    assert made.page.count("<h2>Classes, on test</h2>") == 1
    assert made.page.count("<h2>Quantities, on test</h2>") == 1
    assert {name for by_run in made.facts["classes"].values() for name in by_run} == {"frames", "spikes"}
    assert "loss, nats or deviations^2" in made.page


def test_a_task_without_a_section_still_shows_its_metrics(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Multiclass, "section", "")
    made = report_runs([runs["frames"]])
    assert "classes" not in made.facts
    assert "Classes, on test" not in made.page
    assert "balanced_accuracy" in made.page


def test_every_tasks_section_can_be_called() -> None:
    registry = default_registry()
    for name in registry.components("task"):
        module, _, function = registry.resolve("task", name).section.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("kind", ["frames", "series"])
def test_a_run_without_predictions_says_so(kind: str, runs: dict[str, Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[kind], tmp_path / kind)
    shutil.rmtree(run / "predictions")
    (run / "summary.json").unlink()
    assert "No run holds predictions of valid yet." in report_runs([run]).page


# Firing


def test_a_convolution_fires_at_most_once_a_step(runs: dict[str, Path]) -> None:
    """It was reported at 1,727 %: the places of a feature map were not counted as neurons."""
    model = neurozoo.load(runs["frames"])
    batch = open_data(model.recipe).split("valid").batch(torch.arange(8))
    spikes: dict[str, torch.Tensor] = {}
    for name, layer in model.module.named_modules():
        if name in ("blocks.0", "blocks.1"):
            layer.register_forward_hook(lambda _, __, made, name=name: spikes.update({name: made}))
    model.predict_batch(batch)
    found = summary(runs["frames"])["health"]["valid"]
    assert list(found) == list(spikes)
    for name, made in spikes.items():
        assert made.dim() == 5
        assert found[name]["rate"] == pytest.approx(float(made.mean()), abs=1e-6)
        assert 0 < found[name]["rate"] < 1


def firing(spikes: torch.Tensor, valid: torch.Tensor | None) -> Firing:
    return Firing(spikes, spikes, 1.0, valid)


def test_rasters_of_layers_of_every_form() -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return (torch.rand(shape, generator=generator) < 0.3).float()

    # Steps that count, [T, B, N].
    spikes, valid = random(6, 1, 5), torch.tensor([1, 1, 1, 1, 0, 0], dtype=torch.bool)[:, None]
    found = _train("s", "l", firing(spikes, valid))
    np.testing.assert_array_equal(found.spikes, spikes[:4, 0].bool().numpy().T)
    assert (found.positions, found.neurons, found.cut) == (4, 5, False)
    assert found.rate == pytest.approx(float(spikes[:4].mean()))
    # A feature map, [T, B, C, H, W]; more neurons than are shown, all of them in the rate.
    spikes = random(3, 1, 4, 5, 6)
    found = _train("s", "l", firing(spikes, None))
    assert (found.spikes.shape, found.positions, found.neurons) == ((64, 3), 3, 120)
    assert found.rate == pytest.approx(float(spikes.mean()))
    # Positions that are held for T steps, [T, B, L, N]: the steps of a position stand together.
    spikes, valid = random(2, 1, 3, 4), torch.tensor([[[True, False, True]]])
    found = _train("s", "l", firing(spikes, valid))
    expected = torch.stack([spikes[0, 0, 0], spikes[1, 0, 0], spikes[0, 0, 2], spikes[1, 0, 2]])
    np.testing.assert_array_equal(found.spikes, expected.bool().numpy().T)
    assert (found.positions, found.neurons) == (2, 4)
    # Nothing counts.
    found = _train("s", "l", firing(random(3, 1, 2), torch.zeros(3, 1, dtype=torch.bool)))
    assert (found.spikes.size, found.rate, found.positions) == (0, 0.0, 0)


# The card and the pack


@EVERY
def test_each_is_packed_verified_and_loaded(
    kind: str,
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "packed"
    assert main(["pack", str(runs[kind]), "--out", str(folder), "--licence", "MIT"]) == 0
    manifest, found = read_packed(folder), summary(runs[kind])
    assert manifest.schema == 2
    assert manifest.task == found["data"]["task"]
    assert manifest.signals == found["data"]["signals"]
    assert main(["verify", str(folder)]) == 0
    card = (folder / "README.md").read_text()
    says = {
        "frames": "it says which of 4 classes applies, and how probable each is: right, left",
        "spikes": "it says which of 4 classes applies, and how probable each is, at each step: ",
        "series": "it predicts 3 quantities, in their own units: level, amplitude, frequency",
    }[kind]
    assert says in card
    assert "Decision" not in card
    assert "Without its spikes nothing is left of the model" in card
    (python,) = re.findall(r"^```python\n(.*?)^```$", card, re.M | re.S)
    monkeypatch.chdir(folder)
    capsys.readouterr()
    exec(compile(python, "README.md", "exec"), {})
    answer = {"frames": "'class': '", "spikes": "{'steps': [{'probabilities'", "series": "{'values': {'level': "}
    assert answer[kind] in capsys.readouterr().out


def test_the_hub_gets_its_own_names_of_metrics(runs: dict[str, Path], tmp_path: Path) -> None:
    expected = {
        "frames": ("multi-class-classification", {"accuracy", "balanced accuracy", "macro F1"}),
        "series": ("regression", {"mean absolute error", "root mean squared error", "R²", "Pearson correlation"}),
    }
    for kind, (tag, names) in expected.items():
        run = shutil.copytree(runs[kind], tmp_path / kind)
        for file in ("summary.json", "data.json"):
            text = (run / file).read_text()
            (run / file).write_text(re.sub(r'"synthetic": true', '"synthetic": false', text))
        neurozoo.pack(run, tmp_path / f"{kind}-packed")
        _, text, _ = (tmp_path / f"{kind}-packed" / "README.md").read_text().split("---\n", 2)
        front = YAML(typ="safe", pure=True).load(text)
        assert tag in front["tags"]
        (result,) = front["model-index"][0]["results"]
        assert result["task"]["type"] == "other"
        test = summary(run)["metrics"]["test"]
        assert {each["name"] for each in result["metrics"]} == names
        first = result["metrics"][0]
        assert first["value"] == round(test["accuracy" if kind == "frames" else "mae"], 4)


# Predictions


@EVERY
def test_a_store_is_predicted_as_it_was_measured(
    kind: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_data(load_recipe(runs[kind] / "recipe.yaml"))._store.path
    tensors, metadata = read_tensors(runs[kind] / "predictions" / "test.safetensors")
    assert main(["predict", str(runs[kind]), str(store), "--split", "test", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    about = summary(runs[kind])["data"]["task"]
    assert {name: found[name] for name in ("task", "outputs", "per_step")} == {
        "task": about["name"],
        "outputs": about["outputs"],
        "per_step": about["per_step"],
    }
    assert [each["id"] for each in found["predictions"]] == metadata["ids"]
    answers = [step for each in found["predictions"] for step in each.get("steps", [each])]
    what = "values" if kind == "series" else "probabilities"
    made = torch.tensor([list(each[what].values()) for each in answers])
    torch.testing.assert_close(made, tensors["predicted"], rtol=1e-4, atol=1e-5)
    out = tmp_path / "table.csv"
    command = ["predict", str(runs[kind]), str(store), "--split", "test", "--format", "csv", "--out", str(out)]
    assert main(command) == 0
    head, *rows = csv.reader(out.read_text().splitlines())
    step, last = (["step"] if kind == "spikes" else []), ([] if kind == "series" else ["class"])
    assert head == ["split", "id", *step, *about["outputs"], *last]
    assert len(rows) == len(tensors["predicted"])
    if last:
        assert [row[-1] for row in rows] == [each["class"] for each in answers]


def test_arrays_and_lines_of_any_shape(runs: dict[str, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.random((3, 5, 2, 8, 8)) < 0.2
    predictor = Predictor(runs["frames"])
    np.savez(tmp_path / "frames.npz", frames=frames, ids=["a", "b", "c"])
    of_arrays = list(predictor.predict(predictor.samples(tmp_path / "frames.npz")))
    assert [each.id for each in of_arrays] == ["a", "b", "c"]
    given = [{"id": name, "signals": {"frames": x.astype(int).tolist()}} for name, x in zip("abc", frames, strict=True)]
    text = map(json.dumps, given)
    of_lines = list(predictor.predict(predictor.lines(text, "here")))
    assert of_lines == of_arrays
    # Numbers that the trained model's dtype cannot hold.
    wrong = json.dumps({"id": "w", "signals": {"frames": (frames[0] * 0.5).tolist()}})
    with pytest.raises(DataError, match=r"sample 'w': signals\['frames'\] has values that are no bool"):
        list(predictor.predict(predictor.lines([wrong], "here")))
    with pytest.raises(DataError, match=r"here:1: frames has 2 axes; give \[L, 2, 8, 8\]"):
        list(predictor.lines([json.dumps({"signals": {"frames": [[1, 0]]}})], "here"))
    np.savez(tmp_path / "wrong.npz", frames=frames[0])
    with pytest.raises(DataError, match=r"holds frames bool \[5, 2, 8, 8\]; give numbers frames \[N, L, 2, 8, 8\]"):
        list(predictor.samples(tmp_path / "wrong.npz"))


def test_a_step_that_is_padding_has_no_answer(runs: dict[str, Path], tmp_path: Path) -> None:
    spikes = (np.random.default_rng(0).random((2, 6, 6)) < 0.3).astype(np.uint8)
    valid = np.ones((2, 6), bool)
    valid[0, 4:] = False
    np.savez(tmp_path / "x.npz", spikes=spikes, **{"mask/spikes": valid})
    predictor = Predictor(runs["spikes"])
    first, second = predictor.predict(predictor.samples(tmp_path / "x.npz"))
    assert (len(first.answer["steps"]), len(second.answer["steps"])) == (4, 6)
    assert [row[2] for row in predictor.rows(first)] == [0, 1, 2, 3]
    # What is padded changes no answer.
    np.savez(tmp_path / "y.npz", spikes=spikes[:1, :4])
    (alone,) = predictor.predict(predictor.samples(tmp_path / "y.npz"))
    for one, other in zip(alone.answer["steps"], first.answer["steps"], strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)


# Baselines


def test_features_of_frames_are_pooled_pixel_by_pixel(home: Path) -> None:
    view = open_data(load_recipe(home / "frames.yaml"))
    pooled = pooled_features(view, "valid")
    frames = view.split("valid").batch(torch.arange(len(pooled))).signals["frames"].values.double().numpy()
    assert pooled.shape == (len(frames), 2 * 2 * 8 * 8)
    np.testing.assert_allclose(pooled[:, :128], frames.mean(1).reshape(-1, 128), atol=1e-12)
    np.testing.assert_allclose(pooled[:, 128:], frames.std(1).reshape(-1, 128), atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "name", "metric"),
    [("frames", "multinomial logistic regression", "accuracy"), ("series", "ridge regression", "rmse")],
)
def test_the_baseline_of_a_task(kind: str, name: str, metric: str, home: Path) -> None:
    experiment = open_experiment(load_recipe(home / f"{kind}.yaml"))
    task, view = experiment.problem.task, experiment.view
    found, binned = baselines(view, task)
    assert found.name == f"{name} on means and deviations"
    assert binned.name == f"{name} on means of 10 stretches of time"
    assert list(found.metrics) == list(task.definitions)
    target = view.split("test").target.numpy()
    assert found.metrics[metric] == pytest.approx(task.measure(target, found.predicted, found.decision)[metric])
    if kind == "series":  # better than the mean of train, which is what no features give
        assert found.metrics["r2"] > 0


def test_a_baseline_per_step_answers_each_step_that_counts(home: Path) -> None:
    experiment = open_experiment(load_recipe(home / "spikes.yaml"))
    test = experiment.view.split("test")
    found = on_pooled_features(experiment.view, experiment.problem.task)
    counted = test.target.numel() if test.target_valid is None else int(test.target_valid.sum())
    assert found.name == "multinomial logistic regression on means and deviations of the past"
    assert found.predicted.shape == (counted, len(experiment.problem.task.outputs))


# Ablations


@pytest.mark.usefixtures("trained_here")
@pytest.mark.parametrize("kind", ["spikes", "series"])
def test_an_ablation_compares_the_tasks_headline(
    kind: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / f"{kind}.yaml"
    recipe.write_text((home / f"{kind}.yaml").read_text() + "ablations: {slow: [training.optimizer.lr=1.0e-6]}\n")
    out = tmp_path / "out"
    assert main(["ablate", str(recipe), "training.epochs=1", "--seeds", "1", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    found, page = read_ablation(out), results_page([out])
    titles = {"accuracy": "accuracy", "macro_f1": "macro F1"} if kind == "spikes" else {"rmse": "RMSE", "r2": "R²"}
    assert found["titles"] == titles
    assert list(found["means"]["full"]) == [*titles, "lesion"]
    assert f"| minus full | {' | '.join(titles.values())} | lesion effect |" in page
    for name, title in titles.items():
        assert f"- {title}: {found['definitions'][name]}." in page
        assert title in shown
        values = found["values"]["full"][name]
        assert values == [json.loads((out / "full" / "1" / "summary.json").read_text())["metrics"]["test"][name]]
    if kind == "spikes":  # per step
        assert "multinomial logistic regression on means and deviations of the past (C = " in page
        assert "multinomial logistic regression on means of the last 1, 2, 4, ... steps (C = " in page
    else:
        assert found["better"] == {"rmse": "lower", "r2": "higher"}
        assert "ridge regression on means and deviations (C = " in page
