"""Base class of backends whose loop over time is one operator."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurozoo.backends.fused.operators import Operators, plain, text_of, untraced
from neurozoo.core.kinds import KINDS
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, State, check_params, check_threshold

__all__ = ["FusedNeuron"]


class FusedNeuron(Neuron):
    """Neurons with forward and backward over all steps in one pass each, by a backend's operator.

    For float32 and float64, on devices that :meth:`takes` accepts. Other dtypes and devices, states that broadcast and
    single calls of :meth:`step` run the specification's step, one operator after the other.
    """

    operators: ClassVar[Operators]
    """See :func:`neurozoo.backends.fused.operators.register`."""

    def __init__(self, spec: NeuronSpec) -> None:
        super().__init__(spec)
        self.text = text_of(spec)
        self._numbers = _numbers(spec, spec.complete(None))
        self._last: tuple[object, tuple[Tensor | None, list[float]], Params] | None = None

    @classmethod
    def refusal(cls, spec: NeuronSpec) -> str:
        if type(spec) is not KINDS.get(spec.kind) and spec.kind in cls.kinds:
            return f"{cls.__name__} runs the {spec.kind} neurons of neurozoo, and not those of {type(spec).__name__}"
        return super().refusal(spec)

    @abstractmethod
    def takes(self, device: torch.device) -> bool:
        """Whether the kernels run on a device.

        Raises:
            DeviceError: The backend runs nothing there, not even single steps.
        """

    def fuses(self, params: Tensor | None) -> bool:
        """Whether the kernels run with parameters ``[P, *shape]`` that are tensors, or None where all are numbers."""
        return True

    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        return self.spec.step(current, state, threshold, self.spec.complete(params))

    def scan(
        self,
        currents: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        params: Params | None = None,
    ) -> tuple[Tensor, State]:
        return self._fused(currents, state, threshold, params, 0)

    def hold(
        self,
        current: Tensor,
        steps: int,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        params: Params | None = None,
    ) -> tuple[Tensor, State]:
        # The operator adds the gradients of all steps up, instead of autograd.
        return self._fused(current[None], state, threshold, params, steps)

    def _fused(
        self, given: Tensor, state: State | None, threshold: Tensor | float, params: Params | None, steps: int
    ) -> tuple[Tensor, State]:
        """Run currents ``given``, or if ``steps`` is not 0, ``[1, B, ...]`` held for so many steps."""
        currents = given.expand(steps, *given.shape[1:]) if steps else given
        found = self.arranged(currents, state, threshold, params)
        if found is None:
            return super().scan(currents, state, threshold, params)
        packed, level, arranged, numbers = found
        run = self.operators.scan
        if untraced() and plain(*[x for x in (currents, level, packed, arranged) if x is not None]):
            run = self.operators.eager_scan if torch.is_grad_enabled() else self.operators.unseen_scan
        out, after = run(given, packed, level, arranged, numbers, self.text, steps)
        return out, (after.squeeze(0),) if len(after) == 1 else after.unbind(0)

    def arranged(
        self, currents: Tensor, state: State | None, threshold: Tensor | float, params: Params | None
    ) -> tuple[Tensor | None, Tensor, Tensor | None, list[float]] | None:
        """Return a call's arguments as the kernels take them, or None if they do not run it.

        Returns:
            States to start from ``[S, B, ...]`` or None for rest, the threshold, parameters ``[P, *shape]`` or None if
            all are numbers, and P parameters and S states at rest as numbers.

        Raises:
            SpikingError: The threshold or a parameter has a shape that is not allowed.
        """
        check_threshold(threshold, currents)
        takes = self.takes(currents.device)
        arranged, numbers = None, self._numbers
        if params:
            every = params
            key, last = _key(params, currents), self._last
            if key is not None and last is not None and last[0] == key:
                arranged, numbers = last[1]
            else:
                every = check_params(self.spec.complete(params), currents)
                arranged, numbers = _arranged(self.spec, every, currents)
                # Keeps the parameters, so that no new tensor gets the address of a collected one.
                self._last = None if key is None else (key, (arranged, numbers), dict(params))
            if state is None and any(
                isinstance(value, Tensor) for value in self.spec.rest({**self.spec.parameters, **every})
            ):
                state = self.initial_state(currents[0], every)
        level = threshold if isinstance(threshold, Tensor) else currents.new_full((), threshold)
        if not takes or not self.fuses(arranged) or not _fits(currents, state, level, arranged):
            return None
        packed = None if not state else state[0][None] if len(state) == 1 else torch.stack(state)
        return packed, level.to(currents.dtype), arranged, numbers


def _key(params: Params, currents: Tensor) -> object:
    """Return a key that is equal if the parameters are unchanged since the last call; None if it must not be cached."""
    if torch.is_inference_mode_enabled():  # its tensors cannot be saved for a backward
        return None
    found: list[object] = [currents.shape[2:], currents.dtype]
    for name, value in params.items():
        if not isinstance(value, Tensor):
            found.append((name, value))
        elif value.requires_grad or value.is_inference() or not untraced():
            return None
        else:
            found.append((name, id(value), value._version, value.data_ptr()))
    return found


def _arrange(spec: Any, params: Params) -> tuple[Tensor | float, ...]:
    """Return the parameters in the kernels' order, with values that the specification derives from them."""
    values = tuple(params.get(name, 0.0) for name in spec.parameter_names)  # 0 for the v_reset of a soft reset
    if spec.kind == "if":
        return 1.0, *values
    if spec.kind == "adlif":
        return values[0], 1 - values[0], *values[1:]
    if spec.kind == "alif":
        return *values, float(spec.refractory)
    if spec.kind == "li":
        decay, gain, rest = values
        return decay, gain, (1 - decay) * rest
    return values


def _numbers(spec: NeuronSpec, params: Params) -> list[float]:
    """Return the parameters in the kernels' order, then the states at rest; 0 in place of tensors."""
    if not spec.states:
        return []
    every = (*_arrange(spec, params), *spec.rest(params))
    return [0.0 if isinstance(value, Tensor) else float(value) for value in every]


def _arranged(spec: NeuronSpec, params: Params, currents: Tensor) -> tuple[Tensor | None, list[float]]:
    """Return the parameters as one tensor ``[P, *shape]``, None if none is a tensor; and the numbers."""
    values, numbers = _arrange(spec, params), _numbers(spec, params)
    if not any(isinstance(value, Tensor) for value in values):
        return None, numbers
    shape, *others = {value.shape for value in values if isinstance(value, Tensor)}
    shape = torch.broadcast_shapes(shape, *others) if others else shape  # type: ignore[no-untyped-call]  # which takes long
    made = [value.expand(shape) if isinstance(value, Tensor) else currents.new_full(shape, value) for value in values]
    return torch.stack(made), numbers


def _fits(currents: Tensor, state: State | None, threshold: Tensor, params: Tensor | None) -> bool:
    """Whether the kernels support dtypes, devices and shapes."""
    if currents.dtype not in (torch.float32, torch.float64) or threshold.device != currents.device:
        return False
    if currents.numel() == 0 or (params is not None and params.device != currents.device):
        return False
    return state is None or all(
        each.dtype == currents.dtype and each.device == currents.device and each.shape == currents.shape[1:]
        for each in state
    )
