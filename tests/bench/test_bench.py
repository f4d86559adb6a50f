"""What is measured is said, for people and for programs; how much it is, no test can say."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from neurozoo.bench import training
from neurozoo.bench.busy import BusyCost, measure_busy, spinning
from neurozoo.bench.interleaved import page_faults
from neurozoo.bench.neurons import measure_neurons
from neurozoo.bench.training import FirstStep, TrainingCost, measure_first_step, measure_training
from neurozoo.cli import main
from neurozoo.core.model import Model
from neurozoo.core.recording import neuron_layers
from neurozoo.models.build import Experiment
from neurozoo.recipe.recipe import Recipe
from neurozoo.reporting.bench import as_page, busy_table, plainly


def test_neurons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "neurons", "--backends", "torch,norse", "--steps", "2,3", "--shape", "2,3,4", "--rounds", "2"]
    assert main([*command, "--device", "cpu", "--html", str(tmp_path / "page.html")]) == 0
    shown = capsys.readouterr().out
    assert "Neurons: T = 2, 2 x 3 x 4" in shown
    assert "of copies" in shown
    assert "Neurons in a plain loop: T = 2, 2 x 3 x 4" in shown
    assert "new currents alone" in shown
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 4
    assert main([*command, "--device", "cpu", "--json", "--repeated"]) == 0
    told = json.loads(capsys.readouterr().out)["neurons"]
    assert [each["steps"] for each in told] == [2, 3]
    assert [each["backend"] for each in told[0]["backends"]] == ["torch", "norse"]
    assert told[0]["repeated"]
    assert all(each["forward_ms"] > 0 and each["peak_mib"] > 0 for each in told[0]["backends"])
    assert all(each["loop_ms"] > 0 and each["loop_faults"] >= 0 for each in told[0]["backends"])
    assert told[0]["currents_ms"] > 0


def test_new_pages_are_counted() -> None:
    def touch() -> None:
        with mmap.mmap(-1, 64 * mmap.PAGESIZE) as memory:
            for start in range(0, len(memory), mmap.PAGESIZE):
                memory[start] = 1

    if (counted := page_faults(touch, 3)) is None:
        pytest.skip("this system does not count the pages that it gives a process")
    assert counted >= 64 > (page_faults(lambda: None, 3) or 0)


def test_neurons_of_another_kind(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "neurons", "--kind", "cuba", "--steps", "2", "--shape", "2,3,4", "--rounds", "1"]
    assert main([*command, "--backends", "torch", "--device", "cpu"]) == 0
    assert "Neurons (cuba): T = 2, 2 x 3 x 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "liff"], "no kind of neuron is called 'liff'; there are: lif, "),
        (["--steps", "5,x"], "--steps is '5,x'; give whole numbers above 0"),
        (["--shape", "0"], "--shape is '0'; give whole numbers above 0"),
        (["--steps", "9999999999"], "--steps is '9999999999'; give whole numbers above 0 and at most 1,000,000,000"),
        (["--device", "1e300"], "there is no device '1e300'; give auto, cpu"),
        (["--device", ""], "there is no device ''"),
        (["--backends", "norce"], "did you mean 'norse'"),
        (["--device", "cuda:9"], "is not available"),
    ],
)
def test_what_cannot_be_measured_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "neurons", "--rounds", "1", *words]) == 2
    assert said in capsys.readouterr().err


def test_feeding_of_represented_events(capsys: pytest.CaptureFixture[str]) -> None:
    """In the first epoch, and afterwards, when they are kept."""
    events = "{name: events-synthetic, params: {size: 32}}"
    bins = "{events: {name: bins, params: {step: 0.01}}}"
    data = f"data={{name: not-installed, instead: {events}, represent: {bins}}}"
    command = ["bench", "train", "spiking_convnet", data, "training.batch_size=8", "--rounds", "2"]
    assert main(command) == 0
    assert "in the first epoch" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"]["first_feeding_ms"] > 0


def test_training(recipe: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe()
    before = sorted(tmp_path.rglob("*"))
    command = ["bench", "train", str(tmp_path / "small.yaml"), "--busy", "1"]
    assert main([*command, "--rounds", "1"]) == 0
    shown = capsys.readouterr().out
    for words in ("Training small", "feeding a batch", "times as long", "metrics and log, by step"):
        assert words in shown
    for words in ("A step of 8 of small on a busy machine", "on its own", "with 1 busy process ", "With equal shares"):
        assert words in shown
    assert main([*command, "--rounds", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["training"]["step_ms"] > 0
    assert told["training"]["plain_step_ms"] > 0
    busy = told["busy"]
    assert busy["processes"] == 1
    assert busy["idle_rounds"] == busy["busy_rounds"] == 2
    assert busy["idle_ms"] > 0
    assert busy["busy_ms"] > 0
    assert busy["waiting"]
    assert sorted(tmp_path.rglob("*")) == before


def test_no_step_is_begun_after_the_limit(recipe: Callable[..., Recipe]) -> None:
    cost = measure_busy(recipe(), 1, rounds=1000, limit=0.0)
    assert cost.idle_rounds == cost.busy_rounds == 1


@pytest.mark.parametrize(
    ("threads", "processes", "cores", "fair"), [(2, 2, 2, 2.0), (2, 2, 8, 1.0), (2, 1, 2, 1.5), (4, 2, 2, 1.5)]
)
def test_the_share_of_a_busy_machine(threads: int, processes: int, cores: int, fair: float) -> None:
    cost = BusyCost("a", processes, threads, cores, "WAIT=1", 8, 3, 3, 100.0, 250.0)
    assert cost.fair_slowdown == fair
    table = busy_table(cost)
    assert [row[3] for row in table.rows] == ["1.00", "2.50"]
    assert f"{fair:.2f} times as long" in table.notes[0]
    assert "WAIT=1" in table.notes[1]


def test_busy_processes_compute_and_end_with_the_context() -> None:
    with spinning(2) as processes:
        before, started = os.times(), time.monotonic()
        while time.monotonic() < started + 0.2:
            time.sleep(0.01)
        assert [process.poll() for process in processes] == [None, None]
    after = os.times()
    assert all(process.returncode for process in processes)
    # The time of children is counted when they have ended.
    assert after.children_user - before.children_user > 0.05


def test_busy_processes_end_when_the_one_that_started_them_is_killed() -> None:
    code = (
        "import os, signal; from neurozoo.bench.busy import spinning\n"
        "with spinning(2):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # They hold its standard error, so that this returns when all of them have ended.
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=120)
    assert done.returncode


def test_a_model_without_a_plain_form(recipe: Callable[..., Recipe]) -> None:
    cost = measure_training(recipe("model.parts.fusion=concat"), rounds=1)
    assert cost.plain_step_ms is cost.plain_one_ms is None


def test_evaluations_are_timed_without_who_listens_to_a_training(
    recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[Model] = []
    heard: dict[str, bool] = {}

    def kept(experiment: Experiment) -> Model:
        models.append(build(experiment))
        return models[-1]

    def looked_at(runs: Mapping[str, object], *_: object) -> dict[str, list[float]]:
        recorders = any(layer.recorders for layer in neuron_layers(models[0]).values())
        heard.update(dict.fromkeys(runs, recorders))
        return {name: [1.0] for name in runs}

    build = Experiment.build
    monkeypatch.setattr(Experiment, "build", kept)
    monkeypatch.setattr(training, "in_turns", looked_at)
    measure_training(recipe(), rounds=1)
    assert heard["step"]
    assert not heard["evaluation"]
    assert not heard["one"]


def test_any_model_and_task(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "train", "spiking_convnet", "training.batch_size=4", "--rounds", "1", "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["training"]["step_ms"] > 0
    assert told["training"]["plain_step_ms"] is None
    assert told["training"]["around_ms"] > 0
    assert told["busy"] is None


def test_from_the_command_to_the_first_step(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe()
    found = measure_first_step(str(tmp_path / "small.yaml"), times=1)
    assert 0 < found.importing < 300
    assert 0 < found.seconds < 300
    assert 0.1 < found.processor < 300
    assert 0 < found.step < found.processor


def test_data(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "data", str(store), "--batch-size", "4"]) == 0
    assert "shuffled" in capsys.readouterr().out
    assert main(["bench", "data", str(store), "--batch-size", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["in_order_ms"] > 0
    assert main(["bench", "data", str(store), "--batch-size", "1000"]) == 2
    assert "give a smaller --batch-size" in capsys.readouterr().err


def test_the_page_names_its_command_and_the_fastest() -> None:
    costs = measure_neurons(["torch"], 2, shape=(2, 3), rounds=1)
    training = TrainingCost("a", "torch", {"encoder": "x"}, 2, "cpu", 8, 3, 1.0, 99.0, 40.0, 2.0, 1.0, 198.0, 80.0, 6.0)
    busy = BusyCost("a", 2, 2, 2, "WAIT=1", 8, 3, 3, 99.0, 198.0)
    first = FirstStep(4.2, 2.1, 3.5, 0.5)
    page = as_page([costs], [(training, first)], busy, "neurozoo bench page docs/performance.md")
    assert "neurozoo bench page docs/performance.md" in page
    assert plainly(costs) == "At T = 2, the fastest is torch."
    assert "| 2.00 times as long |" in page
    assert "| 3.00 times as long |" in page
    assert "1.0% of step and feeding" in page
    assert "| 4.2 s | 50% importing torch; 3.5 s of processor time, the step itself 0.5 s |" in page
    assert "backend torch, encoder x, 2 threads" in page
    assert "| with 2 busy processes | 198.0 ms | 3 | 2.00 |" in page


def test_what_is_kept_for_the_backward_is_counted() -> None:
    costs = measure_neurons(["torch", "numba"], 8, shape=(64, 1024), rounds=1)
    plain, fused = costs.backends
    currents = 8 * 64 * 1024 * 4 / 2**20
    assert plain.kept_mib >= 2 * currents
    assert fused.kept_mib < 0.001
