"""Choose the device on which a model runs."""

from __future__ import annotations

import torch

from neurozoo.errors import UserError

__all__ = ["choose_device", "device_of_run"]


def choose_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` takes an available accelerator, else the CPU.

    Raises:
        UserError: The device is not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"there is no device {name!r}; give auto, cpu, cuda, cuda:1 or mps") from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= counts.get(device.type, 0):
        available = ", ".join(f"{kind} ({count})" for kind, count in counts.items() if count)
        raise UserError(f"training.device is {name!r} and is not available; available are: {available}; use auto")
    return device


def device_of_run(name: str) -> torch.device:
    """Return the device that a run names; any available one if it was trained on another machine."""
    try:
        return choose_device(name)
    except UserError:
        return choose_device("auto")
