"""The page on time and spikes: what the order of the steps is worth, and what spikes cost, by data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neurozoo.errors import RunError
from neurozoo.reporting.results_page import heading, is_clear, not_trained, read_ablation, with_interval
from neurozoo.reporting.tables import number, pipe_table, short_count
from neurozoo.studies.ablation import FULL

__all__ = ["time_page"]

_SHUFFLED = "data.shuffle_steps="
"""How the override begins that shuffles time in training too."""

_INTRODUCTION = """\
# Does time matter, do spikes?

This page is written by a command (`neurozoo results --time DIR...`), from the runs that `neurozoo ablate RECIPE --time`
trained; nothing here is typed by hand.

Each table has the recipe's model, its variants trained with the same seeds, and linear models. Scores are on test, of
the epoch that was best on valid: means over the seeds with their 95 % interval (Student's t). *Shuffled at test* is the
same trained model on test samples whose valid steps are in a random order, another one for each sample, with the
targets of a task per step. A model *trained on shuffled time* knows what comes, and not when.

Costs are of one sample: MACs are multiplications with accumulation of inputs that are no spikes and not 0, ACs the
accumulations that spikes and counts of events cause; updates of neurons are not among them. Milliseconds are of one
sample alone, the median over 20 samples on one thread of the CPU that this page was made on; they say how the rows
compare there, and no more.

Linear models are multinomial logistic regressions, C chosen on valid: on means and deviations over time, which know
nothing of the order, and on the means of stretches of time; of a task per step on those of the past alone.
"""


def time_page(folders: Sequence[Path], missing: Mapping[str, str] | None = None) -> str:
    """Return one Markdown page of finished ablations with time.

    Args:
        folders: Each with an ``ablation.json`` that ``neurozoo ablate --time`` wrote.
        missing: By name, what the page lacks, and why.

    Raises:
        RunError: A folder holds no such ablation.
    """
    sections = []
    for folder in folders:
        found = read_ablation(folder)
        if not found.get("shuffled") or not found.get("costs"):
            raise RunError(f"{folder}: its ablation was made without time; `neurozoo ablate RECIPE --time` makes it")
        try:
            sections.append(_section(found))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"{folder}: not what `neurozoo ablate --time` writes ({type(error).__name__}: {error}); make it again"
            ) from error
    return "\n".join([_INTRODUCTION, *sections, *not_trained(missing)])


def _section(found: Mapping[str, Any]) -> str:
    return (
        "\n\n".join([*heading(found, "ablate", "--time"), "\n".join(_table(found)), "\n".join(_findings(found))]) + "\n"
    )


def _table(found: Mapping[str, Any]) -> list[str]:
    score, title = next(iter(found["titles"].items()))
    rows = []
    for name, means in found["means"].items():
        cost = found["costs"][name]
        shuffled = found["shuffled"][name][score]
        rows.append(
            [
                f"**{name}**" if name == FULL else name,
                with_interval(means[score]),
                number(sum(shuffled) / len(shuffled), 3),
                f"{cost['parameters']:,}",
                short_count(cost["macs"]),
                short_count(cost["acs"]),
                f"{cost['milliseconds']:.1f}",
            ]
        )
    rows += [
        [f"{each['name']} (C = {each['strength']:g})", number(each["metrics"][score], 3), *[""] * 5]
        for each in found["baselines"]
    ]
    return pipe_table(["", title, "shuffled at test", "parameters", "MACs", "ACs", "ms"], rows)


def _findings(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the table says of time and of spikes."""
    score, title = next(iter(found["titles"].items()))
    full = found["means"][FULL][score]["mean"]
    shuffled = found["shuffled"][FULL][score]
    lost = full - sum(shuffled) / len(shuffled)
    yield f"- Shuffled at test the model loses {number(lost, 3)} of {title}."
    for name, by in found["differences"].items():
        mean, worth, clear = by[score]["mean"], with_interval(by[score], signed=True), is_clear(by[score])
        retrained = any(line.startswith(_SHUFFLED) for line in found["variants"][name])
        if retrained and not (clear and mean < 0):
            yield f"- {name}: {worth}. **The order in time adds nothing that these seeds can show.**"
        elif retrained:
            yield f"- {name}: {worth}. **The order in time is worth {number(-mean, 3)}.**"
        else:
            yield f"- {name}: {worth}{'' if clear else ', no difference that these seeds can show'}."
