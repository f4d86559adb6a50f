"""A comparison of backends as text and as a Markdown page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from neurozoo.backends.agreement import MARGIN_ULPS
from neurozoo.compare.result import BackendResult, Comparison, LayerResult, Training
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.evaluation.health import UNSEEN
from neurozoo.reporting.tables import Table, markdown, number, plain_text, rounded

__all__ = ["as_page", "as_text"]

_INTRODUCTION = """\
# What differs between the backends

This page is written by a command, and nothing here is typed by hand:

```
{command}
```

A backend marked as another model is its library's own neuron, unchanged, with the same recipe and the same weights.
[What equivalent means](equivalence.md) explains how the rest is judged. Time and memory are left out, because they
differ between machines.
"""


def as_text(comparison: Comparison) -> str:
    """The comparison for the screen."""
    return plain_text([*sections(comparison), Table(f"verdict: {verdict_text(comparison)}")])


def as_page(comparison: Comparison, command: str) -> str:
    """The comparison as a Markdown page; ``command`` is the command line that repeats it."""
    traits = traits_table(comparison.backends)
    heading, *others = sections(comparison, measured=False, all_traits=True)
    first, *lines = [line for line in heading.title.splitlines() if line != SYNTHETIC_NOTICE]
    overview = Table("The comparison", heading.head, heading.rows, [first, *lines[:-1], *heading.notes])
    notice = [f"**{SYNTHETIC_NOTICE}.**", ""] if comparison.setting.synthetic else []
    tables = [traits, overview, *(table for table in others if table != traits)]
    titled = [replace(each, title=each.title[:1].upper() + each.title[1:]) for each in tables]
    verdict = f"**Verdict: {verdict_text(comparison)}.**"
    return "\n".join([_INTRODUCTION.format(command=command), *notice, verdict, "", markdown(titled)])


def sections(comparison: Comparison, *, measured: bool = True, all_traits: bool = False) -> list[Table]:
    """A comparison as tables, the most important first; ``measured`` adds time and memory, which differ each time."""
    backends = comparison.backends
    refused = [f"{name}: {reason}" for name, reason in comparison.refused.items()]
    tables = [
        Table("\n".join(_heading(comparison, measured)), *_overview(comparison, measured)),
        *([Table("backends that do not run this model", notes=refused)] if refused else []),
        _layers("firing rate by layer, and how many spikes differ", backends, _whole),
    ]
    if comparison.empty:
        title = "the layers driven by a current: share that fires, and how many spikes differ"
        tables.append(_layers(title, backends, _driven))
    tables.append(_operations(backends))
    if comparison.training is not None:
        tables.append(_training(comparison.training, {name: comparison.titles[name] for name in comparison.headline}))
    tables += [_metrics(comparison), traits_table(backends) if all_traits else _traits_that_differ(backends)]
    versions = {name: version for backend in backends for name, version in backend.versions.items()}
    used = Table("versions", notes=[", ".join(f"{name} {version}" for name, version in versions.items())])
    return [*tables, _calls(backends), used, *_problems(comparison)]


def verdict_text(comparison: Comparison) -> str:
    """The verdict, with the backends by theirs."""
    kinds: dict[str, list[str]] = {}
    for backend in comparison.backends[1:]:
        kinds.setdefault(backend.verdict, []).append(backend.name)
    for trajectory in comparison.training.backends if comparison.training else ():
        if trajectory.problems and trajectory.name in kinds.get("equivalent", []):
            kinds["equivalent"].remove(trajectory.name)
            kinds.setdefault("different in training", []).append(trajectory.name)
    if comparison.refused:
        kinds["does not run it"] = list(comparison.refused)
    named = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
    return f"{comparison.verdict} ({named}; compared with {comparison.reference})"


def _heading(comparison: Comparison, measured: bool) -> list[str]:
    setting = comparison.setting
    weights = f"the best weights of {setting.run}" if setting.trained else "untrained weights, as training begins with"
    what = f"{setting.recipe}, {weights}" if setting.recipe else "a model"
    size = f"{_counted(comparison.samples, 'sample')} in {_counted(comparison.batches, 'batch', 'es')}"
    lines = [SYNTHETIC_NOTICE] if setting.synthetic else []
    lines.append(f"{what}: {size}" + (f" ({setting.data})" if setting.data else ""))
    if measured:
        lines.append(f"{setting.device}, {_counted(comparison.threads, 'thread')}")
    if comparison.empty:
        lines.append(
            f"EMPTY: less than 1 % of the neurons fire in {', '.join(comparison.silent)}: equal spikes prove nothing "
            "there. So each layer is also driven directly, by a current that makes 5 to 50 % fire."
        )
    return [*lines, f"Compared with {comparison.reference}:"]


def _counted(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{plural if number > 1 else ''}"


def _overview(comparison: Comparison, measured: bool) -> tuple[list[str], list[list[str]], list[str]]:
    """Head, rows and notes of the table with a row a backend."""
    head = ["backend", "verdict", "spikes that differ", "in isolation", "within rounding"]
    head += ["outputs", "predictions", "gradients"] + (["ms", "time", "MB", "memory"] if measured else [])
    rows, notes = [], []
    for backend in comparison.backends:
        alone = [layer.alone.agreement for layer in backend.layers]
        mismatches = sum(agreed.mismatches for agreed in alone)
        row = [backend.name, backend.verdict, f"{backend.mismatches:,} of {backend.spikes:,}"]
        row += [f"{mismatches:,}", f"{mismatches - sum(agreed.beyond for agreed in alone):,}"]
        row += map(rounded, (backend.output_difference, backend.prediction_difference, backend.gradient_difference))
        if measured:
            row += [f"{backend.milliseconds:.1f}", f"{backend.time_ratio:.2f}"]
            peak, ratio = backend.peak_bytes, backend.memory_ratio
            row += ["-" if peak is None else f"{peak / 1e6:.1f}", "-" if ratio is None else f"{ratio:.2f}"]
        rows.append(row)
        where = [f"first in {backend.first}"] if backend.first else []
        where += [f"largest gradient difference in {backend.worst_gradient}"] if backend.worst_gradient else []
        if where:
            notes.append(f"{backend.name}: {', '.join(where)}")
    notes.append(
        "in isolation: each layer on the reference's input, each step from its membrane; "
        f"within rounding: {MARGIN_ULPS} units in the last place of the threshold"
    )
    notes += [f"NOT COMPARED: {name} ({kind}) {UNSEEN}" for name, kind in comparison.unseen.items()]
    notes.append("outputs, predictions: largest difference; gradients: as a share of the tensor's largest")
    if measured:
        notes.append(
            f"ms: median of {comparison.repeats} passes, forward and backward, of one batch; MB: the most held at a "
            "time; time and memory: in units of the reference's"
        )
    return head, rows, notes


def _layers(title: str, backends: Sequence[BackendResult], cell: Callable[[LayerResult], str]) -> Table:
    rows = [
        [layer.name, *(cell(backend.layers[place]) for backend in backends)]
        for place, layer in enumerate(backends[0].layers)
    ]
    return Table(title, ["layer", *(backend.name for backend in backends)], rows)


def _operations(backends: Sequence[BackendResult]) -> Table:
    """Operations by backend; they differ if spikes do."""
    rows = [[backend.name, f"{backend.macs:,.0f}", f"{backend.acs:,.0f}"] for backend in backends]
    notes = [
        "of layers with weights, without zeros; ACs: of those whose input is spikes alone, MACs: of the others; rows "
        "of padding too, which `neurozoo profile` leaves out"
    ]
    return Table("operations a sample", ["backend", "MACs", "ACs"], rows, notes)


def _whole(layer: LayerResult) -> str:
    return number(layer.rate) + (f" ({layer.mismatches:,})" if layer.mismatches else "")


def _driven(layer: LayerResult) -> str:
    if layer.driven is None:
        return "-"
    agreed = layer.driven.agreement
    within = agreed.mismatches - agreed.beyond
    differ = f" ({agreed.mismatches:,}, {within:,} within rounding)" if agreed.mismatches else ""
    return f"{layer.driven.active:.1%}{differ}"


def _metrics(comparison: Comparison) -> Table:
    backends, weights = comparison.backends, "" if comparison.setting.trained else ", untrained weights"
    rows = [[name, *(number(backend.metrics[name]) for backend in backends)] for name in comparison.titles]
    title = f"metrics on these {comparison.samples} samples{weights}"
    return Table(title, ["metric", *(backend.name for backend in backends)], rows)


def traits_table(backends: Sequence[BackendResult]) -> Table:
    """The result of each experiment with each backend's neuron."""
    rows = [
        [trait.name, *(backend.traits[place].found for backend in backends)]
        for place, trait in enumerate(backends[0].traits)
    ]
    return Table("what each neuron is, by experiment", ["experiment", *(backend.name for backend in backends)], rows)


def _traits_that_differ(backends: Sequence[BackendResult]) -> Table:
    """The experiments in which some backends differ from the reference."""
    reference, *others = backends
    rows = []
    for place, trait in enumerate(reference.traits):
        found: dict[str, list[str]] = {}
        for backend in others:
            found.setdefault(backend.traits[place].found, []).append(backend.name)
        found.pop(trait.found, None)
        rows += [[trait.name, trait.found, other, ", ".join(names)] for other, names in found.items()]
    tried = len(reference.traits)
    note = f"of {tried} experiments; in the others all do the same" if rows else f"the same in all {tried} experiments"
    return Table("how the neurons differ, by experiment", ["experiment", reference.name, "other", "of"], rows, [note])


def _calls(backends: Sequence[BackendResult]) -> Table:
    """Public functions alone; ``--json`` has all."""
    notes = []
    for backend in backends:
        notes.append(f"{backend.name} declares: {backend.runs or 'nothing'}")
        if not backend.libraries:
            notes.append(f"{backend.name} ran: it has no library of its own")
            continue
        shown = [
            f"{name.partition(':')[2]} ({count})"
            for name, count in backend.calls.items()
            if not any(part.startswith(("_", "<")) for part in name.partition(":")[2].split("."))
        ]
        notes.append(f"{backend.name} ran: {', '.join(shown) or 'none'}")
    return Table(
        "functions of its library that each backend declares, and that one layer's scan ran, with how often",
        notes=notes,
    )


def _training(training: Training, headline: Mapping[str, str]) -> Table:
    """The course of the trainings; of metrics those of ``headline``, by their titles."""
    reference = training.backends[0]
    head = ["backend", "last loss", "loss difference", "at all", f"beyond {training.tolerance:g}"]
    head += ["spikes differ", "weights", "threshold", "rate", *(f"valid {title}" for title in headline.values())]
    rows, notes = [], []
    for each in training.backends:
        first = each.first_spike
        row = [each.name, f"{each.losses[-1]:.6f}", rounded(each.loss_difference)]
        steps = (each.first_difference, each.first_beyond, first.batch if first else None)
        row += ["-" if step is None else f"from {step}" for step in steps]
        row += [rounded(each.weight_difference), number(each.thresholds[-1]), number(each.rates[-1])]
        row += [number(each.metrics[name]) for name in headline]
        rows.append(row)
        if first is not None:
            notes.append(
                f"{each.name}: {each.parted:,} of {each.spikes:,} spikes differ in training step {first.batch}, the "
                f"first in {first.layer}, step {first.step}; weights differ most in {each.worst_weight}"
            )
    title = f"training: {training.steps} steps of {training.batch_size} samples; loss of {reference.name} "
    title += f"{reference.losses[0]:.6f} to {reference.losses[-1]:.6f}"
    notes += [
        "the same weights, batches, order and dropout; loss difference: the largest, as a share of the reference's, "
        "and from which step on there is one; weights: largest difference at the end, as a share of the tensor's "
        f"largest; valid: {training.samples} samples"
    ]
    return Table(title, head, rows, notes)


def _problems(comparison: Comparison) -> list[Table]:
    """What makes a backend different; for another model the traits show it better."""
    trained = {each.name: each.problems for each in comparison.training.backends} if comparison.training else {}
    problems = {
        each.name: [*each.problems, *trained.get(each.name, ())] for each in comparison.backends if not each.native
    }
    return [Table(f"{name} is different", notes=notes) for name, notes in problems.items() if notes]
