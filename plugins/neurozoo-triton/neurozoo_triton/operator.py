"""The kernels as operators of torch, see :mod:`neurozoo.backends.fused.operators`."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
import triton
from torch import Tensor

from neurozoo.backends.fused.memory import Call, each, flat
from neurozoo.backends.fused.operators import Gradients, register
from neurozoo_triton import kernels

__all__ = ["operators"]

BLOCK = 512
"""Neurons a program: with Triton's 4 warps, 16 bytes a thread in float32, the size of one memory access."""
WIDEST = 2**16
"""The same in the interpreter, where the overhead is per program."""


def _spikes(call: Call, out: Tensor, after: Tensor) -> None:
    _launch(kernels.forward, call, out, after, WHAT=kernels.SPIKES, SCALE=1.0)


def _backward(call: Call, gradients: Gradients) -> tuple[Tensor, Tensor]:
    spec: Any = call.spec
    like, kind, alpha = call.currents.memory, spec.surrogate, float(spec.alpha)
    blocks = -(-call.size // _block(call))
    # Python's products are rounded once, as torch's.
    scale = {"atan": math.pi / 2 * alpha, "box": alpha / 2}.get(kind, 1.0)
    factor = alpha / 2 if kind == "atan" else alpha
    (spikes, step), own = ((None, 0), True) if gradients.out is None else each(gradients.out)
    to_threshold = like.new_empty(call.threshold.places(blocks) if gradients.learn[0] else 0)
    summed = gradients.currents.numel() == call.size and call.steps > 1  # of a current that is held
    to_currents = like.new_empty(call.steps * call.size) if summed else _needed(gradients.currents)
    membranes = like.new_empty(call.steps * call.size) if to_currents is None else to_currents
    _launch(
        kernels.backward, call, membranes, _sigmoid(call) if kind == "sigmoid" else None,
        spikes, step, None if gradients.after is None else flat(gradients.after),
        to_currents, _needed(gradients.state), _needed(to_threshold),
        DETACH=spec.detach_reset, KIND=kind, SCALE=scale, ALPHA=factor, OWN_GRAD=own,
        BY_STEP=call.by_step, ONE_LEVEL=call.threshold.period == 1,
    )  # fmt: skip
    if summed and to_currents is not None:
        torch.sum(to_currents.view(call.steps, -1), 0, out=gradients.currents.view(-1))
    if gradients.learn[0]:
        to_threshold = call.threshold.gradient(to_threshold, blocks)
    return to_threshold, like.new_empty(0)  # parameters are numbers here


operators = register("neurozoo_triton", _spikes, _backward)


def _sigmoid(call: Call) -> Tensor:
    """``sigmoid(alpha u)`` of every step, by torch, whose exponential rounds differently from Triton's."""
    like = call.currents.memory
    u, v = like.new_empty(call.steps, call.size), like.new_empty(call.size)
    spec: Any = call.spec
    _launch(kernels.forward, call, u, v, WHAT=kernels.HEIGHTS, SCALE=float(spec.alpha))
    if u.is_cuda:
        return u.sigmoid_()
    for row in u.unbind(0):  # on the CPU the bits depend on where in memory a number lies
        row.sigmoid_()
    return u


def _launch(kernel: Any, call: Call, *arguments: Tensor | int | None, **constants: Any) -> None:
    spec: Any = call.spec
    currents, step = call.currents
    tau, rest = call.numbers[:2]
    block, by_product = _block(call), currents.is_cuda
    if spec.kind == "if":
        tau = 0.0
    elif by_product:
        tau = _reciprocal(tau, currents.dtype)
    with ExitStack() as around:
        if currents.is_cuda:
            around.enter_context(torch.cuda.device(currents.device))
        if kernels.INTERPRETED:  # numpy warns of infinities
            around.enter_context(np.errstate(all="ignore"))
        kernel[(-(-call.size // block),)](
            call.steps, call.size, currents, step, call.state,
            call.threshold.numbers, call.threshold.period if call.by_step else 0, call.threshold.inner,
            call.threshold.period, *arguments, TAU=tau, PRODUCT=by_product, REST=rest, V_RESET=rest,
            DECAY_INPUT=getattr(spec, "decay_input", False), HARD=spec.v_reset is not None,
            SILENT=spec.tie == "silent", BLOCK=block, enable_fp_fusion=False, **constants,
        )  # fmt: skip


def _block(call: Call) -> int:
    return min(WIDEST, triton.next_power_of_2(call.size)) if kernels.INTERPRETED else BLOCK


def _reciprocal(tau: float, dtype: torch.dtype) -> float:
    """``1 / tau``, both rounded to the dtype; torch multiplies by it on CUDA instead of dividing."""
    return float(torch.tensor(tau, dtype=dtype).reciprocal())


def _needed(gradient: Tensor) -> Tensor | None:
    return gradient if gradient.numel() else None
