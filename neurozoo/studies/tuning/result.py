"""The result of a search."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["SCHEMA", "Trial", "TuningResult"]

SCHEMA = 1


@dataclass(frozen=True)
class Trial:
    """One set of values that was tried.

    Attributes:
        number: Of the trial, from 0.
        state: ``running`` may be one that was interrupted, which the same command continues.
        value: The metric on valid; of a pruned trial the last one reported, or None.
        overrides: What was chosen.
        reason: Why it failed, or an empty text.
    """

    number: int
    state: Literal["finished", "pruned", "failed", "running"]
    value: float | None
    overrides: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class TuningResult:
    """The result of a search so far.

    Attributes:
        schema: Version of this layout.
        recipe: Its name.
        source: Its file or name, as it was given.
        study: Name of the study in its storage.
        metric: What was to be best, on valid.
        better: Whether lower or higher values of it are better.
        synthetic: Whether the data is made up.
        checksum: Of the data.
        overrides: What was changed in the recipe for all trials.
        trials: All of them, in the order of their numbers.
        importance: By path, the part of the metric's spread that the choice explains (PED-ANOVA), summing to 1; empty
            if there are too few trials.
        folder: Of the trials and of ``best.json``.
    """

    schema: int
    recipe: str
    source: str
    study: str
    metric: str
    better: Literal["higher", "lower"]
    synthetic: bool
    checksum: str
    overrides: tuple[str, ...]
    trials: tuple[Trial, ...]
    importance: Mapping[str, float]
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Return the result with the best trial and its command, as JSON has it."""
        best = None if self.best is None else asdict(self.best)
        return {**asdict(self), "best": best, "command": self.command}

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by state, without states that no trial is in."""
        states = [trial.state for trial in self.trials]
        return {state: states.count(state) for state in ("finished", "pruned", "failed", "running") if state in states}

    @property
    def ranked(self) -> list[Trial]:
        """The finished trials, the best first."""
        finished = [
            (trial.value, trial) for trial in self.trials if trial.state == "finished" and trial.value is not None
        ]
        finished.sort(key=lambda each: each[0], reverse=self.better == "higher")  # stable: the earlier of equal ones
        return [trial for _, trial in finished]

    @property
    def best(self) -> Trial | None:
        """The best finished trial; None if none is finished."""
        return next(iter(self.ranked), None)

    @property
    def command(self) -> str:
        """The shell command that trains the best trial's recipe; empty if there is none."""
        if self.best is None:
            return ""
        return shlex.join(["neurozoo", "train", self.source, *self.overrides, *self.best.overrides])

    def summary(self) -> dict[str, Any]:
        """Return the content of ``best.json``."""
        best = self.best
        return {
            "schema": self.schema,
            "recipe": self.recipe,
            "study": self.study,
            "synthetic": self.synthetic,
            "data_checksum": self.checksum,
            "split": "valid",
            "metric": self.metric,
            "better": self.better,
            "value": None if best is None else best.value,
            "trial": None if best is None else best.number,
            "overrides": [] if best is None else [*self.overrides, *best.overrides],
            "command": self.command,
            "trials": self.counts,
        }
