"""SpyTorch's current-based recurrent net: two states a neuron, a readout of second order, spiking encoders.

Source: Neftci, Mostafa & Zenke, Surrogate Gradient Learning in Spiking Neural Networks, IEEE Signal Processing Magazine
36, 2019 (arXiv 1901.09948); as baseline Cramer et al., The Heidelberg Spiking Data Sets, IEEE TNNLS 2022 (arXiv
1910.07407), and Mueller-Cleve et al., Braille Letter Reading, Frontiers in Neuroscience 16, 2022 (arXiv 2205.15864).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.kinds import CubaSpec, LIFSpec, LISpec, SpikingSpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, neuron_for
from neurozoo.core.model import Parts
from neurozoo.core.neuron import Params, State
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Stepwise
from neurozoo.nn.kept import Kept
from neurozoo.nn.reading import read_by
from neurozoo.nn.steps import StepReadout, as_steps, read_out, to_positions

__all__ = ["CubaRSNN", "LateResetSpec"]

Width = Annotated[int, Field(ge=1, le=65_536)]
Tau = Annotated[float, Field(gt=0, le=1e9)]
NotNegative = Annotated[float, Field(ge=0, le=1e9)]


@dataclass(frozen=True, kw_only=True)
class LateResetSpec(SpikingSpec):
    """The published encoder: ``e = H(E - theta)``, ``E' = (beta E + (1 - beta) c)(1 - e-)``, e- the spike before e.

    Its reset comes a step late, so that a neuron over the threshold can fire twice. The reset has no gradient.

    Attributes:
        decay: beta.
    """

    decay: float = 0.9

    kind = "late-reset"
    states = ("membrane", "spike")
    parameter_names = ("decay",)

    def step(self, current: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        v, before = state
        s, _ = self.fire(v - threshold)
        beta = params["decay"]
        return s, ((beta * v + (1 - beta) * current) * (1 - before.detach()), s)


class ChannelGains(nn.Module):
    """Currents ``c = gain (x + bias)`` of several neurons for each channel; neuron n reads channel ``n mod C``.

    Args:
        channels: C.
        fan: Neurons of a channel.
        scale: Deviation of the gains at the start; that of the biases is 1.
    """

    def __init__(self, channels: int, fan: int, scale: float) -> None:
        super().__init__()
        self.fan = fan
        self.gain = nn.Parameter(scale * torch.randn(channels * fan))
        self.bias = nn.Parameter(torch.randn(channels * fan))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[R, fan * C]`` of ``[R, C]``."""
        return self.gain * (x.repeat(1, self.fan) + self.bias)


class CubaRSNN(Stepwise):
    """Reads a sequence one step per position; a spike is that of the membrane before the step.

    ``S = H(U - 1)``; ``U' = (beta U + g I)(1 - S)``; ``I' = alpha I + W_1 x + V S-``, S- the spike before S. The
    readout has the same two filters without spikes, ``O' = beta O + g F``, ``F' = alpha F + W_2 S``. So an input
    changes I a step later, a spike after two, and O after four.

    Args:
        problem: One signal of spike trains or features ``[L, N]``; any task, per sample or per step.
        parts: Builds the slot ``neuron``, whose neurons take the place of the published ones, of the parameters below.
        hidden: Recurrent neurons.
        encoder: Spiking neurons for each feature that encode it; 0 if the input drives the recurrent neurons.
        encoder_scale: Deviation of the encoder's gains at the start.
        tau_synapse: Time constant of the synaptic currents, in steps.
        tau: Time constant of the membranes, in steps.
        gain: g, from current to membrane; null for ``1 - beta``.
        start: Membrane before the first step, dimensionless.
        surrogate_slope: kappa of the surrogate ``1 / (1 + kappa |U - 1|)^2``.
        weight_scale: Weights start normal with this deviation, times the inverse root of the number of inputs.
        recurrent_scale: The same of the recurrent weights.
        encoder_reset: ``in-time``: in the step of the spike; ``late``: a step later.
        latency: ``compensated``: the net runs on until the last input has reached the output, and the output at a
            position is the first that its input changes; ``kept``: it stops with the input.
        readout: Of the readout's membrane over the steps: its ``max`` over those that a spike has reached,
            ``max-with-start``: over all and the 0 before the first; its ``mean``, or the ``last``. A task per step
            takes each step's.
        spikes_weight: Factor of the penalty on spikes, see ``penalty_over``.
        squares_weight: Factor of the penalty on squared spike counts.
        penalty_over: ``sample``: the mean over samples and neurons of the count, and the mean over neurons of the
            square of the samples' mean count; ``batch``: the sum over samples and neurons, and the mean over neurons
            of the square of the samples' sum.
        penalty_gradient: ``kept``, or ``none``: the penalty is in the loss's value alone.
    """

    authors_names: ClassVar[AuthorsNames | None] = AuthorsNames(
        (
            ("w1", "hidden.synapse.weight"),
            ("v1", "hidden.recurrent.weight"),
            ("w2", "filtered.synapse.weight"),
            ("enc_(gain|bias)", r"encoder.synapse.\1"),
        ),
        transposed=(".*[.]weight",),
    )
    quirks: ClassVar[Mapping[str, Quirk]] = {
        "readout": Quirk(
            "max-with-start",
            "max",
            "the maximum over time includes the 0 before the first step, so a class whose output is always negative "
            "has the output 0 and no gradient",
        ),
        "latency": Quirk("kept", "compensated", "the last three inputs change no output"),
        "penalty_over": Quirk("batch", "sample", "the penalty grows with the batch (SHD)"),
        "penalty_gradient": Quirk("none", "kept", "the penalty changes the loss and no weight (Braille)"),
        "encoder_reset": Quirk("late", "in-time", "an encoding neuron can fire twice for one crossing (Braille)"),
    }
    variants: ClassVar[Mapping[str, Variant]] = {
        "cuba-rsnn-shd": Variant(
            {"hidden": 200}, (700,), 100, 20, 184_000, "Neftci et al. 2019, notebook 4 of SpyTorch"
        ),
        "cuba-rsnn-braille": Variant(
            {"hidden": 200, "encoder": 32, "tau": 20.0, "tau_synapse": 10.0, "gain": None, "start": -0.001},
            (4,),
            256,
            28,
            71_456,
            "Mueller-Cleve et al. 2022, notebook 5 of SpyTorch",
        ),
    }

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Width = 200,
        encoder: Annotated[int, Field(ge=0, le=65_536)] = 0,
        encoder_scale: Annotated[float, Field(gt=0, le=1e9)] = 1.0,
        tau_synapse: Tau = 5.0,
        tau: Tau = 10.0,
        gain: NotNegative | None = 1.0,
        start: float = 0.0,
        surrogate_slope: Annotated[float, Field(gt=0, le=1e9)] = 100.0,
        weight_scale: Annotated[float, Field(gt=0, le=1e9)] = 0.2,
        recurrent_scale: Annotated[float, Field(gt=0, le=1e9)] = 0.2,
        encoder_reset: Literal["in-time", "late"] = "in-time",
        latency: Literal["compensated", "kept"] = "compensated",
        readout: Literal["max", "max-with-start", "mean", "last"] = "max",
        spikes_weight: NotNegative = 0.0,
        squares_weight: NotNegative = 0.0,
        penalty_over: Literal["sample", "batch"] = "sample",
        penalty_gradient: Literal["kept", "none"] = "kept",
    ) -> None:
        super().__init__(problem, 1, "spike trains or features [L, N]", "max")
        self.how, self.start, self.width, self.late = readout, start, hidden, 0
        self.spikes_weight, self.squares_weight = spikes_weight, squares_weight
        self.penalty_over, self.penalty_gradient = penalty_over, penalty_gradient
        alpha, beta = math.exp(-1 / tau_synapse), math.exp(-1 / tau)
        used = 1 - beta if gain is None else gain
        fires: dict[str, Any] = {
            "surrogate": "superspike",
            "alpha": surrogate_slope,
            "tie": "silent",
            "detach_reset": True,
        }
        width = self.shape.dim
        self.encoder = None
        if encoder:
            encoding = (
                LateResetSpec(decay=beta, **fires) if encoder_reset == "late" else LIFSpec(tau=1 / (1 - beta), **fires)
            )
            self.encoder = SpikingLayer(neuron_for(neuron, encoding), ChannelGains(width, encoder, encoder_scale))
            width *= encoder
        synapse, back = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, hidden, bias=False)
        # Stored by presynaptic neuron, as theirs: the order of a sum decides its last bit, which a surrogate of slope
        # 100 multiplies by 100. Stored the other way, gradients differ by 2e-5 of their largest entry.
        back.weight = nn.Parameter(back.weight.detach().T.contiguous().T)
        around: dict[str, Any] = {"shape": (hidden,), "recurrent": back}
        choice = parts("neuron")
        self.published = choice is None
        if choice is None:
            spec = CubaSpec(synapse_decay=alpha, membrane_decay=beta, gain=used, order="fire-first", **fires)
            self.hidden = SpikingLayer(neuron_for(neuron, spec), synapse, **around)
        else:
            self.hidden = choice.layer(neuron, synapse, **around)
        reading = nn.Linear(hidden, problem.outputs, bias=False)
        self.filtered = SpikingLayer(neuron_for(neuron, LISpec(decay=alpha)), reading)
        self.head = SpikingLayer(neuron_for(neuron, LISpec(decay=beta, gain=used)))
        for linear, scale in ((synapse, weight_scale), (back, recurrent_scale), (reading, weight_scale)):
            nn.init.normal_(linear.weight, std=scale * linear.in_features**-0.5)
        if latency == "compensated":
            self.late = (3 if choice is None else 1) + (encoder > 0 and encoder_reset == "late")
        self._kept = Kept()

    @property
    def reading(self) -> StepReadout:
        """As of the base class; the first ``late`` outputs are of no input."""
        if self.problem.task.per_step:
            return StepReadout("last", first=self.late)
        if self.how == "max-with-start":
            return StepReadout("max", first=self.late, zero=True)
        return StepReadout(self.how, first=self.late, reached="hidden" if self.how == "max" else None)

    def forward(self, batch: Batch) -> Tensor:
        signal = self.signal(batch, self.name)
        steps, valid = as_steps(signal)
        late = self.late  # time for the last input to arrive
        if valid is not None and late:
            valid = torch.cat((valid[:1].expand(late, -1), valid))
        if self.encoder is not None or self.in_segments:
            steps, late = torch.cat((steps, steps.new_zeros(late, *steps.shape[1:]))), 0
        if self.in_segments:
            (filtered, fired), counts = self.run_all(steps, valid)
        else:
            (filtered, fired), counts = self.run(steps, valid, late)
        outputs = self.head(_a_step_later(filtered), valid=valid)
        self._kept.keep(counts=counts)
        reached = _reached(fired, valid)[self.late :] if self.how == "max" else None
        outputs, valid = outputs[self.late :], None if valid is None else valid[self.late :]
        if self.problem.task.per_step:
            return to_positions(outputs, signal.valid)
        if reached is not None:
            return read_out(outputs, reached, "max")
        if self.how == "max-with-start":
            return _first_max(outputs, valid)
        return read_out(outputs, valid, self.how)

    def run(self, x: Tensor, valid: Tensor | None, late: int = 0) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """As of the base class; with ``late`` steps of silence after them."""
        if self.encoder is not None:
            x = self.encoder(x, valid=valid)
        read = read_by(self.filtered, self.hidden, x, valid=valid, state=self._start(x), late=late)
        return (read.outputs, read.spikes.amax(2) > 0), read.counts

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        """Return the penalties on spikes, ``spikes`` and ``squares``."""
        counts = self._kept.pop("counts", None)
        if counts is None:
            return {}
        counts = counts.detach() if self.penalty_gradient == "none" else counts
        whole = self.penalty_over == "batch"
        terms: dict[str, Tensor] = {}
        if self.spikes_weight:
            terms["spikes"] = self.spikes_weight * (counts.sum() if whole else counts.mean())
        if self.squares_weight:
            by_neuron = counts.sum(0) if whole else counts.mean(0)
            terms["squares"] = self.squares_weight * by_neuron.square().mean()
        return terms

    def _start(self, steps: Tensor) -> State | None:
        """Return the state before the first step: current, membrane, and the spikes that return; None for rest."""
        if not self.start or not self.published:
            return None
        rest = steps.new_zeros(steps.shape[1], self.width)
        return rest, rest + self.start, rest


def _a_step_later(x: Tensor) -> Tensor:
    """Shift ``[T, B, K]`` by a step, with zeros before."""
    return torch.cat((torch.zeros_like(x[:1]), x[:-1]))


def _reached(some: Tensor, valid: Tensor | None) -> Tensor:
    """Return the valid steps ``[T, B]`` whose output depends on a spike; before the first it is 0 whatever the weights.

    These are not a sample's first steps, which :func:`read_out` needs for ``last`` alone.
    """
    fired = some.cumsum(0) > 0
    late = torch.cat((torch.zeros_like(fired[:1]), fired[:-1]))
    return late if valid is None else late & valid


def _first_max(outputs: Tensor, valid: Tensor | None) -> Tensor:
    """Return the maximum over the valid steps and a 0 before them; of equal ones the first has the gradient."""
    if valid is not None:
        outputs = outputs.masked_fill(~valid[..., None], torch.finfo(outputs.dtype).min)
    whole = torch.cat((torch.zeros_like(outputs[:1]), outputs))
    place = torch.arange(len(whole), device=whole.device)[:, None, None]
    first = torch.where(whole == whole.amax(0), place, len(whole)).amin(0)
    return whole.gather(0, first[None])[0]
