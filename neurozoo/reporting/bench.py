"""Costs as tables, pictures and a page."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from neurozoo.bench.busy import BusyCost
from neurozoo.bench.data import DataCost
from neurozoo.bench.neurons import NeuronCosts
from neurozoo.bench.training import FirstStep, TrainingCost
from neurozoo.bench.zoo import BOUNDS, SHARE, ZooCost
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.figures import bars
from neurozoo.reporting.page import Picture, html_page
from neurozoo.reporting.tables import Table, markdown

__all__ = [
    "as_page",
    "busy_table",
    "data_table",
    "loop_table",
    "neurons_page",
    "neurons_table",
    "plainly",
    "training_table",
    "zoo_page",
    "zoo_tables",
]

_INTRODUCTION = """\
# Performance

This page is written by a command, and nothing here is typed by hand:

```
{command}
```

on {machine}. Runs took turns in one process, and their medians are compared; the times are of that machine and
say nothing of yours. `neurozoo bench neurons`, `bench train RECIPE` and `bench data STORE` measure yours, each with
`--json`, the first with pictures by `--html`.

What has not been measured: GPUs, and more than {threads} threads.

Of each T there are two tables. In the first, currents and gradients are the same tensors each time. In a plain loop,
every step brings new ones, as in training; their memory costs all backends the same, so that ratios are smaller.
How memory grows with T measures `python tests/benchmarks/long_sequences.py`, in a clone; see
[exact gradients in little memory](eprop.md#exact-gradients-in-little-memory). Time to a recipe's first step measures
`neurozoo bench train RECIPE --start`, with its processor time; the first time on a machine, numba compiles, which takes
longer. `python tests/benchmarks/first_steps.py`, in a clone, measures it for all recipes whose data is here, and what
the step itself takes. About half of a small recipe's is importing torch. The step of `carat_mosei` takes six seconds,
that of `tailor_mosei` ten, and that of `hhmpn_mosei` two minutes: 64 samples through 370 million weights.

## A busy machine

`neurozoo bench train RECIPE --busy 2` times a step once more while two processes spin in pure Python. A training whose
threads wait by spinning can come to a standstill there; neurozoo has them sleep soon, see
[Training](training.md#a-busy-machine). What it is worth shows the same command with libgomp's own setting:

```
neurozoo bench train smile_mosei --threads 2 --busy 2
GOMP_SPINCOUNT=300000 neurozoo bench train smile_mosei --threads 2 --busy 2
```

Nothing else should compute meanwhile. After a minute no further step is begun, and one can take longer than that.
"""

_ZOO_INTRODUCTION = """\
# Published models: speed and memory next to plain writings

Written by `{command}` on {machine}.

A training step (forward, loss, backward, Adam) of published models, reduced in size, takes turns in one process with
the same network as a user of another library writes it from its paper: on SpikingJelly's layers and neurons over all
steps, or on Norse's recurrent layers. Both get the same inputs, and the same weights. Medians are compared; the times
are of that machine and say nothing of yours.

| Column | Meaning |
|---|---|
| plain takes | median time of the plain writing's step, in times of ours |
| peak | the most that tensors take at a time in a step, beyond weights, the optimiser's state and inputs |
| share | of the plain writing's peak |
| loss | whether both have the same loss in the first step. Norse's neurons are near the published ones, not equal |

The goal is {convolutional} times for convolutional and {recurrent} times for recurrent models, and {share:.0%} of the
memory; what misses it is named under the table. Larger batches of the recurrent models bring the times together, since
products of matrices, which are equal in both, then outweigh the loop over time.
"""


def zoo_tables(costs: Sequence[ZooCost]) -> list[Table]:
    """Published models and their plain writings; what misses the goal is in the notes."""
    head = ["size", "batch", "inputs", "parameters", "step", "plain", "plain takes", "peak", "plain", "share", "loss"]
    rows = [
        [
            each.size, str(each.batch), f"{each.steps} x {' x '.join(map(str, each.shape))}", f"{each.parameters:,}",
            f"{each.step_ms:.1f} ms", f"{each.plain_step_ms:.1f} ms ({each.library})", f"{each.speed:.2f}",
            f"{each.peak_mib:.1f} MiB", f"{each.plain_peak_mib:.1f} MiB", f"{each.memory:.2f}",
            "same" if each.same else "other",
        ]
        for each in costs
    ]  # fmt: skip
    notes = [f"Backend {costs[0].backend}, {costs[0].threads} threads, medians of {costs[0].rounds}."] if costs else []
    for each in costs:
        if each.speed < BOUNDS[each.group]:
            notes.append(f"{each.size} misses the goal of {BOUNDS[each.group]} times, with {each.speed:.2f}")
        if each.memory > SHARE:
            notes.append(f"{each.size} misses the goal of {SHARE:.0%} of the memory, with {each.memory:.0%}")
    return [Table(f"A training step next to its plain writing. {SYNTHETIC_NOTICE}", head, rows, notes)]


def zoo_page(costs: Sequence[ZooCost], command: str) -> str:
    """Return ``docs/models/speed.md``."""
    introduction = _ZOO_INTRODUCTION.format(
        command=command, machine=f"{platform.system()} {platform.machine()}, {costs[0].threads} threads",
        convolutional=BOUNDS["convolutional"], recurrent=BOUNDS["recurrent"], share=SHARE,
    )  # fmt: skip
    return f"{introduction}\n{markdown(zoo_tables(costs))}"


def plainly(costs: NeuronCosts) -> str:
    """Which backend is the fastest at what, in a sentence."""
    forward = min(costs.backends, key=lambda each: each.forward_ms).backend
    both = min(costs.backends, key=lambda each: each.both_ms).backend
    winner = f"the fastest is {both}" if forward == both else f"the fastest forward is {forward}, with backward {both}"
    return f"At T = {costs.steps}{', one current repeated' if costs.repeated else ''}, {winner}."


def neurons_table(costs: NeuronCosts) -> Table:
    """The costs at one T."""
    fastest = min(each.both_ms for each in costs.backends)
    leanest = min((each.peak_mib for each in costs.backends if each.peak_mib is not None), default=0.0)
    rows = []
    for each in costs.backends:
        times = [f"{each.forward_ms:.1f} ms", f"{each.forward_ms / costs.copies_ms:.2f}"]
        times += [f"{each.both_ms:.1f} ms", f"{each.both_ms / costs.copies_ms:.2f}", f"{each.both_ms / fastest:.2f}"]
        peak = ["-", "-"]
        if each.peak_mib is not None:
            peak = [f"{each.peak_mib:.0f} MiB", f"{each.peak_mib / max(leanest, 1e-9):.2f}"]
        rows.append([each.backend, *times, *peak, f"{each.kept_mib:.0f} MiB"])
    head = ["backend", "forward", "of copies", "and backward", "of copies", "of fastest", "peak", "of leanest", "kept"]
    notes = [
        plainly(costs),
        "Kept is what autograd keeps between forward and backward, beyond the currents that came in.",
        f"{costs.threads} threads, {costs.device}, medians of {costs.rounds}; copying two tensors of the currents' "
        f"size takes {costs.copies_ms:.1f} ms.",
    ]
    return Table(f"Neurons{_what(costs)}", head, rows, notes)


def loop_table(costs: NeuronCosts) -> Table:
    """The costs at one T in a plain loop, where nothing is used again."""
    fastest = min(each.loop_ms for each in costs.backends)

    def row(name: str, time: float, faults: int | None, *more: str) -> list[str]:
        return [name, f"{time:.1f} ms", *more, "-" if faults is None else f"{faults:,}"]

    rows = [
        row(
            each.backend, each.loop_ms, each.loop_faults, f"{each.loop_ms / costs.least_loop_ms:.2f}",
            f"{each.loop_ms / fastest:.2f}",
        )
        for each in costs.backends
    ]  # fmt: skip
    rows.append(row("new currents alone", costs.currents_ms, costs.currents_faults, "", ""))
    slower = sorted(each.loop_ms for each in costs.backends)[1:2]
    limit = f"; the next backend takes {slower[0] / costs.least_loop_ms:.1f} times as long as that" if slower else ""
    notes = [
        "A step: new currents by a copy, forward, backward, and the release of all.",
        f"Least is new currents and {costs.passes} passes over {costs.currents_mib:.0f} MiB, "
        f"{costs.least_loop_ms:.1f} ms{limit}.",
        "Pages are those that the system gave in a step, and cleared.",
    ]
    return Table(
        f"Neurons in a plain loop{_what(costs)}", ["backend", "step", "of least", "of fastest", "pages"], rows, notes
    )


def _what(costs: NeuronCosts) -> str:
    kind = "" if costs.kind == "lif" else f" ({costs.kind})"
    repeated = ", one current repeated" if costs.repeated else ""
    return f"{kind}: T = {costs.steps}, {' x '.join(map(str, costs.shape))}{repeated}"


def neurons_page(costs: Sequence[NeuronCosts]) -> str:
    """One HTML file with pictures.

    Raises:
        UserError: matplotlib is not installed.
    """
    content: list[Table | Picture] = []
    for each in costs:
        names, at = [one.backend for one in each.backends], f"at T = {each.steps}"
        times = {
            "forward": [one.forward_ms / each.copies_ms for one in each.backends],
            "forward and backward": [one.both_ms / each.copies_ms for one in each.backends],
        }
        peaks = [one.peak_mib for one in each.backends if one.peak_mib is not None]
        unit, label = "times as long as copying two tensors of that size", f"how long each backend's neurons take {at}"
        content += [neurons_table(each), Picture(f"Time {at}", bars(names, times, unit=unit, label=label))]
        content.append(loop_table(each))
        if len(peaks) == len(names):
            label = f"how much memory each backend's neurons take {at}"
            drawn = bars(names, {"peak": peaks}, unit="MiB", label=label, legend=False)
            content.append(Picture(f"Memory {at}", drawn))
    return html_page("What neurons cost", content)


def training_table(cost: TrainingCost, first_step: FirstStep | None = None) -> Table:
    """The costs of a recipe's training."""
    batch = cost.batch_size
    rows = [
        ["feeding a batch", f"{cost.feeding_ms:.2f} ms", f"{cost.feeding_share:.1%} of step and feeding", ""],
        *([["in the first epoch", f"{first:.2f} ms", "", ""]] if (first := cost.first_feeding_ms) is not None else []),
        [f"a step of {batch}", f"{cost.step_ms:.1f} ms", "", _ratio(cost.plain_step_ms, cost.step_ms)],
        [
            f"evaluating {batch}",
            f"{cost.evaluation_ms:.1f} ms",
            "",
            _ratio(cost.plain_evaluation_ms, cost.evaluation_ms),
        ],
        ["evaluating 1", f"{cost.one_ms:.2f} ms", "", _ratio(cost.plain_one_ms, cost.one_ms)],
        ["metrics and log, by step", f"{cost.around_ms:.2f} ms", f"{cost.around_share:.1%} of a step", ""],
    ]
    if first_step is not None:
        share = f"{first_step.importing / first_step.seconds:.0%} importing torch"
        share += f"; {first_step.processor:.1f} s of processor time, the step itself {first_step.step:.1f} s"
        rows.append(["from command to first step", f"{first_step.seconds:.1f} s", share, ""])
    parts = "".join(f", {slot} {name}" for slot, name in cost.parts.items())
    notes = [f"backend {cost.backend}{parts}, {cost.threads} threads, {cost.device}, medians of {cost.rounds}."]
    if cost.plain_step_ms is not None:
        notes.append("The plain form is SMILE's arithmetic one operation after another, with the core's neurons.")
    return Table(f"Training {cost.recipe}", ["what", "time", "share", "plain form takes"], rows, notes)


def data_table(cost: DataCost) -> Table:
    """The costs of reading a store."""
    rows = [
        ["in order", f"{cost.in_order_ms:.2f} ms", f"{cost.in_order_ms / cost.copy_ms:.1f}"],
        ["shuffled", f"{cost.shuffled_ms:.2f} ms", f"{cost.shuffled_ms / cost.copy_ms:.1f}"],
    ]
    title = f"Reading {cost.path}: {cost.split}, {cost.samples} samples, batches of {cost.batch_size}"
    return Table(
        title, ["a batch", "time", "of a copy"], rows, [f"{cost.batch_mib:.1f} MiB a batch; median of {cost.rounds}."]
    )


def busy_table(cost: BusyCost) -> Table:
    """A training step with and without other processes that compute."""
    others = f"{cost.processes} busy process{'es' if cost.processes != 1 else ''}"
    rows = [
        ["on its own", f"{cost.idle_ms:.1f} ms", str(cost.idle_rounds), "1.00"],
        [f"with {others}", f"{cost.busy_ms:.1f} ms", str(cost.busy_rounds), f"{cost.slowdown:.2f}"],
    ]
    notes = [
        f"With equal shares of the {cost.cores} cores for all threads: {cost.fair_slowdown:.2f} times as long.",
        f"{cost.threads} threads; {cost.waiting}.",
    ]
    title = f"A step of {cost.batch_size} of {cost.recipe} on a busy machine"
    return Table(title, ["a step", "time", "steps timed", "times as long"], rows, notes)


def as_page(
    neurons: Sequence[NeuronCosts], training: Sequence[tuple[TrainingCost, FirstStep]], busy: BusyCost, command: str
) -> str:
    """``docs/performance.md``."""
    of_neurons = [table(each) for each in neurons for table in (neurons_table, loop_table)]
    tables = [busy_table(busy), *of_neurons, *(training_table(*each) for each in training)]
    machine = f"{platform.system()} {platform.machine()}, {neurons[0].threads} threads"
    introduction = _INTRODUCTION.format(command=command, machine=machine, threads=neurons[0].threads)
    return f"{introduction}\n{markdown(tables)}"


def _ratio(plain: float | None, ours: float) -> str:
    return "" if plain is None else f"{plain / ours:.2f} times as long"
