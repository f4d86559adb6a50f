"""A NIR graph as a model: what another simulator trained, or a chip runs, on any backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Annotated, Any, Literal, cast

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
from neurozoo.nir.nodes import NIRNode, make_node
from neurozoo.nir.settings import Dynamics, Fires, Integration, Reset
from neurozoo.nn.steps import as_steps, read_out

__all__ = ["NIRGraphModel", "Readout", "module_name"]

Readout = Literal["rate", "sum", "mean", "max", "last"]


class NIRGraphModel(Model):
    """A NIR graph, each position of one signal presented for one step of length ``dt``.

    Weights, biases and scales learn. The neurons' time constants, resistance, rest, threshold and reset are in the
    recipe and fixed.

    Args:
        problem: One signal with as many numbers a position as the graph's Input has, and as many outputs as its Output
            has elements; any task per sample.
        parts: Not used: a graph has no slots.
        neuron: Makes the backend's neuron.
        nodes: See :class:`~neurozoo.nir.graph.Node`.
        edges: Pairs of names, from and to.
        dt: Length of a step, in the unit of the graph's time constants (seconds).
        reset: See :class:`~neurozoo.nir.settings.Dynamics`, like the next five.
        integration: Euler's method, or exact for a constant current.
        fires: At the threshold, or above it.
        forward_delay: Steps.
        recurrent_delay: Steps.
        synapse_delay: Steps.
        readout: What of the outputs is a label's logit: ``rate``, the log odds of a neuron's firing rate with half a
            spike added to either side; or the ``sum``, ``mean``, ``max`` or ``last`` of the outputs.
        surrogate: Backward function of a spike, for which NIR has no field.
        alpha: Its steepness, dimensionless.
    """

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
        """Return the graph's outputs ``[T, B, ...]`` of its inputs ``[T, B, ...]``, from rest.

        Args:
            x: The Input's values.
            valid: ``[T, B]``, the steps that count, for recorders.
        """
        made = {self.graph.input.name: x}
        for component in self.graph.components:
            if self.graph.is_loop(component):
                made.update(self._loop(component, made, valid))
            elif component[0] not in made:
                (name,) = component
                arriving = self._late(name, reduce(add, (made[source] for source in self.graph.sources[name])))
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
        """Delay a neuron's input by the step that outputs of other nodes take, if they do."""
        if self.graph.by_name[name].kind not in NEURONS or not self.dynamics.forward_delay:
            return x
        return torch.cat((torch.zeros_like(x[:1]), x[:-1]))

    def _loop(self, component: Sequence[str], made: Mapping[str, Tensor], valid: Tensor | None) -> dict[str, Tensor]:
        """Run a loop step by step: neurons in it get each other's outputs of ``recurrent_delay`` steps before."""
        late = self.dynamics.recurrent_delay
        outside: dict[str, Sequence[Tensor]] = {}
        for name in component:
            sources = [made[source] for source in self.graph.sources[name] if source not in component]
            if sources:
                outside[name] = self._late(name, reduce(add, sources)).unbind(0)
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
                given[name].append(reduce(add, arriving))
                y, states[name] = self._node(name).run(given[name][t][None], states[name])
                steps[name].append(y[0])
        return {
            name: self._node(name).record(torch.stack(given[name]), torch.stack(steps[name]), valid)
            for name in component
        }

    def _node(self, name: str) -> NIRNode:
        return cast(NIRNode, self.nodes[module_name(name)])

    def _read(self, made: Tensor, valid: Tensor) -> Tensor:
        """Logits ``[B, K]`` of outputs ``[T, B, K]`` at the valid steps ``[T, B]``."""
        if self.readout == "mean" or self.readout == "max" or self.readout == "last":
            return read_out(made, valid, self.readout)
        total = (made * valid[..., None]).sum(0)
        if self.readout == "sum":
            return total
        # Spikes of several nodes add up.
        most = valid.sum(0)[:, None] * len(self.graph.sources[self.graph.output.name])
        return ((total + 0.5) / (most - total + 0.5)).log()

    def extra_repr(self) -> str:
        return f"{self.dynamics}, readout={self.readout}"


_TAKEN = nn.ModuleDict()
"""Its attributes, such as ``training``, cannot be names of modules."""


def module_name(node: str) -> str:
    """Return a node's name as a module's, without dots and other than attributes; names of NIR have no ``/``."""
    name = node.replace(".", "/")
    return f"/{name}" if hasattr(_TAKEN, name) else name
