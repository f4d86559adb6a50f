"""Speed and memory of published models, side by side with plain writings on the neurons of spiking libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurozoo.bench.interleaved import in_turns
from neurozoo.bench.published import made_up_input
from neurozoo.compare.memory import peak_bytes
from neurozoo.core.model import Model, trained_modules
from neurozoo.core.neuron import PlainNetwork
from neurozoo.core.published import Variant
from neurozoo.errors import UnknownNameError, UserError
from neurozoo.models.by_name import variants
from neurozoo.recipe.recipe import FASTEST
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.by_name import create_model

__all__ = ["BOUNDS", "CASES", "SHARE", "STEPS", "Case", "ZooCost", "measure_zoo"]

STEPS = 16
"""T by default."""
LEARNING_RATE = 1e-3
Group = Literal["convolutional", "recurrent"]
BOUNDS: Mapping[Group, float] = {"convolutional": 1.15, "recurrent": 2.0}
"""How many times as long the plain writing is expected to take, at least."""
SHARE = 0.5
"""Of the plain writing's peak memory, expected at most."""


@dataclass(frozen=True)
class Case:
    """What is measured of a published size, reduced so that a step takes seconds at most.

    Attributes:
        group: Which bound holds.
        batch: Samples of a step.
        shape: Of a position; None for the published one.
        params: Parameters of the model that differ from those of the published size.
        published: Whether in the published form, which is that of the paper; else the corrected one.
    """

    group: Group
    batch: int
    shape: tuple[int, ...] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    published: bool = False


_NO_PENALTY: Mapping[str, Any] = {"rate_weight": 0.0, "decision_loss": "mean"}
CASES: Mapping[str, Case] = {
    "spikformer-4-384": Case("convolutional", 2, params={"width": 192, "depth": 2}, published=True),
    "sew-resnet-18": Case("convolutional", 8, (3, 64, 64), {"width": 32}),
    "plif-net-cifar10-dvs": Case("convolutional", 4, (2, 32, 32), {"dropout": 0.0}),
    "sparch-radlif-128": Case("recurrent", 16, params={"dropout": 0.0}),
    "cuba-rsnn-shd": Case("recurrent", 16, params={"readout": "max-with-start"}),
    "lsnn-evidence": Case(
        "recurrent", 16, params={"regular": 0, "adaptive": 100, "decision_steps": None, **_NO_PENALTY}
    ),
}
"""By published size. Dropout is 0, so that both compute the same."""


@dataclass(frozen=True)
class ZooCost:
    """What a training step takes: forward, loss, backward and the optimiser's step, on SYNTHETIC inputs.

    Attributes:
        size: The published size that was reduced.
        group: Which bound holds.
        parameters: Learnable parameters.
        batch: Samples.
        shape: Of a position.
        steps: T.
        backend: What runs neurozoo's neurons.
        library: The backend with the plain writing.
        threads: Threads of torch.
        rounds: How often each was timed.
        step_ms: Median time of a step.
        plain_step_ms: The same of the plain writing.
        peak_mib: The most that tensors take at a time in a step, beyond weights, optimiser and inputs.
        plain_peak_mib: The same of the plain writing.
        loss: Of the first step.
        plain_loss: The same of the plain writing, with equal weights.
    """

    size: str
    group: Group
    parameters: int
    batch: int
    shape: tuple[int, ...]
    steps: int
    backend: str
    library: str
    threads: int
    rounds: int
    step_ms: float
    plain_step_ms: float
    peak_mib: float
    plain_peak_mib: float
    loss: float
    plain_loss: float

    @property
    def speed(self) -> float:
        """How many times as long the plain writing takes."""
        return self.plain_step_ms / self.step_ms

    @property
    def memory(self) -> float:
        """Share of the plain writing's peak memory."""
        return self.peak_mib / self.plain_peak_mib

    @property
    def same(self) -> bool:
        """Whether both compute the same loss; the libraries' neurons differ for some models."""
        return abs(self.loss - self.plain_loss) <= 1e-4 * max(abs(self.loss), 1.0)


def measure_zoo(
    names: Sequence[str] | None = None,
    *,
    steps: int = STEPS,
    backend: str = FASTEST,
    rounds: int = 15,
    registry: Registry | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> list[ZooCost]:
    """Let models and their plain writings take turns.

    Args:
        names: Of :data:`CASES`; all by default.
        steps: T.
        backend: What runs neurozoo's neurons.
        rounds: How often each is timed.
        registry: Where names are looked up; by default what is installed.
        on_progress: Called before each is measured, with its name.

    Raises:
        UnknownNameError: There is no such case.
        UserError: No installed library has a plain writing of it.
    """
    registry = registry or default_registry()
    chosen = registry.fastest_backend("cpu") if backend == FASTEST else backend
    for name in names or ():
        if name not in CASES:
            raise UnknownNameError("size with a plain writing", name, CASES)
    found = []
    for name in names or CASES:
        on_progress(name)
        found.append(_measure(name, CASES[name], steps, chosen, rounds, registry))
    return found


def _measure(name: str, case: Case, steps: int, backend: str, rounds: int, registry: Registry) -> ZooCost:
    model_name, size = next((model, size) for each, model, size in variants(registry) if each == name)
    library, plain_network = _plain(model_name, registry)
    picture = size.length == 1
    size = replace(size, shape=case.shape or size.shape, length=1 if picture else steps)
    own: dict[str, Any] = {**case.params, **({"time_steps": steps} if picture else {})}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(
            name, inputs=size.shape, length=size.length, outputs=size.outputs, backend=backend,
            form="published" if case.published else "corrected", registry=registry, **own,
        )  # fmt: skip
        plain = plain_network(size.shape, steps, size.outputs, {**size.params, **own})
    _copy_weights(model, plain)
    values, target = _data(model, size, case.batch)

    def own_loss(outputs: Tensor, target: Tensor) -> Tensor:
        loss = model.problem.task.loss(outputs, target)
        for _, module in trained_modules(model):
            for term in module.losses(target).values():
                loss = loss + term
        return loss

    runs: dict[str, Callable[[], float]] = {}
    objectives = {"ours": (model, own_loss), "plain": (plain, model.problem.task.loss)}
    for key, (module, objective) in objectives.items():
        # Fused, as a training has it: torch's default on the CPU makes tensors as large as the largest parameter.
        optimizer = torch.optim.Adam(module.parameters(), LEARNING_RATE, fused=True)
        runs[key] = partial(_step, module.train(), optimizer, objective, values, target)
    losses = {key: run() for key, run in runs.items()}  # also what is made once, such as the optimiser's state
    peaks = {key: peak_bytes(run, torch.device("cpu")) or 0 for key, run in runs.items()}
    times = {key: median(each) for key, each in in_turns(runs, rounds).items()}
    return ZooCost(
        name, case.group, sum(each.numel() for each in model.parameters()), case.batch, size.shape, steps, backend,
        library, torch.get_num_threads(), rounds, times["ours"], times["plain"], peaks["ours"] / 2**20,
        peaks["plain"] / 2**20, losses["ours"], losses["plain"],
    )  # fmt: skip


def _step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Callable[[Tensor, Tensor], Tensor],
    values: Tensor,
    target: Tensor,
) -> float:
    """Train a step, and return its loss."""
    optimizer.zero_grad(set_to_none=True)
    loss = objective(module(values), target)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def _data(model: Model, size: Variant, batch: int) -> tuple[Tensor, Tensor]:
    """Draw SYNTHETIC inputs and targets."""
    generator = torch.Generator().manual_seed(0)
    frames = replace(size, length=max(size.length, 1))
    return made_up_input(frames, batch, generator), model.problem.task.made_up(batch, generator=generator)


def _plain(model: str, registry: Registry) -> tuple[str, PlainNetwork]:
    """Return the first installed backend with a plain writing of a model, and what makes it."""
    for name in registry.usable_backends():
        network = registry.resolve("neuron", name).plain_networks().get(model)
        if network is not None:
            return name, network
    raise UserError(f"no installed backend has a plain writing of {model}; install neurozoo's plugins of libraries")


@torch.no_grad()
def _copy_weights(model: nn.Module, plain: nn.Module) -> None:
    """Give the plain writing the model's weights."""
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        theirs.copy_(ours.reshape(theirs.shape))
