"""SparCH: recurrent adaptive neurons on speech (Bittar & Garner 2022), corrected, or published by parameters.

A surrogate gradient spiking baseline for speech command recognition, Frontiers in Neuroscience 16,
https://doi.org/10.3389/fnins.2022.865897. Equations and what differs: ``docs/models/sparch.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import exp
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.kinds import AdLIFSpec, LISpec
from neurozoo.core.layer import Learned, MakeNeuron, OneMinus, SpikingLayer, neuron_for
from neurozoo.core.model import Parts
from neurozoo.core.neuron import State
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.recording import neuron_layers
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Stepwise, Widths
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.neuron_choices import AdLIF
from neurozoo.nn.steps import Readout, reversed_steps
from neurozoo.nn.synapses import Normalised

__all__ = ["SparCH"]

READOUT_TAU = (5.0, 25.0)
"""Range of the readout's time constants as published, in steps."""
Tau = Annotated[float, Field(gt=0, le=1e6)]
MOMENTUM = 0.05
"""Of the running statistics of the batch normalisation."""
LIF: Mapping[str, Any] = {
    "name": "adlif",
    "params": {"learned": ["tau"], "coupling": [0.0, 0.0], "jump": [0.0, 0.0], "tie": "silent"},
}
"""The paper's LIF neurons as a recipe names them."""
PUBLISHED: Mapping[str, tuple[bool, Mapping[str, Any] | None, Mapping[int, int]]] = {
    "lif": (False, LIF, {128: 109_372, 1024: 1_792_060}),
    "adlif": (False, None, {128: 110_140, 1024: 1_798_204}),
    "rlif": (True, LIF, {128: 142_140, 1024: 3_889_212}),
    "radlif": (True, None, {128: 142_908, 1024: 3_895_356}),
}
"""By the paper's name: whether spikes return, the neurons, and the number of parameters by width."""


class SparCH(Stepwise):
    """Reads a sequence one step per position: ``linear -> batch norm -> neurons``, repeated, and a leaky readout.

    Args:
        problem: One signal of spike trains or features ``[L, N]``; any task, per sample or per step.
        parts: Builds the slot ``neuron``; adaptive LIF by default. The paper's LIF neurons are ``adlif`` with
            ``learned: [tau]`` and the ranges ``[0, 0]`` for ``coupling`` and ``jump``.
        hidden: Neurons of each layer.
        recurrent: Whether a layer's spikes return to its other neurons a step later.
        bidirectional: Whether each layer also reads the valid steps from the last to the first, with the same weights;
            the next one gets both.
        dropout: Probability, on the spikes between layers, in training.
        readout: How a sample is read from the readout's membrane; a task per step takes each step's. ``softmax`` as
            published: the loss then applies a second softmax.
        readout_tau: Range of the readout's time constants, in steps. Where answers change from step to step, those of
            the paper, 5 to 25, answer too late.
        start: Whether states start at ``rest``, or at ``random`` numbers in [0, 1), in evaluation too (as published).
        limits: Whether a neuron's parameters that leave their range are ``projected`` into it after each step of the
            optimiser, or are ``clamped`` when used and keep a gradient of 0 outside (as published).
    """

    authors_names: ClassVar = AuthorsNames(
        (
            (r"snn[.](\d+)[.]W[.]weight", r"layers.\1.synapse.weight.weight"),
            (r"snn[.](\d+)[.]norm[.](.*)", r"layers.\1.synapse.norm.\2"),
            (r"snn[.](\d+)[.]V[.]weight", r"layers.\1.recurrent.weight"),
            (r"snn[.](\d+)[.]alpha", r"layers.\1.stored.membrane_decay"),
            (r"snn[.](\d+)[.]alpha", r"layers.\1.stored.decay"),
            (r"snn[.](\d+)[.]beta", r"layers.\1.stored.adaptation_decay"),
            (r"snn[.](\d+)[.]a", r"layers.\1.stored.coupling"),
            (r"snn[.](\d+)[.]b", r"layers.\1.stored.jump"),
        ),
        transposed=(r"layers[.]\d+[.]recurrent[.]weight",),
    )
    quirks: ClassVar = {
        "readout": Quirk(
            "softmax", "mean", "the loss applies a softmax to sums of softmaxes, which bounds its logits to [0, T]"
        ),
        "start": Quirk("random", "rest", "a prediction depends on random numbers"),
        "limits": Quirk("clamped", "projected", "a neuron's parameter that leaves its range has no gradient any more"),
    }
    variants: ClassVar = {
        f"sparch-{name}-{width}": Variant(
            {"hidden": (width, width), "recurrent": recurrent},
            (700,),
            100,
            20,
            parameters,
            "Bittar & Garner 2022, table 2 (SHD)",
            neuron=neuron,
        )
        for name, (recurrent, neuron, counts) in PUBLISHED.items()
        for width, parameters in counts.items()
    }

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Widths = (128, 128),
        recurrent: bool = True,
        bidirectional: bool = False,
        dropout: Probability = 0.1,
        readout: Readout = "mean",
        readout_tau: tuple[Tau, Tau] = READOUT_TAU,
        start: Literal["rest", "random"] = "rest",
        limits: Literal["projected", "clamped"] = "projected",
    ) -> None:
        super().__init__(problem, 1, "spike trains or features [L, N]", readout)
        self.bidirectional, self.start, self.limits = bidirectional, start, limits
        choice = parts("neuron") or AdLIF(tie="silent")
        inputs = self.shape.dim
        self.layers = nn.ModuleList()
        for size in hidden:
            back = None
            if recurrent:
                back = nn.Linear(size, size, bias=False)
                nn.init.orthogonal_(back.weight)
            self.layers.append(
                choice.layer(
                    neuron, NormalisedSamples(inputs, size), shape=(size,), recurrent=back, self_connections=False
                )
            )
            inputs = 2 * size if bidirectional else size
        low, high = (exp(-1 / tau) for tau in readout_tau)
        decay = Learned((low, high), "neuron", "clamp", (low, high))
        learned: dict[str, Learned | OneMinus] = {"decay": decay, "gain": OneMinus("decay")}
        leaky = neuron_for(neuron, LISpec())
        synapse = NormalisedSamples(inputs, problem.outputs)
        self.layers.append(SpikingLayer(leaky, synapse, shape=(problem.outputs,), learned=learned))
        self.dropout = Dropout(dropout)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        """Yield a range of time constants in the wrong order."""
        low, high = params["readout_tau"]
        if low > high:
            yield "readout_tau", f"{low:g} is above {high:g}; give the low one first"

    def forward(self, batch: Batch) -> Tensor:
        signal, x, valid = self.steps(batch)
        *hidden, readout = self.layers
        for layer in hidden:
            x = self.dropout(self._both_ways(layer, x, valid) if self.bidirectional else self._run(layer, x, valid))
        return self.answer(self._run(readout, x, valid), signal, valid)

    def after_step(self) -> None:
        """Project the neurons' parameters into their ranges."""
        if self.limits == "projected":
            for layer in neuron_layers(self).values():
                layer.project()

    def draw(self, layer: SpikingLayer, state: str, like: Tensor) -> Tensor:
        """Draw the random initial values of a state, shape and dtype of ``like``, uniformly in [0, 1)."""
        return torch.rand_like(like)

    def _run(self, layer: nn.Module, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return the outputs ``[T, B, N]`` of a layer."""
        assert isinstance(layer, SpikingLayer)
        made: Tensor = layer(x, valid=valid, state=self._initial(layer, x) if self.start == "random" else None)
        return made

    def _both_ways(self, layer: nn.Module, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return a layer's outputs in both directions of time, ``[T, B, 2 N]``; the samples are batched with both."""
        twice = None if valid is None else torch.cat((valid, valid), 1)
        ahead, back = self._run(layer, torch.cat((x, reversed_steps(x, valid)), 1), twice).chunk(2, 1)
        return torch.cat((ahead, reversed_steps(back, valid)), -1)

    def _initial(self, layer: SpikingLayer, x: Tensor) -> State:
        """Return random initial membranes, recovery currents and spikes of a layer; other states are at rest."""
        assert isinstance(layer.synapse, Normalised)
        like = x.new_zeros(x.shape[1], layer.synapse.norm.num_features)
        drawn = {"membrane": True, "recovery": _recovers(layer), "spike": True}
        resting = layer.neuron.initial_state(like, layer.params() or None)
        states = {
            name: self.draw(layer, name, like) if drawn.get(name) else rest
            for name, rest in zip(layer.spec.states, resting, strict=True)
        }
        if layer.recurrent is None:
            return tuple(states.values())
        returning = states["spike"] if "spike" in states else self.draw(layer, "spike", like)
        return (*states.values(), returning)


class NormalisedSamples(Normalised):
    """A linear with batch norm whose sums run over the steps of a sample first, as in the published code.

    Over the samples of a step first, gradients of the decays, in which large terms cancel, differ by 1e-5 of their
    size, which is the rounding of float32.
    """

    over_time = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Linear(inputs, outputs, bias=False), outputs)
        self.norm.momentum = MOMENTUM

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the currents ``[T, B, N]`` of inputs ``[T, B, D]``, normalised over the valid steps ``[T, B]``."""
        weighted: Tensor = self.weight(x.transpose(0, 1))
        rows = self.normalised(weighted.flatten(0, 1), None if valid is None else valid.T.flatten())
        return rows.view_as(weighted).transpose(0, 1)

    def by_window(self) -> tuple[int, Callable[[Tensor], Tensor]]:
        """As of :class:`~neurozoo.core.layer.Synapse`; in evaluation a step needs no other one."""
        return 1, lambda window: self(window)[0]


def _recovers(layer: SpikingLayer) -> bool:
    """Whether a layer's neurons have a recovery current; the paper's LIF is the adaptive LIF without one."""
    spec = layer.spec
    return isinstance(spec, AdLIFSpec) and bool(
        spec.coupling or spec.jump or {"coupling", "jump"} & layer.learned.keys()
    )
