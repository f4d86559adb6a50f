"""Memory stays flat over a thousand steps, on every backend: one library keeps every neuron ever made."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from neurozoo.registry.registry import default_registry

STEPS = """
import gc, json, sys
from pathlib import Path
import torch
from contextlib import closing
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.step import Stepper

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

torch.set_num_threads(1)
options = ["data.instead.params.size=16", "training.batch_size=4", "model.params.hidden=10", "model.params.heads=5",
           "model.params.spiking_inner=8"]
recipe = load_recipe("smile_mosei_corrected", options, backend=sys.argv[1], registry=default_registry())
experiment = open_experiment(recipe)
model = experiment.build()
batch = next(iter(experiment.view.batches("train", 4)))
told = []
with closing(Stepper(model, make_optimizer(recipe, model), recipe)) as stepper:
    for number in range(1, 1101):
        stepper.clear()
        stepper.add(batch)
        stepper.step()
        if number in (100, 600, 1100):
            gc.collect()
            told.append((resident(), len(gc.get_objects())))
print(json.dumps(told))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads RssAnon of /proc, which Linux has")
@pytest.mark.parametrize("backend", default_registry().usable_backends())
def test_a_thousand_steps_leave_nothing_behind(backend: str) -> None:
    done = subprocess.run([sys.executable, "-c", STEPS, backend], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    first, middle, last = json.loads(done.stdout)
    # An allocator settles in the first half; what grows in both is a leak.
    grown = min(middle[0] - first[0], last[0] - middle[0])
    assert grown < 2, f"{grown:.1f} MiB more in five hundred steps, and again in the next"
    assert last[1] - middle[1] < 500
