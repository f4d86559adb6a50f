"""The words of the zoo: what a neuron, a fusion, a label head and a logger are.

Axes, everywhere: T time steps of the simulation, B batch, L sequence positions, D features,
K labels. The sequence axis is never called time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from neurozoo.core.leaves import leaves
from neurozoo.errors import SpikingError

__all__ = [
    "SURROGATES",
    "Activation",
    "Batch",
    "Features",
    "Fusion",
    "Inputs",
    "LIFSpec",
    "LabelHead",
    "Layout",
    "Logger",
    "NIRReader",
    "Neuron",
    "Parts",
    "ReadGraph",
    "Scaling",
    "Surrogate",
    "ThresholdPolicy",
    "Tokens",
    "ZooModel",
    "check_threshold",
    "steps_of",
]

Surrogate = Literal["atan", "sigmoid", "superspike"]
SURROGATES: tuple[Surrogate, ...] = get_args(Surrogate)


@dataclass(frozen=True)
class LIFSpec:
    """A leaky integrate-and-fire neuron; it fires where membrane ``>=`` threshold.

    Attributes:
        tau: Membrane time constant, in steps, larger than 1. An infinite one is no leak at all: an
            integrate-and-fire neuron, which ``decay_input=False`` has to go with.
        decay_input: Whether the input current is divided by ``tau`` as well.
        v_reset: Membrane after a spike and at rest (hard reset), or None for a soft reset,
            which subtracts the threshold and rests at 0. Dimensionless.
        detach_reset: Whether the gradient stops at the reset.
        surrogate: The spike's backward function, see ``neurozoo.core.equations``.
        alpha: The surrogate's steepness, dimensionless.
    """

    tau: float = 2.0
    decay_input: bool = True
    v_reset: float | None = 0.0
    detach_reset: bool = False
    surrogate: Surrogate = "atan"
    alpha: float = 2.0

    def __post_init__(self) -> None:
        if not self.tau > 1.0:
            raise SpikingError(f"tau is {self.tau}; the membrane time constant must be larger than 1 step")
        if math.isinf(self.tau) and self.decay_input:
            raise SpikingError("tau is inf, and an input divided by it vanishes; set decay_input=False")
        if self.surrogate not in SURROGATES:
            raise SpikingError(f"no surrogate is called {self.surrogate!r}; there are: {', '.join(SURROGATES)}")

    @property
    def rest(self) -> float:
        """The membrane potential without input, dimensionless."""
        return 0.0 if self.v_reset is None else self.v_reset


class Neuron(ABC):
    """A backend's LIF neuron: a plain object without parameters and without hidden state.

    A backend implements :meth:`step`; it may override :meth:`scan` for speed. The threshold is
    an argument of the call. In :meth:`scan` it is a float, a 0-d tensor, or a tensor with as
    many axes as the currents, each of their size or 1: per sample ``[1, B, 1, ...]``, per step
    ``[T, 1, ...]``, per neuron ``[1, 1, ..., N]``. Any other shape is refused.

    Args:
        spec: What neuron to be.
    """

    runs: ClassVar[str] = ""
    """The functions of its own library that the backend runs, for people to read."""
    graph_breaks: ClassVar[bool] = False
    """Whether ``torch.compile`` cannot trace it as one graph; it must work then all the same."""

    def __init__(self, spec: LIFSpec) -> None:
        self.spec = spec

    def initial_state(self, current: Tensor) -> Tensor:
        """The membrane at rest, ``[B, ...]``, dtype and device of one step's ``current``."""
        return torch.full_like(current, self.spec.rest)

    @abstractmethod
    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        """One time step.

        Args:
            current: Input ``[B, ...]``, dimensionless.
            state: Membrane after the last step's reset, ``[B, ...]``.
            threshold: A float, a 0-d tensor or one that broadcasts against ``current``.

        Returns:
            Spikes (0 or 1, dtype of ``current``) and the membrane after the reset, both ``[B, ...]``.
        """

    def scan(
        self, currents: Tensor, state: Tensor | None = None, threshold: Tensor | float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """All time steps.

        Args:
            currents: Input ``[T, B, ...]``, T >= 1.
            state: Membrane to start from, ``[B, ...]``; at rest by default.
            threshold: See the class.

        Returns:
            Spikes ``[T, B, ...]`` and the last membrane ``[B, ...]``.

        Raises:
            SpikingError: The threshold has a shape that is not one of those above.
        """
        thresholds = steps_of(threshold, currents)
        v = self.initial_state(currents[0]) if state is None else state
        spikes: list[Tensor] = []
        # unbind: indexing currents[t] would make the backward quadratic in T.
        for current, level in zip(currents.unbind(0), thresholds, strict=True):
            s, v = self.step(current, v, level)
            spikes.append(s)
        return torch.stack(spikes), v


def steps_of(threshold: Tensor | float, currents: Tensor) -> Sequence[Tensor | float]:
    """The threshold of each of the T steps, its shape checked against ``currents`` ``[T, B, ...]``.

    Raises:
        SpikingError: There is no time step, or the threshold's shape is not allowed.
    """
    check_threshold(threshold, currents)
    steps = currents.shape[0]
    if not isinstance(threshold, Tensor) or threshold.dim() == 0:
        return [threshold] * steps
    # In the currents' dtype: a float32 threshold would otherwise promote bfloat16 currents.
    slices = threshold.to(currents.dtype).unbind(0)
    return slices if len(slices) == steps else [slices[0]] * steps


def check_threshold(threshold: Tensor | float, currents: Tensor) -> None:
    """Refuse what a neuron cannot run on; :func:`steps_of` does so as well.

    Raises:
        SpikingError: There is no time step, or the threshold's shape is not allowed.
    """
    if currents.dim() < 2 or currents.shape[0] == 0:
        raise SpikingError(f"currents have the shape {list(currents.shape)}; give [T, B, ...] with T >= 1")
    if not isinstance(threshold, Tensor) or threshold.dim() == 0:
        return
    fits = threshold.dim() == currents.dim() and all(
        size in (1, full) for size, full in zip(threshold.shape, currents.shape, strict=True)
    )
    if not fits:
        raise SpikingError(
            f"a threshold of shape {list(threshold.shape)} does not fit currents of shape {list(currents.shape)}; "
            "give a float, a 0-d tensor, or a tensor with as many axes, each of the same size or 1"
        )


@dataclass(frozen=True)
class Batch:
    """Samples as they come from a data set.

    Attributes:
        features: By modality, ``[B, L, D]`` float; L and D differ between modalities.
        masks: By modality, ``[B, L]`` bool, True where a position is real and not padding.
        labels: ``[B, K]`` float of 0 and 1, or None where unknown.
        index: ``[B]`` int64, each sample's place in its split.
    """

    features: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    labels: Tensor | None = None
    index: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            {name: x.to(device) for name, x in self.features.items()},
            {name: x.to(device) for name, x in self.masks.items()},
            None if self.labels is None else self.labels.to(device),
            self.index,
        )

    def __len__(self) -> int:
        return next(iter(self.features.values())).shape[0]


@dataclass(frozen=True)
class Tokens:
    """A sequence with its mask and positions.

    Attributes:
        x: ``[B, L, D]``.
        mask: ``[B, L]`` bool, True where valid; None where every position counts.
        position: ``[B or 1, L]`` int64, counted from the first valid row.
        segments: Whose rows they are: modalities with their numbers of rows, in order, L together; empty where
            that is not known. No number depends on it.
    """

    x: Tensor
    mask: Tensor | None
    position: Tensor
    segments: tuple[tuple[str, int], ...] = ()

    def with_x(self, x: Tensor) -> Tokens:
        """Other features at the same places."""
        return Tokens(x, self.mask, self.position, self.segments)

    def of(self, modality: str) -> Tokens:
        """The same rows, as a modality's."""
        return Tokens(self.x, self.mask, self.position, ((modality, self.x.shape[1]),))


@dataclass(frozen=True)
class Features:
    """One modality after refinement, as a fusion gets it.

    Attributes:
        projected: ``p``, the linear projection, ``[B, L, D]``.
        encoded: ``h``, after its self-attention block.
        enhanced: ``E``, after the spiking-scaled attention; equals ``encoded`` for a context.
        spiking: Whether it has a spiking branch; a context has none.
    """

    projected: Tokens
    encoded: Tokens
    enhanced: Tokens
    spiking: bool


@dataclass(frozen=True)
class Inputs:
    """What a model is given to work on: the data's own sizes, in the recipe's roles.

    Attributes:
        dims: Features D of each modality in a role.
        spiking: Names of the modalities with a spiking branch, in order; at least one.
        context: Name of the one modality without, or None.
        labels: Number of labels K.
    """

    dims: Mapping[str, int]
    spiking: tuple[str, ...]
    context: str | None
    labels: int

    @property
    def modalities(self) -> tuple[str, ...]:
        """All names, the context first."""
        return (self.context, *self.spiking) if self.context is not None else self.spiking


class Parts(Protocol):
    """Builds the parts a recipe names, for a model to put together."""

    def __call__(self, slot: str, layout: Layout) -> Any:
        """The part of that slot, a new one at each call; None where the recipe leaves an optional one out."""


@dataclass(frozen=True)
class Layout:
    """What the parts of one model have in common; every part is built as ``Part(layout, **params)``.

    Attributes:
        hidden: Width D of every sequence inside the model.
        heads: Attention heads; divides ``hidden``.
        dropout: Probability, dimensionless, in the encoder blocks.
        spiking: Names of the modalities with a spiking branch, in order.
        context: Name of the one modality without, or None.
        labels: Number of labels K.
        neuron: Makes the chosen backend's neuron.
        encode: Computes encoder blocks of their queries and sources (``neurozoo.nn.attention.encode_each``); None to
            call each block.
    """

    hidden: int
    heads: int
    dropout: float
    spiking: tuple[str, ...]
    context: str | None
    labels: int
    neuron: Callable[[LIFSpec], Neuron]
    encode: Callable[[Sequence[Any], Sequence[Tokens], Sequence[Tokens]], list[Tokens]] | None = None


class Fusion(nn.Module, ABC):
    """Makes one sequence of the refined modalities.

    As for every part, ``__init__`` takes a :class:`Layout`, then keyword-only parameters: these
    are the ``params`` of a recipe, checked against their annotations.
    """

    @abstractmethod
    def forward(self, features: Mapping[str, Features]) -> Tokens:
        """The fused sequence ``[B, L', D]`` with its mask; padding must not reach valid positions."""


class LabelHead(nn.Module, ABC):
    """Makes one logit a label of a sequence."""

    @abstractmethod
    def forward(self, sequence: Tokens) -> Tensor:
        """Logits ``[B, K]``; positions that the mask leaves out must not matter."""


class ThresholdPolicy(nn.Module, ABC):
    """Chooses the firing threshold of the spiking branches, from what the modalities say."""

    least_spiking: ClassVar[int] = 1
    """How many spiking modalities it needs; a recipe with fewer is refused."""
    whole_sequence: ClassVar[bool] = True
    """Whether it looks at whole sequences; if not, it can be asked before any is known, with no projections."""
    whole_batch: ClassVar[bool] = False
    """Whether a sample's threshold depends on the others of its batch; then one process alone can train it."""

    @abstractmethod
    def forward(self, projected: Mapping[str, Tokens]) -> Tensor:
        """The threshold, 0-d for all samples or ``[B]`` for each, finite, dimensionless.

        Args:
            projected: The spiking modalities' projections, in the recipe's order.

        Raises:
            SpikingError: The threshold is not finite.
        """

    def report(self) -> Mapping[str, Tensor]:
        """What to log beside the threshold itself, each 0-d, such as a learned exponent."""
        return {}

    def base(self) -> float | None:
        """The threshold that its samples move, dimensionless; None where it is made of them alone."""
        return None


class Scaling(nn.Module, ABC):
    """Turns a spiking branch's firing rates into a scaling of the attended sequence."""

    whole_batch: ClassVar[bool] = False
    """Whether what it gives a sample depends on the others of its batch; then one process alone can train it."""

    @abstractmethod
    def forward(self, encoded: Tokens, rates: Tensor) -> Tensor:
        """The scaled sequence ``u``, ``[B, L, D]``.

        Args:
            encoded: The sequence ``h`` to scale.
            rates: Firing rates ``[B, L, D]``, in spikes a step, between 0 and 1.
        """


class Activation(nn.Module, ABC):
    """What stands after each linear of a spiking branch."""

    temporal: ClassVar[bool] = True
    """Whether what it gives at a step depends on the steps before; if not, a current that is held needs one step."""

    @abstractmethod
    def forward(self, currents: Tensor, threshold: Tensor) -> Tensor:
        """Output of every time step, ``[T, B, L, N]``.

        Args:
            currents: Input ``[T, B, L, N]``, dimensionless.
            threshold: 0-d or ``[B]``, dimensionless.
        """

    def run(self, currents: Tensor, threshold: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """As a call, going on where an earlier one stopped; forward hooks do not hear of it.

        Args:
            currents: As for a call; T may be 1.
            threshold: As for a call.
            state: ``[B, L, N]``, what the earlier one gave; None before the first.

        Returns:
            The output ``[T, B, L, N]``, and the state; None where there is nothing to carry.

        Raises:
            SpikingError: It cannot be continued.
        """
        raise SpikingError(
            f"{type(self).__name__} does not say how it goes on from a state (it has no method `run`); "
            "use another activation to stream"
        )


class ZooModel(nn.Module, ABC):
    """A whole model, put together from parts, that recipes name.

    ``__init__`` takes ``(inputs, parts, neuron, standardise)``, then keyword-only parameters:
    the model's ``params`` of a recipe.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]]
    """For each slot the kind of component that fits, or the base class of the parts (kind ``part``) that fit."""
    optional: ClassVar[Collection[str]] = ()
    """Slots that a recipe may leave out; ``parts`` gives None for them."""
    inputs: Inputs
    """What it was built for."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Logits ``[B, K]``."""

    @abstractmethod
    def layer_masks(self, batch: Batch) -> Mapping[str, Tensor | None]:
        """For each activation and spiking layer by its dotted name, the ``[B, L]`` positions that count.

        ``[T, B, 1]`` where the sequence is the steps (T = L); None where everything counts.
        """

    @abstractmethod
    def branches_by_name(self) -> Mapping[str, Sequence[tuple[nn.Linear, Activation]]]:
        """Each spiking branch: its linears with the activations they drive, in order."""


@dataclass(frozen=True)
class ReadGraph:
    """A NIR graph as a library's own reader took it.

    Attributes:
        run: Output ``[T, B, M]`` of currents ``[T, B, N]``, from rest at each call; float32, dimensionless.
        notes: What that library leaves out of account in such a graph, in words, with the file and function.
    """

    run: Callable[[Tensor], Tensor]
    notes: tuple[str, ...] = ()


class NIRReader(ABC):
    """Has a library read a NIR graph by its own reader, to compare what it makes of it."""

    @abstractmethod
    def read(self, graph: Any, *, dt: float, reset: Literal["value", "subtract"]) -> ReadGraph:
        """The graph as the library takes it; what it has an option for is passed on.

        Args:
            graph: A ``nir.NIRGraph`` for this call alone, which may be changed.
            dt: Length of a time step, in seconds.
            reset: Whether a spike sets the membrane to ``v_reset`` or takes the threshold from it; NIR does not say.
        """


class Logger(ABC):
    """Writes down somewhere else how a training goes, such as for a program that draws it.

    A recipe names loggers in ``training.loggers``. One is made for each training, and again where a
    training goes on, as ``Logger(folder, **params)``: the keyword-only parameters of ``__init__`` are the
    ``params`` of the recipe, checked against their annotations. It changes nothing of the training; one
    that raises is warned about and left out from there on.

    Args:
        folder: The run folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def started(self, info: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> None:
        """Training begins, or goes on.

        Args:
            info: Run, recipe, model, backend, seed, data, parameters, device, whether it is SYNTHETIC; and the
                resolved recipe's values as ``settings``.
            past: The epochs' records before it goes on; empty at a beginning. An earlier logger may have been
                told of each of them or not, and of one epoch more that is done again.
        """

    @abstractmethod
    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; ``record`` is its line of metrics.jsonl, see :meth:`numbers`."""

    def finished(self, summary: Mapping[str, Any]) -> None:  # noqa: B027
        """Training came to its end; ``summary`` is what summary.json holds."""

    def close(self) -> None:  # noqa: B027
        """It is over, whether it came to its end or not; nothing is told after this."""

    @staticmethod
    def numbers(record: Mapping[str, Any]) -> dict[str, float]:
        """A record's numbers by name, such as ``valid/map``, without those that are not defined."""
        return {
            path.replace(".", "/", 1): float(value)
            for path, value in leaves(record)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
