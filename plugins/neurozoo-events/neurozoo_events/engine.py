"""The engine ``events``: an input of 0 costs nothing, one that is not 0 costs a row of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from neurozoo_numba.kinds import KERNEL_KINDS
from neurozoo_numba.neuron import NumbaNeuron
from neurozoo_numba.operator import form_of, shared_arguments
from torch import Tensor

from neurozoo.backends.fused.memory import Call
from neurozoo.backends.fused.pages import empty
from neurozoo.core.engine import Engine, dense_stepper
from neurozoo.core.kinds import KINDS
from neurozoo.core.layer import SpikingLayer, Synapse, TorchNeuron, by_sample
from neurozoo.core.layer_run import LayerRun, Numbers, Ran, Stepper
from neurozoo.core.neuron import State, check_threshold
from neurozoo.errors import SpikingError
from neurozoo.nn.affine import affine_of, convolution_of, delays_of
from neurozoo.nn.steps import merged
from neurozoo_events.arrays import (
    NOTHING,
    by_channel,
    by_delay,
    by_input,
    by_place,
    check_dtype,
    check_state,
    flat,
    levels,
    strided,
    version_of,
    with_four_axes,
)
from neurozoo_events.convolution import Frames, Kernel, Neurons, convolution_loop, memory
from neurozoo_events.kernel import delay_loop, layer_loop
from neurozoo_events.steppers import CurrentStepper, DelayStepper, EventStepper

__all__ = ["EventEngine", "EventLayer"]

_FIRES_AT_TIES = 1


class EventEngine(Engine):
    """Runs layers of neurons on one thread of the CPU, in float32: a step costs a row of weights for each event.

    Synapses that are a matrix, a convolution or delays, with or without batch norm, and recurrent weights run by
    events, whatever the kind of neuron. Another synapse, such as an encoder, runs as it is, and its neurons here.
    """

    def layer(self, layer: SpikingLayer) -> LayerRun:
        return EventLayer(layer)


class EventLayer(LayerRun):
    """A layer whose weights lie by input.

    Args:
        layer: In evaluation mode.

    Raises:
        SpikingError: It is not on the CPU in float32, or its neurons are of a kind that is not compiled.
    """

    def __init__(self, layer: SpikingLayer) -> None:
        spec = layer.spec
        if spec.kind not in KERNEL_KINDS or type(spec) is not KINDS[spec.kind]:
            raise SpikingError(
                f"{type(spec).__name__} neurons have no compiled step; there are {', '.join(KERNEL_KINDS)}"
            )
        for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
            if tensor.device.type != "cpu" or (tensor.is_floating_point() and tensor.dtype != torch.float32):
                raise SpikingError(f"{name} is {tensor.dtype} on {tensor.device}; float32 on the CPU runs by events")
        self._layer, self._affine, self._convolution = layer, affine_of(layer.synapse), convolution_of(layer.synapse)
        self._delays = delays_of(layer.synapse)
        self._back = NOTHING
        if layer.recurrent is not None:
            self._back = by_input(layer.returning())
        self._weights = self._gain = self._shift = NOTHING
        if self._affine is not None:
            self._weights = by_input(self._affine.weight)
            self._gain, self._shift = flat(self._affine.gain), flat(self._affine.shift)
        if self._convolution is not None:
            # By input channel and place of the kernel, its columns reversed: the weights of an input to neighbours.
            self._weights = flat(self._convolution.weight.flip(3).permute(1, 2, 3, 0).contiguous())
            self._gain, self._shift = flat(self._convolution.gain), flat(self._convolution.shift)
        self._neuron = NumbaNeuron(spec)
        self._params = {name: value.detach().clone() for name, value in layer.params().items()}
        self._flags = 0 if getattr(spec, "tie", "fires") == "silent" else _FIRES_AT_TIES
        modules = list(layer.modules())
        tables = [table for each in modules for table in (each._parameters, each._buffers, each._modules)]
        self._held = tuple((table, name) for table in tables for name in table)
        self._versions = self._present()
        self._rest: Tensor | None = None
        self._constants: dict[int, tuple[Any, ...]] = {}
        if self._delays is not None:
            self._gain, self._shift = flat(self._delays.gain), flat(self._delays.shift)
            self._synapses = by_delay(self._delays.kernels)
        known = (self._affine, self._convolution, self._delays)
        self.sparse = layer.synapse is None or any(each is not None for each in known)
        # Neurons of a convolution are in the order of its currents, channels next to each other.
        self._by_place = self._convolution is not None and layer.recurrent is None
        self._planned: tuple[Any, Any] = (None, None)
        self.words = self._said()

    def check_weights(self) -> None:
        """Check that the layer's weights are those that were prepared.

        Raises:
            SpikingError: They were changed since.
        """
        if self._present() != self._versions:
            raise SpikingError(
                "the weights of a layer were changed after the engine had prepared it; load the model again, or give "
                "it to neurozoo.models.engines.use_engine again"
            )

    def _present(self) -> tuple[object, ...]:
        """Return what changes with the layer's tensors: their memory, and torch's count of changes in place.

        Modules are listed once: to walk them takes longer than some steps.
        """
        return tuple(version_of(table.get(name)) for table, name in self._held)

    def _said(self) -> str:
        back = self._layer.recurrent
        returning = "" if back is None else ", and one for each neuron that fired"
        if self._affine is not None:
            neurons, inputs = self._affine.weight.shape
            return f"of {inputs} inputs, a row of {neurons} weights for each that is not 0{returning}"
        if self._convolution is not None:
            many, _, high, wide = self._convolution.weight.shape
            pooled = "" if self._convolution.pool is None else "; the pool of its currents densely"
            reach = f"at up to {high * wide} places for each input that is not 0"
            return f"a row of {many} weights {reach}{returning}{pooled}"
        if self._delays is not None:
            (many, inputs, _), count = self._delays.kernels.shape, f"{len(self._synapses.weights):,}"
            return f"of {inputs} inputs, {count} synapses to {many} neurons, each with its delay{returning}"
        if self._layer.synapse is None:
            return f"currents as they come{returning}"
        name = type(getattr(self._layer.synapse, "weight", None)).__name__
        kind = type(self._layer.synapse).__name__
        whole = f"{kind} of {name}" if name not in ("Parameter", "NoneType") else kind
        return f"the synapse ({whole}) densely, the neurons compiled{returning}"

    @torch.no_grad()
    def run(
        self,
        x: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        *,
        valid: Tensor | None = None,
        driven: bool = False,
    ) -> Ran:
        self.check_weights()
        if self._by_place and (made := self._convolved(x, state, threshold, driven)) is not None:
            return made
        if self._affine is None and self._layer.recurrent is None:
            return self._scan(self._currents(x, valid), state, threshold, driven)
        affine, inputs = self._affine, 0
        if affine is not None:
            inputs = affine.weight.shape[1]
            if x.dim() < 3 or x.shape[-1] != inputs:
                raise SpikingError(f"a layer of {inputs} inputs takes [T, B, ..., {inputs}], and got {list(x.shape)}")
            form = (*x.shape[:-1], len(affine.gain))
        else:
            x = self._currents(x, valid)
            form = tuple(x.shape)
        check_dtype(x)
        # A matrix is applied along the last axis, and those between are samples to it.
        steps, batch, neurons = form[0], math.prod(form[1:-1]), form[-1]
        outputs = torch.empty(form)
        whole = torch.empty_like(outputs) if driven else None
        level, by_step, by_row = levels(by_sample(threshold, outputs), outputs, batch, neurons)
        states, fired = self._start(state, form[1:])
        memory, x_step, x_sample = strided(x.reshape(steps, batch, inputs or neurons))
        returns, p, many, p_inner, p_period, own, step = self._fixed(neurons)
        layer_loop()(
            memory, x_step, x_sample, steps, batch, inputs, neurons, self._weights, self._gain, self._shift,
            self._back, returns, level, by_step, by_row, self._layer.gain, p, many, p_inner, p_period, own,
            len(states), flat(states), flat(fired), self._flags, step, flat(outputs),
            NOTHING if whole is None else flat(whole),
        )  # fmt: skip
        after = states.unbind(0)
        return Ran(outputs, (*after, fired) if returns else after, whole)

    def _scan(self, currents: Tensor, state: State | None, threshold: Tensor | float, driven: bool) -> Ran:
        """Run neurons without recurrent weights on their currents, all steps of some neurons before the next ones."""
        check_dtype(currents)
        level = by_sample(threshold, currents)
        check_threshold(level, currents)
        check_state(state, self._layer.spec.states, currents.shape[1:])
        x, params = currents, self._params
        if self._by_place:
            x = by_place(currents)
            level, state, params = self._placed(level, state)
        if self._layer.gain:
            outputs, after = self._neuron.scan(x / level, state, 1.0, params or None)
        else:
            outputs, after = self._neuron.scan(x, state, level, params or None)
        if self._by_place:
            outputs, after = by_channel(outputs), tuple(by_channel(each[None])[0] for each in after)
        return Ran(outputs, after, currents if driven else None)

    def _placed(
        self, level: Tensor | float, state: State | None
    ) -> tuple[Tensor | float, State | None, dict[str, Tensor]]:
        """Return thresholds, state and parameters of a convolution's neurons in the order of their memory."""
        return (
            by_place(level) if isinstance(level, Tensor) and level.dim() else level,
            None if state is None else tuple(by_place(each[None])[0] for each in state),
            {
                name: by_place(with_four_axes(each)[None])[0, 0] if each.dim() else each
                for name, each in self._params.items()
            },
        )

    def stepper(self, given: Sequence[int], threshold: Tensor | float = 1.0, state: State | None = None) -> Stepper:
        synapse = self._layer.synapse
        if self._delays is not None:
            return DelayStepper(self, given, threshold, state, self._delays, self._synapses)
        if self._convolution is not None or len(given) != 1:
            return super().stepper(given, threshold, state)
        if self._affine is not None or synapse is None:
            return EventStepper(self, given, threshold, state)
        if isinstance(synapse, Synapse) and synapse.over_time:
            return dense_stepper(self._layer, given, threshold, state)
        return CurrentStepper(self, given, threshold, state)

    @torch.no_grad()
    def currents_of(self, x: Tensor) -> Tensor:
        """Return the currents of a synapse that runs as it is."""
        return self._layer.currents(x)

    def neurons_of(self, size: int) -> int:
        """Return the number of neurons for inputs ``[T, B, size]``."""
        if len(self._gain) or self._layer.synapse is None:
            return len(self._gain) or size
        return self.currents_of(torch.zeros(1, 1, size)).shape[2]

    @property
    def state_tensors(self) -> int:
        """Number of tensors of the state, as :meth:`run` returns it."""
        return len(self._layer.spec.states) + self.returns

    def arguments(self, threshold: Tensor | float, states: Tensor, fired: Tensor, outputs: Tensor) -> tuple[Any, ...]:
        """Return what the kernel takes for single steps of one sample, but for the input at its beginning."""
        neurons, inputs = outputs.shape[-1], 0 if self._affine is None else self._affine.weight.shape[1]
        level, _, _ = levels(threshold, outputs, 1, neurons)
        returns, p, many, p_inner, p_period, own, step = self._fixed(neurons)
        return (
            0, 0, 1, 1, inputs, neurons, self._weights, self._gain, self._shift, self._back, returns, level, 0, 0,
            self._layer.gain, p, many, p_inner, p_period, own, len(states), flat(states), flat(fired), self._flags,
            step, flat(outputs), NOTHING,
        )  # fmt: skip

    def start(self, state: State | None, neurons: int) -> tuple[Tensor, Tensor]:
        """Return copies of the states ``[S, 1, N]`` of one sample and of the outputs before the first step."""
        self.check_weights()
        return self._start(state, (1, neurons))

    @property
    def returns(self) -> bool:
        """Whether there are recurrent weights."""
        return self._layer.recurrent is not None

    def _currents(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return the currents of a synapse that is no matrix, ``[T, B, ...]``; those of a held input are made once."""
        if self._delays is not None:
            return self._delayed(x if valid is None else x.masked_fill(~valid[..., None], 0.0))
        held = len(x) > 1 and x.stride(0) == 0 and not getattr(self._layer.synapse, "over_time", False)
        one = x[:1] if held else x
        made = self._layer.currents(one, valid) if self._convolution is None else self._currents_of_frames(one)
        return made.expand(len(x), *made.shape[1:]) if held else made

    def _currents_of_frames(self, x: Tensor) -> Tensor:
        """Return the currents ``[T, B, C', H', W']`` of frames by events; channels are next to each other in memory."""
        made = self._convolution
        assert made is not None
        out = empty(x, self._form(x))
        if out.numel():
            none = Neurons(NOTHING, NOTHING, NOTHING, False, 1, 1, False, NOTHING, 1, 1, False, 0, 0)
            self._over_frames(x, (out.shape[2], out.shape[3]), none, NOTHING, NOTHING, flat(out))
        currents = by_channel(out)
        return currents if made.pool is None else merged(made.pool, currents)

    def _convolved(self, x: Tensor, state: State | None, threshold: Tensor | float, driven: bool) -> Ran | None:
        """Run a convolution and its neurons row by row; None where the neurons take all their currents at once."""
        if self._convolution is None or self._convolution.pool is not None:
            return None
        key = (x.shape, x.dtype, x.device, threshold) if isinstance(threshold, float) else None
        planned = self._planned
        if key is None or key != planned[0]:
            self._planned = planned = key, self._plan(x, threshold)
        neurons, form = planned[1]
        if form is None:
            return None
        if state is not None:
            check_state(state, self._layer.spec.states, (form[1], form[4], *form[2:4]))
            if any(each.dtype != torch.float32 or each.device.type != "cpu" for each in state):
                return None
            start = flat(torch.stack([by_place(each[None])[0] for each in state])) if state else NOTHING
            neurons = neurons._replace(v0=start)
        out = empty(x, form)
        after, whole = out.new_empty(len(neurons.rest), *form[1:]), torch.empty_like(out) if driven else None
        self._over_frames(x, form[2:4], neurons, flat(out), flat(after), NOTHING if whole is None else flat(whole))
        return Ran(by_channel(out), by_channel(after).unbind(0), None if whole is None else by_channel(whole))

    def _plan(self, x: Tensor, threshold: Tensor | float) -> tuple[Neurons | None, tuple[int, ...] | None]:
        """Return neurons at rest and their shape ``[T, B, H', W', C']``; None where another has to run them."""
        form = self._form(x)
        one = torch.empty(1, *form[1:])
        like = one.expand(form)
        level = by_sample(threshold, by_channel(like))
        check_threshold(level, by_channel(like))
        level, _, params = self._placed(level, None)
        found = self._neuron.arranged(like, None, level, params or None)
        if found is None:
            return None, None
        start, level, arranged, numbers = found
        made = Call(one, start, level, arranged, numbers, self._layer.spec)
        given = shared_arguments(made, form_of(made), one[:0])
        return Neurons._make((*given[4:10], self._layer.gain, *given[10:16])), form

    def _form(self, x: Tensor) -> tuple[int, ...]:
        """Return the shape of a convolution's neurons, ``[T, B, H', W', C']``."""
        made = self._convolution
        assert made is not None
        channels = made.weight.shape[1]
        if x.dim() != 5 or x.shape[2] != channels or x.dtype != torch.float32 or x.device.type != "cpu":
            raise SpikingError(
                f"the layer takes float32 [T, B, {channels}, H, W] on the CPU, and got {x.dtype} {list(x.shape)} on "
                f"{x.device}"
            )
        size = made.shape(*x.shape[3:])
        if min(size) < 1:
            raise SpikingError(
                f"frames of {x.shape[3]} x {x.shape[4]} are smaller than a kernel of {list(made.weight.shape[2:])}"
            )
        return (*x.shape[:2], *size, len(made.gain))

    def _over_frames(
        self, x: Tensor, size: tuple[int, ...], neurons: Neurons, out: Numbers, after: Numbers, driven: Numbers
    ) -> None:
        """Run the compiled loop over frames; the last three are the memory of its results."""
        made = self._convolution
        assert made is not None
        frames = Frames._make((*x.stride(), *x.shape, len(x) > 1 and x.stride(0) == 0))
        kernel_h, kernel_w = made.weight.shape[2:]
        kernel = Kernel(len(self._gain), (kernel_h, kernel_w), made.stride, made.padding, made.dilation)
        span = sum((length - 1) * by for length, by in zip(x.shape, x.stride(), strict=True)) + 1
        convolution_loop()(
            x.as_strided((span,), (1,)).detach().numpy(), frames, self._weights, self._gain, self._shift, size, kernel,
            neurons, out, after, driven, memory(frames, size[1], kernel),
        )  # fmt: skip

    def _delayed(self, x: Tensor) -> Tensor:
        """Return the currents ``[T', B, N]`` of inputs ``[T, B, D]`` with delays by events."""
        made = self._delays
        assert made is not None
        neurons, inputs, _ = made.kernels.shape
        if x.dim() != 3 or x.shape[2] != inputs:
            raise SpikingError(f"a layer of {inputs} inputs takes [T, B, {inputs}], and got {list(x.shape)}")
        check_dtype(x)
        out = torch.empty(len(x) + made.late, x.shape[1], neurons)
        memory, by_step, by_row = strided(x)
        delay_loop()(
            memory, by_step, by_row, len(x), x.shape[1], inputs, made.late, *self._synapses, self._gain, self._shift,
            flat(out),
        )  # fmt: skip
        return out

    def _start(self, state: State | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return copies of the states ``[S, B, ...]`` and of the outputs before the first step, ``[B, ...]``."""
        names, returns = self._layer.spec.states, self._layer.recurrent is not None
        if state is None:
            if self._rest is None or self._rest.shape[1:] != shape:
                like = torch.empty(shape)
                rest = TorchNeuron(self._layer.spec).initial_state(like, self._params or None)
                self._rest = torch.stack([each.float() for each in rest]) if names else like.new_empty(0, *shape)
            return self._rest.clone(), torch.zeros(shape)
        check_state(state, (*names, *(("outputs",) if returns else ())), shape)
        given = state[: len(names)]
        before = state[-1].float().clone() if returns else torch.empty(shape)
        return torch.stack([each.float() for each in given]) if names else before.new_empty(0, *shape), before

    def _fixed(self, neurons: int) -> tuple[Any, ...]:
        """Return what the kernel takes of recurrence and neurons, made once for a number of neurons."""
        if neurons not in self._constants:
            like = torch.empty(1).expand(1, 1, neurons)
            found = self._neuron.arranged(like, None, 1.0, self._params or None)
            if found is None:
                raise SpikingError(f"parameters of {self._layer.spec.kind} neurons do not fit {neurons} neurons")
            _, level, arranged, numbers = found
            made = Call(like, None, level, arranged, numbers, self._layer.spec)
            form = form_of(made)
            *_, p, p_inner, p_period, own, _, step, _ = shared_arguments(made, form, like[:0])
            many = KERNEL_KINDS[form.kind].parameters
            self._constants[neurons] = (self._layer.recurrent is not None, p, many, p_inner, p_period, own, step)
        return self._constants[neurons]
