"""The recipe's loggers beside the reporter: told the same, and kept from harming the training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from neurozoo.core.interfaces import Logger
from neurozoo.errors import NeurozooError, UserError
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.run import Run
from neurozoo.training.reporter import Reporter

__all__ = ["Loggers"]


class Loggers:
    """What a recipe names in ``training.loggers``, found before any training begins.

    Args:
        recipe: Names them.
        registry: Where; by default what is installed.

    Raises:
        UserError: One is not there, or a library that it needs.
    """

    def __init__(self, recipe: Recipe, registry: Registry | None = None) -> None:
        registry = registry or default_registry()
        self._recipe = recipe
        self._classes: dict[str, type[Logger]] = {}
        for each in recipe.training.loggers:
            try:
                self._classes[each.name] = registry.resolve("logger", each.name)
            except NeurozooError as error:
                raise UserError(f"training.loggers: {error}; or take it out of training.loggers") from error

    @contextmanager
    def beside(self, reporter: Reporter, run: Run) -> Iterator[Reporter]:
        """A reporter that tells ``reporter`` and the loggers; at the end of the block these are closed.

        Args:
            reporter: Hears of all, and of the loggers that fail.
            run: What is trained.
        """
        if not self._classes:
            yield reporter
            return
        told = _Told(reporter, run, self._recipe, self._classes)
        try:
            yield told
        finally:
            told.close()


class _Told(Reporter):
    """Passes on what it hears. The loggers begin with the first step, when a run that goes on is what it was."""

    def __init__(self, reporter: Reporter, run: Run, recipe: Recipe, classes: Mapping[str, type[Logger]]) -> None:
        self._reporter, self._run, self._recipe, self._classes = reporter, run, recipe, classes
        self._info: dict[str, Any] = {}
        self._loggers: dict[str, Logger] | None = None
        self._problems: list[str] = []

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(self._problems)

    def started(self, info: Mapping[str, Any]) -> None:
        self._reporter.started(info)
        settings = {key: value for key, value in self._recipe.content.items() if key != "ablations"}
        self._info = {**info, "settings": settings}

    def step(self, epoch: int, step: int, steps: int, values: Mapping[str, float]) -> None:
        self._begin()
        self._reporter.step(epoch, step, steps, values)

    def epoch(self, record: Mapping[str, Any]) -> None:
        self._begin()
        self._reporter.epoch(record)
        self._each(f"in epoch {record['epoch']}", lambda logger: logger.epoch(copy.deepcopy(record)))

    def warning(self, text: str) -> None:
        self._reporter.warning(text)

    def finished(self, summary: Mapping[str, Any]) -> None:
        self._begin()
        self._each("at the end", lambda logger: logger.finished(copy.deepcopy(summary)))
        self._reporter.finished(summary)

    def close(self) -> None:
        """End each logger that is left."""
        self._each("when it was closed", lambda logger: logger.close())

    def _begin(self) -> None:
        if self._loggers is not None:
            return
        past, self._loggers = self._run.records(), {}
        params = {each.name: each.params for each in self._recipe.training.loggers}
        for name, made in self._classes.items():
            with self._guarded(name, "at the beginning"):
                logger = made(self._run.folder, **copy.deepcopy(dict(params[name])))
                logger.started(copy.deepcopy(self._info), copy.deepcopy(past))
                self._loggers[name] = logger

    def _each(self, when: str, tell: Callable[[Logger], None]) -> None:
        for name, logger in list((self._loggers or {}).items()):
            with self._guarded(name, when):
                tell(logger)

    @contextmanager
    def _guarded(self, name: str, when: str) -> Iterator[None]:
        """Whatever a logger raises ends the logger and nothing else, and its random numbers are its own."""
        try:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                yield
        except Exception as error:  # of a stranger's code, for the sake of a picture
            if self._loggers is not None:
                self._loggers.pop(name, None)
            self._problems.append(
                f"the logger {name!r} failed {when} and was left out from there on; the training is none the worse: "
                f"{type(error).__name__}: {error}"
            )
            self._reporter.warning(self._problems[-1])
