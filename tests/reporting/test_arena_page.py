"""What an arena's page says follows its numbers, whatever their sign."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from neurozoo.reporting.arena_findings import findings, gain, pareto
from neurozoo.reporting.arena_page import arena_csv, arena_markdown, arena_tables
from neurozoo.studies.arena.result import ArenaResult, RowResult, compared, ranked
from neurozoo.studies.intervals import Draws
from neurozoo.tasks.multilabel import Multilabel

TASK = Multilabel(("a", "b"))
TITLES = {"map": "mAP", "micro_f1": "micro F1", "accuracy": "accuracy"}


def row(name: str, family: str, values: Sequence[float], **more: Any) -> RowResult:
    scores = {"map": values, "micro_f1": values, "accuracy": values}
    seeds = () if family == "floor" else (1,) * len(values)
    shared = {"test": {"one": scores}, "decisions": {"one": [0.5] * len(values)}, "epochs": seeds}
    return RowResult(name=name, family=family, **(shared | more))  # type: ignore[arg-type]


def result(rows: Sequence[RowResult], spread: Mapping[str, Sequence[float]] | None = None) -> ArenaResult:
    """Return an arena of these rows, whose resampled scores move by ``spread`` around their means."""
    moved = spread or {}
    draws = {
        each.name: {
            metric: Draws(each.mean(metric), tuple(each.mean(metric) + s for s in moved.get(each.name, (0, 0))))
            for metric in TITLES
        }
        for each in rows
    }
    metrics = ("map", "micro_f1")
    zero = Draws(0.0, (0.0, 0.0))
    ordered = [
        RowResult(**{**vars(each), "resampled": {m: draws[each.name][m].minus(zero) for m in metrics}})
        for each in ranked(rows, TASK, "map")
    ]
    first = next(each for each in ordered if each.seeds)
    by_name = {each.name: each for each in ordered}
    return ArenaResult(
        schema=1, name="small", description="a small arena", synthetic=False,
        data={"source": "made up", "splits": {"test": 4}, "checksum": "0" * 64, "groups": 4, "signals": ["x"]},
        overrides=("data.root=/somewhere/here", "training.epochs=2"), seeds=(1, 2, 3), left_out=(),
        trials=1, metric="micro_f1", ranking="map", decided="micro_f1",
        task="multilabel", titles=TITLES, definitions=dict.fromkeys(TITLES, "what it is"),
        better=dict.fromkeys(TITLES, "higher"), rows=ordered,
        leading=[c for each in ordered if each is not first for c in compared(each, first, metrics, draws)],
        controls=[
            c
            for each in ordered
            if each.control_of
            for c in compared(by_name[each.control_of], each, metrics, draws)
        ],
        notes=[], minutes=1.0, folder="",
    )  # fmt: skip


def twin(values: Sequence[float], **more: Any) -> RowResult:
    return row("twin", "without spikes", values, control_of="net", without="spikes", **more)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.60, 0.61, 0.60), "net minus twin: +0.100 ± 0.025 of mAP. **Spikes: an advantage of 0.100.**"),
        ((0.80, 0.81, 0.80), "net minus twin: -0.100 ± 0.025 of mAP. **Spikes: a disadvantage of 0.100.**"),
        ((0.60, 0.81, 0.70), "**Spikes: neither an advantage nor a disadvantage that these seeds can show.**"),
    ],
)
def test_what_spikes_add_has_the_sign_of_the_numbers(values: Sequence[float], verdict: str) -> None:
    found = findings(result([row("net", "spiking", (0.70, 0.70, 0.71)), twin(values)]))
    assert any(verdict in each for each in found), found
    ahead = "twin" if sum(values) > 2.11 else "net"
    assert found[0].startswith(f"Of 2 models {ahead} has the best mAP on test: ")


def test_one_seed_shows_no_difference() -> None:
    one = result([row("net", "spiking", (0.7,)), twin((0.2,))])
    found = "\n".join(findings(one))
    assert "neither an advantage nor a disadvantage" in found
    assert "-0.500 of it, paired by seed: one seed cannot show whether that is a difference" in found
    assert "At equal score" not in found
    assert "10 seeds are wanted" in found


@pytest.mark.parametrize(
    ("value", "spread", "words"),
    [
        (0.9, (-0.01, 0.01), "**The best floor, constant (0.900), is ahead of every model**: by +0.200"),
        (0.5, (-0.01, 0.01), "The best floor is constant (0.500); minus net that is -0.200 (-0.2"),
        (0.7, (-0.05, 0.05), "**The best floor, constant (0.700), cannot be told from the best model on test**"),
    ],
)
def test_floors_are_named_wherever_they_stand(value: float, spread: Sequence[float], words: str) -> None:
    found = findings(
        result([row("net", "spiking", (0.7, 0.7)), row("constant", "floor", (value,))], {"constant": spread})
    )
    assert any(words in each for each in found), found
    below = [each for each in found if "below the floor constant in accuracy: net" in each]
    assert len(below) == (value > 0.7)


def test_robustness_compares_losses_in_pairs() -> None:
    corrupted = {"noise": {"map": (0.5, 0.5, 0.52)}}
    more = {"noise": {"map": (0.1, 0.1, 0.12)}}
    found = findings(
        result([row("net", "spiking", (0.7, 0.7, 0.71), corrupted=corrupted), twin((0.7, 0.7, 0.72), corrupted=more)])
    )
    assert any("of 1 corruptions net loses less with noise." in each for each in found), found
    found = findings(
        result([row("net", "spiking", (0.7, 0.7, 0.71), corrupted=more), twin((0.7, 0.7, 0.72), corrupted=corrupted)])
    )
    assert any("of 1 corruptions net loses more with noise." in each for each in found), found


def test_the_leak_thresholds_and_costs_are_in_words() -> None:
    leak = {
        "map": {"honest": [0.7], "epoch": [0.72]},
        "micro_f1": {"honest": [0.7], "both": [0.76], "threshold": [0.71]},
    }
    leak["micro_f1"]["epoch"] = [0.72]
    cost = {"macs": 100.0, "acs": 50.0, "updates": 10.0, "energy": 1.0, "milliseconds": 2.0, "parameters": 5}
    test = {"one": {name: [0.7] for name in TITLES}, "each": {name: [0.65] for name in TITLES}}
    known = result([row("net", "spiking", (0.7,), leak=leak, cost=cost, test=test, parameters=5, minutes=0.5)])
    text = "\n".join(findings(known))
    assert "choosing the epoch on test would have reported 0.020 more mAP on average, at most 0.020 (net)" in text
    assert "choosing epoch and threshold on test would have reported 0.060 more micro F1" in text
    assert "One threshold a label in place of one changes on test: -0.050 of accuracy" in text
    tables = {table.title: table for table in arena_tables(known)}
    (cells,) = tables["The leak: what a choice on test would have reported"].rows
    assert cells == ["net", "0.700", "+0.020", "0.700", "+0.020", "+0.010", "+0.060"]
    (cells,) = tables["What an answer costs"].rows
    assert cells == ["net", "0.700", "5", "0.5", "100", "50", "10", "1.0", "2.00", "operations, milliseconds"]
    page = arena_markdown(known)
    assert "| net | 0.700 |" in page
    assert "Command: neurozoo arena small data.root=STORE training.epochs=2 --seeds 3 --leak." in page
    assert "/somewhere" not in page
    some = arena_markdown(replace(known, left_out=("one", "two")))
    assert "1 of the arena's 3 rows, without: one; two." in some
    assert '--seeds 3 --leak --only "net".' in some
    heading, line = arena_csv(known).splitlines()
    assert "leak.micro_f1.both" in heading
    assert line.startswith("net,spiking,made up,")
    assert ",SYNTHETIC," in arena_csv(replace(known, synthetic=True))


def test_what_costs_least_at_equal_score() -> None:
    cost = {"macs": 100.0, "acs": 50.0, "updates": 10.0, "energy": 1.0, "milliseconds": 2.0, "parameters": 5}
    rows = [
        row("net", "spiking", (0.70, 0.70, 0.71), cost=cost),
        row("small", "spiking", (0.70, 0.69, 0.71), cost={**cost, "macs": 0.0, "milliseconds": 3.0}),
        row("tiny", "spiking", (0.50, 0.50, 0.51), cost={**cost, "macs": 0.0, "acs": 0.0, "milliseconds": 0.1}),
    ]
    (found,) = (each for each in findings(result(rows)) if "operations" in each)
    assert "small takes the fewest operations (60 a sample) and net the least time (2.00 ms alone" in found
    assert pareto(result(rows)) == {"operations": ["net", "small", "tiny"], "milliseconds": ["net", "tiny"]}
    rows[1] = row("small", "spiking", (0.70, 0.69, 0.71), cost={**cost, "macs": 0.0, "milliseconds": 1.0})
    (found,) = (each for each in findings(result(rows)) if "operations" in each)
    assert "small takes the fewest operations (60 a sample) and the least time (1.00 ms alone" in found


def test_a_metric_may_be_better_lower() -> None:
    lower = result([row("net", "spiking", (0.7,))])
    lower = ArenaResult(**{**vars(lower), "better": {**lower.better, "map": "lower"}})
    assert gain(lower, "map", 0.5, 0.4) == pytest.approx(0.1)
    assert math.isnan(gain(lower, "map", math.nan, 0.4))
