"""The page on what published models do that corrected ones do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.tables import Table, markdown, rounded

if TYPE_CHECKING:
    from neurozoo.bench.published import MeasuredForm
    from neurozoo.core.published import Quirk

__all__ = ["published_page", "published_tables"]

_ROUNDING = 1e-9
"""Differences in deviations of the outputs, below which they are shown as 0."""

LEAST, MOST = 0.01, 0.5
"""Rates of a layer that is neither silent nor saturated, in spikes a step."""

_INTRODUCTION = """\
# Published models: what their code does, and a corrected model does not

Written by `{command}`.

Each model is here in two forms with equal layers. `published` computes what the authors' code does, to the spike; a
golden file proves it. `corrected` has none of what the code does and a model must not do. Below, both forms are
measured in a published size, at initialisation, on SYNTHETIC inputs: normal pictures, features and series, spike trains
of 5 %, event frames with a mean count of 0.2, uniform tokens. The published form has the framework's initialisation,
the corrected one the zoo's, which shows it one batch.

| Column | Meaning | A corrected model has |
|---|---|---|
| neighbours | how much a sample's outputs change if it is alone instead of in a batch, in evaluation | 0 |
| padding | how much they change if the batch is padded to one and a half of its length | 0 |
| luck | how much two evaluations of the same samples differ | 0 |
| dead | parameters without any gradient from a batch, and those of the authors' that are not built here | 0 |
| rates | of the layer that fires least and of the one that fires most, in a training forward | 1 to 50 % |

The first three are the largest difference of an output, in standard deviations of the outputs over samples, computed in
float64. A dash stands for what a model cannot have: padding of pictures, and of tasks with an answer at each step. What
goes through neurons that are silent at initialisation does not show here: QKFormer's state over samples is one, which
changes outputs once its attention fires.
"""


def published_tables(measured: Sequence[MeasuredForm], quirks: Mapping[str, Mapping[str, Quirk]]) -> list[Table]:
    """Return the measurements, and the quirks by model.

    Args:
        measured: Of :func:`neurozoo.bench.published.measure_published`.
        quirks: By the model's name.
    """
    head = ["size", "form", "parameters", "dead", "neighbours", "padding", "luck", "least rate", "largest rate"]
    rows = [
        [
            each.name, each.form, f"{each.parameters:,}", f"{each.dead:,}", _difference(each.neighbours),
            _difference(each.padding), _difference(each.luck), _rate(each.lowest), _rate(each.highest),
        ]
        for each in measured
    ]  # fmt: skip
    smaller = [f"{name} was measured smaller than published, with {text}" for name, text in _reduced(measured)]
    asleep = [
        f"{each.name}, corrected: {layer} fires in {rate:.2%} of its steps on these inputs, outside of 1 to 50 %"
        for each in measured
        if each.form == "corrected"
        for rate, layer in dict.fromkeys([each.lowest, each.highest])
        if not LEAST <= rate <= MOST
    ]
    choices = [
        [model, f"{name}: {quirk.published}", f"{name}: {quirk.corrected}", quirk.effect]
        for model, by_name in quirks.items()
        for name, quirk in by_name.items()
    ]
    return [
        Table(f"Measured at initialisation. {SYNTHETIC_NOTICE}", head, rows, [*smaller, *asleep]),
        Table("The choices", ["model", "published", "corrected", "what the published value does"], choices),
    ]


def published_page(measured: Sequence[MeasuredForm], quirks: Mapping[str, Mapping[str, Quirk]], command: str) -> str:
    """Return the page as Markdown."""
    return f"{_INTRODUCTION.format(command=command)}\n{markdown(published_tables(measured, quirks))}"


def _reduced(measured: Sequence[MeasuredForm]) -> Iterator[tuple[str, str]]:
    from neurozoo.bench.published import REDUCED

    for name in dict.fromkeys(each.name for each in measured):
        if name in REDUCED:
            yield name, ", ".join(f"{value} {key}" for key, value in REDUCED[name].items())


def _difference(value: float | None) -> str:
    if value is None:
        return "-"
    return rounded(0.0 if value < _ROUNDING else value)


def _rate(rate: tuple[float, str]) -> str:
    return f"{rate[0]:.2%} ({rate[1]})"
