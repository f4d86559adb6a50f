"""One process of a data-parallel pair, and what it trains.

Run as ``python -m neurozoo.testing.backend.data_parallel_worker JOB``.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from neurozoo.core.interfaces import LIFSpec, Neuron
from neurozoo.runs.checkpoint import write_tensors
from neurozoo.testing.backend.inputs import T, made_up_currents
from neurozoo.testing.backend.model import INPUTS, OUTPUTS, SmallModel

__all__ = ["NOT_HERE", "RANKS", "Job", "train"]

RANKS, SAMPLES, STEPS = 2, 8, 3
NOT_HERE = 3
"""The exit status where the class cannot be imported, or the processes cannot meet: no fault of the neuron's."""


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        target: The neuron's class, ``module:qualname``.
        spec: The fields of its LIFSpec.
        rank: Which process it is, from 0.
        folder: Where the processes meet, and leave their results.
    """

    target: str
    spec: dict[str, Any]
    rank: int
    folder: str

    @property
    def results(self) -> Path:
        """The safetensors file of what came out."""
        return Path(self.folder) / f"results-{self.rank}.safetensors"


def train(neuron: Callable[[LIFSpec], Neuron], spec: LIFSpec, rank: int | None) -> dict[str, Tensor]:
    """Three steps of SGD on a small model.

    Args:
        neuron: Makes the backend's neuron.
        spec: Of both layers.
        rank: Which half of each batch; None for all of it, in one process.

    Returns:
        Spikes ``[T, B, OUTPUTS]`` and gradients of each step, and the weights in the end.
    """
    # float64: sums of two halves are rounded otherwise than a whole's, by far too little to flip a spike.
    model = SmallModel(neuron, spec, torch.float64)
    runner = model if rank is None else nn.parallel.DistributedDataParallel(model)
    half = slice(None) if rank is None else slice(rank * SAMPLES // RANKS, (rank + 1) * SAMPLES // RANKS)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    results: dict[str, Tensor] = {}
    for step in range(STEPS):
        x = made_up_currents(T, SAMPLES, INPUTS, dtype=torch.float64, seed=step)[:, half]
        wanted = made_up_currents(SAMPLES, OUTPUTS, dtype=torch.float64, seed=step + STEPS)[half]
        optimiser.zero_grad()
        spikes = runner(x)
        nn.functional.mse_loss(spikes.mean(0), wanted).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        results[f"spikes in step {step}"] = spikes.detach()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None  # every one is used
            results[f"gradient of {name} in step {step}"] = parameter.grad.clone()
    return results | {f"weight {name}": parameter.detach() for name, parameter in model.named_parameters()}


def main() -> int:
    """Do the job that is given as JSON."""
    job = Job(**json.loads(sys.argv[1]))
    module, _, name = job.target.partition(":")
    try:
        neuron: Any = reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        return _not_here(f"another process cannot import it: {error}")
    meeting = (Path(job.folder) / "meeting").as_uri()
    try:
        distributed.init_process_group("gloo", init_method=meeting, rank=job.rank, world_size=RANKS)
    except (RuntimeError, ValueError) as error:
        return _not_here(f"two processes cannot meet here: {error}")
    try:
        write_tensors(job.results, train(neuron, LIFSpec(**job.spec), job.rank), {})
    finally:
        distributed.destroy_process_group()
    return 0


def _not_here(reason: str) -> int:
    print(reason.replace("\n", " "), file=sys.stderr)
    return NOT_HERE


if __name__ == "__main__":
    sys.exit(main())
