"""A NIR graph as a model: what another simulator trained, or a chip runs, on any backend.

Composition only: the graph is in the recipe, its meaning in ``neurozoo.nir``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.equations import Surrogate
from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Model, Parts
from neurozoo.core.neuron import State
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.nir.graph import DYNAMIC, NEURONS, Edge, Graph, Node
from neurozoo.nir.nodes import Neurons, NIRNode, make_node
from neurozoo.nir.settings import Dynamics, Fires, Integration, Reset
from neurozoo.nn.steps import as_steps

__all__ = ["NIRGraphModel", "Readout", "module_name"]

Readout = Literal["rate", "sum", "mean", "max", "last"]


class NIRGraphModel(Model):
    """A NIR graph, each position of one signal presented for one step of length ``dt``.

    Weights, biases and scales learn. What a neuron is (its time constants, resistance, rest, threshold and reset) is
    in the recipe and stays.

    Args:
        problem: One signal whose numbers a position fill the graph's Input, and as many outputs as its Output has
            elements; any task per sample.
        parts: Not used: a graph has no slots.
        neuron: Makes the backend's neuron.
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

    slots: ClassVar[Mapping[str, str | type[Any]]] = {}

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
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
        super().__init__(problem)
        self.graph = Graph.of(nodes, edges)
        self.shapes = self.graph.shapes()
        self.readout = readout
        self.dynamics = Dynamics(dt, reset, integration, fires, forward_delay, recurrent_delay, synapse_delay)
        self._check(problem)
        (self.name,) = problem.signals
        self.nodes = nn.ModuleDict(
            {
                module_name(node.name): make_node(node, self.dynamics, neuron, surrogate, alpha)
                for node in self.graph.nodes
                if node.kind != "Input"
            }
        )

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        settings = dict(params)
        nodes, edges = settings.pop("nodes", ()), settings.pop("edges", ())
        readout = settings.pop("readout", "")
        graph = Graph.of(nodes, edges)
        wrong = list(graph.problems())
        yield from wrong
        if not wrong and readout == "rate" and not graph.gives_spikes:
            yield "readout", "rate is of spikes, and the Output gets other numbers; give sum, mean, max or last"
        names = Dynamics.__dataclass_fields__
        if not wrong and all(name in settings for name in names):
            yield from Dynamics(**{name: settings[name] for name in names}).problems(graph)

    def forward(self, batch: Batch) -> Tensor:
        """Outputs ``[B, K]``."""
        signal = self.signal(batch, self.name)
        steps, valid = as_steps(signal)
        if valid is None:
            valid = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
        made = self.outputs(steps.reshape(*steps.shape[:2], *(self.graph.input.shape or ())), valid)
        return self._read(made.flatten(2), valid)

    def outputs(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """What the graph makes of its input ``[T, B, ...]``, as ``[T, B, ...]``, from rest.

        Args:
            x: The Input's values.
            valid: ``[T, B]``, the steps that count, for whoever records the neurons.
        """
        made = {self.graph.input.name: x}
        for component in self.graph.components:
            if self.graph.is_loop(component):
                made.update(self._loop(component, made, valid))
            elif component[0] not in made:
                (name,) = component
                arriving = self._late(name, _sum(made[source] for source in self.graph.sources[name]))
                made[name] = self._node(name)(arriving, valid)
        return made[self.graph.output.name]

    def _check(self, problem: Problem) -> None:
        takes, makes = self.graph.input.size, self.graph.output.size
        there = ", ".join(f"{name} {shape}" for name, shape in problem.signals.items())
        if len(problem.signals) != 1:
            raise DataError(f"a NIR graph takes one signal, and the data gives: {there}; name one in data.inputs")
        if problem.task.per_step:
            raise DataError("a NIR graph's outputs are read out once a sample, and the task is per step; give another")
        (shape,) = problem.signals.values()
        if shape.dim != takes:
            raise DataError(
                f"the graph's Input takes {takes} numbers a step and the data has {shape.dim}; give other data"
            )
        if problem.outputs != makes:
            raise DataError(
                f"the graph's Output has {makes} elements and the data {problem.outputs} {problem.task.noun}s; give "
                "data with as many"
            )

    def _late(self, name: str, x: Tensor) -> Tensor:
        """What a node gets, a step later where it is a neuron and its senders take one."""
        if self.graph.by_name[name].kind not in NEURONS or not self.dynamics.forward_delay:
            return x
        return torch.cat((torch.zeros_like(x[:1]), x[:-1]))

    def _loop(self, component: Sequence[str], made: Mapping[str, Tensor], valid: Tensor | None) -> dict[str, Tensor]:
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
            if isinstance(node, Neurons) and node.layer.recorders:
                currents = node.currents(torch.stack(given[name]), ())[0]
                node.layer.record(currents, found[name], node.levels(currents), valid)
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
