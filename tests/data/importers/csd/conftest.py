"""SYNTHETIC computational sequences in the SDK's layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import ArrayLike

Sequences = Mapping[str, tuple[ArrayLike, ArrayLike]]
LABELS = ["sentiment", "happy", "sad"]


@pytest.fixture
def csd(tmp_path: Path) -> Callable[..., Path]:
    """Writes a ``.csd``: intervals and features by video."""

    def write(name: str, videos: Sequences, *, root: str = "a root", names: list[str] | None = None) -> Path:
        path = tmp_path / "mosei" / name
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            for video, (intervals, features) in videos.items():
                group = file.create_group(f"{root}/data/{video}")
                group["intervals"] = np.asarray(intervals, np.float32).reshape(-1, 2)
                group["features"] = np.asarray(features, np.float32)
            if names is not None:
                file.create_group(f"{root}/metadata")["dimension names"] = [json.dumps(names)]
        return path

    return write


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({"train": ["a", "b"], "valid": ["c"], "test": ["d"]}))
    return path


@pytest.fixture
def mosei(csd: Callable[..., Path]) -> Path:
    """Four videos of 2 segments, 4 words of 2 values and 40 frames of 3; one more video in no fold."""
    words = {v: ([[i, i + 1] for i in range(4)], np.arange(8).reshape(4, 2) + 1) for v in "abcde"}
    audio = {
        v: ([[i / 10, (i + 1) / 10] for i in range(40)], np.repeat(np.arange(40)[:, None], 3, 1) + 1) for v in "abcd"
    }
    labels = {v: ([[-0.5, 2.0], [2.0, 4.0]], [[1, 0.5, 0], [-1, 0, 2]]) for v in "abcde"}
    csd("CMU_MOSEI_TimestampedGloveVectors_with_SP.csd", words)
    csd("CMU_MOSEI_COVAREP.csd", audio)
    path: Path = csd("CMU_MOSEI_Labels.csd", labels, root="All Labels", names=LABELS)
    return path.parent
