"""LSNN: a recurrent net of regular neurons and of neurons with an adaptive threshold, trained by BPTT or e-prop.

Source: Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, NeurIPS 2018
(arXiv 1803.09574); Bellec, Scherr et al., A solution to the learning dilemma for recurrent networks of spiking neurons,
Nature Communications 11, 2020 (doi 10.1038/s41467-020-17236-y).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.kinds import ALIFSpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, neuron_for
from neurozoo.core.model import Parts
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Stepwise, leaky_readout
from neurozoo.nn.eprop import EProp, Gradient
from neurozoo.nn.kept import Kept
from neurozoo.nn.reading import read_by
from neurozoo.nn.steps import as_steps, last_steps, read_out, to_positions

__all__ = ["LSNN"]

Number = Annotated[int, Field(ge=0, le=65_536)]
Tau = Annotated[float, Field(gt=0, le=1e9)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
NotNegative = Annotated[float, Field(ge=0, le=1e9)]


class LSNN(Stepwise):
    """Reads a sequence one step per position; spikes return a step later, and leaky integrators read them.

    ``a = rho a + z``; ``v = alpha v + W_in x + W_rec z - theta z``; ``z = H((v - theta - beta a)/theta)`` outside of
    the refractory period, z on the right that of the step before. The first neurons have beta = 0.

    Args:
        problem: One signal of spike trains or features ``[L, N]``; any task, per sample or per step.
        parts: Builds the slot ``neuron``, whose neurons then take the place of regular and adaptive ones; by default
            the published ones, of the parameters below.
        regular: Neurons without adaptation.
        adaptive: Neurons with an adaptive threshold.
        threshold: theta, dimensionless.
        tau: Membrane time constant, in steps.
        tau_adaptation: Time constant of the adaptation, in steps.
        adaptation: beta, dimensionless; null for ``1.7 (1 - rho) / (1 - exp(-1 / tau))``.
        refractory: Steps after a spike in which a neuron cannot fire.
        damping: Height of the triangular surrogate, in units of 1/theta.
        tau_readout: Time constant of the readout, in steps.
        decision_steps: Steps at the end of a sample that answer: their outputs' mean; null for all steps. A task per
            step takes each step's output.
        decision_loss: ``each``: the loss is the mean of those steps' losses; ``mean``: the loss of their mean output.
        rate: Firing rate that the penalty draws each neuron to, in spikes a step.
        rate_weight: Factor of the penalty, the squared distance of the neurons' rates from ``rate``.
        rate_over: The penalty is the ``mean`` over neurons, or their ``sum``.
        gradient: ``bptt``, ``e-prop``, or ``e-prop-random`` with fixed random numbers as feedback.
    """

    authors_names: ClassVar[AuthorsNames | None] = AuthorsNames(
        (
            ("w_in", "recurrent.synapse.weight"),
            ("w_rec", "recurrent.recurrent.weight"),
            ("w_out", "head.synapse.weight"),
        ),
        transposed=(".*",),
    )
    quirks: ClassVar[Mapping[str, Quirk]] = {
        "rate_over": Quirk("sum", "mean", "the weight of the rate penalty grows with the number of neurons")
    }
    variants: ClassVar[Mapping[str, Variant]] = {
        "lsnn-evidence": Variant(
            {"regular": 50, "adaptive": 50, "decision_steps": 150},
            (40,),
            2250,
            2,
            14_200,
            "Bellec et al. 2020, evidence accumulation; sizes of the authors' tutorial",
        )
    }

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        regular: Number = 50,
        adaptive: Number = 50,
        threshold: Positive = 0.6,
        tau: Tau = 20.0,
        tau_adaptation: Tau = 2000.0,
        adaptation: NotNegative | None = None,
        refractory: Annotated[int, Field(ge=0, le=65_536)] = 5,
        damping: Positive = 0.3,
        tau_readout: Tau = 20.0,
        decision_steps: Annotated[int, Field(ge=1)] | None = None,
        decision_loss: Literal["each", "mean"] = "each",
        rate: Annotated[float, Field(ge=0, le=1)] = 0.01,
        rate_weight: NotNegative = 1.0,
        rate_over: Literal["mean", "sum"] = "mean",
        gradient: Gradient = "bptt",
    ) -> None:
        super().__init__(problem, 1, "spike trains or features [L, N]", "mean")
        self.threshold, self.gradient = threshold, gradient
        self.decision_steps, self.decision_loss = decision_steps, decision_loss
        self.answering = decision_steps
        self.rate, self.rate_weight, self.rate_over = rate, rate_weight, rate_over
        neurons, inputs = regular + adaptive, self.shape.dim
        synapse, back = nn.Linear(inputs, neurons, bias=False), nn.Linear(neurons, neurons, bias=False)
        nn.init.normal_(synapse.weight, std=inputs**-0.5)
        nn.init.normal_(back.weight, std=neurons**-0.5)
        around: dict[str, Any] = {"shape": (neurons,), "recurrent": back, "self_connections": False}
        if choice := parts("neuron"):
            self.recurrent = choice.layer(neuron, synapse, **around)
        else:
            alpha, rho = math.exp(-1 / tau), math.exp(-1 / tau_adaptation)
            beta = 1.7 * (1 - rho) / (1 - alpha) if adaptation is None else adaptation
            spec = ALIFSpec(
                membrane_decay=alpha,
                adaptation_decay=rho,
                refractory=refractory,
                surrogate="triangle",
                alpha=damping,
                tie="silent",
            )
            each = torch.cat((torch.zeros(regular), torch.full((adaptive,), beta)))
            self.recurrent = SpikingLayer(neuron_for(neuron, spec), synapse, params={"adaptation": each}, **around)
        self.head = leaky_readout(neuron, neurons, problem.outputs, math.exp(-1 / tau_readout), bias=False)
        nn.init.xavier_uniform_(self.head.get_parameter("synapse.weight"))
        self.eprop = (
            EProp(self.recurrent, self.head, random=gradient == "e-prop-random") if gradient != "bptt" else None
        )
        self._kept = Kept()

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        if not params["regular"] + params["adaptive"]:
            yield "regular", "there are no neurons; give at least one regular or adaptive one"
        if problem is not None and problem.task.per_step and params["decision_steps"] is not None:
            yield "decision_steps", "the task is per step, and has an answer for each; leave it out"

    def forward(self, batch: Batch) -> Tensor:
        signal = self.signal(batch, self.name)
        steps, valid = as_steps(signal)
        if self.eprop is not None and self.training and torch.is_grad_enabled():
            outputs, rates = self.eprop(steps, self.threshold, valid)
        else:
            outputs, counts = self.run_all(steps, valid)
            rates = counts / (len(steps) if valid is None else valid.sum(0).clamp(min=1)[:, None])
        deciding = None
        if self.problem.task.per_step:
            answer = to_positions(outputs, signal.valid)
        else:
            outputs, decides = last_steps(outputs, valid, self.decision_steps)
            answer = read_out(outputs, decides, "mean")
            deciding = (outputs, decides, answer)
        self._kept.keep(rates=rates, deciding=deciding)
        return answer

    def run(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        read = read_by(self.head, self.recurrent, x, self.threshold, valid=valid)
        return read.outputs, read.counts

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        """Return ``rate``, the penalty, and ``decision``: how far the mean of the steps' losses is above the loss of
        their mean output."""
        if not self._kept:
            return {}
        terms: dict[str, Tensor] = {}
        rates = self._kept.pop("rates")
        if self.rate_weight:
            away = (rates.mean(0) - self.rate).square()
            terms["rate_penalty"] = self.rate_weight * (away.mean() if self.rate_over == "mean" else away.sum())
        deciding = self._kept.pop("deciding")
        if deciding is not None and self.decision_loss == "each":
            outputs, decides, answer = deciding
            task, steps = self.problem.task, len(outputs)
            goals = target.expand(steps, *target.shape).flatten(0, 1)
            each = (
                task.training_objective(outputs.flatten(0, 1), goals, "none").flatten(1).mean(1).view(outputs.shape[:2])
            )
            if decides is not None:  # the mean of a sample's own steps, so that samples count alike
                each = (each * decides).sum(0) / decides.sum(0).clamp(min=1)
            terms["decision"] = each.mean() - task.loss(answer, target)
        return terms
