"""What an arena's numbers say, in sentences with the sign that they have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from neurozoo.reporting.tables import number
from neurozoo.studies.arena.choosing import EACH, ONE, PUBLISHED
from neurozoo.studies.arena.result import ArenaResult, Comparison, RowResult, estimate, front
from neurozoo.studies.intervals import Estimate, Interval, paired_difference

__all__ = ["clear", "findings", "gain", "is_better", "lost_more", "pareto", "signed", "spread_text"]

FEW = 10
"""Seeds below which a sentence with "better" is not certain."""


def findings(result: ArenaResult) -> list[str]:
    """Return the sentences of an arena's page, the most important first."""
    found = [*_first(result), *_controls(result), *_robust(result), *_lesion(result), *_thresholds(result)]
    found += [*_leak(result), *_below(result), *_cost(result)]
    if len(result.seeds) < FEW:
        found.append(
            f"{len(result.seeds)} seed{'s' if len(result.seeds) > 1 else ''}: intervals are wide, and a row that is "
            f"ahead here is not yet shown to be better; {FEW} seeds are wanted for that. The intervals are not "
            "corrected for how many there are."
        )
    return found


def _first(result: ArenaResult) -> Iterator[str]:
    title, trained = result.titles[result.ranking], result.trained
    best = trained[0]
    yield (
        f"{f'Of {len(trained)} models {best.name} has the best' if len(trained) > 1 else f'{best.name} has this'} "
        f"{title} on test: "
        f"{spread_text(estimate(best.test[ONE][result.ranking]))} ({_groups(result, best)})."
    )
    if len(trained) > 1:
        second = _leading(result, trained[1].name)
        yield f"The next is {trained[1].name}, {_behind(result, second)}."
    floors = [row for row in result.rows if not row.seeds]
    if floors:
        against = _leading(result, floors[0].name)
        text = _groups_of(against.groups)
        name, value = floors[0].name, number(floors[0].mean(result.ranking), 3)
        shown = clear(against.groups)
        if not shown:
            yield f"**The best floor, {name} ({value}), cannot be told from the best model on test**: {text}."
        elif is_better(result, result.ranking, against.groups.mean):
            yield f"**The best floor, {name} ({value}), is ahead of every model**: by {text}."
        else:
            yield f"The best floor is {name} ({value}); minus {best.name} that is {text}."


def _groups(result: ArenaResult, row: RowResult) -> str:
    found = row.resampled[result.ranking]
    return f"95 % over resampled groups of test: {number(found.low, 3)} to {number(found.high, 3)}"


def _groups_of(found: Interval) -> str:
    return f"{signed(found.mean)} ({signed(found.low)} to {signed(found.high)} over resampled groups of test)"


def _leading(result: ArenaResult, name: str) -> Comparison:
    return next(each for each in result.leading if each.row == name and each.metric == result.ranking)


def _behind(result: ArenaResult, found: Comparison) -> str:
    assert found.seeds is not None
    text = f"at {spread_text(found.seeds, sign=True)} of it, paired by seed"
    if clear(found.seeds):
        return f"{text}: an interval without 0"
    if not math.isfinite(found.seeds.half_width):
        return f"{text}: one seed cannot show whether that is a difference"
    return f"{text}: these seeds show no difference"


def _controls(result: ArenaResult) -> Iterator[str]:
    for each in result.controls:
        if each.metric != result.ranking or each.seeds is None:
            continue
        control, title = result.row(each.other), result.titles[each.metric]
        text = f"{each.row} minus {each.other}: {spread_text(each.seeds, sign=True)} of {title}"
        what = str(control.without)
        if not clear(each.seeds):
            yield f"{text}. **{_capital(what)}: neither an advantage nor a disadvantage that these seeds can show.**"
        elif is_better(result, each.metric, each.seeds.mean):
            yield f"{text}. **{_capital(what)}: an advantage of {number(abs(each.seeds.mean), 3)}.**"
        else:
            yield f"{text}. **{_capital(what)}: a disadvantage of {number(abs(each.seeds.mean), 3)}.**"


def lost_more(result: ArenaResult, row: RowResult, other: RowResult, corruption: str) -> Estimate:
    """Return by how much more one row's score suffers from a corruption than another's, paired by seed.

    Above 0 the first one loses more.
    """
    metric = result.ranking

    def losses(each: RowResult) -> list[float]:
        clean, changed = each.test[ONE][metric], each.corrupted[corruption].get(metric, ())
        return [gain(result, metric, a, b) for a, b in zip(changed, clean, strict=True)]

    return paired_difference(losses(row), losses(other))


def _robust(result: ArenaResult) -> Iterator[str]:
    best = result.trained[0]
    drops = {
        what: gain(result, result.ranking, estimate(by[result.ranking]).mean, best.mean(result.ranking))
        for what, by in best.corrupted.items()
    }
    if not drops:
        return
    worst = max(drops, key=lambda what: drops[what] if math.isfinite(drops[what]) else -math.inf)
    title = result.titles[result.ranking]
    yield f"{best.name} loses most with {worst}: {number(drops[worst], 3)} of {title}."
    for row in result.trained:
        for control in result.trained:
            if control.control_of != row.name:
                continue
            found = {what: lost_more(result, row, control, what) for what in row.corrupted}
            less = [what for what, each in found.items() if clear(each) and each.mean < 0]
            more = [what for what, each in found.items() if clear(each) and each.mean > 0]
            text = "; ".join(
                f"{verb} with {', '.join(those)}" for verb, those in (("less", less), ("more", more)) if those
            )
            yield (
                f"Robustness, with {control.without} and without: of {len(found)} corruptions {row.name} loses "
                f"{text or 'as much as ' + control.name + ' in each, as far as these seeds show'}."
            )


def _lesion(result: ArenaResult) -> Iterator[str]:
    for row in result.trained:
        if row.family != "spiking" or "permuted" not in row.lesion or row is not _first_spiking(result):
            continue
        values = row.lesion["permuted"].get(result.ranking, ())
        change = paired_difference(values, row.test[ONE][result.ranking])
        yield (
            f"With the spikes of another sample {row.name} changes by {spread_text(change, sign=True)} of "
            f"{result.titles[result.ranking]}"
            f"{': its answers hardly need its spikes' if abs(change.mean) <= change.half_width else ''}."
        )


def _first_spiking(result: ArenaResult) -> RowResult | None:
    return next((row for row in result.trained if row.family == "spiking"), None)


def _thresholds(result: ArenaResult) -> Iterator[str]:
    for decision, what in ((EACH, "One threshold a label in place of one"), (PUBLISHED, "The threshold as published")):
        rows = [row for row in result.trained if decision in row.test]
        if not rows or result.decided is None:
            continue
        parts = [
            f"{signed(_mean([row.mean(name, decision) - row.mean(name) for row in rows]))} of {result.titles[name]}"
            for name in ("accuracy", "micro_f1", "macro_f1")
            if name in result.titles
        ]
        of = f"the mean over {len(rows)} models" if len(rows) > 1 else rows[0].name
        yield f"{what} changes on test: {', '.join(parts)} ({of})."


def _leak(result: ArenaResult) -> Iterator[str]:
    for metric in result.compared:
        rows = [row for row in result.trained if metric in row.leak]
        if not rows:
            continue
        what = "both" if "both" in rows[0].leak[metric] else "epoch"
        worth = {
            row.name: gain(result, metric, estimate(row.leak[metric]["honest"]).mean, estimate(by).mean)
            for row in rows
            for by in (row.leak[metric][what],)
        }
        most = max(worth, key=lambda name: worth[name])
        choice = "epoch and threshold" if what == "both" else "the epoch"
        yield (
            f"The leak: choosing {choice} on test would have reported {number(_mean(list(worth.values())), 3)} more "
            f"{result.titles[metric]} on average, at most {number(worth[most], 3)} ({most})."
        )


def _below(result: ArenaResult) -> Iterator[str]:
    floors = [row for row in result.rows if not row.seeds]
    for metric in dict.fromkeys(("accuracy", *result.compared)):
        if metric not in result.titles:
            continue
        known = {row.name: row.mean(metric) for row in floors}
        if not known:
            return
        best = max(known, key=lambda name: gain(result, metric, 0.0, known[name]))
        below = [row.name for row in result.trained if gain(result, metric, known[best], row.mean(metric)) < 0]
        if below:
            count = f"{len(below)} of {len(result.trained)}"
            yield f"{count} models lie below the floor {best} in {result.titles[metric]}: {', '.join(below)}."


def pareto(result: ArenaResult) -> dict[str, list[str]]:
    """Return the rows that no other one beats in score and cost, by the name of the cost."""

    def score(row: RowResult) -> float:
        return gain(result, result.ranking, 0.0, row.mean(result.ranking))

    return {
        "operations": front(result.trained, score, lambda row: row.operations),
        "milliseconds": front(result.trained, score, lambda row: row.milliseconds),
    }


def _cost(result: ArenaResult) -> Iterator[str]:
    best = result.trained[0]
    equal = []
    for row in result.trained[1:]:
        found = _leading(result, row.name).seeds
        if (
            found is not None
            and math.isfinite(found.half_width)
            and not clear(found)
            and math.isfinite(row.milliseconds)
        ):
            equal.append(row)
    if not equal or not math.isfinite(best.milliseconds):
        return
    rows = [best, *equal]
    few, quick = min(rows, key=lambda row: row.operations), min(rows, key=lambda row: row.milliseconds)
    other = "" if quick is few else f"{quick.name} "
    text = (
        f"At equal score, as far as these seeds can tell, {few.name} takes the fewest operations "
        f"({few.operations:,.0f} a sample) and {other}the least time ({quick.milliseconds:.2f} ms alone on one thread)"
    )
    if best is not few or best is not quick:
        text += f"; {best.name} takes {best.operations:,.0f} and {best.milliseconds:.2f} ms"
    yield f"{text}."


def gain(result: ArenaResult, metric: str, before: float, after: float) -> float:
    """Return by how much a score improves, whichever direction is better."""
    return after - before if result.better[metric] == "higher" else before - after


def is_better(result: ArenaResult, metric: str, difference: float) -> bool:
    """Whether a difference of a score is an improvement."""
    return gain(result, metric, 0.0, difference) > 0


def clear(found: Estimate | Interval) -> bool:
    """Whether an interval does not hold 0; never without one."""
    if isinstance(found, Interval):
        return found.low > 0 or found.high < 0
    return abs(found.mean) > found.half_width


def signed(value: float) -> str:
    """A difference with its sign."""
    return number(value, 3, signed=True)


def spread_text(found: Estimate, *, sign: bool = False) -> str:
    """A mean over seeds with the half width of its interval, if there are several."""
    half = f" ± {number(found.half_width, 3)}" if math.isfinite(found.half_width) else ""
    return number(found.mean, 3, signed=sign) + half


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
