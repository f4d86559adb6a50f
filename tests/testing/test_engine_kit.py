"""The kit of engines passes the dense one and fails one that is wrong; so does their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from neurozoo.compare.engines import compare_engines
from neurozoo.compare.entry_points import Plan
from neurozoo.core.engine import Dense, Engine, attach
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.layer_run import LayerRun, Numbers, Ran, Stepper
from neurozoo.core.neuron import State
from neurozoo.errors import UserError
from neurozoo.nn.ordered import ordered_run, ordered_sum
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.testing import Candidate, check, registered


class Ordered(LayerRun):
    """The oracle in the stated order, with a fault."""

    words = "the oracle"

    def __init__(self, layer: SpikingLayer, fault: str) -> None:
        self.layer, self.fault = layer, fault

    def run(
        self,
        x: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        *,
        valid: Tensor | None = None,
        driven: bool = False,
    ) -> Ran:
        if self.fault == "threshold":
            threshold = threshold * 1.001
        if self.fault == "forgets":
            state = None
        if self.fault == "input":
            x.mul_(1.5)
        found = ordered_run(self.layer, x, state, threshold, valid=valid)
        return found if driven else found._replace(driven=None)

    def stepper(self, given: Sequence[int], threshold: Tensor | float = 1.0, state: State | None = None) -> Stepper:
        over_time = getattr(self.layer.synapse, "over_time", False)
        return (AllAgain if over_time or self.fault == "reset" else Stepper)(self, given, threshold, state)


class AllAgain(Stepper):
    """Keeps all inputs, and runs them again at each step; with a fault it keeps them after a reset."""

    @property
    def state(self) -> State | None:
        return (self.inputs.clone(),)

    @state.setter
    def state(self, state: State | None) -> None:
        assert isinstance(self._run, Ordered)
        if state is not None:
            self.inputs = state[0].clone()
        elif self._run.fault != "reset" or not hasattr(self, "inputs"):
            self.inputs = torch.zeros(1, 0, *self._given)

    def step(self, x: Numbers) -> Numbers:
        self.inputs = torch.cat((self.inputs, torch.from_numpy(x).view(1, 1, *self._given)), 1)
        outputs = self._run.run(self.inputs.transpose(0, 1), None, self._threshold).outputs
        made: Numbers = outputs[self.inputs.shape[1] - 1].reshape(-1).numpy()
        return made


def engine(fault: str) -> type[Engine]:
    class Made(Engine):
        def layer(self, layer: SpikingLayer) -> LayerRun:
            return Ordered(layer, fault)

    return Made


@pytest.mark.parametrize(
    ("fault", "failing"),
    [
        ("", set()),
        ("threshold", {"sums_in_order_are_the_oracles", "spikes_differ_within_rounding_alone"}),
        ("forgets", {"sums_in_order_are_the_oracles", "piece_by_piece_is_the_whole"}),
        ("input", {"nothing_is_changed"}),
        ("reset", {"step_by_step_is_the_whole"}),
    ],
)
def test_the_kit_finds_what_is_wrong(fault: str, failing: set[str]) -> None:
    report = check(Candidate("engine", "made", engine(fault)), failing or None)
    assert {case.name for case in report.failures} == failing
    assert report.passed == (not fault)


def test_a_comparison_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = Registry.resolve

    def with_made(self: Registry, kind: str, name: str, base: object = None) -> object:
        if name in ("wrong", "right"):
            return engine("threshold" if name == "wrong" else "")
        return resolve(self, kind, name, base)  # type: ignore[arg-type]

    monkeypatch.setattr(Registry, "resolve", with_made)
    found = compare_engines(Path("fsdd-small"), ("dense", "right", "wrong"), Plan(1, 2, "valid", 1))
    assert [each.verdict for each in found.engines] == ["reference", "equivalent", "different"]
    assert found.different
    assert "layers.0" in found.engines[2].problems[0]
    assert found.to_dict()["engines"][2]["verdict"] == "different"


@pytest.mark.parametrize("names", [("dense",), ("dense", "dense"), ("events", "dense"), ()])
def test_dense_comes_first(names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="give dense first"):
        compare_engines(Path("fsdd-small"), names)


def test_the_order_of_a_sum() -> None:
    x, weight = torch.tensor([[1.0, 0.0, 2.0, 1.0]]), torch.tensor([[1e8, 5.0, 1.0, -1e8]])
    assert ordered_sum(x, weight).item() == 0.0  # 1e8 + 2 is 1e8 in float32
    assert ordered_sum(x.new_zeros(3, 0), weight[:, :0]).tolist() == [[0.0]] * 3


def test_dense_leaves_layers_as_they_are() -> None:
    assert default_registry().resolve("engine", "dense") is Dense
    report = check(registered("engine", "dense"))
    assert report.passed  # the cases about sums in the stated order do not apply to it
    layer = SpikingLayer(TorchNeuron(LIFSpec()), torch.nn.Linear(3, 2)).eval()
    plan = attach(layer, Dense(), "dense")
    assert layer.runner is None
    assert [each.runs for each in plan.layers] == ["dense"]
