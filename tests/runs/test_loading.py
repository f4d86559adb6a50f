"""Checkpoints of strangers: metadata that is none is refused by name, before a model is built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.errors import CheckpointError
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.loading import load
from neurozoo.runs.run import Run


@pytest.mark.parametrize(
    "change",
    [
        lambda metadata: metadata.pop("signals"),
        lambda metadata: metadata.update(signals=7),
        lambda metadata: metadata["signals"].update(text={"shape": ["x"], "length": 6}),
        lambda metadata: metadata["signals"].update(text={"shape": [-5], "length": 6}),
        lambda metadata: metadata["signals"].update(text={"shape": [5], "length": 6, "dtype": "nn"}),
        lambda metadata: metadata["signals"].update(text={"length": 6}),
        lambda metadata: metadata.update(task=[1]),
        lambda metadata: metadata["task"].update(outputs=[1, 2, 3]),
        lambda metadata: metadata["task"].update(mean="high"),
        lambda metadata: metadata["task"].update(mean=[float("inf")]),
    ],
)
def test_metadata_that_is_none(change: Callable[[dict[str, Any]], None], trained: Path) -> None:
    path = Run(trained).best
    tensors, metadata = read_tensors(path)
    change(metadata)
    write_tensors(path, tensors, metadata)
    with pytest.raises(CheckpointError, match="does not name its signals and outputs"):
        load(trained)
