"""Published models as a user of SpikingJelly writes them from their papers, for ``neurozoo bench zoo``.

Each takes what neurozoo's model takes and registers its parameters in the same order. The convolutional ones use the
library's layers over all steps (``step_mode="m"``), the recurrent one its neurons in a loop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from neurozoo.core.neuron import PlainNetwork

__all__ = ["NETWORKS"]


class _MultiStep(nn.Module):
    """A network whose layers run over all steps; their states are reset after each call."""

    def ready(self) -> None:
        """Switch all layers to whole sequences; call it at the end of the constructor."""
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs ``[B, K]`` of frames ``[B, L, C, H, W]``."""
        y = self.outputs(x.transpose(0, 1))
        functional.reset_net(self)
        return y

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs of ``[L, B, C, H, W]``."""
        raise NotImplementedError


def _lif(threshold: float = 1.0) -> nn.Module:
    made: nn.Module = neuron.LIFNode(tau=2.0, detach_reset=True, v_threshold=threshold)
    return made


def _conv_lif(inputs: int, outputs: int, kernel: int = 3, *, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(
        layer.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias), layer.BatchNorm2d(outputs), _lif()
    )


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, scale: float) -> None:
        super().__init__()
        self.q, self.k, self.v = (_conv_lif(width, width, 1, bias=True) for _ in range(3))
        self.attended = _lif(0.5)
        self.proj = _conv_lif(width, width, 1, bias=True)
        self.heads, self.scale = heads, scale

    def forward(self, x: Tensor) -> Tensor:
        steps, batch, width, height, breadth = x.shape
        q, k, v = (
            each(x)
            .flatten(3)
            .transpose(2, 3)
            .reshape(steps, batch, -1, self.heads, width // self.heads)
            .transpose(2, 3)
            for each in (self.q, self.k, self.v)
        )
        product = (q @ k.transpose(-2, -1)) @ v * self.scale
        product = product.transpose(3, 4).reshape(steps, batch, width, height, breadth)
        attended: Tensor = self.proj(self.attended(product))
        return attended


class _TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int, scale: float) -> None:
        super().__init__()
        self.attention = _Attention(width, heads, scale)
        self.mlp = nn.Sequential(_conv_lif(width, 4 * width, 1, bias=True), _conv_lif(4 * width, width, 1, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)  # type: ignore[no-any-return]


class Spikformer(_MultiStep):
    """Spikformer for pictures (Zhou et al. 2023): four stages that split into patches, blocks, a linear."""

    def __init__(self, shape: tuple[int, ...], steps: int, outputs: int, params: Mapping[str, Any]) -> None:
        super().__init__()
        width, heads, pools = params["width"], params["heads"], params["pools"]
        widths = (shape[0], width // 8, width // 4, width // 2, width)
        self.steps = steps
        self.stages = nn.ModuleList()
        for number, pair in enumerate(pairwise(widths), 1):
            stage = _conv_lif(*pair)
            if number in pools:
                stage.append(layer.MaxPool2d(3, 2, 1))
            self.stages.append(stage)
        self.position = _conv_lif(width, width)
        self.blocks = nn.ModuleList(_TransformerBlock(width, heads, params["scale"]) for _ in range(params["depth"]))
        self.head = nn.Linear(width, outputs)
        self.ready()

    def outputs(self, x: Tensor) -> Tensor:
        x = x[0].unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)
        for stage in self.stages:
            x = stage(x)
        x = x + self.position(x)
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(x.mean((3, 4)).mean(0))
        return y


def _conv_if(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        layer.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        layer.BatchNorm2d(outputs),
        neuron.IFNode(detach_reset=True, surrogate_function=surrogate.ATan()),
    )


class _SEWBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(_conv_if(inputs, outputs, 3, stride), _conv_if(outputs, outputs, 3))
        self.shortcut = _conv_if(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.branch(x)
        return branch + (x if self.shortcut is None else self.shortcut(x))


class SEWResNet(_MultiStep):
    """SEW ResNet of basic blocks that add (Fang et al. 2021); the first convolution runs once."""

    def __init__(self, shape: tuple[int, ...], steps: int, outputs: int, params: Mapping[str, Any]) -> None:
        super().__init__()
        self.steps, width = steps, params.get("width", 64)
        self.conv, self.norm = nn.Conv2d(shape[0], width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.fire = neuron.IFNode(detach_reset=True, surrogate_function=surrogate.ATan())
        self.pool = layer.MaxPool2d(3, 2, 1)
        self.blocks, inputs = nn.Sequential(), width
        for n, count in enumerate(params["blocks"]):
            for j in range(count):
                self.blocks.append(_SEWBlock(inputs, width * 2**n, 2 if n and not j else 1))
                inputs = width * 2**n
        self.head = nn.Linear(inputs, outputs)
        self.ready()

    def outputs(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x[0])).unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)
        x = self.blocks(self.pool(self.fire(x)))
        y: Tensor = self.head(x.mean((3, 4)).mean(0))
        return y


def _plif() -> nn.Module:
    made: nn.Module = neuron.ParametricLIFNode(init_tau=2.0, detach_reset=True, surrogate_function=surrogate.ATan())
    return made


class PLIFNet(_MultiStep):
    """PLIF net (Fang et al. 2021) with a linear head."""

    def __init__(self, shape: tuple[int, ...], steps: int, outputs: int, params: Mapping[str, Any]) -> None:
        super().__init__()
        width, height, breadth = shape
        self.body = nn.Sequential()
        for channels in params["channels"]:
            self.body.extend(
                (
                    layer.Conv2d(width, channels, 3, padding=1, bias=False),
                    layer.BatchNorm2d(channels),
                    _plif(),
                    layer.MaxPool2d(2),
                )
            )
            width, height, breadth = channels, height // 2, breadth // 2
        inputs, dropout = width * height * breadth, params["dropout"]
        self.hidden = nn.Sequential(
            layer.Flatten(), layer.Dropout(dropout), layer.Linear(inputs, inputs // 4, bias=False), _plif(),
            layer.Dropout(dropout),
        )  # fmt: skip
        self.head = nn.Linear(inputs // 4, outputs)
        self.ready()

    def outputs(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.hidden(self.body(x))).mean(0)
        return y


class _Box(surrogate.SurrogateFunctionBase):  # type: ignore[misc]
    """The surrogate of Bittar & Garner 2022, which the library lacks: 1 within 1/2 of the threshold."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _BoxFunction.apply(x)  # type: ignore[no-untyped-call]
        return y


class _BoxFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return grad * (x.abs() <= 0.5)


class _AdLIFNode(neuron.SimpleBaseNode):  # type: ignore[misc]
    """The adaptive neuron of Bittar & Garner 2022 in the library's charge, fire and reset."""

    RANGES = ((math.exp(-1 / 30), math.exp(-1 / 120)), (-1.0, 1.0), (0.0, 2.0), (math.exp(-1 / 5), math.exp(-1 / 25)))

    def __init__(self, width: int) -> None:
        super().__init__(v_reset=None, surrogate_function=_Box())
        self.register_memory("w", 0.0)
        self.register_memory("spike", 0.0)
        self.beta, self.a, self.b, self.alpha = (
            nn.Parameter(torch.empty(width).uniform_(*ends)) for ends in self.RANGES
        )

    w: Any
    v: Any

    def neuronal_charge(self, x: Tensor) -> None:
        given = (self.beta, self.a, self.b, self.alpha)
        beta, a, b, alpha = (each.clamp(*ends) for each, ends in zip(given, self.RANGES, strict=True))
        self.w = beta * self.w + a * self.v + b * self.spike
        self.v = alpha * (self.v - self.spike) + (1 - alpha) * (x - self.w)

    def neuronal_reset(self, spike: Tensor) -> None:
        self.spike = spike  # subtracted in the next step's charge


class _Recurrent(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.weight, self.norm = nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width, momentum=0.05)
        self.back = nn.Linear(width, width, bias=False)
        self.fire = _AdLIFNode(width)

    def forward(self, x: Tensor) -> Tensor:
        currents = self.norm(self.weight(x).flatten(0, 1)).view(*x.shape[:2], -1)
        spikes, made = torch.zeros_like(currents[0]), []
        for current in currents:
            weight = self.back.weight - torch.diag(torch.diag(self.back.weight))
            spikes = self.fire(current + nn.functional.linear(spikes, weight))
            made.append(spikes)
        return torch.stack(made)


class SparCH(nn.Module):
    """RadLIF layers and a leaky readout (Bittar & Garner 2022)."""

    def __init__(self, shape: tuple[int, ...], steps: int, outputs: int, params: Mapping[str, Any]) -> None:
        super().__init__()
        widths = (shape[0], *params["hidden"])
        self.layers = nn.Sequential(*(_Recurrent(*pair) for pair in pairwise(widths)))
        ends = (math.exp(-1 / 5), math.exp(-1 / 25))
        self.ends = ends
        self.weight, self.norm = nn.Linear(widths[-1], outputs, bias=False), nn.BatchNorm1d(outputs, momentum=0.05)
        self._decay = nn.ParameterList([torch.empty(outputs).uniform_(*ends)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x.transpose(0, 1))
        currents = self.norm(self.weight(x).flatten(0, 1)).view(*x.shape[:2], -1)
        decay, membrane, made = self._decay[0].clamp(*self.ends), torch.zeros_like(currents[0]), []
        for current in currents:
            membrane = decay * membrane + (1 - decay) * current
            made.append(membrane)
        functional.reset_net(self)
        return torch.stack(made).mean(0)


class RecurrentLIF(nn.Module):
    """One layer of recurrent LIF neurons, for ``neurozoo bench events``, as in the library's examples of recurrence."""

    def __init__(self, shape: tuple[int, ...], steps: int, outputs: int, params: Mapping[str, Any]) -> None:
        super().__init__()
        node = neuron.LIFNode(tau=2.0, v_threshold=params["threshold"], detach_reset=True)
        synapse = layer.Linear(shape[0], outputs, bias=False)
        back: Any = layer.LinearRecurrentContainer(node, outputs, outputs, bias=False)
        with torch.no_grad():
            synapse.weight.copy_(params["weight"])
            # The container multiplies input and fed back spikes next to each other by one matrix.
            back.rc.weight.copy_(torch.cat((torch.eye(outputs), params["back"]), 1))
        self.layer = nn.Sequential(synapse, back)
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes ``[B, L, K]`` of spike trains ``[B, L, N]``."""
        spikes: Tensor = self.layer(x.transpose(0, 1)).transpose(0, 1)
        functional.reset_net(self)
        return spikes


NETWORKS: Mapping[str, PlainNetwork] = {
    "recurrent-lif": RecurrentLIF,
    "spikformer": Spikformer,
    "sew-resnet": SEWResNet,
    "plif-net": PLIFNet,
    "sparch": SparCH,
}
"""By the name of neurozoo's model."""
