"""SEW ResNet: residual blocks that join spikes element by element, for pictures and for event frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron, SpikingLayer
from neurozoo.core.model import Parts
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Channels, Steps, Stepwise, smallest_side
from neurozoo.nn.layers import Layers
from neurozoo.nn.neuron_choices import IF, PLIF
from neurozoo.nn.steps import drawn_steps, merged

__all__ = ["CONNECTIONS", "Connection", "SEWResNet", "SEWResNetEvents"]

_SOURCE = "Fang et al., NeurIPS 2021, arXiv 2102.04159, code cfc547c"
_AT, _NORM = r"layer(\d)[.](\d+)[.]", "(weight|bias|running_mean|running_var)"
Blocks = Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=8)]

Connection = Literal["add", "and", "iand"]
CONNECTIONS: Mapping[Connection, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda branch, shortcut: branch + shortcut,
    "and": lambda branch, shortcut: branch * shortcut,
    "iand": lambda branch, shortcut: shortcut * (1 - branch),
}
"""How a block joins its branch A and shortcut x: ``A + x``, ``A x``, ``x (1 - A)``.

Of spikes, ``add`` gives whole numbers, the others spikes.
"""


class _Block(nn.Module):
    """``g(branch(x), shortcut(x))`` of ``[T, B, C, H, W]``; without a shortcut layer the shortcut is x."""

    def __init__(self, branch: Iterable[SpikingLayer], shortcut: SpikingLayer | None, connect: Connection) -> None:
        super().__init__()
        self.branch = nn.ModuleList(branch)
        self.shortcut = shortcut
        self.connect = connect

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        branch = x
        for layer in self.branch:
            branch = layer(branch, valid=valid)
        # A sum in place would change the spikes that a recorder holds.
        return CONNECTIONS[self.connect](branch, x if self.shortcut is None else self.shortcut(x, valid=valid))


class SEWResNet(Stepwise):
    """Classifies pictures, held for some steps, or frames, one step per frame (Fang et al. 2021, arXiv 2102.04159).

    ``convolution 7x7, stride 2 -> batch norm -> neurons -> max pool 3x3, stride 2``, four stages of residual blocks,
    the mean over places, a linear. The first convolution of a picture runs once. With ``add`` a block's output is not
    spikes but whole numbers, which grow by one a block.

    Args:
        problem: One signal of pictures (L = 1), or frames ``[L, C, H, W]``; any task.
        parts: Builds the slot ``neuron``; integrate-and-fire by default.
        block: ``basic``, two convolutions of 3x3; or ``bottleneck``, 1x1, 3x3 and 1x1 to four times the width.
        blocks: Number of blocks of each stage; each stage but the first halves the sides.
        width: Channels of the first stage; each other has twice those of the one before.
        connect: How a block joins branch A and shortcut x: ``add``, A + x; ``and``, A x; ``iand``, x (1 - A).
        time_steps: T for which a picture is held.
    """

    authors_names: ClassVar = AuthorsNames(
        (
            (r"conv1[.]weight", "stem.synapse.weight.weight"),
            (rf"bn1[.]{_NORM}", r"stem.synapse.norm.\1"),
            *(
                each
                for theirs, here in (
                    *((f"conv{n + 1}", f"branch.{n}") for n in range(3)),
                    ("downsample[.]0", "shortcut"),
                )
                for each in (
                    (rf"{_AT}{theirs}[.]module[.]0[.]weight", rf"stages.\1.\2.{here}.synapse.weight.weight"),
                    (rf"{_AT}{theirs}[.]module[.]1[.]{_NORM}", rf"stages.\1.\2.{here}.synapse.norm.\3"),
                )
            ),
            (r"fc[.](weight|bias)", r"head.\1"),
        )
    )
    variants: ClassVar = {
        f"sew-resnet-{depth}": Variant(
            {"block": block, "blocks": blocks}, (3, 224, 224), 1, 1000, parameters, f"{_SOURCE}; {stated}"
        )
        for depth, block, blocks, parameters, stated in (
            (18, "basic", (2, 2, 2, 2), 11_689_512, "parameters as published"),
            (34, "basic", (3, 4, 6, 3), 21_797_672, "parameters as published"),
            (50, "bottleneck", (3, 4, 6, 3), 25_557_032, "parameters as published"),
            (101, "bottleneck", (3, 4, 23, 3), 44_549_160, "parameters as built here"),
            (152, "bottleneck", (3, 8, 36, 3), 60_192_808, "parameters as built here"),
        )
    }

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        block: Literal["basic", "bottleneck"] = "basic",
        blocks: Blocks = (2, 2, 2, 2),
        width: Annotated[int, Field(ge=1, le=1024)] = 64,
        connect: Connection = "add",
        time_steps: Steps = 4,
    ) -> None:
        super().__init__(problem, 3, "pictures or frames [L, C, H, W]", "mean", time_steps)
        layer = Layers(parts("neuron") or IF(detach_reset=True), neuron).conv
        self.stem = layer(self.shape.shape[0], width, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleDict()
        into, expansion = width, 1 if block == "basic" else 4
        for n, count in enumerate(blocks):
            inner, stage = width * 2**n, nn.ModuleList()
            for j in range(count):
                out, stride = expansion * inner, 2 if n and not j else 1
                branch = (
                    [layer(into, inner, 3, stride), layer(inner, out, 3)]
                    if block == "basic"
                    else [layer(into, inner, 1), layer(inner, inner, 3, stride), layer(inner, out, 1)]
                )
                shortcut = layer(into, out, 1, stride) if into != out or stride != 1 else None
                stage.append(_Block(branch, shortcut, connect))
                into = out
            self.stages[str(n + 1)] = stage
        self.head = nn.Linear(into, problem.outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, batch: Batch) -> Tensor:
        signal, spikes, valid = self.drive(self.stem, batch)
        x = merged(self.pool, spikes)
        for stage in self.stages.values():
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x, valid)
        return self.answer(self.head(x.mean((3, 4))), signal, valid)


class SEWResNetEvents(Stepwise):
    """Classifies event frames, one step per frame: the "7B-Net" of Fang et al. 2021, arXiv 2102.04159.

    Stages of ``[convolution 1x1 -> batch norm -> neurons, where the channels change] -> residual block of two
    convolutions 3x3 -> max pool``, then a linear of all channels and places.

    Args:
        problem: One signal of frames ``[L, C, H, W]``, or pictures (L = 1); any task.
        parts: Builds the slot ``neuron``; PLIF by default.
        channels: Of each stage.
        pool: Edge and stride of the pools.
        connect: How a block joins branch A and shortcut x: ``add``, A + x; ``and``, A x; ``iand``, x (1 - A).
        training_steps: Number of steps that training draws from each sample's, in their order; null for all. The
            augmentation ``frame-subset`` does the same for any model.
        time_steps: T for which a picture is held.
    """

    authors_names: ClassVar = AuthorsNames(
        (
            (r"conv[.](\d+)[.]0[.]module[.]0[.]weight", r"body.\1.synapse.weight.weight"),
            (rf"conv[.](\d+)[.]0[.]module[.]1[.]{_NORM}", r"body.\1.synapse.norm.\2"),
            (r"conv[.](\d+)[.]1[.]w", r"body.\1.stored.leak"),
            (r"conv[.](\d+)[.]conv[.](\d)[.]0[.]module[.]0[.]weight", r"body.\1.branch.\2.synapse.weight.weight"),
            (rf"conv[.](\d+)[.]conv[.](\d)[.]0[.]module[.]1[.]{_NORM}", r"body.\1.branch.\2.synapse.norm.\3"),
            (r"conv[.](\d+)[.]conv[.](\d)[.]1[.]w", r"body.\1.branch.\2.stored.leak"),
            (r"out[.](weight|bias)", r"head.\1"),
        )
    )
    quirks: ClassVar = {
        "training_steps": Quirk(
            12,
            None,
            "training draws 12 of a sample's 16 frames, and evaluation, which sees all, has other intervals",
        )
    }
    variants: ClassVar = {
        "sew-resnet-dvs128-gesture": Variant({"channels": (32,) * 7}, (2, 128, 128), 16, 11, 130_426, _SOURCE),
        "sew-resnet-cifar10-dvs": Variant(
            {"channels": (64,) * 4 + (128,) * 3, "training_steps": None}, (2, 128, 128), 16, 10, 1_192_218, _SOURCE
        ),
    }

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        channels: Channels = (32, 32, 32),
        pool: Annotated[int, Field(ge=1, le=64)] = 2,
        connect: Connection = "add",
        training_steps: Steps | None = None,
        time_steps: Steps = 4,
    ) -> None:
        super().__init__(problem, 3, "frames [L, C, H, W]", "mean", time_steps)
        layer = Layers(parts("neuron") or PLIF(detach_reset=True), neuron).conv
        self.training_steps = training_steps
        width, height, breadth = self.shape.shape
        self.body = nn.ModuleList()
        for out in channels:
            if out != width:
                self.body.append(layer(width, out, 1))
            self.body.append(_Block((layer(out, out, 3), layer(out, out, 3)), None, connect))
            self.body.append(nn.MaxPool2d(pool))
            width, height, breadth = out, height // pool, breadth // pool
        self.head = nn.Linear(width * height * breadth, problem.outputs)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        stages, pool, side = len(params["channels"]), params["pool"], smallest_side(problem)
        if side is not None and side < pool**stages:
            yield (
                "pool",
                f"{stages} pools of {pool} leave nothing of frames with a side of {side}; give a smaller one, or fewer "
                "channels",
            )
        if problem is not None and params["training_steps"] is not None and problem.task.per_step:
            yield "training_steps", "the task is per step, and steps that are not drawn have no answer; give null"

    def forward(self, batch: Batch) -> Tensor:
        signal, x, valid = self.steps(batch)
        if self.training and self.training_steps is not None:
            x, valid = drawn_steps(x, valid, self.training_steps)
        for module in self.body:
            if isinstance(module, nn.MaxPool2d):
                x = merged(module, x)
            else:
                x = module(x, valid) if isinstance(module, _Block) else module(x, valid=valid)
        return self.answer(self.head(x.flatten(2)), signal, valid)
