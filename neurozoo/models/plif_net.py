"""PLIF net: a convnet of neurons with learned time constants, and classes that its output neurons vote for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Channels, Steps, Stepwise, smallest_side
from neurozoo.nn.dropout import HeldDropout, Probability
from neurozoo.nn.neuron_choices import PLIF
from neurozoo.nn.steps import merged
from neurozoo.nn.synapses import Statistics, conv_norm
from neurozoo.tasks.multiclass import Multiclass

__all__ = ["PLIFNet"]

_SOURCE = "Fang et al., ICCV 2021, arXiv 2007.05785"


class PLIFNet(Stepwise):
    """Classifies event frames, one step per frame (Fang et al. 2021, arXiv 2007.05785).

    Blocks of ``convolution 3x3 -> batch norm -> neurons -> pool 2x2``, then ``dropout -> linear -> neurons ->
    dropout`` and a head. A picture is held.

    Args:
        problem: One signal of frames ``[L, C, H, W]``, or pictures (L = 1); any task.
        parts: Builds the slot ``neuron``; PLIF by default.
        channels: Of each convolution.
        pool: Largest value or mean of the 2x2 of a pool; of ``mean``, what follows gets shares and not spikes.
        hidden: Width of the hidden layer; null for a quarter of its inputs, as published.
        head: ``votes``: ``voters`` neurons per class, whose mean is the class's output, a rate between 0 and 1; for
            classes alone, with ``task.params.loss: squared``. ``linear``: a linear of the hidden layer's spikes, for
            any task.
        voters: Neurons per class of the head ``votes``.
        dropout: Probability; a sample keeps its masks over all steps.
        statistics: Of batch norm in training, over ``all-steps`` or those of ``each-step``.
        time_steps: T for which a picture is held.
    """

    authors_names: ClassVar = AuthorsNames(
        (
            *(
                each
                for n in range(12)  # as many blocks as `channels` may have
                for each in (
                    (rf"conv[.]{4 * n}[.]weight", f"blocks.{n}.synapse.weight.weight"),
                    (rf"conv[.]{4 * n + 1}[.](weight|bias|running_mean|running_var)", rf"blocks.{n}.synapse.norm.\1"),
                    (rf"conv[.]{4 * n + 2}[.]w", f"blocks.{n}.stored.leak"),
                )
            ),
            (r"fc[.]2[.]weight", "hidden.synapse.weight"),
            (r"fc[.]3[.]w", "hidden.stored.leak"),
            (r"fc[.]5[.]weight", "head.synapse.weight"),
            (r"fc[.]6[.]w", "head.stored.leak"),
        )
    )
    quirks: ClassVar = {
        "statistics": Quirk(
            "each-step",
            "all-steps",
            "batch norm sees one step of a small batch, and the last ten steps make up 65 % of its running statistics",
        ),
        "head": Quirk(
            "votes",
            "linear",
            "outputs are rates that reach their targets only if neurons fire at every step or never",
        ),
    }
    variants: ClassVar = {
        f"plif-net-{name}": Variant(
            {"channels": (128,) * blocks}, (2, side, side), steps, classes, parameters, _SOURCE + ", code f644ff6"
        )
        for name, blocks, side, steps, classes, parameters in (
            ("n-mnist", 2, 34, 10, 10, 17_132_292),
            ("cifar10-dvs", 4, 128, 20, 10, 17_427_718),
            ("dvs128-gesture", 5, 128, 20, 11, 1_698_311),
        )
    }

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        channels: Channels = (128, 128),
        pool: Literal["max", "mean"] = "max",
        hidden: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        head: Literal["votes", "linear"] = "linear",
        voters: Annotated[int, Field(ge=1, le=1024)] = 10,
        dropout: Probability = 0.5,
        statistics: Statistics = "all-steps",
        time_steps: Steps = 8,
    ) -> None:
        super().__init__(problem, 3, "frames [L, C, H, W]", "mean", time_steps)
        choice = parts("neuron") or PLIF(detach_reset=True)
        width, height, breadth = self.shape.shape
        self.blocks = nn.ModuleList()
        for out in channels:
            synapse = conv_norm(width, out, statistics=statistics)
            self.blocks.append(choice.layer(neuron, synapse, shape=(out, 1, 1)))
            width, height, breadth = out, height // 2, breadth // 2
        self.pool = nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)
        inputs = width * height * breadth
        hidden = hidden or max(inputs // 4, 1)
        self.hidden = choice.layer(neuron, nn.Linear(inputs, hidden, bias=False), shape=(hidden,))
        self.dropouts = nn.ModuleList(HeldDropout(dropout) for _ in range(2))
        self.voters = voters if head == "votes" else None
        if head == "votes":
            voting = voters * problem.outputs
            self.head: nn.Module = choice.layer(neuron, nn.Linear(hidden, voting, bias=False), shape=(voting,))
        else:
            self.head = nn.Linear(hidden, problem.outputs)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        blocks, side = len(params["channels"]), smallest_side(problem)
        if side is not None and side < 2**blocks:
            yield "channels", f"{blocks} blocks halve frames with a side of {side} to nothing; give fewer"
        if problem is not None and params["head"] == "votes" and not isinstance(problem.task, Multiclass):
            yield "head", f"votes are for classes, and the task is {problem.task.name}; give linear"

    def forward(self, batch: Batch) -> Tensor:
        first, *others = self.blocks
        signal, spikes, valid = self.drive(first, batch)
        for block in others:
            spikes = block(merged(self.pool, spikes), valid=valid)
        spikes = self.dropouts[0](merged(self.pool, spikes).flatten(2))
        spikes = self.dropouts[1](self.hidden(spikes, valid=valid))
        if self.voters is None:
            return self.answer(self.head(spikes), signal, valid)
        votes = self.head(spikes, valid=valid).unflatten(2, (-1, self.voters))  # [T, B, K, voters]
        return self.answer(votes.mean(3), signal, valid)
