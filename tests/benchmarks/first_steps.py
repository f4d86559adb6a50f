"""Processor time from `neurozoo train RECIPE` to its first step, with and without numba's cache.

usage: python tests/benchmarks/first_steps.py [RECIPE ...]

By default all shipped recipes whose data is in NEUROZOO_DATA or made up. What is made on first use is made before.
"Cold" begins with an empty cache of numba, and "warm" is the median of those that follow. Processor time is that of all
threads, user and system; set OMP_NUM_THREADS=1 on a busy machine, where threads that wait for each other use some.
"""

from __future__ import annotations

import os
import sys
import tempfile

from neurozoo.bench.training import measure_first_step
from neurozoo.errors import NeurozooError
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import load_recipe
from neurozoo.recipe.shipped import shipped_recipes
from neurozoo.registry.registry import default_registry

GOAL = 5.0
"""Seconds, warm."""


def has_data(name: str) -> bool:
    """Whether a recipe's data is here; a stand-in is made."""
    try:
        open_experiment(load_recipe(name, registry=default_registry()))
    except NeurozooError:
        return False
    return True


def main(chosen: list[str]) -> None:
    # Python keeps neurozoo's bytecode in an installation; without, each process compiles 200 files.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in chosen or filter(has_data, shipped_recipes()):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NUMBA_CACHE_DIR"] = folder
            cold, warm = (measure_first_step(name, times=times) for times in (1, 3))
        above = "" if warm.processor < GOAL else ", above the goal"
        print(
            f"{name}: warm {warm.processor:.2f} s, of that the step itself {warm.step:.2f} s; cold "
            f"{cold.processor:.2f} s{above}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
