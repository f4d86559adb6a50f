"""On which devices a backend runs, found out by a call."""

from __future__ import annotations

import torch

from neurozoo.core.interfaces import Neuron
from neurozoo.errors import DeviceError

__all__ = ["refuses_device"]


def refuses_device(neuron: Neuron, device: torch.device | str) -> str:
    """What a neuron says to currents on a device where it does not run; empty where it does, or fails otherwise."""
    try:
        neuron.scan(torch.zeros(1, 1, 1, device=device), None, 1.0)
    except DeviceError as error:
        return str(error)
    except Exception:  # of whoever runs it, and told then
        return ""
    return ""
