"""One interface for everything that follows a training: the console, the loggers, the run folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from neurozoo.evaluation.evaluate import Evaluation

__all__ = ["Checkpoint", "Listener", "Listeners", "Saved"]


@dataclass(frozen=True)
class Saved:
    """All that a training needs to continue as if it had not been interrupted.

    Attributes:
        tensors: Weights, optimiser, random numbers and order, by name.
        metadata: The rest, as JSON holds it.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """What is left of an epoch besides its record.

    Attributes:
        weights: The model's state dict.
        metadata: What the weights are of.
        best: Whether this is the best epoch so far.
        saved: To continue from.
    """

    weights: Mapping[str, Tensor]
    metadata: Mapping[str, Any]
    best: bool
    saved: Saved


class Listener:
    """Base class of what follows a training. All methods are no-ops; override what you need."""

    @property
    def problems(self) -> Sequence[str]:
        """What the listener could not do; the summary lists it among the warnings."""
        return ()

    def started(self, info: Mapping[str, Any]) -> None:
        """Training begins or continues: run, recipe, data, backend, parameters, whether synthetic."""

    def step(self, epoch: int, step: int, steps: int, values: Mapping[str, float]) -> None:
        """A training step is done; ``values`` holds loss, firing rate and threshold."""

    def saved(self, saved: Saved) -> None:
        """The state in the middle of an epoch is to be kept."""

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        """An epoch is done; ``record`` is its line of metrics.jsonl."""

    def warning(self, text: str) -> None:
        """Something that the user should look at."""

    def finished(self, summary: Mapping[str, Any], evaluation: Evaluation) -> None:
        """Training is over; ``summary`` is what summary.json holds."""

    def close(self) -> None:
        """Nothing follows, whether training came to its end or not."""


class Listeners(Listener):
    """Forwards each event to several listeners, in order.

    Args:
        listeners: Those that keep something first, those that show it last.
    """

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = tuple(listeners)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for each in self._listeners for problem in each.problems)

    def started(self, info: Mapping[str, Any]) -> None:
        for each in self._listeners:
            each.started(info)

    def step(self, epoch: int, step: int, steps: int, values: Mapping[str, float]) -> None:
        for each in self._listeners:
            each.step(epoch, step, steps, values)

    def saved(self, saved: Saved) -> None:
        for each in self._listeners:
            each.saved(saved)

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        for each in self._listeners:
            each.epoch(record, checkpoint)

    def warning(self, text: str) -> None:
        for each in self._listeners:
            each.warning(text)

    def finished(self, summary: Mapping[str, Any], evaluation: Evaluation) -> None:
        for each in self._listeners:
            each.finished(summary, evaluation)

    def close(self) -> None:
        for each in self._listeners:
            each.close()
