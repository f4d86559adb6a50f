"""What a run calls its data is what it was trained on, whatever name its recipe had for other data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from neurozoo.data.store import Store
from neurozoo.evaluation.evaluate import evaluate_run
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.training.train import train


def test_a_store_of_ones_own_is_not_called_by_the_recipes_name(
    recipe: Callable[..., Recipe], store: Path, tmp_path: Path
) -> None:
    own = tmp_path / "my-recordings"
    store.rename(own)
    checksum = Store(own).description.checksum
    made = recipe("training.epochs=1", "data.name=cmu-mosei", f"data.root={own}")
    summary = train(made, out=tmp_path / "run")
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    assert (data["name"], data["checksum"]) == ("my-recordings", checksum)
    assert summary["data"]["name"] == "my-recordings"
    for split in ("valid", "test"):
        _, metadata = read_tensors(tmp_path / "run" / "predictions" / f"{split}.safetensors")
        assert metadata["data"] == {"name": "my-recordings", "checksum": checksum}
    assert evaluate_run(tmp_path / "run")["data"] == "my-recordings"
    noted = (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()
    assert json.loads(noted[-1])["data"] == "my-recordings"
