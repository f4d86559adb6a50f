"""An arena as tables for Markdown, HTML and the screen, and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.arena_findings import clear, findings, gain, lost_more, pareto, signed, spread_text
from neurozoo.reporting.arena_pictures import cost_picture, ranking_picture, robustness_picture
from neurozoo.reporting.page import Content, html_page
from neurozoo.reporting.tables import Table, escaped, markdown, number, short_count, synthetic_mark
from neurozoo.studies.arena.choosing import EACH, ONE, PUBLISHED
from neurozoo.studies.arena.result import ArenaResult, Comparison, RowResult, estimate
from neurozoo.studies.intervals import Estimate

__all__ = ["arena_csv", "arena_html", "arena_markdown", "arena_tables"]

_HIDDEN = ("hamming_loss",)
"""Metrics that the tables leave out; the CSV has them."""

_DECISIONS = {EACH: "one threshold a label, from valid", PUBLISHED: "the threshold as published"}

_PROTOCOL = (
    "All rows see the same samples, folds and features. Every training has its test split closed. Valid chooses the "
    "epoch by {metric}, and the threshold; then test is opened once for each training. ± is half of the 95 % interval "
    "over seeds (Student's t), differences are paired by seed. A second interval resamples the groups of test samples "
    "(videos, speakers) {draws}. Floors have no seed."
)


def arena_markdown(result: ArenaResult) -> str:
    """Return the arena's page in Markdown."""
    lines = [f"# {escaped(_title(result))}", ""]
    if result.synthetic:
        lines += [f"**{SYNTHETIC_NOTICE}.**", ""]
    lines += [*(f"- {escaped_but_bold(each)}" for each in findings(result)), "", f"{escaped(_about(result))}", ""]
    return "\n".join(lines) + "\n" + markdown(arena_tables(result))


def arena_html(result: ArenaResult) -> str:
    """Return the arena's page with pictures, which need matplotlib, in one file."""
    sentences = [each.replace("**", "") for each in findings(result)]
    content: list[Content] = [Table("Findings", notes=sentences), ranking_picture(result)]
    costs = cost_picture(result, pareto(result))
    tables = arena_tables(result)
    content += [*tables[:1], *costs, *robustness_picture(result), *tables[1:]]
    return html_page(_title(result), content, lead=_about(result), warning=SYNTHETIC_NOTICE if result.synthetic else "")


def escaped_but_bold(text: str) -> str:
    """Escape Markdown's signs in a sentence, except for the pairs of stars of bold text."""
    return "**".join(escaped(part) for part in text.split("**"))


def _title(result: ArenaResult) -> str:
    return f"{result.description or result.name}{synthetic_mark(result.synthetic)}"


def _about(result: ArenaResult) -> str:
    data = result.data
    splits = ", ".join(f"{size:,} {name}" for name, size in data["splits"].items())
    # Not the place of a store on this machine.
    shown = ("data.root=STORE" if each.startswith("data.root=") else each for each in result.overrides)
    options = [f"--seeds {len(result.seeds)}", *(["--leak"] if any(row.leak for row in result.rows) else [])]
    without = ""
    if result.left_out:
        count, names = len(result.trained), "; ".join(result.left_out)
        without = f" {count} of the arena's {count + len(result.left_out)} rows, without: {names}."
        options += [f'--only "{row.name}"' for row in result.trained]
    command = " ".join(["neurozoo arena", result.name, *shown, *options])
    seeds = f"{len(result.seeds)} seed{'s' if len(result.seeds) > 1 else ''}"
    trials = "the setting given" if result.trials == 1 else f"the best of {result.trials} settings on valid"
    return (
        f"Data: {data['source']} ({splits}; test in {data['groups']:,} groups), checksum {data['checksum'][:12]}. "
        f"{seeds}; {trials}; {result.minutes:.0f} minutes of training.{without} Command: {command}."
    )


def arena_tables(result: ArenaResult) -> list[Table]:
    """Return the tables of an arena, the ranking first."""
    return [
        _ranking(result),
        *_other_decisions(result),
        _differences(result),
        *_controls(result),
        *_corruptions(result),
        *_lesions(result),
        *_leaks(result),
        _costs(result),
        _definitions(result),
    ]


def _shown(result: ArenaResult) -> list[str]:
    """Return the metrics of the tables, what is ranked by first."""
    return [result.ranking, *(name for name in result.titles if name not in (result.ranking, *_HIDDEN))]


def _ranking(result: ArenaResult) -> Table:
    names = _shown(result)
    rows = []
    for row in result.rows:
        cells = [spread_text(estimate(row.test[ONE].get(name, ()))) for name in names]
        interval = row.resampled[result.ranking]
        rows.append([row.name, row.family, *cells, f"{number(interval.low, 3)} to {number(interval.high, 3)}"])
    head = ["", "family", *(result.titles[name] for name in names), f"{result.titles[result.ranking]}, groups"]
    at = ""
    if result.decided is not None:
        at = f", at the one threshold that is best for {result.titles[result.decided]} on valid"
    return Table(f"Test, ranked by {result.titles[result.ranking]}{at}", head, rows, result.notes)


def _other_decisions(result: ArenaResult) -> Iterator[Table]:
    names = [name for name in _shown(result) if name != result.ranking]
    for decision, title in _DECISIONS.items():
        rows = [
            [row.name, *(spread_text(estimate(row.test[decision].get(name, ()))) for name in names)]
            for row in result.rows
            if decision in row.test
        ]
        if rows:
            yield Table(f"Test, with {title}", ["", *(result.titles[name] for name in names)], rows)


def _differences(result: ArenaResult) -> Table:
    best = result.trained[0].name
    rows = [
        [row.name, *(cell for name in result.compared for cell in _pair(_of(result.leading, row.name, name)))]
        for row in result.rows
        if row.name != best
    ]
    head = [f"minus {best}", *(f"{result.titles[n]}{what}" for n in result.compared for what in ("", ", groups"))]
    return Table("Differences to the best model", head, rows, ["An interval that does not hold 0 is marked as clear."])


def _of(found: Sequence[Comparison], row: str, metric: str) -> Comparison:
    return next(each for each in found if each.row == row and each.metric == metric)


def _pair(found: Comparison) -> list[str]:
    groups = f"{signed(found.groups.mean)} ({signed(found.groups.low)} to {signed(found.groups.high)})"
    seeds = "-" if found.seeds is None else spread_text(found.seeds, sign=True) + _mark(clear(found.seeds))
    return [seeds, groups + _mark(clear(found.groups))]


def _mark(is_clear: bool) -> str:
    return ", clear" if is_clear else ""


def _controls(result: ArenaResult) -> Iterator[Table]:
    pairs = dict.fromkeys((each.row, each.other) for each in result.controls)
    if not pairs:
        return
    rows = []
    for row, other in pairs:
        mine = [each for each in result.controls if (each.row, each.other) == (row, other)]
        cells = [cell for name in result.compared for cell in _pair(_of(mine, row, name))]
        rows.append([f"{row} minus {other}", str(result.row(other).without), *cells])
    head = ["", "adds", *(f"{result.titles[n]}{what}" for n in result.compared for what in ("", ", groups"))]
    yield Table("What is added", head, rows)


def _corruptions(result: ArenaResult) -> Iterator[Table]:
    trained = [row for row in result.trained if row.corrupted]
    if not trained:
        return
    title, kinds = result.titles[result.ranking], list(trained[0].corrupted)
    rows = []
    for row in trained:
        cells = []
        for what in kinds:
            changed = row.corrupted[what].get(result.ranking, ())
            cells.append(spread_text(estimate(changed)))
        rows.append([row.name, number(row.mean(result.ranking), 3), *cells])
    yield Table(
        f"Robustness: {title} on corrupted test samples",
        ["", "clean", *kinds],
        rows,
        ["Test samples alone are changed, in the same way for every row of a seed."],
    )
    pairs = [(row, control) for row in trained for control in trained if control.control_of == row.name]
    if pairs:
        rows = []
        for row, control in pairs:
            found = [lost_more(result, row, control, what) for what in kinds]
            rows.append([f"{row.name} minus {control.name}", *(_lost(each) for each in found)])
        yield Table(
            f"Robustness: what is lost of {title}, in pairs",
            ["", *kinds],
            rows,
            ["Below 0 the first row loses less than the second, paired by seed."],
        )


def _lost(found: Estimate) -> str:
    return spread_text(found, sign=True) + _mark(clear(found))


def _lesions(result: ArenaResult) -> Iterator[Table]:
    kinds = ("permuted", "silent")
    rows = [
        [
            row.name,
            number(row.mean(result.ranking), 3),
            *(_lesion(result, row, kind) for kind in kinds),
        ]
        for row in result.trained
        if row.lesion
    ]
    if rows:
        title = result.titles[result.ranking]
        head = ["", "its own", "of another sample", "none"]
        note = "Of a row without spikes, its activations are exchanged or set to 0."
        yield Table(f"Lesions: {title} on test by whose spikes", head, rows, [note])


def _lesion(result: ArenaResult, row: RowResult, kind: str) -> str:
    return spread_text(estimate(row.lesion.get(kind, {}).get(result.ranking, ())))


def _leaks(result: ArenaResult) -> Iterator[Table]:
    rows, whats = [], ("epoch", "threshold", "both")
    metrics = [name for name in result.compared if any(name in row.leak for row in result.trained)]
    for row in result.trained:
        if not row.leak:
            continue
        cells = []
        for metric in metrics:
            honest = estimate(row.leak[metric]["honest"]).mean
            cells.append(number(honest, 3))
            cells += [
                signed(gain(result, metric, honest, estimate(row.leak[metric][what]).mean))
                for what in whats
                if what in row.leak[metric]
            ]
        rows.append([row.name, *cells])
    if rows:
        kept = result.trained[0].leak
        names = {"epoch": "best epoch on test", "threshold": "best threshold on test", "both": "both"}
        head = [""]
        for metric in metrics:
            head += [result.titles[metric], *(names[what] for what in whats if what in kept[metric])]
        note = "CHOSEN ON TEST, after everything else, to show the size of the leak; used for nothing on this page."
        yield Table("The leak: what a choice on test would have reported", head, rows, [note])


def _costs(result: ArenaResult) -> Table:
    fronts = pareto(result)
    rows = []
    for row in result.trained:
        cost: Mapping[str, float] = row.cost or {}
        marks = [name for name, names in fronts.items() if row.name in names]
        rows.append(
            [
                row.name,
                number(row.mean(result.ranking), 3),
                f"{row.parameters or 0:,}",
                number(row.minutes, 1),
                *(short_count(cost.get(name)) for name in ("macs", "acs", "updates")),
                number(cost.get("energy"), 1),
                number(cost.get("milliseconds"), 2),
                ", ".join(marks) or "-",
            ]
        )
    head = ["", result.titles[result.ranking], "parameters", "minutes of training", "MACs", "ACs", "updates"]
    notes = [
        "Of one sample of valid, by the model of the first seed. MACs multiply and accumulate, ACs accumulate spikes; "
        "nJ is an estimate from published costs of single operations at 45 nm, memory not counted; ms is the median of "
        "a sample alone on one thread of this machine.",
        "On the front of a cost: no other row has a score as good for less.",
    ]
    return Table("What an answer costs", [*head, "nJ", "ms", "on the front of"], rows, notes)


def _definitions(result: ArenaResult) -> Table:
    lines = [f"{result.titles[name]}: {text}." for name, text in result.definitions.items()]
    metric = result.titles.get(result.metric, result.metric)
    lines.append(_PROTOCOL.format(metric=metric, draws="200 times"))
    changes = [f"{row.name}: {' '.join(row.changes)}" for row in result.trained if row.changes]
    return Table("Definitions", notes=[*lines, *changes])


def arena_csv(result: ArenaResult) -> str:
    """Return one line a row, with every number; each says of what data, or that it is SYNTHETIC."""
    lines, data = [], "SYNTHETIC" if result.synthetic else result.data["source"]
    for row in result.rows:
        line: dict[str, object] = {"name": row.name, "family": row.family, "data": data, "seeds": row.seeds}
        for decision, by in row.test.items():
            for metric, values in by.items():
                found = estimate(values)
                line |= {f"{decision}.{metric}": found.mean, f"{decision}.{metric}.half_width": found.half_width}
        for metric, interval in row.resampled.items():
            line |= {f"groups.{metric}.low": interval.low, f"groups.{metric}.high": interval.high}
        for kind, tested in (("corrupted", row.corrupted), ("lesion", row.lesion)):
            for what, by in tested.items():
                line |= {f"{kind}.{what}.{metric}": estimate(values).mean for metric, values in by.items()}
        for metric, by in row.leak.items():
            line |= {f"leak.{metric}.{what}": estimate(values).mean for what, values in by.items()}
        line |= {"parameters": row.parameters, "minutes": row.minutes}
        line |= {f"cost.{name}": value for name, value in (row.cost or {}).items()}
        lines.append(line)
    names = list(dict.fromkeys(name for line in lines for name in line))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _cell(value) for name, value in line.items()})
    return file.getvalue()


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
