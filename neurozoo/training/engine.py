"""Where a training runs: device, precision and number of processes; with lightning-fabric if it has to be."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn

from neurozoo.core.processes import from_each, processes, rank
from neurozoo.errors import NeurozooError, UserError
from neurozoo.recipe.schema import TrainingSection
from neurozoo.runs.device import choose_device
from neurozoo.runs.parent import end_with_parent

__all__ = ["Engine", "started_processes"]


def started_processes() -> int:
    """Return the number of processes that torchrun started for this training; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if distributed.is_torchelastic_launched() else 1


class Engine:
    """Device, precision and processes of a training, see :meth:`of`; by default this process alone, in float32."""

    def __init__(self, device: torch.device, fabric: Any = None, scaler: Any = None, compiled: bool = False) -> None:
        self.device = device
        self._fabric, self._scaler, self._compiled = fabric, scaler, compiled

    @classmethod
    def of(cls, training: TrainingSection) -> Engine:
        """Return the engine of a recipe, joined with the other processes that torchrun started.

        One process in float32 does without lightning-fabric, which takes as long to import as torch.

        Raises:
            UserError: The device is not available, or cannot be used by so many processes.
        """
        device, count = choose_device(training.device), started_processes()
        if count > 1:
            end_with_parent(os.getppid())
        _check(training, device, count)
        if count == 1 and training.precision == "32-true":
            if device.type == "cuda":
                device = torch.device("cuda", device.index or 0)
                torch.cuda.set_device(device)
            return cls(device, compiled=training.compile)

        from lightning_fabric import Fabric
        from lightning_fabric.plugins import MixedPrecision
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning_fabric.strategies.ddp import DDPStrategy

        scaler: Any = None
        plugins: list[Any] = [TorchElasticEnvironment() if count > 1 else LightningEnvironment()]
        if training.precision == "16-mixed":
            scaler = torch.amp.GradScaler(device.type)
        if training.precision != "32-true":
            plugins.append(MixedPrecision(training.precision, device.type, scaler))
        if count > 1:
            local = int(os.environ["LOCAL_WORLD_SIZE"])
            # Running means are summed over processes and equal everywhere, so no buffer is broadcast. A recipe may
            # leave parameters without a gradient; they are the same in each step, which torch can use if it gathers
            # the gradients of every batch.
            static = training.accumulate == 1
            ddp = DDPStrategy(forward_sync_buffers=False, static_graph=static, find_unused_parameters=not static)
            place: dict[str, Any] = {"devices": local, "num_nodes": count // local, "strategy": ddp}
        else:
            place = {"devices": [device.index or 0] if device.type == "cuda" else 1}
        fabric = Fabric(accelerator=device.type, plugins=plugins, **place)
        logger = logging.getLogger("lightning_fabric")
        level = logger.level
        logger.setLevel(logging.WARNING)  # its notices of device and processes are in environment.json
        try:
            fabric.launch()
        finally:
            logger.setLevel(level)
        return cls(fabric.device, fabric, scaler, training.compile)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and output."""
        return rank() == 0

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """Run the block in the first process, then in the others.

        Raises:
            NeurozooError: In the others, if it failed in the first.
        """
        if not self.first and not self._agreed(True):
            raise NeurozooError("the first process failed; its message says why")
        try:
            yield
        except BaseException:
            if self.first:
                self._agreed(False)
            raise
        if self.first:
            self._agreed(True)

    def _agreed(self, well: bool) -> bool:
        return all(bool(each) for each in from_each(torch.tensor([well], dtype=torch.uint8, device=self.device)))

    def set_up(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Callable[..., Any], Any]:
        """Return what to use in place of the module and of the optimiser.

        Raises:
            UserError: A part of the module needs whole batches, and there are several processes.
        """
        parts = {type(each).__name__ for each in module.modules() if getattr(each, "whole_batch", False)}
        if parts and processes() > 1:
            raise UserError(
                f"{', '.join(sorted(parts))}: its output or its loss depends on the whole batch, and each of "
                f"{processes()} processes has a part of it; start one process, or take the parts of a corrected recipe"
            )
        forward = torch.compile(module) if self._compiled else module
        if self._fabric is None:
            return forward, optimizer
        return self._fabric.setup_module(forward, move_to_device=False), self._fabric.setup_optimizers(optimizer)

    def gathering(self, forward: Any, last: bool) -> AbstractContextManager[None]:
        """Return a context for forward and backward, in which gradients are gathered for a step's last batch only."""
        if last or processes() == 1:
            return nullcontext()
        context: AbstractContextManager[None] = self._fabric.no_backward_sync(forward)
        return context

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of this process's part of a loss."""
        if self._fabric is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            # The processes' gradients are averaged, and the parts of the loss add up.
            self._fabric.backward(loss if processes() == 1 else loss * processes())

    def clip(self, forward: Any, optimizer: Any, norm: float) -> None:
        """Scale the gradients down to a norm."""
        if self._fabric is None:
            nn.utils.clip_grad_norm_(forward.parameters(), norm)
        else:
            self._fabric.clip_gradients(forward, optimizer, max_norm=norm, error_if_nonfinite=False)

    def part_random_numbers(self, seed: int) -> None:
        """Let the processes drop out different units; the first draws the same as a single process."""
        if not self.first:
            torch.manual_seed(hash((seed, rank())) % 2**63)

    def random_states(self) -> dict[str, Tensor]:
        """Return the states of torch's generators of each process, by ``DEVICE/RANK``."""
        mine = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            mine["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            f"{kind}/{place}": state.cpu()
            for kind, own in mine.items()
            for place, state in enumerate(from_each(own.to(self.device)))
        }

    def set_random_states(self, states: dict[str, Tensor]) -> None:
        """Restore the states of this process's generators, if they are among them."""
        if (cpu := states.get(f"cpu/{rank()}")) is not None:
            torch.set_rng_state(cpu)
        if self.device.type == "cuda" and (cuda := states.get(f"cuda/{rank()}")) is not None:
            torch.cuda.set_rng_state(cuda, self.device)

    def scaling(self) -> dict[str, Any]:
        """Return the state of the loss scaling of float16; empty without one."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def set_scaling(self, state: dict[str, Any]) -> None:
        """Restore the state of the loss scaling."""
        if self._scaler is not None:
            self._scaler.load_state_dict(state)


def _check(training: TrainingSection, device: torch.device, count: int) -> None:
    if count == 1:
        return
    if device.type == "mps":
        raise UserError(f"{count} processes cannot share mps; set training.device=cpu, or start one process")
    if device.index is not None:
        raise UserError(
            f"training.device is {training.device!r}, and {count} processes would share it; set training.device=cuda, "
            "and each takes the one of its local rank"
        )
    if training.batch_size < count:
        raise UserError(
            f"training.batch_size is {training.batch_size}, the samples of all processes together, and there are "
            f"{count} processes; start fewer, or raise it"
        )
