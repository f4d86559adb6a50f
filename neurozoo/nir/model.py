"""A NIR graph as a model: what another simulator trained, or a chip runs, on any backend.

Composition only: the graph is in the recipe, its meaning in ``neurozoo.nir``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.interfaces import Activation, Batch, Inputs, LIFSpec, Neuron, Parts, Surrogate, ZooModel
from neurozoo.core.layer import DynamicThresholdLIF
from neurozoo.errors import DataError
from neurozoo.nir.graph import DYNAMIC, NEURONS, Edge, Graph, Node
from neurozoo.nir.nodes import Neurons, NIRNode, State, make_node
from neurozoo.nir.settings import Dynamics, Fires, Integration, Reset
from neurozoo.nn.hook_checks import listened_to
from neurozoo.nn.sequence import left_aligned
from neurozoo.nn.standardise import Standardise

__all__ = ["NIRGraphModel", "Readout", "module_name"]

Readout = Literal["rate", "sum", "mean", "max", "last"]


class NIRGraphModel(ZooModel):
    """A NIR graph, each position of the one spiking modality presented for one step of length ``dt``.

    Weights, biases and scales learn. What a neuron is (its time constants, resistance, rest, threshold and reset) is
    in the recipe and stays.

    Args:
        inputs: The data's sizes and roles: one spiking modality whose features fill the graph's Input, no context, and
            as many labels as its Output has elements.
        parts: Not used: a graph has no slots.
        neuron: Makes the backend's neuron.
        standardise: Whether features are scaled by training statistics first.
        nodes: See :class:`~neurozoo.nir.graph.Node`.
        edges: Pairs of names, from and to.
        dt: Length of a step, in the unit of the graph's time constants (seconds).
        reset: See :class:`~neurozoo.nir.settings.Dynamics`, as for the next five.
        integration: As said.
        fires: As said.
        forward_delay: As said.
        recurrent_delay: As said.
        synapse_delay: As said.
        readout: What of the outputs is a label's logit: ``rate``, the log odds of a neuron's firing rate with half a
            spike added to either side; or the ``sum``, ``mean``, ``max`` or ``last`` of the outputs.
        surrogate: Backward function of a spike; NIR does not say one.
        alpha: Its steepness, dimensionless.
    """

    slots: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        inputs: Inputs,
        parts: Parts,
        neuron: Callable[[LIFSpec], Neuron],
        standardise: bool,
        *,
        nodes: tuple[Node, ...],
        edges: tuple[Edge, ...],
        dt: Annotated[float, Field(gt=0)],
        reset: Reset,
        integration: Integration,
        fires: Fires,
        forward_delay: Literal[0, 1],
        recurrent_delay: Annotated[int, Field(ge=1, le=1024)],
        synapse_delay: Literal[0, 1],
        readout: Readout,
        surrogate: Surrogate = "atan",
        alpha: Annotated[float, Field(gt=0)] = 2.0,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.graph = Graph.of(nodes, edges)
        self.shapes = self.graph.shapes()
        self.readout = readout
        self.dynamics = Dynamics(dt, reset, integration, fires, forward_delay, recurrent_delay, synapse_delay)
        self._check(inputs)
        (self.modality,) = inputs.spiking
        self.standardise = nn.ModuleDict({m: Standardise(inputs.dims[m]) for m in inputs.spiking if standardise})
        self.nodes = nn.ModuleDict(
            {
                module_name(node.name): make_node(node, self.dynamics, neuron, surrogate, alpha)
                for node in self.graph.nodes
                if node.kind != "Input"
            }
        )

    @staticmethod
    def check_params(
        *, nodes: Any = (), edges: Any = (), readout: str = "", **settings: Any
    ) -> Iterable[tuple[str, str]]:
        """What is wrong with the graph, as (parameter, problem)."""
        graph = Graph.of(nodes, edges)
        wrong = list(graph.problems())
        yield from wrong
        if not wrong and readout == "rate" and not graph.gives_spikes:
            yield "readout", "rate is of spikes, and the Output gets other numbers; give sum, mean, max or last"
        names = Dynamics.__dataclass_fields__
        if not wrong and all(name in settings for name in names):
            yield from Dynamics(**{name: settings[name] for name in names}).problems(graph)

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``[B, K]``."""
        sequence = left_aligned(self._features(batch), batch.masks[self.modality])
        steps = sequence.x.transpose(0, 1)
        made = self.outputs(steps.reshape(*steps.shape[:2], *(self.graph.input.shape or ())))
        return self._read(made.flatten(2), self._steps(batch))

    def outputs(self, x: Tensor) -> Tensor:
        """What the graph makes of its input ``[T, B, ...]``, as ``[T, B, ...]``, from rest."""
        made = {self.graph.input.name: x}
        for component in self.graph.components:
            if self.graph.is_loop(component):
                made.update(self._loop(component, made))
            elif component[0] not in made:
                (name,) = component
                node = self._node(name)
                made[name] = node(self._late(name, _sum(made[source] for source in self.graph.sources[name])))
        return made[self.graph.output.name]

    def layer_masks(self, batch: Batch) -> Mapping[str, Tensor | None]:
        return {
            name: self._steps(batch)[..., None]
            for name, module in self.named_modules()
            if isinstance(module, DynamicThresholdLIF)
        }

    def branches_by_name(self) -> Mapping[str, Sequence[tuple[nn.Linear, Activation]]]:
        return {}

    def _check(self, inputs: Inputs) -> None:
        takes, makes = self.graph.input.size, self.graph.output.size
        if len(inputs.spiking) != 1 or inputs.context is not None:
            raise DataError("a NIR graph takes one spiking modality and no context; set data.spiking and data.context")
        found = inputs.dims[inputs.spiking[0]]
        if found != takes:
            raise DataError(f"the graph's Input takes {takes} numbers a step and the data has {found}; give other data")
        if inputs.labels != makes:
            raise DataError(
                f"the graph's Output has {makes} elements and the data {inputs.labels} labels; give data with as many"
            )

    def _features(self, batch: Batch) -> Tensor:
        x = batch.features[self.modality]
        return self.standardise[self.modality](x) if self.modality in self.standardise else x

    def _steps(self, batch: Batch) -> Tensor:
        """The steps that count, ``[T = L, B]``: as many as there are valid positions, from the first."""
        mask = batch.masks[self.modality]
        return torch.arange(mask.shape[1], device=mask.device)[:, None] < mask.sum(1)

    def _late(self, name: str, x: Tensor) -> Tensor:
        """What a node gets, a step later where it is a neuron and its senders take one."""
        if self.graph.by_name[name].kind not in NEURONS or not self.dynamics.forward_delay:
            return x
        return torch.cat((torch.zeros_like(x[:1]), x[:-1]))

    def _loop(self, component: Sequence[str], made: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A loop, one step after the other: what its neurons send back into it was made ``recurrent_delay`` ago."""
        late = self.dynamics.recurrent_delay
        outside: dict[str, Sequence[Tensor]] = {}
        for name in component:
            sources = [made[source] for source in self.graph.sources[name] if source not in component]
            if sources:
                outside[name] = self._late(name, _sum(sources)).unbind(0)
        like = next(iter(made.values()))
        steps: dict[str, list[Tensor]] = {name: [] for name in component}
        given: dict[str, list[Tensor]] = {name: [] for name in component}
        states: dict[str, State] = dict.fromkeys(component, ())
        for t in range(len(like)):
            for name in component:
                arriving = [outside[name][t]] if name in outside else []
                for source in self.graph.sources[name]:
                    if source not in component:
                        continue
                    if self.graph.by_name[source].kind not in DYNAMIC:
                        arriving.append(steps[source][t])
                    elif t >= late:
                        arriving.append(steps[source][t - late])
                    else:
                        arriving.append(like.new_zeros(like.shape[1], *self.shapes[source]))
                given[name].append(_sum(arriving))
                y, states[name] = self._node(name).run(given[name][t][None], states[name])
                steps[name].append(y[0])
        found = {name: torch.stack(each) for name, each in steps.items()}
        for name in component:
            node = self._node(name)
            if isinstance(node, Neurons) and listened_to(node):
                found[name] = node(torch.stack(given[name]))  # once more as a whole, for those who listen to its layers
        return found

    def _node(self, name: str) -> NIRNode:
        return cast(NIRNode, self.nodes[module_name(name)])

    def _read(self, made: Tensor, counts: Tensor) -> Tensor:
        """Logits ``[B, K]`` of outputs ``[T, B, K]`` at the steps ``[T, B]`` that count."""
        steps = counts.sum(0)[:, None]
        if self.readout == "last":
            return made.gather(0, (steps - 1).clamp(min=0).expand_as(made[0])[None])[0] * (steps > 0)
        if self.readout == "max":
            highest = made.masked_fill(~counts[..., None], torch.finfo(made.dtype).min).amax(0)
            return torch.where(steps > 0, highest, 0.0)
        total = (made * counts[..., None]).sum(0)
        if self.readout == "rate":
            most = steps * len(self.graph.sources[self.graph.output.name])  # spikes of several nodes add up
            return ((total + 0.5) / (most - total + 0.5)).log()
        return total / steps.clamp(min=1) if self.readout == "mean" else total

    def extra_repr(self) -> str:
        return f"{self.dynamics}, readout={self.readout}"


_TAKEN = nn.ModuleDict()
"""What it has, such as ``training``, can be no module's name."""


def module_name(node: str) -> str:
    """A node's name as a module's, which holds no dot and is no attribute; ``/`` is in no name of NIR."""
    name = node.replace(".", "/")
    return f"/{name}" if hasattr(_TAKEN, name) else name


def _sum(tensors: Iterable[Tensor]) -> Tensor:
    first, *others = tensors
    for other in others:
        first = first + other
    return first
