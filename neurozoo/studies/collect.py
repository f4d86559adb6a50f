"""The table of a study that was started by hand, such as a job array of a cluster, from its finished runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neurozoo.core.leaves import leaf_text, leaves
from neurozoo.errors import RunError
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.runs.table import RunRow, runs_below
from neurozoo.studies.seeds import SeedsResult, seeds_result

__all__ = ["Collection", "collect"]

SCHEMA = 1

_NOT_DECISIVE = ("ablations", "description", "seed", "tune")
"""Sections of a recipe that do not tell groups apart."""


@dataclass(frozen=True)
class Collection:
    """Runs in groups, each of one recipe and one data set, and of different seeds.

    Attributes:
        schema: Version of this layout.
        groups: Their results, in the order of their first runs; ``overrides`` is what sets a group apart from the
            others, as ``key.sub=value``.
        left_out: Runs that are in no group, and why.
    """

    schema: int
    groups: tuple[SeedsResult, ...]
    left_out: Mapping[str, str]


@dataclass
class _Group:
    recipe: Recipe
    runs: dict[int, Path] = field(default_factory=dict)
    summaries: dict[int, dict[str, Any]] = field(default_factory=dict)


def collect(folders: Sequence[str | Path]) -> Collection:
    """Summarise the finished runs in some folders and below them: how far the numbers of each recipe spread over seeds.

    Runs belong together if their recipes differ in nothing but the seed and their data has one checksum, wherever they
    were trained. Nothing is written.

    Args:
        folders: Run folders, or folders that hold them at any depth.

    Raises:
        RunError: A folder is missing, or none holds a finished run.
    """
    groups: dict[tuple[Any, ...], _Group] = {}
    left_out: dict[str, str] = {}
    for row in _runs(folders):
        path = row.folder
        if row.values["status"] != "finished":
            left_out[str(path)] = _why_left_out(row)
            continue
        run = Run(path)
        recipe, summary = run.recipe(), run.read_json("summary.json")
        same = recipe.with_overrides(("seed=0",), registry=default_registry()).digest
        group = groups.setdefault((same, summary["data"]["checksum"], *summary["metrics"]), _Group(recipe))
        if recipe.seed in group.runs:
            left_out[str(path)] = f"has the recipe and the seed of {group.runs[recipe.seed]}"
            continue
        group.runs[recipe.seed], group.summaries[recipe.seed] = path, summary
    if not groups:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(left_out.items())[:3])
        raise RunError(
            f"{', '.join(map(str, folders))}: no finished run{f' ({reasons})' if reasons else ''}; give folders that "
            "hold runs"
        )
    apart = _differences([group.recipe for group in groups.values()])
    results = []
    for group, overrides in zip(groups.values(), apart, strict=True):
        seeds = tuple(sorted(group.runs))
        parents = {str(path.parent) for path in group.runs.values()}
        found = seeds_result(group.recipe, overrides, seeds, [group.summaries[seed] for seed in seeds])
        results.append(replace(found, folder=", ".join(sorted(parents))))
    return Collection(SCHEMA, tuple(results), left_out)


def _runs(folders: Sequence[str | Path]) -> Iterator[RunRow]:
    """Yield each run once."""
    seen: set[Path] = set()
    for folder in folders:
        for row in runs_below(folder).rows:
            if (place := row.folder.resolve()) not in seen:
                seen.add(place)
                yield row


def _why_left_out(row: RunRow) -> str:
    if row.values["status"] == "running":
        return "a process is training in it"
    return str(row.values.get("problem", f"not finished; `neurozoo train --resume {row.folder}` continues it"))


def _differences(recipes: Sequence[Recipe]) -> list[tuple[str, ...]]:
    """Return the values of each recipe that not all of them have, as overrides."""
    decisive = [{key: v for key, v in each.content.items() if key not in _NOT_DECISIVE} for each in recipes]
    flat = [{path: leaf_text(value) for path, value in leaves(each)} for each in decisive]
    keys = dict.fromkeys(key for each in flat for key in each)
    apart = [key for key in keys if len({each.get(key) for each in flat}) > 1]
    return [tuple(f"{key}={each.get(key, 'null')}" for key in apart) for each in flat]
