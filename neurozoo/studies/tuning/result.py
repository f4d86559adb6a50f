"""What a search found."""

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
        value: The metric on valid; of a pruned trial the last one told, None where there is none.
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
    """What a search found so far.

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
        best: The best finished one; None where none is.
        importance: By path, which part of the metric's spread the choice explains (PED-ANOVA), summing to 1; empty
            where there are too few trials to say.
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
    best: Trial | None
    importance: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "command": self.command}

    @property
    def counts(self) -> dict[str, int]:
        """How many trials there are in each state, leaving out states without any."""
        states = [trial.state for trial in self.trials]
        return {state: states.count(state) for state in ("finished", "pruned", "failed", "running") if state in states}

    @property
    def ranked(self) -> list[Trial]:
        """The finished trials, the best first."""
        sign = 1 if self.better == "lower" else -1
        finished = [
            (sign * trial.value, trial.number, trial)
            for trial in self.trials
            if trial.state == "finished" and trial.value is not None
        ]
        return [trial for _, _, trial in sorted(finished)]

    @property
    def command(self) -> str:
        """The command that trains the best trial's recipe, for a shell; empty where there is none."""
        if self.best is None:
            return ""
        return shlex.join(["neurozoo", "train", self.source, *self.overrides, *self.best.overrides])

    def summary(self) -> dict[str, Any]:
        """What ``best.json`` holds."""
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
