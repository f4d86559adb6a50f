"""What a comparison of backends found, in plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from neurozoo.backends.experiments import Trait
from neurozoo.backends.probe import LayerProbe
from neurozoo.core.task import Decision

__all__ = [
    "SCHEMA",
    "BackendResult",
    "Comparison",
    "LayerResult",
    "Mismatch",
    "Setting",
    "Training",
    "Trajectory",
    "Verdict",
]

SCHEMA = 2
"""Version of the layout that :meth:`Comparison.to_dict` gives."""

Verdict = Literal["reference", "equivalent", "different", "another model"]


@dataclass(frozen=True)
class Mismatch:
    """Where spikes differ for the first time.

    Attributes:
        layer: Dotted name of the spiking layer.
        step: Time step, from 0.
        batch: From 0.
    """

    layer: str
    step: int
    batch: int

    def __str__(self) -> str:
        return f"{self.layer}, step {self.step}, batch {self.batch}"


@dataclass(frozen=True)
class LayerResult:
    """One spiking layer on one backend, over all batches.

    Attributes:
        name: Its dotted name.
        spikes: How many were compared, neurons times steps.
        mismatches: How many differ from the reference's, in the whole model.
        first: The first of them; None without one.
        rate: Spikes a step.
        active: Share of the neurons that fire at least once.
        alone: The layer in isolation, on the reference's own input; judged by this, as a spike that
            flips within rounding changes the input of all that follows.
        driven: The layer in isolation on a made-up current, where the model is silent; else None.
    """

    name: str
    spikes: int
    mismatches: int
    first: Mismatch | None
    rate: float
    active: float
    alone: LayerProbe
    driven: LayerProbe | None


@dataclass(frozen=True)
class BackendResult:
    """One backend against the reference, which is compared with itself.

    Attributes:
        name: The backend.
        verdict: ``reference``, ``equivalent``, ``different``; or ``another model``, for a native
            backend that differs.
        exact: Whether it declares that every spike is the oracle's.
        native: Whether it declares to be its library's own neuron, unchanged.
        versions: Of the distributions it runs on.
        libraries: Import names of what it runs on.
        runs: The functions of its library that it declares to run.
        calls: Those that a scan of its first layer did run, with how often.
        traits: What its neuron is, by experiment.
        layers: Its spiking layers, in the order in which they run.
        output_difference: Largest absolute difference of an output, as the model gives it.
        prediction_difference: Largest absolute difference of a prediction, as the task makes it of the output.
        gradient_difference: Largest difference of a gradient, as a share of its tensor's largest.
        worst_gradient: The parameter where that is.
        metrics: The task's, over the compared samples.
        milliseconds: Median time of a forward and backward pass over one batch.
        time_ratio: That time, in units of the reference's.
        macs: Effective multiplications of layers with weights, a sample of the compared batches; rows of padding too.
        acs: The same where the input is spikes alone: accumulations.
        peak_bytes: Most memory that such a pass holds at a time, above what stood before; None
            where the device does not tell.
        memory_ratio: That memory, in units of the reference's.
        problems: What makes it different, and where; empty where it is equivalent.
    """

    name: str
    verdict: Verdict
    exact: bool
    native: bool
    versions: Mapping[str, str]
    libraries: tuple[str, ...]
    runs: str
    calls: Mapping[str, int]
    traits: tuple[Trait, ...]
    layers: tuple[LayerResult, ...]
    output_difference: float
    prediction_difference: float
    gradient_difference: float
    worst_gradient: str
    metrics: Mapping[str, float]
    milliseconds: float
    time_ratio: float
    macs: float
    acs: float
    peak_bytes: int | None
    memory_ratio: float | None
    problems: tuple[str, ...]

    @property
    def spikes(self) -> int:
        """How many were compared, in all layers."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def mismatches(self) -> int:
        """How many of them differ, in the whole model."""
        return sum(layer.mismatches for layer in self.layers)

    @property
    def first(self) -> Mismatch | None:
        """The first mismatch: of the earliest batch, and there of the layer that runs first."""
        found = [layer.first for layer in self.layers if layer.first is not None]
        return min(found, key=lambda mismatch: mismatch.batch, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Everything, with what is derived."""
        first = self.first
        derived = {"spikes": self.spikes, "mismatches": self.mismatches, "first": asdict(first) if first else None}
        return {**asdict(self), **derived}


@dataclass(frozen=True)
class Trajectory:
    """How training went on one backend; the reference's is compared with itself.

    Attributes:
        name: The backend.
        losses: Of each step, in the task's unit.
        rates: Mean firing rate of each step, in spikes a step.
        thresholds: Mean firing threshold of each step; NaN where no layer has one.
        first_difference: The first step, from 1, whose loss is not the reference's to the last bit.
        first_beyond: The first step whose loss differs by more than the tolerance.
        loss_difference: Largest difference of a loss, as a share of the reference's.
        first_spike: Where spikes differ for the first time; its batch is the step, from 1.
        parted: How many spikes differ in that step.
        spikes: Of how many.
        weight_difference: Largest difference of a final weight, as a share of its tensor's largest.
        worst_weight: The parameter where that is.
        metrics: On the valid split, after the last step.
        problems: What makes it different; empty where it is not.
    """

    name: str
    losses: tuple[float, ...]
    rates: tuple[float, ...]
    thresholds: tuple[float, ...]
    first_difference: int | None
    first_beyond: int | None
    loss_difference: float
    first_spike: Mismatch | None
    parted: int
    spikes: int
    weight_difference: float
    worst_weight: str
    metrics: Mapping[str, float]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """The same steps on each backend, from the same weights, on the same batches.

    Attributes:
        steps: How many.
        batch_size: Samples of each.
        tolerance: What the loss may differ by before a spike does, as a share of the reference's.
        samples: Of the valid split, on which the metrics are.
        backends: The reference first.
    """

    steps: int
    batch_size: int
    tolerance: float
    samples: int
    backends: tuple[Trajectory, ...]

    @property
    def different(self) -> bool:
        """Whether any backend's trajectory is another one."""
        return any(trajectory.problems for trajectory in self.backends)


@dataclass(frozen=True)
class Setting:
    """Under which conditions backends were compared.

    Attributes:
        recipe: Name of the recipe.
        data: Where the samples come from.
        synthetic: Whether they are made up.
        trained: Whether the weights are a run's; else they are as training would begin with.
        run: The run's folder, or none.
        device: Where the models ran.
    """

    recipe: str = ""
    data: str = ""
    synthetic: bool = False
    trained: bool = False
    run: str = ""
    device: str = "cpu"


@dataclass(frozen=True)
class Comparison:
    """Several backends on one model and the same batches.

    Attributes:
        samples: How many, in all batches.
        batches: How many.
        reference: The backend that the others are compared with.
        backends: All of them, the reference first.
        silent: Layers in which less than 1 % of the reference's neurons ever fire.
        decision: How predictions became answers, for the metrics; None where the task decides nothing.
        task: Name of the task.
        titles: The task's metrics in order, each with what to call it.
        headline: Those of the metrics that a narrow table has room for.
        threads: Of the CPU, while it was timed.
        repeats: How often each backend was timed.
        refused: Of each backend that does not run the model's neurons, why.
        unseen: Modules that fire outside of a SpikingLayer, as class by name: their spikes are not compared.
        setting: Under which conditions.
        training: How training went on each backend, where that was asked for.
    """

    samples: int
    batches: int
    reference: str
    backends: tuple[BackendResult, ...]
    silent: tuple[str, ...]
    decision: Decision
    task: str
    titles: Mapping[str, str]
    headline: tuple[str, ...]
    threads: int
    repeats: int
    refused: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    setting: Setting = Setting()
    training: Training | None = None

    @property
    def empty(self) -> bool:
        """Whether a layer is silent, so that equal spikes prove nothing."""
        return bool(self.silent)

    @property
    def different(self) -> bool:
        """Whether any backend is not equivalent to the reference."""
        trained = self.training is not None and self.training.different
        return trained or any(backend.problems for backend in self.backends)

    @property
    def verdict(self) -> str:
        """``equivalent`` or ``different``."""
        return "different" if self.different else "equivalent"

    def to_dict(self) -> dict[str, Any]:
        """Everything, in plain dicts, lists and numbers."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "empty": self.empty,
            **asdict(self),
            "backends": [backend.to_dict() for backend in self.backends],
        }
