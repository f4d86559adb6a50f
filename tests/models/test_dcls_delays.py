"""The net of learned delays: its equations at other sizes, its quirks, and that its neurons are awake and it trains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.errors import CheckpointError, UserError
from neurozoo.models.authors_weights import load_authors_weights
from neurozoo.models.build import build_model, expected_problem
from neurozoo.models.dcls_delays import DelayNet
from neurozoo.nir.export.model_graph import model_graph
from neurozoo.nir.export.tracing import folded, sample_batch, trace
from neurozoo.recipe.recipe import load_recipe
from neurozoo.runs.loading import load
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.training.initialisation import initialise_fluctuation_driven
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.train import train


def problem(inputs: int = 700, length: int = 100, outputs: int = 20) -> Problem:
    task = Multiclass([f"class {n}" for n in range(outputs)])
    return Problem({"spikes": SignalShape((inputs,), length)}, task)


def made(stated: Problem, **params: Any) -> DelayNet:
    return DelayNet(stated, lambda slot: None, TorchNeuron, **params)


def spikes(samples: int, inputs: int = 700, length: int = 100, rate: float = 0.014, seed: int = 0) -> torch.Tensor:
    """``[B, L, N]``, noise of about the density of SHD."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(samples, length, inputs, generator=generator) < rate).float()


def test_its_neurons_are_awake() -> None:
    torch.manual_seed(0)
    model = made(problem(), hidden=(64, 64), pool=5)
    initialise_fluctuation_driven(model, Batch.of({"spikes": spikes(8)}), 0.2)
    for mode in (model.eval(), model.train()):
        with recorded(mode) as firings, torch.no_grad():
            mode(Batch.of({"spikes": spikes(8, seed=1)}))
        for name in spiking_layers(model):
            rate = firings[name].spikes.mean((0, 1))
            assert 0.01 <= rate.mean() <= 0.5, (name, float(rate.mean()))
            assert (rate == 0).float().mean() < 0.2, name


@pytest.mark.parametrize(("padding", "seen"), [("masked", False), ("visible", True)])
def test_visible_padding_changes_a_prediction(padding: str, seen: bool) -> None:
    torch.manual_seed(0)
    model = made(problem(12, 10, 3), hidden=(16,), kernel=5, padding=padding).eval()
    values, valid = spikes(2, 12, 10, 0.3), torch.arange(10) < torch.tensor([[6], [10]])
    values = values.masked_fill(~valid[..., None], 0.0)
    with torch.no_grad():
        together = model(Batch({"spikes": Signal(values, valid)}))
        alone = model(Batch({"spikes": Signal(values[:1, :6], valid[:1, :6])}))
    assert torch.allclose(together[:1], alone, atol=1e-6) is not seen


def by_the_equations(model: DelayNet, x: torch.Tensor, rounded: bool) -> torch.Tensor:
    """The published outputs ``[B, K]`` of ``[T, B, N]``, step by step and delay by delay."""
    *hidden, readout = model.get_submodule("layers").children()
    for layer in (*hidden, readout):
        delays = readout.synapse if layer is readout else layer.synapse.delays
        half = delays.kernel // 2
        shares = []
        for m in range(delays.kernel):
            if rounded:
                shares.append((delays.position.round().clamp(-half, half) + half == m).to(x))
            else:
                shares.append(torch.exp(-(((m - half - delays.position) / (delays.width + 0.27)) ** 2) / 2))
        whole = sum(shares) + 1e-7
        y = x.new_zeros(len(x) + half, x.shape[1], len(delays.weight))
        for m, share in enumerate(shares):
            weight, delay = (delays.weight * share / whole).sum(2), delays.kernel - 1 - m
            for t in range(len(x)):
                if t + delay < len(y):
                    y[t + delay] += x[t] @ weight.T
        v, made = torch.zeros_like(y[0]), []
        keep = 1 - 1 / 1.5
        if layer is not readout:
            y = layer.synapse.norm(y.flatten(0, 1)).view_as(y)
        for now in y:
            v = keep * v + now
            made.append(v if layer is readout else (v >= 1).to(v))
            v = v if layer is readout else v * (v < 1)
        x = torch.stack(made)
    return torch.softmax(x, -1).sum(0)


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize("elements", [1, 2])
def test_it_computes_the_equations(elements: int, mode: str) -> None:
    torch.manual_seed(5)
    params = {"hidden": (10, 8, 6), "kernel": 7, "elements": elements, "tau": 1.5, "width": 0.8, "dropout": 0.0}
    model = made(problem(9, 12, 4), **params, readout="softmax", padding="visible").double()
    values = spikes(3, 9, 12, 0.3).double()
    batch = Batch.of({"spikes": values})
    initialise_fluctuation_driven(model, batch, 0.2)
    with torch.no_grad():
        found = model.train(mode == "training")(batch)
        torch.testing.assert_close(found, by_the_equations(model, values.transpose(0, 1), mode == "evaluation"))


def test_each_layer_lengthens_the_sequence_and_a_step_has_no_future() -> None:
    torch.manual_seed(0)
    stated = problem(12, 10, 3)
    model = made(stated, hidden=(16, 8), kernel=9, dropout=0.0).eval()
    values = spikes(2, 12, 10, 0.3)
    with recorded(model) as firings, torch.no_grad():
        model(Batch.of({"spikes": values}))
    assert [len(each.spikes) for each in firings.values()] == [14, 18, 22]
    task = Multiclass(stated.task.outputs, per_step=True)
    model = made(replace(stated, task=task), hidden=(16, 8), kernel=9)
    initialise_fluctuation_driven(model.eval(), Batch.of({"spikes": values}), 0.3)
    changed = values.clone()
    changed[:, 6:] = 1 - changed[:, 6:]
    with torch.no_grad():
        one, two = (model(Batch.of({"spikes": each})) for each in (values, changed))
    assert one.shape == (2, 10, 3)
    assert torch.equal(one[:, :6], two[:, :6])
    assert not torch.equal(one[:, 6:], two[:, 6:])


def test_neighbouring_inputs_are_summed() -> None:
    torch.manual_seed(0)
    model = made(problem(12, 10, 3), hidden=(16,), kernel=5, pool=3).eval()
    few = made(problem(4, 10, 3), hidden=(16,), kernel=5).eval()
    few.load_state_dict(model.state_dict())
    values = spikes(2, 12, 10, 0.3)
    summed = torch.stack([values[..., n : n + 3].sum(-1) for n in range(0, 12, 3)], -1)
    with torch.no_grad():
        assert torch.equal(model(Batch.of({"spikes": values})), few(Batch.of({"spikes": summed})))


@pytest.mark.parametrize(
    ("params", "said"),
    [({"kernel": 8}, "kernel: 8 has no middle step; give an odd number, such as 9"), ({"pool": 9}, "pool: 9 does not")],
)
def test_sizes_that_cannot_be_are_refused(params: dict[str, int], said: str) -> None:
    def build() -> None:
        recipe = load_recipe("dcls_delays_shd", [f"model.params.{key}={value}" for key, value in params.items()])
        build_model(recipe, expected_problem(recipe)[0])

    with pytest.raises(UserError, match=said):
        build()


def test_delays_of_synapses_are_refused_by_an_export() -> None:
    model = made(problem(12, 10, 3), hidden=(8,), kernel=5).eval()
    traced = trace(folded(model), sample_batch(model.problem))
    with pytest.raises(
        UserError, match=r"layers\.0\.synapse: each of its synapses has a delay, and NIR's Delay has one"
    ):
        model_graph(traced, dt=1e-3, metadata={})


def test_the_width_of_the_authors_is_one_number() -> None:
    model = made(problem(3, 4, 2), hidden=(2,), kernel=3)
    theirs = {
        "model.0.weight": torch.zeros(2, 3, 1),
        "model.0.P": torch.ones(1, 2, 3, 1),
        "model.0.SIG": torch.full((1, 2, 3, 1), 0.5),
        **{f"model.1.{name}": torch.ones(2) for name in ("weight", "bias", "running_mean", "running_var")},
        "model.4.weight": torch.zeros(2, 2, 1),
        "model.4.P": torch.ones(1, 2, 2, 1),
        "model.4.SIG": torch.full((1, 2, 2, 1), 0.25),
    }
    load_authors_weights(model, theirs)
    widths = [float(value) for name, value in model.named_buffers() if name.endswith("width")]
    assert widths == [0.5, 0.25]
    theirs["model.4.SIG"][0, 0, 0, 0] = 0.3
    with pytest.raises(CheckpointError, match=r"the elements of 'model.4.SIG' differ, and 'layers.1.synapse.width' is"):
        load_authors_weights(model, theirs)


def test_a_training_clamps_narrows_reports_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "data"))
    small = [
        "data={name: none-installed, instead: {name: spikes-synthetic, params: {size: 64}}}",
        "task.outputs=null",
        "model.params={hidden: [16], kernel: 9, narrowing: 2.0}",
        "training.epochs=2",
        "training.batch_size=32",
        "training.optimizer.groups.position.lr=50.0",
    ]
    train("dcls_delays_shd", *small, out=tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    reports = [record["reports"] for record in records if "reports" in record]
    name = "layers.0.synapse.weight"
    # Measured before an epoch's end moves the schedule.
    assert [each[f"{name}.width"] for each in reports] == pytest.approx([4.0, 4.0 * (0.23 / 4) ** 0.5])
    assert 0 < reports[1][f"{name}.rounding_gap"] < reports[0][f"{name}.rounding_gap"]
    model = load(tmp_path / "run").module
    positions = [value for key, value in model.named_parameters() if key.endswith("position")]
    assert all(each.abs().max() == 4 for each in positions)


@pytest.mark.parametrize("form", ["", "_corrected"])
@pytest.mark.parametrize("data", ["shd", "ssc"])
def test_its_recipes_train_delays_faster_than_weights(
    data: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path))
    recipe = load_recipe(f"dcls_delays_{data}{form}")
    model = build_model(recipe, expected_problem(recipe)[0])
    groups = {group.get("role"): group for group in make_optimizer(recipe, model).param_groups}
    assert {role: (group["lr"], group["weight_decay"]) for role, group in groups.items()} == {
        None: (0.005, 1e-5),
        "norm": (0.005, 0.0),
        "position": (0.1, 0.0),
    }
