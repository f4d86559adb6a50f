"""What a model must do, whatever it reads and answers."""

from __future__ import annotations

import sys
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing, MakeNeuron, TorchNeuron
from neurozoo.core.model import Model, Standardise, trained_modules
from neurozoo.core.multimodal import Tokens
from neurozoo.core.neuron import Neuron, NeuronSpec
from neurozoo.core.recording import frozen_statistics, neuron_layers, over_neurons, recorded, spiking_layers, unrecorded
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.core.task import Task
from neurozoo.errors import DataError, NeurozooError, PluginError, SpikingError
from neurozoo.recipe.params import REQUIRED, Param, component_params
from neurozoo.registry.hookspecs import KINDS
from neurozoo.registry.registry import default_registry, slot_kind
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression
from neurozoo.testing.findings import ConformanceError, NotRun, require
from neurozoo.testing.kits import Kit, cases_of
from neurozoo.testing.parts import learning, padding, parameters, portability
from neurozoo.testing.parts.inputs import SAMPLES, Content, Masks, changed, longer, made_up_mask, of_samples, with_dtype
from neurozoo.testing.parts.subject import PartSubject, Rows, Setting, each_setting, through_a_file, without_dropout
from neurozoo.training.initialisation import initialise_fluctuation_driven

TOKENS = 5
"""Token numbers are 0 to 4."""
PREFERRED = ("lif", "disagreement", "rate-gain", "interactive", "label-decoder")
"""Which parts fill slots that have to be filled: parts of the core that spike, and look at one sample at a time."""
WITHOUT_VALUES = ("constant", *PREFERRED)
"""In their stead where tensors have no values."""


def _problem(task: Any, outputs: int, per_step: bool = False, scaled: bool = False, **signals: SignalShape) -> Problem:
    made = task(tuple(f"output {k}" for k in range(outputs)), per_step)
    return Problem(signals, made, tuple(signals) if scaled else ())


_AUDIO, _TRAINS, _FRAMES = SignalShape((4,), 6), SignalShape((12,), 7), SignalShape((2, 8, 8), 5)
FORMS: tuple[Problem, ...] = (
    _problem(Multilabel, 3, audio=_AUDIO, vision=SignalShape((3,), 4), text=SignalShape((5,), 7)),
    _problem(Multilabel, 1, audio=_AUDIO, vision=SignalShape((3,), 4), scaled=True),
    _problem(Multiclass, 3, spikes=_TRAINS),
    _problem(Multiclass, 3, spikes=_TRAINS, per_step=True),
    _problem(Regression, 2, series=_AUDIO, scaled=True),
    _problem(Regression, 1, series=_AUDIO, per_step=True),
    _problem(Multiclass, 4, frames=_FRAMES),
    _problem(Multiclass, 2, frames=_FRAMES, per_step=True),
    _problem(Multiclass, 3, picture=SignalShape((1, 8, 8), 1, ragged=False), scaled=True),
    _problem(Multilabel, 2, frames=_FRAMES, audio=_AUDIO),
    _problem(Multiclass, 3, tokens=SignalShape((), 6, "int64")),
    _problem(Multiclass, TOKENS, tokens=SignalShape((), 6, "int64"), per_step=True),
)
"""What a model is tried on; it is tested on those that it does not refuse by a DataError."""


class OtherNeuron(TorchNeuron):
    """The oracle by another name: a second backend, for models that look at which one they got."""


class ModelSubject(PartSubject):
    """A model under test."""

    forms = FORMS

    @property
    def model(self) -> tuple[Any, Mapping[str, Any]]:
        """The model's class, and its ``params``."""
        return self.candidate.target, self.candidate.params

    def part(self, model: Any, slot: str, preferred: tuple[str, ...]) -> Any:
        """Makes the part of a slot: the preferred one, else the first that fits and needs no parameter."""
        kind, base = slot_kind(model.slots[slot])
        if slot in model.optional:
            return lambda *args: None
        registry = default_registry()
        fitting = registry.fitting(kind, base)
        for name in (*(name for name in preferred if name in fitting), *fitting):
            target = registry.resolve(kind, name, base)
            if all(param.default is not REQUIRED for param in component_params(target).values()):
                return target
        raise NotRun(f"there is no {kind} for its slot {slot} that needs no parameters")

    def build(
        self, form: Problem, *, seed: int = 0, values: bool = True, neuron: MakeNeuron = TorchNeuron, **other: Any
    ) -> Model:
        target, params = self.model
        params = {**params, **other}
        filled = {name: params.get(name, param.default) for name, param in component_params(target).items()}
        for name, wrong in target.check_params(form, **filled):
            raise DataError(f"{name}: {wrong}")

        def parts(slot: str, *args: Any) -> Any:
            return self.part(target, slot, PREFERRED if values else WITHOUT_VALUES)(*args)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: Model = target(form, parts, neuron, **params)
        return model

    def describe(self, form: Problem) -> str:
        signals = ", ".join(f"{name} {shape}" for name, shape in form.signals.items())
        step = " per step" if form.task.per_step else ""
        return f"{form.task.name}{step}, {form.outputs} outputs, of {signals}"

    def wake(self, part: nn.Module, form: Problem, *, seed: int = 0, values: bool = True) -> nn.Module:
        """As for every part; then its statistics run on two batches, and its neurons are made to fire."""
        super().wake(part, form, seed=seed)
        for scaling in (each for each in part.modules() if isinstance(each, Standardise)):
            scaling.fit(torch.full_like(scaling.mean, 0.5), torch.full_like(scaling.std, 2.0))
        if values:
            batches = [self.made_up(form, seed=100 + i) for i in range(2)]
            target, target_valid = batches[0].target, batches[0].target_valid
            assert target is not None
            for _, module in trained_modules(part):
                module.prepare(target, target_valid)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                for batch in batches:
                    part.train()(batch)
            with recorded(part.eval()) as firings, torch.no_grad():
                part(batches[0])
            _check_valid(firings, self.describe(form))
            initialise_fluctuation_driven(part, batches[0], 0.2)  # type: ignore[arg-type]
        return part

    def made_up(self, form: Problem, masks: Masks = "mixed", seed: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        signals: dict[str, Signal] = {}
        for place, (name, shape) in enumerate(form.signals.items()):
            size = (SAMPLES, shape.length, *shape.shape)
            values = torch.randn(size, generator=generator, dtype=torch.float64)
            if shape.dtype == "int64":
                values = torch.randint(0, TOKENS, size, generator=generator)
            valid = None
            if shape.ragged and masks != "none":
                valid = made_up_mask(shape.length, place, seed + place)
                if masks == "empty" or (masks == "absent" and place == 0):
                    valid[1] = False
            signals[name] = Signal(values, valid)
        first = next(iter(signals.values()))
        lead = first.values.shape[: 2 if form.task.per_step else 1]
        target = form.task.made_up(*lead, generator=generator)
        return Batch(signals, target, first.mask if form.task.per_step else None)

    def terms(self, setting: Setting, content: Content) -> dict[str, Tensor]:
        assert isinstance(content, Batch)
        assert content.target is not None
        target = content.target
        self.run(setting.part, content)
        return {name: term for _, each in trained_modules(setting.part) for name, term in each.losses(target).items()}

    def rows(self, output: Any, content: Content) -> Rows:
        if not isinstance(output, Tensor):
            raise ConformanceError(f"it gives {type(output).__name__}, not a tensor of outputs")
        assert isinstance(content, Batch)
        mask, shape = content.target_valid, list(output.shape)
        if mask is None:
            require(output.dim() == 2, f"outputs are {shape}, not [B, K]")
            return Rows(output)
        wanted = f"[{', '.join(map(str, mask.shape))}, K]"
        require(output.dim() == 3 and output.shape[:2] == mask.shape, f"outputs are {shape}, not {wanted}")
        return Rows(output[mask], mask.sum(1))


def gives_outputs(subject: ModelSubject) -> None:
    """Outputs ``[B, K]``, per step ``[B, L, K]``, finite; its slots can be filled, its problem is the one given."""
    slots = getattr(subject.model[0], "slots", None)
    if not isinstance(slots, Mapping) or not {slot_kind(slot)[0] for slot in slots.values()} <= set(KINDS):
        raise ConformanceError(
            f"its `slots` are {slots!r}; give a mapping of slot to kind of component, or to the base class of its parts"
        )
    _gives_outputs(subject)


@each_setting
def _gives_outputs(subject: ModelSubject, setting: Setting) -> None:
    values = subject.run(setting.part, subject.made_up(setting.form)).values
    outputs = setting.form.outputs
    require(values.shape[-1] == outputs, f"{values.shape[-1]} outputs, not {outputs}")
    require(torch.isfinite(values).all(), "an output is not finite")
    own = getattr(setting.part, "problem", None)
    require(own == setting.form, "its `problem` is not the one it was built for")
    subject.compared += values.numel()


def firing_is_recorded(subject: ModelSubject) -> None:
    """Each layer of neurons runs, fires 0 or 1 somewhere, and its `valid` leaves padding out; nothing else fires."""
    silent: dict[str, bool] = {}
    for setting in subject.settings():
        content, layers = subject.made_up(setting.form), neuron_layers(setting.part)
        counts = []
        for given in (content, longer(content, 1, 2)):
            # From the same buffers: published parts carry some from batch to batch, in evaluation too.
            part = setting.part
            with frozen_statistics(part), recorded(part) as firings, unrecorded(part) as unseen, torch.no_grad():
                part(given)
            hidden = ", ".join(f"{name or 'the model'} ({kind})" for name, kind in unseen.items())
            require(not hidden, f"{hidden} fires outside of a SpikingLayer, where nothing records it: {setting.where}")
            counts.append({name: over_neurons(firing.spikes, firing.valid) for name, firing in firings.items()})
        idle = [name for name in layers if name not in firings]
        require(not idle, f"{', '.join(idle)} does not run: {setting.where}")
        for name, firing in firings.items():
            spikes, where = firing.spikes, f"{name}, {setting.where}"
            if layers[name].spec.spiking:
                require(((spikes == 0) | (spikes == 1)).all(), f"what fires is neither 0 nor 1: {where}")
                silent[name] = silent.get(name, True) and not bool(spikes.any())
            (few, rows), (more, more_rows) = (each[name] for each in counts)
            require(
                few.shape == more.shape and int(rows) == int(more_rows) and torch.allclose(few, more),
                f"more padding changes what is counted of its outputs; give the layer `valid`: {where}",
            )
            subject.compared += few.numel()
    if not silent:
        raise NotRun("it has no spiking layer")
    dead = [name for name, never in silent.items() if never]
    require(not dead, f"{', '.join(dead)} never fires, though its inputs were driven")


def _check_valid(firings: Mapping[str, Firing], where: str) -> None:
    for name, firing in firings.items():
        valid, outputs = firing.valid, firing.spikes.shape
        if valid is not None:
            shape = outputs[: valid.dim()]
            require(
                valid.dtype == torch.bool and valid.shape in (shape, (1, *shape[1:])),
                f"valid of {name} is {valid.dtype} {list(valid.shape)}, and its outputs are {list(outputs)}; give "
                f"bool [T or 1, B, ...] over their leading axes: {where}",
            )


def neurons_come_from_the_backend(subject: ModelSubject) -> None:
    """Every neuron that fires is made by the factory that the model got."""
    for form, model in subject.built(FORMS, partial(subject.build, neuron=OtherNeuron), subject.describe):
        own = [name for name, layer in spiking_layers(model).items() if type(layer.neuron) is not OtherNeuron]
        where = subject.describe(form)
        require(not own, f"{', '.join(own)} has a neuron of its own; make it by `neuron`: {where}")
        subject.compared += 1


def any_backend_does(subject: ModelSubject) -> None:
    """On other backends it has the same parameters and gives the same; not run where nothing fires."""
    spiking = False
    backends = list(_other_backends())
    for setting in subject.settings():
        spiking = spiking or bool(spiking_layers(setting.part))
        content = subject.made_up(setting.form)
        want = subject.run(setting.part, content)
        chosen, backends = backends, backends[:1]  # those of libraries once: they have a kit of their own
        for name, backend in chosen:
            try:
                other = subject.build(setting.form, neuron=backend)
            except SpikingError as refusal:
                subject.refuse(f"backend {name}: {refusal}")
                continue
            differ = sorted(setting.part.state_dict().keys() ^ other.state_dict().keys())
            require(not differ, f"on {name} it has other parameters: {', '.join(differ)}: {setting.where}")
            through_a_file(setting.part, subject.wake(other, setting.form, values=False))
            got = subject.run(other, content)
            subject.hold_together(got, want, f"on the backend {name}, {setting.where}")
    if not spiking:
        raise NotRun("it has no spiking layer")


@each_setting
def targets_are_not_seen(subject: ModelSubject, setting: Setting) -> None:
    """In evaluation the target changes nothing, whether it is there, missing or another one."""
    content = subject.made_up(setting.form)
    want = subject.run(setting.part, content)
    for target in (None, None if content.target is None else content.target.flip(0)):
        got = subject.run(setting.part, replace(content, target=target))
        subject.hold_together(got, want, "with another target")


@each_setting
def whole_numbers_are_values(subject: ModelSubject, setting: Setting) -> None:
    """uint8 and bool, as frames and spikes are stored, mean what the same numbers mean as floats."""
    part, content = setting.part.float(), subject.made_up(setting.form)

    def as_(sequence: Tokens, dtype: torch.dtype) -> Tokens:
        x = sequence.x
        return sequence.with_x((x > 0).to(dtype) if x.is_floating_point() else x)

    want = subject.run(part, changed(content, partial(as_, dtype=torch.float32)))
    for dtype in (torch.uint8, torch.bool):
        got = subject.run(part, changed(content, partial(as_, dtype=dtype)))
        subject.hold_together(got, want, f"{dtype} values")


def learns(subject: ModelSubject) -> None:
    """On four samples Adam leaves at most a quarter of the loss, with the model's own terms and constraints.

    Once for each task, in 150 steps at one of three rates; per step, each sample has one input and one target at all
    of its steps, which a model without memory can learn too.
    """
    seen: set[tuple[str, bool]] = set()
    for setting in subject.settings():
        task, content = setting.form.task, subject.made_up(setting.form)
        if (task.name, task.per_step) in seen:
            continue
        seen.add((task.name, task.per_step))
        assert content.target is not None
        if task.per_step:
            content = changed(content, lambda x: x.with_x(x.x[:, :1].expand_as(x.x).clone()))  # type: ignore[assignment]
            assert content.target is not None
            content = replace(content, target=content.target[:, :1].expand_as(content.target).clone())
        task.prepare(task.counted(content.target, content.target, content.target_valid)[1])
        left = 1.0
        for rate in (0.02, 0.1, 0.005):
            if left > LEFT:
                left = min(left, _share_of_loss_left(without_dropout(setting.part), content, task, rate))
        require(left <= LEFT, f"{left:.0%} of the loss is left at best: {setting.where}")
        subject.compared += 1


LEFT, STEPS = 0.25, 150


def _share_of_loss_left(part: nn.Module, content: Batch, task: Task, rate: float) -> float:
    """The smallest loss as a share of the first; ends where that is small enough."""
    assert content.target is not None
    optimiser = torch.optim.Adam(part.parameters(), lr=rate)
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(STEPS):
            optimiser.zero_grad()
            loss = task.loss(part(content), content.target, content.target_valid)
            losses.append(float(loss.detach()))
            if losses[-1] <= LEFT * losses[0]:
                break
            for name, module in trained_modules(part):
                for term, value in module.losses(content.target).items():
                    require(not value.dim(), f"the loss {term} of {name or 'the model'} is not 0-d")
                    loss = loss + value
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                for _, module in trained_modules(part):
                    module.after_step()
    return min(losses) / losses[0]


def refuses_what_it_cannot_build(subject: ModelSubject) -> None:
    """A parameter within its bounds works, or is refused by check_params or a DataError that says so."""
    target, given = subject.model
    form = next(subject.built(FORMS, subject.build, subject.describe))[0]
    content = of_samples(changed(subject.made_up(form), partial(with_dtype, dtype=torch.float32)), [0, 1])
    for name, param in component_params(target).items():
        for value in _tried(param, given.get(name, param.default)):
            what = f"with {name} = {value!r}, {subject.describe(form)}"
            try:
                model = subject.build(form, **{name: value})
            except DataError:
                continue
            except Exception as error:
                raise ConformanceError(
                    f"{type(error).__name__} ({error}) {what}; refuse it in check_params, or by a DataError"
                ) from error
            try:
                values = subject.run(model, content).values
            except DataError:  # of the samples, such as token numbers beyond a vocabulary
                continue
            except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, NeurozooError) as error:
                raise ConformanceError(f"it cannot be run ({type(error).__name__}: {error}) {what}") from error
            require(torch.isfinite(values).all(), f"an output is not finite {what}")
            subject.compared += 1


def _tried(param: Param, now: Any) -> Iterator[Any]:
    """Values that a parameter's annotation allows, small ones, other than what it is."""
    several = [list(now[:1]), [*now, *now], []] if isinstance(now, tuple | list) else []
    seen: list[Any] = []
    for value in (*_literals(param.annotation), True, False, None, 0, 1, 2, 3, 5, 0.0, 0.5, 0.9, 2.0, *several):
        if value != now and value not in seen and not param.problem(value):
            seen.append(value)
            yield tuple(value) if isinstance(value, list) else value


def _literals(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is Literal:
        yield from get_args(annotation)
        return
    for each in get_args(annotation):
        yield from _literals(each)


def _other_backends() -> Iterator[tuple[str, Callable[[NeuronSpec], Neuron]]]:
    """Another than the oracle that is always there, then all that are installed and do not say they differ."""
    yield OtherNeuron.__name__, OtherNeuron
    registry = default_registry()
    for name, component in registry.components("neuron").items():
        if component.native or name == "torch":
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the library, at import
                neuron = registry.resolve("neuron", name)
        except PluginError:  # not the fault of what is under test
            continue
        yield name, neuron


MODEL = Kit(
    "model",
    ModelSubject,
    cases_of(sys.modules[__name__], padding, learning, portability, parameters),
    tiny=("gives_outputs", "firing_is_recorded"),
)
