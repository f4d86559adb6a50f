"""Cases on neurons, shapes, thresholds and currents that hypothesis generates, the same in every run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import Tensor

from neurozoo.core.equations import SURROGATES
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.neuron import NeuronSpec
from neurozoo.errors import install_extra
from neurozoo.testing.backend.inputs import SPECS, cut_threshold, describe, same
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.findings import NotRun

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy


EXAMPLES = 100

CURRENTS: tuple[Callable[[tuple[int, ...], torch.Generator], Tensor], ...] = (
    lambda shape, random: torch.randn(shape, generator=random) * 2 + 0.5,
    lambda shape, random: torch.randint(-16, 33, shape, generator=random) / 8,  # with ties
    lambda shape, random: torch.zeros(shape),
    lambda shape, random: torch.randn(shape, generator=random) * 1e6,
)


@dataclass(frozen=True)
class Call:
    """One call of a neuron, on currents ``[T, B, ...]``."""

    spec: NeuronSpec
    currents: Tensor
    threshold: Tensor | float

    def __repr__(self) -> str:  # hypothesis prints it
        return describe(self.spec, self.currents, self.threshold)


def _for_any_call(holds: Callable[[Subject, Call], None]) -> Callable[[Subject], None]:
    """A decorator that checks a property on many calls, and reports the simplest that fails."""

    @wraps(holds)
    def run(subject: Subject) -> None:
        try:
            from hypothesis import HealthCheck, Phase, given, settings
            from hypothesis.errors import Unsatisfiable
        except ImportError as error:
            raise NotRun(f"needs hypothesis: {install_extra('testing')}") from error
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

        def on_a_call(call: Call) -> None:
            holds(subject, call)

        subject.usual()  # without any neuron there is nothing to generate
        try:
            with _isolated():
                chosen(given(_calls(subject))(on_a_call))()
        except Unsatisfiable as error:
            raise NotRun("it refuses nearly every neuron that was generated") from error

    return run


@_for_any_call
def any_spikes(subject: Subject, call: Call) -> None:
    """Spikes are the oracle's."""
    subject.check_spikes(call.spec, call.currents, call.threshold)


@_for_any_call
def any_cut(subject: Subject, call: Call) -> None:
    """Cut in two at any step, a call gives the same."""
    neuron = subject.make(call.spec)
    spikes, last = neuron.scan(call.currents, None, call.threshold)
    for cut in range(1, call.currents.shape[0]):
        head, tail = cut_threshold(call.threshold, cut)
        early, state = neuron.scan(call.currents[:cut], None, head)
        late, after = neuron.scan(call.currents[cut:], state, tail)
        same(torch.cat([early, late]), spikes, f"spikes cut after step {cut}: {call}")
        same(after, last, f"last state, cut after step {cut}: {call}")


@_for_any_call
def any_order_of_samples(subject: Subject, call: Call) -> None:
    """Samples in another order give the same, in that order."""
    order = torch.randperm(call.currents.shape[1], generator=torch.Generator().manual_seed(0))
    threshold = call.threshold
    if isinstance(threshold, Tensor) and threshold.dim() and threshold.shape[1] > 1:
        threshold = threshold[:, order]
    neuron = subject.make(call.spec)
    spikes, last = neuron.scan(call.currents, None, call.threshold)
    shuffled, after = neuron.scan(call.currents[:, order], None, threshold)
    same(shuffled, spikes[:, order], f"spikes of samples in another order: {call}")
    same(after, tuple(each[order] for each in last), f"last state of samples in another order: {call}")


@_for_any_call
def any_gradients(subject: Subject, call: Call) -> None:
    """Gradients are the oracle's where spikes do not flip by rounding."""
    subject.check_gradients(call.spec, call.currents, call.threshold)


def _calls(subject: Subject) -> SearchStrategy[Call]:
    from hypothesis import strategies as st

    lif = st.builds(
        LIFSpec,
        tau=st.one_of(st.sampled_from([2.0, 1.5, 1.01, 100.0]), st.floats(1.01, 100.0)),
        decay_input=st.booleans(),
        v_reset=st.sampled_from([0.0, None, 0.2, -0.5]),
        detach_reset=st.booleans(),
        surrogate=st.sampled_from(SURROGATES),
        alpha=st.floats(0.5, 5.0),
    )
    others = [spec for spec in SPECS if spec.kind != "lif" and spec.kind in subject.declared and subject.accepts(spec)]
    specs: SearchStrategy[NeuronSpec] = st.sampled_from(others) if others else st.nothing()
    if "lif" in subject.declared:
        specs = lif.filter(subject.accepts) | specs

    @st.composite
    def calls(draw: DrawFn) -> Call:
        # T, B and one or two axes of neurons; a batch may be empty, and each may be of one.
        sizes = [st.integers(1, 6), st.integers(0, 4), *[st.integers(1, 5)] * draw(st.integers(1, 2))]
        shape = tuple(draw(size) for size in sizes)
        random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
        currents = draw(st.sampled_from(CURRENTS))(shape, random)
        form = draw(st.sampled_from(["float", "0-d", "tensor"]))
        if form == "float":
            return Call(draw(specs), currents, draw(st.sampled_from([0.25, 0.7, 1.0, 2.5])))
        axes = () if form == "0-d" else tuple(draw(st.sampled_from([1, size])) for size in shape)
        return Call(draw(specs), currents, 0.25 + torch.rand(axes, generator=random))

    return calls()


@contextmanager
def _isolated() -> Iterator[None]:
    """Keep hypothesis from writing to the working directory, and from drawing constants of whatever is imported."""
    from hypothesis import configuration
    from hypothesis.internal.conjecture import providers

    with ExitStack() as stack:
        chosen = getattr(configuration, "__hypothesis_home_directory", None)  # as by pytest
        if not (chosen or os.environ.get("HYPOTHESIS_STORAGE_DIRECTORY")):
            configuration.set_hypothesis_home_dir(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.callback(configuration.set_hypothesis_home_dir, None)
        if hasattr(providers, "_get_local_constants"):  # not there in older versions
            stack.enter_context(patch.object(providers, "_get_local_constants", lambda: providers._local_constants))
        yield
