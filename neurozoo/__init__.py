"""A zoo of spiking models: one recipe, any spiking library.

Example:
    >>> import neurozoo
    >>> summary = neurozoo.train("smile_mosei_corrected", "training.epochs=3", out="runs/first")
    >>> model = neurozoo.load("runs/first")
    >>> probabilities = model.predict({"text": text, "audio": audio, "vision": vision})

    Layers of neurons for any network, on any backend, and what works on them, is on the page ``docs/python.md``:

    >>> import neurozoo as nz
    >>> net = nn.Sequential(nn.Linear(40, 128), nz.LIF(tau=2.0, backend="norse"), nn.Linear(128, 10), nz.LI())
    >>> nz.equivalent(net, x, "torch", "norse").verdict
    'equivalent'

A name is imported when it is first used, so that ``import neurozoo`` needs no torch. It sets environment variables
unless the user has: how the threads of torch wait, see :mod:`neurozoo.runs.threads`, and that pydantic and torch load
no plugins of their own. They would read the entry points of all distributions, and fail if one of them is damaged.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from neurozoo.runs.threads import thread_waiting

if TYPE_CHECKING:
    from neurozoo.compare.entry_points import compare_backends
    from neurozoo.compare.networks import equivalent
    from neurozoo.evaluation.evaluate import data_of
    from neurozoo.evaluation.evaluate import evaluate_run as evaluate
    from neurozoo.evaluation.prediction import predict
    from neurozoo.exporting.export import export
    from neurozoo.hub.packing import pack
    from neurozoo.models.backends import set_backend
    from neurozoo.models.neurons import ALIF, CUBA, IF, LI, LIF, PLIF, AdLIF, Neurons
    from neurozoo.nir.networks import from_nir, to_nir
    from neurozoo.nn.each_step import EachStep
    from neurozoo.nn.record import record
    from neurozoo.operations.energy import energy_of as energy
    from neurozoo.operations.networks import count_operations
    from neurozoo.operations.profiling import profile_run as profile
    from neurozoo.recipe.recipe import Recipe, load_recipe
    from neurozoo.reporting import plot
    from neurozoo.runs.by_name import create_model, list_models
    from neurozoo.runs.loading import load
    from neurozoo.runs.streaming import Stream
    from neurozoo.runs.table import runs_below as runs
    from neurozoo.studies.arena.arena import run_arena
    from neurozoo.studies.seeds import train_seeds
    from neurozoo.studies.tuning.search import tune
    from neurozoo.training.train import train

    __version__: str

__all__ = [
    "ALIF",
    "CUBA",
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "AdLIF",
    "EachStep",
    "Neurons",
    "Recipe",
    "Stream",
    "__version__",
    "compare_backends",
    "count_operations",
    "create_model",
    "data_of",
    "energy",
    "equivalent",
    "evaluate",
    "export",
    "from_nir",
    "list_models",
    "load",
    "load_recipe",
    "pack",
    "plot",
    "predict",
    "profile",
    "record",
    "run_arena",
    "runs",
    "set_backend",
    "to_nir",
    "train",
    "train_seeds",
    "tune",
]

_NEURONS = ("ALIF", "CUBA", "IF", "LI", "LIF", "PLIF", "AdLIF", "Neurons")
_TARGETS = {
    **{
        name: f"neurozoo.models.neurons:{name}"
        for name in ("ALIF", "AdLIF", "CUBA", "IF", "LI", "LIF", "Neurons", "PLIF")
    },
    "EachStep": "neurozoo.nn.each_step:EachStep",
    "plot": "neurozoo.reporting.plot:",
    "record": "neurozoo.nn.record:record",
    "set_backend": "neurozoo.models.backends:set_backend",
    "Recipe": "neurozoo.recipe.recipe:Recipe",
    "Stream": "neurozoo.runs.streaming:Stream",
    "compare_backends": "neurozoo.compare.entry_points:compare_backends",
    "count_operations": "neurozoo.operations.networks:count_operations",
    "create_model": "neurozoo.runs.by_name:create_model",
    "data_of": "neurozoo.evaluation.evaluate:data_of",
    "energy": "neurozoo.operations.energy:energy_of",
    "equivalent": "neurozoo.compare.networks:equivalent",
    "evaluate": "neurozoo.evaluation.evaluate:evaluate_run",
    "export": "neurozoo.exporting.export:export",
    "from_nir": "neurozoo.nir.networks:from_nir",
    "list_models": "neurozoo.runs.by_name:list_models",
    "load": "neurozoo.runs.loading:load",
    "load_recipe": "neurozoo.recipe.recipe:load_recipe",
    "pack": "neurozoo.hub.packing:pack",
    "predict": "neurozoo.evaluation.prediction:predict",
    "profile": "neurozoo.operations.profiling:profile_run",
    "run_arena": "neurozoo.studies.arena.arena:run_arena",
    "to_nir": "neurozoo.nir.networks:to_nir",
    "train": "neurozoo.training.train:train",
    "train_seeds": "neurozoo.studies.seeds:train_seeds",
    "tune": "neurozoo.studies.tuning.search:tune",
}

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
thread_waiting()  # before anything can load torch, which reads it once


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        from neurozoo.errors import DISTRIBUTION

        return version(DISTRIBUTION)
    if name not in _TARGETS:
        raise AttributeError(f"module 'neurozoo' has no attribute {name!r}")
    module, _, attribute = _TARGETS[name].partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
