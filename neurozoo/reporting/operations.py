"""A profile of operations for people: tables, pictures, and in words where the spiking network costs more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.operations.energy import Energy, assumptions, dense_energy, energy_of, memory_for, stepwise
from neurozoo.operations.result import Counts, LayerOperations, OperationsProfile, by_part
from neurozoo.operations.synaptic import MOST_ACCUMULATIONS
from neurozoo.reporting.figures import bars
from neurozoo.reporting.page import Content, Picture, html_page
from neurozoo.reporting.tables import Table

__all__ = [
    "BRIEF", "CONTROL", "as_facts", "as_page", "brief", "control_cells", "energy_table", "heading",
    "operations_pictures", "operations_tables", "tables", "verdict",
]  # fmt: skip

_HEAD = ["a sample", "input", "dense", "MACs", "ACs", "zeros", "updates", "parameters", "bytes"]
_FED = ("bits", "whole", "real")
BRIEF = ["MACs", "ACs", "attention", "updates", "nJ"]
"""The columns of :func:`brief`."""
CONTROL = ["control, nJ", "ratio"]
"""The columns of :func:`control_cells`."""


def tables(profile: OperationsProfile, *, layers: bool = False) -> list[Table]:
    """Everything as tables, with a row a part, or one for each layer."""
    notice = [Table(SYNTHETIC_NOTICE)] if profile.synthetic else []
    return [*notice, *operations_tables(profile, layers=layers), energy_table(profile, layers=layers)]


def operations_tables(profile: OperationsProfile, *, layers: bool = False) -> list[Table]:
    """The operations, and in a table of their own the products of attention."""
    counts = profile.network
    groups = _grouped(counts, layers)
    rows = [_row(name, counts, group) for (name, attention), group in groups.items() if not attention]
    rest = counts.elsewhere
    own = [f"{sum(each.parameters for each in rest):,}", f"{sum(each.bytes for each in rest):,}"]
    rows.append(["norms and all else", *["-"] * 6, *own])
    weighted = [layer for layer in counts.layers if layer.kind != "attention"]
    rows.append([*_row("total", counts, weighted)[:-2], f"{counts.parameters:,}", f"{counts.bytes:,}"])
    made = [Table(heading(profile), _HEAD, rows, [*_notes(profile), *_left_out(counts)])]
    products = [(name, group) for (name, attention), group in groups.items() if attention]
    if products:
        every = [layer for _, group in products for layer in group]
        shown = {"dense": "dense", "macs": "MACs"} | ({"acs": "ACs"} if any(layer.acs for layer in every) else {})
        rows = [
            [name, *(_mean(counts, sum(getattr(layer, what) for layer in group)) for what in shown)]
            for name, group in [*products, ("total", every)]
        ]
        notes = ["queries, keys, values and weights with one another; an AC has spikes alone on one side"]
        made.append(Table("attention products, apart", ["a sample", *shown.values()], rows, notes))
    return [*made, *_elementwise(counts)]


def _elementwise(counts: Counts) -> list[Table]:
    """What is computed element by element outside of synapses and neurons, by class of module; none if nothing is."""
    what = ("multiplications", "gates", "additions", "functions")
    rows = [
        [f"{each.module} ({each.modules})", *(_mean(counts, getattr(each, name)) for name in what)]
        for each in counts.elsewhere
        if each.arithmetic
    ]
    notes = [
        "gates: products with bits on one side; functions: norms, pools, exponentials, comparisons, an element each",
        "named, and no part of the energy, as the control has the same at each of its steps",
    ]
    return (
        [Table("element by element, outside of synapses and neurons", ["a sample", *what], rows, notes)] if rows else []
    )


def energy_table(profile: OperationsProfile, *, layers: bool = False) -> Table:
    """The energy next to the control's, and where the spiking network costs more."""
    network, control = profile.network, profile.control
    own, other = _grouped(network, layers), {} if control is None else _grouped(control, layers)
    rows = []
    for key in dict.fromkeys([*own, *other]):
        name = f"{key[0]}, attention" if key[1] and not layers else key[0]
        its = None if control is None else energy_of(control, other.get(key, ()))
        rows.append([name, *_energies(energy_of(network, own.get(key, ())), its)])
    rows.append(["total", *_energies(energy_of(network), None if control is None else energy_of(control))])
    beside = [] if control is None else ["control", "ratio"]
    head = ["estimate, nJ a sample", "operations", *beside, "memory", *beside]
    return Table("energy, an estimate", head, rows, [*verdict(profile), *assumptions(network)])


def verdict(profile: OperationsProfile) -> list[str]:
    """The estimate in sentences, which name where the spiking network costs more."""
    network, control = profile.network, profile.control
    if control is None:
        return [f"{_sentence(profile.about_control)}."]
    mine, its = energy_of(network), energy_of(control)
    again = energy_of(stepwise(network))
    parameters = f"{control.parameters:,} parameters, and the spiking network {network.parameters:,}"
    if network.parameters == control.parameters:
        parameters = f"as many parameters, {control.parameters:,}"
    lines = [
        f"The control: {profile.about_control}. It has {parameters}.",
        f"In all, for operations the spiking network {_costs(mine.operations, its.operations)}; for memory it "
        f"{_costs(mine.memory, its.memory)}.",
        f"For operations it costs more in: {_named(network, control, more=True)}.",
        f"It costs less in: {_named(network, control, more=False)}.",
    ]
    if again != mine:
        lines.append(
            "An input that is held for T steps is multiplied once here, as our arithmetic does it. Multiplied again at "
            f"every step, for operations the spiking network {_costs(again.operations, its.operations)}."
        )
    lines.append(
        f"Where hardware skips no zeros the control takes {_nano(dense_energy(control))} nJ, and the spiking network, "
        f"whose spikes are multiplied like any number, {_nano(dense_energy(network))}."
    )
    return lines


def brief(counts: Counts) -> list[str]:
    """A network in a few cells, see :data:`BRIEF`: means over its samples, and the estimate of energy."""
    energy = energy_of(counts).operations
    return [*(_mean(counts, n) for n in (counts.macs, counts.acs, counts.attention, counts.updates)), _nano(energy)]


def control_cells(profile: OperationsProfile) -> list[str]:
    """The control's energy for operations, and the network's in units of it, see :data:`CONTROL`."""
    if profile.control is None:
        return ["-", "-"]
    own, its = energy_of(profile.network).operations, energy_of(profile.control).operations
    return [_nano(its), f"{own / its:.2f}" if its else "-"]


def as_facts(profile: OperationsProfile) -> dict[str, Any]:
    """Everything for programs, with totals, sparsities and the estimate of energy, in pJ a sample."""

    def energy(counts: Counts) -> dict[str, Any]:
        return {
            **asdict(energy_of(counts)),
            "every_step": energy_of(stepwise(counts)).operations,
            "dense": dense_energy(counts),
            "memory_is": memory_for(counts).name,
            "layers": {layer.name: asdict(energy_of(counts, [layer])) for layer in counts.layers},
        }

    networks = {"network": profile.network} | ({} if profile.control is None else {"control": profile.control})
    return {
        **profile.to_dict(),
        **{name: {**counts.to_dict(), "energy_estimate_pj": energy(counts)} for name, counts in networks.items()},
        "verdict": verdict(profile),
        "assumptions": assumptions(profile.network),
    }


def heading(profile: OperationsProfile) -> str:
    """Whose operations they are."""
    samples = profile.network.samples
    some = f"{samples:,} samples" if samples == profile.of else f"{samples:,} of {profile.of:,} samples, evenly spread,"
    return f"operations of {profile.recipe} on {profile.backend}: means over {some} of {profile.split}"


def _grouped(counts: Counts, layers: bool) -> dict[tuple[str, bool], list[LayerOperations]]:
    if layers:
        return {(layer.name, layer.kind == "attention"): [layer] for layer in counts.layers}
    return by_part(counts.layers)


def _row(name: str, counts: Counts, group: Sequence[LayerOperations]) -> list[str]:
    kinds = {layer.kind for layer in group}
    elements = sum(layer.elements for layer in group)
    fed = dict.fromkeys(layer.fed for layer in group if layer.kind == "synaptic" and layer.fed is not None)
    cells = [", ".join(each for each in _FED if each in fed) or "-" if name != "total" else "-"]
    cells += [
        _mean(counts, sum(getattr(layer, what) for layer in group)) if "synaptic" in kinds else "-"
        for what in ("dense", "macs", "acs")
    ]
    cells.append(f"{sum(layer.zeros for layer in group) / elements:.1%}" if elements and name != "total" else "-")
    updates = sum(layer.updates for layer in group if layer.kind == "neurons")
    cells.append(_mean(counts, updates) if "neurons" in kinds else "-")
    return [name, *cells, *(f"{sum(getattr(layer, what) for layer in group):,}" for what in ("parameters", "bytes"))]


def _notes(profile: OperationsProfile) -> list[str]:
    notes = [
        "input: bits (0, 1 or -1), whole numbers (sums of bits), or real numbers",
        "dense: multiplications with accumulation if nothing is skipped; MACs: those without a zero; ACs: the same "
        f"where the input is bits, and n of them for a whole number n up to {MOST_ACCUMULATIONS}; zeros: of a layer's "
        "input, of the output of neurons",
        "updates: of membranes, one a neuron and step; without biases, as NeuroBench counts",
    ]
    held = [f"{layer.name} ({layer.presented})" for layer in profile.network.layers if layer.presented > 1]
    if held:
        notes.append(f"multiplied once, and presented for so many steps: {', '.join(held)}")
    if not profile.alone:
        notes.append("the model's output for a sample depends on its batch, so these are the batches of evaluation")
    notes.append("rows of padding are " + ("counted, as the model computes them" if profile.padding else "left out"))
    if not profile.same_data:
        notes.append("the data is NOT what the model was trained on")
    return notes


def _left_out(counts: Counts) -> list[str]:
    called = [f"{each.module} ({each.modules})" for each in counts.elsewhere if each.called or each.arithmetic]
    idle = [f"{each.module} ({each.modules - each.called})" for each in counts.elsewhere if each.called < each.modules]
    missing = [
        f"{each.name or 'the model'} ({each.module}): {'?' if each.macs is None else _mean(counts, each.macs)} MACs"
        for each in counts.uncounted
    ]
    named = {
        "not counted, as they multiply no matrices": called,
        "never called as a module": idle,
        "NOT COUNTED, as no rule covers it": missing,
    }
    return [f"{what}: {', '.join(names)}" for what, names in named.items() if names]


def _named(network: Counts, control: Counts, *, more: bool) -> str:
    own, other = by_part(network.layers), by_part(control.layers)
    named = []
    for key in dict.fromkeys([*own, *other]):
        mine, its = energy_of(network, own.get(key, ())).operations, energy_of(control, other.get(key, ())).operations
        if mine > its if more else mine < its:
            named.append((abs(mine - its), f"{key[0]}{', attention' if key[1] else ''} ({mine - its:+.0f} pJ)"))
    return ", ".join(name for _, name in sorted(named, reverse=True)) or "nothing"


def _costs(mine: float, its: float) -> str:
    if not its:
        return f"takes {_nano(mine)} nJ where the control takes none"
    word = "the same" if mine == its else "MORE" if mine > its else "less"
    return f"costs {word}: {_nano(mine)} nJ a sample, {mine / its:.2f} times the control's {_nano(its)}"


def _energies(mine: Energy, its: Energy | None) -> list[str]:
    if its is None:
        return [_nano(mine.operations), _nano(mine.memory)]
    pairs = (mine.operations, its.operations), (mine.memory, its.memory)
    return [cell for a, b in pairs for cell in (_nano(a), _nano(b), f"{a / b:.2f}" if b else "-")]


def _mean(counts: Counts, number: int) -> str:
    return f"{counts.a_sample(number):,.0f}"


def _nano(pico: float) -> str:
    return f"{pico / 1000:,.2f}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def operations_pictures(profile: OperationsProfile) -> list[Picture]:
    """Operations and energy by part.

    Raises:
        UserError: matplotlib is not installed.
    """
    network, control = profile.network, profile.control
    parts = list(dict.fromkeys(layer.part for layer in network.layers))
    counts, energy = {}, {}
    for what, of, kinds in (("", network, ("macs", "acs")), (" of the control", control, ("macs",))):
        if of is None:
            continue
        groups = by_part(of.layers)
        layers = [[*groups.get((part, False), ()), *groups.get((part, True), ())] for part in parts]
        for kind, title in zip(kinds, ("MACs", "ACs"), strict=False):
            counts[title + what] = [of.a_sample(sum(getattr(each, kind) for each in group)) for group in layers]
        energy["control" if what else "spiking"] = [energy_of(of, group).operations / 1000 for group in layers]
    return [
        Picture(
            "Operations by part",
            bars(parts, counts, unit="effective operations a sample", label="operations by part"),
            "Means over the samples. A dense operation with a zero is skipped, so that it is no effective one. With "
            "the products of attention.",
        ),
        Picture(
            "Energy by part, an estimate",
            bars(parts, energy, unit="nJ a sample, an estimate", label="energy by part"),
            f"An estimate for operations, without memory. {_sentence(profile.about_control)}.",
        ),
    ]


def as_page(profile: OperationsProfile) -> str:
    """All of it in one HTML file, each layer too.

    Raises:
        UserError: matplotlib is not installed.
    """
    parts, every = (
        [*operations_tables(profile, layers=layers), energy_table(profile, layers=layers)] for layers in (False, True)
    )
    content: list[Content] = [parts[0], *operations_pictures(profile), *parts[1:]]
    content += [Table(f"{table.title}: each layer", table.head, table.rows) for table in every]
    return html_page(heading(profile), content, warning=SYNTHETIC_NOTICE if profile.synthetic else "")
