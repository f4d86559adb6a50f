"""``nir import``: a graph becomes a run that other commands take."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from neurozoo.cli import main
from neurozoo.recipe.recipe import load_recipe

SAID = ["--dt", "0.001", "--reset", "value", "--integration", "euler", "--fires", "above", "--forward-delay", "0"]
LOOP = ["--recurrent-delay", "1", "--synapse-delay", "0"]


def full(size: int, **values: float) -> dict[str, np.ndarray]:
    return {name: np.full(size, value, np.float64) for name, value in values.items()}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A recurrent net of 3 inputs and 2 outputs."""
    rng = np.random.default_rng(0)
    lif = full(2, tau=0.01, r=4.0, v_leak=0.0, v_threshold=0.5, v_reset=0.0)
    cuba = full(5, tau_syn=0.004, tau_mem=0.01, r=1.0, v_leak=0.0, v_threshold=0.3, v_reset=0.0, w_in=2.0)
    nodes = {
        "in": nir.Input({"input": np.array([3])}),
        "fc1": nir.Affine(rng.normal(size=(5, 3)) * 3, rng.normal(size=5)),
        "rec.n": nir.CubaLIF(**cuba),
        "rec.w": nir.Linear(rng.normal(size=(5, 5))),
        "fc2": nir.Linear(rng.normal(size=(2, 5)) + 1),
        "lif": nir.LIF(**lif),
        "out": nir.Output({"output": np.array([2])}),
    }
    edges = ["in fc1", "fc1 rec.n", "rec.n rec.w", "rec.w rec.n", "rec.n fc2", "fc2 lif", "lif out"]
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, [tuple(edge.split()) for edge in edges]))
    return tmp_path / "net.nir"


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], arguments: Sequence[str | Path]) -> str:
    assert main([*map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_a_run_is_made_measured_compared_and_trained_on(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    found = said(capsys, "nir", "import", net, *SAID, *LOOP, "--out", run)
    assert found["nodes"] == {"Affine": 1, "Linear": 2, "Input": 1, "LIF": 1, "Output": 1, "CubaLIF": 1}
    assert found["dynamics"]["dt"] == 0.001
    summary = found["summary"]
    assert summary["synthetic"] is True
    assert summary["epochs"] == 0
    assert summary["imported"]["settings"] == {
        "dt": 0.001, "reset": "value", "integration": "euler", "fires": "above",
        "forward_delay": 0, "recurrent_delay": 1, "synapse_delay": 0,
    }  # fmt: skip
    assert summary["imported"]["sha256"] == found["sha256"]

    recipe = load_recipe(run / "recipe.yaml")
    assert recipe.model.params["recurrent_delay"] == 1
    assert said(capsys, "verify", run)["verified"]
    again = said(capsys, "evaluate", run, "--split", "test", "--backend", "norse")
    assert again["metrics"]["test"] == pytest.approx(summary["metrics"]["test"])

    trained = said(capsys, "train", run / "recipe.yaml", "training.epochs=1", "--from", run, "--out", tmp_path / "on")
    assert trained["started_from"]["recipe"] == "net"
    assert trained["epochs"] == 1
    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0


def test_its_operations_are_counted_beside_a_control(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "nir", "import", net, *SAID, *LOOP, "--out", tmp_path / "run")
    found = said(capsys, "profile", tmp_path / "run")
    samples, layers = found["of"], {layer["part"]: layer for layer in found["network"]["layers"]}
    assert {"nodes.fc1", "nodes.fc2", "nodes.rec/w", "nodes.rec/n", "nodes.lif"} <= layers.keys()
    # 100 steps of 5 x 5 weights, and of 5 membranes
    assert layers["nodes.rec/w"]["dense"] == samples * 2500
    assert layers["nodes.rec/n"]["updates"] == samples * 500
    assert found["control"]["total"]["parameters"] == found["network"]["total"]["parameters"]


@pytest.mark.slow
def test_the_same_spikes_on_every_backend(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "nir", "import", net, *SAID, *LOOP, "--out", tmp_path / "run")
    options = ["--backends", "torch,norse,snntorch,spikingjelly,numba", "--batches", "1", "--repeats", "1"]
    found = said(capsys, "compare", "--run", tmp_path / "run", *options)
    assert found["verdict"] == "equivalent"
    spikes = [layer for backend in found["backends"] for layer in backend["layers"]]
    assert spikes
    assert not any(layer["mismatches"] for layer in spikes)
    assert all(layer["rate"] > 0.01 for layer in spikes)


def test_what_is_not_said_is_asked_for_and_nothing_is_left_behind(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    error = refused(capsys, ["nir", "import", net, "--out", run])
    assert "give --dt SECONDS, --reset value|subtract, --integration euler|exact|exponential-leak" in error
    assert "--recurrent-delay 1|2|..., --synapse-delay 0|1" in error
    error = refused(capsys, ["nir", "import", net, "--as", "norse", *LOOP, "--out", run])
    assert "give --dt SECONDS;" in error
    error = refused(capsys, ["nir", "import", net, "--as", "nors", *LOOP, "--dt", "1e-3", "--out", run])
    assert "did you mean 'norse'?" in error
    error = refused(capsys, ["nir", "import", net, *SAID, *LOOP, "--dt", "0.02", "--out", run])
    assert "no longer than dt = 0.02" in error
    for step in ("inf", "nan", "0"):
        error = refused(capsys, ["nir", "import", net, *SAID, *LOOP, "--dt", step, "--out", run])
        assert "both are finite and larger than 0" in error
    error = refused(capsys, ["nir", "import", tmp_path / "no.nir", *SAID, *LOOP, "--out", run])
    assert "no.nir cannot be read" in error
    assert not run.exists()


def test_a_platform_says_some_and_what_is_given_wins(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--as", "sinabs", "--reset", "value", "--dt", "1e-3", *LOOP]
    found = said(capsys, "nir", "import", net, *options, "--readout", "sum", "--out", tmp_path / "run")
    assert found["platform"] == "sinabs"
    assert found["readout"] == "sum"
    assert found["dynamics"]["reset"] == "value"
    assert found["dynamics"]["integration"] == "exponential-leak"


def test_data_that_does_not_fit_leaves_nothing_behind(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], make_tiny_store: Path
) -> None:
    error = refused(capsys, ["nir", "import", net, *SAID, *LOOP, "--data", make_tiny_store, "--out", tmp_path / "run"])
    assert "takes 3 numbers a step and the data has 4" in error
    assert not (tmp_path / "run").exists()


@pytest.fixture
def make_tiny_store(tmp_path: Path) -> Path:
    from neurozoo.data.store import StoreWriter

    with StoreWriter(tmp_path / "store", labels=["a", "b"], origin={"format": "test"}) as writer:
        for split in ("train", "valid", "test"):
            writer.add(split, {"x": np.ones((2, 5, 4))}, np.array([[0, 1], [1, 0]]))
    return tmp_path / "store"


REAL = {
    "braille_noDelay_bias_zero": ["--as", "snntorch", "--dt", "1e-4", *LOOP],
    "braille_noDelay_noBias_subtract": ["--as", "snntorch", "--reset", "subtract", "--dt", "1e-4", *LOOP],
    "cnn": ["--dt", "1", "--reset", "subtract", "--fires", "at", "--forward-delay", "0"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_nets_trained_elsewhere_give_equal_spikes(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = os.environ.get("NEUROZOO_TEST_DATA")
    if not folder:
        pytest.skip("NEUROZOO_TEST_DATA is not set: nets of the NIR paper")
    said(capsys, "nir", "import", Path(folder) / "nir" / f"{name}.nir", *REAL[name], "--out", tmp_path / "run")
    options = ["--backends", "torch,norse,snntorch,spikingjelly,numba", "--batches", "1", "--repeats", "1"]
    found = said(capsys, "compare", "--run", tmp_path / "run", *options)
    assert found["verdict"] == "equivalent"
    assert not any(layer["mismatches"] for backend in found["backends"] for layer in backend["layers"])


def test_a_graph_without_weights_is_compared_and_not_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lif = nir.LIF(**full(3, tau=0.01, r=20.0, v_leak=0.0, v_threshold=0.5, v_reset=0.0))
    nodes = {"in": nir.Input({"input": np.array([3])}), "n": lif, "out": nir.Output({"output": np.array([3])})}
    nir.write(tmp_path / "bare.nir", nir.NIRGraph(nodes, [("in", "n"), ("n", "out")]))
    run = tmp_path / "run"
    said(capsys, "nir", "import", tmp_path / "bare.nir", *SAID, "--out", run)
    found = said(capsys, "compare", "--run", run, "--backends", "torch,norse")
    assert found["verdict"] == "equivalent"
    assert found["backends"][1]["layers"][0]["rate"] > 0.01
    error = refused(capsys, ["train", run / "recipe.yaml", "--from", run, "--out", tmp_path / "on"])
    assert "the model 'nir-graph' has no weights, so there is nothing to train" in error
    assert not (tmp_path / "on").exists()
