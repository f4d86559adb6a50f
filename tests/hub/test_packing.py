"""``neurozoo pack``: a run as a folder for a model hub, which loads on any backend, and only as it was packed."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

import neurozoo
from neurozoo.cli import main
from neurozoo.compare.entry_points import Plan, compare_model
from neurozoo.data.writer import StoreWriter
from neurozoo.errors import CheckpointError, NeurozooWarning, RunError, UserError
from neurozoo.hub import packing
from neurozoo.hub.packing import pack
from neurozoo.operations.profiling import keep, kept_profile, profile_run
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.reporting.runs import report_runs
from neurozoo.runs.packed import LEFT_ALONE, SCHEMA, Packed, read_packed
from neurozoo.runs.run import Run
from neurozoo.runs.trained_folder import open_trained
from neurozoo.training.train import train

SHAPES = {"timbre": 64, "rhythm": 8}
FILES = {"README.md", "model.safetensors", "neurozoo.json", "recipe.yaml"}
SMALL = ("training.epochs=1", "training.threads=1", "model.params.hidden=10", "model.params.spiking_inner=16")


@pytest.fixture(scope="module", autouse=True)
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of data sets in which ``emotions`` is installed, with values made up by the tests."""
    home = tmp_path_factory.mktemp("data-home")
    rng = np.random.default_rng(1)
    origin = {"format": "mulan", "source": 'made up: "a|b"', "licence": "CC0-1.0", "options": {"from": "/its/place/x"}}
    labels = load_recipe("smile_emotions").task.outputs
    assert labels is not None
    with StoreWriter(home / "emotions", labels=labels, origin=origin) as writer:
        for split, samples in (("train", 30), ("test", 9)):
            y = rng.integers(0, 2, (samples, len(labels)))
            y[0] = 1
            features = {name: rng.normal(size=(samples, 1, dim)) + y[:, None, :1] for name, dim in SHAPES.items()}
            writer.add(split, features, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROZOO_DATA", str(home))
        yield home


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small model, which no test changes."""
    run = tmp_path_factory.mktemp("runs") / "first"
    neurozoo.train("smile_emotions", *SMALL, out=run)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, for a test to change."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / "first"))


@pytest.fixture(scope="module")
def packed_once(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(trained, tmp_path_factory.mktemp("packed") / "packed", licence="apache-2.0")


@pytest.fixture
def packed(packed_once: Path, tmp_path: Path) -> Path:
    """The finished run, packed; a copy for a test to change."""
    return Path(shutil.copytree(packed_once, tmp_path / "packed"))


def features(samples: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(samples, 1, dim, generator=generator) for name, dim in SHAPES.items()}


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def front(folder: Path) -> dict[str, Any]:
    _, text, _ = (folder / "README.md").read_text().split("---\n", 2)
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return found


# What is in the folder


def test_the_folder_holds_weights_recipe_card_and_the_hash_of_each(trained: Path, packed: Path) -> None:
    assert {path.name for path in packed.iterdir()} == FILES
    manifest = read_packed(packed)
    assert manifest.files == {
        name: hashlib.sha256((packed / name).read_bytes()).hexdigest() for name in FILES - {"neurozoo.json"}
    }
    assert (packed / "model.safetensors").read_bytes() == Run(trained).best.read_bytes()
    summary = Run(trained).read_json("summary.json")
    assert manifest.summary["metrics"] == summary["metrics"]
    assert manifest.summary["decision"] == summary["decision"]
    assert manifest.summary["environment"]["versions"]["torch"] == torch.__version__
    assert manifest.shapes == {name: (dim,) for name, dim in SHAPES.items()}
    assert (manifest.licence, manifest.seeds) == ("Apache-2.0", None)
    assert list(manifest.outputs) == summary["data"]["task"]["outputs"]


def test_the_same_run_is_packed_to_the_same_bytes(trained: Path, packed: Path, tmp_path: Path) -> None:
    again = pack(trained, tmp_path / "again", licence="Apache-2.0")
    assert {name: (again / name).read_bytes() for name in FILES} == {
        name: (packed / name).read_bytes() for name in FILES
    }


def test_nothing_names_a_place_of_this_machine(
    data_home: Path, tmp_path: Path, recipe: Callable[..., Recipe], store: Path
) -> None:
    # By the folder alone, and by a folder instead of the name that the recipe has.
    train(recipe("training.epochs=1"), out=tmp_path / "alone")
    neurozoo.train("smile_emotions", *SMALL, f"data.root={data_home / 'emotions'}", out=tmp_path / "beside")
    for name, wanted in (("alone", store.name), ("beside", "emotions")):
        folder = pack(tmp_path / name, tmp_path / f"{name}-packed")
        assert all(
            str(place).encode() not in path.read_bytes() for path in folder.iterdir() for place in (tmp_path, data_home)
        )
        there = load_recipe(folder / "recipe.yaml").data
        assert (there.name, there.root) == (wanted, None)
    assert neurozoo.evaluate(folder, data_root=data_home / "emotions")["same_data_as_trained"]
    assert read_packed(folder).data["origin"]["options"] == {"from": "x"}


def test_data_that_was_given_as_a_folder_keeps_its_own_name(data_home: Path, tmp_path: Path) -> None:
    """A user's own data was published under the name that the recipe has."""
    mine = tmp_path / "my-songs"
    shutil.copytree(data_home / "emotions", mine)
    neurozoo.train("smile_emotions", *SMALL, f"data.root={mine}", out=tmp_path / "run")
    folder = pack(tmp_path / "run", tmp_path / "packed")
    there = load_recipe(folder / "recipe.yaml")
    assert there.data.name == "my-songs"
    assert there.description.endswith("; here on the data my-songs")
    found, card = front(folder), (folder / "README.md").read_text()
    assert found["datasets"] == ["my-songs"]
    assert found["model-index"][0]["results"][0]["dataset"]["type"] == "my-songs"
    assert "Name in the recipe: my-songs" in card
    assert f"SHA-256 of the store: {read_packed(folder).data['checksum']}" in card
    page = report_runs([tmp_path / "run"]).page
    assert "<td>data</td><td>my-songs</td>" in page


def test_a_recipe_that_names_another_place_is_refused(run: Path, tmp_path: Path) -> None:
    path = run / "recipe.yaml"
    path.write_text(path.read_text().replace("data.standardise=false", "data.root=/elsewhere/store"))
    with pytest.raises(UserError, match=r"ablations\.not standardised \(published\) names a place of this machine"):
        pack(run, tmp_path / "packed")


# The card


def test_the_front_matter_is_what_the_hub_reads(packed: Path, trained: Path) -> None:
    found = front(packed)
    assert (found["license"], found["library_name"], found["datasets"]) == ("apache-2.0", "neurozoo", ["emotions"])
    assert {"neurozoo", "smile", "spiking-neural-network"} <= set(found["tags"])
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert (model["name"], result["dataset"]["split"], result["dataset"]["name"]) == (
        "smile_emotions",
        "test",
        'made up: "a|b"',
    )
    test = Run(trained).read_json("summary.json")["metrics"]["test"]
    values = {each["name"]: each["value"] for each in result["metrics"]}
    assert values["micro F1"] == round(test["micro_f1"], 4)
    assert set(found["metrics"]) == {each["type"] for each in result["metrics"]}


def test_the_card_tells_what_was_measured(packed: Path) -> None:
    card, manifest = (packed / "README.md").read_text(), read_packed(packed)
    summary = manifest.summary
    for split in ("valid", "test"):
        assert f"{summary['metrics'][split]['macro_f1']:.4f}" in card
        assert f"{summary['lesion']['permuted'][split]:.4f}" in card
    for text in (
        "One seed was trained, 1, so there is no interval",
        f"SHA-256 of the store: {manifest.data['checksum']}",
        "Licence: CC0-1.0",
        "Citation: unknown",
        "9 test",
        "valid is 20% of train, drawn with seed 7",
        "mean over samples of \\|Y and P\\|",
        f"Firing threshold on valid: mean {summary['threshold']['mean']:.4g}",
        "| branches.timbre.first | test |",
        "Licence of the weights: Apache-2.0.",
        f"| torch | {torch.__version__} |",
    ):
        assert text in card
    assert "SYNTHETIC" not in card


def test_the_card_says_what_the_model_computes(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SAMPLES", 200)
    counted = profile_run(run)
    folder = pack(run, tmp_path / "counted")
    assert kept_profile(open_trained(folder)) == counted
    card = (folder / "README.md").read_text()
    for words in (
        "## Operations and energy",
        f"means over {counted.of} samples of valid",
        "branches.timbre.second",
        "## Products of attention",
        "## Energy, an estimate",
        "An estimate, and nothing measured",
    ):
        assert words in card
    # What the run keeps goes first.
    keep(open_trained(run), profile_run(run, samples=2))
    kept = kept_profile(open_trained(pack(run, tmp_path / "kept")))
    assert kept is not None
    assert kept.network.samples == 2
    # Without the data, or on other data, nothing is said.
    (run / "operations.json").unlink()
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "nowhere"))
    assert "Not counted; where the data is installed" in (pack(run, tmp_path / "without") / "README.md").read_text()


def test_what_the_card_says_to_type_works(
    packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(packed)
    python, commands = re.findall(r"^```(?:python)?\n(.*?)^```$", (packed / "README.md").read_text(), re.M | re.S)
    exec(compile(python, "README.md", "exec"), {})
    assert "'sad-lonely': 0." in capsys.readouterr().out
    lines = commands.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert main(line.split()[1:]) == 0, capsys.readouterr().err
    assert Run(packed.parent / "trained-again").finished
    read_packed(packed)  # nothing was left in it


def test_synthetic_data_is_said_in_every_heading_and_kept_off_the_leaderboard(run: Path, tmp_path: Path) -> None:
    def made_up(content: dict[str, Any]) -> None:
        content["synthetic"] = content["data"]["synthetic"] = True

    edit(run / "summary.json", made_up)
    folder = pack(run, tmp_path / "packed")
    card = (folder / "README.md").read_text()
    assert "# smile\\_emotions (SYNTHETIC data)" in card
    for heading in ("Data", "Metrics", "Seeds", "Spiking health", "What the spikes do"):
        assert f"\n## {heading} (SYNTHETIC data)\n" in card
    assert not {"model-index", "metrics", "datasets"} & front(folder).keys()
    assert "synthetic-data" in front(folder)["tags"]


def test_notes_and_no_licence(run: Path, tmp_path: Path) -> None:
    folder = pack(run, tmp_path / "packed", notes="It knows *nothing* of jazz.\n")
    assert "## Notes\n\nIt knows *nothing* of jazz.\n" in (folder / "README.md").read_text()
    assert front(folder)["license"] == "unknown"
    with pytest.raises(
        UserError, match=r"the licence 'free' is not an SPDX expression .*; give one such as Apache-2\.0"
    ):
        pack(run, tmp_path / "other", licence="free")


# Seeds


def seeds_of(run: Path, *, better: float = 0.1) -> dict[str, Any]:
    """What lies beside runs of three seeds, of which ``run`` has the first."""
    summary = Run(run).read_json("summary.json")

    def spread(value: float) -> dict[str, Any]:
        values = [value, value - better, value - better]
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        half = 4.302653 * deviation / math.sqrt(3)  # Student's t for three values
        return {"values": values, "mean": mean, "deviation": deviation, "low": mean - half, "high": mean + half}

    return {
        "schema": 1,
        "recipe": "smile_emotions",
        "seeds": [1, 2, 3],
        "synthetic": False,
        "metrics": {s: {name: spread(v) for name, v in by.items()} for s, by in summary["metrics"].items()},
        "lesion": {kind: {s: spread(v) for s, v in by.items()} for kind, by in summary["lesion"].items()},
    }


@pytest.mark.parametrize(
    ("better", "said"),
    [(0.1, "are of seed 1, the best of them on valid by micro\\_f1"), (-0.1, "which is not the best of them on valid")],
)
def test_the_card_shows_intervals_over_seeds(better: float, said: str, run: Path, tmp_path: Path) -> None:
    seeds = seeds_of(run, better=better)
    (run.parent / "seeds.json").write_text(json.dumps(seeds))
    folder = pack(run, tmp_path / "packed")
    assert read_packed(folder).seeds == seeds
    card = (folder / "README.md").read_text()
    row = next(line for line in card.splitlines() if line.startswith("| macro\\_f1 |") and " to " in line)
    for split in ("valid", "test"):
        told = seeds["metrics"][split]["macro_f1"]
        assert f"| {told['mean']:.4f} | {told['deviation']:.4f} | {told['low']:.4f} to {told['high']:.4f} |" in row
    assert "| lesion effect, permuted |" in card
    assert "Over the seeds 1, 2, 3:" in card
    assert said in card
    assert "One seed was trained" not in card


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["metrics"]["test"]["map"]["values"].__setitem__(0, 0.5), "holds other numbers than first/summary"),
        (lambda s: s["metrics"]["test"]["map"].update(mean=1.5), "intervals are not those of its values"),
        (lambda s: s["lesion"]["silent"]["test"].update(high=9.0), "intervals are not those of its values"),
        (lambda s: s.update(recipe="other"), "holds other numbers than first/summary"),
        (lambda s: s.update(seeds=[2, 3]), "cannot be read as the intervals over the seeds of first"),
        (lambda s: s.update(schema=2), "its schema is 2"),
        (lambda s: s.pop("metrics"), "KeyError: 'metrics'"),
    ],
)
def test_intervals_of_other_runs_are_refused(
    change: Callable[[dict[str, Any]], None], said: str, run: Path, tmp_path: Path
) -> None:
    seeds = seeds_of(run)
    change(seeds)
    (run.parent / "seeds.json").write_text(json.dumps(seeds))
    with pytest.raises(RunError, match=re.escape(said)):
        pack(run, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


# Loading


def test_it_predicts_what_the_run_does_on_every_backend(trained: Path, packed: Path) -> None:
    expected = neurozoo.load(trained).predict(features())
    assert torch.equal(neurozoo.load(packed).predict(features()), expected)
    for backend in ("spikingjelly", "norse"):
        found = neurozoo.load(packed, backend=backend)
        assert found.recipe.backend == backend
        torch.testing.assert_close(found.predict(features()), expected, rtol=0, atol=1e-6)
    # snnTorch may differ within rounding of the threshold, which compare knows to judge.
    comparison = compare_model(packed, ["torch", "spikingjelly", "norse", "snntorch"], Plan(1, 8, repeats=1))
    assert not comparison.different
    assert comparison.setting.run == str(packed)
    read_packed(packed)


def test_every_command_on_a_run_takes_it(
    trained: Path, packed: Path, data_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: object) -> Any:
        assert main([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    published = Run(trained).read_json("summary.json")
    told = said("evaluate", packed)
    assert told["metrics"]["test"] == pytest.approx(published["metrics"]["test"], abs=1e-6)
    assert told["same_data_as_trained"]
    assert said("verify", packed)["verified"]
    alike = said("compare", trained, packed)
    assert (len(alike["runs"]), alike["recipes_differ"]) == (2, {})
    store = data_home / "emotions"
    assert (
        said("predict", packed, store, "--split", "test")["predictions"]
        == said("predict", trained, store, "--split", "test")["predictions"]
    )
    read_packed(packed)


def test_a_number_that_does_not_come_back_is_found(run: Path, tmp_path: Path) -> None:
    edit(run / "summary.json", lambda content: content["metrics"]["test"].update(micro_f1=0.99))
    assert main(["verify", str(pack(run, tmp_path / "packed"))]) == 3


# What is not as it was packed


def resealed(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A manifest changed by somebody who puts its checksum right too."""

    def spoil(folder: Path) -> None:
        path = folder / "neurozoo.json"
        edit(path, change)
        content = json.loads(path.read_text())
        if content["schema"] == SCHEMA:
            path.write_text(json.dumps(content | {"checksum": Packed(**content).digest()}))

    return spoil


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, "model.safetensors was changed"),
        (lambda f: [(f / "README.md").unlink(), (f / "README.md").symlink_to("recipe.yaml")], "README.md"),
        (lambda f: (f / "recipe.yaml").unlink(), "recipe.yaml is missing"),
        (lambda f: (f / "pytorch_model.bin").write_bytes(b"x"), "pytorch_model.bin is additional"),
        (lambda f: (f / "more").mkdir(), "more is additional"),
        (lambda f: [(f / "b").touch(), cut(f)], "model.safetensors was changed; b is additional"),
        (lambda f: (f / "neurozoo.json").unlink(), "neurozoo.json is missing"),
        (lambda f: (f / "neurozoo.json").write_text("{"), "neurozoo.json: cannot be read as JSON"),
        (lambda f: edit(f / "neurozoo.json", lambda c: c["summary"].update(seed=7)), "its checksum differs"),
        (resealed(lambda c: c["files"].update({"../x": "0"})), "names the files"),
        (resealed(lambda c: c.update(schema=9)), "its schema is 9 and this version reads 1 and 2"),
        (lambda f: edit(f / "neurozoo.json", lambda c: c.update(extra=1)), "malformed: extra"),
    ],
)
def test_a_folder_that_changed_is_refused_by_name(
    spoil: Callable[[Path], object], said: str, packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(packed)
    with pytest.raises(CheckpointError, match=re.escape(said)):
        neurozoo.load(packed)
    assert main(["evaluate", str(packed)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.filterwarnings("default::neurozoo.errors.NeurozooWarning")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda card: card.write_text("# better"), "README.md was changed after the model was packed"),
        (lambda card: card.unlink(), "README.md is missing after the model was packed"),
    ],
)
def test_a_card_that_changed_is_said_and_stops_nothing(
    spoil: Callable[[Path], object], said: str, packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(packed / "README.md")
    with pytest.warns(NeurozooWarning, match=said):
        neurozoo.load(packed)
    assert main(["evaluate", str(packed)]) == 0
    assert f"note: {packed}: {said}" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match=r"README\.md"):
        read_packed(packed)


def test_what_hubs_put_beside_it_is_left_alone(packed: Path) -> None:
    assert {".git", ".gitattributes", ".cache"} <= LEFT_ALONE
    (packed / ".git").mkdir()
    (packed / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    neurozoo.load(packed)


# What cannot be packed


def test_a_run_that_is_not_finished_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "summary.json").unlink()
    with pytest.raises(RunError, match=r"first: is not finished; `neurozoo train --resume"):
        pack(run, tmp_path / "packed")
    with pytest.raises(RunError, match="there is no such run folder"):
        pack(tmp_path / "nothing", tmp_path / "packed")


def test_a_run_of_a_search_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "run.json").write_text(json.dumps({"schema": 1, "recipe": "small", "closed": ["test"]}))
    with pytest.raises(RunError, match="is the run of a search, which the split test is closed to; train"):
        pack(run, tmp_path / "packed")


def test_a_packed_folder_is_not_packed_again(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is packed already; copy the folder"):
        pack(packed, tmp_path / "again")


def test_nothing_is_written_over_or_left_behind(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="already there and not empty; give another --out"):
        pack(trained, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neurozoo.hub.packing.write_whole", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device; give another --out"):
        pack(trained, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize("where", ["here", "link", "littered"])
def test_an_empty_folder_is_filled_however_it_is_reached(
    where: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder if where == "here" else tmp_path)
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    if where == "littered":
        (folder / ".DS_Store").write_bytes(b"x")
    out = {"here": ".", "link": "link", "littered": "empty"}[where]
    pack(trained, out)
    assert {path.name for path in folder.iterdir()} - {".DS_Store"} == FILES
    assert (tmp_path / "link").is_symlink()


def test_seeds_of_strangers_are_read_strictly(run: Path, tmp_path: Path) -> None:
    for content, words in (
        ("[" * 3000 + "]" * 3000, "nested deeper than 64 levels"),
        ('{"schema": 1e400}', "the number 1e400 is too large"),
        ('{"schema": 1, "schema": 1}', "the key 'schema' occurs twice"),
    ):
        (run.parent / "seeds.json").write_text(content)
        with pytest.raises(RunError, match=f"seeds.json: cannot be read as JSON: {words}"):
            pack(run, tmp_path / "packed")


def test_the_command_tells_the_hashes(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.md").write_text("Mine.")
    assert main(["pack", str(trained), "--licence", "MIT", "--notes", "notes.md", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    folder = Path(told["folder"])
    assert (folder, set(told["files"])) == (Path("packed/first"), FILES)
    for name, each in told["files"].items():
        content = (folder / name).read_bytes()
        assert each == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert main(["pack", str(trained), "--out", "other"]) == 0
    assert capsys.readouterr().out.endswith("packed: other\n")
    assert main(["pack", str(trained), "--out", "third", "--notes", "none.md"]) == 2
    assert "none.md cannot be read (No such file or directory)" in capsys.readouterr().err
    Path("latin.md").write_bytes(b"caf\xe9")
    assert main(["pack", str(trained), "--out", "third", "--notes", "latin.md"]) == 2
    assert "latin.md:1: byte 0xe9 is not UTF-8" in capsys.readouterr().err
