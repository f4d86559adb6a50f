# ruff: noqa: I001 - the modules of that version
"""Makes the files of this folder; run by neurozoo of commit e7f5693, in an empty folder."""

import json
import shutil
from itertools import count
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from neurozoo.data.store import StoreWriter
from neurozoo.packing import pack
from neurozoo.recipe import load_recipe
from neurozoo.training.fit import resume, train
from neurozoo.training.step import Stepper

RECIPE = """\
# A recipe as schema 1 has them.
schema: 1
description: a small model on made-up data
seed: 3
backend: torch
data:
  root: store
  context: text
  spiking: [audio, vision]
  standardise: true
  labels: [calm, angry, sad]
model:
  name: smile
  params: {hidden: 5, heads: 5, spiking_inner: 8, arithmetic: plain}
  parts:
    activation: lif
    threshold: disagreement
    scaling: rate-gain
    fusion: interactive
    head: label-decoder
training:
  epochs: 2
  batch_size: 8
  optimizer: {name: adamw, lr: 0.01, weight_decay: 0.01}
  scheduler: {name: plateau, patience: 0}
  label_smoothing: 0.1
  loss: {name: focal, gamma: 1.5, weights: balanced}
  best: map
  threads: 1
  initialisation: {name: fluctuation-driven, firing_rate: 0.2, batches: 2}
  rate_penalty: {weight: 1.0}
  checkpoint_steps: 1
evaluation:
  decision: {rule: valid-per-label, threshold: 0.4}
ablations:
  plain: [training.loss.name=cross-entropy, training.label_smoothing=0.0]
  without-vision: ['data.spiking=[audio]']
  no-context: [data.context=null, 'data.spiking=[text, audio, vision]']
tune:
  metric: macro_f1
  space:
    training.label_smoothing: {low: 0.0, high: 0.3}
    training.loss.gamma: {values: [0.0, 2.0]}
    training.optimizer.lr: {low: 0.001, high: 0.01, log: true}
"""


class Stopped(Exception):
    pass


def store() -> None:
    rng = np.random.default_rng(0)
    shapes = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
    origin = {"source": "made up by the tests", "licence": "Apache-2.0"}
    with StoreWriter(Path("store"), labels=("calm", "angry", "sad"), origin=origin, synthetic=True) as writer:
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


def interrupted(folder: Path, number: int) -> None:
    """Train until the n-th step, and stop instead of taking it."""
    step, steps = Stepper.step, count(1)

    def stopping(stepper: Stepper) -> None:
        if next(steps) == number:
            raise KeyboardInterrupt
        step(stepper)

    Stepper.step = stopping
    try:
        train(load_recipe("old.yaml"), folder)
    except KeyboardInterrupt:
        pass
    finally:
        Stepper.step = step


store()
Path("old.yaml").write_text(RECIPE)
train(load_recipe("old.yaml"), Path("finished"))
pack(Path("finished"), Path("packed"), licence="Apache-2.0", notes="Made for the tests.")
interrupted(Path("interrupted"), 5)
shutil.copytree("interrupted", "resumed")
resume(Path("resumed"))
same = [(Path(run) / "metrics.jsonl").read_text() for run in ("finished", "resumed")]
assert len(same[0].splitlines()) == 2
expected = {}
for run in ("finished", "resumed"):
    summary = json.loads((Path(run) / "summary.json").read_text())
    expected[run] = {key: summary[key] for key in ("metrics", "decision_threshold", "lesion", "best_epoch", "epochs")}
    expected[run]["predictions"] = {
        split: load_file(Path(run) / "predictions" / f"{split}.safetensors")["probabilities"].tolist()
        for split in ("valid", "test")
    }
assert expected["finished"] == expected["resumed"]
Path("expected.json").write_text(json.dumps(expected["finished"], indent=1) + "\n")
shutil.rmtree("resumed")
