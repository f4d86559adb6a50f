"""What was counted, in plain records that a file holds and a reader checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from neurozoo.errors import RunError

__all__ = ["SCHEMA", "Counts", "Elsewhere", "Fed", "LayerOperations", "OperationsProfile", "Uncounted", "by_part"]

SCHEMA = 2
"""Version of the layout that :meth:`OperationsProfile.to_dict` gives. Version 1 has no ``fed``, ``repeated`` and
element-by-element arithmetic, and counts whole numbers as MACs; it is read too."""

Fed = Literal["bits", "whole", "real"]
"""What a synapse is given: 0, 1 and -1; whole numbers, such as sums of spikes; or real numbers."""

_Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Positive = Annotated[int, Field(ge=1, le=2**63 - 1)]
_STRICT = ConfigDict(extra="forbid", strict=True)


@checked(frozen=True, config=_STRICT)
class LayerOperations:
    """One layer, over all samples that were counted; all numbers are sums, none is a mean.

    Attributes:
        name: Its dotted name; of neurons inside an activation the activation's.
        part: What it belongs to on a table by parts.
        module: Its class.
        kind: ``synaptic`` has weights, ``attention`` is products of activations, ``neurons`` have membranes,
            ``activation`` has none.
        dense: Multiplications with accumulation if nothing were skipped, those with 0 too; no biases.
        macs: Of those, the ones where neither input nor weight is 0, in calls whose input has real numbers; and of a
            whole number above 5.
        acs: The same in calls whose input is bits alone (0, 1 or -1): nothing is multiplied, only accumulated. In calls
            whose input is whole numbers, a number n up to 5 takes n accumulations.
        repeated: Of the accumulations those beyond the first of a pair of input and weight.
        fed: What its inputs were, in all calls together; None if that is not known.
        updates: Membrane updates, one a neuron and step; of an ``activation`` how often it was evaluated.
        zeros: Elements that are 0, of what a synaptic layer is given, of what neurons and activations put out.
        elements: All of those elements.
        presented: Steps for which what it gives is presented; more than 1 where that is computed once and held.
        parameters: Learnable ones of its own.
        bytes: Of its parameters and buffers.
    """

    name: str
    part: str
    module: str
    kind: Literal["synaptic", "attention", "neurons", "activation"]
    dense: _Count = 0
    macs: _Count = 0
    acs: _Count = 0
    repeated: _Count = 0
    updates: _Count = 0
    zeros: _Count = 0
    elements: _Count = 0
    presented: _Positive = 1
    parameters: _Count = 0
    bytes: _Count = 0
    fed: Fed | None = None

    @property
    def effective(self) -> int:
        """Pairs of which neither is 0."""
        return self.macs + self.acs - self.repeated

    @property
    def sparsity(self) -> float | None:
        """Share of zeros, see ``zeros``; None without elements."""
        return self.zeros / self.elements if self.elements else None


@checked(frozen=True, config=_STRICT)
class Elsewhere:
    """Modules of one class that do no synaptic operations or were never called, and what they hold.

    Attributes:
        module: Their class.
        modules: How many.
        called: How many of them were called.
        parameters: Learnable ones of their own.
        bytes: Of their parameters and buffers.
        multiplications: Products of elements, outside of synapses and neurons.
        gates: The same with bits on one side, which let the other side pass or not.
        additions: Sums of elements.
        functions: Elements that other functions gave: norms, pools, exponentials, comparisons.
    """

    module: str
    modules: _Count
    called: _Count
    parameters: _Count
    bytes: _Count
    multiplications: _Count = 0
    gates: _Count = 0
    additions: _Count = 0
    functions: _Count = 0

    @property
    def arithmetic(self) -> int:
        """All that is computed element by element."""
        return self.multiplications + self.gates + self.additions + self.functions


@checked(frozen=True, config=_STRICT)
class Uncounted:
    """Matrix products or convolutions that torch saw in a module which no rule here covers.

    Attributes:
        name: The module's dotted name; empty for the model itself.
        module: Its class.
        macs: How many multiplications with accumulation, zeros included; None where torch saw none, and the module
            has matrices of its own all the same, as fused recurrent layers do.
    """

    name: str
    module: str
    macs: _Count | None


@checked(frozen=True, config=_STRICT)
class Counts:
    """A network's operations over some samples.

    Attributes:
        samples: How many.
        layers: In the order of their definition.
        elsewhere: What holds parameters or was called, and has no operations that are counted.
        uncounted: What would have to be counted, and could not be.
    """

    samples: _Positive
    layers: tuple[LayerOperations, ...]
    elsewhere: tuple[Elsewhere, ...] = ()
    uncounted: tuple[Uncounted, ...] = ()

    def total(self, what: Callable[[LayerOperations], int], *kinds: str) -> int:
        """A sum over the layers of some kinds; of all by default."""
        return sum(what(layer) for layer in self.layers if not kinds or layer.kind in kinds)

    @property
    def dense(self) -> int:
        """Of all layers that have weights; attention products are apart."""
        return self.total(lambda layer: layer.dense, "synaptic")

    @property
    def macs(self) -> int:
        """The same of effective multiplications."""
        return self.total(lambda layer: layer.macs, "synaptic")

    @property
    def acs(self) -> int:
        """The same of effective accumulations."""
        return self.total(lambda layer: layer.acs, "synaptic")

    @property
    def repeated(self) -> int:
        """Of the accumulations those that a whole number takes beyond the first."""
        return self.total(lambda layer: layer.repeated, "synaptic")

    @property
    def attention(self) -> int:
        """Products of attention, multiplications and accumulations."""
        return self.total(lambda layer: layer.macs + layer.acs, "attention")

    @property
    def updates(self) -> int:
        """Membrane updates."""
        return self.total(lambda layer: layer.updates, "neurons")

    @property
    def parameters(self) -> int:
        """Learnable ones of the whole model."""
        return self.total(lambda layer: layer.parameters) + sum(each.parameters for each in self.elsewhere)

    @property
    def bytes(self) -> int:
        """Of all parameters and buffers."""
        return self.total(lambda layer: layer.bytes) + sum(each.bytes for each in self.elsewhere)

    @property
    def sparsity(self) -> float | None:
        """Share of zeros in what neurons and activations put out; None where there are none."""
        elements = self.total(lambda layer: layer.elements, "neurons", "activation")
        return self.total(lambda layer: layer.zeros, "neurons", "activation") / elements if elements else None

    def a_sample(self, number: int) -> float:
        """A sum's mean over the samples."""
        return number / self.samples

    def __str__(self) -> str:
        rows = {
            "multiplications with accumulation (MAC)": self.macs,
            "accumulations (AC)": self.acs,
            "products of attention": self.attention,
            "membrane updates": self.updates,
            "of a network that skips no zero (MAC)": self.dense,
        }
        width = max(map(len, rows)) + 2
        lines = [f"operations a sample, mean of {self.samples:,}"]
        lines += [f"  {name:{width}}{self.a_sample(number):,.6g}" for name, number in rows.items() if number]
        lines.append(f"  {'parameters':{width}}{self.parameters:,}")
        for each in self.uncounted:
            lines.append(f"  not counted: {each.name or 'the network'} ({each.module})")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything, with what is derived."""
        names = ("dense", "macs", "acs", "repeated", "attention", "updates", "parameters", "bytes", "sparsity")
        layers = [{**asdict(layer), "sparsity": layer.sparsity} for layer in self.layers]
        return {**asdict(self), "layers": layers, "total": {name: getattr(self, name) for name in names}}


@checked(frozen=True, config=_STRICT)
class OperationsProfile:
    """A trained model's operations on a split of its data, and those of a control.

    Attributes:
        recipe: Name of the recipe.
        model: Name of the model.
        backend: Whose neurons ran.
        split: Whose samples.
        of: How many samples the split has.
        data: Where they come from.
        checksum: Of the data.
        same_data: Whether it is what the model was trained on.
        synthetic: Whether it is made up.
        weights: SHA-256 of the checkpoint, hexadecimal.
        padding: Whether rows of padding are counted as work, which they are where the model lets them take part.
        alone: Whether no sample depends on its batch; if not, the batches were those of evaluation.
        network: What the model does.
        control: What it does with a ReLU for each spiking neuron; None where there is no control.
        about_control: What the control is, or why there is none.
        schema: Version of this layout.
    """

    recipe: str
    model: str
    backend: str
    split: str
    of: int
    data: str
    checksum: str
    same_data: bool
    synthetic: bool
    weights: str
    padding: bool
    alone: bool
    network: Counts
    control: Counts | None
    about_control: str
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Everything that :meth:`from_dict` reads, in plain dicts, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str) -> OperationsProfile:
        """What :meth:`to_dict` gave, read from a file.

        Args:
            content: The file's content.
            where: The file, for the error.

        Raises:
            RunError: It is not of this form; names each place.
        """
        found = content.get("schema") if isinstance(content, Mapping) else None
        if found not in (1, SCHEMA):
            raise RunError(
                f"{where}: its schema is {found!r} and this version reads 1 to {SCHEMA}; count again with "
                "`neurozoo profile`"
            )
        try:
            # As JSON, which has lists where the records have tuples.
            return TypeAdapter(cls).validate_json(json.dumps({**content, "schema": SCHEMA}))
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
            more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise RunError(
                f"{where}: no profile of operations ({'; '.join(problems[:3])}{more}); count again with "
                "`neurozoo profile`"
            ) from error


def by_part(layers: Iterable[LayerOperations]) -> dict[tuple[str, bool], list[LayerOperations]]:
    """Layers by their part, attention products apart: by (part, whether attention), in order."""
    found: dict[tuple[str, bool], list[LayerOperations]] = {}
    for layer in layers:
        found.setdefault((layer.part, layer.kind == "attention"), []).append(layer)
    return found
