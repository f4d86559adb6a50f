from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from neurozoo.compare.backends import Backend, compare, declared
from neurozoo.compare.entry_points import Plan, compare_model
from neurozoo.compare.result import Comparison
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.neuron import Neuron
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import NeurozooError, SpikingError, UnknownNameError, UserError
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.reporting.backend_comparison import as_text
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression

TASK = Multilabel(("calm", "angry", "sad"))
BACKENDS = ("torch", "spikingjelly", "norse", "snntorch")


class Model(nn.Module):
    """Linear, LIF, linear, LIF, linear; a threshold for each sample."""

    def __init__(self, neuron: Callable[[LIFSpec], Neuron], gain: float = 4.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.out = nn.Linear(5, 16), nn.Linear(16, 8), nn.Linear(8, 3)
        self.level = nn.Parameter(torch.tensor(0.8))
        self.lif1 = SpikingLayer(neuron(LIFSpec()))
        self.lif2 = SpikingLayer(neuron(LIFSpec(tau=3.0, v_reset=None)))
        self.gain = gain

    def forward(self, batch: Batch) -> Tensor:
        x = batch.signals["audio"].values  # [B, L, 5]
        level = self.level * (1 + torch.arange(len(batch)).reshape(1, -1, 1, 1) / 10)
        spikes = self.lif1(self.first(x).expand(4, -1, -1, -1) * self.gain, level)
        rates = self.lif2(self.second(spikes) * self.gain, self.level).mean((0, 2))
        logits: Tensor = self.out(rates)
        return logits


class Late(TorchNeuron):
    """Fires a little too late: a hundredth above the threshold."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, state, threshold + 0.01, params)


class OtherSurrogate(TorchNeuron):
    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(replace(spec, surrogate="sigmoid"))


class Rounds(TorchNeuron):
    """The same equation, written so that it rounds otherwise; fires one unit early at that."""

    def step(self, current, state, threshold, params=None):
        level = torch.as_tensor(threshold, dtype=current.dtype)
        return super().step(current, state, torch.nextafter(level, -torch.ones_like(level)), params)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 7, 5, generator=generator)
    labels = (torch.rand(6, 3, generator=generator) < 0.5).float()
    return Batch.of({"audio": x}, {"audio": torch.ones(6, 7, dtype=torch.bool)}, labels)


def against(
    wrong: type[Neuron], *batches: Batch, exact: bool = True, native: bool = False, gain: float = 4.0
) -> Comparison:
    neurons: Mapping[str, type[Neuron]] = {"torch": TorchNeuron, "other": wrong}
    backends = [Backend("torch"), Backend("other", exact, native)]
    return compare(lambda name: Model(neurons[name], gain), batches, backends, task=TASK, repeats=1)


def shown(comparison: Comparison) -> str:
    return as_text(comparison)


def test_the_backends_are_equivalent(batch: Batch) -> None:
    registry = default_registry()
    comparison = compare(
        lambda name: Model(registry.resolve("neuron", name)),
        [batch],
        [declared(name) for name in BACKENDS],
        task=TASK,
        repeats=1,
    )
    assert comparison.verdict == "equivalent", shown(comparison)
    assert not comparison.empty
    assert [backend.name for backend in comparison.backends] == list(BACKENDS)
    assert [backend.exact for backend in comparison.backends] == [True, True, True, False]
    for backend in comparison.backends:
        assert [layer.name for layer in backend.layers] == ["lif1", "lif2"]
        assert [layer.spikes for layer in backend.layers] == [4 * 6 * 7 * 16, 4 * 6 * 7 * 8]
        assert all(layer.mismatches == 0 and layer.driven is None for layer in backend.layers)
        assert all(0.05 < layer.rate <= layer.active < 1 for layer in backend.layers)
        assert backend.gradient_difference < (1e-5 if backend.exact else 1e-4)
        assert backend.milliseconds > 0
        assert backend.time_ratio == pytest.approx(backend.milliseconds / comparison.backends[0].milliseconds)
        assert backend.peak_bytes is not None
        assert backend.peak_bytes > 4 * 6 * 7 * 16 * 4  # the first layer's currents at least
        assert backend.metrics == comparison.backends[0].metrics
        assert backend.verdict == ("reference" if backend.name == "torch" else "equivalent")
    assert comparison.backends[2].versions.keys() == {"torch", "neurozoo-norse", "norse"}


def test_it_goes_into_json_and_onto_the_screen(batch: Batch) -> None:
    comparison = against(Late, batch)
    content = json.loads(json.dumps(comparison.to_dict()))
    assert content["verdict"] == "different"
    assert content["empty"] is False
    assert content["backends"][1]["verdict"] == "different"
    assert content["backends"][1]["layers"][0]["alone"]["agreement"]["mismatches"] > 0
    text = shown(comparison)
    assert "a model: 6 samples in 1 batch" in text
    assert "other is different" in text
    assert "verdict: different (different: other; compared with torch)" in text


@pytest.mark.parametrize("exact", [True, False])
def test_other_spikes_are_found_and_placed(batch: Batch, exact: bool) -> None:
    comparison = against(Late, batch, exact=exact)
    assert comparison.different
    first = comparison.backends[1].layers[0]
    assert first.mismatches > 0
    assert first.first is not None
    assert first.first == comparison.backends[1].first
    assert first.alone.agreement.beyond > 0
    assert any("lif1" in problem and "spikes differ" in problem for problem in comparison.backends[1].problems)
    assert comparison.backends[0].problems == ()


def test_another_gradient_is_found_and_named(batch: Batch) -> None:
    result = against(OtherSurrogate, batch).backends[1]
    assert result.verdict == "different"
    assert result.output_difference == 0
    assert result.gradient_difference > 0.01
    assert result.worst_gradient in dict(Model(TorchNeuron).named_parameters())
    assert any(f"the gradient of {result.worst_gradient} differs" in problem for problem in result.problems)


def test_a_flip_within_rounding_is_excused_to_an_inexact_backend_only(batch: Batch) -> None:
    x = batch.signals["audio"].values.round()

    class Ties(Model):
        """Currents on a grid, so that some membranes stand one unit below the threshold."""

        def forward(self, batch: Batch) -> Tensor:
            below = 1 - 2.0**-24
            currents = batch.signals["audio"].values.expand(3, -1, -1, -1) * 2 * below + self.first.weight.sum() * 0
            rates = self.lif1(currents, 1.0).mean((0, 2))
            used = self.lif2(rates.expand(2, -1, -1) * 8 + self.level * 0, 1.0).mean(0)
            logits: Tensor = self.out(torch.cat([used, used], -1)[..., :8])
            return logits

    grid = replace(batch, signals={"audio": Signal(x, batch.signals["audio"].valid)})
    neurons: Mapping[str, type[Neuron]] = {"torch": TorchNeuron, "other": Rounds}

    def run(exact: bool, names: Sequence[str] = ("torch", "other")) -> Comparison:
        backends = [Backend(name, exact or name == "torch") for name in names]
        return compare(lambda name: Ties(neurons[name]), [grid], backends, task=TASK, repeats=1)

    lenient, strict = run(False), run(True)
    layer = lenient.backends[1].layers[0]
    assert layer.mismatches > 0
    assert layer.alone.agreement.mismatches > 0
    assert layer.alone.agreement.beyond == 0
    assert lenient.verdict == "equivalent", shown(lenient)
    assert strict.verdict == "different"
    # The order decides nothing: an exact backend is not blamed for an inexact reference.
    assert run(False, ("other", "torch")).verdict == "equivalent"


def test_a_silent_model_proves_nothing_and_is_driven(batch: Batch) -> None:
    comparison = against(TorchNeuron, batch, gain=1e-3)
    assert comparison.empty
    assert comparison.silent == ("lif1", "lif2")
    assert comparison.verdict == "equivalent"
    for layer in comparison.backends[1].layers:
        assert layer.active == 0
        assert layer.driven is not None
        assert 0.05 <= layer.driven.active <= 0.5
        assert layer.driven.agreement.spikes == layer.spikes
    assert "EMPTY: less than 1 % of the neurons fire in lif1, lif2: equal spikes prove nothing" in shown(comparison)


@pytest.mark.parametrize("wrong", [Late, OtherSurrogate])
def test_a_difference_that_silence_hides_is_found_by_driving(wrong: type[Neuron], batch: Batch) -> None:
    comparison = against(wrong, batch, gain=1e-3)
    assert all(layer.mismatches == 0 for layer in comparison.backends[1].layers)
    assert any("lif1 driven by a current" in problem for problem in comparison.backends[1].problems)


def test_different_weights_are_an_error(batch: Batch) -> None:
    def build(name: str) -> nn.Module:
        model = Model(TorchNeuron)
        if name == "other":
            nn.init.zeros_(model.second.bias)
        return model

    with pytest.raises(NeurozooError, match=r"torch and other do not have the same weights: 1 tensors differ, such as"):
        compare(build, [batch], [Backend("torch"), Backend("other")], task=TASK)


def test_what_cannot_be_compared_is_the_users_error(batch: Batch) -> None:
    def build(_name: str) -> nn.Module:
        return Model(TorchNeuron)

    torch_alone, two = [Backend("torch")], [Backend("torch"), Backend("norse")]
    with pytest.raises(UserError, match="give two or more different ones"):
        compare(build, [batch], torch_alone, task=TASK)
    with pytest.raises(UserError, match="give two or more different ones"):
        compare(build, [batch], torch_alone * 2, task=TASK)
    with pytest.raises(UserError, match="the batch has no targets"):
        compare(build, [replace(batch, target=None)], two, task=TASK)
    with pytest.raises(UnknownNameError, match=r"no backend is called 'nurse'; there are: .*did you mean 'norse'"):
        declared("nurse")


def test_a_model_without_spikes_cannot_be_compared(batch: Batch) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(5, 3)

        def forward(self, batch: Batch) -> Tensor:
            logits: Tensor = self.out(batch.signals["audio"].values.mean(1))
            return logits

    def build(_name: str) -> nn.Module:
        torch.manual_seed(0)
        return Plain()

    with pytest.raises(UserError, match="Plain has no spiking layer"):
        compare(build, [batch], [Backend("torch"), Backend("norse")], task=TASK)


def test_gradients_of_models_are_left_as_they_were_found(batch: Batch) -> None:
    built = []

    def build(name: str) -> nn.Module:
        built.append(Model(TorchNeuron))
        return built[-1]

    compare(build, [batch], [Backend("torch"), Backend("norse")], task=TASK, repeats=1)
    assert all(p.grad is None for model in built for p in model.parameters())


class FromTheSecondBatch(Late):
    """Right on the first batch, which has 6 samples, and late on others."""

    def step(self, current, state, threshold, params=None):
        return TorchNeuron.step(self, current, state, threshold + (0.01 if len(current) < 6 else 0), params)


def test_everything_is_summed_over_batches(batch: Batch) -> None:
    rest = Batch.of(
        {"audio": batch.signals["audio"].values[:4]}, {"audio": batch.signals["audio"].mask[:4]}, batch.target[:4]
    )
    alone, both = against(FromTheSecondBatch, batch), against(FromTheSecondBatch, batch, rest)
    assert alone.verdict == "equivalent", shown(alone)
    result = both.backends[1]
    assert (both.samples, both.batches, result.verdict) == (10, 2, "different")
    assert result.spikes == 4 * 10 * 7 * 24
    assert result.first is not None
    assert (result.first.layer, result.first.batch) == ("lif1", 1)
    assert f"first in lif1, step {result.first.step}, batch 1" in shown(both)
    first = alone.backends[1].layers[0]
    assert result.layers[0].alone.agreement.spikes == first.spikes * 10 // 6


def test_a_native_backend_is_another_model_or_none(batch: Batch) -> None:
    other = against(Late, batch, native=True, exact=False)
    assert (other.verdict, other.backends[1].verdict) == ("different", "another model")
    assert other.backends[1].problems
    assert "other is different" not in shown(other)
    assert against(TorchNeuron, batch, native=True, exact=False).backends[1].verdict == "equivalent"


class WithOwnLibrary(TorchNeuron):
    """Runs a function of the library ``json``, and says so."""

    runs = "json: dumps"

    def step(self, current, state, threshold, params=None):
        json.dumps({})
        return super().step(current, state, threshold, params)


def test_what_of_its_library_a_backend_runs(batch: Batch) -> None:
    neurons: Mapping[str, type[Neuron]] = {"torch": TorchNeuron, "other": WithOwnLibrary}
    backends = [Backend("torch"), Backend("other", libraries=("json",))]
    found = compare(lambda name: Model(neurons[name]), [batch], backends, task=TASK, repeats=1)
    assert found.backends[1].calls["json:dumps"] == 4  # one a step
    assert found.backends[0].calls == {}
    assert "other declares: json: dumps" in shown(found)
    assert "dumps (4)\n" in shown(found)


def test_progress_is_told(batch: Batch) -> None:
    heard: list[tuple[str, int, int]] = []
    compare(
        lambda _name: Model(TorchNeuron),
        [batch, batch],
        [Backend("torch"), Backend("other")],
        task=TASK,
        repeats=1,
        told=lambda *what: heard.append(what),
    )
    assert heard == [
        ("comparing", 0, 2),
        ("comparing", 1, 2),
        ("counting operations", 2, 2),
        ("measuring time and memory", 2, 2),
    ]


@pytest.mark.parametrize("name", ["smile_mosei", "smile_mosei_corrected"])
def test_a_recipes_model_on_two_backends(name: str) -> None:
    overrides = ["data.instead.params.size=64", "model.params.spiking_inner=16", "training.batch_size=8"]
    recipe = load_recipe(name, overrides, backend="torch", registry=default_registry())
    before = torch.random.get_rng_state()
    comparison = compare_model(recipe, ["torch", "snntorch"], Plan(2, 3, repeats=1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (comparison.samples, comparison.batches) == (6, 2)
    assert comparison.verdict == "equivalent", shown(comparison)
    assert len(comparison.backends[1].layers) == 4
    assert math.isfinite(comparison.backends[1].time_ratio)
    assert comparison.setting.synthetic


def test_operations_are_those_of_the_backends_own_spikes(batch: Batch) -> None:
    backends = [Backend("torch"), Backend("late", native=True)]
    found = compare(
        lambda name: Model({"torch": TorchNeuron, "late": Late}[name]), [batch, batch], backends, task=TASK, repeats=1
    )
    torch_, late = found.backends
    # The first linear and the last one multiply; what the second takes hangs on what the first neurons fired.
    rate = next(layer.rate for layer in torch_.layers if layer.name == "lif1")
    assert torch_.acs == pytest.approx(rate * 4 * 7 * 16 * 8, rel=1e-6)
    assert 0 < late.acs < torch_.acs
    assert "operations a sample" in shown(found)


class Refuses(TorchNeuron):
    @classmethod
    def refusal(cls, spec):
        return "Refuses runs nothing"

    def __init__(self, spec: LIFSpec) -> None:
        if reason := self.refusal(spec):
            raise SpikingError(reason)


def test_a_backend_that_does_not_run_the_neurons_is_named_with_the_reason(batch: Batch) -> None:
    neurons: Mapping[str, type[Neuron]] = {"torch": TorchNeuron, "same": TorchNeuron, "none": Refuses}

    def run(*names: str) -> Comparison:
        backends = [Backend(name) for name in names]
        return compare(lambda name: Model(neurons[name]), [batch], backends, task=TASK, repeats=1)

    found = run("torch", "none", "same")
    assert [backend.name for backend in found.backends] == ["torch", "same"]
    assert found.refused == {"none": "Refuses runs nothing"}
    assert found.verdict == "equivalent"
    assert "none: Refuses runs nothing" in shown(found)
    assert "does not run it: none" in shown(found)
    with pytest.raises(SpikingError, match="the reference does not run this model: none: Refuses runs nothing"):
        run("none", "torch")
    with pytest.raises(SpikingError, match="every other backend does not run this model: none"):
        run("torch", "none")


class OffByAMillionth(TorchNeuron):
    """Spikes a little too high, so that the outputs are off by some millionths."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        spikes, after = super().scan(currents, state, threshold, params)
        return spikes * (1 + 1e-5), after


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_quantities_are_judged_whatever_their_unit(batch: Batch, unit: float) -> None:
    task = Regression(("a", "b", "c"))
    task.prepare(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * unit)
    target = replace(batch, target=torch.rand(6, 3) * unit)

    def run(neuron: type[Neuron]) -> Comparison:
        neurons: Mapping[str, type[Neuron]] = {"torch": TorchNeuron, "other": neuron}
        backends = [Backend("torch"), Backend("other")]
        return compare(lambda name: Model(neurons[name]), [target], backends, task=task, repeats=1)

    assert run(TorchNeuron).verdict == "equivalent"
    result = run(OffByAMillionth).backends[1]
    assert any(problem.startswith("predictions differ by") for problem in result.problems)
    assert result.prediction_difference == pytest.approx(result.output_difference * unit, rel=1)
    assert result.metrics.keys() == {metric.name for metric in task.metrics}


def test_per_step_only_the_steps_that_count_are_compared(batch: Batch) -> None:
    class PerStep(Model):
        def forward(self, batch: Batch) -> Tensor:
            x = batch.signals["audio"].values.transpose(0, 1)  # [T, B, 5]
            fired = self.lif2(self.second(self.lif1(self.first(x) * self.gain)) * self.gain)
            outputs: Tensor = self.out(fired).transpose(0, 1)
            return outputs + 0 * self.level

    valid = torch.arange(7) < torch.tensor([7, 6, 5, 4, 3, 2])[:, None]
    steps = replace(batch, target=torch.randint(0, 3, (6, 7)), target_valid=valid)
    backends = [Backend("torch"), Backend("norse")]
    registry = default_registry()
    task = Multiclass(("a", "b", "c"), per_step=True)
    found = compare(lambda name: PerStep(registry.resolve("neuron", name)), [steps], backends, task=task, repeats=1)
    assert found.verdict == "equivalent", shown(found)
    assert found.task == "multiclass"
    assert "balanced_accuracy" in shown(found)


@pytest.mark.parametrize(
    ("overrides", "backends"),
    [
        (("model.parts.neuron={name: plif, params: {scope: neuron}}",), ("torch", "numba", "spikingjelly", "norse")),
        (("model.parts.neuron=if",), ("torch", "numba", "spikingjelly", "snntorch")),
    ],
)
def test_a_convnet_with_parameters_of_its_own(overrides: tuple[str, ...], backends: tuple[str, ...]) -> None:
    recipe = load_recipe("spiking_convnet", overrides, registry=default_registry())
    found = compare_model(recipe, backends, Plan(1, 4, repeats=1))
    assert found.verdict == "equivalent", shown(found)
    assert [layer.name for layer in found.backends[0].layers] == ["blocks.0", "blocks.1"]
    assert len(found.backends) + len(found.refused) == len(backends)
    assert len(found.backends) >= 3
