"""What a training run tells whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Reporter"]


class Reporter:
    """Hears of a run's progress; every method does nothing until a subclass says otherwise."""

    @property
    def problems(self) -> Sequence[str]:
        """What could not be told, and to whom; the summary's warnings have it too."""
        return ()

    def started(self, info: Mapping[str, Any]) -> None:
        """The run begins: its folder, recipe, data, backend, parameters, whether synthetic."""

    def step(self, epoch: int, step: int, steps: int, values: Mapping[str, float]) -> None:
        """A training step is done; ``values`` holds loss, firing rate and threshold."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; ``record`` is its line of metrics.jsonl."""

    def warning(self, text: str) -> None:
        """Something that the user should look at."""

    def finished(self, summary: Mapping[str, Any]) -> None:
        """The run is over; ``summary`` is what summary.json holds."""
