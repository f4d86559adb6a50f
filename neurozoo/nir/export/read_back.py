"""An export read back by other libraries' own readers, and compared spike by spike with the model."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from neurozoo.core.interfaces import Batch, NIRReader
from neurozoo.data.manifest import Modality
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import DataError, NeurozooError, NotInstalledError, UserError
from neurozoo.evaluation.evaluate import check_data
from neurozoo.models.build import open_data
from neurozoo.models.smile.branch import LIFActivation
from neurozoo.nir.export.export import Export, neuron_at
from neurozoo.nir.export.judging import judge
from neurozoo.nir.export.observing import observe
from neurozoo.registry.registry import Registry
from neurozoo.runs.loading import TrainedModel, load

__all__ = ["ReadBack", "Row", "read_back"]


@dataclass(frozen=True)
class Row:
    """One branch, read by one library.

    Attributes:
        library: The component's name.
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


@torch.no_grad()
def read_back(export: Export, names: Sequence[str], *, registry: Registry, batch_size: int = 16) -> ReadBack:
    """Have libraries read an export's files, and compare all layers' spikes with the model's.

    A layer's spikes are those of the graph that ends with it, which the library reads anew.

    Args:
        export: What was written.
        names: Of components of the kind ``nir-reader``.
        registry: Where they are looked up.
        batch_size: Samples to take, the first of the valid split.

    Raises:
        UserError: It is of a graph that was imported.
        NeurozooError: A reader is not known or cannot be used, or the run cannot be opened.
    """
    if export.threshold is None:
        raise UserError(
            f"{export.source}: is a NIR graph that was imported, whose neurons have thresholds of their own"
        )
    threshold = export.threshold
    reading: dict[str, NIRReader] = {name: registry.resolve("nir-reader", name)() for name in names}
    trained = load(export.source, backend="torch")
    batch, samples, is_made_up = _samples(trained, batch_size)
    seen = observe(trained.module, batch, threshold)
    specs = {
        name: [neuron_at(cast(LIFActivation, activation), threshold) for _, activation in stages]
        for name, stages in trained.module.branches_by_name().items()
    }
    rows: list[Row] = []
    for name, reader in reading.items():
        versions = dict(_versions(registry.get("nir-reader", name).requires))
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
            found = judge(own.spikes, theirs, own.currents, specs[branch.name], threshold)
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


def _spikes(reader: NIRReader, export: Export, file: Path, inputs: Tensor) -> tuple[list[Tensor], tuple[str, ...]]:
    """What a library makes of a file, layer by layer, and its notes on all of it."""
    from neurozoo.nir.branches import neurons_in_order, read_graph, up_to

    graph = read_graph(file)
    *inner, _ = neurons_in_order(graph)
    whole = reader.read(read_graph(file), dt=export.dt, reset=export.reset)  # one of its own, which it may change
    parts = [reader.read(up_to(graph, last), dt=export.dt, reset=export.reset) for last in inner]
    return [each.run(inputs) for each in (*parts, whole)], whole.notes


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
    known = source.data.get("modalities", {})
    shapes = {
        name: Modality(
            dim, sum(int(known[part]["length"]) for part in recipe.data.join.get(name, (name,)) if part in known) or 8
        )
        for name, dim in trained.module.inputs.dims.items()
    }
    return made_up(shapes, trained.labels, size, 0), f"{size} made-up samples, as {why}", True
