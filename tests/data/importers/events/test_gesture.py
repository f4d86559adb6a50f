"""DVS128 Gesture: recordings cut by their tables, the lists of trials, and the form that others have cut."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from neurozoo.data.importers.events.gesture import GESTURES
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.errors import DataError

Made = SimpleNamespace
HEADER = "class,startTime_usec,endTime_usec\n"
EVENTS = [(t, t % 128, 2 * t % 128, t % 2) for t in range(1000, 2000, 10)]
TABLE = HEADER + "1,1000,1300\n11,1250,1600\n1,1600,1990\n"
"""The first end lies after the second start."""


def recordings(made: Made, folder: Path, names: tuple[str, ...], table: str = TABLE) -> Path:
    files = {f"DvsGesture/{name}.aedat": made.aedat3(EVENTS) for name in names}
    files |= {f"DvsGesture/{name}_labels.csv": table.replace("\n", "\r\n").encode() for name in names}
    return Path(made.write(folder, files))


def between(made: Made, start: int, end: int) -> list[list[int]]:
    kept = [event for event in EVENTS if start <= event[0] < end]
    return [[event[0] - kept[0][0], made.address(event, 128, 128)] for event in kept]


def test_each_row_of_a_table_is_a_sample_and_an_event_may_be_in_two(made: Made, tmp_path: Path) -> None:
    source = recordings(made, tmp_path / "in", ("user01_lab", "user24_led"))
    store = import_data("dvs128-gesture", source, tmp_path / "store", valid=0.0)
    assert store.description.task.outputs == GESTURES
    assert store.description.splits == {"train": 3, "test": 3}, "without lists, users from 24 on are test"
    assert made.rows_of(store, "train") == {
        "user01_lab/0": between(made, 1000, 1300),
        "user01_lab/1": between(made, 1250, 1600),
        "user01_lab/2": between(made, 1600, 1990),
    }
    assert store.split("train").target.tolist() == [0, 10, 0]
    assert store.description.origin["samples"] == "each row of a recording's table, start <= time < end"
    for path in (source, source / "DvsGesture/user01_lab.aedat"):
        assert detect_format(path).format == "dvs128-gesture"


def test_the_lists_of_trials_decide_of_the_splits(made: Made, tmp_path: Path) -> None:
    source = recordings(made, tmp_path / "in", ("user01_lab", "user02_lab", "user24_led", "user03_lab"))
    lists = {"train": "user02_lab.aedat\n\nuser24_led.aedat\n", "test": "user01_lab.aedat\r\n"}
    made.write(source / "DvsGesture", {f"trials_to_{split}.txt": text.encode() for split, text in lists.items()})
    store = import_data("dvs128-gesture", source, tmp_path / "store", valid=0.0)
    assert {name.split("/")[0] for name in store.split("train").ids} == {"user02_lab", "user24_led"}
    assert {name.split("/")[0] for name in store.split("test").ids} == {"user01_lab"}
    assert store.description.origin["samples"].endswith("1 recordings are in no list and were left out")
    for text, words in (
        ("user09_lab.aedat\n", r"trials_to_train.txt:1: user09_lab.aedat or its table is missing"),
        ("user01_lab.aedat\n", r"'user01_lab' is in both lists"),
        ("user01_/../../passwd\n", "is no name userNN_LIGHT.aedat"),
    ):
        (source / "DvsGesture/trials_to_train.txt").write_text(text)
        with pytest.raises(DataError, match=words):
            import_data("dvs128-gesture", source, tmp_path / "other")


def test_valid_is_held_out_by_whole_people(made: Made, tmp_path: Path) -> None:
    names = tuple(f"user{n:02}_{light}" for n in range(1, 6) for light in ("lab", "led"))
    source = recordings(made, tmp_path / "in", names, HEADER + "3,1000,1100\n4,1100,1200\n")
    store = import_data("dvs128-gesture", source, tmp_path / "store", valid=0.2)
    people = {split: {name[:6] for name in store.split(split).ids} for split in ("train", "valid")}
    assert [len(people[split]) for split in ("train", "valid")] == [4, 1]
    assert not people["train"] & people["valid"]
    assert "by person: 0.2 to valid" in store.description.origin["splits"]


def test_the_repack_has_milliseconds_and_counts_classes_from_0(made: Made, tmp_path: Path) -> None:
    def npy(label: int) -> bytes:
        file = io.BytesIO()
        np.save(file, np.array([(x, y, p, t / 1000) for t, x, y, p in EVENTS[label:]], np.float64))
        return file.getvalue()

    source = made.write(
        tmp_path / "in",
        {
            f"ibmGesture{split}/user{n:02}_lab/{c}.npy": npy(c)
            for split, n in (("Train", 1), ("Test", 25))
            for c in (0, 10)
        },
    )
    store = import_data("dvs128-gesture", source, tmp_path / "store", valid=0.0)
    assert made.rows_of(store, "train") == {
        "user01_lab/0": between(made, 1000, 2000),
        "user01_lab/10": between(made, 1100, 2000),
    }
    assert store.split("test").target.tolist() == [0, 10]
    assert store.description.origin["samples"] == "as cut by the makers of the npy files"
    assert detect_format(source).command(source) == f"neurozoo data import dvs128-gesture {source} DEST"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("class;start;end\n", "labels.csv:1: found 'class;start;end'; the columns are"),
        (HEADER, "has no row"),
        (HEADER + "1,2\n", "labels.csv:2: '1,2' is not three whole numbers"),
        (HEADER + "1,2,-3\n", "labels.csv:2"),
        (HEADER + "12,1000,1300\n", "labels.csv:2: class 12 from 1000 to 1300"),
        (HEADER + "1,1000,1300\n\n0,1000,1300\n", "labels.csv:4: class 0"),
        (HEADER + "1,1300,1300\n", "an end lies after its start"),
        (HEADER + "1,5000,6000\n", "labels.csv:2: there is no event"),
        (HEADER + "1,1,2\n" * 1001, "more than 1000 rows"),
    ],
)
def test_tables_that_are_refused(table: str, words: str, made: Made, tmp_path: Path) -> None:
    source = recordings(made, tmp_path / "in", ("user01_lab",), table)
    with pytest.raises(DataError, match=words):
        import_data("dvs128-gesture", source, tmp_path / "store", valid=0.0)
    assert not (tmp_path / "store").exists()


def test_recordings_that_are_refused(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = recordings(made, tmp_path / "in", ("user01_lab",))
    whole = (source / "DvsGesture/user01_lab.aedat").read_bytes()
    for raw, words in (
        (whole[:-5], "it ends within a packet"),
        (b"#!AER-DAT2.0\r\n" + whole, "no AEDAT 3.1"),
        (made.aedat3_header + made.aedat3_packet([(1100, 128, 0, 0)]), "x of event 0 is 128"),
        (made.aedat3_header + made.aedat3_packet([(1100, 0, 0, 0), (1050, 0, 0, 0)]), "labels.csv:2: the times fall"),
    ):
        (source / "DvsGesture/user01_lab.aedat").write_bytes(raw)
        with pytest.raises(DataError, match=words):
            import_data("dvs128-gesture", source, tmp_path / "store", valid=0.0)
    (source / "DvsGesture/user01_lab.aedat").write_bytes(whole)
    monkeypatch.setattr("neurozoo.data.importers.events.gesture._MOST_HELD", 50)
    with pytest.raises(DataError, match="the trials of this recording have more than 50 events"):
        import_data("dvs128-gesture", source, tmp_path / "store", valid=0.0)
    made.write(source, {"DvsGesture/someone_labels.csv": TABLE.encode(), "DvsGesture/someone.aedat": whole})
    with pytest.raises(DataError, match="the name of a recording is userNN_LIGHT"):
        import_data("dvs128-gesture", source, tmp_path / "store")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds neither userNN_LIGHT_labels"):
        import_data("dvs128-gesture", tmp_path / "nothing", tmp_path / "store")
