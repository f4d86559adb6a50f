"""What several tests share: small SMILE models and batches, a small store, and a recipe that trains in a second."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis.internal.conjecture import providers
from safetensors import safe_open

from neurozoo.core.multimodal import Layout
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Problem
from neurozoo.core.task import Task
from neurozoo.data.writer import StoreWriter
from neurozoo.models.smile.model import SMILE
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry, slot_kind
from neurozoo.studies.launchers.local import LocalJobs
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.testing.golden import GoldenCase, GoldenFile
from neurozoo.training.step import Stepper
from neurozoo.training.train import resume, train

# How long an example takes says more of the machine than of the code.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
# Examples do not depend on which modules are imported; reading all of them takes each process seconds.
providers._get_local_constants = lambda: providers._local_constants

CORRECTED = {
    "activation": "lif",
    "threshold": "disagreement",
    "scaling": "rate-gain",
    "fusion": "interactive",
    "head": "label-decoder",
}


def pytest_collection_finish() -> None:
    """What is there before the first test stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Data sets that tests install by name go into a folder of the tests, not into the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROZOO_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_samples_profiled() -> Iterator[None]:
    """Reports and cards count the operations of two samples; how many they would is tested where it is the point."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neurozoo.reporting.runs.summary_tables._SAMPLES", 2)
        patch.setattr("neurozoo.hub.packing.SAMPLES", 2)
        yield


@cache
def golden_cases() -> tuple[GoldenCase, ...]:
    """Return the CASE of every file in tests/models/golden."""
    found = []
    for path in sorted((Path(__file__).parent / "models" / "golden").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"golden_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append(module.CASE)
    return tuple(found)


@pytest.fixture(scope="session")
def read_golden() -> Callable[[Path], tuple[GoldenCase, GoldenFile]]:
    """Read a golden file; returns the one case that claims it as well."""

    @cache
    def read(path: Path) -> tuple[GoldenCase, GoldenFile]:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            found = GoldenFile(path.name, file.metadata() or {}, tensors)
        claiming = [case for case in golden_cases() if case.claims(found.header)]
        model = found.header.get("model")
        assert len(claiming) == 1, f"{path.name}: {len(claiming)} models claim {model!r}, and one has to"
        return claiming[0], found

    return read


@pytest.fixture
def interrupted_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], AbstractContextManager[None]]:
    """A block in which a training is interrupted instead of taking its n-th step, counted from 1."""

    @contextmanager
    def block(number: int) -> Iterator[None]:
        step, steps = Stepper.step, count(1)

        def interrupted(stepper: Stepper) -> None:
            if next(steps) == number:
                raise KeyboardInterrupt
            step(stepper)

        with monkeypatch.context() as patch:
            patch.setattr(Stepper, "step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                yield

    return block


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be trained in a process of its own is trained in this one, with one job at a time."""

    def run(self: LocalJobs, name: str, arguments: Sequence[str]) -> None:
        command, *what, option, folder, json_ = arguments
        assert (command, json_) == ("train", "--json")
        if option == "--resume":
            resume(Path(folder))
            return
        closed = what[what.index("--close") + 1 :] if "--close" in what else []
        overrides = [each for each in what[1:] if each != "--close" and each not in closed]
        train(load_recipe(what[0], overrides, registry=default_registry()), out=Path(folder), closed=closed)

    monkeypatch.setattr(LocalJobs, "run", run)


@pytest.fixture
def layout() -> Callable[..., Layout]:
    """Makes a layout; keyword arguments replace its defaults."""

    def make(**changes: Any) -> Layout:
        given = {
            "hidden": 10,
            "heads": 5,
            "dropout": 0.1,
            "primary": ("audio", "vision"),
            "context": ("text",),
            "outputs": 3,
        }
        return Layout(**(given | changes))

    return make


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """Makes a problem of features ``[L, D]`` by modality; multi-label by default, of three labels."""

    def make(
        dims: Mapping[str, int],
        *,
        labels: int = 3,
        task: Task | None = None,
        standardise: bool = False,
        length: int = 8,
    ) -> Problem:
        signals = {name: SignalShape((dim,), length) for name, dim in dims.items()}
        names = tuple(f"label {i}" for i in range(labels))
        return Problem(signals, task or Multilabel(names), tuple(dims) if standardise else ())

    return make


@pytest.fixture
def smile(problem: Callable[..., Problem]) -> Callable[..., SMILE]:
    """Makes a SMILE model of named parts, the corrected ones by default, on any backend."""

    def make(
        dims: Mapping[str, int],
        spiking: tuple[str, ...],
        context: str | None = None,
        *,
        labels: int = 3,
        parts: Mapping[str, str] | None = None,
        part_params: Mapping[str, Mapping[str, Any]] | None = None,
        backend: str = "torch",
        seed: int = 0,
        standardise: bool = False,
        **params: Any,
    ) -> SMILE:
        registry = default_registry()
        names, given = CORRECTED | dict(parts or {}), dict(part_params or {})

        def build(slot: str, *args: Any) -> Any:
            if slot not in names:
                return None
            kind, base = slot_kind(SMILE.slots[slot])
            return registry.resolve(kind, names[slot], base)(*args, **given.get(slot, {}))

        torch.manual_seed(seed)
        neuron = registry.resolve("neuron", backend)
        solved = problem(dims, labels=labels, standardise=standardise)
        return SMILE(solved, build, neuron, context=context, spiking=spiking, **params)

    return make


@pytest.fixture
def random_batch() -> Callable[..., Batch]:
    """Makes a batch of random features, with some rows of padding on the right."""

    def make(
        shapes: Mapping[str, tuple[int, int]], samples: int = 4, labels: int = 3, seed: int = 0, scale: float = 3.0
    ) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        features, masks = {}, {}
        for name, (length, dim) in shapes.items():
            valid = torch.randint(1, length + 1, (samples,), generator=generator)
            masks[name] = torch.arange(length) < valid[:, None]
            x = scale * torch.randn(samples, length, dim, generator=generator)
            features[name] = x * masks[name][..., None]
        y = (torch.rand(samples, labels, generator=generator) < 0.4).float()
        return Batch.of(features, masks, y, torch.arange(samples))

    return make


RECIPE = (Path(__file__).parent / "small_recipe.yaml").read_text()


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training, 10 valid and 11 test samples of three modalities with padding; no test changes it."""
    rng = np.random.default_rng(0)
    shapes = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
    folder = tmp_path_factory.mktemp("small") / "store"
    with StoreWriter(folder, labels=("calm", "angry", "sad"), origin={"source": "made up by the tests"}) as writer:
        for split, samples in (("train", 24), ("valid", 10), ("test", 11)):
            y = rng.integers(0, 2, (samples, 3))
            y[0] = 1
            features = {}
            for name, (length, dim) in shapes.items():
                x = rng.normal(size=(samples, length, dim)).astype(np.float32) + y[:, None, :1]
                for i, n in enumerate(rng.integers(1, length + 1, samples)):
                    x[i, n:] = 0
                features[name] = x
            writer.add(split, features, y)
    return folder


@pytest.fixture
def store(small_store: Path, tmp_path: Path) -> Path:
    """The small store, for this test alone."""
    return Path(shutil.copytree(small_store, tmp_path / "store"))


@pytest.fixture
def recipe(store: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Loads the small recipe with overrides."""

    def load(*overrides: str, backend: str | None = None) -> Recipe:
        path = tmp_path / "small.yaml"
        path.write_text(RECIPE.replace("{root}", str(store)))
        return load_recipe(path, overrides, backend=backend)

    return load


@pytest.fixture(scope="session")
def trained_once(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Trains the small recipe for so many epochs, the first time it is asked for; no test changes the run."""
    folder = tmp_path_factory.mktemp("trained")
    text = RECIPE.replace("{root}", str(small_store))

    @cache
    def run(epochs: int) -> Path:
        path = folder / "small.yaml"
        path.write_text(text)
        train(load_recipe(path, [f"training.epochs={epochs}"]), out=folder / str(epochs))
        return folder / str(epochs)

    return run


@pytest.fixture
def trained(tmp_path: Path, trained_once: Callable[[int], Path]) -> Path:
    """A run of one epoch, in ``tmp_path / "run"``, for this test alone."""
    return Path(shutil.copytree(trained_once(1), tmp_path / "run"))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Makes a distribution that is found as installed ones are: metadata and a module, in a folder on the path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)

    def make(
        name: str, code: str = "", *, version: str = "0.3", entry_points: str | None = None, metadata: str | None = None
    ) -> Path:
        module = name.replace("-", "_")
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
        info = folder / f"{module}-{version}.dist-info"
        info.mkdir()
        if metadata is None:
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        if entry_points is None:
            entry_points = f"[neurozoo]\n{name.removeprefix('neurozoo-')} = {module}\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        importlib.invalidate_caches()
        return folder / f"{module}.py"

    yield make
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
