"""Acted emotions as log-mel frames: splits by speaker, lengths, and their events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.data.representations.delta import SendOnDelta, crossings, events_of_counts
from neurozoo.errors import DataError


def arrays() -> dict[str, Any]:
    """SYNTHETIC: twelve utterances of the ten speakers' numbers, of 2 to 6 frames and 4 bands."""
    rng = np.random.default_rng(0)
    length = rng.integers(2, 7, 12).astype(np.int16)
    x = rng.integers(20, 200, (12, 6, 4), dtype=np.uint8)
    x[np.arange(6) >= length[:, None]] = 0
    speakers = np.array([3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 9, 10], np.int8)
    names = np.array([f"u{i}" for i in range(12)])
    return {
        "x": x,
        "length": length,
        "y": np.arange(12, dtype=np.int8) % 2,
        "emotions": np.array(["joy", "rage"]),
        "speaker": speakers,
        "name": names,
    }


def test_frames_classes_and_speakers(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", **arrays())
    assert detect_format(tmp_path / "e.npz").format == "emodb"
    store, of = import_data("emodb", tmp_path / "e.npz", tmp_path / "store"), arrays()
    assert store.description.signals["log_mel"] == SignalShape((4,), int(of["length"].max()), "uint8", True, 0.01)
    assert store.description.splits == {"train": 6, "valid": 2, "test": 4}
    for split, speakers in {"train": {9, 10, 13, 15}, "valid": {11, 14}, "test": {3, 8, 12, 16}}.items():
        view = store.split(split)
        signal = view.batch(torch.arange(len(view.ids))).signals["log_mel"]
        for place, id in enumerate(view.ids):
            row = int(id[1:])
            assert of["speaker"][row] in speakers
            assert view.target[place] == of["y"][row]
            np.testing.assert_array_equal(signal.values[place][signal.mask[place]], of["x"][row, : of["length"][row]])


def test_steps_of_ten_from_eighty_are_the_events_of_the_levels(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", **arrays())
    store = import_data("emodb", tmp_path / "e.npz", tmp_path / "store", valid=["9"], test=["10"])
    signal = store.split("train").batch(torch.arange(8)).signals["log_mel"]
    events = SendOnDelta(step=10, start=80)(signal, store.description.signals["log_mel"])
    levels = signal.values.double() / 10 - 14
    wanted = events_of_counts(crossings(levels, signal.valid, 1.0, -6.0))
    assert torch.equal(events.values, wanted.values)
    assert events.mask.sum() > 100


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"speaker": None}, r"e\.npz: the array 'speaker' is missing; there are: x \[12, 6, 4\]"),
        ({"x": np.ones((12, 6, 4))}, r"x is float64 of shape \[12, 6, 4\]; give uint8 \[N, L, bands\]"),
        ({"length": np.full(12, 7)}, r"length of utterance 0 is 7; give 1 to 6"),
        ({"length": np.zeros(12, int)}, r"length of utterance 0 is 0; give 1 to 6"),
        ({"y": np.zeros(11, int)}, r"y is int64 of shape \[11\]; give whole numbers \[12\]"),
        ({"y": np.full(12, 2)}, r"has the value 2; a class is its place among joy, rage: 0 to 1"),
        ({"name": np.array(["a"])}, r"name is of shape \[1\]; give one for each of 12"),
        ({"speaker": np.full(12, 9)}, r"no sample has the speaker '11' of --valid; there are: 9"),
    ],
)
def test_malformed_files(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "e.npz", **{key: value for key, value in (arrays() | changes).items() if value is not None})
    with pytest.raises(DataError, match=said):
        import_data("emodb", tmp_path / "e.npz", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_real_utterances(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "emodb" / "emodb_logmel.npz"
    if not file.is_file():
        pytest.skip("the folder of NEUROZOO_TEST_DATA has no emodb/emodb_logmel.npz")
    assert detect_format(file).format == "emodb"
    store = import_data("emodb", file, tmp_path / "store")
    assert store.description.splits == {"train": 198, "valid": 124, "test": 213}
    assert len(store.description.task.outputs) == 7
