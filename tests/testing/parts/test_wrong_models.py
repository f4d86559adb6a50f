"""Models that are wrong on purpose: each case catches the one that it is there for."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from torch import nn

from neurozoo.core.equations import spike
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.model import Model, only_signal
from neurozoo.core.neuron import NeuronSpec
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import DataError, SpikingError
from neurozoo.nn.steps import as_steps, read_out, to_positions
from neurozoo.testing import Candidate, check, kit_of

KIT = kit_of("model")
assert KIT is not None
CASES = KIT.cases


class Sound(Model):
    """Right: a layer of neurons along one signal of features, and a linear on them."""

    def __init__(self, problem, parts, neuron, *, width: Annotated[int, Field(ge=1, le=64)] = 6) -> None:
        super().__init__(problem)
        self.name, shape = only_signal(problem, 1, "features [L, D]")
        self.layer = SpikingLayer(self.made(neuron, LIFSpec()), nn.Linear(shape.dim, width))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, problem.outputs)

    def made(self, neuron, spec: NeuronSpec):
        return neuron(spec)

    def forward(self, batch: Batch) -> Any:
        signal = self.before(self.signal(batch, self.name))
        steps, valid = as_steps(signal)
        outputs = self.head(self.dropout(self.layer(steps, valid=self.counted(valid))))
        if self.problem.task.per_step:
            return self.after(to_positions(outputs, signal.valid), batch)
        return self.after(read_out(outputs, valid, "mean"), batch)

    def counted(self, valid):
        return valid

    def before(self, signal: Signal) -> Signal:
        return signal

    def after(self, outputs: torch.Tensor, batch: Batch) -> Any:
        return outputs


class Squeezes(Sound):
    """One output is no axis to it."""

    def after(self, outputs, batch):
        return outputs.squeeze(-1)


class OfNoSlots(Sound):
    """Does not say what fills its slots."""

    slots = {"activation": "neurons"}  # noqa: RUF012


class CountsPadding(Sound):
    """Its layer does not learn what is padding."""

    def counted(self, valid):
        return None


class SpareLayer(Sound):
    """A layer of neurons that nothing runs."""

    def __init__(self, problem, parts, neuron, *, width: int = 6):
        super().__init__(problem, parts, neuron, width=width)
        self.spare = SpikingLayer(neuron(LIFSpec()))


class Step(nn.Module):
    def forward(self, x):
        return spike(x)


class HidesSpikes(Sound):
    """An activation of its own makes spikes as well."""

    def __init__(self, problem, parts, neuron, *, width: int = 6):
        super().__init__(problem, parts, neuron, width=width)
        self.step = Step()

    def after(self, outputs, batch):
        return outputs + self.step(outputs)


class FiresHalves(Sound):
    """What it calls spikes is scaled."""

    def __init__(self, problem, parts, neuron, *, width: int = 6):
        super().__init__(problem, parts, neuron, width=width)
        record = self.layer.record
        self.layer.record = lambda currents, spikes, *rest: record(currents, spikes / 2, *rest)


class OwnNeuron(Sound):
    """Always the oracle's neuron, whatever the recipe names."""

    def made(self, neuron, spec):
        return TorchNeuron(spec)


class VisiblePadding(Sound):
    """Reads what stands in padding."""

    def signal(self, batch, name):
        return Signal(batch.signals[name].values.nan_to_num() * 1.0, None)

    def after(self, outputs, batch):
        return outputs if outputs.dim() == 2 else outputs.nan_to_num()


class PassesNaN(Sound):
    """Multiplies padding by 0, which leaves NaN."""

    def after(self, outputs, batch):
        signal = batch.signals[self.name]
        extra = (signal.values * signal.mask[..., None]).sum((1, 2)) * 0.1
        return outputs + extra.reshape(-1, *[1] * (outputs.dim() - 1))


class DividesByLength(Sound):
    """Scales by how much of the batch is padding."""

    def after(self, outputs, batch):
        return outputs * batch.signals[self.name].mask.double().mean()


class OtherwiseWithoutMask(Sound):
    """Takes another way where nothing is padded."""

    def after(self, outputs, batch):
        return outputs if batch.signals[self.name].valid is not None else 2 * outputs


class MeanOfNothing(Sound):
    """0 / 0 for a sample without a valid row."""

    def after(self, outputs, batch):
        some = batch.signals[self.name].mask.any(1).double()
        return outputs / some.reshape(-1, *[1] * (outputs.dim() - 1))


class RanksTheBatch(Sound):
    """Subtracts the mean of the batch."""

    def after(self, outputs, batch):
        return outputs - outputs.mean(0)


class GradientToPadding(Sound):
    """The value of padding is taken out again, its gradient is not."""

    def after(self, outputs, batch):
        mean = batch.signals[self.name].values.mean()
        return outputs + (mean - mean.detach())


class UnusedParameter(Sound):
    """A layer that an edit left behind."""

    def __init__(self, problem, parts, neuron, *, width: int = 6):
        super().__init__(problem, parts, neuron, width=width)
        self.gate = nn.Linear(3, 3)


class Deaf(Sound):
    """Zeroes what it reads."""

    def before(self, signal):
        return Signal(signal.values.detach(), signal.valid)


class MembraneInABuffer(Sound):
    """Carries on from the last batch."""

    def __init__(self, problem, parts, neuron, *, width: int = 6):
        super().__init__(problem, parts, neuron, width=width)
        self.register_buffer("v", torch.zeros(()))

    def after(self, outputs, batch):
        self.v = 0.5 * self.v + 0.5 * outputs.detach().mean()
        return outputs + self.v


class FailsInTraining(Sound):
    """Drops outputs and divides by what it dropped."""

    def after(self, outputs, batch):
        return outputs / (torch.rand_like(outputs) > 0.5) if self.training else outputs


class CentresByAllRows(Sound):
    """A running mean that padding takes part in."""

    def __init__(self, problem, parts, neuron, *, width: int = 6):
        super().__init__(problem, parts, neuron, width=width)
        self.register_buffer("mean", torch.zeros(()))

    def after(self, outputs, batch):
        if self.training:
            self.mean = batch.signals[self.name].values.mean().detach()
        return outputs


class ReadsTheTarget(Sound):
    """Answers better where the answer is given."""

    def after(self, outputs, batch):
        return outputs if batch.target is None else outputs + batch.target.double().mean()


class WrapsBytes(Sound):
    """Multiplies bytes before it makes floats of them."""

    def signal(self, batch, name):
        given = batch.signals[name]
        whole = not given.values.is_floating_point()
        return super().signal(
            replace(batch, signals={name: Signal(given.values * (255 if whole else 1), given.valid)}), name
        )


class DoesNotLearn(Sound):
    """Its outputs are far too small for any loss."""

    def after(self, outputs, batch):
        return 1e-6 * outputs


class LearnsHalf(Sound):
    """Its first two samples answer alike, whatever they learn."""

    def after(self, outputs, batch):
        return torch.cat([outputs[:2].mean(0, keepdim=True).expand_as(outputs[:2]), outputs[2:]])


class AlwaysFloat32(Sound):
    """For the loss, which would take any dtype."""

    def after(self, outputs, batch):
        return outputs.float()


class PriorOnTheCPU(Sound):
    """Adds a prior that no `.to` moves."""

    def after(self, outputs, batch):
        return outputs + torch.zeros(self.problem.outputs, dtype=outputs.dtype)


class KeepsItsOutputs(Sound):
    """Keeps the graph of the last forward."""

    def after(self, outputs, batch):
        self.last = outputs
        return outputs


class StatisticsNotSaved(Sound):
    """What it is scaled by is in no checkpoint."""

    def __init__(self, problem, parts, neuron, *, width: int = 6):
        super().__init__(problem, parts, neuron, width=width)
        self.scale = float(torch.rand(()))

    def after(self, outputs, batch):
        return outputs * self.scale


class NotWhatItSays(Sound):
    """Its default is out of its bounds."""

    def __init__(self, problem, parts, neuron, *, width: int = 6, depth: int = "two"):  # type: ignore[assignment]
        super().__init__(problem, parts, neuron, width=width)


class TiedToABackend(Sound):
    """Scales what another backend than its author's gives."""

    def after(self, outputs, batch):
        return outputs * (1.0 if type(self.layer.neuron) is TorchNeuron else 1.001)


class FailsAtSix(Sound):
    """Widths that its reshape cannot split are found out late."""

    def after(self, outputs, batch):
        self.head.weight.unflatten(1, (2, -1))
        return outputs


WRONG: dict[str, tuple[type[Sound], ...]] = {
    "gives_outputs": (Squeezes, OfNoSlots),
    "firing_is_recorded": (CountsPadding, SpareLayer, FiresHalves, HidesSpikes),
    "neurons_come_from_the_backend": (OwnNeuron,),
    "padding_does_not_matter": (VisiblePadding, PassesNaN),
    "more_padding_does_not_matter": (DividesByLength,),
    "no_mask_is_a_full_mask": (OtherwiseWithoutMask,),
    "absent_signals_are_survived": (MeanOfNothing,),
    "samples_are_alone": (RanksTheBatch,),
    "no_gradient_reaches_padding": (GradientToPadding,),
    "gradients_reach_every_parameter": (UnusedParameter,),
    "every_input_counts": (Deaf,),
    "evaluation_leaves_no_trace": (MembraneInABuffer,),
    "training_mode_works": (FailsInTraining,),
    "training_sees_no_padding": (CentresByAllRows,),
    "targets_are_not_seen": (ReadsTheTarget,),
    "whole_numbers_are_values": (WrapsBytes,),
    "learns": (DoesNotLearn, LearnsHalf),
    "dtypes_are_kept": (AlwaysFloat32,),
    "stays_on_the_device": (PriorOnTheCPU,),
    "can_be_copied_after_a_forward": (KeepsItsOutputs,),
    "loads_from_a_checkpoint": (StatisticsNotSaved,),
    "parameters_fit_a_recipe": (NotWhatItSays,),
    "any_backend_does": (TiedToABackend,),
    "refuses_what_it_cannot_build": (FailsAtSix,),
}


def run(model: type[Model], case: str, **params: Any) -> Any:
    (result,) = check(Candidate("model", model.__name__, model, params=params), [case]).results
    return result


def test_every_case_has_something_to_catch() -> None:
    assert set(WRONG) == set(CASES)


@pytest.mark.parametrize(("case", "wrong"), [(case, wrong) for case, found in WRONG.items() for wrong in found])
def test_the_case_meant_for_it_catches_it(case: str, wrong: type[Sound]) -> None:
    result = run(wrong, case)
    assert result.outcome == "failed"
    assert not result.problem.startswith(("AttributeError", "TypeError", "KeyError", "NameError")), result.problem


def test_what_they_are_made_of_is_right() -> None:
    report = check(Candidate("model", "sound", Sound))
    report.raise_if_failed()
    assert [result.outcome for result in report.results] == ["passed"] * len(CASES)


def test_a_model_may_refuse_forms_but_not_all_and_only_by_a_data_error() -> None:
    class NeedsTheMoon(Sound):
        def __init__(self, problem, parts, neuron):
            raise DataError("it needs the moon")

    refused = run(Sound, "gives_outputs").refused
    assert any("frames [5, 2, 8, 8]: the model takes features [L, D]" in each for each in refused)
    assert "it refuses every form, such as" in run(NeedsTheMoon, "gives_outputs").problem


def test_a_model_that_fails_while_it_is_used_has_not_refused() -> None:
    class Fails(Sound):
        def after(self, outputs, batch):
            raise SpikingError("the membrane is NaN")

    result = run(Fails, "samples_are_alone")
    assert result.outcome == "failed"
    assert "the membrane is NaN" in result.problem


def test_a_mask_of_another_shape_is_named() -> None:
    class OneStep(Sound):
        def counted(self, valid):
            return None if valid is None else valid[:, :1]

    assert "bool [T or 1, B, ...] over their leading axes" in run(OneStep, "firing_is_recorded").problem


def test_a_model_without_spikes_is_not_judged_by_them() -> None:
    class Linear(Model):
        def __init__(self, problem, parts, neuron):
            super().__init__(problem)
            self.name, shape = only_signal(problem, 1, "features [L, D]")
            self.head = nn.Linear(shape.dim, problem.outputs)

        def forward(self, batch):
            signal = self.signal(batch, self.name)
            rows = self.head(signal.values)
            if self.problem.task.per_step:
                return rows
            mask = signal.mask[..., None]
            return (rows * mask).sum(1) / mask.sum(1).clamp(min=1)

    outcomes = {each.name: each.outcome for each in check(Candidate("model", "linear", Linear)).results}
    assert {name for name, outcome in outcomes.items() if outcome != "passed"} == {
        "firing_is_recorded",
        "any_backend_does",
    }
