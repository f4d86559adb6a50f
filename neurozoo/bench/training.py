"""What a recipe's training takes: start-up, feeding, steps, evaluation and what stands around them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from statistics import median

import torch
from torch import nn

from neurozoo.bench.interleaved import in_turns
from neurozoo.bench.plain_smile import PlainSMILE
from neurozoo.core.model import Model
from neurozoo.core.signals import Batch, Problem
from neurozoo.core.task import Task
from neurozoo.data.view import DataView
from neurozoo.errors import NeurozooError, UserError
from neurozoo.models.build import build_model, open_experiment
from neurozoo.models.smile.model import SMILE
from neurozoo.recipe.recipe import Recipe
from neurozoo.recipe.schema import AugmentRef
from neurozoo.registry.registry import slot_kind
from neurozoo.runs.device import choose_device
from neurozoo.runs.json_files import append_json
from neurozoo.training.augmentation import EventAugmenter
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.prepare import prepare_task
from neurozoo.training.step import Stepper
from neurozoo.training.train import own_random_numbers

__all__ = ["FirstStep", "TrainingCost", "measure_first_step", "measure_training", "training_step"]

_WARM_UP = 30.0
"""Seconds at most in which samples are represented before reading them is timed."""
SHORT = 20
"""Short runs are timed this many times as often as long ones, and separately, so that they do not share caches."""

# Prints what the step itself takes, from its first batch on.
_FIRST_STEP = """
import os, sys, time
from neurozoo.cli import main
from neurozoo.training.step import Stepper
add, step, begun = Stepper.add, Stepper.step, []
def added(self, *args, **options):
    begun.append(time.process_time())
    return add(self, *args, **options)
def stepped(self):
    step(self)
    print(time.process_time() - begun[0], flush=True)
    os._exit(0)
Stepper.add, Stepper.step = added, stepped
main(sys.argv[1:])
os._exit(1)
"""
_IMPORTS = """
import os, torch
os._exit(0)
"""


@dataclass(frozen=True)
class TrainingCost:
    """What a recipe's training takes here; all in milliseconds, medians.

    Attributes:
        recipe: Its name.
        backend: What runs its neurons.
        parts: The parts (kind ``part``) that the recipe names, by slot.
        threads: Threads of torch.
        device: Where.
        batch_size: Samples a step.
        rounds: How often each was timed.
        feeding_ms: Reading a batch of the training split; where signals are represented, after the first epoch, when
            they are kept in memory as far as there is room.
        step_ms: Forward, backward and the optimiser's step.
        evaluation_ms: A forward of the same batch, without a gradient.
        one_ms: The same of one sample.
        around_ms: Metrics and the line in ``metrics.jsonl`` after an epoch, divided by its steps.
        plain_step_ms: The step in the plain form of SMILE (``neurozoo.bench.plain_smile``); None where there is none.
        plain_evaluation_ms: A forward in that form.
        plain_one_ms: The same of one sample.
        first_feeding_ms: Reading and representing a batch in the first epoch; None if no signal is represented.
    """

    recipe: str
    backend: str
    parts: Mapping[str, str]
    threads: int
    device: str
    batch_size: int
    rounds: int
    feeding_ms: float
    step_ms: float
    evaluation_ms: float
    one_ms: float
    around_ms: float
    plain_step_ms: float | None = None
    plain_evaluation_ms: float | None = None
    plain_one_ms: float | None = None
    first_feeding_ms: float | None = None

    @property
    def feeding_share(self) -> float:
        """Of a step and its feeding, dimensionless."""
        return self.feeding_ms / (self.feeding_ms + self.step_ms)

    @property
    def around_share(self) -> float:
        """Of a step and what is done around it, dimensionless."""
        return self.around_ms / (self.around_ms + self.step_ms)


def measure_training(recipe: Recipe, *, rounds: int = 15) -> TrainingCost:
    """Time a recipe's step on its own data, SMILE alternately with its plain form; nothing is kept.

    Raises:
        UserError: The data or the device cannot be used.
    """
    device = choose_device(recipe.training.device)
    experiment = open_experiment(recipe)
    view, problem, size = experiment.view, experiment.problem, recipe.training.batch_size
    with own_random_numbers(recipe):
        batch = next(iter(view.batches("train", size))).to(device)
        alone = next(iter(view.batches("train", 1))).to(device)
        model = experiment.build().to(device)
        prepare_task(model, view, device)
        optimizer = make_optimizer(recipe, model)
        plain = _plain_form(model, recipe, problem, device)

        def evaluate(module: nn.Module, given: Batch) -> Callable[[], object]:
            def run() -> None:
                if module.training:
                    module.eval()
                with torch.no_grad():
                    module(given)

            return run

        steps: dict[str, Callable[[], object]] = {}
        evaluations: dict[str, Callable[[], object]] = {"evaluation": evaluate(model, batch)}
        short: dict[str, Callable[[], object]] = {"one": evaluate(model, alone)}
        if plain is not None:
            steps["plain step"] = _plain_step(plain, batch, recipe)
            evaluations["plain evaluation"] = evaluate(plain, batch)
            short["plain one"] = evaluate(plain, alone)
        with training_step(model, optimizer, batch, recipe) as step:
            found = in_turns({"step": step} | steps, rounds, device)
        # Evaluated without the stepper, which listens to the spiking layers while it is there.
        found |= in_turns(evaluations, rounds, device) | in_turns(short, SHORT * rounds, device)
        times = {name: median(each) for name, each in found.items()}
        feeding = _whole_batches(view, size, recipe.training.augment)
        first = None
        if recipe.data.represent:
            first = median(in_turns({"first": lambda: next(feeding)}, rounds)["first"])
            _warm_up(view, size)
        fed = in_turns({"feeding": lambda: next(feeding)}, rounds)
        in_an_epoch = -(-len(view.split("train")) // size)
        around = _around(view, problem.task, rounds) / in_an_epoch
    slots = {slot: part.name for slot, part in recipe.model.parts.items()}
    parts = {slot: name for slot, name in slots.items() if slot_kind(model.slots[slot])[0] == "part"}
    return TrainingCost(
        recipe.name, recipe.backend, parts, torch.get_num_threads(), str(device), size, rounds,
        median(fed["feeding"]), times["step"], times["evaluation"], times["one"], around,
        times.get("plain step"), times.get("plain evaluation"), times.get("plain one"), first,
    )  # fmt: skip


@contextmanager
def training_step(
    model: Model, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe
) -> Iterator[Callable[[], None]]:
    """Yield a function that does one whole training step on a batch."""
    with closing(Stepper(model, optimizer, recipe)) as stepper:

        def step() -> None:
            model.train()
            stepper.clear()
            stepper.add(batch)
            stepper.step()

        yield step


def _whole_batches(view: DataView, size: int, chosen: Sequence[AugmentRef]) -> Iterator[Batch]:
    """The training batches of one epoch after another, without each one's rest; augmented as those of the first."""
    change = EventAugmenter(chosen, view.events).change(1)
    shuffled, whole = torch.Generator().manual_seed(0), max(1, len(view.split("train")) // size)
    while True:
        yield from islice(view.batches("train", size, shuffled, change=change), whole)


def _warm_up(view: DataView, size: int) -> None:
    """Read an epoch, or as much of it as half a minute allows."""
    begun = time.monotonic()
    for _ in takewhile(lambda _: time.monotonic() - begun < _WARM_UP, view.batches("train", size)):
        pass


def _plain_form(model: nn.Module, recipe: Recipe, problem: Problem, device: torch.device) -> PlainSMILE | None:
    """The plain form of a model of its own, with the core's neurons; None where there is none."""
    if not isinstance(model, SMILE):
        return None
    plain = recipe.with_overrides(["model.params.arithmetic=plain"])
    twin = build_model(plain, problem, backend="torch").to(device)
    twin.load_state_dict(model.state_dict())
    try:
        assert isinstance(twin, SMILE)
        return PlainSMILE(twin)
    except UserError:
        return None


def _plain_step(plain: PlainSMILE, batch: Batch, recipe: Recipe) -> Callable[[], object]:
    optimizer = torch.optim.Adam(plain.parameters(), recipe.training.optimizer.lr, foreach=False)

    def run() -> None:
        plain.train()
        optimizer.zero_grad()
        if batch.target is None:
            raise NeurozooError("a batch without targets cannot be trained on")
        torch.autograd.backward(plain.model.problem.task.loss(plain(batch), batch.target, batch.target_valid))
        if recipe.training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(plain.parameters(), recipe.training.gradient_clip, foreach=False)
        optimizer.step()

    return run


def _around(view: DataView, task: Task, rounds: int) -> float:
    """Metrics of the valid split, of predictions that are made up, and its line in a run."""
    split = view.split("valid")
    lead = split.target.shape[: 2 if task.per_step else 1]
    outputs = torch.randn(*lead, len(task.outputs), generator=torch.Generator().manual_seed(0))
    counted, target = task.counted(outputs, split.target, split.target_valid)
    predicted, goals = task.predict(counted).cpu().numpy(), target.numpy()
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "metrics.jsonl"

        def once() -> None:
            append_json(records, {"valid": task.measure(goals, predicted, task.default_decision)})

        return median(in_turns({"around": once}, rounds)["around"])


@dataclass(frozen=True)
class FirstStep:
    """From a command to its first step, in processes of their own.

    Attributes:
        seconds: Median.
        importing: Median of what Python takes to start and to import torch: no training can begin before that.
        processor: Median processor time in seconds, of all threads, user and system. Other work on the machine adds
            less to it than to ``seconds``.
        step: The part of it that the step itself takes, with its forward and backward passes.
    """

    seconds: float
    importing: float
    processor: float
    step: float


def measure_first_step(recipe: str, overrides: Sequence[str] = (), *, times: int = 3) -> FirstStep:
    """From the command ``neurozoo train`` to the end of its first step, alternately with the imports alone.

    Raises:
        NeurozooError: It does not come to a step.
    """

    def spent(*command: str) -> tuple[float, float, str]:
        started, used = time.perf_counter(), _processor_of_children()
        done = subprocess.run([sys.executable, "-c", *command], capture_output=True, text=True)
        if done.returncode:
            raise NeurozooError(f"`neurozoo train {recipe}` does not come to a step: {done.stderr[-500:]}")
        return time.perf_counter() - started, _processor_of_children() - used, done.stdout

    steps, imports = [], []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            steps.append(spent(_FIRST_STEP, "train", recipe, *overrides, "--out", str(Path(folder) / "run")))
        imports.append(spent(_IMPORTS)[0])
    wall, processor, printed = zip(*steps, strict=True)
    step = median(float(text.splitlines()[-1]) for text in printed)
    return FirstStep(median(wall), median(imports), median(processor), step)


def _processor_of_children() -> float:
    """Return the processor time of all processes that this one has started and that have ended, in seconds."""
    times = os.times()
    return times.children_user + times.children_system
