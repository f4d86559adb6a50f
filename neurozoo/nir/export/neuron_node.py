"""A layer's neurons as a node of NIR, under Euler's step; refused by name where NIR has no such neuron.

With ``a = dt / tau`` Euler's step of NIR's equations is

======= ================================================================================
LIF     ``v + a (v_leak - v + R x)``
IF      ``v + dt R x``
LI      as LIF, without a spike
CubaLIF ``i + a_syn (w_in x - i)``, then ``v + a_mem (v_leak - v + R i)``
======= ================================================================================

A decay ``d`` a step is the time constant ``dt / (1 - d)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.core.kinds import CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec, SpikingSpec
from neurozoo.core.neuron import NeuronSpec, Params
from neurozoo.errors import UserError
from neurozoo.nir.branches import below

__all__ = ["neuron_node", "neurons_refused"]

Array = NDArray[np.float64]


def neurons_refused(spec: NeuronSpec) -> str:
    """Say why NIR has no node for such neurons; empty where it has one."""
    if isinstance(spec, CubaSpec) and spec.order == "fire-first":
        return "cuba neurons of the order fire-first spike before they are charged, and NIR's CubaLIF after it"
    if isinstance(spec, LIFSpec | IFSpec | PLIFSpec | CubaSpec | LISpec):
        return ""
    return f"NIR has no node for {spec.kind} neurons; it has one for lif, if, plif, cuba and li"


def neuron_node(
    name: str,
    spec: NeuronSpec,
    params: Params,
    shape: tuple[int, ...],
    *,
    dt: float,
    threshold: Tensor | float,
    gain: bool = False,
) -> nir.NIRNode:
    """The node of a layer's neurons.

    Args:
        name: The layer, for errors.
        spec: Its neurons.
        params: Its parameters that are tensors.
        shape: Of the neurons at one step.
        dt: Length of a step, in seconds.
        threshold: A number, or a tensor that broadcasts against ``shape``.
        gain: Whether the threshold divides the current; voltages are then in units of it.

    Raises:
        UserError: NIR has no such neuron.
    """
    if reason := neurons_refused(spec):
        raise UserError(f"{name}: {reason}; export a run with such neurons")
    values = {key: _array(value, shape) for key, value in spec.complete(params).items()}
    level = _array(threshold, shape)
    if isinstance(spec, LISpec):
        share = _leak(name, "decay", values["decay"])
        return nir.LI(tau=dt / share, r=values["gain"] / share, v_leak=values["v_rest"])
    assert isinstance(spec, SpikingSpec)
    rest = values.get("v_reset", np.zeros(shape)) * (level if gain else 1.0)
    voltages: Mapping[str, Any] = {
        "v_threshold": below(level) if spec.tie == "fires" else level.astype(np.float32),
        "v_reset": rest,
    }
    if isinstance(spec, IFSpec):
        return nir.IF(r=np.full(shape, 1 / dt), **voltages)
    if isinstance(spec, CubaSpec):
        synapse = _leak(name, "synapse_decay", values["synapse_decay"])
        membrane = _leak(name, "membrane_decay", values["membrane_decay"])
        return nir.CubaLIF(
            tau_syn=dt / synapse,
            tau_mem=dt / membrane,
            r=values["gain"] / membrane,
            v_leak=rest,
            w_in=1 / synapse,
            **voltages,
        )
    assert isinstance(spec, LIFSpec | PLIFSpec)
    if isinstance(spec, PLIFSpec) and (values["leak"] <= 0).any():
        raise UserError(f"{name}: its leak is 0 for some neurons, and NIR's LIF has one")
    tau = values["tau"] if isinstance(spec, LIFSpec) else 1 / values["leak"]
    return nir.LIF(tau=tau * dt, r=np.ones(shape) if spec.decay_input else tau, v_leak=rest, **voltages)


def _array(value: Tensor | float, shape: tuple[int, ...]) -> Array:
    number = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, np.float64)
    return np.broadcast_to(number, shape).copy()


def _leak(name: str, what: str, decay: Array) -> Array:
    """The share that is lost in a step, which a time constant must have.

    Raises:
        UserError: Nothing is lost.
    """
    if (decay >= 1).any():
        raise UserError(f"{name}: its {what} is 1 for some neurons, which then have no leak, and NIR's node has one")
    return 1 - decay
