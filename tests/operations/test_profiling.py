"""``neurozoo profile``: a trained model's operations on its data, beside a control, kept in its run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import neurozoo
from neurozoo.cli import main
from neurozoo.errors import DataError, RunError, UserError
from neurozoo.models.build import open_data
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.profiling import FILE, kept_profile, profile_run
from neurozoo.operations.result import Counts, OperationsProfile
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.trained_folder import open_trained
from neurozoo.training.train import train


@pytest.fixture
def run(trained_once: Callable[[int], Path], tmp_path: Path) -> Path:
    """A finished run of two epochs, for this test alone."""
    return Path(shutil.copytree(trained_once(2), tmp_path / "first"))


@pytest.fixture(scope="module")
def profiled(trained_once: Callable[[int], Path]) -> OperationsProfile:
    """What the whole of valid gives in that run."""
    return profile_run(trained_once(2))


@pytest.fixture
def relu(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    """A run of the same recipe without spikes."""
    train(recipe("model.parts.activation=relu", "training.epochs=1"), out=tmp_path / "relu")
    return tmp_path / "relu"


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def names(counts: Counts) -> list[str]:
    return [layer.name for layer in counts.layers]


def test_all_samples_of_valid_are_counted_one_by_one_without_padding(run: Path, profiled: OperationsProfile) -> None:
    found = profiled
    trained = neurozoo.load(run)
    split = open_data(trained.recipe).split("valid")
    expected = OperationCounter(trained.module)
    rows = 0
    for place in range(len(split)):
        sample = split.batch(torch.tensor([place]))
        cut = {name: signal.values[:, signal.mask[0]] for name, signal in sample.signals.items()}
        masks = {name: torch.ones(x.shape[:2], dtype=torch.bool) for name, x in cut.items()}
        rows += cut["audio"].shape[1]
        with torch.no_grad(), expected:
            trained.module(type(sample).of(cut, masks))
    assert found.network.samples == found.of == len(split) == 10
    ours, by_hand = found.network, expected.counts(len(split))
    assert (names(ours), ours.dense, ours.updates) == (names(by_hand), by_hand.dense, by_hand.updates)
    for a, b in zip(ours.layers, by_hand.layers, strict=True):  # a spike may flip where a batch rounds differently
        assert (a.macs, a.acs) == (pytest.approx(b.macs, rel=0.02), pytest.approx(b.acs, rel=0.02))
    (linear,) = [layer for layer in ours.layers if layer.name == "branches.audio.first.synapse"]
    assert linear.dense == rows * 10 * 16
    assert (found.padding, found.alone, found.same_data, found.split) == (False, True, True, "valid")


def test_the_control_has_the_same_weights_and_no_spikes(profiled: OperationsProfile) -> None:
    network, control = profiled.network, profiled.control
    assert control is not None
    assert names(control) == names(network)
    assert (control.parameters, control.samples) == (network.parameters, network.samples)
    assert (control.acs, control.updates) == (0, 0)
    assert network.acs > 0
    assert network.updates > 0
    one, five = (
        next(layer for layer in each.layers if layer.name == "branches.audio.second.synapse")
        for each in (control, network)
    )
    assert 5 * one.dense == five.dense


def test_a_trained_run_without_spikes_is_a_control(run: Path, relu: Path) -> None:
    found = profile_run(run, control=relu, samples=3)
    assert found.control is not None
    assert "relu was trained" in found.about_control
    assert found.control.updates == 0
    alone = profile_run(relu, samples=1)
    assert alone.control is None
    assert "no spiking neurons" in alone.about_control or "no layer of spiking neurons" in alone.about_control


def test_it_is_the_same_on_every_exact_backend(run: Path) -> None:
    first, second = profile_run(run, samples=3), profile_run(run, backend="spikingjelly", samples=3)
    assert (first.backend, second.backend) == ("torch", "spikingjelly")
    assert first.network == second.network


def test_a_published_model_is_counted_in_the_batches_of_evaluation(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    overrides = ("model.parts.threshold=cross-entropy-ratio", "model.parts.scaling=batch-softmax")
    train(recipe(*overrides, "model.params.padding=visible", "training.epochs=1"), out=tmp_path / "published")
    found = profile_run(tmp_path / "published")
    assert (found.padding, found.alone) == (True, False)
    (linear,) = [layer for layer in found.network.layers if layer.name == "branches.audio.first.synapse"]
    assert linear.dense == 10 * 8 * 10 * 16


def test_some_samples(run: Path) -> None:
    found = neurozoo.profile(run, samples=3, split="test")
    assert (found.network.samples, found.of, found.split) == (3, 11, "test")


def test_what_cannot_be_profiled(run: Path, relu: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 samples are asked for"):
        profile_run(run, samples=0)
    with pytest.raises(UserError, match=r"spiking neurons .* model\.parts\.activation=relu"):
        profile_run(relu, control=run)
    with pytest.raises(DataError, match="no samples in the split 'other'"):
        profile_run(run, split="other")
    with pytest.raises(RunError, match="no such run folder"):
        profile_run(tmp_path / "nothing")


def test_a_control_takes_the_same_inputs(run: Path, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    fewer = recipe("model.parts.activation=relu", "training.epochs=1", "data.inputs=[text, audio]")
    train(fewer, out=tmp_path / "fewer")
    with pytest.raises(UserError, match="has other signals or outputs"):
        profile_run(run, control=tmp_path / "fewer")


# What a run keeps


def test_a_run_keeps_what_was_counted_until_its_weights_change(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kept_profile(open_trained(run)) is None
    assert main(["profile", str(run), "--samples", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    kept = kept_profile(open_trained(run))
    assert kept == profile_run(run, samples=2)
    assert kept is not None
    assert told["network"]["total"]["acs"] == kept.network.acs
    edited(run / FILE, lambda content: content.update(weights="0" * 64))
    assert kept_profile(open_trained(run)) is None


@pytest.mark.parametrize("option", [("--split", "test"), ("--backend", "spikingjelly")])
def test_a_run_keeps_nothing_of_other_settings(run: Path, option: tuple[str, str]) -> None:
    assert main(["profile", str(run), "--samples", "1", *option]) == 0
    assert not (run / FILE).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(schema=9), "schema is 9"),
        (lambda content: content["network"].update(samples=-1), "network.samples"),
        (lambda content: content["network"]["layers"][0].update(dense="many"), "network.layers.0.dense"),
        (lambda content: content.update(more=1), "more"),
    ],
)
def test_a_damaged_profile_is_refused_by_name(run: Path, change: Callable[[dict[str, Any]], None], said: str) -> None:
    assert main(["profile", str(run), "--samples", "2"]) == 0
    edited(run / FILE, change)
    with pytest.raises(RunError, match=f"{FILE}.*{said}.*neurozoo profile"):
        kept_profile(open_trained(run))
    (run / FILE).write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        kept_profile(open_trained(run))


def test_a_profile_of_an_older_version_is_read(run: Path) -> None:
    assert main(["profile", str(run), "--samples", "2"]) == 0

    def older(content: dict[str, Any]) -> None:
        content["schema"] = 1
        for counts in (content["network"], content["control"]):
            for layer in counts["layers"]:
                del layer["fed"], layer["repeated"]
            for each in counts["elsewhere"]:
                for name in ("multiplications", "gates", "additions", "functions"):
                    del each[name]

    now = kept_profile(open_trained(run))
    edited(run / FILE, older)
    found = kept_profile(open_trained(run))
    assert found is not None
    assert now is not None
    assert (found.schema, found.network.macs, found.network.acs) == (now.schema, now.network.macs, now.network.acs)
    assert {layer.fed for layer in found.network.layers} == {None}
    assert {layer.fed for layer in now.network.layers if layer.kind == "synaptic"} == {"bits", "real"}
    assert main(["report", str(run)]) == 0


# What a person sees


def test_the_tables_say_where_the_spiking_network_costs_more(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(run)]) == 0
    said = capsys.readouterr().out
    for words in (
        "means over 10 samples of valid",
        "attention products, apart",
        "energy, an estimate",
        "An estimate, and nothing measured: 45 nm",
        "it costs more in: branches.",
        "rows of padding are left out",
        "multiplied once, and presented for so many steps: branches.audio.first.synapse (5)",
        "not counted, as they multiply no matrices: ",
        "element by element, outside of synapses and neurons",
        "input: bits (0, 1 or -1), whole numbers (sums of bits), or real numbers",
        "a ReLU for each spiking neuron",
    ):
        assert words in said
    assert main(["profile", str(run), "--samples", "1", "--layers"]) == 0
    assert "refine.text.attention.query" in capsys.readouterr().out


def test_a_page_with_pictures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["profile", str(run), "--samples", "2", "--html", str(page)]) == 0
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "Energy by part, an estimate" in text
    assert "head.cross_attention.query" in text


def test_json_has_energy_and_verdict(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(run), "--samples", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    estimate = told["network"]["energy_estimate_pj"]
    assert estimate["operations"] == pytest.approx(sum(layer["operations"] for layer in estimate["layers"].values()))
    assert estimate["every_step"] > estimate["operations"]
    assert told["verdict"]
    assert told["assumptions"]


def test_the_zoo_can_be_profiled_where_its_data_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "emotions-corrected"]) == 2
    assert "emotions" in capsys.readouterr().err
