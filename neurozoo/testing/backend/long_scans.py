"""Cases on many time steps, and on many neurons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from neurozoo.core.interfaces import LIFSpec, Neuron
from neurozoo.testing.backend.inputs import made_up_currents
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.findings import ConformanceError

__all__ = ["LONG_CASES"]

STEPS = 1000
# A slow neuron that fires seldom: what is lost after a hundred steps would show in the last.
LONG_SPECS = (LIFSpec(), LIFSpec(tau=100.0, v_reset=None), LIFSpec(tau=100.0, detach_reset=True))


def a_thousand_steps(subject: Subject) -> None:
    """T = 1000 fires as the oracle does, to the end."""
    currents = made_up_currents(STEPS, 2, 4)
    for spec in subject.accepted(LONG_SPECS):
        subject.check_spikes(spec, currents, 1.0)


def back_through_a_thousand_steps(subject: Subject) -> None:
    """The gradient comes back through T = 1000 steps whole."""
    currents = made_up_currents(STEPS, 2, 4)
    for spec in subject.accepted(LONG_SPECS):
        subject.check_gradients(spec, currents, torch.tensor(1.0))


def work_grows_with_the_steps(subject: Subject) -> None:
    """Forward and backward make twice the numbers in twice the steps; indexing currents[t] makes four times as many."""
    for threshold in (0.7, torch.tensor(0.7), torch.full((1, 2, 1), 0.7)):
        neuron = subject.neuron()
        short, long = (_work(neuron, steps, threshold) for steps in (64, 128))
        if long > 2.5 * short:
            raise ConformanceError(
                f"64 steps make {short} numbers and 128 steps {long}, {long / short:.1f} times as many; "
                "take the steps by currents.unbind(0), for the backward of currents[t] is as long as all steps"
            )


def a_large_layer(subject: Subject) -> None:
    """Some 70,000 neurons, a number that no block of a kernel divides, fire and learn as the oracle's."""
    currents = made_up_currents(3, 33, 61, 37)
    spec = subject.usual()
    for threshold in (0.7, torch.linspace(0.4, 1.2, 33).reshape(1, 33, 1, 1)):
        subject.check_spikes(spec, currents, threshold)
        subject.check_gradients(spec, currents, threshold)


LONG_CASES: tuple[Callable[[Subject], None], ...] = (
    a_large_layer,
    a_thousand_steps,
    back_through_a_thousand_steps,
    work_grows_with_the_steps,
)


class _Numbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers in all that torch's operators return, backward passes included."""

    made: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        for tensor in returned if isinstance(returned, (tuple, list)) else (returned,):
            self.made += tensor.numel() if isinstance(tensor, Tensor) else 0
        return returned


def _work(neuron: Neuron, steps: int, threshold: Tensor | float) -> int:
    currents = made_up_currents(steps, 2, 4).requires_grad_()
    numbers = _Numbers()  # type: ignore[no-untyped-call]
    with numbers:
        spikes, v = neuron.scan(currents, None, threshold)
        torch.autograd.grad(spikes.sum() + v.sum(), currents)
    return numbers.made
