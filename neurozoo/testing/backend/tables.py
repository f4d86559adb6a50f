"""Membranes computed by hand, of every kind of neuron, and the cases on them: what the equations say, in nobody's code.

Decays and inputs are sums of powers of two, so that numbers are exact in floating point, and a membrane that is said to
equal the threshold does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec, ReLUSpec
from neurozoo.core.neuron import NeuronSpec
from neurozoo.testing.backend.inputs import B, N, T, same, spec_text
from neurozoo.testing.backend.subject import Subject, each_of
from neurozoo.testing.findings import require


@dataclass(frozen=True)
class Table:
    """One neuron over T steps, from rest.

    Attributes:
        name: What it shows.
        spec: The neuron.
        rows: A number for each step, by name: input ``x``, ``threshold``, distance ``u`` above the threshold before the
            reset, ``spike`` or ``output``, and every state after the step. Dimensionless.
    """

    name: str
    spec: NeuronSpec
    rows: Mapping[str, tuple[float, ...]]

    @property
    def outputs(self) -> tuple[float, ...]:
        """Spikes, or the numbers of a kind that does not fire."""
        return self.rows["spike" if self.spec.spiking else "output"]

    @property
    def tie(self) -> int | None:
        """The first step that fires with a membrane exactly at the threshold; None without one."""
        steps = enumerate(zip(self.rows.get("u", ()), self.outputs, strict=False))
        return next((step for step, (u, fires) in steps if u == 0 and fires), None)

    def arguments(self, steps: int) -> tuple[Tensor, None, Tensor]:
        """Currents, state and thresholds of the first steps, as a scan takes them: ``[steps, 1]``."""
        currents, thresholds = (torch.tensor(self.rows[name][:steps])[:, None] for name in ("x", "threshold"))
        return currents, None, thresholds


def _table(name: str, spec: NeuronSpec, text: str) -> Table:
    """A table of its rows as text; all thresholds are 1 by default."""
    rows = {row: tuple(map(float, numbers)) for row, *numbers in (line.split() for line in text.split("\n") if line)}
    return Table(name, spec, {"threshold": (1.0,) * len(rows["x"])} | rows)


# fmt: off
TABLES: tuple[Table, ...] = (
    _table("hard reset to 0", LIFSpec(), """
        x         1    1.5  3   .5    2
        u         -.5  0    .5  -.75  .125
        spike     0    1    1   0     1
        membrane  .5   0    0   .25   0"""),
    _table("soft reset", LIFSpec(v_reset=None), """
        x         1    1.5  3   .5   2
        u         -.5  0    .5  -.5  .25
        spike     0    1    1   0    1
        membrane  .5   0    .5  .5   .25"""),
    _table("hard reset to 0.2, which is also the rest", LIFSpec(v_reset=0.2), """
        x         1    1.5  3   .5    2
        u         -.3  .2   .7  -.55  .325
        spike     0    1    1   0     1
        membrane  .7   .2   .2  .45   .2"""),
    _table("input not divided by tau, hard reset", LIFSpec(decay_input=False), """
        x         .5   .5    .5     .5625  1.25  -.5
        u         -.5  -.25  -.125  0      .25   -1.5
        spike     0    0     0      1      1     0
        membrane  .5   .75   .875   0      0     -.5"""),
    _table("input not divided by tau, soft reset", LIFSpec(decay_input=False, v_reset=None), """
        x         .5   1    1     0
        u         -.5  .25  .125  -.9375
        spike     0    1    1     0
        membrane  .5   .25  .125  .0625"""),
    _table("input not divided by tau, hard reset to 0.2", LIFSpec(decay_input=False, v_reset=0.2), """
        x         .5   .5    .5    1   -.4
        u         -.3  -.05  .075  .2  -1.2
        spike     0    0     1     1   0
        membrane  .7   .95   .2    .2  -.2"""),
    _table("no leak, hard reset", LIFSpec(tau=math.inf, decay_input=False), """
        x         .5   .25   .25  .5   1.5  -.25
        u         -.5  -.25  0    -.5  1    -1.25
        spike     0    0     1    0    1    0
        membrane  .5   .75   0    .5   0    -.25"""),
    _table("no leak, soft reset", LIFSpec(tau=math.inf, decay_input=False, v_reset=None), """
        x         .5   .25   .25  .5   1.5  -.25
        u         -.5  -.25  0    -.5  1    -.25
        spike     0    0     1    0    1    0
        membrane  .5   .75   0    .5   1    .75"""),
    _table("no leak, hard reset to 0.2", LIFSpec(tau=math.inf, decay_input=False, v_reset=0.2), """
        x         .5   .25   .25  .5   1.5  -.25
        u         -.3  -.05  .2   -.3  1.2  -1.05
        spike     0    0     1    0    1    0
        membrane  .7   .95   .2   .7   .2   -.05"""),
    _table("a threshold for each step, hard reset", LIFSpec(), """
        x          2  2    2     2  2
        threshold  1  1.5  1.25  1  1.5
        u          0  -.5  .25   0  -.5
        spike      1  0    1     1  0
        membrane   0  1    0     0  1"""),
    _table("a threshold for each step, soft reset by that step's threshold", LIFSpec(v_reset=None), """
        x          2   2    2     2
        threshold  .5  1    .5    2
        u          .5  .25  .625  -.6875
        spike      1   1    1     0
        membrane   .5  .25  .625  1.3125"""),
    _table("a threshold of 0 and one below: a resting neuron fires", LIFSpec(), """
        x          0  -1   -1
        threshold  0  -.5  -.25
        u          0  0    -.25
        spike      1  1    0
        membrane   0  0    -.5"""),
    _table("a leak of a quarter, hard reset", PLIFSpec(leak=0.25), """
        x         2    2.5  6   1
        u         -.5  0    .5  -.75
        spike     0    1    1   0
        membrane  .5   0    0   .25"""),
    _table("a leak of a quarter, input not scaled by it, soft reset",
        PLIFSpec(leak=0.25, decay_input=False, v_reset=None), """
        x         .5   1     .5       .5
        u         -.5  .375  -.21875  .0859375
        spike     0    1     0        1
        membrane  .5   .375  .78125   .0859375"""),
    _table("adaptive LIF", AdLIFSpec(membrane_decay=0.5, adaptation_decay=0.5, coupling=0.5, jump=1.0), """
        x         4  4    2       4        4.015625
        u         1  .5   -1.125  .28125   0
        spike     1  1    0       1        1
        membrane  2  1.5  -.125   1.28125  1
        recovery  0  2    2.75    1.3125   2.296875"""),
    _table("adaptive threshold, refractory for a step",
        ALIFSpec(membrane_decay=0.5, adaptation_decay=0.5, adaptation=0.5, refractory=2), """
        x           1  3    .25  0       1.5
        u           0  1    .25  -1.875  .0625
        spike       1  0    1    0       1
        membrane    1  2.5  1.5  -.25    1.375
        adaptation  0  1    .5   1.25    .625
        refractory  1  0    1    0       1"""),
    _table("a current of its own, hard reset", CubaSpec(synapse_decay=0.5, membrane_decay=0.5), """
        x         .5   .5   0      1       .5
        u         -.5  0    -.625  .375    .09375
        spike     0    1    0      1       1
        current   .5   .75  .375   1.1875  1.09375
        membrane  .5   0    .375   0       0"""),
    _table("a current of its own, soft reset", CubaSpec(synapse_decay=0.5, membrane_decay=0.5, v_reset=None), """
        x         .5   .5   0      1       .5
        u         -.5  0    -.625  .375    .28125
        spike     0    1    0      1       1
        current   .5   .75  .375   1.1875  1.09375
        membrane  .5   0    .375   .375    .28125"""),
    _table("a current halved, hard reset to .25, which is also the rest",
        CubaSpec(synapse_decay=0.5, membrane_decay=0.5, gain=0.5, v_reset=0.25), """
        x         .5   2     0
        u         -.5  .5    -.1875
        spike     0    1     0
        current   .5   2.25  1.125
        membrane  .5   .25   .8125"""),
    _table("a current of its own, the spike first",
        CubaSpec(synapse_decay=0.5, membrane_decay=0.5, order="fire-first"), """
        x         2   0   0   1     0     0
        u         -1  -1  1   -1    -.5   .5
        spike     0   0   1   0     0     1
        current   2   1   .5  1.25  .625  .3125
        membrane  0   2   0   .5    1.5   0"""),
    _table("a leaky integrator, from rest at .5", LISpec(decay=0.5, gain=0.5, v_rest=0.5), """
        x         1  0    -1
        output    1  .75  .125
        membrane  1  .75  .125"""),
    _table("a ReLU, divided by the threshold", ReLUSpec(), """
        x          .75  1   -3
        threshold  1    2   .5
        output     .75  .5  0"""),
)
# fmt: on
TABLES += tuple(
    replace(table, name=table.name.replace("no leak", "integrate-and-fire"), spec=IFSpec(v_reset=table.spec.v_reset))
    for table in TABLES
    if isinstance(table.spec, LIFSpec) and table.spec.tau == math.inf
)


@each_of(dict.fromkeys(table.spec for table in TABLES))
def hand_computed_membranes(subject: Subject, spec: NeuronSpec) -> None:
    """Spikes are those of the tables, and states to 1e-6."""
    subject.oracle(spec)
    neuron = subject.make(spec)
    for table in (table for table in TABLES if table.spec == spec):
        steps = len(table.outputs)
        spikes, _ = neuron.scan(*table.arguments(steps))
        if spec.spiking or subject.exact:
            same(spikes.flatten().tolist(), list(table.outputs), f"spikes of {table.name!r}")
        for step in range(steps):
            _, after = neuron.scan(*table.arguments(step + 1))
            for name, state in zip(spec.states, after, strict=True):
                want = table.rows[name][step]
                got = f"{name} {state.item():.7g} after step {step} of {table.name!r}"
                require(abs(state.item() - want) < 1e-6, f"{got}, not {want:.7g}")
        subject.compared += steps


@each_of(LIFSpec(v_reset=v_reset) for v_reset in (0.0, None))
def ties_fire(subject: Subject, spec: LIFSpec) -> None:
    """A membrane that equals the threshold fires. With eighths and tau 2 no way of writing the equation rounds."""
    grid = torch.randint(-16, 33, (T, B, 256), generator=torch.Generator().manual_seed(0)) / 8
    thresholds: tuple[Tensor | float, ...] = (0.5, torch.tensor(1.0), torch.full((1, B, 1), 0.25))
    for threshold in thresholds:
        expected, _ = subject.oracle(spec).scan(grid, None, threshold)
        spikes, _ = subject.make(spec).scan(grid, None, threshold)
        same(spikes, expected, f"spikes on a grid of eighths, {spec_text(spec)}")
        tie = torch.as_tensor(threshold).reshape(-1)[0] * 2  # h = threshold in the first step
        spikes, _ = subject.make(spec).scan(tie.expand(1, B, N), None, threshold)
        same(spikes, torch.ones(1, B, N), f"spikes where the membrane equals the threshold, {spec_text(spec)}")
        subject.compared += expected.numel() + spikes.numel()


TABLES_WITH_TIES = tuple(table for table in TABLES if table.tie is not None)


@each_of(dict.fromkeys(replace(table.spec, tie="silent") for table in TABLES_WITH_TIES))  # type: ignore[call-arg]
def silent_ties(subject: Subject, spec: NeuronSpec) -> None:
    """A membrane that equals the threshold does not fire if the specification's ``tie`` is silent."""
    subject.oracle(spec)
    for table in TABLES_WITH_TIES:
        if replace(table.spec, tie="silent") == spec and table.tie is not None:  # type: ignore[call-arg]
            got, _ = subject.make(spec).scan(*table.arguments(table.tie + 1))
            want = [*table.outputs[: table.tie], 0.0]
            same(got.flatten().tolist(), want, f"spikes of {table.name!r} with silent ties")
            subject.compared += got.numel()
