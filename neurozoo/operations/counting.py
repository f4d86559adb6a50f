"""Count a model's operations while it runs, by hooks and the recorder, in any model and without changing it.

Encoders of SMILE call a block that has hooks, so that encoder blocks are counted layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.recording import neuron_layers, recorded
from neurozoo.nn.attention import MultiHeadAttention, SpikingAttention
from neurozoo.nn.fan_out import SYNAPTIC, Synaptic
from neurozoo.operations.elementwise import Arithmetic, ElementwiseCounter
from neurozoo.operations.result import Counts, Elsewhere, Fed, LayerOperations, Uncounted
from neurozoo.operations.synaptic import (
    attention_products,
    dense_operations,
    least_of,
    spiking_attention_products,
    synaptic_products,
)

__all__ = ["OperationCounter"]

Kind = Literal["synaptic", "attention", "neurons", "activation"]
_SUMS = {"dense", "macs", "acs", "repeated", "updates", "zeros", "elements"}
_ROUNDING = 1e-4
"""Of the largest number of a step, for layers behind one another."""
_CONTAINERS = (nn.ModuleDict, nn.ModuleList, nn.Sequential)


@dataclass
class _Tally:
    """What one layer did so far; ``sums`` by the names of ``LayerOperations`` stay on the device.

    ``layer`` is the layer of neurons that it is a part of, if any. ``pending`` is the last call of its synapse, until
    the neurons have run, whose currents have the number of steps, and ``given`` what that call got.
    """

    kind: Kind
    module: nn.Module
    part: str
    layer: str = ""
    calls: int = 0
    sums: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0))
    presented: int = 1
    fed: Fed | None = None
    given: Tensor | None = None
    pending: dict[str, Any] = field(default_factory=dict)
    by_shape: dict[tuple[int, ...], int] = field(default_factory=dict)

    def add(self, amounts: Mapping[str, Any], steps: int = 1) -> None:
        """Count a call's amounts, which were the same at each of so many steps and are done once."""
        self.calls += 1
        if "fed" in amounts:
            self.fed = least_of(self.fed, amounts["fed"])
        for what in _SUMS & amounts.keys():
            self.sums[what] += amounts[what] // steps


class OperationCounter:
    """Counts what a model computes over any number of forwards in evaluation mode.

    Everything that goes through a layer is counted, rows of padding too (``neurozoo.operations.profiling`` removes
    them). It may be entered again, and leaves no hook behind. Products that no rule covers are searched with torch's
    own counter, which is slow, so only in the first block unless it finds some.

    Args:
        model: Any module.

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
        self._layers = neuron_layers(model)
        # A network without states, such as a control, does at all steps what it does at one where its input is held.
        self._timeless = not any(layer.spec.temporal for layer in self._layers.values())
        self._same_steps, self._samples = 1, 0
        self._running: list[str] = []
        self._elementwise = ElementwiseCounter(self._innermost, self._steps_alike)
        found: dict[str, _Tally] = {}
        for name, module in model.named_modules():
            kind = _kind(module)
            if kind is not None:
                layer, part = self._place(name)
                found[name] = _Tally(kind, module, part, layer)
        for name, tally in found.items():  # the weights of a layer of neurons before the neurons
            inside = [other for other in found if name in self._layers and found[other].layer == name]
            self._tallies.update({other: found[other] for other in inside} | {name: tally})
        self._elementary = {name for name, _ in model.named_modules() if name not in found and self._outside(name)}

    def __enter__(self) -> OperationCounter:
        self._open = ExitStack()
        if not torch.is_grad_enabled():
            # torch's counter hangs hooks on the graph, where a view of a parameter has no node without gradients.
            for each in [each for each in self._model.parameters() if each.requires_grad]:
                self._open.callback(each.requires_grad_(False).requires_grad_)
        self._open.enter_context(recorded(self._model, self._count_neurons))
        for tally in self._tallies.values():
            if tally.kind == "synaptic":
                self._open.callback(self._count_synapses(tally).remove)
            elif tally.kind == "attention":
                self._open.callback(self._count_attention(tally).remove)
        for name, module in self._model.named_modules():
            self._open.callback(module.register_forward_pre_hook(partial(self._note, name)).remove)
            self._open.callback(module.register_forward_hook(self._left, always_call=True).remove)
        self._open.enter_context(self._elementwise)
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
        ran = {name: tally for name, tally in self._tallies.items() if tally.calls}
        return Counts(
            samples,
            tuple(self._layer(name, tally) for name, tally in ran.items()),
            tuple(self._elsewhere({id(tally.module) for tally in ran.values()})),
            tuple(self._uncounted()),
        )

    def _note(self, name: str, _module: nn.Module, _inputs: object) -> None:
        self._called.add(name)
        self._running.append(name)

    def _left(self, *_: object) -> None:
        if self._running:  # a hook before it may have failed
            self._running.pop()

    def _innermost(self) -> str | None:
        """The module that runs, if it is neither a synapse nor neurons."""
        return self._running[-1] if self._running and self._running[-1] in self._elementary else None

    def _outside(self, name: str) -> bool:
        """Whether a module is outside of the neurons of all layers, whose arithmetic is that of their updates."""
        above = [layer for layer in self._layers if name == layer or name.startswith(f"{layer}.")]
        return all(f"{name}.".startswith(f"{layer}.synapse.") for layer in above)

    def _layer(self, name: str, tally: _Tally) -> LayerOperations:
        own = tally.module
        sums = {what: int(amount) for what, amount in tally.sums.items()}
        sums |= {"presented": tally.presented, "parameters": _parameters(own), "bytes": _bytes(own)}
        return LayerOperations(name, tally.part, type(own).__name__, tally.kind, **sums, fed=tally.fed)

    def _place(self, name: str) -> tuple[str, str]:
        """The layer of neurons that a module belongs to, if any; and the part that it counts for on a table.

        Neurons, their synapse and their recurrent weights are a part each; else the model's direct parts are, as a
        table has room for no more.
        """
        if name in self._layers:
            above = name.rpartition(".")[0]
            holder = self._model.get_submodule(above)
            several = isinstance(holder, _CONTAINERS)
            direct = sum(isinstance(child, SpikingLayer) for child in holder.children())
            alone = bool(above) and not several and direct == 1
            return "", above if alone else name
        for layer in self._layers:
            inside = name.removeprefix(f"{layer}.")
            if inside != name:
                return layer, f"{layer}.{inside.partition('.')[0]}"
        top, *others = name.split(".")
        several = bool(top) and isinstance(self._model.get_submodule(top), _CONTAINERS)
        return "", f"{top}.{others[0]}" if several and others else top

    def _count_synapses(self, tally: _Tally) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], given: Mapping[str, Any], output: Tensor) -> None:
            assert isinstance(layer, Synaptic)
            x = (*inputs, *given.values())[0]  # a mask may follow
            with _disable_current_modes():  # torch's counter would see what is computed here, too
                amounts = _products(tally, layer, x, layer.weight) | {"put_out": output.numel()}
            if tally.layer:
                tally.pending, tally.given = amounts, x
            else:
                tally.add(amounts, self._steps_alike(x))

        return tally.module.register_forward_hook(hook, with_kwargs=True)

    def _count_attention(self, tally: _Tally) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], _output: Tensor) -> None:
            if isinstance(layer, SpikingAttention):
                with _disable_current_modes():
                    tally.add(spiking_attention_products(layer, *inputs), self._steps_alike(inputs[0]))
            else:
                query, key, _, mask = inputs
                tally.add(attention_products(query, key, mask))

        return tally.module.register_forward_hook(hook)

    def _count_neurons(self, name: str, firing: Firing) -> None:
        """Count a layer's run, and its synapse's last call with it."""
        layer, tally, steps = self._layers[name], self._tallies[name], len(firing.currents)
        self._same_steps, self._samples = steps, firing.currents.shape[1]
        mine = [each for each in self._tallies.values() if each.layer == name and each.pending]
        # Currents may be alike because the weights are 0; then the inputs of each step tell whether they are held.
        each_step = [each.given for each in mine if each.pending["put_out"] >= firing.currents.numel()]
        alike = self._timeless and _alike(firing.currents) and all(map(self._may_be_held, each_step))
        same = self._same_steps = steps if alike else 1
        for each in mine:
            # A current with more elements than the synapse put out is its result, presented again.
            held = max(firing.currents.numel() // max(each.pending["put_out"], 1), 1)
            each.add(each.pending, 1 if held > 1 else same)
            each.presented, each.pending, each.given = max(held, same), {}, None
        put_out = {"elements": firing.spikes.numel(), "zeros": (firing.spikes == 0).sum()}
        fires = layer.spec.spiking or not layer.spec.temporal  # a readout's numbers are no activity
        tally.add({"updates": firing.spikes.numel(), **(put_out if fires else {})}, same)
        if layer.recurrent is not None:
            before = torch.cat((torch.zeros_like(firing.spikes[:1]), firing.spikes[:-1]))
            back = self._tallies[f"{name}.recurrent"]
            back.add(_products(back, layer.recurrent, before, layer.returning()))

    def _steps_alike(self, x: Tensor) -> int:
        """The steps at which ``x`` is the same, behind layers without states whose input is held.

        Steps are its first axis, or T and B are merged there.
        """
        same = self._same_steps
        if same == 1 or x.dim() < 2:
            return 1
        if len(x) == same and x.dim() > 2 and len(x) != same * self._samples:
            return same if _alike(x) else 1
        merged = len(x) == same * self._samples
        return same if merged and _alike(x.reshape(same, -1, *x.shape[1:])) else 1

    def _may_be_held(self, x: Tensor | None) -> bool:
        """Whether an input is not known to differ between the steps, see :meth:`_steps_alike`."""
        if x is None or len(x) not in (self._same_steps, self._same_steps * self._samples):
            return True
        return self._same_steps == 1 or self._steps_alike(x) > 1

    def _elsewhere(self, counted: set[int]) -> Iterator[Elsewhere]:
        groups: dict[str, list[tuple[str, nn.Module]]] = {}
        arithmetic = self._elementwise.found
        for name, module in self._model.named_modules():
            holds = next(module.parameters(recurse=False), None) is not None
            ran = name in self._called and not next(module.children(), None)
            has = holds or ran or name in arithmetic or next(module.buffers(recurse=False), None) is not None
            if id(module) not in counted and has:
                groups.setdefault(type(module).__name__, []).append((name, module))
        for kind, members in sorted(groups.items()):
            modules = [module for _, module in members]
            called = sum(name in self._called for name, _ in members)
            done = [arithmetic[name] for name, _ in members if name in arithmetic]
            sums = {each.name: sum(getattr(one, each.name) for one in done) for each in fields(Arithmetic)}
            parameters, size = sum(map(_parameters, modules)), sum(map(_bytes, modules))
            yield Elsewhere(kind, len(members), called, parameters, size, **sums)

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
    if isinstance(module, MultiHeadAttention | SpikingAttention):
        return "attention"
    if isinstance(module, SpikingLayer):
        return "neurons" if module.spec.temporal else "activation"
    return None


def _has_matrices(module: nn.Module) -> bool:
    """Whether a module has matrices of its own, for more than looking up a row of them."""
    matrices = any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))
    return matrices and not isinstance(module, nn.Embedding | nn.EmbeddingBag)


def _alike(steps: Tensor) -> bool:
    """Whether ``[T, ...]`` is the same at each of several steps, up to what rounds with the place in a batch."""
    if len(steps) < 2 or not steps.is_floating_point():
        return len(steps) > 1 and bool((steps == steps[:1]).all())
    return bool((steps - steps[:1]).abs().amax() <= _ROUNDING * steps[:1].abs().amax())


def _products(tally: _Tally, layer: Synaptic, x: Tensor, weight: Tensor) -> dict[str, Any]:
    """What a call of a layer of weights multiplies."""
    if tuple(x.shape) not in tally.by_shape:
        tally.by_shape[tuple(x.shape)] = dense_operations(layer, x)
    return synaptic_products(layer, x, weight) | {"dense": tally.by_shape[tuple(x.shape)]}


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _bytes(module: nn.Module) -> int:
    tensors: Iterable[Tensor] = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return sum(each.numel() * each.element_size() for each in tensors)
