"""A case on devices, on one that holds no numbers: no GPU is needed to see where tensors are made."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neurozoo.testing.backend.inputs import B, N, T
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.findings import ConformanceError, NotRun

__all__ = ["DEVICE_CASES"]


def tensors_are_made_on_the_currents_device(subject: Subject) -> None:
    """On torch's "meta" device, which mixes with no other: a tensor made on the CPU by default is an error there."""
    neuron = subject.neuron()
    currents = torch.zeros(T, B, N, device="meta", requires_grad=True)
    thresholds: tuple[Tensor | float, ...] = (
        0.7,
        torch.zeros((), device="meta", requires_grad=True),
        torch.zeros(1, B, 1, device="meta"),
        torch.zeros(T, 1, 1, device="meta"),
    )
    for threshold in thresholds:
        try:
            spikes, v = neuron.scan(currents, None, threshold)
            (gradient,) = torch.autograd.grad(spikes.sum() + v.sum(), currents)
        except NotImplementedError as error:
            raise NotRun(f"its operators say nothing of the meta device: {str(error).splitlines()[0]}") from error
        except RuntimeError as error:
            raise ConformanceError(
                f"on the meta device: {error}; make tensors with device=currents.device, or with torch.full_like"
            ) from error
        for name, tensor in (("spikes", spikes), ("membrane", v), ("gradient", gradient)):
            if tensor.device != currents.device:
                raise ConformanceError(f"the {name} of currents on {currents.device} are on {tensor.device}")


DEVICE_CASES: tuple[Callable[[Subject], None], ...] = (tensors_are_made_on_the_currents_device,)
