"""optuna's part of a search: its storage, its suggestions and its log. optuna is the extra ``tune``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neurozoo.errors import RunError, UserError, install_extra
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.recipe.overrides import override
from neurozoo.recipe.schema import Searched, TuneSection

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

__all__ = ["SURPLUS", "Claim", "check_installed", "locked", "open_study", "quiet", "suggested", "texts"]

SURPLUS = "surplus"
"""Marks a trial that began when there were enough already."""

_RECIPE = "neurozoo"
"""User attribute of a study that holds its identity."""


def check_installed() -> None:
    """Raise a UserError if optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError(f"tuning needs optuna, which is not installed; `{install_extra('tune')}`") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Let optuna log errors only inside the block."""
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
    """Open the study of that name, or create it.

    The place is a URL of a database, a file ``*.journal`` for folders that machines share, or another file for SQLite.
    A study's identity are digests of its recipe, data and space.

    Raises:
        UserError: The storage cannot be used, or the study is of something else.
    """
    import optuna

    try:
        # Two processes that create the tables of one file would fail.
        with nullcontext() if "://" in place else locked(Path(place).parent):
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
    if path.suffix == ".journal":
        return JournalStorage(JournalFileBackend(str(path)))
    # Others write for a moment only, so a locked file is waited for.
    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder and lock it inside the block, waiting for other processes.

    Raises:
        RunError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
    try:
        yield
    finally:
        unlock_folder(lock)


def suggested(trial: optuna.Trial, space: Mapping[str, Searched], seed: int) -> tuple[str, ...]:
    """Return a running trial's overrides: those it has, or new ones drawn from the study's trials and the seed.

    The trial's number is mixed into the recipe's seed, so that no two trials draw the same.
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
    """Return a trial's values as overrides, in the order of the space; numbers of a range have five digits."""
    return tuple(override(path, _used(params[path], searched)) for path, searched in space.items() if path in params)


def _used(value: Any, searched: Searched) -> Any:
    if searched.values is not None:
        return json.loads(value)
    if isinstance(value, int) or searched.low is None or searched.high is None:
        return value
    return min(max(float(f"{value:.5g}"), float(searched.low)), float(searched.high))


class Claim:
    """A hidden folder next to a trial's run folder, locked while its process lives and removed when the trial ends."""

    def __init__(self, run: Path) -> None:
        self._folder = run.with_name(f".{run.name}.running")
        self._lock: int | None = None

    def take(self) -> None:
        """Claim a new trial."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self._folder)

    def take_over(self) -> bool:
        """Claim a trial that another process began here and did not end; returns whether it is one."""
        try:
            self._lock = lock_folder(self._folder, wait=False)
        except OSError:  # its process lives, or it was begun in another folder
            return False
        if self._lock is None or not self._folder.is_dir():  # no locks here, or it ended just now
            self.leave()
            return False
        return True

    def leave(self) -> None:
        """Release the lock; a trial that has not ended can be taken over."""
        unlock_folder(self._lock)
        self._lock = None

    def end(self) -> None:
        """Remove the folder, as the trial has ended."""
        self._folder.rmdir()
        self.leave()
