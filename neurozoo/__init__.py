"""A zoo of spiking models: one recipe, any spiking library.

Example:
    >>> import neurozoo
    >>> summary = neurozoo.train("smile_mosei_sound", "training.epochs=3", out="runs/first")
    >>> model = neurozoo.load("runs/first")
    >>> probabilities = model.predict({"text": text, "audio": audio, "vision": vision})

Everything is imported where it is used, so that ``import neurozoo`` needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurozoo.compare import Comparison
    from neurozoo.evaluation.prediction import Prediction, Sample
    from neurozoo.operations import OperationsProfile
    from neurozoo.recipe.recipe import Recipe, load_recipe
    from neurozoo.runs.loading import TrainedModel
    from neurozoo.studies.seeds import SeedsResult
    from neurozoo.studies.tuning import TuningResult
    from neurozoo.training.reporter import Reporter

    __version__: str

__all__ = [
    "Recipe",
    "__version__",
    "compare_backends",
    "evaluate",
    "load",
    "load_recipe",
    "pack",
    "predict",
    "profile",
    "train",
    "train_seeds",
    "tune",
]


def train(
    recipe: str | Path | Recipe,
    *overrides: str,
    out: str | Path | None = None,
    backend: str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train a recipe's model into a new run folder.

    Args:
        recipe: A recipe, its file, or the name of a shipped one.
        overrides: ``key.sub=value``, the value in YAML.
        out: The run folder; by default a new one under ``runs/``.
        backend: Another backend than the recipe's.
        reporter: Hears of the progress; nobody by default.

    Returns:
        What the run's ``summary.json`` holds; its folder is ``["run"]``.

    Raises:
        UserError: The recipe, the data or the run folder cannot be used.
        NeurozooError: Training failed, for instance by a loss that is not finite.
    """
    from neurozoo.training import fit

    folder = None if out is None else Path(out)
    return fit.train(_checked(recipe, overrides, backend), folder, reporter=reporter)


def train_seeds(
    recipe: str | Path,
    *overrides: str,
    seeds: int = 5,
    out: str | Path | None = None,
    jobs: int | None = None,
    backend: str | None = None,
) -> SeedsResult:
    """Train a recipe with several seeds, each in a process of its own, and say how its numbers spread.

    Args:
        recipe: A recipe's file, or the name of a shipped one.
        overrides: ``key.sub=value``, the value in YAML.
        seeds: How many: the recipe's seed and those after it.
        out: The folder for the runs and ``seeds.json``; what is there already is gone on with.
        jobs: Trainings at a time; by default as many as there are cores.
        backend: Another backend than the recipe's.

    Raises:
        UserError: The recipe, the data or a run folder cannot be used.
        NeurozooError: A training failed.
    """
    from neurozoo.studies.seeds import train_seeds as run

    folder = None if out is None else Path(out)
    return run(recipe, overrides, seeds=seeds, out=folder, jobs=jobs, backend=backend)


def tune(
    recipe: str | Path,
    *overrides: str,
    trials: int = 20,
    storage: str | None = None,
    study: str | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    backend: str | None = None,
) -> TuningResult:
    """Search a recipe's ``tune.space`` for what is best on the valid split; the test split stays closed.

    Args:
        recipe: A recipe's file, or the name of a shipped one, with a section ``tune``.
        overrides: ``key.sub=value``, the value in YAML, for all trials.
        trials: How many there are to be in all, with those there are already.
        storage: A file or a database's URL; others that name the same one take part.
        study: Its name there; by default the recipe's.
        jobs: Processes that do trials at a time.
        out: The folder for the runs and ``best.json``; what is there already is gone on with.
        backend: Another backend than the recipe's.

    Raises:
        UserError: optuna is not installed, or the recipe, the data or the storage cannot be used.
        NeurozooError: No trial came to its end.
    """
    from neurozoo.studies.tuning import tune as run

    folder = None if out is None else Path(out)
    return run(recipe, overrides, trials=trials, storage=storage, study=study, jobs=jobs, out=folder, backend=backend)


def evaluate(
    run: str | Path,
    *,
    split: str = "test",
    backend: str | None = None,
    data_root: str | Path | None = None,
) -> dict[str, Any]:
    """Measure a trained model again.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        split: Which samples, such as ``test`` or ``valid``.
        backend: Another backend than the run's own.
        data_root: A data store, where it is not where the recipe says.

    Raises:
        UserError: The run, its data or its checkpoint cannot be used.
    """
    from neurozoo.evaluation.evaluate import evaluate_run

    root = None if data_root is None else str(data_root)
    return evaluate_run(Path(run), split=split, backend=backend, data_root=root)


def load(run: str | Path, *, backend: str | None = None) -> TrainedModel:
    """Load a trained model, ready to predict.

    Args:
        run: A run folder, whose best weights are taken; a packed one, all of whose files are compared with their
            hashes first; or the name of a model that comes with neurozoo.
        backend: Another backend than its own.

    Raises:
        UserError: It is none of these, or its checkpoint cannot be used.
    """
    from neurozoo.runs import loading

    return loading.load(run, backend=backend)


def pack(run: str | Path, out: str | Path | None = None, *, licence: str | None = None, notes: str = "") -> Path:
    """Pack a finished run as a folder for a model hub, which :func:`load` reads as it does a run.

    Args:
        run: The run folder.
        out: The new folder; by default ``packed/`` and the run's name.
        licence: Of the weights, an SPDX expression such as ``Apache-2.0``.
        notes: Markdown for the model card.

    Returns:
        The folder.

    Raises:
        UserError: The run is not finished, the folder cannot be used, or the licence is none.
    """
    from neurozoo.hub import packing

    return packing.pack(Path(run), None if out is None else Path(out), licence=licence, notes=notes)


def predict(
    run: str | Path, source: str | Path | Iterable[Sample], *, split: str | None = None, backend: str | None = None
) -> Iterator[Prediction]:
    """What a trained model says of samples without labels, each by itself and as they come.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        source: A store, ``.npz`` or file of JSON lines, see
            :meth:`neurozoo.evaluation.prediction.Predictor.samples`; or samples.
        split: Of a store, the one to take; by default all.
        backend: Another backend than the run's own.

    Raises:
        UserError: The run cannot be used, or a sample is not of the form that its model takes.
    """
    from neurozoo.evaluation.prediction import Predictor

    predictor = Predictor(Path(run), backend=backend)
    return predictor.predict(predictor.samples(Path(source), split) if isinstance(source, str | Path) else source)


def profile(
    run: str | Path,
    *,
    split: str = "valid",
    samples: int | None = None,
    control: str | Path | None = None,
    backend: str | None = None,
    data_root: str | Path | None = None,
) -> OperationsProfile:
    """Count what a trained model computes, by layer, beside the same network with a ReLU for each spiking neuron.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        split: Whose samples.
        samples: How many, evenly spread over the split; by default all.
        control: A run that was trained without spikes, to stand beside it instead.
        backend: Another backend than the run's own.
        data_root: A data store, where it is not where the recipe says.

    Raises:
        UserError: The run, its control, its data or its checkpoint cannot be used.
    """
    from neurozoo.operations import profile_run

    root = None if data_root is None else str(data_root)
    return profile_run(run, split=split, samples=samples, control=control, backend=backend, data_root=root)


def compare_backends(
    recipe: str | Path | Recipe,
    backends: Sequence[str],
    *overrides: str,
    batches: int = 4,
    batch_size: int = 16,
    split: str = "valid",
    repeats: int = 3,
    train_steps: int = 0,
) -> Comparison:
    """Run the same weights and the same samples on several backends, the first being the reference.

    Args:
        recipe: A recipe, its file, or the name of a shipped one.
        backends: Two or more registered backends.
        overrides: ``key.sub=value``, the value in YAML.
        batches: How many batches, at most.
        batch_size: Samples of each.
        split: Where they are from, such as ``valid``.
        repeats: How often each backend is timed.
        train_steps: For how many steps each is trained as well; 0 for none.

    Raises:
        UserError: The recipe or a backend cannot be used.
    """
    from neurozoo.compare import Plan, compare_recipe

    plan = Plan(batches, batch_size, split, repeats, train_steps)
    return compare_recipe(_checked(recipe, overrides, None), backends, plan)


def _checked(recipe: str | Path | Recipe, overrides: Sequence[str], backend: str | None) -> Recipe:
    from neurozoo.recipe.recipe import Recipe, load_recipe
    from neurozoo.registry.registry import default_registry

    if isinstance(recipe, Recipe):
        return recipe.with_overrides(overrides, backend=backend, registry=default_registry())
    return load_recipe(recipe, overrides, backend=backend, registry=default_registry())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("neurozoo")
    if name in ("Recipe", "load_recipe"):
        from neurozoo.recipe import recipe

        return getattr(recipe, name)
    raise AttributeError(f"module 'neurozoo' has no attribute {name!r}")
