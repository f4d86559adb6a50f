"""One interface for everything that follows a training: the console, the loggers, the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from neurozoo.evaluation.evaluate import Evaluation

__all__ = ["Checkpoint", "Listener", "Listeners", "Saved"]


@dataclass(frozen=True)
class Saved:
    """All that a training needs to continue as if it had not been interrupted: tensors by name, the rest as JSON."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """The weights and the state after an epoch.

    Attributes:
        weights: The model's state dict.
        metadata: Of the checkpoint, see :func:`neurozoo.training.trainer.checkpoint_metadata`.
        best: Whether this is the best epoch so far.
        saved: The state to continue from.
    """

    weights: Mapping[str, Tensor]
    metadata: Mapping[str, Any]
    best: bool
    saved: Saved


class Listener:
    """Base class of progress listeners. All methods are no-ops; override what you need."""

    @property
    def problems(self) -> Sequence[str]:
        """What the listener failed to do; the summary lists it among the warnings."""
        return ()

    def started(self, info: Mapping[str, Any]) -> None:
        """Training begins or continues: run, recipe, data, backend, parameters, whether synthetic."""

    def step(self, epoch: int, step: int, steps: int, values: Mapping[str, float]) -> None:
        """A training step is done; ``values`` holds loss, firing rate and threshold."""

    def saved(self, saved: Saved) -> None:
        """Keep this state in the middle of an epoch."""

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        """An epoch is done; ``record`` is its line of metrics.jsonl."""

    def warning(self, text: str) -> None:
        """Show a warning to the user."""

    def finished(self, summary: Mapping[str, Any], evaluation: Evaluation) -> None:
        """Training is over; ``summary`` is what summary.json holds."""

    def close(self) -> None:
        """Release resources; the last event of a training, finished or not."""


def _forwarded(event: str) -> Callable[..., None]:
    def forward(listeners: Listeners, *arguments: Any) -> None:
        for each in listeners._listeners:
            getattr(each, event)(*arguments)

    return forward


class Listeners(Listener):
    """Forwards each event to several listeners in order, those that write files first."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = tuple(listeners)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for each in self._listeners for problem in each.problems)

    started = _forwarded("started")
    step = _forwarded("step")
    saved = _forwarded("saved")
    epoch = _forwarded("epoch")
    warning = _forwarded("warning")
    finished = _forwarded("finished")
    close = _forwarded("close")
