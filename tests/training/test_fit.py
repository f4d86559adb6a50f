"""The main job on a small store."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.data.writer import StoreWriter
from neurozoo.errors import CheckpointError, DataError, NeurozooError, RunError, UserError
from neurozoo.evaluation.evaluate import evaluate_run
from neurozoo.models.sparch import SparCH
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.loading import load
from neurozoo.runs.run import Run
from neurozoo.runs.trained_folder import open_trained
from neurozoo.training import listener as following
from neurozoo.training.train import dry_run, train

BACKENDS = [name for name, each in default_registry().components("neuron").items() if not each.native]


class Listener(following.Listener):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.values: list[dict[str, float]] = []

    def started(self, info: Any) -> None:
        self.events.append("started")

    def step(self, epoch: int, step: int, steps: int, values: Any) -> None:
        self.events.append(f"step {epoch}.{step}/{steps}")
        self.values.append(dict(values))

    def epoch(self, record: Any, checkpoint: Any) -> None:
        self.events.append(f"epoch {record['epoch']}")

    def finished(self, summary: Any, evaluation: Any) -> None:
        self.events.append("finished")


@pytest.fixture
def trained(tmp_path: Path, trained_once: Callable[[int], Path]) -> Path:
    return Path(shutil.copytree(trained_once(2), tmp_path / "run"))


def test_a_run_holds_everything(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    listener = Listener()
    summary = train(recipe(), out=tmp_path / "run", listener=listener)
    assert listener.events == [
        "started",
        *["step 1.1/3", "step 1.2/3", "step 1.3/3", "epoch 1"],
        *["step 2.1/3", "step 2.2/3", "step 2.3/3", "epoch 2"],
        "finished",
    ]
    assert all({"loss", "rate", "threshold"} <= values.keys() for values in listener.values)
    files = {str(p.relative_to(tmp_path / "run")) for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert files == {
        "run.json",
        "recipe.yaml",
        "environment.json",
        "data.json",
        "metrics.jsonl",
        "summary.json",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "predictions/valid.safetensors",
        "predictions/test.safetensors",
    }
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == json.loads(json.dumps(summary))
    for split in ("valid", "test"):
        assert summary["metrics"][split].keys() == {"loss", *summary["metric_definitions"]}
        assert set(summary["health"][split]) == {
            f"branches.{m}.{layer}" for m in ("audio", "vision") for layer in ("first", "second")
        }
        assert summary["lesion"]["permuted"][split] > 0
        assert summary["lesion"]["silent"][split] > 0
    assert summary["seed"] == 3
    environment = Run(tmp_path / "run").read_json("environment.json")
    assert environment == summary["environment"]
    assert environment["versions"]["neurozoo"]
    assert environment["threads"] == 1
    assert environment["device"] == "cpu"
    assert summary["backend"] == "torch"
    assert summary["synthetic"] is False
    assert summary["data"]["checksum"]
    assert abs(summary["threshold"]["kappa"] - 0.1) < 0.05
    assert [r["epoch"] for r in Run(tmp_path / "run").records()] == [1, 2]


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    weights = []
    for name in ("a", "b"):
        train(recipe(), out=tmp_path / name)
        weights.append(read_tensors(Run(tmp_path / name).last)[0])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_initialisation_wakes_the_branch(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    summary = train(recipe("training.optimizer.lr=1e-9", "training.epochs=1"), out=tmp_path / "run")
    rates = [layer["rate"] for layer in summary["health"]["valid"].values()]
    assert all(0.05 < rate < 0.4 for rate in rates)
    asleep = train(
        recipe("training.optimizer.lr=1e-9", "training.epochs=1", "training.initialisation={name: default}"),
        out=tmp_path / "asleep",
    )
    assert min(layer["rate"] for layer in asleep["health"]["valid"].values()) < 0.01
    assert any("are dead" in warning and "fluctuation-driven" in warning for warning in asleep["warnings"])


def test_evaluating_again_gives_the_same(trained: Path) -> None:
    summary = Run(trained).read_json("summary.json")
    again = evaluate_run(trained, split="test")
    assert again["metrics"]["test"] == pytest.approx(summary["metrics"]["test"], rel=1e-6)
    assert again["same_data_as_trained"] is True


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_predicts_the_same(trained: Path, backend: str) -> None:
    torch.manual_seed(0)
    features = {"text": torch.randn(3, 6, 5), "audio": torch.randn(3, 8, 4), "vision": torch.randn(3, 7, 3)}
    expected = load(trained).predict(features)
    assert expected.shape == (3, 3)
    torch.testing.assert_close(load(trained, backend=backend).predict(features), expected, rtol=1e-5, atol=1e-5)


def test_only_zeros_at_the_ends_are_padding(trained: Path) -> None:
    model = load(trained)
    features = {"text": torch.randn(1, 6, 5), "audio": torch.randn(1, 8, 4), "vision": torch.randn(1, 7, 3)}
    features["audio"][:, 3] = 0
    features["audio"][:, 6:] = 0
    masks = {name: torch.ones(x.shape[:2], dtype=torch.bool) for name, x in features.items()}
    masks["audio"][:, 6:] = False
    assert torch.equal(model.predict(features), model.predict(features, masks))


def test_a_prediction_with_wrong_features_is_refused(trained: Path) -> None:
    model = load(trained)
    good = {"text": torch.ones(2, 6, 5), "audio": torch.ones(2, 8, 4), "vision": torch.ones(2, 7, 3)}
    with pytest.raises(DataError, match=r"signals\['text'\] is missing; the model takes \[B, L, 5\]"):
        model.predict({"audio": torch.zeros(1, 8, 4)})
    with pytest.raises(DataError, match=r"signals\['audio'\] is \[2, 8, 5\]; the model takes \[B, L, 4\]"):
        model.predict({**good, "audio": torch.ones(2, 8, 5)})
    with pytest.raises(DataError, match=r"different numbers of samples \(text 2, audio 1, vision 2\)"):
        model.predict({**good, "audio": torch.ones(1, 8, 4)})
    with pytest.raises(DataError, match=r"valid\['audoi'\] is torch.bool \[2, 8\]; give torch.bool"):
        model.predict(good, {"audoi": torch.ones(2, 8, dtype=torch.bool)})
    with pytest.raises(DataError, match=r"valid\['audio'\] is torch.float32 \[2, 8\]"):
        model.predict(good, {"audio": torch.ones(2, 8)})
    assert torch.equal(model.predict(good), model.predict({name: x.double() for name, x in good.items()}))


def test_a_dry_run_writes_nothing(
    tmp_path: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = recipe()
    before = sorted(tmp_path.rglob("*"))
    told = dry_run(small)
    assert told["dry_run"] is True
    assert told["loss"] > 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("shape", "length", "samples", "steps"),
    [([2, 8, 8], 4, 2, 4), ([2, 128, 128], 16, 2, 2), ([2, 34, 34], 16, 2, 14), ([2, 512, 512], 16, 2, 2),
     ([700], 100, 2, 100), ([300], 100, 4, 100), ([30], 12, 8, 12), ([137], 4096, 2, 4096),
     ([], 1024, 4, 16), ([], 8, 8, 8)],
)  # fmt: skip
def test_a_dry_run_takes_few_samples_and_of_large_frames_and_tokens_few_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: list[int], length: int, samples: int, steps: int
) -> None:
    class StopError(Exception):
        pass

    def made_up(signals: Any, task: Any, count: int, seed: int) -> Any:
        raise StopError(count, signals["signal"].length)

    monkeypatch.setattr("neurozoo.training.train.made_up", made_up)
    model = {
        0: "{name: spikegpt, params: {width: 8, depth: 1, vocabulary: 16}}",
        1: "{name: recurrent}",
        3: "{name: sew-resnet, params: {width: 2, blocks: [1]}}",
    }[len(shape)]
    dtype = "float32" if shape else "int64"
    text = f"""
    schema: 2
    data: {{name: none-installed, expect: {{signal: {{shape: {shape}, length: {length}, dtype: {dtype}}}}}}}
    task: {{name: multiclass, outputs: [a, b]}}
    model: {model}
    """
    (tmp_path / "large.yaml").write_text(textwrap.dedent(text))
    with pytest.raises(StopError) as stopped:
        dry_run(load_recipe(tmp_path / "large.yaml"))
    assert stopped.value.args == (samples, steps)


def test_an_existing_run_folder_is_refused_before_training(trained: Path, recipe: Callable[..., Recipe]) -> None:
    kept = (trained / "summary.json").read_bytes()
    with pytest.raises(RunError, match="already there and not empty"):
        train(recipe(), out=trained)
    assert (trained / "summary.json").read_bytes() == kept


def test_ctrl_c_leaves_a_readable_run(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    class Impatient(Listener):
        def step(self, epoch: int, step: int, steps: int, values: Any) -> None:
            if (epoch, step) == (2, 2):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(), out=tmp_path / "run", listener=Impatient())
    assert [r["epoch"] for r in Run(tmp_path / "run").records()] == [1]
    assert evaluate_run(tmp_path / "run")["metrics"]["test"]["loss"] > 0
    assert not list((tmp_path / "run").rglob("*.partial"))


def test_a_checkpoint_of_another_model_is_refused(trained: Path, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    train(recipe("model.params.hidden=20"), out=tmp_path / "other")
    Run(trained).best.write_bytes(Run(tmp_path / "other").best.read_bytes())
    with pytest.raises(CheckpointError, match="a checkpoint of another model"):
        load(trained)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(NeurozooError, match=r"not finite|the loss is"):
        train(recipe("training.optimizer.lr=1e9", "training.epochs=3"), out=tmp_path / "run")


def test_weights_that_are_not_finite_stop_a_run_whose_loss_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damage(self: SparCH) -> None:
        neurons = self.get_submodule("layers.0")
        neurons.stored["coupling"].data.fill_(float("nan"))

    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(SparCH, "after_step", damage)
    changes = [
        "data={name: none-installed, instead: {name: spikes-synthetic, params: {size: 32}}}",
        "model={name: sparch, params: {hidden: [8]}}",
        "training.initialisation={name: default}",
    ]
    with pytest.raises(NeurozooError, match=r"after epoch 1 weights are NaN or infinite in layers\.0\.stored"):
        train("spiking_recurrent", *changes, out=tmp_path / "run")


def test_without_a_valid_split(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    with StoreWriter(tmp_path / "s", labels=("a", "b", "c"), origin={}) as writer:
        shapes = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
        features = {name: np.ones((9, *shape), np.float32) for name, shape in shapes.items()}
        writer.add("train", features, np.eye(3, dtype=int)[[0, 1, 2] * 3])
    with pytest.raises(DataError, match=r"no samples in its split 'valid'.*train \(9\).*data\.valid="):
        train(recipe(f"data.root={tmp_path / 's'}"), out=tmp_path / "run")
    summary = train(
        recipe(f"data.root={tmp_path / 's'}", "data.valid={fraction: 0.3, seed: 1}", "training.epochs=1"),
        out=tmp_path / "run",
    )
    assert summary["metrics"].keys() == {"valid"}


def test_what_the_run_decided_stands(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    summary = train(recipe("task.params.decision=valid"), out=tmp_path / "run")
    with StoreWriter(tmp_path / "test only", labels=("calm", "angry", "sad"), origin={}) as writer:
        features = {
            m: np.ones((3, *s), np.float32) for m, s in (("text", (6, 5)), ("audio", (8, 4)), ("vision", (7, 3)))
        }
        writer.add("test", features, np.ones((3, 3), dtype=int))
    told = evaluate_run(tmp_path / "run", data_root=str(tmp_path / "test only"))
    assert told["decision"] == summary["decision"]
    (tmp_path / "run" / "summary.json").unlink()
    assert evaluate_run(tmp_path / "run", data_root=str(tmp_path / "test only"))["decision"] == 0.35


def test_other_data_is_refused_in_evaluation(trained: Path, tmp_path: Path) -> None:
    for name, dim, labels in (("dims", 2, ("calm", "angry", "sad")), ("labels", 4, ("calm", "angry"))):
        with StoreWriter(tmp_path / name, labels=labels, origin={}) as writer:
            shapes = {"text": (6, 5), "audio": (8, dim), "vision": (7, 3)}
            features = {m: np.ones((3, *shape), np.float32) for m, shape in shapes.items()}
            writer.add("test", features, np.ones((3, len(labels)), dtype=int))
    with pytest.raises(DataError, match="audio"):
        evaluate_run(trained, data_root=str(tmp_path / "dims"))
    with pytest.raises(DataError, match="calm, angry"):
        evaluate_run(trained, data_root=str(tmp_path / "labels"))


def test_a_run_that_fails_before_its_first_epoch_is_not_in_the_way(
    tmp_path: Path, recipe: Callable[..., Recipe]
) -> None:
    with pytest.raises(UserError, match=r"training\.device is 'cuda:7' and is not available"):
        train(recipe("training.device=cuda:7"), out=tmp_path / "run")
    with pytest.raises(DataError, match="compares two spiking modalities"):
        train(recipe("model.parts.threshold=cross-entropy-ratio", "data.inputs=[text, audio]"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_best_metric_that_valid_does_not_define(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    with StoreWriter(tmp_path / "s", labels=("a", "b", "c"), origin={}) as writer:
        for split, positive in (("train", 1), ("valid", 0)):
            shapes = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
            features = {m: np.random.default_rng(0).normal(size=(8, *shape)) for m, shape in shapes.items()}
            writer.add(split, features, np.full((8, 3), positive))
    summary = train(recipe(f"data.root={tmp_path / 's'}", "training.best=map"), out=tmp_path / "run")
    assert summary["best_epoch"] == 1
    assert any("training.best=map is not defined on valid" in warning for warning in summary["warnings"])


def test_early_stopping(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    options = ["training.epochs=9", "training.early_stopping=2", "training.optimizer.lr=1e-12"]
    summary = train(recipe(*options), out=tmp_path / "run")
    assert summary["epochs"] < 9
    assert summary["best_epoch"] <= summary["epochs"] - 2


def test_training_begins_with_a_models_weights(tmp_path: Path, trained: Path, recipe: Callable[..., Recipe]) -> None:
    # With a step of next to nothing, what it ends with is what it began with.
    still = recipe("training.epochs=1", "training.optimizer.lr=1e-30")
    summary = train(still, out=tmp_path / "on", start=open_trained(trained))
    before, _ = read_tensors(Run(trained).best)
    after, _ = read_tensors(Run(tmp_path / "on").best)
    for name, _ in load(trained).module.named_parameters():
        assert torch.equal(before[name], after[name]), name
    assert summary["started_from"]["sha256"] == sha256(Run(trained).best.read_bytes()).hexdigest()


def test_weights_of_another_model_are_refused_and_nothing_is_left_behind(
    tmp_path: Path, trained: Path, recipe: Callable[..., Recipe]
) -> None:
    with pytest.raises(CheckpointError, match="a checkpoint of another model"):
        train(recipe("model.params.spiking_inner=9"), out=tmp_path / "on", start=open_trained(trained))
    assert not (tmp_path / "on").exists()
