"""Have other libraries' own readers read an export, and compare their spikes with the model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from neurozoo.compare.backends import library_versions
from neurozoo.core.model import Model
from neurozoo.core.signals import Batch
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import DataError, NeurozooError, NotInstalledError, PluginError, UserError
from neurozoo.evaluation.evaluate import data_of
from neurozoo.nir.export.branches import observe
from neurozoo.nir.export.export import Export
from neurozoo.nir.export.judging import Neurons, judge
from neurozoo.nir.export.tracing import Link, Traced, folded, trace, unpadded
from neurozoo.nir.readers import NIRReader
from neurozoo.registry.registry import Registry
from neurozoo.runs.loading import TrainedModel, load

__all__ = ["ReadBack", "Row", "read_back", "reader_of", "readers"]


@dataclass(frozen=True)
class Row:
    """One branch, read by one library; the counts are those of :class:`~neurozoo.nir.export.judging.Judged`.

    Attributes:
        library: The backend's name.
        versions: Of its libraries, by import name.
        branch: Name of the branch.
        spikes: Number compared, of all layers; 0 if it could not be read.
        fired: Number of the model's that are 1.
        mismatches: Number that differ by more than rounding; None if it could not be read.
        rounding: Number that differ by rounding.
        first: Layer and step of the first mismatch, from 1.
        notes: What the library ignored, or why it could not read the graph.
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
    """The comparison of all readers.

    Attributes:
        samples: The samples, in words.
        made_up: Whether they are synthetic.
        rows: One a library and branch.
    """

    samples: str
    made_up: bool
    rows: tuple[Row, ...]

    @property
    def same(self) -> bool:
        """Whether every library has the model's spikes up to rounding."""
        return all(row.mismatches == 0 for row in self.rows)


def readers(registry: Registry) -> list[str]:
    """Return the installed backends whose library has a usable reader of NIR."""
    found = []
    for name in registry.usable("neuron"):
        try:
            reader_of(name, registry)
        except NeurozooError:
            continue
        found.append(name)
    return found


def reader_of(name: str, registry: Registry) -> NIRReader:
    """Return the reader of a backend's library.

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
        raise UserError(f"the library of the backend {name!r} has no reader of NIR")
    return reader


@torch.no_grad()
def read_back(export: Export, names: Sequence[str], *, registry: Registry, batch_size: int = 16) -> ReadBack:
    """Have libraries read an export's files, and compare all layers' spikes with the model's.

    A library reads one graph for each layer, which ends with it.

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
    seen = _traced(export, trained.module, batch)
    rows: list[Row] = []
    for name, reader in reading.items():
        versions = library_versions(reader.requires)
        for branch in export.branches:
            traced = seen[branch.name]
            refused = Row(name, versions, branch.name, 0, 0, None, 0, None, ())
            try:
                theirs, notes = _spikes(reader, export, export.folder / branch.file, traced)
            except NeurozooError:
                raise
            except Exception as error:
                rows.append(replace(refused, notes=(f"refused: {type(error).__name__}: {error}",)))
                continue
            ours = [link.fired.spikes.flatten(2) for link in traced.neurons]
            if other := _of_other_layers(ours, theirs):
                rows.append(replace(refused, notes=(other,)))
                continue
            currents = [link.fired.driving[0].flatten(2) for link in traced.neurons]
            found = judge(ours, theirs, currents, [_neurons(link) for link in traced.neurons])
            notes += () if found.fired else ("no neuron fired, which proves little",)
            rows.append(Row(name, versions, branch.name, **vars(found), notes=notes))
    return ReadBack(samples, is_made_up, tuple(rows))


def _traced(export: Export, model: Model, batch: Batch) -> dict[str, Traced]:
    """The exported branches or model with what goes through them, by name."""
    if export.kind == "model":
        (branch,) = export.branches
        return {branch.name: trace(folded(model), unpadded(batch))}
    assert export.threshold is not None
    return observe(model, batch, export.threshold)


def _neurons(link: Link) -> Neurons:
    """A layer's neurons for judging, on one axis."""
    from neurozoo.nir.export.model_graph import level_of

    layer = link.layer

    def flat(value: Tensor | float) -> Tensor | float:
        return value.expand(link.made).flatten() if isinstance(value, Tensor) and value.dim() else value

    level = 1.0 if layer.gain else level_of(link.name, link.fired)
    return Neurons(layer.spec, flat(level), {name: flat(value) for name, value in layer.params().items()})


def _spikes(reader: NIRReader, export: Export, file: Path, traced: Traced) -> tuple[list[Tensor], tuple[str, ...]]:
    """A library's spikes of a file, layer by layer, and its notes on the whole graph."""
    from neurozoo.nir.export.model_graph import neuron_names
    from neurozoo.nir.writing import read_graph, up_to

    graph = read_graph(file)
    *inner, last = neuron_names(traced)
    # A readout behind the last neurons changes none of their spikes, and not every library knows one.
    ends = dict(graph.edges).get(last) in graph.outputs
    # For the whole it gets a graph of its own, which it may change.
    whole = reader.read(read_graph(file) if ends else up_to(graph, last), dt=export.dt, reset=export.reset)
    parts = [reader.read(up_to(graph, name), dt=export.dt, reset=export.reset) for name in inner]
    return [each.run(traced.inputs).flatten(2) for each in (*parts, whole)], whole.notes


def _of_other_layers(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> str:
    """Why spikes cannot be compared where a library dropped or changed nodes; else an empty text."""
    for number, (own, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        if own.shape != other.shape:
            return (
                f"refused: reads another network, whose layer {number} has {other.shape[2]} neurons, not {own.shape[2]}"
            )
    return ""


def _samples(trained: TrainedModel, size: int) -> tuple[Batch, str, bool]:
    """The first samples of the valid split, or synthetic ones if the data cannot be used."""
    recipe, source = trained.recipe, trained.source
    try:
        view = data_of(trained)
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
    return made_up(shapes, problem.task, size, 0), f"{size} made-up samples, as {why}", True
