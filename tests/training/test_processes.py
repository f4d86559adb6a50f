"""Two processes that torchrun starts train as one does; and runs go on with another number of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from neurozoo.core.recording import recorded
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.run import Run
from neurozoo.training import listener as following
from neurozoo.training import step
from neurozoo.training.train import resume, train

pytestmark = [
    pytest.mark.skipif(not distributed.is_gloo_available(), reason="this torch has no gloo"),
    pytest.mark.slow,  # trainings in pairs of processes; `make test-large` runs them
]

Recipes = Callable[..., Recipe]
NO_DROPOUT = [
    "model.params={context: text, hidden: 10, heads: 5, spiking_inner: 16, dropout: 0.0, context_dropout: 0.0}",
    "model.parts.head.params={dropout: 0.0, classifier_dropout: 0.0}",
    "training.checkpoint_steps=1",
]
# Of 24 samples: each epoch ends with a batch of one, of which the first of two processes gets nothing.
TOTALS = (
    "[{name: total, weight: 1.0e-5}, {name: total-squared, samples: sum, over: mean, weight: 1.0e-7}, "
    "{name: operations, weight: 1.0}]"
)
TWENTY_STEPS = [*NO_DROPOUT, "training.epochs=10", "training.batch_size=23", f"training.penalties={TOTALS}"]
LOSS_TOLERANCE = 1e-6

WORKER = """
import os, sys
from pathlib import Path
import test_processes as here
from neurozoo.errors import UserError
from neurozoo.recipe.recipe import load_recipe
from neurozoo.training.train import resume, train

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
here.record(load_recipe(folder / "twenty.yaml"), folder / "two", folder / f"two-{rank}.safetensors")
with here.stopping_after(4):
    try:
        train(load_recipe(folder / "short.yaml"), out=folder / "begun-by-two")
    except here.Stop:
        pass
resume(folder / "begun-by-one")
try:
    train(load_recipe(folder / "published.yaml"), out=folder / "published")
except UserError as error:
    (folder / f"refused-{rank}").write_text(str(error))
"""


class Stop(BaseException):
    pass


@contextmanager
def stopping_after(steps: int) -> Iterator[None]:
    """A training in the block ends with the state of so many steps of the optimiser."""
    original, done = step.Stepper.step, []

    def stopping(self: step.Stepper) -> None:
        if len(done) == steps:
            raise Stop
        done.append(1)
        original(self)

    step.Stepper.step = stopping  # type: ignore[method-assign]
    try:
        yield
    finally:
        step.Stepper.step = original  # type: ignore[method-assign]


class Losses(following.Listener):
    def __init__(self) -> None:
        self.values: list[list[float]] = []

    def step(self, epoch: int, step: int, steps: int, values: Any) -> None:
        self.values.append(
            [values["loss"], *(values[name] for name in sorted(values) if "penalty" in name or name == "operations")]
        )


def record(recipe: Recipe, folder: Path, kept: Path) -> None:
    """Train, and keep the losses and the spikes of each step that this process had a part in."""
    spikes: dict[str, Tensor] = {}
    original, losses = step.Stepper.add, Losses()
    count = iter(range(1, 1000))

    def add(self: step.Stepper, batch: Any, **options: Any) -> Any:
        with recorded(self._model) as seen:
            values = original(self, batch, **options)
        number = next(count)
        if options["part"] > 0:
            fired = {f"step {number:02d}, {name}": firing.spikes for name, firing in seen.items()}
            spikes.update({name: train.detach().clone() for name, train in fired.items()})
        return values

    step.Stepper.add = add  # type: ignore[method-assign]
    try:
        train(recipe, out=folder, listener=losses)
    finally:
        step.Stepper.add = original  # type: ignore[method-assign]
    write_tensors(kept, spikes, {"losses": losses.values})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture
def trained(folder: Path, recipe: Recipes) -> Path:
    """All that two processes do in this file, done once; and the same by one process."""
    if (folder / "done").is_file():
        return folder
    twenty, short = recipe(*TWENTY_STEPS), recipe(*NO_DROPOUT)
    published = recipe(*NO_DROPOUT, "model.parts.scaling=batch-softmax", "model.parts.threshold=cross-entropy-ratio")
    for name, checked in (("twenty", twenty), ("short", short), ("published", published)):
        (folder / f"{name}.yaml").write_text(checked.to_yaml())
    with stopping_after(2), pytest.raises(Stop):
        train(short, out=folder / "begun-by-one")
    train(short, out=folder / "undisturbed")
    worker = folder / "worker.py"
    worker.write_text(WORKER)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(worker), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    record(twenty, folder / "one", folder / "one.safetensors")
    resume(folder / "begun-by-two")
    (folder / "done").touch()
    return folder


def test_twenty_steps_have_the_losses_of_one_process(trained: Path) -> None:
    """Up to the first spike that rounding flips, which is then named."""
    one, told = read_tensors(trained / "one.safetensors")
    parts = [read_tensors(trained / f"two-{rank}.safetensors") for rank in range(2)]
    expected, got = told["losses"], parts[0][1]["losses"]
    assert len(expected) == 20
    assert len(expected[0]) == 6  # with four penalties, and the operations
    for number, (want, loss) in enumerate(zip(expected, got, strict=True), start=1):
        for name in sorted(key for key in one if key.startswith(f"step {number:02d}, ")):
            together = torch.cat([part[name] for part, _ in parts if name in part], dim=1)
            assert together.shape == one[name].shape
            differ = (together != one[name]).nonzero()
            if len(differ):
                t, sample, position, neuron = differ[0].tolist()
                assert len(differ) <= 8, f"{name}: {len(differ)} spikes differ, which is no rounding"
                pytest.skip(
                    f"{name}, time step {t}, sample {sample}, position {position}, neuron {neuron}: the first spike "
                    f"that differs; the losses of {number - 1} steps agree"
                )
        assert loss == pytest.approx(want, rel=LOSS_TOLERANCE), f"step {number}"


def test_what_is_measured_is_that_of_one_process(trained: Path) -> None:
    one, two = (Run(trained / name).read_json("summary.json") for name in ("one", "two"))
    for split in ("valid", "test"):
        assert two["metrics"][split] == pytest.approx(one["metrics"][split], rel=1e-4)
        layer = "branches.audio.first"
        assert two["health"][split][layer] == pytest.approx(one["health"][split][layer], rel=1e-3)
        got, want = (read_tensors(trained / name / "predictions" / f"{split}.safetensors") for name in ("two", "one"))
        assert got[1]["ids"] == want[1]["ids"]
        assert got[0]["target"].equal(want[0]["target"])
        torch.testing.assert_close(got[0]["predicted"], want[0]["predicted"], rtol=0, atol=1e-4)
    assert two["lesion"]["permuted"] == pytest.approx(one["lesion"]["permuted"], rel=1e-2)
    assert (one["environment"]["processes"], two["environment"]["processes"]) == (1, 2)
    assert len((trained / "two" / "metrics.jsonl").read_text().splitlines()) == 10


@pytest.mark.parametrize("name", ["begun-by-one", "begun-by-two"])
def test_it_goes_on_with_another_number_of_processes(name: str, trained: Path) -> None:
    run, undisturbed = Run(trained / name), Run(trained / "undisturbed")
    assert run.finished
    for ours, theirs in zip(run.records(), undisturbed.records(), strict=True):
        assert ours["train"]["loss"] == pytest.approx(theirs["train"]["loss"], rel=LOSS_TOLERANCE)
        assert ours["valid"]["loss"] == pytest.approx(theirs["valid"]["loss"], rel=LOSS_TOLERANCE)


def test_parts_that_need_whole_batches_are_refused(trained: Path) -> None:
    for rank in range(2):
        told = (trained / f"refused-{rank}").read_text()
        assert told.startswith("BatchSoftmax, CrossEntropyRatio: its output or its loss depends on the whole batch")
        assert "start one process, or take the parts of a corrected recipe" in told
    assert not (trained / "published").exists()
