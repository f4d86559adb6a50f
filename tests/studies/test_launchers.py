"""Where the trainings of a study run: options, deaths and retries, and small trainings on submitit and dask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import neurozoo
from neurozoo.cli import main
from neurozoo.errors import NeurozooError, NeurozooWarning, UserError
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.studies.ablation import ablate
from neurozoo.studies.launchers import JobDied, Launcher, read_options
from neurozoo.studies.launchers import jobs as jobs_module
from neurozoo.studies.launchers.jobs import Ended
from neurozoo.studies.launchers.local import LocalJobs
from neurozoo.studies.launchers.logged import Place
from neurozoo.studies.launchers.options import SlurmOptions
from neurozoo.studies.launchers.worker import run_command
from neurozoo.studies.parallel_runs import ONE_THREAD
from neurozoo.training.train import resume, train

Recipes = Callable[..., Recipe]
MANY = ("training.epochs=10",)
"""Overrides of a training that takes long enough to be stopped."""


@pytest.fixture
def path(recipe: Recipes, tmp_path: Path) -> Path:
    recipe()
    return tmp_path / "small.yaml"


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_PAUSE", 0.0)


def test_options_come_from_the_command_line_and_from_files(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("time: 1-02:00:30\npartition: gpu\ngpus: 1\nextra: {mail-type: END}\nsetup: [module load x]\n")
    given = read_options([str(file), "cluster=local", "gpus=2", "extra.reservation=course"])
    options = Launcher("slurm", given).options
    assert isinstance(options, SlurmOptions)
    assert (options.time, options.partition, options.gpus) == (26 * 60 + 1, "gpu", 2)
    assert (options.extra, options.setup) == ({"mail-type": "END", "reservation": "course"}, ("module load x",))
    file.write_text("- time\n")
    with pytest.raises(UserError, match="holds no section of keys"):
        read_options([str(file)])
    with pytest.raises(UserError, match=r"'nothing\.yaml' is neither KEY=VALUE nor a file"):
        read_options(["nothing.yaml"])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("slrm", {}, "no launcher is called 'slrm'; there are: dask, local, slurm; did you mean 'slurm'"),
        ("local", {"gpus": "1"}, "launcher local: no option is called 'gpus'; it has none"),
        ("slurm", {"cluster": "local", "partiton": "x"}, "no option is called 'partiton'; .*did you mean 'partition'"),
        ("slurm", {"cluster": "local", "time": "2h"}, "time='2h': give minutes, H:MM:SS or D-HH:MM:SS"),
        ("slurm", {"cluster": "local", "memory": "much"}, "memory='much'"),
        ("slurm", {"cluster": "local", "account": "a\n#SBATCH --uid=0"}, "account='a"),
        ("slurm", {"cluster": "local", "extra": {"a b": "c"}}, "extra.a b"),
        ("dask", {"address": "tcp://x:1", "workers": "2"}, "address and workers exclude each other"),
        ("dask", {"address": "here"}, "address='here': String should match"),
        ("dask", {"scheduler_file": "nowhere.json"}, "there is no such file"),
        ("dask", {"resources": {"GPU": "1"}}, "give address or scheduler_file"),
    ],
)
def test_wrong_options_are_refused_in_advance(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Launcher(name, options)


def test_slurm_is_refused_where_there_is_none(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"sbatch, srun, sacct, scancel: not found; .* cluster=local"):
        neurozoo.train_seeds(path, seeds=1, out=tmp_path / "out", launcher="slurm")
    for program in ("sbatch", "srun", "sacct", "scancel"):
        (tmp_path / program).touch(mode=0o755)
    with pytest.raises(UserError, match="give the option time=H:MM:SS"):
        Launcher("slurm")
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_does_not_answer_leaves_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dask_jobs = pytest.importorskip("neurozoo.studies.launchers.dask")
    monkeypatch.setattr(dask_jobs, "_TIMEOUT", 0.5)
    launcher = Launcher("dask", {"address": "tcp://127.0.0.1:1"})
    with pytest.raises(UserError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1 .*; start one: dask scheduler"):
        neurozoo.train_seeds(path, seeds=1, out=tmp_path / "out", launcher=launcher)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--launcher", "dask"], ["--launcher-options", "time=5"], ["--retries", "1"]],
    ids=lambda arguments: arguments[0],
)
def test_one_training_has_no_launcher(arguments: list[str], path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(path), *arguments]) == 2
    assert f"{' '.join(arguments)} is for several trainings; give --seeds N" in capsys.readouterr().err
    assert main(["train", "--resume", "somewhere", *arguments]) == 2


class Scripted(LocalJobs):
    """Jobs whose ends are given."""

    def __init__(self, *ends: Ended, retries: int = 2) -> None:
        super().__init__(1, retries)
        self.ends = list(ends)

    def _execute(self, name: str, arguments: Sequence[str], on_line: Callable[[str], None]) -> Ended:
        return self.ends.pop(0)


@pytest.mark.usefixtures("no_pause")
def test_a_job_that_dies_runs_again_and_one_that_fails_does_not() -> None:
    killed, timed_out = Ended(-9, ["a", "b", "c", "d"]), Ended(None, [], "the job 7 ended (TIMEOUT)", "7.log")
    with Scripted(killed, timed_out, Ended(0, [])) as jobs, pytest.warns(NeurozooWarning) as warned:
        jobs.run_again("seed 3", [])
    assert [str(each.message) for each in warned] == [
        "seed 3: it was ended by SIGKILL; the end of its log: b; c; d; it continues, retry 1 of 2",
        "seed 3: the job 7 ended (TIMEOUT); its log: 7.log; it continues, retry 2 of 2",
    ]
    words = "seed 3: died 2 times, the last time: it was ended by SIGTERM; the same command continues it"
    twice = Scripted(killed, Ended(143, []), retries=1)
    with pytest.warns(NeurozooWarning), twice, pytest.raises(JobDied, match=words):
        twice.run_again("seed 3", [])
    failed = Ended(1, ["Traceback", "error: the loss is not finite", "end"], log="3.log")
    with Scripted(failed) as jobs, pytest.raises(NeurozooError, match=r"^seed 3: error: the loss .* its log: 3.log$"):
        jobs.run_again("seed 3", [])
    with Scripted(Ended(2, [])) as jobs, pytest.raises(UserError, match=r"^seed 3: it ended with status 2$"):
        jobs.run_again("seed 3", [])


@pytest.mark.usefixtures("no_pause")
def test_a_training_that_dies_is_resumed_from_its_checkpoint(
    path: Path,
    tmp_path: Path,
    interrupted_at: Callable[[int], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job is killed in its second epoch, and once more before it has taken a step."""
    ran: list[Sequence[str]] = []

    def run(self: LocalJobs, name: str, arguments: Sequence[str]) -> None:
        ran.append(arguments)
        if len(ran) == 1:
            source, *overrides, _, folder, _ = arguments[1:]
            with interrupted_at(5):
                train(load_recipe(source, overrides, registry=default_registry()), out=Path(folder))
        if len(ran) < 3:
            raise JobDied(f"{name}: it was ended by SIGKILL")
        resume(Path(arguments[2]))

    monkeypatch.setattr(LocalJobs, "run", run)
    with pytest.warns(NeurozooWarning, match=r"seed 3: it was ended by SIGKILL; it continues, retry \d of 2"):
        found = neurozoo.train_seeds(path, seeds=1, out=tmp_path / "out", jobs=1)
    folder = str(tmp_path / "out" / "3")
    assert ran[1:] == [["train", "--resume", folder, "--json"]] * 2
    undisturbed = train(load_recipe(path, (ONE_THREAD,), registry=default_registry()), out=tmp_path / "undisturbed")
    assert found.metrics["test"]["map"].values == (undisturbed["metrics"]["test"]["map"],)

    ran.clear()
    with pytest.warns(NeurozooWarning), pytest.raises(JobDied, match="seed 4: died 2 times, the last time: it was"):
        neurozoo.train_seeds(path, "seed=4", seeds=1, out=tmp_path / "out", launcher=Launcher(retries=1))


def test_a_command_on_another_machine_writes_its_log_and_its_status(tmp_path: Path) -> None:
    def text(*arguments: str) -> str:
        files = {name: str(tmp_path / name) for name in ("log", "status", "stop")}
        return json.dumps({"arguments": arguments, "folder": str(tmp_path), "environment": {"A": "1"}, **files})

    place, lines = Place("train", tmp_path / "log", tmp_path / "status"), list[str]()
    assert place.exit_status() is None
    assert run_command(text("train")) == 2
    place.follow(lines.append, end=True)
    assert lines == list(place.lines)
    assert lines[0].startswith("error: no recipe is named")
    assert place.exit_status() == 2
    (tmp_path / "stop").touch()
    assert run_command(text("--version")) == 130


def test_a_log_is_followed_line_by_line(tmp_path: Path) -> None:
    place, lines = Place("x", tmp_path / "log", tmp_path / "status"), list[str]()
    place.follow(lines.append)
    for written, expected in ((b"one\ntw", ["one"]), (b"o\n", ["one", "two"]), (b"\xff", ["one", "two"])):
        with place.log.open("ab") as file:
            file.write(written)
        place.follow(lines.append)
        assert lines == expected
    place.follow(lines.append, end=True)
    assert lines[2:] == ["\N{REPLACEMENT CHARACTER}"]


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_recipes_are_dictionaries_too(path: Path, tmp_path: Path) -> None:
    content = load_recipe(path, ["training.epochs=1"]).content
    found = neurozoo.train_seeds(content, seeds=1, out=tmp_path / "out", jobs=1)
    assert (found.recipe, found.seeds) == ("recipe", (3,))
    assert Run(tmp_path / "out" / "3").recipe().name == "recipe"
    again = neurozoo.train_seeds(load_recipe(content), seeds=1, out=tmp_path / "out", jobs=1)
    assert again.metrics["test"]["map"].values == found.metrics["test"]["map"].values
    named = neurozoo.train_seeds(path, "training.epochs=1", seeds=1, out=tmp_path / "named", jobs=1)
    assert named.metrics["test"]["map"].values == found.metrics["test"]["map"].values
    content["ablations"] = {"larger batches": ["training.batch_size=12"]}
    ablation = ablate(content, seeds=1, out=tmp_path / "ablation")
    assert ablation.variants == {"full": (), "larger batches": ("training.batch_size=12",)}
    assert Run(tmp_path / "ablation" / "larger batches" / "1").recipe().training.batch_size == 12


# Programs of a Slurm of this machine. $STATE/NUMBER holds the state of a job; the first job runs out of time.
SBATCH = """number=$(($(ls "$STATE" | wc -l) + 1))
cp "$1" "$STATE.sbatch"
echo TIMEOUT > "$STATE/$number"
if [ "$number" != 1 ]; then
    echo RUNNING > "$STATE/$number"
    (SLURM_JOB_ID=$number SLURM_PROCID=0 bash "$1"; echo COMPLETED > "$STATE/$number") > /dev/null 2>&1 &
fi
echo "Submitted batch job $number"
"""
SRUN = """while [ "${1#--}" != "$1" ]; do [ "$1" = --unbuffered ] || shift; shift; done
exec "$@"
"""
SACCT = """echo "JobID|State|NodeList"
for file in "$STATE"/*; do echo "$(basename "$file")|$(cat "$file")|here"; done
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm whose first job times out; returns the file that gets the last submitted script."""
    programs = {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT, "scancel": 'echo "CANCELLED" > "$STATE/$1"\n'}
    (tmp_path / "programs").mkdir()
    (tmp_path / "state").mkdir()
    for name, text in programs.items():
        (tmp_path / "programs" / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / "programs" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(tmp_path / "state"))
    return tmp_path / "state.sbatch"


@pytest.mark.usefixtures("no_pause")
def test_a_job_of_slurm_that_runs_out_of_time_is_submitted_again(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what came back from the job is text: nothing is unpickled here."""
    slurm_jobs = pytest.importorskip("neurozoo.studies.launchers.slurm")
    monkeypatch.setattr(slurm_jobs, "_GRACE", 0.2)
    monkeypatch.setattr(slurm_jobs, "_INTERVAL", 0.2)
    for name in ("load", "loads"):
        monkeypatch.setattr(f"pickle.{name}", None)
    options = {"time": "2:00:00", "partition": "gpu", "gpus": 2, "memory": "16G", "extra": {"mail-type": "END"}}
    words = r"list: the job 1 ended without a result \(TIMEOUT\); .* retry 1 of 2"
    with Launcher("slurm", {**options, "setup": "export A=1"}).open(1, tmp_path / "out") as jobs:
        with pytest.warns(NeurozooWarning, match=words):
            jobs.run_again("list", ["list", "recipes"])
        assert not list((tmp_path / "out" / ".jobs").glob("*/1.status"))
        assert [path.read_text() for path in (tmp_path / "out" / ".jobs").glob("*/2.status")] == ["0"]
    script = slurm.read_text()
    for line in ("time=120", "partition=gpu", "gpus-per-node=2", "mem=16G", "mail-type=END", "job-name=neurozoo-list"):
        assert f"#SBATCH --{line}\n" in script
    assert "export A=1\n" in script


def processes_with(text: str) -> list[int]:
    """Ids of the processes whose command line holds a text, but for those that only pass it on."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if text.encode() in command and b"-c" in command:
            found.append(int(entry.name))
    return found


def begun(folder: Path) -> bool:
    """Whether a training has written a state from which it can continue."""
    return (folder / "checkpoints" / "state.safetensors").is_file()


def until(condition: Callable[[], Any], seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.1)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """The address of a dask scheduler with two worker processes."""
    file = tmp_path / "scheduler.json"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command, "--scheduler-file", str(file)], stderr=subprocess.DEVNULL
        )
        for command in (
            ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
            ["worker", "--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path)],
        )
    ]
    try:
        until(lambda: file.is_file() and file.read_text().endswith("}"))
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait()


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes below /proc")


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("name", ["slurm", "dask"])
def test_a_training_elsewhere_that_is_killed_is_resumed(
    name: str, path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    option = "cluster=local" if name == "slurm" else f"address={request.getfixturevalue('scheduler')}"
    out = tmp_path / "out"
    command = ["train", str(path), *MANY, "--seeds", "1", "--launcher", name, "--launcher-options", option]
    with subprocess.Popen(
        [sys.executable, "-m", "neurozoo.cli", *command, "--out", str(out)], stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: begun(out / "3") or process.poll() is not None)
        (training,) = processes_with(str(out / "3"))
        os.kill(training, signal.SIGKILL)
        _, told = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert "note: seed 3: it was ended by SIGKILL; its log: " in told
    assert ".log; it continues, retry 1 of 2" in told
    assert len(list((out / ".jobs").glob("*/*.log"))) == 2
    written = json.loads((out / "seeds.json").read_text())
    undisturbed = train(load_recipe(path, [*MANY, ONE_THREAD], registry=default_registry()), out=tmp_path / "alone")
    assert written["metrics"]["test"]["map"]["values"][0] == undisturbed["metrics"]["test"]["map"]
    assert (out / "3" / "metrics.jsonl").read_text().count("\n") == 10


@pytest.mark.slow
def test_a_search_runs_as_a_job(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    content = load_recipe(path, ["training.epochs=1"]).content
    content["tune"] = {"metric": "map", "space": {"training.optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True}}}
    launcher, out = Launcher("slurm", {"cluster": "local"}), tmp_path / "out"
    ended: list[tuple[int, int]] = []
    found = neurozoo.tune(
        content, trials=2, out=out, launcher=launcher, on_progress=lambda _, done, of: ended.append((done, of))
    )
    assert found.counts == {"finished": 2}
    assert sorted(ended) == [(1, 2), (2, 2)]
    assert (out / "trials.journal").is_file()
    assert found.source == str(out / ".recipes" / "recipe.yaml")
    assert not (out / ".jobs").exists()  # every job ended well
    again = neurozoo.tune(content, trials=2, out=out, launcher=launcher)  # starts nothing
    assert again.trials == found.trials


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("where", ["slurm", "dask"])
def test_an_interruption_cancels_jobs_and_leaves_runs_to_resume(where: str, path: Path, tmp_path: Path) -> None:
    """Of three seeds two are in training and one waits, on dask in the cluster's queue."""
    out = tmp_path / "out"
    option = {"slurm": "cluster=local", "dask": "workers=2"}[where]
    command = ["train", str(path), "training.epochs=100000", "--seeds", "3", "--out", str(out), "--launcher", where]
    command += ["--launcher-options", option] + (["--jobs", "2"] if where == "slurm" else [])
    with subprocess.Popen(
        [sys.executable, "-m", "neurozoo.cli", *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        until(lambda: sum(begun(out / seed) for seed in "345") == 2 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "to continue: neurozoo train" in told
    until(lambda: not [pid for seed in "345" for pid in processes_with(str(out / seed))], 30)
    runs = [Run(folder) for folder in out.glob("[345]")]
    assert len(runs) == 2
    for run in runs:
        assert not run.finished
        assert run.state.is_file()
