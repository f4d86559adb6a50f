"""Memory of going through a SYNTHETIC store of growing size, and what feeding takes of a training step.

usage: python tests/benchmarks/store_feeding.py [--json] [SAMPLES ...]

By default 1000, 10000 and 100000 samples, which take 10 GB of disk. The stores have CMU-MOSEI's shapes: text 300, audio
74, vision 35, 60 positions, 6 labels. Each is gone through twice, in a new order, in batches of 32, by a process of its
own, whose RssAnon is read after every batch (Linux): memory that the kernel cannot take back, unlike the pages of the
store's files. Then 40 steps of smile_mosei_corrected are trained, each batch timed separately: the median of reading it
over the median of step and reading together.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

SHAPES = {"text": 300, "audio": 74, "vision": 35}
LABELS = ["happy", "sad", "anger", "surprise", "disgust", "fear"]
POSITIONS, BATCH, STEPS, PIECE = 60, 32, 40, 1000
RECIPE = "smile_mosei_corrected"


def write(dest: Path, samples: int) -> None:
    """A SYNTHETIC store: noise."""
    import numpy as np

    from neurozoo.data.store import StoreWriter

    random = np.random.default_rng(0)
    piece = {name: random.standard_normal((PIECE, POSITIONS, dim), dtype=np.float32) for name, dim in SHAPES.items()}
    with StoreWriter(dest, labels=LABELS, origin={"format": "noise"}, synthetic=True) as writer:
        for split, size in (("train", samples), ("valid", 64), ("test", 64)):
            for start in range(0, size, PIECE):
                n = min(PIECE, size - start)
                labels = random.integers(0, 2, (n, len(LABELS)))
                writer.add(split, {name: x[:n] for name, x in piece.items()}, labels)


def anonymous() -> float:
    """MiB of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def measure(store: Path) -> dict[str, float]:
    """In a process of its own: peak memory over what there was, seconds a batch, seconds a step."""
    import torch

    from neurozoo.models.build import open_experiment
    from neurozoo.recipe.recipe import load_recipe
    from neurozoo.training.engine import Engine
    from neurozoo.training.optimizer import make_optimizer
    from neurozoo.training.step import Stepper

    recipe = load_recipe(RECIPE, [f"data.root={store}", "data.instead=null"])
    experiment = open_experiment(recipe)
    view = experiment.view
    generator = torch.Generator().manual_seed(0)
    next(view.batches("train", BATCH, generator))  # what is made once
    before = peak = anonymous()
    for _epoch in range(2):
        for _ in view.batches("train", BATCH, generator):
            peak = max(peak, anonymous())
    model = experiment.build().train()
    stepper = Stepper(model, make_optimizer(recipe, model), recipe, Engine.of(recipe.training))
    feeding, steps = [], []
    batches = view.batches("train", BATCH, generator)
    for _ in range(min(STEPS, len(view.split("train")) // BATCH)):
        started = time.perf_counter()
        batch = next(batches)
        fed = time.perf_counter()
        stepper.add(batch)
        stepper.step()
        feeding.append(fed - started)
        steps.append(time.perf_counter() - started)
    return {
        "before_mib": before,
        "growth_mib": peak - before,
        "feeding_ms": 1000 * median(feeding),
        "step_ms": 1000 * median(steps),
        "feeding_share": median(feeding) / median(steps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="*", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    found = []
    for samples in given.samples:
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "store"
            # By another process, so that measuring starts afresh.
            code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import store_feeding as s; "
            code += f"from pathlib import Path; s.write(Path({str(store)!r}), {samples})"
            subprocess.run([sys.executable, "-c", code], check=True)
            done = subprocess.run([sys.executable, __file__, "--measure", store], check=True, stdout=subprocess.PIPE)
        found.append({"samples": samples, **json.loads(done.stdout)})
        if not given.json and samples == given.samples[0]:
            print(f"SYNTHETIC stores; {RECIPE}, batches of {BATCH}")
            print(f"{'samples':>9}{'MiB before':>12}{'grown by':>10}{'ms to feed':>12}{'ms a step':>11}{'share':>8}")
        if not given.json:
            row = found[-1]
            print(
                f"{samples:9d}{row['before_mib']:12.0f}{row['growth_mib']:10.1f}{row['feeding_ms']:12.2f}"
                f"{row['step_ms']:11.1f}{row['feeding_share']:8.1%}",
                flush=True,
            )
    if given.json:
        print(json.dumps({"recipe": RECIPE, "batch_size": BATCH, "synthetic": True, "stores": found}, indent=2))


if __name__ == "__main__":
    main()
