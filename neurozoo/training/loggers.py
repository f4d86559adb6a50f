"""Forwards events to the recipe's loggers; a logger that raises is disabled."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from neurozoo.core.leaves import leaves
from neurozoo.errors import NeurozooError, UserError
from neurozoo.files.text import without_secrets
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.training.listener import Checkpoint, Listener

__all__ = ["Logger", "LoggersListener", "logger_classes"]


class Logger(ABC):
    """Base class of loggers, which record a training's progress in another format.

    A recipe names loggers in ``training.loggers``. Each training, and each continuation of one, makes
    ``Logger(folder, **params)``: the keyword-only parameters of ``__init__`` are the ``params`` of the recipe, checked
    against their annotations. A logger changes nothing of the training; one that raises is disabled with a warning,
    from which passwords in addresses and the values of environment variables that hold keys are removed. Files of its
    own go into ``folder / "loggers"``.

    Args:
        folder: The run folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def started(self, info: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> None:
        """Training begins or continues.

        Args:
            info: Run, recipe, model, backend, seed, data, parameters, device, whether it is SYNTHETIC; and the
                resolved recipe's values as ``settings``.
            past: The records of earlier epochs if it continues. A logger of the interrupted training may have got
                each of them or not, and one more epoch that is repeated.
        """

    @abstractmethod
    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; ``record`` is its line of metrics.jsonl, see :meth:`numbers`."""

    def finished(self, summary: Mapping[str, Any]) -> None:  # noqa: B027 - a no-op by default
        """Training came to its end; ``summary`` is what summary.json holds."""

    def close(self) -> None:  # noqa: B027 - a no-op by default
        """Release resources; called last, whether training finished or not."""

    @staticmethod
    def numbers(record: Mapping[str, Any]) -> dict[str, float]:
        """Return a record's defined numbers by name, such as ``valid/map``."""
        return {
            path.replace(".", "/", 1): float(value)
            for path, value in leaves(record)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }

    @staticmethod
    def sent_settings(info: Mapping[str, Any]) -> dict[str, Any]:
        """Return the resolved recipe for a server: without paths of this machine, and without the loggers."""
        settings = copy.deepcopy(dict(info["settings"]))
        settings.pop("tune", None)
        settings["data"].pop("root", None)
        settings["training"].pop("loggers", None)
        return settings

    @classmethod
    def group(cls, info: Mapping[str, Any]) -> str:
        """Return the same name for all runs that differ by nothing but their seed, wherever they are trained."""
        settings = cls.sent_settings(info)
        del settings["seed"]
        settings["training"].pop("threads", None)
        text = json.dumps([settings, info["data"]["checksum"]], sort_keys=True)
        return f"{info['recipe']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def run_name(self) -> str:
        """A name for the run: that of its folder, with the folder above if it is the number of a seed or trial."""
        folder = self.folder.absolute()
        return f"{folder.parent.name}/{folder.name}" if folder.name.isdigit() else folder.name


def logger_classes(recipe: Recipe) -> dict[str, type[Logger]]:
    """Return the classes of a recipe's loggers by name.

    Raises:
        UserError: A logger, or a library that it needs, is not installed.
    """
    classes: dict[str, type[Logger]] = {}
    for each in recipe.training.loggers:
        try:
            classes[each.name] = default_registry().resolve("logger", each.name)
        except NeurozooError as error:
            raise UserError(f"training.loggers: {error}; or take it out of training.loggers") from error
    return classes


class LoggersListener(Listener):
    """Makes a recipe's loggers at the first step, after a resumed run has dropped records behind its state.

    ``warn`` is called with a text if a logger fails.
    """

    def __init__(
        self, classes: Mapping[str, type[Logger]], recipe: Recipe, run: Run, warn: Callable[[str], None]
    ) -> None:
        self._classes, self._recipe, self._run, self._warn = classes, recipe, run, warn
        self._info: dict[str, Any] = {}
        self._loggers: dict[str, Logger] | None = None
        self._problems: list[str] = []

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(self._problems)

    def started(self, info: Mapping[str, Any]) -> None:
        settings = {key: value for key, value in self._recipe.content.items() if key != "ablations"}
        self._info = {**{key: value for key, value in info.items() if key != "environment"}, "settings": settings}

    def step(self, epoch: int, step: int, steps: int, values: Mapping[str, float]) -> None:
        self._begin()

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        self._each(f"in epoch {record['epoch']}", lambda logger: logger.epoch(copy.deepcopy(record)))

    def finished(self, summary: Mapping[str, Any], evaluation: Any) -> None:
        self._begin()
        self._each("at the end", lambda logger: logger.finished(copy.deepcopy(summary)))

    def close(self) -> None:
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

    def _each(self, when: str, call: Callable[[Logger], None]) -> None:
        for name, logger in list((self._loggers or {}).items()):
            with self._guarded(name, when):
                call(logger)

    @contextmanager
    def _guarded(self, name: str, when: str) -> Iterator[None]:
        """Disable a logger that raises in the block, and keep the training's random numbers."""
        try:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                yield
        except Exception as error:  # a plugin's; no logger may end a training
            if self._loggers is not None:
                self._loggers.pop(name, None)
            self._problems.append(
                f"the logger {name!r} failed {when} and was disabled; the training is not affected: "
                f"{type(error).__name__}: {without_secrets(str(error))}"
            )
            self._warn(self._problems[-1])
