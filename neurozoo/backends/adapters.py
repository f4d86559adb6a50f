"""What backends share that run the neurons of a spiking library."""

from __future__ import annotations

from torch import Tensor

from neurozoo.core.kinds import CubaSpec
from neurozoo.core.neuron import NeuronSpec, Params, State
from neurozoo.errors import SpikingError

__all__ = ["check_plain_cuba", "check_state", "plain_cuba_refusal"]


def check_state(state: State, current: Tensor) -> None:
    """Refuse a state that does not have the shape of one step's current, which a library may replace by zeros.

    Raises:
        SpikingError: The shape differs.
    """
    for each in state:
        if each.shape != current.shape:
            raise SpikingError(
                f"a state of shape {list(each.shape)} does not fit a step's current of shape {list(current.shape)}; "
                "give one membrane a neuron, or None to start from rest"
            )


def plain_cuba_refusal(spec: NeuronSpec, neuron: str) -> str:
    """Return why a library's ``neuron`` cannot be this ``cuba``; empty if it can, and for all other kinds.

    The current-based neurons of the libraries fire after they are charged, have no gain and rest at 0.
    """
    if not isinstance(spec, CubaSpec):
        return ""
    differences = {
        "fires after it is charged, and order is fire-first": spec.order != "charge-first",
        f"adds the current as it is, and gain is {spec.gain}": spec.gain != 1.0,
        f"rests at 0, and v_reset is {spec.v_reset}": bool(spec.v_reset),
    }
    words = next((words for words, differs in differences.items() if differs), "")
    return f"{neuron} {words}; change it, or use another backend, such as torch" if words else ""


def check_plain_cuba(params: Params, neuron: str) -> None:
    """Refuse tensors in place of the parameters that :func:`plain_cuba_refusal` wants as numbers.

    Raises:
        SpikingError: ``gain`` or ``v_reset`` is a tensor.
    """
    for name in ("gain", "v_reset"):
        if isinstance(params.get(name), Tensor):
            raise SpikingError(
                f"{neuron} adds the current as it is and rests at 0, and {name} was given as a tensor; leave it out, "
                "or use another backend, such as torch"
            )
