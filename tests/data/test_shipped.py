"""The real data that comes with neurozoo: what is in it, where it is from, under which licence, and that it trains."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.mel import MelLevelCrossing
from neurozoo.data.shipped.fsdd_small import FILE, FsddSmall
from neurozoo.errors import DataError
from neurozoo.runs.run import Run

ROOT = Path(__file__).parents[2]
CHECKSUM = "ead2b18abe9dd6c3500486e577516b827fc361ea8cee96061d373bd690ae99dc"
SPEAKERS = {"train": {"george", "jackson", "lucas"}, "valid": {"nicolas"}, "test": {"theo", "yweweler"}}


def test_it_is_small_and_its_licence_lies_beside_it() -> None:
    assert FILE.stat().st_size < 700_000
    notice = FILE.with_name("NOTICE").read_text()
    for words in ("CC BY-SA 4.0", "Jackson", "10.5281/zenodo.1342401", "Changes:", "make_fsdd_small.py"):
        assert words in notice
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["license"] == "Apache-2.0 AND CC-BY-SA-4.0"
    assert "neurozoo/data/shipped/NOTICE" in project["project"]["license-files"]
    packaged = project["tool"]["setuptools"]["package-data"]["neurozoo"]
    kept = {path for pattern in packaged for path in (ROOT / "neurozoo").glob(pattern)}
    assert {path for path in FILE.parent.iterdir() if path.suffix != ".py" and path.is_file()} <= kept


def test_the_store_has_every_event_and_no_speaker_in_two_splits() -> None:
    store = FsddSmall().store()
    shape = store.description.signals["events"]
    assert (shape.sensor, shape.tick, shape.span) == ((80,), 0.01, 100)
    with np.load(FILE) as file:
        kept = {name: file[name] for name in file.files}
    seen = 0
    for split, speakers in SPEAKERS.items():
        part_of = store.split(split)
        ids = part_of.ids
        assert {each.split("_")[1] for each in ids} == speakers
        batch = part_of.batch(torch.arange(len(ids)))
        assert batch.target is not None
        places = np.flatnonzero(kept["split"] == split)
        assert list(ids) == kept["name"][places].tolist()
        assert batch.target.tolist() == [int(each.split("_")[0]) for each in ids]
        assert len(set(Counter(batch.target.tolist()).values())) == 1  # as many of each digit
        ends = np.cumsum(kept["events"].astype(int))
        for row, place in enumerate(places):
            events = batch.signals["events"]
            own = events.values[row][events.mask[row]].numpy()
            part = slice(ends[place] - int(kept["events"][place]), ends[place])
            assert np.array_equal(own, np.stack([kept["frame"][part], kept["unit"][part]], 1))
        seen += len(ids)
    assert seen == 700
    assert store.description.checksum == CHECKSUM


def test_a_damaged_store_says_what_to_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path))
    FsddSmall().store()
    (FsddSmall().path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=f"remove {FsddSmall().path} to unpack it again"):
        FsddSmall().store()


def test_it_learns_at_once_and_spikes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two epochs of the 25, and without the page."""
    run = tmp_path / "run"
    assert main(["train", "fsdd_small", "training.epochs=2", "training.loggers=[]", "--out", str(run)]) == 0
    summary = Run(run).read_json("summary.json")
    assert summary["metrics"]["test"]["accuracy"] > 0.2
    assert not summary["synthetic"]
    rates = [layer["rate"] for layer in summary["health"]["test"].values()]
    assert rates
    assert all(0.01 <= rate <= 0.5 for rate in rates)
    assert f"neurozoo report {run}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_recipe_keeps_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", "fsdd_small", "--out", str(run)]) == 0
    summary = Run(run).read_json("summary.json")
    assert summary["metrics"]["test"]["accuracy"] > 0.7
    page = (run / "report.html").read_text()
    assert "Confusion" in page
    assert "<script" not in page
    assert f"open {run / 'report.html'}" in capsys.readouterr().out


def recordings(folder: Path, wanted: set[str] | None = None) -> Path:
    """Unpack the public recordings, or skip."""
    archive = Path(os.environ.get("NEUROZOO_TEST_DATA", "/nowhere")) / "fsdd" / "recordings.tar.xz"
    if not archive.is_file():
        pytest.skip("NEUROZOO_TEST_DATA/fsdd/recordings.tar.xz is not here")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, [m for m in tar if wanted is None or m.name in wanted], filter="data")
    return folder / "recordings"


@pytest.mark.slow
def test_it_is_made_of_the_public_recordings_bit_by_bit(tmp_path: Path) -> None:
    script = ROOT / "docs" / "examples" / "make_fsdd_small.py"
    command = [sys.executable, str(script), str(recordings(tmp_path)), str(FILE), "--check"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "equal\n"


def test_an_encoded_sound_has_the_form_of_the_shipped_events() -> None:
    """The encoder's defaults are those of the file: sensor, tick, and frames of at most a second."""
    wave = torch.randn(1, 12000, generator=torch.Generator().manual_seed(0))
    stored = SignalShape((), 12000, "float32", True, 1 / 8000)
    shape = MelLevelCrossing().shape(stored)
    found = MelLevelCrossing()(Signal(wave, None), stored).values[0]
    kept = FsddSmall().store().description.signals["events"]
    assert (shape.sensor, shape.tick, shape.span) == (kept.sensor, kept.tick, kept.span)
    assert 0 <= int(found[:, 0].min()) <= int(found[:, 0].max()) < 100
