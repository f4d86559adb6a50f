"""How the memory of a training step grows with T, by backend and kind of neuron, whole and in segments.

usage: python tests/benchmarks/long_sequences.py [--kinds K,K] [--backends B,B] [--steps T,T] [--training] [--json]

A step: spike trains [T, 32, 40], a linear, 128 neurons, a linear readout of each step, a loss, backward. Each runs in
a process of its own on one thread, after one of T = 8; the memory is the growth of its peak (``ru_maxrss``).

With ``--training`` it is a step of a recipe's training instead: the same sizes, recurrent weights, a leaky readout,
a penalty on firing rates, the optimiser; in segments with ``training.recompute=auto``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

CHILD = """
import resource, sys, torch
from neurozoo.core.kinds import KINDS
from neurozoo.core.layer import SpikingLayer
from neurozoo.models.backends import neuron_on
from neurozoo.nn.segments import in_segments
backend, kind, steps, whole = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "whole"
torch.set_num_threads(1)
layer, reader = SpikingLayer(neuron_on(backend, KINDS[kind]()), torch.nn.Linear(40, 128)), torch.nn.Linear(128, 4)
def run(x, state):
    spikes, state = layer.run(layer.currents(x), state)
    return reader(spikes), state
def step(x):
    (run(x, None) if whole else in_segments(run, x, None))[0].square().mean().backward()
x = (torch.rand(steps, 32, 40) < 0.1).float()
step(x[:8])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(x)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
TRAINING = """
import resource, sys, torch
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.models.build import build_model
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.step import Stepper
backend, kind, steps, whole = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "whole"
torch.set_num_threads(1)
recipe = load_recipe(
    "spiking_recurrent",
    [
        f"backend={backend}", "model.params.hidden=[128]", f"model.parts={{neuron: {{name: {kind}}}}}",
        "training.rate_penalty.weight=0.01", f"training.recompute={'null' if whole else 'auto'}",
    ],
    registry=default_registry(),
)
model = build_model(recipe, Problem({"x": SignalShape((40,), steps)}, Multiclass(["a", "b", "c", "d"], False))).train()
stepper = Stepper(model, make_optimizer(recipe, model), recipe)
x, target = (torch.rand(32, steps, 40) < 0.1).float(), torch.randint(4, (32,))
def step(x):
    stepper.clear()
    stepper.add(Batch({"x": Signal(x)}, target))
    stepper.step()
step(x[:, :8])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(x)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
LIBRARIES = ("spikingjelly", "norse", "snntorch")


def measured(backend: str, kind: str, steps: int, form: str, child: str) -> float | None:
    """MiB, or None if the backend does not run that kind."""
    command = [sys.executable, "-c", child, backend, kind, str(steps), form]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return float(done.stdout) if done.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", default="lif,if,plif,adlif,alif,cuba,li,relu")
    parser.add_argument("--backends", default="numba,torch,spikingjelly,norse,snntorch")
    parser.add_argument("--steps", default="100,1000")
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    first, last = map(int, given.steps.split(","))
    found = []
    for kind in given.kinds.split(","):
        for backend in given.backends.split(","):
            for form in ("whole", "segments") if backend in ("numba", "torch") else ("whole",):
                child = TRAINING if given.training else CHILD
                sizes = [measured(backend, kind, steps, form, child) for steps in (first, last)]
                if None not in sizes:
                    found.append((kind, backend, form, *sizes))
    if given.json:
        names = "kind", "backend", "form", str(first), str(last)
        print(json.dumps([dict(zip(names, each, strict=True)) for each in found]))
        return
    print(f"| kind | backend | form | T = {first} | T = {last} | of the leanest library's growth |")
    print("|---|---|---|---|---|---|")
    for kind, backend, form, one, other in found:
        theirs = [far - near for k, b, _, near, far in found if k == kind and b in LIBRARIES]
        share = f"{(other - one) / min(theirs):.2f}" if theirs else "-"
        print(f"| `{kind}` | `{backend}` | {form} | {one:.1f} MiB | {other:.1f} MiB | {share} |")


if __name__ == "__main__":
    main()
