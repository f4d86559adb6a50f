"""Compare a part of a multimodal model with numbers that its authors' own code gave.

A golden file holds the authors' weights and, for two batches, inputs, activations, outputs, losses, gradients and
eight steps of their optimiser; ``tests/golden/README.md`` lists its keys. A :class:`PartCase` builds the network of a
file around the part and maps its parameters to the authors' names; the rest is the same for all parts.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from neurozoo.testing.findings import require
from neurozoo.testing.golden import GoldenFile

__all__ = ["GoldenPart", "PartCase"]

ACTIVATIONS, LOSSES, GRADIENTS, TRAINING = 1e-5, 1e-5, 1e-5, 1e-4
"""Tolerances: of activations and outputs, of their scale; of losses, relative; of a gradient's largest entry; of the
losses of a training, relative."""
CANCELLED = 1e-7
"""Absolute tolerance of a gradient, for those that are 0 but for rounding."""


class PartCase(ABC):
    """How a part meets its golden file."""

    file: ClassVar[str]
    """Name of the golden file."""
    names: ClassVar[tuple[tuple[str, str | None], ...]]
    """Pairs of a regular expression for an authors' whole name, and the name in :meth:`network`, a template for
    :meth:`re.Match.expand`; None for a tensor that their code does not use. The first that fits counts."""

    @abstractmethod
    def network(self, header: Mapping[str, str]) -> nn.Module:
        """Return the part with what is before and behind it in the authors' network."""

    @abstractmethod
    def run(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return values by the file's names: ``out``, ``out_NAME``, ``loss``, ``act/NAME``, ``losses/NAME``.

        Args:
            network: As :meth:`network` builds it, in training or evaluation.
            batch: The file's tensors of a batch, by name.
        """

    def converted(self, name: str, tensor: Tensor) -> Tensor:
        """Return an authors' parameter, or its gradient, in the layout of this network, such as transposed."""
        return tensor


class GoldenPart:
    """A case and its file; every method raises a ConformanceError with what differs.

    Attributes:
        worst: The largest difference found by kind, as a share of what is compared, for pages.
    """

    def __init__(self, case: PartCase, file: GoldenFile) -> None:
        self.case, self.file = case, file
        self.worst: dict[str, float] = {}

    def network(self) -> tuple[nn.Module, dict[str, str]]:
        """Return a new network with the file's weights, and the network's names by the authors'."""
        network = self.case.network(self.file.header)
        state = network.state_dict()
        taken: dict[str, str] = {}
        for prefix in ("weights/", "buffers/", "given/"):
            for theirs, tensor in self.file.under(prefix).items():
                ours = self._name(theirs)
                if ours is not None:
                    require(ours in state, f"{self.file.name}: {theirs} is {ours!r} here, which is not there")
                    state[ours] = self.case.converted(theirs, tensor).reshape(state[ours].shape)
                    taken[theirs] = ours
        left = sorted(state.keys() - taken.values())
        require(not left, f"{self.file.name}: nothing is given for {', '.join(left)}")
        network.load_state_dict(state)
        return network.train(), taken

    def check_batches(self) -> None:
        """Compare both batches, in order: activations, outputs, losses, running statistics; gradients of the second."""
        network, taken = self.network()
        for which in (1, 2):
            batch = self.file.under(f"batch{which}/")
            network.train().zero_grad(set_to_none=True)
            found = self.case.run(network, batch)
            compared = [key for key in batch if key == "loss" or key.startswith(("out", "act/", "losses/"))]
            missing = sorted(set(compared) - found.keys() - {"act/eval_out"})
            require(not missing, f"{self.file.name}: {', '.join(missing)} is not computed")
            for key in set(compared) & found.keys():
                kind = "losses" if key.startswith("loss") else "activations"
                self._close(kind, found[key], batch[key], f"batch {which}, {key}")
            if which == 2:
                found["loss"].sum().backward()  # type: ignore[no-untyped-call]
                self._compare_gradients(network, taken)
            buffers = dict(network.named_buffers())
            for theirs, value in self.file.under(f"batch{which}/buffers/").items():
                self._close("activations", buffers[taken[theirs]].float(), value.float(), f"batch {which}, {theirs}")
            if "act/eval_out" in batch:
                with torch.no_grad():
                    out = self.case.run(network.eval(), batch)["out"]
                self._close("activations", out, batch["act/eval_out"], f"batch {which}, evaluation")

    def check_steps(self) -> None:
        """Compare the losses before each step of Adam, and the output afterwards."""
        network, _ = self.network()
        optimizer = torch.optim.Adam(network.parameters(), lr=float(self.file.header["lr"]))
        for n, expected in enumerate(self.file.tensors["train/losses"]):
            found = self.case.run(network, self.file.under(f"batch{1 + n % 2}/"))["loss"].sum()
            self._close("training", found, expected.float(), f"step {n + 1}")
            optimizer.zero_grad(set_to_none=True)
            found.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            out = self.case.run(network, self.file.under("batch1/"))["out"]
        self._close("training", out, self.file.tensors["train/out"], "the output after the last step")

    def _compare_gradients(self, network: nn.Module, taken: Mapping[str, str]) -> None:
        parameters = dict(network.named_parameters())
        expected = self.file.under("batch2/grad/")
        for theirs, ours in taken.items():
            if ours not in parameters:
                continue
            gradient = parameters[ours].grad
            want = torch.zeros(()) if theirs not in expected else self.case.converted(theirs, expected[theirs])
            found = torch.zeros_like(parameters[ours]) if gradient is None else gradient
            want = want.reshape(found.shape) if theirs in expected else torch.zeros_like(found)
            largest = float(want.abs().max())
            difference = float((found - want).abs().max())
            self._note("gradients", difference / max(largest, CANCELLED / GRADIENTS))
            allowed = GRADIENTS * largest + CANCELLED
            require(difference <= allowed, f"{self.file.name}: the gradient of {theirs} differs by {difference:.1e}")

    def _close(self, kind: str, found: Tensor, want: Tensor, where: str) -> None:
        tolerance = {"activations": ACTIVATIONS, "losses": LOSSES, "training": TRAINING}[kind]
        found = found.detach().reshape(want.shape)
        scale = max(float(want.abs().max()), 1.0) if kind == "activations" else float(want.abs().max())
        difference = float((found - want).abs().max()) / scale
        self._note(kind, difference)
        require(difference <= tolerance, f"{self.file.name}, {where}: differs by {difference:.1e} of its scale")

    def _note(self, kind: str, difference: float) -> None:
        self.worst[kind] = max(self.worst.get(kind, 0.0), difference)

    def _name(self, theirs: str) -> str | None:
        for pattern, template in self.case.names:
            if match := re.fullmatch(pattern, theirs):
                return None if template is None else match.expand(template)
        require(False, f"{self.file.name}: no name here fits {theirs}")
        raise AssertionError  # not reached
