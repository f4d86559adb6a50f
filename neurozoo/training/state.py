"""All that a training needs to continue as if it had not been interrupted, as tensors and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.errors import CheckpointError
from neurozoo.runs.checkpoint import load_tensors
from neurozoo.training.engine import Engine
from neurozoo.training.listener import Saved

__all__ = ["Position", "TrainingState"]


@dataclass
class Position:
    """Where a training is.

    Attributes:
        epoch: The epoch that is being trained, from 1.
        step: Steps of it that are done.
        sums: Sums over those steps, 0-d, by name.
        best_epoch: The one whose weights were kept; 0 before the first.
        best: Its score, larger is better; None where the valid split did not define it.
        records: Lines of metrics.jsonl.
        order: State of the generator of the samples' order when the epoch began, uint8.
    """

    epoch: int = 1
    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best: float | None = None
    records: int = 0
    order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))


@dataclass(frozen=True)
class TrainingState:
    """What is written and read back.

    Attributes:
        model: Weights and buffers change in place.
        optimizer: The same.
        scheduler: What changes the learning rate.
        order: The generator of the samples' order.
        engine: Has the random states of all processes.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    order: torch.Generator
    engine: Engine

    def collect(self, position: Position, metadata: Mapping[str, Any]) -> Saved:
        """Collect the state; where several processes train together, all of them have to call this."""
        random = self.engine.random_states()
        optimizer = self.optimizer.state_dict()
        tensors = {f"model/{name}": x for name, x in self.model.state_dict().items()}
        values: dict[str, dict[str, Any]] = {}
        for index, entries in optimizer["state"].items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{name}"] = value
                else:
                    values.setdefault(str(index), {})[name] = value
        tensors |= {f"sums/{name}": x for name, x in position.sums.items()}
        tensors |= {"order": position.order} | {f"random/{name}": x for name, x in random.items()}
        rest = {
            **metadata,
            "position": {name: value for name, value in vars(position).items() if name not in _TENSORS},
            "optimizer": {"param_groups": optimizer["param_groups"], "values": values},
            "scheduler": self.scheduler.state_dict(),
            "scaling": self.engine.scaling(),
        }
        return Saved(tensors, rest)

    def restore(self, saved: Saved, where: str) -> Position:
        """Put everything back as it was collected.

        Args:
            saved: What :meth:`collect` gave.
            where: Its file, for the errors.

        Raises:
            CheckpointError: It is damaged, or of another model; nothing is changed then.
        """
        tensors, metadata = saved.tensors, saved.metadata
        try:
            position = Position(**metadata["position"], sums=_under("sums", tensors), order=tensors["order"])
            optimizer, scheduler, scaling = metadata["optimizer"], metadata["scheduler"], metadata["scaling"]
            states = {int(index): dict(values) for index, values in optimizer["values"].items()}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{where}: not the state of a training ({error}); start a new run") from error
        load_tensors(where, _under("model", tensors), self.model)
        for key, value in _under("optimizer", tensors).items():
            index, _, name = key.partition("/")
            states.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": states, "param_groups": optimizer["param_groups"]})
        self.scheduler.load_state_dict(scheduler)
        self.order.set_state(position.order)
        self.engine.set_random_states(_under("random", tensors))
        self.engine.set_scaling(scaling)
        device = next(self.model.parameters()).device
        position.sums = {name: x.to(device) for name, x in position.sums.items()}
        return position


_TENSORS = ("sums", "order")
"""Of a position."""


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name.removeprefix(start): x for name, x in tensors.items() if name.startswith(start)}
