"""What a store holds, for people: as tables, and as a page with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from neurozoo.data.manifest import Description
from neurozoo.data.store import Store
from neurozoo.data.summary import Labels, Summary
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.figures import bars, heat_map, steps
from neurozoo.reporting.page import Picture, html_page
from neurozoo.reporting.tables import Table

__all__ = ["overview_page", "overview_tables"]

_WIDE = 12
"""Up to so many labels a table of all pairs can be read."""
_PAIRS = 20


def overview_tables(store: Store, summary: Summary) -> list[Table]:
    """Origin, modalities, lengths, label frequencies and co-occurrence."""
    return [
        Table(str(store.path), notes=_origin(store.description)),
        _modalities(store),
        _lengths(summary),
        _frequencies(store.description.labels, summary),
        _together(store.description.labels, _all(summary)),
    ]


def overview_page(store: Store, summary: Summary) -> str:
    """The same as one HTML file, with pictures.

    Raises:
        UserError: matplotlib is not installed.
    """
    known = store.description
    names, total = known.labels, _all(summary)
    _, modalities, lengths, frequencies, together = overview_tables(store, summary)
    pictures = [
        Picture(
            f"{name}: valid positions",
            steps(
                {split: _shares(found.counts) for split, found in by_split.items()},
                along="valid positions of a sample",
                unit="of the samples",
                label=f"how many samples have how many valid positions, {name}",
            ),
        )
        for name, by_split in summary.lengths.items()
        if known.modalities[name].length > 1
    ]
    content: list[Table | Picture] = [
        Table("Where it comes from", notes=_origin(known)),
        modalities,
        lengths,
        *pictures,
        frequencies,
        Picture(
            "",
            bars(
                names,
                {split: [count / found.samples for count in found.counts] for split, found in summary.labels.items()},
                unit="of the samples of a split",
                label="how frequent each label is in each split",
                percent=True,
            ),
        ),
        Picture(
            "Labels of a sample",
            bars(
                [str(number) for number in range(_most(total) + 1)],
                {split: _shares(found.cardinality[: _most(total) + 1]) for split, found in summary.labels.items()},
                unit="of the samples of a split",
                label="how many labels the samples have in each split",
                percent=True,
            ),
        ),
        together,
        Picture(
            "",
            heat_map(names, _conditional(total), label="how often labels occur together"),
            "Of the samples with the row's label, the share that has the column's; all splits together.",
        ),
    ]
    return html_page(store.path.absolute().name, content, warning=SYNTHETIC_NOTICE if known.synthetic else "")


def _origin(known: Description) -> list[str]:
    told = [f"{key}: {known.origin[key]}" for key in ("format", "source", "licence", "citation") if key in known.origin]
    splits = ", ".join(f"{size:,} {split}" for split, size in known.splits.items())
    return [
        *([SYNTHETIC_NOTICE] if known.synthetic else []),
        *told,
        f"samples: {splits}",
        f"checksum: {known.checksum}",
    ]


def _modalities(store: Store) -> Table:
    rows = [
        [name, str(shape.dim), str(shape.length), f"{store.non_finite.get(name, 0):,}"]
        for name, shape in store.description.modalities.items()
    ]
    return Table("Modalities", ["modality", "features D", "positions L", "not finite, now 0"], rows)


def _lengths(summary: Summary) -> Table:
    rows = [
        [name, split, *(f"{value:g}" for value in found.quartiles), f"{found.without:,}"]
        for name, by_split in summary.lengths.items()
        for split, found in by_split.items()
    ]
    head = ["modality", "split", "least", "25 %", "median", "75 %", "most", "samples without"]
    return Table("Valid positions", head, rows)


def _frequencies(names: Sequence[str], summary: Summary) -> Table:
    splits = list(summary.labels)
    rows = [
        [name, *(f"{found.counts[k]:,} ({found.counts[k] / found.samples:.1%})" for found in summary.labels.values())]
        for k, name in enumerate(names)
    ]
    rows.append(["labels a sample", *(f"{sum(f.counts) / f.samples:.2f}" for f in summary.labels.values())])
    rows.append(["samples without", *(f"{f.cardinality[0]:,}" for f in summary.labels.values())])
    return Table("Labels", ["label", *splits], rows)


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
    """The labels of all splits as if they were one."""
    found = list(summary.labels.values())
    return Labels(
        sum(each.samples for each in found),
        tuple(map(sum, zip(*(each.counts for each in found), strict=True))),
        tuple(
            tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*(each.together for each in found), strict=True)
        ),
        tuple(map(sum, zip(*(each.cardinality for each in found), strict=True))),
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = max(sum(counts), 1)
    return [count / total for count in counts]


def _most(total: Labels) -> int:
    """The most labels that a sample has."""
    return max(number for number, samples in enumerate(total.cardinality) if samples)


def _conditional(total: Labels) -> list[list[float]]:
    return [[count / max(own, 1) for count in row] for row, own in zip(total.together, total.counts, strict=True)]
