"""The results page: ablations as Markdown, written by a command and never by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import RunError
from neurozoo.files.json_text import read_json
from neurozoo.reporting.tables import escaped, number, pipe_table, synthetic_mark
from neurozoo.studies.ablation import FULL, LESION
from neurozoo.studies.seeds import FILE as SEEDS

__all__ = ["heading", "is_clear", "not_trained", "read_ablation", "results_page", "with_interval"]

FILE = "ablation.json"

_EARLIER = {
    "titles": {"accuracy": "accuracy", "micro_f1": "micro F1", "macro_f1": "macro F1", "map": "mAP"},
    "definitions": {"accuracy": "mean over samples of |Y and P| / |Y or P|, 0 where both are empty (as published)"},
    "better": {},
    "baseline": "logistic regression",
}
"""What the files of ablations lack that were made before there were tasks; they are of multi-label."""

_WITHOUT_SPIKES = {
    ("model.parts.scaling=none",): "On this data the spikes add nothing to the scores that these seeds can show.",
    ("model.parts.activation=relu",): "That the units spike is no advantage over rectified ones here.",
}
"""What it means if a variant without spikes loses nothing."""

_INTRODUCTION = """\
# Results

This page is written by a command (`make results`), from the runs it trains; nothing here is typed by hand.

Every row is the recipe with the lines changed that its last cell names, trained with the same seeds. The first table
gives means over the seeds on the test split, which nothing is chosen on; the second the difference to the full recipe,
paired by seed, with its 95 % interval (Student's t). An interval that holds 0 is no evidence of a difference. The
intervals are over seeds: they leave out that another test split would give other numbers. They are not corrected for
how many there are: of twenty, one is expected not to hold 0 by chance.

The lesion effect is how far the predictions move when every sample is given another one's spikes, in units of their
standard deviation; near 0 it says that the spikes do nothing. For the ReLU control it is the same exchange of
activations.

The baselines are linear models, trained on the same training split: on each feature's mean and deviation over the
valid positions, and for transcripts on the mean vector and on bags of words. Their C, the inverse of the
regularisation's strength, is the best one on valid. They have no seed, so their differences to the full recipe's mean
over seeds have another interval: 95 % of 400 draws of the test samples with replacement, the segments of a video drawn
together. Scores of other papers that train on train and valid together are not comparable with them.
"""


def results_page(folders: Sequence[Path], missing: Mapping[str, str] | None = None) -> str:
    """One Markdown page of finished ablations, and of recipes that were trained with several seeds.

    Args:
        folders: Each with an ``ablation.json`` or a ``seeds.json``.
        missing: By name, what the page lacks, and why.

    Raises:
        RunError: A folder holds no finished ablation and no finished seeds.
    """
    sections, minutes = [], 0.0
    for folder in folders:
        seeds = (folder / SEEDS).is_file() and not (folder / FILE).is_file()
        found = read_json(folder / SEEDS, error=RunError) if seeds else read_ablation(folder)
        try:
            sections.append(_seeds_section(found) if seeds else _section(found))
            minutes += found["minutes"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = (SEEDS, "train --seeds") if seeds else (FILE, "ablate")
            raise RunError(
                f"{folder / what[0]}: not what `neurozoo {what[1]}` writes ({type(error).__name__}: {error}); make it "
                "again"
            ) from error
    time = f"All trainings of this page together took {minutes:.0f} minutes, one thread each.\n"
    return "\n".join([_INTRODUCTION, time, *sections, *not_trained(missing)])


def not_trained(missing: Mapping[str, str] | None) -> list[str]:
    """The section that says what a page lacks, and why; none if it lacks nothing."""
    lines = [f"- {name}: {escaped(reason)}" for name, reason in (missing or {}).items()]
    return ["## Not trained here\n\n" + "\n".join(lines) + "\n"] if lines else []


def read_ablation(folder: Path) -> dict[str, Any]:
    """What an ablation found, from its folder.

    Raises:
        RunError: The folder holds no finished ablation.
    """
    try:
        found: dict[str, Any] = read_json(folder / FILE, error=RunError)
    except RunError as error:
        raise RunError(
            f"{folder}: holds no finished ablation ({error}); `neurozoo ablate RECIPE --out {folder}` makes one"
        ) from error
    if not isinstance(found, dict) or not {"recipe", "means", "differences", "baselines"} <= found.keys():
        raise RunError(f"{folder / FILE}: not what `neurozoo ablate` writes; make it again")
    return {**_EARLIER, **found}


def _seeds_section(found: Mapping[str, Any]) -> str:
    """A recipe without ablations: the spread of its numbers over the seeds."""
    splits = list(found["metrics"])
    rows = [
        [name, *(_spread(found["metrics"][split].get(name)) for split in splits)]
        for name in found["metric_definitions"]
    ]
    rows += [[f"lesion effect, {kind}", *map(_spread, by.values())] for kind, by in found["lesion"].items()]
    blocks = [
        *heading(found, "train"),
        "\n".join(pipe_table(["mean (95 % interval)", *splits], rows)),
        "\n".join(f"- {name}: {text}." for name, text in found["metric_definitions"].items()),
    ]
    return "\n\n".join(blocks) + "\n"


def _spread(spread: Mapping[str, float | None] | None) -> str:
    if spread is None:
        return "-"
    return f"{number(spread['mean'], 3)} ({number(spread['low'], 3)} to {number(spread['high'], 3)})"


def heading(found: Mapping[str, Any], *words: str) -> list[str]:
    """The blocks that every section begins with: recipe, data, seeds, time, and the command, which has ``words``."""
    data, seeds = found["data"], len(found["seeds"])
    splits = ", ".join(f"{size:,} {name}" for name, size in data["splits"].items())
    verb, *options = words
    command = " ".join(["neurozoo", verb, found["recipe"], *found["overrides"], f"--seeds {seeds}", *options])
    return [
        f"## {found['recipe']}{synthetic_mark(found['synthetic'])}",
        f"{found['description']}.",
        *([f"**{SYNTHETIC_NOTICE}.**"] if found["synthetic"] else []),
        f"Data: {data['origin'].get('source', 'unknown')} ({splits}), checksum `{data['checksum'][:12]}`. "
        f"{seeds} seeds; {found['minutes']:.0f} minutes of training, one thread each. Command: `{command}`.",
    ]


def _section(found: Mapping[str, Any]) -> str:
    blocks = [
        *heading(found, "ablate"),
        "\n".join(_means(found)),
        "\n".join(_differences(found)),
        "\n".join(_findings(found)),
        "\n".join(f"- {found['titles'][name]}: {found['definitions'][name]}." for name in found["definitions"]),
    ]
    return "\n\n".join(blocks) + "\n"


def _means(found: Mapping[str, Any]) -> list[str]:
    scores, rows = found["titles"], []
    for each in found["baselines"]:
        cells = [number(each["metrics"][c], 3) for c in scores]
        rows.append([f"{each['name']} (C = {each['strength']:g})", *cells, "", ""])
    for name, means in found["means"].items():
        changed = ", ".join(f"`{line}`" for line in found["variants"][name])
        cells = [number(means[c]["mean"], 3) for c in (*scores, LESION)]
        rows.append([f"**{name}**" if name == FULL else name, *cells, changed])
    return pipe_table(["", *scores.values(), "lesion effect", "lines changed"], rows)


def _differences(found: Mapping[str, Any]) -> list[str]:
    scores = found["titles"]
    rows = [[each["name"], *(_between(each["differences"][c]) for c in scores), ""] for each in found["baselines"]]
    rows += [[name, *(_signed(by[c]) for c in (*scores, LESION))] for name, by in found["differences"].items()]
    return pipe_table(["minus full", *scores.values(), "lesion effect"], rows)


def _findings(found: Mapping[str, Any]) -> list[str]:
    """The intervals in words, for each baseline and variant."""
    titles, better = found["titles"], found["better"]
    lines = [_against(baseline, titles) for baseline in found["baselines"]]
    for name, by_column in found["differences"].items():
        clear = [c for c in titles if is_clear(by_column[c])]
        sides = {
            "lowers": [titles[c] for c in clear if by_column[c]["mean"] < 0],
            "raises": [titles[c] for c in clear if by_column[c]["mean"] > 0],
        }
        changes = " and ".join(f"{verb} {', '.join(scores)}" for verb, scores in sides.items() if scores)
        lines.append(f"- {name}: {changes or 'no difference in any score that these seeds can show'}.")
        worse = any((by_column[c]["mean"] < 0) == (better.get(c, "higher") == "higher") for c in clear)
        known = all(by_column[c]["half_width"] is not None for c in titles)
        if tuple(found["variants"][name]) in _WITHOUT_SPIKES and not worse and known:
            lines[-1] += f" **{_WITHOUT_SPIKES[tuple(found['variants'][name])]}**"
    return lines


def _against(baseline: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    differences = baseline["differences"]
    sides = {
        "above": [title for c, title in titles.items() if (differences[c]["low"] or 0) > 0],
        "below": [title for c, title in titles.items() if (differences[c]["high"] or 0) < 0],
    }
    places = " and ".join(f"{side} the full recipe in {', '.join(scores)}" for side, scores in sides.items() if scores)
    return f"- {baseline['name']}: {places or 'no difference that the test split can show'}."


def is_clear(estimate: Mapping[str, float | None]) -> bool:
    """Whether a difference is larger than the half width of its interval."""
    mean, half = estimate["mean"], estimate["half_width"]
    return mean is not None and half is not None and abs(mean) > half


def with_interval(estimate: Mapping[str, float | None], *, signed: bool = False) -> str:
    """A mean over seeds with the half width of its interval, if there are several seeds."""
    mean, half = estimate["mean"], estimate["half_width"]
    return number(mean, 3, signed=signed) + ("" if mean is None or half is None else f" ± {number(half, 3)}")


def _signed(estimate: Mapping[str, float | None]) -> str:
    text = with_interval(estimate, signed=True)
    return f"**{text}**" if is_clear(estimate) else text


def _between(interval: Mapping[str, float | None]) -> str:
    mean, low, high = interval["mean"], interval["low"], interval["high"]
    if mean is None or low is None or high is None:
        return "-"
    text = "{} ({} to {})".format(*(number(each, 3, signed=True) for each in (mean, low, high)))
    return f"**{text}**" if low > 0 or high < 0 else text
