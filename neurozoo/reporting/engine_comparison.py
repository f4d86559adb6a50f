"""A comparison of engines as text."""

from __future__ import annotations

from collections.abc import Iterator

from neurozoo.compare.engines import EngineComparison, EngineResult
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.tables import Table, number, plain_text

__all__ = ["as_text"]


def as_text(comparison: EngineComparison) -> str:
    """Return the comparison for the screen."""
    return plain_text(_tables(comparison))


def _tables(comparison: EngineComparison) -> Iterator[Table]:
    setting = comparison.setting
    weights = f"the best weights of {setting.run}" if setting.trained else "untrained weights, as training begins with"
    lines = [SYNTHETIC_NOTICE] if setting.synthetic else []
    lines.append(f"{setting.recipe}, {weights}: {comparison.samples} samples in {comparison.batches} batches")
    lines.append(f"{setting.data}; {comparison.threads} threads")
    rows = [
        [
            each.name, each.verdict, f"{sum(layer.parted for layer in each.layers):,}", f"{each.near:,}",
            f"{each.output_difference:.1e}", f"{each.prediction_difference:.1e}", number(each.milliseconds, 3),
            f"{each.time_ratio:.1f}",
        ]
        for each in comparison.engines
    ]  # fmt: skip
    head = ["engine", "verdict", "spikes that differ", "within 8 ulp", "outputs", "predictions", "ms", "times as fast"]
    notes = [f"{each.name}: {problem}" for each in comparison.engines for problem in each.problems]
    notes += [f"{name} is left out: {reason}" for name, reason in comparison.refused.items()]
    yield Table("\n".join(lines), head, rows, [*notes, "ms: median of a forward of one sample alone"])
    yield from (_layers(each) for each in comparison.engines[1:])


def _layers(result: EngineResult) -> Table:
    rows = []
    for layer in result.layers:
        alone = layer.alone
        cells = ["", "", "", "", ""]
        if alone is not None:
            stepped = alone.steps > 0
            cells = [
                f"{100 * alone.density:.2f} %",
                f"{alone.unordered:,} of {alone.outputs:,}",
                f"{alone.near:,}" if stepped else "-",
                f"{alone.beyond:,}" if stepped else "-",
                "-" if stepped else f"{alone.difference:.1e}",
            ]
        rows.append([layer.name, layer.kind, layer.runs, *cells, f"{layer.parted:,}"])
    head = [
        "layer", "neurons", "runs", "inputs not 0", "same order, differ", "differ within 8 ulp", "beyond", "no spikes",
        "whole model",
    ]  # fmt: skip
    notes = [
        "same order: outputs that are not the oracle's to the bit, its sums in the engine's order, over all steps",
        "within 8 ulp, beyond: spikes that differ from the oracle's with torch's sums, each step from its state;",
        "ulp is a unit in the last place of the threshold. no spikes: largest difference, as a share of the largest",
        "whole model: spikes that differ where each layer gets what the engine's layers before it gave",
    ]
    return Table(f"layers on {result.name}", head, rows, notes)
