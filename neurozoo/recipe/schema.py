"""What a recipe may say: its sections as frozen, strict models.

Independent of YAML, files and torch. ``neurozoo.recipe.recipe`` reads the text, names the line of every problem, and
adds the components' own parameters.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, PlainValidator, Tag
from pydantic_core import PydanticKnownError

__all__ = [
    "AugmentRef",
    "ComponentRef",
    "DataSection",
    "EvaluationSection",
    "Initialisation",
    "LossRef",
    "ModelSection",
    "Optimizer",
    "OptimizerGroup",
    "RatePenalty",
    "Scheduler",
    "Searched",
    "Section",
    "Shape",
    "TaskSection",
    "TrainingSection",
    "TuneSection",
    "ValidDraw",
]

Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
LARGEST = 1e9
"""Upper end of factors and rates, far beyond any use: float32, to which they are converted, overflows at 3.4e38."""
MOST = 2**31 - 1
"""Upper end of counts."""

Count = Annotated[int, Field(ge=1, le=MOST)]
CountFromZero = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]


_LIMIT = 1e30


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticKnownError("float_type")
    if not math.isfinite(value):
        raise PydanticKnownError("finite_number")
    if abs(value) > _LIMIT:
        raise PydanticKnownError("less_than_equal", {"le": _LIMIT})
    return value


# Whole where it is written so.
Number = Annotated[int | float, PlainValidator(_number)]


MOST_OUTPUTS = 2**17
"""Largest number of outputs that may be named by their number."""


def _numbered(value: Any) -> Any:
    """Name K outputs "0" to "K-1"; other values are left to the checks that follow."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise PydanticKnownError("greater_than_equal", {"ge": 1})
        if value > MOST_OUTPUTS:
            raise PydanticKnownError("less_than_equal", {"le": MOST_OUTPUTS})
        return tuple(map(str, range(value)))
    return tuple(value) if isinstance(value, list) else value


OutputNames = Annotated[Names | None, BeforeValidator(_numbered)]


def _repeated(key: str, names: Iterable[str], form: str = "{!r}") -> Iterator[tuple[str, str]]:
    """Find names that are given more than once, as (key, problem)."""
    for name, times in sorted(Counter(names).items()):
        if times > 1:
            yield key, f"{form.format(name)} is named {times} times; name it once"


class Section(BaseModel):
    """A mapping of a recipe: unknown keys and wrong types are refused, nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Invalid combinations of keys, as (key, what is wrong and what to do)."""
        return iter(())


class ComponentRef(Section):
    """A registered part and its parameters; in YAML a bare name stands for ``{name: NAME}``.

    Attributes:
        name: Its name in the registry.
        params: Keyword-only parameters of the component's class.
    """

    name: Name
    params: Mapping[str, Any] = Field(default_factory=dict)


class ValidDraw(Section):
    """How a valid split is drawn from train where the data has none.

    Attributes:
        fraction: Share of the training samples that is held out, between 0 and 1.
        seed: Fixes which; apart from the recipe's seed, so that runs share their split.
    """

    fraction: Fraction
    seed: Seed = 0


class Shape(Section):
    """The shape a recipe expects of one signal; ``dim: D`` is short for ``shape: [D]``.

    Attributes:
        shape: Axes of a position, such as ``[D]`` or ``[C, H, W]``.
        dim: Features D of a position.
        length: Positions L.
        dtype: Of the values.
    """

    shape: tuple[Count, ...] | None = None
    dim: Count | None = None
    length: Count
    dtype: Literal["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"] = "float32"

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of a position, whichever way they were given."""
        return (self.dim,) if self.dim is not None else self.shape or ()

    def problems(self) -> Iterator[tuple[str, str]]:
        if (self.shape is None) == (self.dim is None):
            yield "dim", "give one of shape (the axes of a position) and dim (short for one axis)"


class TaskSection(Section):
    """What the model's outputs mean; in YAML a bare name stands for ``{name: NAME}``.

    Attributes:
        name: A registered task.
        per_step: Whether there is an answer for each position, and not for the sample.
        outputs: The names of labels, classes or quantities that the data must have, in order; a number K names them
            ``0`` to ``K-1``, as for tokens and for the steps of a forecast.
        params: Its own parameters: loss, decision and the like.
    """

    name: Name
    per_step: bool = False
    outputs: OutputNames = None
    params: Mapping[str, Any] = Field(default_factory=dict)

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from _repeated("outputs", self.outputs or ())


ONE, SEVERAL = "<one>", "<several>"
"""Tags of the two forms of a representation; they are no keys of a recipe."""


def _form(value: Any) -> str:
    return SEVERAL if isinstance(value, list | tuple) else ONE


Represented = Annotated[
    Annotated[ComponentRef, Tag(ONE)] | Annotated[tuple[ComponentRef, ...], Field(min_length=1), Tag(SEVERAL)],
    Discriminator(_form),
]


class DataSection(Section):
    """What to learn from.

    Attributes:
        name: A store installed under ``NEUROZOO_DATA``, or a registered data set.
        root: The folder of a store; wins over ``name``.
        instead: A registered data set that is used where ``name`` is not installed.
        inputs: The signals that the model reads, in order; by default all that the data has.
        represent: By signal of the data, how a model sees it: a registered representation, or several in order.
        join: Signals of the data, as they are represented, that are joined along their positions, by the name they get.
        standardise: Whether features are scaled by the training split's mean and deviation.
        valid: Where the data has no valid split: how to draw one from train.
        shuffle_steps: A seed by which the valid positions of each sample are put in an order of their own, as a control
            for what the order in time adds; targets per step move with them. None keeps them in order.
        expect: Shapes by signal; axes are checked against the data, lengths are those of a dry run without data.
    """

    name: Name | None = None
    root: Name | None = None
    instead: ComponentRef | None = None
    inputs: Names | None = None
    represent: Mapping[Name, Represented] = Field(default_factory=dict)
    join: Mapping[Name, Names] = Field(default_factory=dict)
    standardise: bool = False
    valid: ValidDraw | None = None
    shuffle_steps: Seed | None = None
    expect: Mapping[Name, Shape] | None = None

    @property
    def representations(self) -> dict[str, tuple[ComponentRef, ...]]:
        """``represent`` with each form as the several that are applied in order."""
        return {name: each if isinstance(each, tuple) else (each,) for name, each in self.represent.items()}

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.name is None and self.root is None:
            yield "name", "no data is named; give the name of an installed data set, or `root` with a store's folder"
        if self.name is not None and ("/" in self.name or "\\" in self.name):
            yield "name", f"{self.name!r} is a path; give a name here, or the folder as `root`"
        inputs = self.inputs or ()
        yield from _repeated("inputs", inputs)
        missing = [] if self.expect is None else [name for name in inputs if name not in self.expect]
        if missing:
            there = ", ".join(self.expect or ()) or "none"
            yield "expect", f"no shape for {', '.join(missing)}; there is: {there}; add it, or leave `expect` out"


class ModelSection(Section):
    """The model and its parts.

    Attributes:
        name: A registered model.
        params: Its own parameters.
        parts: A component for each slot that the model's class names.
    """

    name: Name
    params: Mapping[str, Any] = Field(default_factory=dict)
    parts: Mapping[str, ComponentRef] = Field(default_factory=dict)


class Scheduler(Section):
    """What the learning rate does over the epochs.

    Rates are absolute, and times are in epochs, also if the rate moves after each step.

    Attributes:
        name: ``none``; ``plateau`` (falls when ``metric`` on valid does not improve); ``step`` (falls after every
            ``every`` epochs); ``linear`` (falls to ``minimum`` along a line); ``cosine`` (falls to ``minimum`` along
            half a wave); ``exponential``; ``one-cycle`` (rises from ``warmup_from`` along half a wave, then falls to
            ``minimum`` along another; Smith & Topin 2019).
        each: Whether the rate moves after each ``epoch``, or after each ``step`` of the optimiser.
        factor: What ``plateau`` and ``step`` multiply it with; also ``exponential``, after each epoch, unless it has a
            ``minimum``.
        patience: Epochs without a better ``metric`` before ``plateau`` lets it fall.
        metric: What ``plateau`` watches on valid: ``loss``, or a metric of the task.
        every: Epochs between two falls of ``step``.
        warmup: Epochs in which it rises to its full height first; not with ``plateau`` and ``one-cycle``.
        warmup_from: Rate in the first epoch of the warm-up; by default the warm-up has even stairs, the first of which
            is not 0. Of ``one-cycle`` the first rate, by default a 25th of the full one.
        minimum: Rate that it falls to; by default 0 for ``linear`` and ``cosine``, and 1e-4 of the first one for
            ``one-cycle``. ``exponential`` reaches it at the end of ``period``.
        period: Epochs after the warm-up until ``linear``, ``cosine`` and ``exponential`` are at the minimum; by default
            all.
        from_start: Whether ``linear`` and ``cosine`` count their period from the start of the training and not from the
            end of the warm-up, so that the rate falls by a jump there, as in code around BERT.
        then: After the period: ``stay`` at the minimum, or for ``cosine`` also ``rise`` along the wave (Fang et al.
            2021), or ``restart`` at the full height (Loshchilov & Hutter 2017).
        rise: Share of the training in which ``one-cycle`` rises.
        momentum: Of ``one-cycle``, low and high: the momentum, or the first beta, falls from the high to the low one
            while the rate rises, and returns while it falls. None leaves it alone.
    """

    name: Literal["plateau", "step", "linear", "cosine", "exponential", "one-cycle", "none"] = "none"
    each: Literal["epoch", "step"] = "epoch"
    factor: Fraction = 0.1
    patience: CountFromZero = 20
    metric: Name = "loss"
    every: Count = 10
    warmup: CountFromZero = 0
    warmup_from: NotNegative | None = None
    minimum: NotNegative | None = None
    period: Count | None = None
    from_start: bool = False
    then: Literal["stay", "rise", "restart"] = "stay"
    rise: Fraction = 0.3
    momentum: tuple[BelowOne, BelowOne] | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.warmup and self.name == "plateau":
            yield "warmup", "plateau has none; leave it out, or choose none, step, cosine or exponential"
        if self.warmup and self.name == "one-cycle":
            yield "warmup", "one-cycle rises for a share of the training: `rise`; leave it out"
        if self.each == "step" and self.name == "plateau":
            yield "each", "plateau moves after an epoch, when valid is measured; leave it out"
        if self.warmup_from is not None and not self.warmup and self.name != "one-cycle":
            yield "warmup_from", "there is no warm-up; give warmup as well, or leave it out"
        if self.minimum is not None and self.name not in ("plateau", "linear", "cosine", "exponential", "one-cycle"):
            yield (
                "minimum",
                f"{self.name} has none; leave it out, or choose plateau, linear, cosine, exponential or one-cycle",
            )
        if self.name == "exponential" and self.minimum == 0:
            yield "minimum", "an exponential never reaches 0; give more, or leave it out and give factor"
        if self.period is not None and not (
            self.name in ("linear", "cosine") or (self.name == "exponential" and self.minimum)
        ):
            yield "period", "only linear, cosine, and exponential with a minimum, have one; leave it out"
        if self.from_start and (not self.warmup or self.name not in ("linear", "cosine")):
            yield "from_start", "only linear and cosine with a warm-up have a choice; leave it out"
        if self.then != "stay" and (self.name != "cosine" or self.period is None):
            yield "then", f"{self.then} needs cosine with a period; give them, or leave it out"
        if self.momentum is not None and self.name != "one-cycle":
            yield "momentum", "only one-cycle moves it; leave it out"
        if self.momentum is not None and self.momentum[0] > self.momentum[1]:
            yield "momentum", f"{self.momentum[0]:g} is above {self.momentum[1]:g}; give the low one first"


class OptimizerGroup(Section):
    """How the parameters of one role are trained, where it differs from the others.

    Attributes:
        lr: Learning rate; None for that of the optimiser.
        weight_decay: None for that of the optimiser.
        scheduler: Its own schedule, but not ``plateau``; None for ``training.scheduler``.
    """

    lr: Positive | None = None
    weight_decay: NotNegative | None = None
    scheduler: Scheduler | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.scheduler is not None and self.scheduler.name == "plateau":
            yield "scheduler", "a group cannot have a plateau of its own; give it in training.scheduler for all"


class Optimizer(Section):
    """The optimiser; all other options are torch's defaults.

    Attributes:
        name: ``adam``, ``adamax``, ``adamw``, ``bert-adam`` (without bias correction, each tensor's gradient clipped to
            the norm 1), ``lamb`` (You et al. 2020), ``nadam``, ``radam``, ``rmsprop`` or ``sgd``.
        lr: Learning rate.
        weight_decay: Factor of the weight decay: of ``adamw``, ``bert-adam`` and ``lamb`` apart from the gradient, of
            the others added to it.
        momentum: Of ``sgd`` and ``rmsprop``.
        nesterov: Whether the momentum of ``sgd`` is Nesterov's.
        betas: Decays of the first and second moment, of all but ``sgd`` and ``rmsprop``; None for 0.9 and 0.999.
        eps: What is added to the denominator, of all but ``sgd``; None for the optimiser's own default.
        groups: By role of a parameter (``neurozoo.core.roles``): ``weight``, ``bias``, ``norm``, ``neuron``, ``scale``,
            ``embedding``, or a role that the model names. See :class:`OptimizerGroup`.
    """

    name: Literal["adam", "adamax", "adamw", "bert-adam", "lamb", "nadam", "radam", "rmsprop", "sgd"] = "adam"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 0.0
    momentum: BelowOne = 0.0
    nesterov: bool = False
    betas: tuple[BelowOne, BelowOne] | None = None
    eps: Positive | None = None
    groups: Mapping[Name, OptimizerGroup] = Field(default_factory=dict)

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.momentum and self.name not in ("sgd", "rmsprop"):
            yield "momentum", f"{self.name} has no momentum option; leave it out, or choose sgd or rmsprop"
        if self.nesterov and not (self.name == "sgd" and self.momentum):
            yield "nesterov", "only sgd with momentum has it; leave it out, or give both"
        if self.betas is not None and self.name in ("sgd", "rmsprop"):
            yield "betas", f"{self.name} has none; leave it out, or choose adam or one of its kin"
        if self.eps is not None and self.name == "sgd":
            yield "eps", "sgd has none; leave it out"


class Initialisation(Section):
    """How the weights of spiking layers start.

    Attributes:
        name: ``fluctuation-driven`` (scaled and shifted on training batches, so that neurons fire whatever the scale of
            the inputs; Rossbroich, Gygax and Zenke 2022) or ``default`` (the framework's).
        firing_rate: What fluctuation-driven initialisation aims at, in spikes a step.
        batches: Training batches it looks at.
    """

    name: Literal["default", "fluctuation-driven"] = "fluctuation-driven"
    firing_rate: Fraction = 0.2
    batches: Count = 4


class RatePenalty(Section):
    """A penalty on the spikes of the model's layers: ``weight`` times a sum over neurons, or their mean.

    r is a neuron's firing rate, in spikes a step over all valid steps of the batch, n its number of spikes.

    Attributes:
        name: ``squared-bounds``, ``relu(low - r)^2 + relu(r - high)^2``; ``bounds``, the same without squares (Bittar &
            Garner 2022); ``target``, ``(r - rate)^2`` (Bellec et al. 2020); ``total``, n; ``total-squared``, ``n^2``
            (Neftci et al. 2019); ``operations``, once for all layers: the synaptic operations a sample that their
            spikes cause, in millions, or relative to a budget.
        weight: Its factor in the loss; 0 turns it off.
        low: Rate below which a neuron is penalised, in spikes a step.
        high: Rate above which it is.
        rate: Of ``target``, the rate wanted, in spikes a step.
        over: ``sum`` over neurons, which grows with the width of the layers, or ``mean``.
        samples: Of the totals: ``mean`` counts n in a sample, ``sum`` in the whole batch and so grows with it.
        layers: Names of the spiking layers it is of, or patterns such as ``layers.*``; None for all.
        rates: By name or pattern of spiking layers, the ``rate`` of ``target`` or the ``high`` of bounds; it is of
            these layers only, and of several that match the first counts.
        operations: Of ``operations``, the budget a sample: ``relu(operations / budget - 1)`` is penalised.
        gradient: Whether it has one; without, it is only part of the loss's value.
    """

    name: Literal["squared-bounds", "bounds", "target", "total", "total-squared", "operations"] = "squared-bounds"
    weight: NotNegative = 0.0
    low: Share = 0.02
    high: Share = 0.5
    rate: Share | None = None
    over: Literal["sum", "mean"] = "sum"
    samples: Literal["mean", "sum"] = "mean"
    layers: Names | None = None
    rates: Annotated[Mapping[Name, Share], Field(min_length=1)] | None = None
    operations: Positive | None = None
    gradient: bool = True

    @property
    def lowers(self) -> bool:
        """Whether it only ever pulls rates down."""
        return self.name in ("total", "total-squared", "operations")

    @property
    def patterns(self) -> tuple[str, ...]:
        """Names and patterns of the layers that it is of; ``*`` for all."""
        return tuple(self.rates) if self.rates is not None else self.layers or ("*",)

    def of_layer(self, layer: str) -> RatePenalty | None:
        """Return the penalty with a layer's own rate; None if it is not of this layer."""
        matching = [each for each in self.patterns if layer == each or fnmatch.fnmatchcase(layer, each)]
        if not matching:
            return None
        if self.rates is None:
            return self
        return self.model_copy(update={"rate" if self.name == "target" else "high": self.rates[matching[0]]})

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.low > self.high:
            yield "low", f"{self.low:g} is above high = {self.high:g}; choose a smaller one"
        if self.rates is None and (self.rate is None) == (self.name == "target"):
            yield "rate", "target needs the rate wanted, and only target has one"
        yield from self._problems_of_rates()
        if self.name == "operations" and (self.over != "sum" or self.samples != "mean"):
            yield "name", "operations are one number, a sample's; leave out over and samples"
        if self.operations is not None and self.name != "operations":
            yield "operations", f"{self.name} has no budget of operations; choose the name operations, or leave it out"
        if self.samples == "sum" and not self.lowers:
            yield "samples", f"{self.name} is of rates, which are means; leave it out, or choose total or total-squared"

    def _problems_of_rates(self) -> Iterator[tuple[str, str]]:
        if self.rates is None:
            return
        if self.lowers:
            yield "rates", f"{self.name} has no rates; choose target, bounds or squared-bounds, or leave it out"
            return
        if self.layers is not None:
            yield "layers", "rates names the layers; leave layers out"
        if self.rate is not None:
            yield "rate", "rates has the rate of each layer; leave rate out"
        for layer, rate in self.rates.items():
            if self.name != "target" and self.low > rate:
                yield "rates", f"{rate:g} of {layer} is below low = {self.low:g}; lower low, or raise the rate"


class AugmentRef(Section):
    """An augmentation of training batches; in YAML a bare name stands for ``{name: NAME}``.

    Attributes:
        name: Its name in the registry.
        params: Keyword-only parameters of its class.
        until: Last epoch in which it is applied; None for all.
        signals: The signals that it changes; None for all that it can.
    """

    name: Name
    params: Mapping[str, Any] = Field(default_factory=dict)
    until: Count | None = None
    signals: Names | None = None


class LossRef(Section):
    """A loss of the training; in YAML a bare name stands for ``{name: NAME}``.

    Attributes:
        name: Its name in the registry.
        params: Keyword-only parameters of its class.
        weight: Factor in the sum of the losses, dimensionless.
    """

    name: Name
    params: Mapping[str, Any] = Field(default_factory=dict)
    weight: Positive = 1.0


class TrainingSection(Section):
    """How the weights are found.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Samples a batch, of all processes together.
        optimizer: See :class:`Optimizer`.
        scheduler: See :class:`Scheduler`.
        accumulate: Batches whose gradients become one step of the optimiser. What is counted over a batch, such as
            running means and the rate penalty, is counted over each of them.
        accumulated: Whether the step's gradient is the ``mean`` over those batches, or their ``sum``.
        gradient_clip: Largest norm of the gradient; None for no limit.
        best: The task's metric on valid, or ``loss``, whose best epoch's weights are kept.
        early_stopping: Stop after so many epochs without a better one; None for never.
        initialisation: See :class:`Initialisation`.
        rate_penalty: See :class:`RatePenalty`.
        penalties: More of them, each logged under its own name.
        losses: What is minimised: the sum of these, in place of the loss in ``task.params`` and its options. Valid and
            test report the task's plain loss in any case.
        augment: How training batches are changed at random, in order; see :class:`AugmentRef`.
        checkpoint_steps: Batches after which the state is written within an epoch; None for the end of epochs only.
        device: ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.
        precision: ``32-true``, or for the linear algebra of training only ``bf16-mixed`` or ``16-mixed``. Membranes
            and evaluation are in float32 always.
        compile: Whether training's forward goes through ``torch.compile``.
        recompute: Steps of the simulation in a segment whose insides the backward computes once more, so that memory
            hardly grows with T; ``auto`` for half of the square root of T. None to keep what all steps need.
        threads: Threads of the CPU; None for torch's default.
        loggers: Loggers that record the training; they do not change it.
    """

    epochs: Count = 50
    batch_size: Count = 256
    optimizer: Optimizer = Field(default_factory=Optimizer)
    scheduler: Scheduler = Field(default_factory=Scheduler)
    accumulate: Count = 1
    accumulated: Literal["mean", "sum"] = "mean"
    gradient_clip: Positive | None = None
    best: Name = "loss"
    early_stopping: Count | None = None
    initialisation: Initialisation = Field(default_factory=Initialisation)
    rate_penalty: RatePenalty = Field(default_factory=RatePenalty)
    penalties: tuple[RatePenalty, ...] = ()
    losses: tuple[LossRef, ...] = ()
    augment: tuple[AugmentRef, ...] = ()
    checkpoint_steps: Count | None = None
    device: Name = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: bool = False
    recompute: Literal["auto"] | Count | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    loggers: tuple[ComponentRef, ...] = ()

    def problems(self) -> Iterator[tuple[str, str]]:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            yield "device", f"found {self.device!r}; give auto, cpu, mps, cuda, or cuda:N for one of several"
        if self.recompute is not None and self.compile:
            yield "recompute", "torch.compile would trace all steps as one; leave out one of both"
        yield from _repeated("loggers", [logger.name for logger in self.loggers])
        yield from _repeated("augment", [each.name for each in self.augment])


class EvaluationSection(Section):
    """How the model is measured.

    Attributes:
        batch_size: Samples a step; in a corrected model it changes no prediction.
    """

    batch_size: Count = 256


class Searched(Section):
    """What ``neurozoo tune`` may choose for one value: from a range, or one of several.

    Attributes:
        low: Lower end of the range, included. Two whole ends make a range of whole numbers.
        high: Upper end of the range, included.
        step: From one value of the range to the next, counted from ``low``; None for all.
        log: Whether the range is searched on a logarithmic scale.
        values: Instead of a range: what there is to choose from, without an order.
    """

    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    log: bool = False
    values: tuple[Any, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values that must be usable for all to be: all there are, or the ends of a range and a number between them."""
        if self.values is not None:
            return self.values
        if self.low is None or self.high is None:
            return ()
        return (self.low, self.high) if self.whole else (self.low, self.high, self.low + 0.382 * (self.high - self.low))

    def problems(self) -> Iterator[tuple[str, str]]:
        ranged = [name for name in ("low", "high", "step") if getattr(self, name) is not None]
        if self.values is not None:
            if not self.values:
                yield "values", "it is empty; give at least one entry"
            if ranged or self.log:
                yield "values", f"there is {', '.join(ranged or ['log'])} as well; give a range or values, not both"
            yield from _repeated("values", [json.dumps(value, sort_keys=True) for value in self.values], "{}")
            return
        if self.low is None or self.high is None:
            yield "low", "there is no whole range; give low and high, or values"
            return
        if self.low >= self.high:
            yield "low", f"{self.low} is not below high = {self.high}; choose a smaller one"
        if self.log and self.low <= 0:
            yield "low", f"{self.low} has no logarithm; give more than 0, or leave out log"
        if self.step is not None:
            if self.log:
                yield "step", "a logarithmic range has none; leave it out, or leave out log"
            if self.step <= 0 or self.step > self.high - self.low:
                yield "step", f"{self.step} does not lead from {self.low} to {self.high}; choose one in between"
            if self.whole and not isinstance(self.step, int):
                yield "step", f"{self.step} leads to numbers that are not whole, and low and high are; give a whole one"


class TuneSection(Section):
    """What ``neurozoo tune`` looks for, and where; it decides nothing in any other command.

    Attributes:
        metric: What is to be best on the valid split: ``loss``, or a metric of the task.
        pruning: ``none``, or ``median``: a trial ends early where its metric is worse than the median of the
            earlier ones at the same epoch, once there are five.
        space: By the path of a value, as an override names it, what to choose from.
    """

    metric: Name = "loss"
    pruning: Literal["none", "median"] = "none"
    space: Annotated[Mapping[Name, Searched], Field(min_length=1)]
