"""``report``: one page of one or several runs, by the command."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.data.writer import StoreWriter
from neurozoo.errors import DataError, UserError
from neurozoo.operations.energy import energy_of
from neurozoo.operations.profiling import profile_run
from neurozoo.recipe.recipe import Recipe
from neurozoo.reporting.runs import LARGEST, report_runs, summary_tables
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.training.train import train

Copied = Callable[..., Path]


class Page(HTMLParser):
    """The sections of a page, each with its words and its pictures' labels."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {"": ""}
        self.pictures: list[str] = []
        self.loaded: list[str] = []
        self._heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._heading = self._heading or tag == "h2"
        if tag == "svg":
            self.pictures.append(given.get("aria-label") or "")
        places = [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.loaded += [place for place in places if not place.startswith(("#", "data:"))]
        if tag in ("script", "link", "iframe"):
            self.loaded.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._heading = self._heading and tag != "h2"

    def handle_data(self, data: str) -> None:
        if self._heading:
            self.sections[data] = ""
        else:
            self.sections[list(self.sections)[-1]] += data


def test_a_run_on_one_page(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    summary = json.loads((run / "summary.json").read_text())
    monkeypatch.setattr(summary_tables, "_SAMPLES", 200)
    assert main(["report", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    page = Page((run / "report.html").read_text("utf-8"))
    assert list(page.sections) == [
        "",
        "The run",
        *(["Warnings"] if summary["warnings"] else []),
        "Metrics",
        "Training",
        "Labels, on test",
        "Labels together, on test",
        "What the model sees and answers, on valid",
        "Firing threshold",
        "Spiking health",
        "Lesion effects",
        "Operations and energy",
        "Operations by part",
        "Energy by part, an estimate",
        "Activation sparsity",
        "Membranes and thresholds",
        "Spikes",
        "What the labels look at",
        "Recipe, resolved",
        "Environment",
    ]
    assert page.loaded == []
    assert len(page.pictures) == len(set(page.pictures)) >= 25
    assert all(page.pictures)
    for words in ("loss on train and valid, by epoch", "kappa of the threshold policy, by epoch", "lesion effects"):
        assert words in page.pictures
    for label in ("calm", "angry", "sad"):
        assert f"precision against recall, and reliability, of {label}" in page.pictures
    for layer in summary["health"]["valid"]:
        assert f"firing rate, dead and saturated neurons of {layer}" in page.pictures
        assert sum(f"spikes of {layer} for the sample" in picture for picture in page.pictures) == 3
    assert f"{summary['metrics']['test']['map']:.4f}" in page.sections["Metrics"]
    assert "mean average precision over the labels" in page.sections["Metrics"]
    assert "training.rate_penalty.weight" in page.sections["Recipe, resolved"]
    assert summary["environment"]["versions"]["torch"] in page.sections["Environment"]
    assert "SYNTHETIC" not in page.sections[""]

    out = run / "report.html"
    assert (told["page"], told["split"], told["bytes"]) == (str(out), "test", out.stat().st_size)
    assert told["runs"] == [{"run": str(run), "name": "first", "finished": True, "epochs": 2, "synthetic": False}]
    precisions = [told["labels"][name]["first"]["average_precision"] for name in ("calm", "angry", "sad")]
    assert sum(precisions) / 3 == pytest.approx(summary["metrics"]["test"]["map"])
    found = told["attention"]["first"]
    assert list(found["by_modality"]) == ["text", "audio", "vision"]
    assert [sum(each[k] for each in found["by_modality"].values()) for k in range(3)] == pytest.approx([1, 1, 1])
    assert sum(found["rows"].values()) == pytest.approx(1)
    assert told["not_looked_at"] == {}
    for trace in told["traces"]["first"]:
        crossed = [
            [step for step, (v, level) in enumerate(zip(*both, strict=True)) if v >= level]
            for both in zip(trace["membrane"], trace["threshold"], strict=True)
        ]
        assert trace["spikes"] == crossed, "a spike is where the membrane crosses its threshold, at every position"
    assert any(any(trace["spikes"]) for trace in told["traces"]["first"])
    assert [each["id"] for each in told["samples"]["first"]] == [
        *read_tensors(run / "predictions" / "valid.safetensors")[1]["ids"][:3]
    ]

    counted, profile = told["operations"]["first"], profile_run(run)
    assert (counted["samples"], counted["split"], told["not_counted"]) == (10, "valid", {})
    assert counted["acs"] == profile.network.acs / 10 > 0
    assert counted["energy_estimate_pj"] == energy_of(profile.network).operations
    for picture in ("operations by part", "energy by part", "activation sparsity of the spiking layers, by epoch"):
        assert picture in page.pictures
    assert "branches.audio.second" in page.sections["Operations and energy"]
    assert "An estimate, and nothing measured" in page.sections["Energy by part, an estimate"]
    assert not (run / "operations.json").exists()


def test_runs_side_by_side(run: Path, copied: Copied, stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = copied("other", decision=[0.2, 0.3, 0.4])
    recipe = (other / "recipe.yaml").read_text()
    (other / "recipe.yaml").write_text(recipe.replace("seed: 3", "seed: 4").replace("lr: 0.001", "lr: 0.01"))
    out = run.parent / "page.html"
    folders = [str(run), str(other), str(stopped)]
    assert main(["report", *folders]) == 2
    assert "a page of 3 runs belongs to none of their folders; name it with --out FILE.html" in capsys.readouterr().err
    *_, sample = read_tensors(run / "predictions" / "valid.safetensors")[1]["ids"]
    assert main(["report", *folders, "--out", str(out), "--samples", sample]) == 0
    assert f"wrote {out}, " in capsys.readouterr().out
    page = Page(out.read_text("utf-8"))
    assert "Not finished, so that this is what there is by now: stopped." in page.sections[""]
    assert "training.optimizer.lr0.0010.010.001" in page.sections["What differs between the recipes"]
    assert list(page.sections).index("What differs between the recipes") + 1 == list(page.sections).index(
        "The same in all recipes"
    )
    assert "[0.2, 0.3, 0.4]" in page.sections["Runs"]
    assert "2 of 2" in page.sections["Runs"]
    assert "1 of 2" in page.sections["Runs"]
    assert "not finished" in page.sections["Runs"]
    assert "first, valid" in page.sections["Metrics"]
    counted = page.sections["Operations and energy"]
    assert all(
        f"{name}: operations of small on torch: means over 2 of 10 samples" in counted for name in ("first", "other")
    )
    assert sum("labels together on test" in picture for picture in page.pictures) == 3  # true, and two runs'
    assert sum("attention of the labels" in picture for picture in page.pictures) == 3
    assert sum(f"for the sample {sample}, " in picture for picture in page.pictures) == 12  # four layers each


def test_a_run_that_is_not_finished(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(stopped), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {}
    page = Page((stopped / "report.html").read_text("utf-8"))
    assert "No run holds predictions of valid yet." in page.sections["Labels, on valid"]
    assert "They are measured when a run is finished" in page.sections["Metrics"]
    assert "They are measured when a run is finished, of models" in page.sections["Lesion effects"]
    assert "loss on train and valid, by epoch" in page.pictures


def test_a_run_that_has_only_begun(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("metrics.jsonl", "data.json", "environment.json"):
        (stopped / name).unlink()
    shutil.rmtree(stopped / "checkpoints")
    assert main(["report", str(stopped)]) == 0
    out = capsys.readouterr().out
    assert "without the spikes of samples and what labels look at, for stopped: " in out
    page = Page((stopped / "report.html").read_text("utf-8"))
    assert "No epoch is logged yet." in page.sections["Training"]
    assert page.pictures == []


def test_where_the_data_is_not_there_or_another_the_rest_is_made(run: Path, copied: Copied) -> None:
    other, away = copied("other"), run.parent / "away"
    about = json.loads((other / "data.json").read_text()) | {"checksum": "f" * 64, "synthetic": True}
    (other / "data.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=r"synthetic and real data are mixed: .*other: SYNTHETIC.*give --mixed"):
        report_runs([run, other])
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(re.sub(r"root: .*", f"root: {away}", text))
    (run / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | {"data_root": str(away)}))
    page = Page(report_runs([run, other], mixed=True, split="valid").page)
    for section in ("Spikes", "What the labels look at"):
        gone, changed = page.sections[section].strip().splitlines()
        assert gone.startswith("Left out for first: ")
        assert str(away) in gone
        assert changed.startswith("Left out for other: ")
        assert changed.endswith("is not what it was trained on.")
    assert "lesion effects" in page.pictures
    assert "reliability of all decisions" in page.pictures
    assert f"{SYNTHETIC_NOTICE} (other)" in page.sections[""]
    assert "made with different data: their scores do not compare" in page.sections["Runs"]


def test_samples_that_are_not_there(run: Path) -> None:
    with pytest.raises(UserError, match="valid has no sample called 'nobody'; it has 10, such as "):
        report_runs([run], wanted=["nobody"])
    with pytest.raises(UserError, match="13 samples are named, and a page has room for 12; name fewer"):
        report_runs([run], wanted=["a"] * 13)


def test_a_head_without_attention_is_said(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    train(recipe("training.epochs=1", "model.parts.head=pooled", "model.parts.activation=relu"), out=tmp_path / "plain")
    page = Page(report_runs([tmp_path / "plain"]).page)
    assert page.sections["What the labels look at"].strip() == (
        "Left out: it has no label decoder, whose attention to the sequence is shown here."
    )
    assert page.sections["Spikes"].strip() == "It has no spiking layer."
    assert page.sections["Spiking health"].strip() == "No spiking layer is logged."


def test_what_cannot_be_reported(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "there is no such run folder" in capsys.readouterr().err
    for folders, words in (
        ([run, run], "name one or more, each once"),
        ([tmp_path / str(i) for i in range(7)], "given were 7 runs, and a page tells 6 apart by colour"),
    ):
        with pytest.raises(UserError, match=words):
            report_runs(folders)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["report", str(run)]) == 2
    assert "pip install 'neurozoo-toolkit[plots]'" in capsys.readouterr().err
    assert not (run / "report.html").exists()


@pytest.mark.slow
def test_five_long_runs_of_many_labels_stay_below_a_megabyte(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shutil.rmtree(tmp_path / "store")
    with StoreWriter(tmp_path / "store", labels=[f"feeling {k}" for k in range(18)], origin={}) as writer:
        for split in ("train", "valid", "test"):
            y = rng.integers(0, 2, (8, 18))
            features = {name: rng.normal(size=(8, 130, 4)) for name in ("text", "audio", "vision")}
            writer.add(split, features, y)
    train(recipe("training.epochs=1", "model.params.spiking_inner=128"), out=tmp_path / "run0")
    (line,) = (tmp_path / "run0" / "metrics.jsonl").read_text().splitlines()
    noisy = re.compile(r"\b\d+\.\d+")
    folders = [tmp_path / f"run{number}" for number in range(5)]
    for folder in folders:
        if not folder.exists():
            shutil.copytree(folders[0], folder)
        lines = [
            noisy.sub(lambda number: f"{float(number[0]) * rng.uniform(0.5, 1):.6f}", line).replace(
                '"epoch": 1,', f'"epoch": {epoch},'
            )
            for epoch in range(1, 101)
        ]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        tensors = {"target": (torch.rand(2000, 18) < 0.3).float(), "predicted": torch.rand(2000, 18)}
        for split in ("valid", "test"):
            write_tensors(folder / "predictions" / f"{split}.safetensors", tensors, {})
    made = report_runs(folders)
    page = Page(made.page)
    assert made.facts["runs"][4]["epochs"] == 100
    assert sum("precision against recall" in picture for picture in page.pictures) == 18
    assert sum("spikes of" in picture for picture in page.pictures) >= 8
    assert len(made.page.encode()) < LARGEST
    print(f"{len(made.page.encode()):,} bytes")
