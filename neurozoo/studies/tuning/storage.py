"""optuna's side of a search: its storage, what it suggests, and its silence. optuna is the extra ``tune``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neurozoo.errors import UserError
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.recipe.overrides import override
from neurozoo.recipe.schema import Searched, TuneSection

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

__all__ = ["SURPLUS", "Claim", "check_installed", "open_study", "quiet", "suggested", "texts"]

SURPLUS = "surplus"
"""Marks a trial that began when there were enough already."""

_RECIPE = "neurozoo"
"""Under which a study holds what it is a study of."""


def check_installed() -> None:
    """Refuse to go on without optuna.

    Raises:
        UserError: It is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError("tuning needs optuna, which is not installed; `pip install 'neurozoo[tune]'`") from error


@contextmanager
def quiet() -> Iterator[None]:
    """optuna tells of its errors alone; its caller's settings are given back."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(
    place: str, name: str, tune: TuneSection, better: Literal["higher", "lower"], identity: Mapping[str, str]
) -> optuna.Study:
    """The study of that name, a new one where there is none.

    Args:
        place: A URL of a database, a file ``*.journal`` (for folders that machines share), or another file for
            SQLite.
        name: Of the study.
        tune: What is looked for.
        better: Whether higher or lower values of its metric are better.
        identity: What it is a study of, in words by what they are about; a study is of one recipe, data and space.

    Raises:
        UserError: The storage cannot be used, or the study is of something else.
    """
    import optuna

    try:
        with _alone(place):
            study = optuna.create_study(
                storage=_storage(place),
                study_name=name,
                load_if_exists=True,
                direction="minimize" if better == "lower" else "maximize",
                pruner=optuna.pruners.MedianPruner() if tune.pruning == "median" else optuna.pruners.NopPruner(),
            )
            known = study.user_attrs.get(_RECIPE)
            if known is None:
                study.set_user_attr(_RECIPE, dict(identity))
    except Exception as error:  # each database has errors of its own
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"{place}: cannot be used as the storage of trials ({what}); give a file, or a URL such as "
            "sqlite:///FILE or postgresql://USER@HOST/NAME whose driver is installed"
        ) from error
    differ = [what for what, text in identity.items() if known is not None and known.get(what) != text]
    if differ:
        raise UserError(
            f"{place}: the study {name!r} is of another {' and another '.join(differ)}; give another --study, or "
            "another --storage"
        )
    return study


def _storage(place: str) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if "://" in place:
        return RDBStorage(place)
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".journal":
        return JournalStorage(JournalFileBackend(str(path)))
    # Others write for a moment only, so whoever finds it locked waits.
    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})


@contextmanager
def _alone(place: str) -> Iterator[None]:
    """Nobody else makes the tables of the same file meanwhile, which SQLite would refuse one of the two."""
    if "://" in place:
        yield
        return
    folder = Path(place).parent
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(folder)
    try:
        yield
    finally:
        unlock_folder(lock)


def suggested(trial: optuna.Trial, space: Mapping[str, Searched], seed: int) -> tuple[str, ...]:
    """The overrides of a trial: those it has, or new ones, which the study's trials and the seed decide.

    Args:
        trial: A running one.
        space: What is searched.
        seed: Of the recipe; the trial's number is mixed in, so that no two trials draw the same.
    """
    from optuna.samplers import TPESampler

    trial.study.sampler = TPESampler(seed=int(np.random.SeedSequence([seed, trial.number]).generate_state(1)[0]))
    for path, searched in space.items():
        low, high, step = searched.low, searched.high, searched.step
        if searched.values is not None:
            # As JSON, in which 1, 1.0, true and "1" are four values, and a list is one as well.
            trial.suggest_categorical(path, [json.dumps(value) for value in searched.values])
        elif low is not None and high is not None:
            if step is not None:  # up to the last value that steps from `low` lead to, in decimals as they are written
                start, stride = Decimal(str(low)), Decimal(str(step))
                high = type(high)(start + (Decimal(str(high)) - start) // stride * stride)
            if searched.whole:
                trial.suggest_int(path, int(low), int(high), step=int(step or 1), log=searched.log)
            else:
                trial.suggest_float(path, float(low), float(high), step=step, log=searched.log)
    return texts(trial.params, space)


def texts(params: Mapping[str, Any], space: Mapping[str, Searched]) -> tuple[str, ...]:
    """A trial's values as overrides, in the order of the space; numbers of a range with five digits, as it is used."""
    return tuple(override(path, _used(params[path], searched)) for path, searched in space.items() if path in params)


def _used(value: Any, searched: Searched) -> Any:
    if searched.values is not None:
        return json.loads(value)
    if isinstance(value, int) or searched.low is None or searched.high is None:
        return value
    return min(max(float(f"{value:.5g}"), float(searched.low)), float(searched.high))


class Claim:
    """A hidden folder next to a trial's run, locked while its process lives, and removed when the trial has ended.

    Args:
        run: The trial's run folder.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run.with_name(f".{run.name}.running")
        self._lock: int | None = None

    def take(self) -> None:
        """Claim a new trial."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self._folder)

    def take_over(self) -> bool:
        """Claim a trial that another process began here and did not end; whether that is one."""
        try:
            self._lock = lock_folder(self._folder, wait=False)
        except OSError:  # its process is at work, or it is none of those begun in this folder
            return False
        if self._lock is None or not self._folder.is_dir():  # no locks here, or it came to its end just now
            self.leave()
            return False
        return True

    def leave(self) -> None:
        """Let go of it; where the trial has not ended, whoever comes next takes it over."""
        unlock_folder(self._lock)
        self._lock = None

    def end(self) -> None:
        """The trial has ended."""
        self._folder.rmdir()
        self.leave()
