"""The search: trial after trial, in one process or in several that share a storage."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from neurozoo.errors import NeurozooError, RunError, UserError
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.schema import TuneSection
from neurozoo.registry.registry import default_registry
from neurozoo.runs.json_files import read_json, write_json
from neurozoo.runs.run import Run
from neurozoo.studies.launchers.launcher import Launcher
from neurozoo.studies.parallel_runs import ONE_THREAD, Progress, RecipeSource, check_no_run, recipe_argument
from neurozoo.studies.tuning.result import SCHEMA, Trial, TuningResult
from neurozoo.studies.tuning.storage import (
    SURPLUS,
    Claim,
    check_installed,
    locked,
    open_study,
    quiet,
    suggested,
    texts,
)
from neurozoo.training.listener import Checkpoint, Listener
from neurozoo.training.run_folder import numbered
from neurozoo.training.train import resume, train

if TYPE_CHECKING:
    import optuna

__all__ = ["BEST", "CLOSED", "tune"]

BEST = "best.json"
"""Name of the file with the result."""

STUDY = "study.json"
"""Name of the file that identifies the study of the trials in the folder."""

CLOSED = ("test",)
"""The splits that a search may not open."""


def tune(
    recipe: RecipeSource,
    *overrides: str,
    trials: int = 20,
    storage: str | None = None,
    study: str | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    backend: str | None = None,
    on_progress: Progress | None = None,
    launcher: str | Launcher = "local",
) -> TuningResult:
    """Search a recipe's ``tune.space`` for what is best on the valid split (TPE, Bergstra et al. 2011).

    Every trial is a run folder ``out/trials/NUMBER``, of the recipe's own seed, in which the test split is closed: it
    is neither measured nor opened, nor can it be later. A trial that fails is noted, and the search continues. After
    an interruption the same call continues, trials that were begun included; others with the same storage, study and
    recipe take part.

    Args:
        recipe: A recipe's file or name, a checked recipe, or the content of a file as a dictionary; with a section
            ``tune``.
        overrides: ``key.sub=value``, for all trials.
        trials: How many there are to be in all, with those there are already.
        storage: Where the trials are kept: a file for SQLite, a ``*.journal`` for folders that several machines
            share, or a database's URL; by default ``out/trials.db``, on a cluster ``out/trials.journal``.
        study: Its name in the storage; by default the recipe's.
        jobs: Processes that do trials at a time; by default one.
        out: The folder for the runs and ``best.json``; by default ``runs/tune-STUDY``, with a number if another search
            is in it.
        backend: Another backend than the recipe's.
        on_progress: Called after each trial with its outcome, how many have ended and of how many.
        launcher: Where the processes run, see :func:`neurozoo.studies.seeds.train_seeds`.

    Raises:
        UserError: optuna is not installed, the recipe has no section ``tune``, its task has no such metric, the data
            or the storage cannot be used, or the study is of another recipe.
        NeurozooError: No trial came to its end.
    """
    check_installed()
    where = Launcher.of(launcher)
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
    name = study or base.name
    identity = {
        "recipe": base.digest,
        "data": description.checksum,
        "tune section": json.dumps(base.content["tune"], sort_keys=True),
    }
    about = {"study": name, **identity}
    # The default is the same each time, so that the trials are found again.
    default = Path("runs") / f"tune-{name[:100]}"
    folder = next(each for each in numbered(default) if _fits(each, about)) if out is None else Path(out)
    check_no_run(folder)
    place = storage or str(_default_storage(folder, where))
    with quiet():
        shared = open_study(place, name, base.tune, better, identity)
        with locked(folder):
            if not _fits(folder, about):
                other = read_json(folder / STUDY).get("study")
                raise RunError(f"{folder}: holds the trials of another search (study {other!r}); give another --out")
            if not (folder / STUDY).is_file():
                write_json(folder / STUDY, {"schema": SCHEMA, **about})
        search = _Search(base, base.tune, shared, folder, trials, on_progress)
        if where.is_local and jobs in (None, 1):
            search.run()
        elif search.is_open:
            source = recipe_argument(recipe, folder)
            command = ["tune", source, *lines, "--trials", str(trials), "--storage", place, "--study", name]
            search.run_workers(where, jobs or 1, [*command, "--out", str(folder), "--json"])
        tried = _trials(shared, base.tune)
        finished = sum(trial.state == "finished" for trial in tried)
        found = TuningResult(
            schema=SCHEMA,
            recipe=base.name,
            source=recipe_argument(recipe, folder),
            study=name,
            metric=base.tune.metric,
            better=better,
            synthetic=description.synthetic,
            checksum=description.checksum,
            overrides=lines,
            trials=tried,
            importance=_importance(shared) if finished >= _FEWEST else {},
            folder=str(folder),
        )
    if found.best is None and "running" not in found.counts:
        failed = [trial for trial in found.trials if trial.reason]
        last = f"; trial {failed[-1].number}: {failed[-1].reason}" if failed else ""
        raise NeurozooError(f"none of the {len(found.trials)} trials of {name!r} came to its end{last}")
    with locked(folder):
        write_json(folder / BEST, found.summary())
    return found


def _default_storage(folder: Path, launcher: Launcher) -> Path:
    """Return the storage that is in the folder, else a new one: SQLite, whose locks other machines may not see."""
    names = ("trials.db", "trials.journal") if launcher.is_local else ("trials.journal", "trials.db")
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


def _fits(folder: Path, about: Mapping[str, str]) -> bool:
    """Return whether a folder is free for this study: it has no trials of another one, and is not a run."""
    if (folder / "recipe.yaml").is_file():
        return False
    known = read_json(folder / STUDY) if (folder / STUDY).is_file() else about
    return all(known.get(what) == text for what, text in about.items())


class _Search:
    """Trials until there are enough."""

    def __init__(
        self, base: Recipe, tune: TuneSection, study: optuna.Study, folder: Path, trials: int, progress: Progress | None
    ) -> None:
        self._base, self._tune, self._study, self._folder = base, tune, study, folder
        self._trials, self._progress = trials, progress or (lambda *_: None)

    def run(self) -> None:
        """Do trials in this process."""
        while (next_ := self._next()) is not None:
            trial, claim = next_
            try:
                text = self._ended(trial)
                claim.end()
            finally:
                claim.leave()
            self._progress(text, sum(each.state.is_finished() for each in _counted(self._study)), self._trials)

    @property
    def is_open(self) -> bool:
        """Whether trials are missing, or are not at their end."""
        counted = _counted(self._study)
        return len(counted) < self._trials or not all(each.state.is_finished() for each in counted)

    def run_workers(self, launcher: Launcher, jobs: int, command: Sequence[str]) -> None:
        """Do them in several processes, each with this command."""
        lock = Lock()

        def forward(line: str) -> None:
            if line.startswith('{"event": "trial"'):
                event = json.loads(line)
                with lock:
                    self._progress(event["name"], event["done"], event["total"])

        with launcher.open(jobs, self._folder) as commands:
            run = partial(commands.run_again, on_line=forward)
            for done in as_completed([commands.submit(run, f"job {i + 1}", command) for i in range(jobs)]):
                done.result()

    def _next(self) -> tuple[optuna.Trial, Claim] | None:
        """Return a trial that was abandoned in this folder, or a new one; None if there are enough."""
        import optuna

        running = optuna.trial.TrialState.RUNNING
        for left in self._study.get_trials(deepcopy=False, states=(running,)):
            claim = Claim(self._run(left.number))
            if claim.take_over():
                now = self._study.get_trials(deepcopy=False)[left.number]
                if now.state == running:
                    return optuna.Trial(self._study, left._trial_id), claim
                claim.end()  # its process was stopped before removing the claim
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
        """Run a trial and record its outcome, which is returned as text."""
        import optuna

        try:
            value = self._value(trial)
        except optuna.TrialPruned:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return f"trial {trial.number}: pruned"
        except RunError:  # nothing can be written; the next command continues the trial
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, NeurozooError) else f"{type(error).__name__}: {error}"
            trial.set_user_attr("reason", reason)
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return f"trial {trial.number}: failed: {reason}"
        self._study.tell(trial, value)
        return f"trial {trial.number}: {self._tune.metric} {value:.4f}"

    def _value(self, trial: optuna.Trial) -> float:
        """Train a trial's recipe, or resume its run, and return its metric on valid."""
        lines = suggested(trial, self._tune.space, self._base.seed)
        threads = () if self._base.training.threads is not None else (ONE_THREAD,)
        # Without the search, which would be checked again.
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


def _trials(study: optuna.Study, tune: TuneSection) -> tuple[Trial, ...]:
    states: dict[str, Any] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
    return tuple(
        Trial(
            each.number,
            states.get(each.state.name, "running"),
            each.value,
            texts(each.params, tune.space),
            each.user_attrs.get("reason", ""),
        )
        for each in _counted(study)
    )


_FEWEST = 10
"""Number of finished trials from which the importance of parameters is computed."""


def _importance(study: optuna.Study) -> dict[str, float]:
    from optuna.importance import get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trials that are all equally good, which the table shows
        try:
            found = get_param_importances(study)
        except (RuntimeError, ValueError):
            return {}
    return {path: value for path, value in found.items() if math.isfinite(value)}
