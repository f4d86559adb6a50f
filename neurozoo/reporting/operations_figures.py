"""Drawings of a profile, and a page of all of it in one file."""

from __future__ import annotations

from neurozoo.operations.energy import energy_of
from neurozoo.operations.result import Counts, OperationsProfile, by_part
from neurozoo.reporting.figures import bars
from neurozoo.reporting.operations import SYNTHETIC, heading, tables
from neurozoo.reporting.page import Content, Picture, html_page

__all__ = ["as_page", "operations_pictures"]

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
        "MACs": _by_part(network, parts, "macs"),
        "ACs": _by_part(network, parts, "acs"),
        **({} if control is None else {"MACs of the control": _by_part(control, parts, "macs")}),
    }
    named = f" of {of}" if of else ""
    drawn = bars(parts, series, unit="effective operations a sample", label=f"operations by part{named}")
    pictures = [Picture(f"Operations by part{named}", drawn, f"{_CAPTION} With the products of attention.")]
    energy = {"spiking": _energy(network, parts)} | ({} if control is None else {"control": _energy(control, parts)})
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
    every = [table for table in tables(profile, layers=True) if table.title != SYNTHETIC]
    parts = [table for table in tables(profile) if table.title != SYNTHETIC]
    content: list[Content] = [parts[0], *operations_pictures(profile), *parts[1:]]
    content += [type(table)(f"{table.title}: each layer", table.head, table.rows) for table in every]
    return html_page(heading(profile), content, warning=SYNTHETIC if profile.synthetic else "")


def _by_part(counts: Counts, parts: list[str], what: str) -> list[float]:
    sums = dict.fromkeys(parts, 0)
    for layer in counts.layers:
        if layer.part in sums:
            sums[layer.part] += getattr(layer, what)
    return [counts.a_sample(number) for number in sums.values()]


def _energy(counts: Counts, parts: list[str]) -> list[float]:
    groups = by_part(counts.layers)
    layers = [[*groups.get((part, False), ()), *groups.get((part, True), ())] for part in parts]
    return [energy_of(counts, each).operations / 1000 for each in layers]
