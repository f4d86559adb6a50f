"""The search itself: trial after trial, in one process or in several that share a storage."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from neurozoo.data.manifest import Description
from neurozoo.errors import NeurozooError, RunError, UserError
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.schema import TuneSection
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run, write_json
from neurozoo.studies.parallel_runs import ONE_THREAD, Commands
from neurozoo.studies.tuning.result import SCHEMA, Trial, TuningResult
from neurozoo.studies.tuning.storage import SURPLUS, Claim, check_installed, open_study, quiet, suggested, texts
from neurozoo.training.listener import Checkpoint, Listener
from neurozoo.training.train import resume, train

if TYPE_CHECKING:
    import optuna

__all__ = ["BEST", "CLOSED", "folder_of", "tune"]

BEST = "best.json"
"""What is written at the end."""

STUDY = "study.json"
"""What the trials in the folder are trials of."""

CLOSED = ("test",)
"""The splits that a search may not open."""

Told = Callable[[str, int, int], None]


def tune(
    recipe: str | Path,
    *overrides: str,
    trials: int = 20,
    storage: str | None = None,
    study: str | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    backend: str | None = None,
    told: Told | None = None,
) -> TuningResult:
    """Search a recipe's ``tune.space`` for what is best on the valid split (TPE, Bergstra et al. 2011).

    Every trial is a run folder ``out/trials/NUMBER``, of the recipe's own seed, in which the test split is closed: it
    is neither measured nor opened, nor can it be later. A trial that fails is noted, and the search continues. After
    an interruption the same call continues, trials that were begun included; others with the same storage, study and
    recipe take part.

    Args:
        recipe: A recipe's file or name, with a section ``tune``.
        overrides: ``key.sub=value``, for all trials.
        trials: How many there are to be in all, with those there are already.
        storage: Where the trials are kept: a file for SQLite, a ``*.journal`` for folders that several machines
            share, or a database's URL; by default ``out/trials.db``.
        study: Its name in the storage; by default the recipe's.
        jobs: Processes that do trials at a time.
        out: The folder for the runs and ``best.json``; by default ``runs/tune-STUDY``.
        backend: Another backend than the recipe's.
        told: Called after each trial with what came of it, how many have ended and of how many.

    Raises:
        UserError: optuna is not installed, the recipe has no section ``tune``, its task has no such metric, the data
            or the storage cannot be used, or the study is of another recipe.
        NeurozooError: No trial came to its end.
    """
    check_installed()
    lines = (*overrides, *(() if backend is None else (f"backend={backend}",)))
    base = load_recipe(recipe, lines, registry=default_registry())
    if base.tune is None:
        raise UserError(
            f"{base.name} has no `tune` section; add one, such as `tune: {{metric: map, space: "
            "{training.optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}}}`"
        )
    experiment = open_experiment(base, closed=CLOSED)
    description, better = experiment.view.description, experiment.problem.task.better(base.tune.metric)
    for split in ("train", "valid"):
        if not description.splits.get(split):
            raise UserError(f"tuning needs the split {split}, and the data has: {', '.join(description.splits)}")
    folder = folder_of(study or base.name) if out is None else Path(out)
    Run.check_no_run(folder)
    name, place = study or base.name, storage or str(folder / "trials.db")
    identity = {
        "recipe": base.digest,
        "data": description.checksum,
        "tune section": json.dumps(base.content["tune"], sort_keys=True),
    }
    with quiet():
        shared = open_study(place, name, base.tune, better, identity)
        _keep_to_one_study(folder, {"study": name, **identity})
        search = _Search(base, base.tune, shared, folder, trials, told)
        if jobs == 1:
            search.run()
        else:
            command = ["tune", str(recipe), *lines, "--trials", str(trials), "--storage", place, "--study", name]
            search.run_workers(jobs, [*command, "--out", str(folder), "--json"])
        found = _result(base, base.tune, better, str(recipe), lines, shared, description)
    if found.best is None and "running" not in found.counts:
        failed = [trial for trial in found.trials if trial.reason]
        last = f"; trial {failed[-1].number}: {failed[-1].reason}" if failed else ""
        raise NeurozooError(f"none of the {len(found.trials)} trials of {name!r} came to its end{last}")
    with _held(folder):
        write_json(folder / BEST, found.summary())
    return found


def folder_of(study: str) -> Path:
    """Where the trials of a study of that name go by default; the same each time, so that they are found again."""
    return Path("runs") / f"tune-{study}"


def _keep_to_one_study(folder: Path, identity: Mapping[str, str]) -> None:
    """Refuse a folder with the trials of another study; they are known by their numbers alone."""
    with _held(folder):
        path = folder / STUDY
        if not path.is_file():
            write_json(path, {"schema": SCHEMA, **identity})
            return
        try:
            known = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: cannot be read: {error}; give another --out") from error
    if any(known.get(what) != text for what, text in identity.items()):
        raise RunError(
            f"{folder}: holds the trials of another search (study {known.get('study')!r}); give another --out"
        )


class _Search:
    """Trials until there are enough."""

    def __init__(
        self, base: Recipe, tune: TuneSection, study: optuna.Study, folder: Path, trials: int, told: Told | None
    ) -> None:
        self._base, self._tune, self._study, self._folder = base, tune, study, folder
        self._trials, self._told = trials, told

    def run(self) -> None:
        """Do trials in this process."""
        while (next_ := self._next()) is not None:
            trial, claim = next_
            try:
                text = self._ended(trial)
                claim.end()
            finally:
                claim.leave()
            if self._told is not None:
                ended = [each for each in _counted(self._study) if each.state.is_finished()]
                self._told(text, len(ended), self._trials)

    def run_workers(self, jobs: int, command: Sequence[str]) -> None:
        """Do them in several processes, each with this command."""
        lock = Lock()

        def heard(line: str) -> None:
            if self._told is not None and line.startswith('{"event": "trial"'):
                event = json.loads(line)
                with lock:
                    self._told(event["name"], event["done"], event["total"])

        with Commands(jobs) as commands:
            run = partial(commands.run, heard=heard)
            for done in as_completed([commands.submit(run, f"job {i + 1}", command) for i in range(jobs)]):
                done.result()

    def _next(self) -> tuple[optuna.Trial, Claim] | None:
        """A trial that was left behind in this folder, or a new one; None where there are enough."""
        import optuna

        running = optuna.trial.TrialState.RUNNING
        for left in self._study.get_trials(deepcopy=False, states=(running,)):
            claim = Claim(self._run(left.number))
            if claim.take_over():
                now = self._study.get_trials(deepcopy=False)[left.number]
                if now.state == running:
                    return optuna.Trial(self._study, left._trial_id), claim
                claim.end()  # whoever ended it was stopped before removing it
        while len(_counted(self._study)) < self._trials:
            trial = self._study.ask()
            # Another process may have begun the last one at the same moment: those with the lower numbers count.
            before = [each for each in _counted(self._study) if each.number < trial.number]
            if len(before) < self._trials:
                claim = Claim(self._run(trial.number))
                claim.take()
                return trial, claim
            trial.set_user_attr(SURPLUS, True)
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None

    def _run(self, number: int) -> Path:
        return self._folder / "trials" / str(number)

    def _ended(self, trial: optuna.Trial) -> str:
        """Do a trial and note what came of it, which is returned in words."""
        import optuna

        try:
            value = self._value(trial)
        except optuna.TrialPruned:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return f"trial {trial.number}: pruned"
        except RunError:  # nothing can be written: no fault of this trial, which the next command continues
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, NeurozooError) else f"{type(error).__name__}: {error}"
            trial.set_user_attr("reason", reason)
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return f"trial {trial.number}: failed: {reason}"
        self._study.tell(trial, value)
        return f"trial {trial.number}: {self._tune.metric} {value:.4f}"

    def _value(self, trial: optuna.Trial) -> float:
        """Train a trial's recipe, or go on with it, and return its metric on valid."""
        lines = suggested(trial, self._tune.space, self._base.seed)
        threads = () if self._base.training.threads is not None else (ONE_THREAD,)
        # Without the search, which is nothing of the trial's own, and which would be checked again.
        recipe = self._base.with_overrides(("tune=null", *lines, *threads), registry=default_registry())
        folder = self._run(trial.number)
        listener = _Pruning(trial, self._tune.metric) if self._tune.pruning != "none" else Listener()
        if not (folder / "recipe.yaml").is_file():
            summary = train(recipe, out=folder, listener=listener, closed=CLOSED)
        else:
            run = Run(folder)
            if not run.recipe().is_of(recipe.digest) or run.closed != CLOSED:
                raise RunError(f"{folder}: not of this study; give another --out")
            summary = run.read_json("summary.json") if run.finished else resume(folder, listener=listener)
        value = summary["metrics"]["valid"].get(self._tune.metric)
        if value is None or not math.isfinite(value):
            raise NeurozooError(f"tune.metric={self._tune.metric} is not defined on valid; use loss")
        return float(value)


class _Pruning(Listener):
    """Ends a trial that is worse than others were at the same epoch."""

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self._trial, self._metric = trial, metric

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        import optuna

        value = record["valid"].get(self._metric)
        if value is not None and math.isfinite(value):
            self._trial.report(value, record["epoch"])
            if self._trial.should_prune():
                raise optuna.TrialPruned


def _counted(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if SURPLUS not in trial.user_attrs]


def _result(
    base: Recipe,
    tune: TuneSection,
    better: Literal["higher", "lower"],
    source: str,
    overrides: tuple[str, ...],
    study: optuna.Study,
    description: Description,
) -> TuningResult:
    states: dict[str, Any] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
    trials = tuple(
        Trial(
            each.number,
            states.get(each.state.name, "running"),
            each.value,
            texts(each.params, tune.space),
            each.user_attrs.get("reason", ""),
        )
        for each in _counted(study)
    )
    finished = [trial for trial in trials if trial.state == "finished"]
    result = TuningResult(
        SCHEMA,
        base.name,
        source,
        study.study_name,
        tune.metric,
        better,
        description.synthetic,
        description.checksum,
        overrides,
        trials,
        None,
        _importance(study) if len(finished) >= _FEWEST else {},
    )
    ranked = result.ranked
    return replace(result, best=ranked[0]) if ranked else result


_FEWEST = 10
"""Finished trials from which on it is asked what mattered."""


def _importance(study: optuna.Study) -> dict[str, float]:
    from optuna.importance import get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of trials that are all equally good, which the table shows
        try:
            found = get_param_importances(study)
        except (RuntimeError, ValueError):
            return {}
    return {path: value for path, value in found.items() if math.isfinite(value)}


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Nobody else writes into the folder itself meanwhile."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
    try:
        yield
    finally:
        unlock_folder(lock)
