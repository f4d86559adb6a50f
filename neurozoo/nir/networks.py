"""Any network as a NIR graph, and a NIR graph as a network: ``nz.to_nir(net, x, dt=1e-3)``, ``nz.from_nir(graph)``."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from neurozoo.core.equations import Surrogate
from neurozoo.core.model import Model
from neurozoo.core.recording import layers_of
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Problem
from neurozoo.errors import DISTRIBUTION, SpikingError, UserError
from neurozoo.nir import check_installed
from neurozoo.nir.export.export import ALWAYS_LEFT_OUT, FORMAT, check_positive, conditions, of_neurons
from neurozoo.nir.export.tracing import folded, trace, trace_network, unpadded
from neurozoo.nir.graph import Graph
from neurozoo.nir.import_graph import settled, weights_of
from neurozoo.nir.model import NIRGraphModel
from neurozoo.nir.settings import CHOICES, PLATFORMS, Dynamics, needed
from neurozoo.registry.registry import default_registry

__all__ = ["NIRNetwork", "from_nir", "to_nir"]


def to_nir(net: nn.Module, x: Tensor | Mapping[str, Tensor], *, dt: float = 1e-3) -> Any:
    """Return a network as a graph of the library ``nir``, a node for each weight, layer of neurons and pooling.

    It is followed while it runs on ``x``, in evaluation mode; batch norms are folded into the weights before them. What
    NIR leaves to its reader is in the graph's metadata, which :func:`from_nir` reads. ``nir.write`` makes a file of it.

    Args:
        net: Any module with layers of neurons of neurozoo; or one of the zoo's models.
        x: Currents or other inputs ``[T, B, ...]``; of the zoo's models what their call takes.
        dt: Length of a step, in seconds.

    Returns:
        A ``nir.NIRGraph``.

    Raises:
        UserError: NIR has no node for something in the network, which is named, or nir is not installed.
    """
    check_installed()
    check_positive("dt", dt, "seconds, such as 1e-3")
    layers = layers_of(net)
    _check_not_native(net)
    if not isinstance(net, Model) and not isinstance(x, Tensor):
        raise UserError(f"found a {type(x).__name__} as input; give a tensor [T, B, ...]")
    training = [module for module in net.modules() if module.training]
    try:
        plain = folded(net.eval())
        if isinstance(plain, Model):
            traced = trace(plain, unpadded(plain.batch_of(x)))
        else:
            assert isinstance(x, Tensor)
            traced = trace_network(plain, lambda: plain(x), {"input": x})
    finally:
        for module in training:
            module.training = True

    from neurozoo.nir.export.model_graph import model_graph

    readouts = [f"{name}: {layer.spec.kind}" for name, layer in layers.items() if not layer.spec.spiking]
    metadata = {
        "format": FORMAT,
        "neurozoo": importlib.metadata.version(DISTRIBUTION),
        "model": type(net).__name__,
        **conditions(traced.neurons, dt, "each layer's own", ALWAYS_LEFT_OUT),
        "recurrent_delay": 1,
        "synapse_delay": 0,
        **({} if traced.held is None else {"time_steps": traced.held}),
        **({"readouts": ", ".join(readouts)} if readouts else {}),
        **of_neurons(traced.neurons),
    }
    return model_graph(traced, dt=dt, metadata=metadata)


class NIRNetwork(nn.Module):
    """A NIR graph as a module: inputs ``[T, B, ...]`` to outputs ``[T, B, ...]``, from rest.

    Weights, biases and scales learn. Time constants, resistance, rest, threshold and reset are fixed.

    Args:
        model: The graph's model.
    """

    def __init__(self, model: NIRGraphModel) -> None:
        super().__init__()
        self.model = model

    @property
    def dynamics(self) -> Dynamics:
        """How the graph's equations become steps."""
        return self.model.dynamics

    def forward(self, x: Tensor) -> Tensor:
        """Return the graph's outputs ``[T, B, ...]``.

        Args:
            x: ``[T, B, ...]`` in the shape of the graph's Input, or flat.

        Raises:
            SpikingError: They are not.
        """
        shape = tuple(self.model.graph.input.shape or ())
        if tuple(x.shape[2:]) not in (shape, (prod(shape),)):
            raise SpikingError(
                f"the graph takes [T, B, {', '.join(map(str, shape))}], and the input is {list(x.shape)}; a batch "
                "without steps becomes one that is held for T steps by x.expand(T, *x.shape)"
            )
        return self.model.outputs(x.reshape(*x.shape[:2], *shape))

    def extra_repr(self) -> str:
        return f"{len(self.model.graph.nodes)} nodes"


def from_nir(
    graph: Any,
    *,
    backend: str = "torch",
    platform: str | None = None,
    surrogate: Surrogate = "atan",
    alpha: float = 2.0,
    **settings: Any,
) -> NIRNetwork:
    """Make a network of a NIR graph.

    NIR leaves to its reader what a step is; these settings have no defaults, but a graph of :func:`to_nir` states them
    in its metadata.

    Args:
        graph: A ``nir.NIRGraph``, or a .nir file, which is read in a limited process.
        backend: Name of the backend that its neurons run on.
        platform: One of :data:`~neurozoo.nir.settings.PLATFORMS`, for settings that are not given.
        surrogate: Backward function of a spike, for which NIR has no field.
        alpha: Its steepness, dimensionless.
        settings: See :class:`~neurozoo.nir.settings.Dynamics`: ``dt``, ``reset``, ``integration``, ``fires``,
            ``forward_delay``, ``recurrent_delay``, ``synapse_delay``. They win over the metadata.

    Raises:
        DataError: The graph holds what cannot be run; names the node.
        UserError: A setting is missing, unknown or does not go with the graph, or nir is not installed.
        SpikingError: The backend does not run its neurons.
    """
    check_installed()
    from neurozoo.nir.reading import read_nir
    from neurozoo.nir.writing import file_content

    if isinstance(graph, str | Path):
        file = read_nir(Path(graph))
    else:
        with tempfile.TemporaryDirectory() as folder:  # the reader's checks are for files
            path = Path(folder) / "graph.nir"
            path.write_bytes(file_content(graph))
            file = read_nir(path)
    dynamics = _dynamics(file.graph, settings, file.metadata, platform)
    names = tuple(map(str, range(file.graph.output.size)))
    registry = default_registry()
    task = registry.resolve("task", "multilabel")(names, False)
    problem = Problem({"input": SignalShape(tuple(file.graph.input.shape or ()), 1)}, task)
    model = NIRGraphModel(
        problem,
        lambda *_: None,
        registry.resolve("neuron", backend),
        nodes=file.graph.nodes,
        edges=file.graph.edges,
        readout="sum",
        surrogate=surrogate,
        alpha=alpha,
        **asdict(dynamics),
    )
    model.load_state_dict(weights_of(file))
    return NIRNetwork(model)


def _dynamics(graph: Graph, given: Mapping[str, Any], metadata: Mapping[str, str], platform: str | None) -> Dynamics:
    """Return every setting: given, or stated by the graph's own metadata, or the platform's."""
    names = [each.name for each in fields(Dynamics)]
    if unknown := [name for name in given if name not in names]:
        raise UserError(f"there is no setting {', '.join(unknown)}; there are: {', '.join(names)}")
    stated: dict[str, Any] = {}
    if metadata.get("format") == FORMAT:
        numbers = {"dt": float, "forward_delay": int, "recurrent_delay": int, "synapse_delay": int}
        try:
            stated = {name: numbers.get(name, str)(metadata[name]) for name in names if name in metadata}
        except ValueError as error:
            raise UserError(f"the graph's metadata states {error}; give the settings by name") from error
    known = {**stated, **given}
    missing = [] if platform is not None else [name for name in needed(graph) if name not in known]
    if missing:
        ways = [f"{name}={'SECONDS' if name == 'dt' else ' or '.join(map(repr, CHOICES[name]))}" for name in missing]
        raise UserError(
            f"NIR leaves to its reader what this graph needs to run; give {', '.join(ways)}; or platform=, which gives "
            f"some of it as on {', '.join(PLATFORMS)}"
        )
    return settled(graph, known, platform)


def _check_not_native(net: nn.Module) -> None:
    """Refuse neurons of a backend that is another model than would be exported."""
    natives = {
        component.target: name
        for name, component in default_registry().components("neuron").items()
        if component.native
    }
    for name, layer in layers_of(net).items():
        kind = type(layer.neuron)
        if (backend := natives.get(f"{kind.__module__}:{kind.__qualname__}")) is not None:
            raise UserError(
                f"{name or 'the network'}: runs on {backend}, whose neuron is its library's own and another than would "
                'be exported; neurozoo.set_backend(net, "torch") changes it'
            )
