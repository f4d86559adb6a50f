"""Pictures of what :func:`neurozoo.record` saw, for notebooks and papers, on matplotlib's axes.

Each function draws in the given axes or in those of a new figure, and returns them. matplotlib is the extra ``plots``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.errors import UserError
from neurozoo.nn.record import LayerRecord, Record
from neurozoo.reporting.figures import COLOURS, Line, draw_lines, figure_class, literal
from neurozoo.reporting.runs.traces import typical_neurons

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["membrane", "raster", "rates"]


def raster(
    spikes: Record | Tensor, *, layer: str | Sequence[str] | None = None, sample: int = 0, ax: Axes | None = None
) -> Axes:
    """Draw the spikes of one sample: a row a neuron, a mark a spike; layers one above the other.

    Args:
        spikes: A record with spikes, or spikes ``[T, B, ...]``.
        layer: Name of a layer of the record, or several; by default all that fire.
        sample: Number of the sample.
        ax: Axes to draw in; by default those of a new figure.

    Raises:
        UserError: There are no such spikes, or matplotlib is not installed.
    """
    trains = {"": spikes} if isinstance(spikes, Tensor) else _chosen(spikes.spikes, layer)
    axes, base = _axes(ax), 0
    ticks: dict[str, float] = {}
    for place, (name, each) in enumerate(trains.items()):
        rows = _rows(each, sample, name)
        steps, neurons = np.nonzero(rows)
        axes.scatter(
            steps, neurons + base, s=16, marker="|", color=COLOURS[place % len(COLOURS)], linewidths=1.0,
            label=literal(name) or None, rasterized=len(steps) > 20_000,
        )  # fmt: skip
        ticks[literal(name) or "the network"] = base + (rows.shape[1] - 1) / 2
        base += rows.shape[1]
        if place < len(trains) - 1:
            axes.axhline(base - 0.5, color=COLOURS[-1], linewidth=0.5)
    axes.set_xlim(-0.5, max(len(each) for each in trains.values()) - 0.5)
    axes.set_ylim(-0.5, base - 0.5)
    axes.set_xlabel("step")
    if len(trains) > 1:
        axes.set_yticks(list(ticks.values()), list(ticks))
        axes.set_ylabel("layer")
    else:
        axes.set_ylabel("neuron")
    return axes


def membrane(
    record: Record,
    *,
    layer: str | None = None,
    neurons: Sequence[int] | None = None,
    sample: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw membranes over time, with the threshold as a dashed line and a dot at each spike if these were recorded.

    Args:
        record: With membranes.
        layer: Name of the layer; by default the first that fires.
        neurons: Numbers of the neurons, flat over the axes of a feature map. By default the one that fires most, the
            one in the middle of those that fire, and the first that does not; of a readout the first three.
        sample: Number of the sample.
        ax: Axes to draw in; by default those of a new figure.

    Raises:
        UserError: There is no such layer or neuron, or matplotlib is not installed.
    """
    potentials = _chosen(record.membrane, layer)
    name = next((each for each in potentials if record[each].rate is not None), next(iter(potentials)))
    here = record[name]
    rows = _rows(potentials[name], sample, name)
    fired = None if here.spikes is None else _rows(here.spikes, sample, name) > 0
    chosen = _neurons(neurons, here, rows, fired)
    limits = None if here.threshold is None else _rows(here.threshold, sample, name)
    axes, steps = _axes(ax), list(range(len(rows)))
    for place, number in enumerate(chosen):
        curve = rows[:, number]
        draw_lines(axes, [Line(steps, curve.tolist(), place)])
        axes.lines[-1].set_label(f"neuron {number}")
        if fired is not None and fired[:, number].any():
            when = np.flatnonzero(fired[:, number])
            draw_lines(axes, [Line(when.tolist(), curve[when].tolist(), place, "spikes")])
        if limits is not None and (place == 0 or np.any(limits[:, number] != limits[:, chosen[0]])):
            draw_lines(axes, [Line(steps, limits[:, number].tolist(), None if place == 0 else place, "dashed")])
    axes.set_xlabel("step")
    axes.set_ylabel("membrane / threshold" if here.kind == "alif" else "membrane")
    axes.set_title(literal(f"{name}: {here.kind}".removeprefix(": ")))
    axes.legend(frameon=False)
    return axes


def rates(record: Record, *, layer: str | Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw the share of neurons that fire at each step, over all samples and outputs that count, a line a layer.

    Args:
        record: With spikes.
        layer: Name of a layer, or several; by default all that fire.
        ax: Axes to draw in; by default those of a new figure.

    Raises:
        UserError: There are no such spikes, or matplotlib is not installed.
    """
    axes = _axes(ax)
    for place, (name, spikes) in enumerate(_chosen(record.spikes, layer).items()):
        x, valid = spikes.detach(), record[name].valid
        if valid is None:
            share = x.flatten(1).mean(1)
        else:
            mask = valid.expand(len(x), *valid.shape[1:])
            kept = (x * mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim()))).flatten(1).sum(1)
            neurons = x[0].numel() // max(mask[0].numel(), 1)
            share = kept / (mask.flatten(1).sum(1) * neurons).clamp(min=1)
        draw_lines(axes, [Line(list(range(len(x))), share.double().cpu().tolist(), place)])
        axes.lines[-1].set_label(literal(name) or "the network")
    axes.set_xlabel("step")
    axes.set_ylabel("spikes a neuron and step")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return axes


def _axes(given: Axes | None) -> Axes:
    if given is not None:
        return given
    figure_class()  # says what to install, and keeps an unusable MPLBACKEND from breaking the import
    from matplotlib import pyplot

    made: Axes = pyplot.subplots(layout="constrained")[1]
    return made


def _chosen(found: dict[str, Tensor], layer: str | Sequence[str] | None) -> dict[str, Tensor]:
    """The layers of a record to draw, one at least."""
    names = list(found) if layer is None else [layer] if isinstance(layer, str) else list(layer)
    there = ", ".join(found) or "none"
    for name in names:
        if name not in found:
            raise UserError(f"the record has no such numbers of a layer {name!r}; it has those of: {there}")
    if not names:
        raise UserError("the record is empty: run the network inside the block, and name layers that fire")
    return {name: found[name] for name in names}


def _rows(values: Tensor, sample: int, name: str) -> NDArray[np.float64]:
    """One sample of ``[T, B, ...]`` as ``[T, N]``."""
    if values.dim() < 2 or not -values.shape[1] <= sample < values.shape[1]:
        what = f"{name} is" if name else "they are"
        raise UserError(f"there is no sample {sample}: {what} {list(values.shape)}, [T, B, ...]")
    one: NDArray[np.float64] = values.detach()[:, sample].reshape(len(values), -1).double().cpu().numpy()
    return one


def _neurons(
    wanted: Sequence[int] | None, here: LayerRecord, rows: NDArray[np.float64], fired: NDArray[np.bool_] | None
) -> list[int]:
    if wanted is None:
        return typical_neurons(torch.as_tensor(rows if fired is None else fired), fired is not None)
    for number in wanted:
        if not 0 <= number < rows.shape[1]:
            raise UserError(f"there is no neuron {number}; the layer has {rows.shape[1]:,}, {list(here.shape[2:])}")
    return list(wanted)
