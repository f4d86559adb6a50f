"""What a store holds, for people: as tables, and as a page with pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from itertools import combinations

import numpy as np

from neurozoo.data.manifest import WARNINGS, Description
from neurozoo.data.store import Store
from neurozoo.data.summary import CELL, Labels, Summary
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.figures import bars, heat_map, steps
from neurozoo.reporting.page import Content, Picture, html_page
from neurozoo.reporting.store_samples import Chosen, sample_pictures
from neurozoo.reporting.tables import Table

__all__ = ["overview_page", "overview_tables"]

_WIDE = 12
"""Up to so many labels a table of all pairs can be read."""
_PAIRS = 20
_BARS = 40
"""Up to so many classes are drawn."""


def overview_tables(store: Store, summary: Summary) -> list[Table]:
    """Origin, signals, lengths, values, and the targets as their task has them."""
    return [
        Table(str(store.path), notes=_origin(store.description)),
        _signals(store),
        _lengths(summary),
        *_events(summary),
        *_values(summary),
        *_targets(store.description, summary),
    ]


def overview_page(store: Store, summary: Summary, chosen: Chosen) -> str:
    """The same as one HTML file, with pictures, of the chosen samples too.

    Raises:
        UserError: matplotlib is not installed.
    """
    known, names = store.description, store.description.task.outputs
    lengths = [
        Picture(
            f"{name}: valid positions",
            steps(
                {split: _shares(each.counts) for split, each in by_split.items()},
                along="valid positions of a sample",
                unit="of the samples",
                wide=max(each.step for each in by_split.values()),
                label=f"how many samples have how many valid positions, {name}",
            ),
        )
        for name, by_split in summary.lengths.items()
        if known.signals[name].length > 1 and known.signals[name].ragged and known.signals[name].sensor is None
    ]
    content: list[Content] = [Table("Where it comes from", notes=_origin(known)), _signals(store)]
    content += [_lengths(summary), *lengths, *_events(summary), *_values(summary)]
    if summary.labels:
        content += _label_page(names, summary)
    else:
        content += _targets(known, summary)
        if summary.classes and len(names) <= _BARS:
            shares = {split: _shares(each.counts) for split, each in summary.classes.items()}
            content.append(_by_split("", names, shares, "how frequent each class is in each split"))
    content += sample_pictures(chosen)
    return html_page(store.path.absolute().name, content, warning=SYNTHETIC_NOTICE if known.synthetic else "")


def _label_page(names: Sequence[str], summary: Summary) -> list[Content]:
    total = _all(summary)
    most = max(number for number, samples in enumerate(total.cardinality) if samples)
    frequent = {split: [n / each.samples for n in each.counts] for split, each in summary.labels.items()}
    numbers = {split: _shares(each.cardinality[: most + 1]) for split, each in summary.labels.items()}
    conditional = [
        [count / max(own, 1) for count in row] for row, own in zip(total.together, total.counts, strict=True)
    ]
    return [
        _frequencies(names, summary),
        _by_split("", names, frequent, "how frequent each label is in each split"),
        _by_split(
            "Labels of a sample",
            list(map(str, range(most + 1))),
            numbers,
            "how many labels the samples have in each split",
        ),
        _together(names, total),
        Picture(
            "",
            heat_map(names, conditional, label="how often labels occur together"),
            "Of the samples with the row's label, the share that has the column's; all splits together.",
        ),
    ]


def _by_split(title: str, names: Sequence[str], shares: Mapping[str, Sequence[float]], label: str) -> Picture:
    return Picture(title, bars(names, shares, unit="of the samples of a split", label=label, percent=True))


def _origin(known: Description) -> list[str]:
    notice = [SYNTHETIC_NOTICE] if known.synthetic else []
    origin = [
        f"{key}: {known.origin[key]}" for key in ("format", "source", "licence", "citation") if key in known.origin
    ]
    splits = ", ".join(f"{size:,} {split}" for split, size in known.splits.items())
    warnings = [f"warning: {warning}" for warning in known.origin.get(WARNINGS, [])]
    return [*notice, *origin, f"samples: {splits}", *warnings, f"checksum: {known.checksum}"]


def _signals(store: Store) -> Table:
    rows = []
    for name, column in store.columns.items():
        axes = " x ".join(map(str, column.sensor or column.shape)) or "1"
        layout = "own lengths" if column.ragged else "padded" if column.masked else "one length"
        layout = layout if column.sensor is None else "events"
        packed = " as bits" if column.dtype == "bool" else ""
        lost = f"{store.non_finite.get(name, 0):,}"
        tick = "" if column.tick is None else f"{column.tick:g} s"
        rows.append([name, axes, str(column.length), lost, f"{column.dtype}{packed}", layout, tick])
    head = ["signal", "features", "positions L", "not finite, now 0", "dtype", "stored", "tick"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return Table("Signals", head, rows)


def _events(summary: Summary) -> list[Table]:
    """How many, how long and how sparse events are."""
    rows = [
        [
            name, split, f"{each.events:,}", *(f"{each.seconds[place]:.3g}" for place in (0, 2, 4)),
            f"{each.rate:.3g}", f"{each.busiest:.3g}", f"{each.silent:.1%}", f"{each.empty:.1%}",
        ]
        for name, by_split in summary.events.items()
        for split, each in by_split.items()
    ]  # fmt: skip
    head = [
        "signal", "split", "events", "last at s: least", "median", "most", "events a second and address",
        "of the busiest", "silent addresses", f"empty cells of {CELL * 1e3:g} ms",
    ]  # fmt: skip
    return [Table("Events", head, rows)] if rows else []


def _values(summary: Summary) -> list[Table]:
    """Of spikes, frames and token numbers."""
    rows = [
        [name, split, str(each.least), str(each.most), f"{each.mean:.4g}"]
        for name, by_split in summary.values.items()
        for split, each in by_split.items()
    ]
    return [Table("Values at valid positions", ["signal", "split", "least", "most", "mean"], rows)] if rows else []


def _targets(known: Description, summary: Summary) -> list[Table]:
    names, of = known.task.outputs, " a step" if known.task.per_step else ""
    if summary.labels:
        return [_frequencies(names, summary), _together(names, _all(summary))]
    if summary.classes:
        splits = summary.classes.values()
        rows = [[name, *(_count(each.counts[k], each.samples) for each in splits)] for k, name in enumerate(names)]
        return [Table(f"Classes{of}", ["class", *summary.classes], rows)]
    if summary.quantities:
        rows = [
            [name, split, *(f"{value:.4g}" for value in (each.mean, each.deviation, each.least, each.most))]
            for k, name in enumerate(names)
            for split, by_quantity in summary.quantities.items()
            for each in [by_quantity[k]]
        ]
        return [Table(f"Quantities{of}", ["quantity", "split", "mean", "deviation", "least", "most"], rows)]
    return [Table(f"Targets of {known.task.name}{of}", notes=[", ".join(names)])]


def _lengths(summary: Summary) -> Table:
    rows = [
        [name, split, *(f"{value:g}" for value in each.quartiles), f"{each.without:,}"]
        for name, by_split in summary.lengths.items()
        for split, each in by_split.items()
    ]
    head = ["signal", "split", "least", "25 %", "median", "75 %", "most", "samples without"]
    return Table("Valid positions", head, rows)


def _frequencies(names: Sequence[str], summary: Summary) -> Table:
    splits = summary.labels.values()
    rows = [[name, *(_count(each.counts[k], each.samples) for each in splits)] for k, name in enumerate(names)]
    rows.append(["labels a sample", *(f"{sum(each.counts) / each.samples:.2f}" for each in splits)])
    rows.append(["samples without", *(f"{each.cardinality[0]:,}" for each in splits)])
    return Table("Labels", ["label", *summary.labels], rows)


def _count(count: int, samples: int) -> str:
    return f"{count:,} ({count / max(samples, 1):.1%})"


def _together(names: Sequence[str], total: Labels) -> Table:
    if len(names) <= _WIDE:
        rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip(names, total.together, strict=True)]
        return Table("Samples with both labels, all splits", ["", *names], rows)
    pairs = sorted(combinations(range(len(names)), 2), key=lambda pair: -total.together[pair[0]][pair[1]])[:_PAIRS]
    rows = [[names[i], names[j], f"{total.together[i][j]:,}"] for i, j in pairs]
    return Table(
        f"The {len(rows)} pairs of labels most often together, all splits", ["label", "label", "samples"], rows
    )


def _all(summary: Summary) -> Labels:
    """Add up the labels of all splits."""
    splits = map(astuple, summary.labels.values())
    return Labels(*(np.sum(each, axis=0).tolist() for each in zip(*splits, strict=True)))


def _shares(counts: Sequence[int]) -> list[float]:
    total = max(sum(counts), 1)
    return [count / total for count in counts]
