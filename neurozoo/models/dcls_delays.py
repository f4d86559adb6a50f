"""Learned delays (Hammouamri et al. 2024): a feed-forward net whose synapses have a learned delay each.

Learning Delays in Spiking Neural Networks using Dilated Convolutions with Learnable Spacings, ICLR 2024,
https://arxiv.org/abs/2306.17670. Corrected by default, as published by parameters; equations and what differs:
``docs/models/dcls_delays.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.kinds import LISpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, Synapse, neuron_for
from neurozoo.core.model import Parts
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Stepwise, Widths
from neurozoo.nn.delays import DelayedLinear, NormalisedDelays
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.steps import Readout

__all__ = ["DelayNet"]

Count = Annotated[int, Field(ge=1, le=1024)]
Epochs = Annotated[float, Field(gt=0, le=1e6)]
LAYERS = 13
"""Most layers that there can be, the readout among them."""


class DelayNet(Stepwise):
    """Reads a sequence one step per position: ``delays -> batch norm -> neurons``, repeated, and a leaky readout.

    Args:
        problem: One signal of spike trains or features ``[L, N]``; any task, per sample or per step.
        parts: Builds the slot ``neuron``; LIF neurons of the time constant ``tau`` by default.
        hidden: Neurons of each layer.
        kernel: Steps that a delay may choose from, odd: delays are 0 to ``kernel - 1`` steps.
        elements: Synapses per pair of neurons, each with its own weight and delay.
        pool: Neighbouring inputs that are summed to one; divides their number.
        tau: Membrane time constant of the default neurons and of the readout, in steps.
        dropout: Probability, on the spikes between layers, in training.
        width: Initial width of the delays' Gaussians in training, in steps; null for half the kernel.
        narrowing: Epochs in which the width falls from half the kernel to 0.23 steps; a quarter of all as published.
        evaluated: Whether delays are ``rounded`` in evaluation, or the ``smooth`` kernels of training are used.
        readout: How a sample is read from the readout's membrane; a task per step takes each step's. ``softmax`` as
            published: the loss then applies a second softmax.
        padding: Whether padded steps are ``masked``, or ``visible`` to normalisation and readout (as published).
    """

    authors_names: ClassVar = AuthorsNames(
        tuple(
            pair
            for n in range(LAYERS)
            for pair in (
                (rf"model[.]{4 * n}[.]weight", f"layers.{n}.synapse.weight.weight"),
                (rf"model[.]{4 * n}[.]weight", f"layers.{n}.synapse.weight"),
                (rf"model[.]{4 * n}[.]P", f"layers.{n}.synapse.weight.position"),
                (rf"model[.]{4 * n}[.]P", f"layers.{n}.synapse.position"),
                (rf"model[.]{4 * n}[.]SIG", f"layers.{n}.synapse.weight.width"),
                (rf"model[.]{4 * n}[.]SIG", f"layers.{n}.synapse.width"),
                (rf"model[.]{4 * n + 1}[.](.*)", rf"layers.{n}.synapse.norm.\1"),
            )
        ),
        repeated=(r"layers[.]\d+[.]synapse[.](weight[.])?width",),
    )
    quirks: ClassVar = {
        "readout": Quirk(
            "softmax", "mean", "the loss applies a softmax to sums of softmaxes, which bounds its logits to [0, T]"
        ),
        "padding": Quirk(
            "visible", "masked", "a prediction depends on the padding of its batch, as do the running statistics"
        ),
    }
    variants: ClassVar = {
        "dcls-delays-shd": Variant(
            {"hidden": (256, 256), "kernel": 25, "pool": 5},
            (700,),
            100,
            20,
            214_016,
            "Hammouamri et al. 2024, table 1 (SHD, two hidden layers)",
        ),
        "dcls-delays-ssc": Variant(
            {"hidden": (512, 512, 512), "kernel": 31, "pool": 5, "tau": 1.5, "narrowing": 15.0},
            (700,),
            100,
            35,
            1_230_848,
            "Hammouamri et al. 2024, table 1 (SSC, three hidden layers)",
        ),
    }

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Widths = (256, 256),
        kernel: Count = 25,
        elements: Annotated[int, Field(ge=1, le=64)] = 1,
        pool: Count = 1,
        tau: Annotated[float, Field(gt=1)] = 1.005,
        dropout: Probability = 0.4,
        width: Annotated[float, Field(ge=0, le=1024)] | None = None,
        narrowing: Epochs = 37.5,
        evaluated: Literal["rounded", "smooth"] = "rounded",
        readout: Readout = "mean",
        padding: Literal["masked", "visible"] = "masked",
    ) -> None:
        super().__init__(problem, 1, "spike trains or features [L, N]", readout)
        self.pool, self.padding = pool, padding
        choice = parts("neuron") or LIF(tau=tau, decay_input=False, detach_reset=True, alpha=5.0)
        inputs = self.shape.dim // pool

        def delays(outputs: int) -> DelayedLinear:
            return DelayedLinear(
                inputs,
                outputs,
                kernel=kernel,
                elements=elements,
                width=width,
                narrowing=narrowing,
                evaluated=evaluated,
            )

        self.layers = nn.ModuleList()
        for size in hidden:
            self.layers.append(choice.layer(neuron, NormalisedDelays(delays(size)), shape=(size,)))
            inputs = size
        self.layers.append(SpikingLayer(neuron_for(neuron, LISpec(decay=1 - 1 / tau)), delays(problem.outputs)))
        self.dropout = Dropout(dropout)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        """Yield an even ``kernel``, and a ``pool`` that does not divide the inputs."""
        kernel, pool = params["kernel"], params["pool"]
        if kernel % 2 == 0:
            yield "kernel", f"{kernel} has no middle step; give an odd number, such as {kernel + 1}"
        if problem is None:
            return
        for name, shape in problem.signals.items():
            if shape.dim % pool:
                yield "pool", f"{pool} does not divide the {shape.dim} inputs of {name}; give a divisor, or 1"

    def forward(self, batch: Batch) -> Tensor:
        signal, x, valid = self.steps(batch)
        valid = None if self.padding == "visible" else valid
        x = x.view(*x.shape[:2], -1, self.pool).sum(-1) if self.pool > 1 else x
        for n, layer in enumerate(self.layers):
            x = layer(self.dropout(x) if n else x, valid=valid)
            assert isinstance(layer.synapse, Synapse)
            valid = layer.synapse.valid_after(valid)
        # A step's output depends on no later step, so that the steps of the signal are the first ones.
        outputs = x[: signal.values.shape[1]] if self.problem.task.per_step else x
        return self.answer(outputs, signal, valid)
