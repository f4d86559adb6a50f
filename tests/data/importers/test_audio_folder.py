"""Folders of recordings: labels and splits from names, folders and tables; FSDD's two protocols."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
import torch

from neurozoo.cli import main
from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.data.representations.mel import MelLevelCrossing
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.errors import DataError

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def write(path: Path, value: int = 1, samples: int = 20, rate: int = 8000, channels: int = 1) -> None:
    """SYNTHETIC: a ramp from a value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.arange(value, value + samples, dtype=np.int16)
    scipy.io.wavfile.write(path, rate, ramp if channels == 1 else np.stack([ramp] * channels, axis=1))


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Two digits by six speakers, indices 0, 5, 9, 10 and 11; each begins with its number."""
    number = 0
    for digit in (3, 7):
        for speaker in SPEAKERS:
            for index in (0, 5, 9, 10, 11):
                number += 1
                write(tmp_path / "fsdd" / "recordings" / f"{digit}_{speaker}_{index}.wav", number, 10 + number)
    return tmp_path / "fsdd"


def content(store: Store) -> dict[str, dict[str, tuple[str, int]]]:
    """By split and id: the class's name, and the first value."""
    found: dict[str, dict[str, tuple[str, int]]] = {}
    for split, n in store.description.splits.items():
        view = store.split(split)
        signal = view.batch(torch.arange(n)).signals["audio"]
        names = [store.description.task.outputs[int(each)] for each in view.target]
        found[split] = {id: (name, int(x[0])) for id, name, x in zip(view.ids, names, signal.values, strict=True)}
    return found


def indices(names: Any) -> set[int]:
    return {int(name.split("_")[-1]) for name in names}


def test_fsdd_divides_by_index_or_by_speaker(digits: Path, tmp_path: Path) -> None:
    official = content(import_data("fsdd", digits, tmp_path / "a"))
    assert {split: indices(names) for split, names in official.items()} == {
        "train": {10, 11},
        "valid": {5, 9},
        "test": {0},
    }
    assert (
        main(
            ["data", "import", "fsdd", str(digits / "recordings"), str(tmp_path / "b"), "--protocol", "unseen-speakers"]
        )
        == 0
    )
    store = Store(tmp_path / "b")
    unseen = content(store)
    speakers = {split: {name.split("_")[1] for name in names} for split, names in unseen.items()}
    assert speakers == {"train": set(SPEAKERS[:3]), "valid": {"nicolas"}, "test": set(SPEAKERS[4:])}
    assert store.description.signals == {"audio": SignalShape((), 70, "int16", True, 1 / 8000)}
    assert store.description.task.outputs == ("3", "7")
    assert store.description.origin["options"] == {"protocol": "unseen-speakers"}
    both = {**unseen["train"], **unseen["valid"], **unseen["test"]}
    assert both["7_george_0"] == ("7", 31)
    assert sorted(value for _, value in both.values()) == list(range(1, 61)), "every recording once"
    assert all(id.startswith(label) for id, (label, _) in both.items())


def test_a_speaker_that_is_missing_is_named(digits: Path, tmp_path: Path) -> None:
    for path in (digits / "recordings").glob("*_nicolas_*"):
        path.unlink()
    with pytest.raises(DataError, match=r"no sample has the speaker 'nicolas' of --valid; there are: george, jackson"):
        import_data("fsdd", digits, tmp_path / "store", protocol="unseen-speakers")
    write(digits / "recordings" / "notes.wav")
    with pytest.raises(
        DataError, match=r"notes\.wav: its name does not fit the pattern '\{label\}_\{speaker\}_\{index"
    ):
        import_data("fsdd", digits, tmp_path / "store")


def test_labels_from_folders_and_splits_drawn_for_each_class(tmp_path: Path) -> None:
    for word, count in (("yes", 12), ("no", 3)):
        for i in range(count):
            write(tmp_path / "in" / "deep" / word / f"{i}.wav", i + 1)
    write(tmp_path / "in" / "deep" / "yes" / "._0.wav")  # litter
    first, again = (import_data("audio-folder", tmp_path / "in", tmp_path / name) for name in ("a", "b"))
    assert first.description.checksum == again.description.checksum
    assert first.description.task.outputs == ("no", "yes")
    found = content(first)
    counts = {split: Counter(label for label, _ in names.values()) for split, names in found.items()}
    assert counts == {"train": {"yes": 8, "no": 1}, "valid": {"yes": 2, "no": 1}, "test": {"yes": 2, "no": 1}}
    assert found["train"].keys() | found["valid"].keys() | found["test"].keys() >= {"deep/yes/0", "deep/no/2"}
    other = import_data("audio-folder", tmp_path / "in", tmp_path / "c", seed=1)
    assert content(other) != found


def test_groups_are_drawn_whole(digits: Path, tmp_path: Path) -> None:
    store = import_data(
        "audio-folder", digits, tmp_path / "store", pattern="{label}_{speaker}_*", split_by="speaker", seed=3
    )
    speakers = {split: {name.split("_")[1] for name in names} for split, names in content(store).items()}
    assert sorted(map(len, speakers.values())) == [1, 1, 4]
    assert set.union(*speakers.values()) == set(SPEAKERS)
    assert "drawn by neurozoo with the seed 3, by speaker" in store.description.origin["splits"]


def test_the_path_may_name_the_split(tmp_path: Path) -> None:
    for split in ("training", "dev", "test"):
        for label in ("a", "b"):
            write(tmp_path / "in" / split / f"{label}-1.wav")
    store = import_data("audio-folder", tmp_path / "in", tmp_path / "store", pattern="{split}/{label}-*")
    assert store.description.splits == {"train": 2, "valid": 2, "test": 2}


def test_a_table_names_files_labels_and_groups(tmp_path: Path) -> None:
    for name in ("x", "sub/y", "z", "unused"):
        write(tmp_path / "in" / f"{name}.wav")
    table = tmp_path / "labels.csv"
    table.write_text("label;file;who\nbark;x.wav;rex\nmeow;sub/y.wav;tom\nbark;z.wav;bello\n")
    given = {"table": str(table), "split_by": "who", "valid": ["tom"], "test": ["bello"]}
    store = import_data("audio-folder", tmp_path / "in", tmp_path / "store", **given)
    assert content(store) == {"train": {"x": ("bark", 1)}, "valid": {"sub/y": ("meow", 1)}, "test": {"z": ("bark", 1)}}
    assert store.description.origin["options"]["table"] == "labels.csv"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("path,label\nx.wav,a\n", r"labels\.csv:1: the columns are path, label; one has to be called file"),
        ("file,label\nno.wav,a\n", r"labels\.csv:2: there is no .*no\.wav"),
        ("file,label\n../x.wav,a\n", r"labels\.csv:2: '\.\./x\.wav' is not a path below the folder"),
        ("file,label\nx.wav,a\nx.wav,b\n", r"labels\.csv:3: 'x\.wav' is there twice"),
        ("file,label\nx.wav\n", r"labels\.csv:2: 1 cells, and the first line has 2"),
        ("file,label\nx.wav,\n", r"labels\.csv:2: label: found an empty text"),
        ("file,label,label\nx.wav,a,b\n", r"labels\.csv:1: the column 'label' is there twice"),
        ("file,label,split\nx.wav,a,other\n", r"x\.wav: the field split is 'other'; give train, valid or test"),
        ("file,kind\nx.wav,a\n", r"nothing says the classes; there are the fields kind, and \{label\}"),
        ("file,label\n", r"labels\.csv names no file"),
        ("", r"labels\.csv is empty; its first line names the columns"),
        ('file,label\n"x.wav,a\n', r"labels\.csv:2 cannot be read as CSV"),
    ],
)
def test_malformed_tables(tmp_path: Path, rows: str, said: str) -> None:
    write(tmp_path / "in" / "x.wav")
    (tmp_path / "labels.csv").write_text(rows)
    with pytest.raises(DataError, match=said):
        import_data("audio-folder", tmp_path / "in", tmp_path / "store", table=str(tmp_path / "labels.csv"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pattern": "{label}{speaker}"}, "two fields touch"),
        ({"pattern": "{label}_{label}"}, "give each field once"),
        ({"pattern": "{label"}, "give each field once"),
        ({"pattern": "{speaker}_*_*"}, r"nothing says the classes; there are the fields speaker"),
        ({"split_by": "speeker"}, r"--split-by speeker: .* did you mean 'speaker'\?"),
        ({"test": ["theo"]}, "name it by --split-by NAME"),
        ({"split_by": "speaker", "test": ["tim"]}, r"no sample has the speaker 'tim' of --test"),
        ({"split_by": "index", "test": ["0..9"], "valid": ["5"]}, r"'5' is in --valid and in --test; name it once"),
        ({"split_by": "index", "train": ["0"], "test": ["5"]}, r"the index 9, 10, 11 is in no split; .* leave --train"),
        ({"split_by": "index", "test": ["20..30"]}, r"no sample has the index '20\.\.30' of --test"),
    ],
)
def test_rules_that_do_not_fit(digits: Path, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        import_data("audio-folder", digits, tmp_path / "s", **{"pattern": "{label}_{speaker}_{index}", **given})
    assert not (tmp_path / "s").exists()


def test_rates_and_channels_are_changed_when_asked_for_only(tmp_path: Path) -> None:
    for i, split in enumerate(("train", "valid", "test")):
        for label in "ab":
            write(tmp_path / "in" / split / f"{label}_.wav", samples=40, rate=16_000 if i == 2 else 8000)
    given = {"pattern": "{split}/{label}_*"}
    with pytest.raises(DataError, match=r"has 8000 samples a second and .* 16000; give --rate HZ to resample"):
        import_data("audio-folder", tmp_path / "in", tmp_path / "store", **given)
    store = import_data("audio-folder", tmp_path / "in", tmp_path / "store", **given, rate=8000)
    assert store.description.signals["audio"] == SignalShape((), 40, "float32", True, 1 / 8000)
    lengths = {
        split: store.split(split).batch(torch.arange(2)).signals["audio"].mask.sum().item()
        for split in ("train", "test")
    }
    assert lengths == {"train": 80, "test": 40}

    write(tmp_path / "in" / "train" / "a_.wav", samples=40, channels=2)
    with pytest.raises(DataError, match=r"a_\.wav has 2 channels; --channels mix takes their mean"):
        import_data("audio-folder", tmp_path / "in", tmp_path / "mixed", **given, rate=8000)
    mixed = import_data("audio-folder", tmp_path / "in", tmp_path / "mixed", **given, rate=8000, channels="mix")
    x = mixed.split("train").batch(torch.arange(2)).signals["audio"].values
    assert torch.equal(x[0], x[1]), "the mean of two equal channels is the channel"


def test_guess_knows_digits_and_folders(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in (digits, digits / "recordings"):
        assert detect_format(source).format == "fsdd"
    write(tmp_path / "in" / "yes" / "a.wav")
    assert main(["data", "guess", str(tmp_path / "in"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "audio-folder"
    assert main(["data", "guess", str(tmp_path / "in" / "yes" / "a.wav")]) == 0
    assert f"neurozoo data import audio-folder {tmp_path}/in DEST" in capsys.readouterr().out


def test_the_real_digits(real_data: Path, tmp_path: Path) -> None:
    archive = real_data / "fsdd" / "recordings.tar.xz"
    if not archive.is_file():
        pytest.skip("the folder of NEUROZOO_TEST_DATA has no fsdd/recordings.tar.xz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    assert detect_format(tmp_path).format == "fsdd"
    store = import_data("fsdd", tmp_path / "recordings", tmp_path / "store")
    assert store.description.splits == {"train": 2100, "valid": 300, "test": 300}
    unseen = import_data("fsdd", tmp_path / "recordings", tmp_path / "unseen", protocol="unseen-speakers")
    assert unseen.description.splits == {"train": 1350, "valid": 450, "test": 900}
    assert unseen.description.signals["audio"].tick == 1 / 8000

    view = DataView(store, represent={"audio": [("mel-level-crossing", MelLevelCrossing())]})
    events = [int(batch.signals["audio"].mask.sum()) for batch in view.batches("test", 50)]
    assert sum(events) / 300 == pytest.approx(980, rel=0.05)
    assert sum(events) == 288_169  # equal on every machine, as no level is at a whole number
