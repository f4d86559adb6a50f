"""Cases on made-up neurons and currents, as many as hypothesis makes up; the same ones each time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neurozoo.core.interfaces import SURROGATES, LIFSpec
from neurozoo.testing.backend.inputs import cut_threshold, describe, same
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.findings import NotRun

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["PROPERTY_CASES"]

EXAMPLES = 40


@dataclass(frozen=True)
class Scene:
    """One call of a neuron.

    Attributes:
        spec: The neuron.
        currents: ``[T, B, ...]``, dimensionless.
        threshold: Of one of the allowed forms.
    """

    spec: LIFSpec
    currents: Tensor
    threshold: Tensor | float

    def __repr__(self) -> str:  # what hypothesis shows
        return describe(self.spec, self.currents, self.threshold)


def any_spikes(subject: Subject) -> None:
    """Whatever the neuron, shapes, threshold and currents: the spikes are the oracle's."""
    subject.oracle(subject.usual())

    def holds(scene: Scene) -> None:
        subject.check_spikes(scene.spec, scene.currents, scene.threshold)

    _for_all(subject, holds)


def any_cut(subject: Subject) -> None:
    """Whatever the call: cut in two at any step, it gives the same."""

    def holds(scene: Scene) -> None:
        neuron = subject.make(scene.spec)
        spikes, v = neuron.scan(scene.currents, None, scene.threshold)
        for cut in range(1, scene.currents.shape[0]):
            head, tail = cut_threshold(scene.threshold, cut)
            early, state = neuron.scan(scene.currents[:cut], None, head)
            late, last = neuron.scan(scene.currents[cut:], state, tail)
            same(torch.cat([early, late]), spikes, f"spikes cut after step {cut}: {scene}")
            same(last, v, f"last membrane, cut after step {cut}: {scene}")

    _for_all(subject, holds)


def any_order_of_samples(subject: Subject) -> None:
    """Whatever the call: samples in another order give the same, in that order."""

    def holds(scene: Scene) -> None:
        order = torch.randperm(scene.currents.shape[1], generator=torch.Generator().manual_seed(0))
        by_sample = isinstance(scene.threshold, Tensor) and scene.threshold.dim() and scene.threshold.shape[1] > 1
        threshold = scene.threshold[:, order] if by_sample else scene.threshold  # type: ignore[index]
        neuron = subject.make(scene.spec)
        spikes, v = neuron.scan(scene.currents, None, scene.threshold)
        shuffled, last = neuron.scan(scene.currents[:, order], None, threshold)
        same(shuffled, spikes[:, order], f"spikes of samples in another order: {scene}")
        same(last, v[order], f"last membrane of samples in another order: {scene}")

    _for_all(subject, holds)


def any_gradients(subject: Subject) -> None:
    """Whatever the call: where spikes do not flip by rounding, gradients are the oracle's."""
    subject.oracle(subject.usual())

    def holds(scene: Scene) -> None:
        subject.check_gradients(scene.spec, scene.currents, scene.threshold)

    _for_all(subject, holds)


PROPERTY_CASES: tuple[Callable[[Subject], None], ...] = (any_spikes, any_cut, any_order_of_samples, any_gradients)


def _for_all(subject: Subject, holds: Callable[[Scene], None]) -> None:
    """Try a property on many scenes; the simplest in which it fails is what is reported.

    Raises:
        NotRun: hypothesis is not installed, or every neuron is refused.
    """
    try:
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis.errors import Unsatisfiable
    except ImportError as error:
        raise NotRun("needs hypothesis: pip install 'neurozoo[testing]'") from error
    chosen: Any = settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    try:
        with _no_folder_left():
            chosen(given(_scenes(subject))(holds))()
    except Unsatisfiable as error:
        raise NotRun("it refuses nearly every neuron that was made up") from error


@contextmanager
def _no_folder_left() -> Iterator[None]:
    """Keep hypothesis from writing its .hypothesis to where the user stands, unless a place was chosen (by pytest)."""
    from hypothesis import configuration

    chosen = getattr(configuration, "__hypothesis_home_directory", None) or os.environ.get(
        "HYPOTHESIS_STORAGE_DIRECTORY"
    )
    if chosen:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        configuration.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(None)


def _scenes(subject: Subject) -> SearchStrategy[Scene]:
    from hypothesis import strategies as st

    specs = st.builds(
        LIFSpec,
        tau=st.one_of(st.sampled_from([2.0, 1.5, 1.01, 100.0]), st.floats(1.01, 100.0)),
        decay_input=st.booleans(),
        v_reset=st.sampled_from([0.0, None, 0.2, -0.5]),
        detach_reset=st.booleans(),
        surrogate=st.sampled_from(SURROGATES),
        alpha=st.floats(0.5, 5.0),
    ).filter(subject.accepts)

    @st.composite
    def scenes(draw: DrawFn) -> Scene:
        # T, B and one or two axes of neurons; a batch may be empty, and each may be of one.
        sizes = [st.integers(1, 6), st.integers(0, 4), *[st.integers(1, 5)] * draw(st.integers(1, 2))]
        shape = tuple(draw(size) for size in sizes)
        random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
        currents = draw(st.sampled_from(_CURRENTS))(shape, random)
        form = draw(st.sampled_from(["float", "0-d", "tensor"]))
        if form == "float":
            return Scene(draw(specs), currents, draw(st.sampled_from([0.25, 0.7, 1.0, 2.5])))
        axes = () if form == "0-d" else tuple(draw(st.sampled_from([1, size])) for size in shape)
        return Scene(draw(specs), currents, 0.25 + torch.rand(axes, generator=random))

    return scenes()


def _normal(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=random) * 2 + 0.5


def _grid(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return torch.randint(-16, 33, shape, generator=random) / 8


def _none(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return torch.zeros(shape)


def _huge(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=random) * 1e6


_CURRENTS = (_normal, _grid, _none, _huge)
