"""One small valid input of every kind that neurozoo reads, and the commands that read it."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

__all__ = ["Kind", "filled", "make_samples", "pick"]

RECIPE = (
    (Path(__file__).parents[1] / "small_recipe.yaml").read_text()
    + """\
  checkpoint_steps: 1
  optimizer: {name: adam, lr: 0.005}
tune:
  metric: map
  space:
    training.optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}
    model.params.hidden: {values: [10, 20]}
"""
)


PATH, OUT = "{PATH}", "{OUT}"
LABELS, TABLE = "CMU_MOSEI_Labels.csd", "transcripts.csv"
READ_AS = ("--as", "norse", "--dt", "1e-3", "--reset", "value", "--readout", "last")


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name: For the report.
        source: A valid one: a file, or a folder of which one file is spoilt at a time.
        commands: Each reads a copy of it: arguments, in which PATH is the copy and OUT a new folder.
        share: Of the time for all kinds.
        streams: Whether it may come through a pipe, for which the command waits.
    """

    name: str
    source: Path
    commands: tuple[tuple[str, ...], ...]
    share: float = 1.0
    streams: bool = False

    def files(self, copy: Path) -> list[Path]:
        """The files of a copy, one of which is spoilt."""
        return [copy] if copy.is_file() else sorted(path for path in copy.rglob("*") if path.is_file())


def _(*arguments: str) -> tuple[str, ...]:
    return arguments


def make_samples(folder: Path) -> dict[str, Kind]:
    """Make a valid input of each kind in a folder, training one small run."""
    folder.mkdir(parents=True)
    store = _store(folder / "store")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("{root}", str(store)))
    run = _run(recipe, folder / "run")
    root = ["--data-root", str(store)]
    kinds = (
        Kind("recipe", recipe, (_("show", PATH), _("train", PATH, "--dry-run")), 1.5),
        Kind(
            "run",
            run,
            (
                _("evaluate", PATH),
                _("verify", PATH),
                _("report", PATH, "--out", OUT),
                _("pack", PATH, "--out", OUT),
                _("compare", PATH, str(run)),
                _("profile", PATH),
                _("predict", PATH, str(store), "--split", "test"),
                _("train", str(recipe), "--from", PATH, "--out", OUT),
            ),
            2.0,
        ),
        Kind("interrupted run", _interrupted(recipe, folder / "interrupted"), (_("train", "--resume", PATH),)),
        Kind(
            "pack",
            _pack(run, folder / "pack"),
            (
                _("evaluate", PATH, *root),
                _("verify", PATH, *root),
                _("predict", PATH, str(store), "--split", "test"),
            ),
        ),
        Kind(
            "store",
            store,
            (
                _("data", "check", PATH),
                _("data", "info", PATH),
                _("data", "guess", PATH),
                _("evaluate", str(run), "--data-root", PATH),
            ),
        ),
        Kind("NIR", _nir(folder / "graph.nir"), (_("nir", "import", PATH, "--out", OUT, *READ_AS),), 1.5),
        Kind(
            "csd",
            _csd(folder / "csd"),
            (
                _("data", "import", "csd", PATH, OUT, "--labels", f"{PATH}/{LABELS}", "--folds", f"{PATH}/folds.json"),
                _("data", "guess", PATH),
            ),
            1.5,
        ),
        Kind("npz (mfn)", _mfn(folder / "mfn"), (_("data", "import", "mfn", PATH, OUT), _("data", "guess", PATH))),
        Kind("npz (predict)", _features(folder / "features.npz"), (_("predict", str(run), PATH),)),
        Kind("JSON lines (predict)", _lines(folder / "features.jsonl"), (_("predict", str(run), PATH),), streams=True),
        Kind(
            "pickle",
            _pickle(folder / "train_valid_test.pkl"),
            (_("data", "import", "tailor", PATH, OUT, "--label-order", "happy,sad"), _("data", "guess", PATH)),
            1.5,
        ),
        Kind(
            "table (mosei-text)",
            _text(folder / "text"),
            (
                _("data", "import", "mosei-text", f"{PATH}/{TABLE}", OUT, "--vectors", f"{PATH}/vectors.txt"),
                _("data", "guess", f"{PATH}/{TABLE}"),
            ),
        ),
    )
    return {kind.name: kind for kind in kinds}


def _store(folder: Path) -> Path:
    from neurozoo.data.writer import StoreWriter

    rng = np.random.default_rng(0)
    shapes = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
    with StoreWriter(folder, labels=("calm", "angry", "sad"), origin={"source": "made up by the faults"}) as writer:
        for split, samples in (("train", 24), ("valid", 10), ("test", 11)):
            y = rng.integers(0, 2, (samples, 3))
            y[0] = 1
            features = {
                name: (rng.normal(size=(samples, length, dim)) + y[:, None, :1]).astype(np.float32)
                for name, (length, dim) in shapes.items()
            }
            writer.add(split, features, y)
    return folder


def _run(recipe: Path, folder: Path) -> Path:
    from neurozoo.recipe.recipe import load_recipe
    from neurozoo.training.train import train

    train(load_recipe(recipe), out=folder)
    return folder


def _interrupted(recipe: Path, folder: Path) -> Path:
    from neurozoo.recipe.recipe import load_recipe
    from neurozoo.training.listener import Listener
    from neurozoo.training.train import train

    class AfterOne(Listener):
        def epoch(self, record: Any, checkpoint: Any) -> None:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        train(load_recipe(recipe), out=folder, listener=AfterOne())
    return folder


def _pack(run: Path, folder: Path) -> Path:
    from neurozoo.hub.packing import pack

    return pack(run, folder)


def _nir(path: Path) -> Path:
    import nir

    rng = np.random.default_rng(1)
    nodes = {
        "input": nir.Input({"input": np.array([4])}),
        "linear": nir.Affine(rng.normal(size=(3, 4)), np.zeros(3)),
        "lif": nir.LIF(tau=np.full(3, 2e-2), r=np.ones(3), v_leak=np.zeros(3), v_threshold=np.ones(3)),
        "out": nir.Linear(rng.normal(size=(2, 3))),
        "output": nir.Output({"output": np.array([2])}),
    }
    edges = [("input", "linear"), ("linear", "lif"), ("lif", "out"), ("out", "output")]
    nir.write(path, nir.NIRGraph(nodes, edges))
    return path


def _csd(folder: Path) -> Path:
    import h5py

    folder.mkdir()
    words = {v: ([[i, i + 1] for i in range(4)], np.arange(8).reshape(4, 2) + 1) for v in "abcd"}
    labels = {v: ([[-0.5, 2.0], [2.0, 4.0]], [[1, 0.5, 0], [-1, 0, 2]]) for v in "abcd"}
    names = (("CMU_MOSEI_TimestampedGloveVectors.csd", words, "words"), ("CMU_MOSEI_Labels.csd", labels, "All Labels"))
    for name, videos, root in names:
        with h5py.File(folder / name, "w") as file:
            for video, (intervals, features) in videos.items():
                group = file.create_group(f"{root}/data/{video}")
                group["intervals"] = np.asarray(intervals, np.float32)
                group["features"] = np.asarray(features, np.float32)
            if root == "All Labels":
                group = file.create_group(f"{root}/metadata")
                group["dimension names"] = [json.dumps(["sentiment", "happy", "sad"])]
    (folder / "folds.json").write_text(json.dumps({"train": ["a", "b"], "valid": ["c"], "test": ["d"]}))
    return folder


def _mfn(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(2)
    for split, n in (("train", 4), ("valid", 2), ("test", 3)):
        y = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
        audio, video = rng.normal(size=(n, 3, 2)), rng.normal(size=(n, 3, 4))
        np.savez(folder / f"talks_{split}.npz", audio=audio, video=video, y=y)
    return folder


def _batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        name: rng.normal(size=(2, *shape)) for name, shape in (("text", (6, 5)), ("audio", (8, 4)), ("vision", (7, 3)))
    }


def _features(path: Path) -> Path:
    np.savez(path, **_batch())
    return path


def _lines(path: Path) -> Path:
    batch = _batch()
    samples = ({"id": f"s{i}", "signals": {name: x[i].tolist() for name, x in batch.items()}} for i in range(2))
    path.write_text("".join(f"{json.dumps(sample)}\n" for sample in samples))
    return path


def _pickle(path: Path) -> Path:
    rng = np.random.default_rng(4)
    splits = {}
    for split, n in (("train", 3), ("valid", 2), ("test", 2)):
        splits[split] = {
            "src-text": rng.normal(size=(n, 3, 2)),
            "src-audio": rng.normal(size=(n, 3, 4)),
            "src-visual": rng.normal(size=(n, 3, 3)),
            "tgt": [[2, 4, 3] if i % 2 else [2, 4, 5, 3] for i in range(n)],
        }
    path.write_bytes(pickle.dumps(splits, protocol=4))
    return path


def _text(folder: Path) -> Path:
    folder.mkdir()
    rows = (
        "video_id,segment_id,start,end,split,sentiment,happy,sad,text",
        'a,0,0.0,2.0,train,1.0,0.66,0.0,"Good, good day"',
        "a,1,2.0,4.0,train,-1.0,0.0,1.0,it's a zebra",
        "b,0,0.0,2.0,valid,0.0,0.33,0.0,good Zebra!",
        "c,0,0.0,2.0,test,2.0,2.0,0.33,a good good bad day unseen",
    )
    (folder / "transcripts.csv").write_text("\n".join(rows) + "\n")
    (folder / "vectors.txt").write_text("good 1 0\nday 0 1\na 2 2\nit 3 0\nbad -1 -1\n")
    return folder


def pick(random: Random, kind: Kind, copy: Path) -> tuple[Path, list[str]]:
    """The file of a copy to spoil, and a command on the copy, which may make ``out`` next to it."""
    return random.choice(kind.files(copy)), filled(random.choice(kind.commands), copy)


def filled(command: tuple[str, ...], copy: Path) -> list[str]:
    """A command on a copy."""
    return [each.replace(PATH, str(copy)).replace(OUT, str(copy.with_name("out"))) for each in command]
