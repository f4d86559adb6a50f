"""``neurozoo list zoo`` and the gallery: the packs' numbers; the page in docs is what the command writes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from neurozoo.cli import main
from neurozoo.evaluation.evaluate import data_of
from neurozoo.hub import packing
from neurozoo.hub.packing import pack
from neurozoo.hub.zoo_entries import SCORES, entry_of, read_entry, shipped_entries, sorted_entries
from neurozoo.operations.latency import measure_latency, processor_name
from neurozoo.operations.profiling import profile_run
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.reporting.small_pictures import DrawnPart, confusion_picture, network_picture, rates_picture
from neurozoo.runs.loading import load
from neurozoo.runs.packed import Packed, read_packed
from neurozoo.runs.shipped_models import shipped_models
from neurozoo.tasks.multiclass import confusion
from neurozoo.training.train import train

DOCS = Path(__file__).parents[2] / "docs"
CLASSES = """\
schema: 2
description: made-up spike trains | of four classes
seed: 1
data: {name: spikes-small, instead: {name: spikes-synthetic, params: {size: 32, length: 8, neurons: 6}}}
task: multiclass
model: {name: recurrent, params: {hidden: [8]}}
training:
  epochs: 1
  batch_size: 16
  threads: 1
  initialisation: {name: fluctuation-driven, firing_rate: 0.2, batches: 1}
"""


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four classes, which no test changes."""
    folder = tmp_path_factory.mktemp("classes")
    (folder / "small.yaml").write_text(CLASSES)
    train(load_recipe(folder / "small.yaml"), out=folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def packed(classes: Path) -> Path:
    return pack(classes, classes.parent / "four-classes", notes="Four classes.\n\n- **made up**")


def test_a_pack_carries_operations_time_and_confusion(classes: Path, packed: Path) -> None:
    summary = read_packed(packed).summary
    counts, samples = torch.tensor(summary["confusion"]["counts"]), summary["data"]["splits"]["test"]
    assert (counts.shape, int(counts.sum()), summary["confusion"]["split"]) == ((4, 4), samples, "test")
    assert int(counts.diagonal().sum()) / samples == pytest.approx(summary["metrics"]["test"]["accuracy"])
    assert summary["latency"] == json.loads((classes / "latency.json").read_text())
    assert summary["latency"]["milliseconds"] > 0
    assert (summary["latency"]["threads"], summary["latency"]["processor"]) == (1, processor_name())
    assert f"one thread of {processor_name()}" in (packed / "README.md").read_text()


def test_time_is_measured_on_one_thread_and_changes_nothing(classes: Path) -> None:
    model = load(classes)
    threads, before = torch.get_num_threads(), {k: v.clone() for k, v in model.module.state_dict().items()}
    found = measure_latency(model, data_of(model))
    assert (found.samples, found.rounds, found.backend) == (min(20, len(data_of(model).split("valid"))), 3, "torch")
    assert torch.get_num_threads() == threads
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())


def test_an_entry_has_the_packs_numbers(classes: Path, packed: Path) -> None:
    entry, manifest = read_entry(packed)
    total = profile_run(classes, samples=packing.SAMPLES).network
    assert entry.operations == total.a_sample(total.macs + total.acs + total.attention)
    assert entry.operations > 0
    assert entry.accumulations == total.a_sample(total.acs)
    accuracy = manifest.summary["metrics"]["test"]["accuracy"]
    assert entry.cells() == [
        "four-classes",
        "4 classes",
        f"{manifest.data['name']} (SYNTHETIC data)",
        f"accuracy {accuracy:.3f} (one seed)",
        f"{manifest.summary['parameters']:,}",
        entry.cells()[5],
        f"{manifest.summary['latency']['milliseconds']:.3g}",
    ]


def test_the_score_over_seeds_has_its_interval(packed: Path) -> None:
    manifest = read_packed(packed)
    spread = {"mean": 0.5, "low": 0.25, "high": 0.75, "deviation": 0.1, "values": [0.4, 0.6]}
    seeds: dict[str, Any] = {"seeds": [1, 2], "metrics": {"test": {"accuracy": spread}}}
    content = manifest.content() | {"seeds": seeds}
    entry = entry_of("x", Packed(**content))
    assert entry.score_text == "accuracy 0.500 (0.250 to 0.750)"
    assert (entry.seeds, entry.own_score) == (2, manifest.summary["metrics"]["test"]["accuracy"])


def test_scores_are_the_tasks_headlines() -> None:
    for name in default_registry().components("task"):
        task = default_registry().resolve("task", name)
        made = task(("a", "b"))
        metric = next(each for each in made.metrics if each.name == made.headline[0])
        assert (metric.name, metric.title, metric.better) == SCORES[name]


def test_entries_are_sorted_by_data_then_score(packed: Path) -> None:
    entry, _ = read_entry(packed)
    some = [
        replace(entry, name=name, data=data, score=score, synthetic=made_up)
        for name, data, score, made_up in [
            ("a", "a", 0.9, True), ("b", "b", 0.5, False), ("c", "b", None, False), ("d", "b", 0.7, False),
        ]
    ]  # fmt: skip
    assert [each.name for each in sorted_entries(some)] == ["d", "b", "c", "a"]
    errors = [replace(each, better="lower") for each in some]
    assert [each.name for each in sorted_entries(errors)] == ["b", "d", "c", "a"]


def test_the_list_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for entry in shipped_entries():
        (line,) = (line for line in lines if line.startswith(f"{entry.name} "))
        assert all(cell in line for cell in entry.cells())
    assert main(["list", "zoo", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["zoo"]
    assert found == [each.to_dict() for each in shipped_entries()]
    old = next(each for each in found if each["name"] == "emotions-corrected")
    assert (old["operations"], old["milliseconds"], old["processor"]) == (None, None, None)
    assert f"{old['score']:.3f} {old['low']:.3f} {old['high']:.3f}" == "0.692 0.671 0.714"


def test_the_page_in_docs_is_what_the_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["zoo", "page", "docs/zoo.md"]) == 0
    written = {path.name: path.read_text() for path in (tmp_path / "docs" / "zoo").iterdir()}
    assert (tmp_path / "docs" / "zoo.md").read_text() == (DOCS / "zoo.md").read_text()
    assert written == {path.name: path.read_text() for path in (DOCS / "zoo").iterdir()}
    counted = {each.name for each in shipped_entries() if each.operations is not None}
    assert len(counted) >= 10
    assert set(written) == {f"{name}.svg" for name in shipped_models()} | {f"{name}-network.svg" for name in counted}


def test_a_gallery_of_ten(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copies = [shutil.copytree(packed, tmp_path / f"four-{k}") for k in range(9)]
    page = tmp_path / "all.md"
    assert main(["zoo", "page", str(page), *map(str, copies), "emotions-corrected", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == 10
    text = page.read_text()
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections[0] == "emotions-corrected"  # made-up data comes last
    assert sorted(sections) == sorted(["emotions-corrected", *(each.name for each in copies)])
    assert "Four classes.\n\n- **made up**" in text
    assert "made-up spike trains \\| of four classes." in text
    assert len({*(tmp_path / "all").iterdir()}) == 19  # nothing was counted of the model that was packed before
    for name in sections:
        assert text.count(f"![{name}](all/{name}.svg)") == 2  # a card and a section
    for file in (tmp_path / "all").iterdir():
        assert f"(all/{file.name})" in text
        svg = file.read_text()
        tree = ElementTree.fromstring(svg)
        assert tree.tag.endswith("svg")
        assert {each.tag.rpartition("}")[2] for each in tree.iter()} <= {"svg", "title", "text", "path"}
        assert not [key for each in tree.iter() for key in each.attrib if key.startswith("on") or "href" in key]
        assert len(svg) < 60_000


def test_a_changed_pack_and_another_name_are_refused(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(packed, tmp_path / "copy")
    (copy / "README.md").write_text("other")
    assert main(["zoo", "page", str(tmp_path / "zoo.md"), str(copy)]) == 2
    assert "README.md was changed" in capsys.readouterr().err
    assert not (tmp_path / "zoo.md").exists()
    assert main(["zoo", "page", str(tmp_path / "zoo.html"), str(packed)]) == 2
    assert "give FILE.md" in capsys.readouterr().err


def test_pictures_show_what_they_are_given() -> None:
    counts = confusion(torch.tensor([0, 0, 1, 1]).numpy(), torch.tensor([[0.9, 0.1]] * 3 + [[0.2, 0.8]]).numpy())
    svg = confusion_picture(["<a>", "b"], counts.tolist(), 'x "y"')
    assert "&lt;a&gt;" in svg
    assert 'aria-label="x &quot;y&quot;"' in svg
    assert svg.count('fill="#3b82f6"') == 2  # all of a, half of b
    assert svg.count('fill="#f59e0b"') == 1
    many = confusion_picture([str(k) for k in range(60)], [[1] * 60] * 60, "many")
    assert len(many) < 150_000
    rates = rates_picture({"first": 0.5, "silent": 0.0, "unknown": None}, "rates")
    assert [word in rates for word in (">50.0%<", ">0.0%<", ">-<", "h290v8")] == [True] * 4


def test_a_network_is_drawn_with_operations_and_rates() -> None:
    parts = [
        DrawnPart("synapse", 750.0, 250.0),
        DrawnPart("neurons", 0.0, 0.0, neurons=True, rate=0.25),
        DrawnPart("<readout>", 0.0, 0.0, neurons=True),
    ]
    svg = network_picture(["events [8, 2]"], parts, "4 classes", "net")
    for shown in (">events [8, 2]<", ">1.00 k<", ">25.0%<", ">no spikes<", ">&lt;readout&gt;<", ">4 classes<"):
        assert shown in svg
    assert [svg.count(f'h{length}v9h-{length}z"/>') for length in (72, 24)] == [1, 2]  # of 96: 3/4; 1/4 and a quarter
    many = network_picture([], [DrawnPart(f"part {k}", 1.0, 0.0) for k in range(40)], "1 label", "many")
    assert ">and 25 more parts<" in many
    assert ">part 14<" in many
    assert ">part 15<" not in many
