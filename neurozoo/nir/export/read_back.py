"""An export read back by other libraries' own readers, and compared spike by spike with the model."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.core.signals import Batch, Signal
from neurozoo.data.manifest import TaskEntry
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import DataError, NeurozooError, NotInstalledError, PluginError, UserError
from neurozoo.evaluation.evaluate import check_data
from neurozoo.models.build import open_data
from neurozoo.nir.export.export import Export
from neurozoo.nir.export.folding import folded
from neurozoo.nir.export.judging import Neurons, judge
from neurozoo.nir.export.observing import ObservedBranch, observe, observed
from neurozoo.nir.export.spiking_branches import branches_of, layers_of, neuron_at
from neurozoo.nir.export.tracing import Link, trace
from neurozoo.nir.readers import NIRReader
from neurozoo.registry.registry import Registry
from neurozoo.runs.loading import TrainedModel, load

__all__ = ["ReadBack", "Row", "read_back", "reader_of", "readers"]


@dataclass(frozen=True)
class Row:
    """One branch, read by one library.

    Attributes:
        library: The backend's name.
        versions: Of what it needs, by name.
        branch: Name of the branch.
        spikes: How many were compared, of all layers; 0 where it could not be read.
        fired: How many of the model's are 1.
        mismatches: How many differ, but for rounding; None where it could not be read.
        rounding: How many more differ, by rounding alone; see :mod:`neurozoo.nir.export.judging`.
        first: Layer and step of the first mismatch, from 1.
        notes: What the library left out of account, or why it could not read the graph.
    """

    library: str
    versions: dict[str, str]
    branch: str
    spikes: int
    fired: int
    mismatches: int | None
    rounding: int
    first: tuple[int, int] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ReadBack:
    """What all readers made of an export.

    Attributes:
        samples: On what, in words.
        made_up: Whether the samples are made up.
        rows: One a library and branch.
    """

    samples: str
    made_up: bool
    rows: tuple[Row, ...]

    @property
    def same(self) -> bool:
        """Whether every library has the model's spikes, but for rounding."""
        return all(row.mismatches == 0 for row in self.rows)


def readers(registry: Registry) -> list[str]:
    """The installed backends whose library has a reader of NIR that can be used."""
    found = []
    for name in registry.usable("neuron"):
        try:
            reader_of(name, registry)
        except NeurozooError:
            continue
        found.append(name)
    return found


def reader_of(name: str, registry: Registry) -> NIRReader:
    """The reader of a backend's library.

    Raises:
        UnknownNameError: There is no such backend.
        PluginError: It cannot be used, or a library that its reader needs is not installed.
        UserError: Its library has no reader.
    """
    component = registry.get("neuron", name)
    try:
        reader: NIRReader | None = registry.resolve("neuron", name).nir_reader()
    except ImportError as error:
        remedy = component.install.replace(f"neurozoo-{name}", f"'neurozoo-{name}[nir]'") or "pip install nir nirtorch"
        raise PluginError(f"the reader of NIR of {name!r}: {error}; install what it needs with: {remedy}") from error
    if reader is None:
        raise UserError(f"the library of the backend {name!r} has no reader of NIR that neurozoo knows of")
    return reader


@torch.no_grad()
def read_back(export: Export, names: Sequence[str], *, registry: Registry, batch_size: int = 16) -> ReadBack:
    """Have libraries read an export's files, and compare all layers' spikes with the model's.

    A layer's spikes are those of the graph that ends with it, which the library reads for each layer.

    Args:
        export: What was written.
        names: Of backends whose library has a reader, see :func:`readers`.
        registry: Where they are looked up.
        batch_size: Samples to take, the first of the valid split.

    Raises:
        UserError: It is of a graph that was imported.
        NeurozooError: A reader is not known or cannot be used, or the run cannot be opened.
    """
    if export.kind == "graph":
        raise UserError(
            f"{export.source}: is a NIR graph that was imported, whose neurons have thresholds of their own"
        )
    reading = {name: reader_of(name, registry) for name in names}
    trained = load(export.source, backend="torch")
    batch, samples, is_made_up = _samples(trained, batch_size)
    seen, neurons = _seen(export, trained.module, batch)
    rows: list[Row] = []
    for name, reader in reading.items():
        versions = dict(_versions(reader.requires))
        for branch in export.branches:
            own = seen[branch.name]
            try:
                theirs, notes = _spikes(reader, export, export.folder / branch.file, own.inputs)
            except NeurozooError:
                raise
            except Exception as error:
                refused = (f"refused: {type(error).__name__}: {error}",)
                rows.append(Row(name, versions, branch.name, 0, 0, None, 0, None, refused))
                continue
            if other := _of_other_layers(own.spikes, theirs):
                rows.append(Row(name, versions, branch.name, 0, 0, None, 0, None, (other,)))
                continue
            found = judge(own.spikes, theirs, own.currents, neurons[branch.name])
            notes += () if found.fired else ("no neuron fired, which proves little",)
            rows.append(
                Row(
                    name,
                    versions,
                    branch.name,
                    found.spikes,
                    found.fired,
                    found.mismatches,
                    found.rounding,
                    found.first,
                    notes,
                )
            )
    return ReadBack(samples, is_made_up, tuple(rows))


def _seen(export: Export, model: Model, batch: Batch) -> tuple[dict[str, ObservedBranch], dict[str, list[Neurons]]]:
    """What goes through what was exported, by the name of its file, and the neurons of its layers."""
    if export.kind == "model":
        (branch,) = export.branches
        traced = trace(folded(model), _without_padding(batch))
        return {branch.name: observed(traced)}, {branch.name: [_neurons(link) for link in traced.neurons]}
    threshold = export.threshold
    assert threshold is not None
    found = {
        name: [Neurons(neuron_at(layer, threshold), threshold) for layer in layers_of(branch)]
        for name, branch in branches_of(model).items()
    }
    return observe(model, batch, threshold), found


def _neurons(link: Link) -> Neurons:
    """A layer's neurons for judging, of which each place is one."""
    from neurozoo.nir.export.model_graph import level_of

    layer = link.layer

    def flat(value: Tensor | float) -> Tensor | float:
        return value.expand(link.made).flatten() if isinstance(value, Tensor) and value.dim() else value

    level = 1.0 if layer.gain else level_of(link.name, link.fired)
    return Neurons(layer.spec, flat(level), {name: flat(value) for name, value in layer.params().items()})


def _without_padding(batch: Batch) -> Batch:
    """The same samples with every position a step: where padding would be, the model runs on, as a library does."""
    return Batch({name: Signal(signal.values) for name, signal in batch.signals.items()})


def _spikes(reader: NIRReader, export: Export, file: Path, inputs: Tensor) -> tuple[list[Tensor], tuple[str, ...]]:
    """What a library makes of a file, layer by layer, and its notes on all of it."""
    from neurozoo.nir.branches import neurons_in_order, read_graph, up_to

    graph = read_graph(file)
    *inner, last = neurons_in_order(graph)
    # A readout behind the last neurons changes none of their spikes, and not every library knows one.
    ends = dict(graph.edges).get(last) in graph.outputs
    # For the whole it gets a graph of its own, which it may change.
    whole = reader.read(read_graph(file) if ends else up_to(graph, last), dt=export.dt, reset=export.reset)
    parts = [reader.read(up_to(graph, name), dt=export.dt, reset=export.reset) for name in inner]
    return [each.run(inputs).flatten(2) for each in (*parts, whole)], whole.notes


def _of_other_layers(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> str:
    """Why the spikes cannot be compared, where a library dropped or changed nodes; else an empty text."""
    for number, (own, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        if own.shape != other.shape:
            return (
                f"refused: reads another network, whose layer {number} has {other.shape[2]} neurons, not {own.shape[2]}"
            )
    return ""


def _versions(libraries: Sequence[str]) -> Iterator[tuple[str, str]]:
    for library in libraries:
        try:
            yield library, importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:  # its distribution has another name
            yield library, "unknown"


def _samples(trained: TrainedModel, size: int) -> tuple[Batch, str, bool]:
    """The first samples of the valid split, or made-up ones where the data is not here."""
    recipe, source = trained.recipe, trained.source
    try:
        view = open_data(recipe, closed=source.closed)
        check_data(view, trained)
        if view.description.splits.get("valid"):
            batch = next(iter(view.batches("valid", size)))
            origin = str(view.description.origin.get("source", "a store"))
            return batch, f"{len(batch)} samples of valid, {origin}", view.description.synthetic
        why = "the data has no samples in valid"
    except NotInstalledError:
        why = "the data is not here"
    except DataError as error:
        why = f"the data cannot be used: {error}"
    problem = trained.module.problem
    known = source.data.get("modalities") or source.data.get("signals") or {}
    shapes = {}
    for name, shape in problem.signals.items():
        parts = [known[part] for part in recipe.data.join.get(name, (name,)) if part in known]
        shapes[name] = replace(shape, length=sum(int(part["length"]) for part in parts) or max(shape.length, 8))
    task = TaskEntry(problem.task.name, problem.task.outputs, problem.task.per_step)
    return made_up(shapes, task, size, 0), f"{size} made-up samples, as {why}", True
