"""Trained models: metadata that is none is refused by name, before a model is built; batches of what they read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import neurozoo
from neurozoo.errors import CheckpointError
from neurozoo.models.by_name import model_recipe
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.loading import TrainedModel, load
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


def test_token_numbers_have_no_axes_after_their_positions() -> None:
    of: dict[str, Any] = {"inputs": (), "length": 4, "outputs": 3, "width": 8, "depth": 1, "vocabulary": 5}
    module, recipe = neurozoo.create_model("spikegpt", **of).eval(), model_recipe("spikegpt", **of)
    model = TrainedModel(module, recipe, cast("Any", None))
    tokens = torch.tensor([[1, 2, 4], [0, 3, 3]])
    torch.testing.assert_close(model.predict({"input": tokens}), torch.softmax(module(tokens), 1))
    valid = torch.tensor([[True, True, False], [True, True, True]])
    torch.testing.assert_close(
        model.predict({"input": tokens}, {"input": valid})[0], model.predict({"input": tokens[:1, :2]})[0]
    )
