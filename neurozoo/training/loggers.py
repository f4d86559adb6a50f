"""Forwards events to the recipe's loggers; a logger that raises is disabled."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import torch

from neurozoo.core.leaves import leaves
from neurozoo.errors import NeurozooError, NeurozooWarning, RunError, UserError
from neurozoo.files.json_text import read_json
from neurozoo.files.locks import lock_handle
from neurozoo.files.text import without_secrets
from neurozoo.files.writing import write_whole
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.training.listener import Checkpoint, Listener

__all__ = ["Artefact", "Logger", "LoggersListener", "logger_classes", "one_at_a_time"]

Artefact = Literal["recipe", "summary", "weights", "predictions", "report"]
"""What a logger may copy of a finished run."""

_FILES: Mapping[Artefact, Sequence[str]] = {
    "recipe": ("recipe.yaml", "environment.json", "data.json"),
    "summary": ("summary.json", "metrics.jsonl"),
    "weights": ("checkpoints/best.safetensors",),
    "predictions": ("predictions/valid.safetensors", "predictions/test.safetensors"),
    "report": ("report.html",),
}
_OWN = "loggers"
"""The folder in a run folder for the files of loggers."""


class Logger(ABC):
    """Base class of loggers, which record a training's progress in another format.

    A recipe names loggers in ``training.loggers``. Each training, and each continuation of one, makes
    ``Logger(folder, **params)``: the keyword-only parameters of ``__init__`` are the ``params`` of the recipe, checked
    against their annotations. A logger changes nothing of the training; one that raises is closed and disabled with a
    warning, from which passwords in addresses and the values of environment variables that hold keys are removed. Files
    of its own go into :meth:`own_folder`.

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
        """Release resources; called last, whether training finished or not, and after a failure of this logger."""

    @staticmethod
    def numbers(record: Mapping[str, Any]) -> dict[str, float]:
        """Return a record's defined numbers by name, such as ``valid/map``."""
        return {
            path.replace(".", "/", 1): float(value)
            for path, value in leaves(record)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }

    @staticmethod
    def final_record(summary: Mapping[str, Any]) -> dict[str, Any]:
        """Return the final metrics and the lesion effect of a summary, for :meth:`numbers`: ``final_test/map``."""
        return {f"final_{split}": of for split, of in summary["metrics"].items()} | {"lesion": summary["lesion"]}

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

    def own_folder(self) -> Path:
        """Return the folder in the run folder for files of loggers, which is made if it is missing.

        Raises:
            RunError: A link is there, as the run folder may be a stranger's.
        """
        folder = self.folder / _OWN
        if folder.is_symlink():
            raise RunError(f"{folder} is a link, which is not followed; remove it")
        folder.mkdir(exist_ok=True)
        return folder

    def keep_id(self, logger: str, run_id: str) -> None:
        """Keep by which id another program knows this run, for a training that resumes it."""
        path = self.own_folder() / f"{logger}.json"
        write_whole(path, f"{json.dumps({'id': run_id})}\n".encode(), inside=self.folder)

    def kept_id(self, logger: str) -> str | None:
        """Return what :meth:`keep_id` kept; None if there is nothing, or no word of letters and digits.

        Raises:
            DataError: It is no regular file, or no JSON.
        """
        path = self.folder / _OWN / f"{logger}.json"
        if not os.path.lexists(path):
            return None
        kept = read_json(path, inside=self.folder)
        run_id = kept.get("id") if isinstance(kept, dict) else None
        return run_id if isinstance(run_id, str) and re.fullmatch(r"[\w-]{1,64}", run_id, re.ASCII) else None

    def artefact_files(self, artefacts: Sequence[Artefact]) -> Iterator[str]:
        """Yield the names of files in the run folder that artefacts stand for, of those that are there."""
        for artefact in artefacts:
            yield from (name for name in _FILES[artefact] if (self.folder / name).is_file())

    @staticmethod
    def warn(text: str) -> None:
        """Warn of something that stops nothing, without keys; see :func:`neurozoo.files.text.without_secrets`."""
        warnings.warn(NeurozooWarning(without_secrets(text)), stacklevel=3)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process is in this block for the same file, which is left empty; for making stores."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock_handle(handle)
        yield
    finally:
        os.close(handle)


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
        for name, logger in list((self._loggers or {}).items()):
            with self._guarded(name, "when it was closed"):
                del (self._loggers or {})[name]  # one that fails here is not closed twice
                logger.close()

    def _begin(self) -> None:
        if self._loggers is not None:
            return
        past, self._loggers = self._run.records(), {}
        params = {each.name: each.params for each in self._recipe.training.loggers}
        for name, made in self._classes.items():
            with self._guarded(name, "at the beginning"):
                logger = made(self._run.folder, **copy.deepcopy(dict(params[name])))
                self._loggers[name] = logger
                logger.started(copy.deepcopy(self._info), copy.deepcopy(past))

    def _each(self, when: str, call: Callable[[Logger], None]) -> None:
        for name, logger in list((self._loggers or {}).items()):
            with self._guarded(name, when):
                call(logger)

    @contextmanager
    def _guarded(self, name: str, when: str) -> Iterator[None]:
        """Disable and close a logger that raises in the block, and keep the training's random numbers."""
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            try:
                yield
            except Exception as error:  # a plugin's; no logger may end a training
                if failed := (self._loggers or {}).pop(name, None):
                    with suppress(Exception):  # what failed first is reported
                        failed.close()
                self._problems.append(
                    f"the logger {name!r} failed {when} and was disabled; the training is not affected: "
                    f"{type(error).__name__}: {without_secrets(str(error))}"
                )
                self._warn(self._problems[-1])
