"""What a model must do, put together from parts of the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import Activation, Batch, Inputs, Layout, LIFSpec, Neuron, ZooModel
from neurozoo.core.layer import DynamicThresholdLIF, TorchNeuron, record_spikes, spiking_layers
from neurozoo.nn.standardise import Standardise
from neurozoo.recipe.params import REQUIRED, component_params
from neurozoo.registry.hookspecs import Kind
from neurozoo.registry.registry import default_registry, slot_kind
from neurozoo.testing.findings import ConformanceError, NotRun
from neurozoo.testing.parts.inputs import LENGTHS, SAMPLES, Content, Masks, made_up_mask, made_up_sequence
from neurozoo.testing.parts.learning import LEARNING_CASES
from neurozoo.testing.parts.padding import PADDING_CASES, no_mask_is_a_full_mask
from neurozoo.testing.parts.portability import HANDLING_CASES
from neurozoo.testing.parts.subject import LogitsSubject
from neurozoo.testing.report import Kit
from neurozoo.training.initialisation import initialise_fluctuation_driven

__all__ = ["MODEL", "ModelSubject"]

PREFERRED: Mapping[str, str] = {
    "activation": "lif",
    "threshold": "disagreement",
    "scaling": "rate-gain",
    "fusion": "interactive",
    "label-head": "label-decoder",
}
"""What fills a slot of each kind: parts of the core that spike, and look at one sample at a time."""
WITHOUT_VALUES: Mapping[str, str] = {"threshold": "constant"}
"""In their stead where tensors have no values."""


class ModelSubject(LogitsSubject):
    """A model under test."""

    forms = (
        Inputs({"text": 5, "audio": 4, "vision": 3}, ("audio", "vision"), "text", 3),
        Inputs({"audio": 4}, ("audio",), None, 1),
        Inputs({"audio": 4, "vision": 3, "depth": 2}, ("audio", "vision", "depth"), None, 2),
    )

    def build(
        self, form: Inputs, *, seed: int = 0, neuron: Callable[[LIFSpec], Neuron] = TorchNeuron, values: bool = True
    ) -> ZooModel:
        target = self.candidate.target
        chosen = PREFERRED if values else {**PREFERRED, **WITHOUT_VALUES}

        def parts(slot: str, layout: Layout) -> Any:
            kind, base = slot_kind(target.slots[slot])
            if base is not None and slot in getattr(target, "optional", ()):
                return None
            return _part(kind, chosen, base)(layout)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # Scaled or not: a model must work both ways.
            model: ZooModel = target(form, parts, neuron, form.context is None, **self.candidate.params)
        return model

    def wake(self, part: nn.Module, form: Inputs, *, seed: int = 0, values: bool = True) -> nn.Module:
        """As for every part; then its statistics run on two batches, and its neurons are made to fire."""
        super().wake(part, form, seed=seed)
        for scaling in (each for each in part.modules() if isinstance(each, Standardise)):
            scaling.fit(torch.full_like(scaling.mean, 0.5), torch.full_like(scaling.std, 2.0))
        if values:
            batches = [cast(Batch, self.made_up(form, seed=100 + i)) for i in range(2)]
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                for batch in batches:
                    part.train()(batch)
            _drive(cast(ZooModel, part.eval()), batches)
        return part

    def made_up(self, form: Inputs, masks: Masks = "mixed", seed: int = 0) -> Content:
        features, valid = {}, {}
        for place, name in enumerate(form.modalities):
            length = LENGTHS[place]
            mask = made_up_mask(length, place, seed + place) | (masks == "none")
            if masks == "empty" or (masks == "absent" and place == 0):
                mask[1] = False
            features[name] = made_up_sequence(length, form.dims[name], mask, 100 * seed + place).x
            valid[name] = mask
        return Batch(features, valid)


def gives_logits(subject: ModelSubject) -> None:
    """Logits ``[B, K]``, finite, for 1, 2 and 3 labels, features scaled or not; it says what it was built for."""
    slots = getattr(subject.candidate.target, "slots", None)
    if not isinstance(slots, Mapping) or not {slot_kind(slot)[0] for slot in slots.values()} <= set(get_args(Kind)):
        raise ConformanceError(
            f"its `slots` are {slots!r}; give a mapping of slot to kind of component, or to the base class of its parts"
        )
    for setting in subject.settings():
        inputs, model = setting.form, setting.part
        logits = subject.rows(model(subject.made_up(inputs))).values
        if list(logits.shape) != [SAMPLES, inputs.labels]:
            raise ConformanceError(f"logits are {list(logits.shape)}, not {[SAMPLES, inputs.labels]}: {setting.where}")
        if not bool(torch.isfinite(logits).all()):
            raise ConformanceError(f"a logit is not finite: {setting.where}")
        if getattr(model, "inputs", None) != inputs:
            raise ConformanceError(f"its `inputs` are not those it was built for: {setting.where}")
        subject.compared += logits.numel()


def spiking_layers_are_described(subject: ModelSubject) -> None:
    """layer_masks and branches_by_name name every activation and spiking layer, in the shapes they work on."""
    for setting in subject.settings(values=False):
        model, batch = cast(ZooModel, setting.part), cast(Batch, subject.made_up(setting.form))
        with record_spikes(model) as spikes, torch.no_grad():
            model(batch)
        _check_masks(model, batch, spikes, setting.where)
        _check_branches(model, setting.where)
        subject.compared += len(spikes)
    if not subject.compared:
        raise NotRun("it has no spiking layer")
    for setting in subject.settings():
        with record_spikes(setting.part) as spikes, torch.no_grad():
            setting.part(subject.made_up(setting.form))
        silent = [n for n in spiking_layers(setting.part) if n not in spikes or not bool(spikes[n].any())]
        if silent:
            raise ConformanceError(f"{', '.join(silent)} never fires, though it was driven to: {setting.where}")


def _drive(model: ZooModel, batches: Sequence[Batch]) -> None:
    """Make the neurons fire, by what the model says of its spiking layers."""
    try:
        initialise_fluctuation_driven(model, batches, 0.2)
    except Exception as error:
        raise ConformanceError(
            f"its neurons cannot be driven ({type(error).__name__}: {error}); "
            "look at the case spiking_layers_are_described first"
        ) from error


def _check_masks(model: ZooModel, batch: Batch, spikes: Mapping[str, Tensor], where: str) -> None:
    masks = model.layer_masks(batch)
    wanted = {name for name, each in model.named_modules() if isinstance(each, Activation | DynamicThresholdLIF)}
    if set(masks) != wanted:
        names = ", ".join(sorted(set(masks) ^ wanted))
        raise ConformanceError(f"layer_masks names too much or too little: {names}: {where}")
    for name, train in spikes.items():
        if train.dim() != 4:
            raise ConformanceError(f"spikes of {name} are {list(train.shape)}, not [T, B, L, N]: {where}")
        mask = masks[name]
        by_position, by_step = train.shape[1:3], (*train.shape[:2], 1)
        if mask is not None and (mask.dtype != torch.bool or mask.shape not in (by_position, by_step)):
            raise ConformanceError(
                f"the mask of {name} is {mask.dtype} {list(mask.shape)}, not bool {list(by_position)}, "
                f"nor {list(by_step)} where the sequence is the steps: {where}"
            )


def _check_branches(model: ZooModel, where: str) -> None:
    own = {id(module): name for name, module in model.named_modules()}
    stages = [stage for branch in model.branches_by_name().values() for stage in branch]
    for linear, activation in stages:
        if not isinstance(linear, nn.Linear) or not isinstance(activation, Activation):
            kinds = f"{type(linear).__name__}, {type(activation).__name__}"
            raise ConformanceError(f"branches_by_name gives ({kinds}), not (Linear, Activation): {where}")
        if id(linear) not in own or id(activation) not in own:
            raise ConformanceError(f"branches_by_name gives a layer that is none of the model's: {where}")
    driven = {id(activation) for _, activation in stages}
    left_out = [own[id(m)] for m in model.modules() if isinstance(m, Activation) and id(m) not in driven]
    if left_out:
        raise ConformanceError(f"branches_by_name leaves out {', '.join(left_out)}: {where}")


def _part(kind: Kind, chosen: Mapping[str, str], base: type[Any] | None) -> Any:
    """The class that fills a slot of a kind: the chosen one, else the first that fits and needs no parameter."""
    registry = default_registry()
    if kind in chosen:
        return registry.resolve(kind, chosen[kind])
    for name in registry.fitting(kind, base):
        target = registry.resolve(kind, name)
        if all(param.default is not REQUIRED for param in component_params(target).values()):
            return target
    raise NotRun(f"there is no {kind} for its slot that needs no parameters")


MODEL = Kit(
    "model",
    ModelSubject,
    {
        case.__name__: case
        for case in (
            gives_logits,
            spiking_layers_are_described,
            *(case for case in PADDING_CASES if case is not no_mask_is_a_full_mask),
            *LEARNING_CASES,
            *HANDLING_CASES,
        )
    },
    tiny=("gives_logits", "spiking_layers_are_described"),
)
