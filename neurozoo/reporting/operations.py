"""A profile of operations for people: tables, and in words where the spiking network costs more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.operations.energy import Energy, assumptions, dense_energy, energy_of, memory_for, stepwise
from neurozoo.operations.result import Counts, LayerOperations, OperationsProfile, by_part
from neurozoo.reporting.figures import bars
from neurozoo.reporting.page import Content, Picture, html_page
from neurozoo.reporting.tables import Table

__all__ = [
    "BRIEF",
    "as_facts",
    "as_page",
    "brief",
    "energy_table",
    "heading",
    "operations_pictures",
    "operations_tables",
    "tables",
    "verdict",
]

_HEAD = ["a sample", "dense", "MACs", "ACs", "zeros", "updates", "parameters", "bytes"]


BRIEF = ["MACs", "ACs", "attention", "updates", "nJ"]
"""What :func:`brief` says."""


def tables(profile: OperationsProfile, *, layers: bool = False) -> list[Table]:
    """Everything as tables.

    Args:
        profile: What was counted.
        layers: Whether with a row for each layer, instead of one a part.
    """
    notice = [Table(SYNTHETIC_NOTICE)] if profile.synthetic else []
    return [*notice, *operations_tables(profile, layers=layers), energy_table(profile, layers=layers)]


def operations_tables(profile: OperationsProfile, *, layers: bool = False) -> list[Table]:
    """The operations, and by themselves the products of attention."""
    counts = profile.network
    groups = _grouped(counts, layers)
    rows = [_row(name, counts, group) for (name, attention), group in groups.items() if not attention]
    rest = counts.elsewhere
    own = [f"{sum(each.parameters for each in rest):,}", f"{sum(each.bytes for each in rest):,}"]
    rows.append(["norms and all else", *["-"] * 5, *own])
    weighted = [layer for layer in counts.layers if layer.kind != "attention"]
    rows.append([*_row("total", counts, weighted)[:-2], f"{counts.parameters:,}", f"{counts.bytes:,}"])
    found = [Table(heading(profile), _HEAD, rows, [*_notes(profile), *_left_out(counts)])]
    products = [(name, group) for (name, attention), group in groups.items() if attention]
    if products:
        every = [layer for _, group in products for layer in group]
        rows = [
            [name, *(_mean(counts, sum(getattr(layer, what) for layer in group)) for what in ("dense", "macs"))]
            for name, group in [*products, ("total", every)]
        ]
        notes = ["queries with keys, and weights with values; both operands are activations, so none is an AC"]
        found.append(Table("attention products, apart", ["a sample", "dense", "MACs"], rows, notes))
    return found


def energy_table(profile: OperationsProfile, *, layers: bool = False) -> Table:
    """The energy beside the control's, and where the spiking network costs more."""
    network, control = profile.network, profile.control
    own, other = _grouped(network, layers), {} if control is None else _grouped(control, layers)
    rows = []
    for key in dict.fromkeys([*own, *other]):
        name = f"{key[0]}, attention" if key[1] and not layers else key[0]
        beside = None if control is None else energy_of(control, other.get(key, ()))
        rows.append([name, *_energies(energy_of(network, own.get(key, ())), beside)])
    rows.append(["total", *_energies(energy_of(network), None if control is None else energy_of(control))])
    head = ["estimate, nJ a sample", "operations"] + ["control", "ratio"] * (control is not None)
    head += ["memory"] + ["control", "ratio"] * (control is not None)
    return Table("energy, an estimate", head, rows, [*verdict(profile), *assumptions(network)])


def verdict(profile: OperationsProfile) -> list[str]:
    """What the estimate says, in sentences; where the spiking network costs more is named."""
    network, control = profile.network, profile.control
    if control is None:
        return [f"{profile.about_control[:1].upper()}{profile.about_control[1:]}."]
    mine, its = energy_of(network), energy_of(control)
    again = energy_of(stepwise(network))
    said = [
        f"The control: {profile.about_control}. It has {_parameters(network, control)}.",
        f"In all, for operations the spiking network {_costs(mine.operations, its.operations)}; for memory it "
        f"{_costs(mine.memory, its.memory)}.",
        f"For operations it costs more in: {_named(profile, more=True)}.",
        f"It costs less in: {_named(profile, more=False)}.",
    ]
    if again != mine:
        said.append(
            "An input that is held for T steps is multiplied once here, as our arithmetic does it. Multiplied again at "
            f"every step, for operations the spiking network {_costs(again.operations, its.operations)}."
        )
    said.append(
        f"Where hardware skips no zeros the control takes {_nano(dense_energy(control))} nJ, and the spiking network, "
        f"whose spikes are multiplied like any number, {_nano(dense_energy(network))}."
    )
    return said


def brief(counts: Counts) -> list[str]:
    """A network in a few words, see :data:`BRIEF`: means over its samples, and the estimate of energy."""
    energy = energy_of(counts).operations
    return [*(_mean(counts, n) for n in (counts.macs, counts.acs, counts.attention, counts.updates)), _nano(energy)]


def as_facts(profile: OperationsProfile) -> dict[str, Any]:
    """Everything for programs, with totals, sparsities and the estimate of energy, in pJ a sample."""

    def energy(counts: Counts) -> dict[str, Any]:
        memory = memory_for(counts)
        return {
            **asdict(energy_of(counts)),
            "every_step": energy_of(stepwise(counts)).operations,
            "dense": dense_energy(counts),
            "memory_is": memory.name,
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
    """Of what the operations are."""
    samples = profile.network.samples
    some = f"{samples:,} samples" if samples == profile.of else f"{samples:,} of {profile.of:,} samples, evenly spread,"
    return f"operations of {profile.recipe} on {profile.backend}: means over {some} of {profile.split}"


def _grouped(counts: Counts, layers: bool) -> dict[tuple[str, bool], list[LayerOperations]]:
    if layers:
        return {(layer.name, layer.kind == "attention"): [layer] for layer in counts.layers}
    return by_part(counts.layers)


def _row(name: str, counts: Counts, group: Sequence[LayerOperations]) -> list[str]:
    weighted = any(layer.kind == "synaptic" for layer in group)
    neurons = any(layer.kind == "neurons" for layer in group)
    elements = sum(layer.elements for layer in group)
    sums = {what: sum(getattr(layer, what) for layer in group) for what in ("dense", "macs", "acs", "updates")}
    shown = [_mean(counts, sums[what]) if weighted else "-" for what in ("dense", "macs", "acs")]
    shown.append(f"{sum(layer.zeros for layer in group) / elements:.1%}" if elements and name != "total" else "-")
    updates = sum(layer.updates for layer in group if layer.kind == "neurons")
    shown.append(_mean(counts, updates) if neurons else "-")
    return [name, *shown, *(f"{sum(getattr(layer, what) for layer in group):,}" for what in ("parameters", "bytes"))]


def _notes(profile: OperationsProfile) -> list[str]:
    notes = [
        "dense: multiplications with accumulation if nothing is skipped; MACs: those without a zero; ACs: the same "
        "where the input is spikes alone; zeros: of a layer's input, of what neurons put out",
        "updates: of membranes, one a neuron and step; without biases, as NeuroBench counts",
    ]
    held = [f"{layer.name} ({layer.presented})" for layer in profile.network.layers if layer.presented > 1]
    if held:
        notes.append(f"multiplied once, and presented for so many steps: {', '.join(held)}")
    if not profile.alone:
        notes.append("what the model does with a sample depends on its batch, so these are the batches of evaluation")
    if profile.padding:
        notes.append("rows of padding are counted, as the model computes them")
    else:
        notes.append("rows of padding are left out")
    if not profile.same_data:
        notes.append("the data is NOT what the model was trained on")
    return notes


def _left_out(counts: Counts) -> list[str]:
    told = [f"{each.module} ({each.modules})" for each in counts.elsewhere if each.called]
    idle = [f"{each.module} ({each.modules - each.called})" for each in counts.elsewhere if each.called < each.modules]
    notes = [f"not counted, as they multiply no matrices: {', '.join(told)}"] if told else []
    notes += [f"never called as a module: {', '.join(idle)}"] if idle else []
    missing = [
        f"{each.name or 'the model'} ({each.module}): {'?' if each.macs is None else _mean(counts, each.macs)} MACs"
        for each in counts.uncounted
    ]
    notes += [f"NOT COUNTED, as no rule covers it: {', '.join(missing)}"] if missing else []
    return notes


def _named(profile: OperationsProfile, *, more: bool) -> str:
    assert profile.control is not None
    own, other = by_part(profile.network.layers), by_part(profile.control.layers)
    found = []
    for key in dict.fromkeys([*own, *other]):
        mine = energy_of(profile.network, own.get(key, ())).operations
        its = energy_of(profile.control, other.get(key, ())).operations
        if mine > its if more else mine < its:
            found.append((abs(mine - its), f"{key[0]}{', attention' if key[1] else ''} ({mine - its:+.0f} pJ)"))
    return ", ".join(name for _, name in sorted(found, reverse=True)) or "nothing"


def _costs(mine: float, its: float) -> str:
    if not its:
        return f"takes {_nano(mine)} nJ where the control takes none"
    word = "the same" if mine == its else "MORE" if mine > its else "less"
    return f"costs {word}: {_nano(mine)} nJ a sample, {mine / its:.2f} times the control's {_nano(its)}"


def _parameters(network: Counts, control: Counts) -> str:
    if network.parameters == control.parameters:
        return f"as many parameters, {control.parameters:,}"
    return f"{control.parameters:,} parameters, and the spiking network {network.parameters:,}"


def _energies(mine: Energy, its: Energy | None) -> list[str]:
    if its is None:
        return [_nano(mine.operations), _nano(mine.memory)]
    pairs = (mine.operations, its.operations), (mine.memory, its.memory)
    return [cell for a, b in pairs for cell in (_nano(a), _nano(b), f"{a / b:.2f}" if b else "-")]


def _mean(counts: Counts, number: int) -> str:
    return f"{counts.a_sample(number):,.0f}"


def _nano(pico: float) -> str:
    return f"{pico / 1000:,.2f}"


_CAPTION = "Means over the samples. A dense operation with a zero is skipped, so that it is no effective one."


def operations_pictures(profile: OperationsProfile, *, of: str = "") -> list[Picture]:
    """Operations and energy by part.

    Args:
        profile: What was counted.
        of: What to call it, where a page has several.

    Raises:
        UserError: matplotlib is not installed.
    """
    network, control = profile.network, profile.control
    parts = list(dict.fromkeys(layer.part for layer in network.layers))
    series = {
        "MACs": _sums_by_part(network, parts, "macs"),
        "ACs": _sums_by_part(network, parts, "acs"),
        **({} if control is None else {"MACs of the control": _sums_by_part(control, parts, "macs")}),
    }
    named = f" of {of}" if of else ""
    drawn = bars(parts, series, unit="effective operations a sample", label=f"operations by part{named}")
    pictures = [Picture(f"Operations by part{named}", drawn, f"{_CAPTION} With the products of attention.")]
    energy = {"spiking": _energy_by_part(network, parts)} | (
        {} if control is None else {"control": _energy_by_part(control, parts)}
    )
    drawn = bars(parts, energy, unit="nJ a sample, an estimate", label=f"energy by part{named}")
    caption = (
        f"An estimate for operations, without memory. {profile.about_control[:1].upper()}{profile.about_control[1:]}."
    )
    return [*pictures, Picture(f"Energy by part{named}, an estimate", drawn, caption)]


def as_page(profile: OperationsProfile) -> str:
    """All of it in one HTML file, each layer too.

    Raises:
        UserError: matplotlib is not installed.
    """
    every = [table for table in tables(profile, layers=True) if table.title != SYNTHETIC_NOTICE]
    parts = [table for table in tables(profile) if table.title != SYNTHETIC_NOTICE]
    content: list[Content] = [parts[0], *operations_pictures(profile), *parts[1:]]
    content += [type(table)(f"{table.title}: each layer", table.head, table.rows) for table in every]
    return html_page(heading(profile), content, warning=SYNTHETIC_NOTICE if profile.synthetic else "")


def _sums_by_part(counts: Counts, parts: list[str], what: str) -> list[float]:
    sums = dict.fromkeys(parts, 0)
    for layer in counts.layers:
        if layer.part in sums:
            sums[layer.part] += getattr(layer, what)
    return [counts.a_sample(number) for number in sums.values()]


def _energy_by_part(counts: Counts, parts: list[str]) -> list[float]:
    groups = by_part(counts.layers)
    layers = [[*groups.get((part, False), ()), *groups.get((part, True), ())] for part in parts]
    return [energy_of(counts, each).operations / 1000 for each in layers]
