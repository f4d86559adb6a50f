"""What a choice on test would have reported: computed after everything is chosen and measured, and used for nothing.

This is the only part of an arena that looks at test to choose.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from neurozoo.errors import RunError
from neurozoo.files.json_text import read_json
from neurozoo.runs.json_files import write_json
from neurozoo.studies.arena.choosing import ONE, Trial, best_threshold, threshold_metric
from neurozoo.studies.arena.description import Arena, RowEntry
from neurozoo.studies.arena.measuring import identity_of, read_measured, run_folder
from neurozoo.training.kept_epochs import kept_epochs

__all__ = ["leak_of", "read_leak"]


def _file(out: Path, row: RowEntry, seed: int) -> Path:
    return out / "leak" / row.slug / f"{seed}.json"


def read_leak(arena: Arena, out: Path, row: RowEntry, seed: int) -> dict[str, Any] | None:
    """Return the leak of a run if it was measured, of the same setting, else None."""
    path = _file(out, row, seed)
    if not path.is_file():
        return None
    found = read_json(path, error=RunError)
    same = isinstance(found, dict) and found.get("identity") == identity_of(arena, row, run_folder(out, row, seed))
    return found if same else None


def leak_of(arena: Arena, out: Path, row: RowEntry, seed: int) -> dict[str, Any]:
    """Measure every kept epoch of a run on test, and write the best that a choice on test could report.

    By metric: ``honest`` is what was measured, ``epoch`` the best epoch on test with the threshold that valid chooses
    at that epoch, ``threshold`` the chosen epoch with the best threshold on test, ``both`` the best of both. The
    metrics are the task's for ranking, and the one that thresholds maximise.

    Raises:
        RunError: The run was not measured, so that something is still to be chosen.
    """
    measured = read_measured(arena, out, row, seed)
    if measured is None:
        raise RunError(f"{row.name}, seed {seed}: was not measured; what test would choose comes after that")
    folder = run_folder(out, row, seed)
    trial = Trial.of(folder, test=True)
    task, decided = trial.task, threshold_metric(trial.task, arena.file.metric)
    has_threshold = task.is_decided(decided) if decided in task.names else False
    names = [task.selection, *([decided] if has_threshold else [])]
    metrics: dict[str, dict[str, float]] = {name: {"honest": measured["test"][ONE][name]} for name in names}
    for epoch in kept_epochs(folder):
        trial.load(epoch)
        valid, test = trial.predict("valid"), trial.predict("test")
        decision = task.choose(valid.target, valid.predicted)
        if has_threshold:
            decision = best_threshold(task, valid.target, valid.predicted, decided)
        for name in names:
            scores = {"epoch": task.measure(test.target, test.predicted, decision, [name])[name]}
            if has_threshold and task.is_decided(name):
                on_test = best_threshold(task, test.target, test.predicted, name)
                scores["both"] = task.measure(test.target, test.predicted, on_test, [name])[name]
                if epoch == measured["epoch"]:
                    metrics[name]["threshold"] = scores["both"]
            for what, value in scores.items():
                before = metrics[name].get(what, math.nan)
                if math.isnan(before) or task.score({name: value}, name) > task.score({name: before}, name):
                    metrics[name][what] = value
    found = {"identity": measured["identity"], "chosen_on": "test", "metrics": metrics}
    path = _file(out, row, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    return read_leak(arena, out, row, seed) or found
