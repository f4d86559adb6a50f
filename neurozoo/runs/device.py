"""Where a model runs."""

from __future__ import annotations

import torch

from neurozoo.errors import UserError

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes the accelerator there is, else the CPU.

    Raises:
        UserError: The device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there.get(device.type, 0):
        found = ", ".join(f"{kind} ({count})" for kind, count in there.items() if count)
        raise UserError(f"training.device is {name!r} and is not there; there is: {found}; use auto")
    return device
