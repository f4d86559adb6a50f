"""Counting a model's operations while it runs, by forward hooks: any model, its arithmetic left as it is.

Encoders of SMILE call a block that has hooks, so that encoder blocks are counted layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from neurozoo.core.interfaces import Activation, ZooModel
from neurozoo.core.layer import DynamicThresholdLIF
from neurozoo.nn.attention import MultiHeadAttention
from neurozoo.operations.result import Counts, Elsewhere, LayerOperations, Uncounted

__all__ = ["SYNAPTIC", "Convolution", "OperationCounter", "are_spikes", "dense_operations", "effective_operations"]

Kind = Literal["synaptic", "attention", "neurons", "activation"]


@dataclass
class _Tally:
    """What one layer did so far; sums that need the device to be asked stay on it."""

    kind: Kind
    module: nn.Module
    calls: int = 0
    dense: int = 0
    macs: Tensor | int = 0
    acs: Tensor | int = 0
    updates: int = 0
    zeros: Tensor | int = 0
    elements: int = 0
    given: int = 0
    put_out: int = 0
    by_shape: dict[tuple[int, ...], int] = field(default_factory=dict)


class OperationCounter:
    """Counts what a model computes over any number of forwards in evaluation mode.

    Everything that goes through a layer is counted, rows of padding too, so give it none
    (``neurozoo.operations.profiling``). It leaves no hook behind, and may be entered again. What no rule covers is
    looked for when it is entered first, and then only where something was found: torch's own counter makes a forward
    slow.

    Args:
        model: A model of the zoo; of any other module, spiking branches are not known as such.

    Example:
        >>> with torch.no_grad(), OperationCounter(model) as counter:
        ...     for batch in batches:
        ...         model(batch)
        >>> counter.counts(samples=100).acs
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._tallies: dict[str, _Tally] = {}
        self._called: set[str] = set()
        self._products: FlopCounterMode | None = FlopCounterMode(display=False)
        self._seen: dict[str, int] = {}
        inside = {
            id(lif): name
            for name, module in model.named_modules()
            if isinstance(module, Activation)
            for lif in module.modules()
            if isinstance(lif, DynamicThresholdLIF)
        }
        for name, module in model.named_modules():
            kind = _kind(module)
            if kind is not None:
                # An activation with two layers of neurons has each by its own name.
                alone = list(inside.values()).count(inside.get(id(module), "")) == 1
                self._tallies[inside[id(module)] if alone else name] = _Tally(kind, module)

    def __enter__(self) -> OperationCounter:
        self._open = ExitStack()
        for tally in self._tallies.values():
            self._open.callback(_HOOKS[tally.kind](tally).remove)
        for name, module in self._model.named_modules():
            self._open.callback(module.register_forward_pre_hook(self._note(name)).remove)
        if self._products is not None:
            self._open.enter_context(self._products)
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()
        if self._products is not None:
            for name, by_operation in self._products.get_flop_counts().items():
                self._seen[name] = self._seen.get(name, 0) + sum(by_operation.values())
            if next(self._uncounted(), None) is None:
                self._products = None

    def counts(self, samples: int) -> Counts:
        """What was counted, of so many samples."""
        held = self._held()
        ran = {name: tally for name, tally in self._tallies.items() if tally.calls}
        return Counts(
            samples,
            tuple(self._layer(name, tally, held.get(name, (1, 1))) for name, tally in ran.items()),
            tuple(self._elsewhere({id(tally.module) for tally in ran.values()})),
            tuple(self._uncounted()),
        )

    def _note(self, name: str) -> Callable[[nn.Module, object], None]:
        return lambda _module, _inputs: self._called.add(name)

    def _layer(self, name: str, tally: _Tally, held: tuple[int, int]) -> LayerOperations:
        same, presented = held
        own = tally.module
        # What is the same at each of several steps is done once; the sums hold it each time.
        sums = {
            what: int(getattr(tally, what)) // same for what in ("dense", "macs", "acs", "updates", "zeros", "elements")
        }
        return LayerOperations(
            name, self._part(name), type(own).__name__, tally.kind, **sums,
            presented=presented, parameters=_parameters(own), bytes=_bytes(own),
        )  # fmt: skip

    def _part(self, name: str) -> str:
        """A layer of a spiking branch is a part itself; else what a table has room for: the model's direct parts."""
        if any(name in names for names in self._stages()):
            return name
        top, *others = name.split(".")
        several = isinstance(self._model.get_submodule(top), nn.ModuleDict | nn.ModuleList | nn.Sequential)
        return f"{top}.{others[0]}" if several and others else top

    def _stages(self) -> list[list[str]]:
        """The names of each spiking branch's linears and activations, in turn."""
        if not isinstance(self._model, ZooModel):
            return []
        names = {id(module): name for name, module in self._model.named_modules()}
        return [
            [names[id(each)] for stage in stages for each in stage]
            for stages in self._model.branches_by_name().values()
        ]

    def _held(self) -> dict[str, tuple[int, int]]:
        """By layer of a spiking branch, how many steps were counted that are one, and for how many it is presented."""
        found: dict[str, tuple[int, int]] = {}
        for names in self._stages():
            same = 1
            for linear, activation in zip(names[::2], names[1::2], strict=True):
                driving, driven = self._tallies.get(linear), self._tallies.get(activation)
                if driving is None or driven is None or not driving.put_out:
                    break
                # A current with more elements than the linear put out is the linear's result, presented again.
                presented = same * max(driven.given // driving.put_out, 1)
                found[linear] = same, presented
                module = self._model.get_submodule(activation)
                same = presented if isinstance(module, Activation) and not module.temporal else 1
                found[activation] = same, 1
        return found

    def _elsewhere(self, counted: set[int]) -> Iterator[Elsewhere]:
        groups: dict[str, list[tuple[str, nn.Module]]] = {}
        for name, module in self._model.named_modules():
            holds = next(module.parameters(recurse=False), None) is not None
            ran = name in self._called and not next(module.children(), None)
            if id(module) not in counted and (holds or ran or next(module.buffers(recurse=False), None) is not None):
                groups.setdefault(type(module).__name__, []).append((name, module))
        for kind, members in sorted(groups.items()):
            modules = [module for _, module in members]
            called = sum(name in self._called for name, _ in members)
            yield Elsewhere(kind, len(members), called, sum(map(_parameters, modules)), sum(map(_bytes, modules)))

    def _uncounted(self) -> Iterator[Uncounted]:
        """What torch's own counter saw outside of all layers that are counted here."""
        root, seen = type(self._model).__name__, self._seen
        covered = {id(tally.module) for tally in self._tallies.values()}
        for name, module in self._model.named_modules():
            mine = seen.get(f"{root}.{name}" if name else root, 0)
            inner = sum(seen.get(f"{root}.{each}", 0) for each in self._next_called(name, module))
            if id(module) in covered:
                continue
            if mine > inner:
                yield Uncounted(name, type(module).__name__, (mine - inner) // 2)
            elif not mine and name in self._called and _has_matrices(module):
                yield Uncounted(name, type(module).__name__, None)

    def _next_called(self, name: str, module: nn.Module) -> Iterator[str]:
        """The nearest modules below that were called; a ModuleDict never is."""
        for child, inner in module.named_children():
            path = f"{name}.{child}" if name else child
            if path in self._called:
                yield path
            else:
                yield from self._next_called(path, inner)


def _kind(module: nn.Module) -> Kind | None:
    if isinstance(module, SYNAPTIC):
        return "synaptic"
    if isinstance(module, MultiHeadAttention):
        return "attention"
    if isinstance(module, DynamicThresholdLIF):
        return "neurons"
    if isinstance(module, Activation) and not any(isinstance(each, DynamicThresholdLIF) for each in module.modules()):
        return "neurons" if module.temporal else "activation"
    return None


def _has_matrices(module: nn.Module) -> bool:
    """Whether a module has matrices of its own, for more than looking up a row of them."""
    matrices = any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))
    return matrices and not isinstance(module, nn.Embedding | nn.EmbeddingBag)


def _count_synapses(tally: _Tally) -> Any:
    def hook(layer: nn.Module, inputs: tuple[Any, ...], given: Mapping[str, Any], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear | Convolution)
        (x,) = inputs or given.values()
        if tuple(x.shape) not in tally.by_shape:
            tally.by_shape[tuple(x.shape)] = dense_operations(layer, x)
        effective, spikes = effective_operations(layer, x), are_spikes(x)
        tally.calls += 1
        tally.dense += tally.by_shape[tuple(x.shape)]
        tally.acs = tally.acs + effective * spikes
        tally.macs = tally.macs + effective * ~spikes
        tally.zeros = tally.zeros + (x == 0).sum()
        tally.elements += x.numel()
        tally.put_out += output.numel()

    return tally.module.register_forward_hook(hook, with_kwargs=True)


def _count_attention(tally: _Tally) -> Any:
    def hook(_layer: nn.Module, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], _output: Tensor) -> None:
        query, key, _value, mask = inputs
        batch, asking, width = query.shape
        # Queries with keys, and weights with values: each takes a product for every query, key and feature.
        tally.calls += 1
        tally.dense += 2 * batch * asking * key.shape[1] * width
        valid = batch * key.shape[1] if mask is None else mask.sum()
        tally.macs = tally.macs + 2 * asking * width * valid

    return tally.module.register_forward_hook(hook)


def _count_neurons(tally: _Tally) -> Any:
    def hook(_layer: nn.Module, inputs: tuple[Any, ...], given: Mapping[str, Any], output: Tensor) -> None:
        currents = inputs[0] if inputs else given["currents"]
        tally.calls += 1
        tally.given += currents.numel()
        tally.updates += output.numel()
        tally.elements += output.numel()
        tally.zeros = tally.zeros + (output == 0).sum()

    return tally.module.register_forward_hook(hook, with_kwargs=True)


_HOOKS: Mapping[Kind, Callable[[_Tally], Any]] = {
    "synaptic": _count_synapses,
    "attention": _count_attention,
    "neurons": _count_neurons,
    "activation": _count_neurons,
}


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _bytes(module: nn.Module) -> int:
    tensors: Iterable[Tensor] = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return sum(each.numel() * each.element_size() for each in tensors)


Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
SYNAPTIC = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose operations are counted, those that NeuroBench counts and that keep no state."""


def are_spikes(x: Tensor) -> Tensor:
    """Whether an input has 0, 1 and -1 alone, 0-d bool: then nothing needs to be multiplied."""
    return ((x == 0) | (x.abs() == 1)).all()


def dense_operations(layer: nn.Linear | Convolution, x: Tensor) -> int:
    """What a call on ``x`` takes if nothing is skipped; a convolution's border of padding is no input."""
    if isinstance(layer, nn.Linear):
        return x.numel() // layer.in_features * layer.weight.numel()
    # Only how many inputs lie under each place of the kernel matters, so that one of a batch tells of all.
    batched = x.dim() == layer.weight.dim()
    one = x[:1] if batched else x
    return int(_reached(layer, torch.ones_like(one), torch.ones_like(layer.weight))) * (len(x) if batched else 1)


def effective_operations(layer: nn.Linear | Convolution, x: Tensor) -> Tensor:
    """Of those the ones where neither the input nor the weight is 0, 0-d int64 on the device of ``x``."""
    if isinstance(layer, nn.Linear):
        used = (x != 0).reshape(-1, layer.in_features).sum(0)
        return (used * (layer.weight != 0).sum(0)).sum()
    return _reached(layer, x != 0, layer.weight != 0)


def _reached(layer: Convolution, x: Tensor, weight: Tensor) -> Tensor:
    """Pairs of an input and a weight that both are not 0, 0-d int64."""
    # Sums of ones, in float64 exact up to 2^53, which is beyond any batch. MPS has none, so that is done on the CPU.
    where = torch.device("cpu") if x.device.type == "mps" else x.device
    pairs: Tensor = layer._conv_forward(x.to(where, torch.float64), weight.to(where, torch.float64), None)
    return pairs.round().sum().long().to(x.device)
