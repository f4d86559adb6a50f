"""Activity budgets: firing rates by layer, and the operations that spikes cause, as the counter counts them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurozoo as nz
from neurozoo.core.kinds import LIFSpec, LISpec
from neurozoo.core.layer import Firing, SpikingLayer, TorchNeuron
from neurozoo.core.model import Model
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import RecipeError, UserError
from neurozoo.evaluation.health import firing_rates
from neurozoo.nn.delays import DelayedLinear
from neurozoo.nn.fan_out import FanOut, fan_outs
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.profiling import without_padding
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.schema import RatePenalty
from neurozoo.registry.registry import default_registry
from neurozoo.training.penalties import operations, penalty
from neurozoo.training.train import dry_run, train

Recipes = Callable[..., Recipe]

# 4 steps, 2 samples, 3 neurons: spikes in all steps, in step 2 of sample 0, and in none.
SPIKES = torch.zeros(4, 2, 3)
SPIKES[:, :, 0] = 1
SPIKES[2, 0, 1] = 1
VALID = torch.ones(4, 2, dtype=torch.bool)
VALID[2:, 1] = False
FAN = torch.tensor([10.0, 100.0, 1000.0])
BACK = torch.tensor([1.0, 2.0, 3.0])


def rates_of(firings: dict[str, Firing]) -> dict[str, Tensor]:
    return {name: firing_rates(firing) for name, firing in firings.items()}


# By hand


@pytest.mark.parametrize(
    ("chosen", "masked", "back", "expected"),
    [
        # 8 spikes of the first neuron and 1 of the second, of 2 samples.
        ({}, False, None, (8 * 10 + 100) / 2 / 1e6),
        ({"weight": 3.0}, False, None, 3 * 90 / 1e6),
        # Of sample 1 two steps are valid.
        ({}, True, None, (6 * 10 + 100) / 2 / 1e6),
        # The last step's spikes return to no step: 6 and 1; of sample 1 the first step's alone.
        ({}, False, BACK, (8 * 10 + 100 + 6 * 1 + 2) / 2 / 1e6),
        ({}, True, BACK, (6 * 10 + 100 + (3 + 1) * 1 + 2) / 2 / 1e6),
        # The part above the budget, relative to it.
        ({"operations": 60.0}, False, None, 0.5),
        ({"operations": 60.0, "weight": 0.2}, True, None, 0.2 * (80 / 60 - 1)),
        ({"operations": 90.0}, False, None, 0.0),
        ({"operations": 1000.0}, False, BACK, 0.0),
    ],
)
def test_operations_by_hand(chosen: dict[str, Any], masked: bool, back: Tensor | None, expected: float) -> None:
    firings = {"a": Firing(SPIKES, SPIKES, 1.0, VALID if masked else None)}
    made = RatePenalty(**({"name": "operations", "weight": 1.0} | chosen))
    found = penalty(made, rates_of(firings), firings, {"a": FanOut(FAN, back)})
    assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-9)


A, B = (1 - 0.1) ** 2 + (1 / 8 - 0.1) ** 2 + 0.1**2, (1 - 0.3) ** 2


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"name": "target", "rates": {"in.a": 0.1, "out.b": 0.3}}, A + B),
        ({"name": "target", "rates": {"in.a": 0.1, "out.b": 0.3}, "over": "mean"}, (A + B) / 4),
        ({"name": "target", "rates": {"out.*": 0.3}}, B),
        ({"name": "target", "rates": {"in.a": 0.1, "*": 0.3}}, A + B),  # the first that matches
        ({"name": "bounds", "low": 0.0, "rates": {"in.*": 0.6, "*": 0.9}}, 0.4 + 0.1),
        ({"name": "squared-bounds", "low": 0.1, "rates": {"in.*": 0.6, "*": 0.9}}, 0.4**2 + 0.1**2 + 0.1**2),
        ({"name": "target", "rate": 0.3, "layers": ("out.*",)}, B),
    ],
)
def test_rates_by_layer_by_hand(chosen: dict[str, Any], expected: float) -> None:
    firings = {"in.a": Firing(SPIKES, SPIKES, 1.0), "out.b": Firing(SPIKES[..., :1], SPIKES[..., :1], 1.0)}
    found = penalty(RatePenalty(**({"weight": 1.0} | chosen)), rates_of(firings), firings)
    assert float(found) == pytest.approx(expected)


# Equal to the counter


def lif(inputs: int, outputs: int, recurrent: bool = False, self_connections: bool = True) -> SpikingLayer:
    back = nn.Linear(outputs, outputs, bias=False) if recurrent else None
    synapse = nn.Linear(inputs, outputs)
    with torch.no_grad():
        synapse.weight.mul_(4)  # enough for spikes
    return SpikingLayer(TorchNeuron(LIFSpec()), synapse, recurrent=back, self_connections=self_connections)


def readout(inputs: int) -> SpikingLayer:
    return SpikingLayer(TorchNeuron(LISpec()), nn.Linear(inputs, 3))


def neurons() -> SpikingLayer:
    return SpikingLayer(TorchNeuron(LIFSpec()))


def convolution(*shape: int, **chosen: Any) -> nn.Module:
    made = nn.Conv2d(*shape, **chosen)
    with torch.no_grad():
        made.weight.mul_(6)
    return nz.EachStep(made)


NETS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(lif(36, 16), lif(16, 8), readout(8)),
    "a real layer after the readout": lambda: nn.Sequential(lif(36, 16), readout(16), nn.Linear(3, 2)),
    "recurrent": lambda: nn.Sequential(lif(36, 16, True), lif(16, 8, True, False), readout(8)),
    "convolutional": lambda: nn.Sequential(
        nn.Unflatten(2, (1, 6, 6)), convolution(1, 4, 3), neurons(), convolution(4, 3, 3, stride=2, padding=1),
        neurons(), convolution(3, 4, 1, groups=1), neurons(), nn.Flatten(2), readout(16),
    ),
    "summed": lambda: nn.Sequential(lif(36, 16), Residual(16), readout(16)),
}  # fmt: skip


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = lif(width, width)

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = x + self.inner(x)
        return summed


@pytest.mark.parametrize("name", NETS)
def test_it_is_what_the_counter_counts(name: str) -> None:
    torch.manual_seed(0)
    net, x = NETS[name]().train(), torch.rand(7, 5, 36) + 0.1
    before = {key: value.clone() for key, value in net.state_dict().items()}
    drawn = torch.get_rng_state()
    fan = fan_outs(net, x[:, :2])
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())
    counts = nz.count_operations(net, x)
    spiking = spiking_layers(net)
    with torch.no_grad(), recorded(net.eval()) as firings:
        net(x)
    fired = {key: firing for key, firing in firings.items() if key in spiking}
    found = operations(rates_of(fired), fired, fan)
    assert 0 < counts.acs < counts.dense
    assert float(found) == pytest.approx(counts.a_sample(counts.acs), rel=1e-6)


def test_a_spike_alone_in_the_window_of_a_pool_counts_as_the_counter_counts_it() -> None:
    spikes = torch.zeros(1, 1, 1, 6, 6)
    spikes[..., 1, 2] = spikes[..., 4, 4] = 1
    for pool in (nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)):
        net = nn.Sequential(neurons(), nz.EachStep(pool, nn.Conv2d(1, 5, 2)))
        fan = fan_outs(net, torch.ones(1, 1, 1, 6, 6))["0"].ahead
        with torch.no_grad(), OperationCounter(net.eval()) as counter:
            net(spikes * 100)
        counts = counter.counts(1)
        # A mean is multiplied, so that the counter has its pairs under another name.
        assert float((fan * spikes.flatten()).sum()) == counts.acs + counts.macs > 0


def test_a_delayed_spike_counts_at_each_synapse() -> None:
    net = nn.Sequential(neurons(), SpikingLayer(TorchNeuron(LIFSpec()), DelayedLinear(4, 3, kernel=5, elements=2)))
    found = fan_outs(net, torch.rand(6, 2, 4))
    assert found["0"].ahead.tolist() == [6.0] * 4
    assert found["1"].ahead.tolist() == [0.0] * 3


def ragged(model: Model, valid: Tensor) -> Batch:
    torch.manual_seed(1)
    (name,) = model.problem.signals
    return Batch({name: Signal(torch.rand(*valid.shape, 3) * 3, valid)}, torch.arange(len(valid)) % 2)


def test_padding_counts_nothing_and_the_batch_does_not_matter() -> None:
    torch.manual_seed(0)
    model = nz.create_model("recurrent", inputs=(3,), length=6, outputs=2, hidden=[8, 6]).eval()
    valid = torch.arange(6) < torch.tensor([[6], [4], [2], [5]])
    batch = ragged(model, valid)
    fan = fan_outs(model, batch)

    def counted(some: Batch) -> float:
        with torch.no_grad(), recorded(model) as firings:
            model(some)
        fired = {name: firings[name] for name in spiking_layers(model)}
        return float(operations(rates_of(fired), fired, fan))

    whole = counted(batch)
    with torch.no_grad(), OperationCounter(model) as counter:
        for part in without_padding(batch):
            model(part)
    counts = counter.counts(len(batch))
    assert whole == pytest.approx(counts.a_sample(counts.acs), rel=1e-6)
    assert whole > 0
    alone = [counted(one(batch, place)) for place in range(4)]
    assert sum(alone) / 4 == pytest.approx(whole, rel=1e-6)


def one(batch: Batch, place: int) -> Batch:
    here = slice(place, place + 1)
    return Batch({name: Signal(s.values[here], s.mask[here]) for name, s in batch.signals.items()})


# In a training


def test_without_spikes_it_is_0_and_its_gradient_lowers_the_rates() -> None:
    torch.manual_seed(0)
    net, x = NETS["recurrent"](), torch.rand(7, 5, 36) + 0.1
    chosen, fan = RatePenalty(name="operations", weight=1e5), fan_outs(net, x)

    def measured(change: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        with recorded(net, change) as firings:
            net(x)
        fired = {name: firings[name] for name in spiking_layers(net)}
        rates = rates_of(fired)
        found = penalty(chosen, rates, fired, fan)
        assert isinstance(found, Tensor)
        return found, rates

    assert float(measured(lambda name, own: torch.zeros_like(own.spikes))[0].detach()) == 0
    before, rates = measured()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        measured()[0].backward()
        optimizer.step()
    after, lower = measured()
    assert float(after.detach()) < 0.9 * float(before.detach())
    assert all(bool(lower[name].mean() < rates[name].mean()) for name in rates)
    kept = measured()[0]
    silent = penalty(chosen.model_copy(update={"gradient": False}), *fired_and_rates(net, x), fan)
    assert isinstance(silent, Tensor)
    assert not silent.requires_grad
    assert float(silent) == pytest.approx(float(kept.detach()))


def fired_and_rates(net: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Firing]]:
    with recorded(net) as firings:
        net(x)
    fired = {name: firings[name] for name in spiking_layers(net)}
    return rates_of(fired), fired


def test_a_budget_that_is_kept_has_no_gradient() -> None:
    torch.manual_seed(0)
    net, x = NETS["linear"](), torch.rand(7, 5, 36) + 0.1
    rates, fired = fired_and_rates(net, x)
    found = penalty(RatePenalty(name="operations", operations=1e6, weight=1.0), rates, fired, fan_outs(net, x))
    assert isinstance(found, Tensor)
    assert float(found.detach()) == 0
    found.backward()  # type: ignore[no-untyped-call]
    assert all(each.grad is None or not each.grad.any() for each in net.parameters())


SMALL = [
    "data={name: none-here, instead: {name: frames-synthetic, params: {size: 12}}}",
    "training.epochs=1",
    "model.params={channels: [4, 6]}",
]


def test_each_epoch_logs_penalty_and_operations(tmp_path: Path) -> None:
    lines = [*SMALL, "training.penalties=[{name: operations, weight: 2, operations: 100}]"]
    checked = load_recipe("spiking_convnet", lines, registry=default_registry())
    train(checked, out=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["train"]
    assert record["operations"] > 100
    # One batch an epoch or several: the hinge is linear where every batch is above it.
    assert record["penalty_operations"] == pytest.approx(2 * (record["operations"] / 100 - 1), rel=1e-4)


def refused(recipe: str, chosen: str, *more: str) -> str:
    with pytest.raises(UserError) as refusal:
        dry_run(load_recipe(recipe, [*more, f"training.penalties=[{chosen}]"], registry=default_registry()))
    return str(refusal.value)


def test_names_and_patterns_that_match_nothing_are_refused_with_the_layers_there_are() -> None:
    wrong = "{name: target, weight: 1, rates: {blocks.0: 0.1, 'hidden.*': 0.1, blocks.7: 0.2}}"
    said = refused("spiking_convnet", wrong, *SMALL)
    assert "(penalty_target): the model has no spiking layer called hidden.*, blocks.7; there are: blocks.0" in said
    said = refused("spiking_convnet", "{name: operations, weight: 1, layers: ['heads.*']}", *SMALL)
    assert "(penalty_operations): the model has no spiking layer called heads.*; there are: blocks.0, blocks.1" in said


def test_layers_whose_spikes_reach_no_synapse_are_refused(recipe: Recipes) -> None:
    last = "{name: operations, weight: 1, layers: ['*.second']}"
    with pytest.raises(
        UserError, match=r"no synapse gets the spikes of \*.second; layers whose spikes reach one: .+first"
    ):
        dry_run(recipe(f"training.penalties=[{last}]"))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("{name: total, rates: {a: 0.1}}", "total has no rates"),
        ("{name: target, rate: 0.1, rates: {a: 0.1}}", "leave rate out"),
        ("{name: target, layers: [a], rates: {a: 0.1}}", "leave layers out"),
        ("{name: bounds, rates: {a: 0.01}}", "0.01 of a is below low = 0.02"),
        ("{name: target, rates: {a: 1.5}}", "rates"),
        ("{name: target, rates: {}}", "rates"),
        ("{name: bounds, operations: 100}", "bounds has no budget"),
        ("{name: operations, over: mean}", "leave out over and samples"),
        ("{name: operations, operations: 0}", "operations"),
    ],
)
def test_what_does_not_go_together(chosen: str, said: str, recipe: Recipes) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(f"training.penalties=[{chosen}]")
