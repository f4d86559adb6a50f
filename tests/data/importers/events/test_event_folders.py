"""Data sets with a file a sample: what becomes a split, a class and an id, and what is refused."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.io

from neurozoo.cli import main
from neurozoo.data.importers.events.files import names_split
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.data.importers.splitting import draw_by_class, hold_out_groups, natural
from neurozoo.data.store import Store
from neurozoo.errors import DataError

Made = SimpleNamespace


def npy(events: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, np.array(events))
    return made.getvalue()


def npz(**arrays: Any) -> bytes:
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def mat(**arrays: Any) -> bytes:
    made = io.BytesIO()
    scipy.io.savemat(made, arrays)
    return made.getvalue()


def expected(made: Made, events: Any, height: int, width: int, *, from_first: bool = True) -> list[list[int]]:
    start = events[0][0] if from_first else 0
    return [[event[0] - start, made.address(event, height, width)] for event in events]


def test_n_mnist(made: Made, tmp_path: Path) -> None:
    given = {
        f"{split}/{digit}/{n:05}": made.some(seed=n, start=100)
        for split, digit, n in (("Train", 0, 1), ("Train", 0, 12), ("Train", 7, 2), ("Test", 7, 1))
    }
    source = made.write(tmp_path / "in", {f"{name}.bin": made.bin(events) for name, events in given.items()})
    made.write(source, {"Train/0/._00001.bin": b"left by a system", "README": b"x"})
    store = import_data("n-mnist", source, tmp_path / "store")
    assert store.description.task.outputs == ("0", "7")
    rows = made.rows_of(store, "train") | made.rows_of(store, "test")
    assert rows == {name: expected(made, events, 34, 34, from_first=False) for name, events in given.items()}
    assert store.split("train").ids == ("Train/0/00001", "Train/0/00012", "Train/7/00002")
    assert store.split("train").target.tolist() == [0, 0, 1]
    assert store.description.signals["events"].sensor == (2, 34, 34)
    assert store.description.origin["splits"] == "as given: train, test"
    assert "CC BY-SA" in store.description.origin["licence"]
    packed = {"Train.zip": {}, "Test.zip": {}}
    for name, events in given.items():
        packed[f"{name.split('/')[0]}.zip"][f"{name}.bin"] = made.bin(events)
    zips = made.write(tmp_path / "zips", {name: made.zipped(files) for name, files in packed.items()})
    other = import_data("n-mnist", zips, tmp_path / "of zips")
    assert made.rows_of(other, "train") | made.rows_of(other, "test") == rows
    assert made.rows_of(other, "test").keys() == {"Test/7/00001"}
    for folder in (source, zips):
        found = detect_format(folder)
        assert (found.format, found.command(folder)) == ("n-mnist", f"neurozoo data import n-mnist {folder} DEST")
    one = detect_format(source / "Train/0/00001.bin")
    assert one.command(source / "Train/0/00001.bin") == f"neurozoo data import n-mnist {source} DEST"


def test_splits_that_are_not_given_are_drawn_by_class_and_seed(made: Made, tmp_path: Path) -> None:
    files = {
        f"{name}/image_{n:04}.bin": made.bin(made.some(5, seed=n)) for name in ("ant", "BACKGROUND") for n in range(20)
    }
    source = made.write(tmp_path / "in", files)
    stores = [import_data("n-caltech101", source, tmp_path / str(n), seed=seed) for n, seed in enumerate((0, 0, 1))]
    assert stores[0].description.splits == {"train": 32, "valid": 4, "test": 4}
    assert stores[0].description.checksum == stores[1].description.checksum
    assert stores[0].split("test").ids != stores[2].split("test").ids
    assert stores[0].split("test").target.tolist() == [0, 0, 1, 1]
    assert (
        stores[0].description.origin["splits"]
        == "drawn by neurozoo with the seed 0, by class: 0.1 to valid, 0.1 to test"
    )
    some = import_data("n-caltech101", source, tmp_path / "some", classes=["BACKGROUND", "ant"], valid=0.0, test=0.5)
    assert some.description.task.outputs == ("BACKGROUND", "ant")
    assert some.description.splits == {"train": 20, "test": 20}
    assert detect_format(source).format == "n-caltech101"


def test_poker_dvs_in_both_forms(made: Made, tmp_path: Path) -> None:
    given = {
        f"{suit}0{n}{tail}": made.some(seed=n + 10, start=2**31)
        for suit in ("xclub", "xspade")
        for n, tail in ((1, ""), (2, "i"), (3, ""))
    }
    aedat = made.write(tmp_path / "aedat", {f"{name}.aedat": made.aedat2(events) for name, events in given.items()})
    store = import_data("poker-dvs", aedat, tmp_path / "a")
    assert store.description.task.outputs == ("club", "spade")
    assert store.description.splits == {"train": 4, "test": 2}
    one = made.rows_of(store, "train") | made.rows_of(store, "test")
    assert one == {name: expected(made, events, 35, 35) for name, events in given.items()}
    names = {"xclub": "cl", "xspade": "sp"}
    repack = {
        f"pips_{split}/{names[name.rstrip('i')[:-2]]}/{name}.npy": npy([(t - 2**31, x, y, p) for t, x, y, p in events])
        for (name, events), split in zip(given.items(), ("train", "test", "train") * 2, strict=True)
    }
    other = import_data("poker-dvs", made.write(tmp_path / "npy", repack), tmp_path / "b")
    assert other.description.task.outputs == ("club", "spade")
    rows = {
        name.rpartition("/")[2]: value
        for name, value in (made.rows_of(other, "train") | made.rows_of(other, "test")).items()
    }
    assert rows == one, "polarity of an AEDAT is turned, that of the arrays is not"
    for folder in (aedat, tmp_path / "npy", aedat / "xclub01.aedat"):
        assert detect_format(folder).format == "poker-dvs"


def test_cifar10_dvs_in_archives_and_folders_turned_or_not(made: Made, tmp_path: Path) -> None:
    given = {
        name: {f"cifar10_{name}_{n}": made.some(6, size=128, seed=n) for n in range(4)} for name in ("cat", "ship")
    }
    zips = made.write(
        tmp_path / "zips",
        {
            "cat.zip": made.zipped({f"cat/{name}.aedat": made.aedat2(e) for name, e in given["cat"].items()}),
            "ship.zip": made.zipped({f"{name}.aedat": made.aedat2(e) for name, e in given["ship"].items()}),
        },
    )
    store = import_data("cifar10-dvs", zips, tmp_path / "a", test=0.25)
    assert store.description.task.outputs == ("cat", "ship")
    assert store.description.splits == {"train": 6, "test": 2}
    rows = made.rows_of(store, "train") | made.rows_of(store, "test")
    turned = {
        f"{name}/{file}": [(t, 127 - y, 127 - x, p) for t, x, y, p in e]
        for name, files in given.items()
        for file, e in files.items()
    }
    assert rows == {name: expected(made, events, 128, 128) for name, events in turned.items()}
    folders = made.write(
        tmp_path / "folders",
        {f"{name}/{file}.aedat4": made.aedat4(e) for name, files in given.items() for file, e in files.items()},
    )
    other = import_data("cifar10-dvs", folders, tmp_path / "b", turned=False, test=0.25)
    rows = made.rows_of(other, "train") | made.rows_of(other, "test")
    assert rows == {
        f"{name}/{file}": expected(made, e, 128, 128) for name, files in given.items() for file, e in files.items()
    }
    assert other.description.origin["options"]["turned"] is False
    for folder in (zips, folders):
        assert detect_format(folder).format == "cifar10-dvs"


def test_n_cars_and_asl_dvs(made: Made, tmp_path: Path) -> None:
    given = made.some(size=90)
    cars = made.write(
        tmp_path / "cars",
        {
            f"n-cars_{split}/{name}/obj_1.dat": made.dat(given)
            for split in ("train", "test")
            for name in ("cars", "background")
        },
    )
    store = import_data("n-cars", cars, tmp_path / "a")
    assert store.description.splits == {"train": 2, "test": 2}
    assert made.rows_of(store, "test")["n-cars_test/cars/obj_1"] == expected(made, given, 100, 120)
    t, x, y, p = (np.array(column)[:, None] for column in zip(*given, strict=True))
    letters = made.write(
        tmp_path / "asl", {f"{name}/{name}_{n:04}.mat": mat(ts=t, x=x, y=y, pol=p) for name in "ab" for n in range(4)}
    )
    store = import_data("asl-dvs", letters, tmp_path / "b", test=0.25, valid=0.0)
    assert store.description.splits == {"train": 6, "test": 2}
    upright = [(t, x, 179 - y, p) for t, x, y, p in given]
    assert next(iter(made.rows_of(store, "train").values())) == expected(made, upright, 180, 240)
    assert detect_format(cars).format == "n-cars"
    assert detect_format(letters).format == "asl-dvs"


def test_a_folder_of_ones_own_in_several_formats(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = made.some(size=128)
    rows = np.array(given)
    named = dict(zip("txyp", rows.T, strict=True))
    files = {
        "one.aedat": made.aedat2(given),
        "two.aedat": made.aedat3(given),
        "three.aedat4": made.aedat4(given),
        "four.dat": made.dat(given),
        "five.npy": npy(rows),
        "six.npz": npz(**named),
        "seven.npz": npz(events=rows),
        "eight.mat": mat(**named),
        "nine.aedat": made.aedat4(given),
        "ten.bs2": made.bin(given),
    }
    source = made.write(tmp_path / "in", {f"train/a/{name}": content for name, content in files.items()})
    made.write(source, {"validation/b/x.dat": made.dat(given)})
    store = import_data("event-folder", source, tmp_path / "store", sensor=[128, 130], test=0.0)
    assert set(map(str, made.rows_of(store, "train").values())) == {str(expected(made, given, 128, 130))}
    assert store.description.splits == {"train": len(files), "valid": 1}
    assert main(["data", "guess", str(source)]) == 0
    command = (
        capsys.readouterr()
        .out.splitlines()[-1]
        .partition("import it with: neurozoo ")[2]
        .replace("DEST", str(tmp_path / "as-guessed"))
    )
    assert "--sensor 128,128" in command
    assert main(command.split()) == 0


def test_columns_and_units_of_arrays(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [(1000, 3, 4, 1), (1500, 5, 6, 0)]
    content = npy([(x, y, p, t / 1000) for t, x, y, p in given])
    source = made.write(tmp_path / "in", {f"{name}/{n}.npy": content for name in ("up", "down") for n in range(3)})
    options = ["--sensor", "8,8", "--columns", "xypt", "--unit", "1e-3", "--valid", "0", "--test", "0"]
    assert main(["data", "import", "event-folder", str(source), str(tmp_path / "store"), *options]) == 0
    assert next(iter(made.rows_of(Store(tmp_path / "store"), "train").values())) == expected(made, given, 8, 8)
    capsys.readouterr()
    assert main(["data", "import", "event-folder", str(source), str(tmp_path / "b"), "--sensor", "8,8,8"]) == 2
    assert "--option sensor" in capsys.readouterr().err


def damaged(made: Made) -> dict[str, Callable[[], tuple[dict[str, bytes], str]]]:
    good = {f"Train/{d}/1.bin": made.bin(made.some(5)) for d in "01"}
    return {
        "empty": lambda: ({**good, "Train/0/2.bin": b""}, "2.bin is empty; download it again, or remove it"),
        "cut": lambda: ({**good, "Train/0/2.bin": bytes(7)}, "ends within an event: 7 bytes are no multiple of 5"),
        "outside": lambda: ({**good, "Train/1/2.bin": made.bin([(0, 34, 0, 0)])}, "x of event 0 is 34"),
        "no event": lambda: ({**good, "Train/1/2.bin": made.bin([(0, 0, 240, 0)])}, "holds no event; remove it"),
        "unordered": lambda: ({**good, "Train/1/2.bin": made.bin([(5, 0, 0, 0), (4, 0, 0, 0)])}, "--unordered sort"),
        "no split": lambda: ({**good, "more/1.bin": made.bin(made.some(5))}, "is in no folder of a split"),
        "no class": lambda: ({"1.bin": made.bin(made.some(5))}, "is in no folder of a class"),
        "no class below a split": lambda: ({"Train/1.bin": made.bin(made.some(5))}, "is in no folder of a class"),
        "no file": lambda: ({"a.txt": b"x"}, "no file ends in .bin or .bs2; it holds a.txt"),
        "no archive": lambda: ({**good, "Test.zip": b"PK\3\4 and no more"}, "is no whole zip archive"),
        "archive": lambda: (
            {**good, "Test.zip": _flipped(made.zipped({"Test/0/1.bin": made.bin(made.some(500))}))},
            "damaged",
        ),
    }


def _flipped(archive: bytes) -> bytes:
    middle = len(archive) // 3
    return archive[:middle] + bytes(b ^ 255 for b in archive[middle : middle + 40]) + archive[middle + 40 :]


@pytest.mark.parametrize(
    "case",
    [
        "empty",
        "cut",
        "outside",
        "no event",
        "unordered",
        "no split",
        "no class",
        "no class below a split",
        "no file",
        "no archive",
        "archive",
    ],
)
def test_what_is_refused_in_one_line_leaves_nothing(
    case: str, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, words = damaged(made)[case]()
    source = made.write(tmp_path / "in", files)
    assert main(["data", "import", "n-mnist", str(source), str(tmp_path / "store")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_unordered_events_are_sorted_on_request(made: Made, tmp_path: Path) -> None:
    files = {f"Train/{d}/1.bin": made.bin([(5, 0, 0, 0), (4, 1, 0, 0)]) for d in "01"}
    store = import_data("n-mnist", made.write(tmp_path / "in", files), tmp_path / "store", unordered="sort")
    assert made.rows_of(store, "train")["Train/0/1"] == [[4, 1], [5, 0]]


def test_other_refusals(made: Made, tmp_path: Path) -> None:
    files = {f"{d}/{n}.bin": made.bin(made.some(5)) for d in "01" for n in range(2)}
    source = made.write(tmp_path / "in", files)
    for options, words in (
        ({"classes": ["2"]}, "has no class '2'; there are: 0, 1"),
        ({"valid": 0.1}, "'0' has 2 samples, and each of train, valid, test needs one"),
    ):
        with pytest.raises(DataError, match=words):
            import_data("n-mnist", source, tmp_path / "store", **options)
    nested = made.write(
        tmp_path / "npz",
        {"a.zip": made.zipped({"a/1.npz": npz(t=np.zeros(1))}), "b/1.npz": npz(t=np.zeros(1), x=np.zeros(1))},
    )
    with pytest.raises(DataError, match="read from a folder alone"):
        import_data("event-folder", nested, tmp_path / "store", sensor=[8, 8], valid=0.0, test=0.0)
    folder = made.write(tmp_path / "aedat", {"a/1.aedat": b"something else", "b/1.aedat": b"x"})
    with pytest.raises(DataError, match="which is no AEDAT of version"):
        import_data("event-folder", folder, tmp_path / "store", sensor=[8, 8], valid=0.0, test=0.0)


def test_a_sensor_has_rows_and_columns(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(made.write(tmp_path / "in", {"a/1.bin": made.bin(made.some())}))
    assert main(["data", "import", "event-folder", source, str(tmp_path / "store"), "--sensor", "3"]) == 2
    assert "sensor: found 1 entries; give at least 2" in capsys.readouterr().err


def test_a_file_is_known_by_its_neighbours_alone(made: Made, tmp_path: Path) -> None:
    bins = {f"set/Train/{digit}/1.bin": made.bin(made.some()) for digit in range(2)}
    source = made.write(tmp_path / "in", {**bins, "set/other.zip": b"no archive", "x.bin": b"1234"})
    one = source / "set/Train/0/1.bin"
    assert detect_format(one).command(one) == f"neurozoo data import n-mnist {source}/set DEST"
    with pytest.raises(DataError, match=r"x\.bin"):
        detect_format(source / "x.bin")


def test_a_pipe_is_not_known_by_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "QTDB_train.mat").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(DataError, match=r"pipe\.npz is a pipe"):
        detect_format(tmp_path / "pipe.npz")


def test_files_of_the_same_endings_that_are_no_events(made: Made, tmp_path: Path) -> None:
    for name, content in (
        ("model.bin", b"PK\3\4" + bytes(96)),
        ("features.npy", npy(np.zeros((2, 3)))),
        ("a.dat", b"a text"),
    ):
        source = made.write(tmp_path / name.replace(".", "-"), {f"{folder}/{name}": content for folder in "ab"})
        with pytest.raises(DataError, match="of no known format"):
            detect_format(source)


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("Train", "train"),
        ("pips_test", "test"),
        ("ibmGestureTrain", "train"),
        ("n-cars_train", "train"),
        ("testing", "test"),
        ("val", "valid"),
        ("Validation", "valid"),
        ("TEST", "test"),
        ("latest", ""),
        ("interval", ""),
        ("training wheels", ""),
        ("constrain", ""),
    ],
)
def test_names_of_splits(folder: str, split: str) -> None:
    assert names_split(folder) == split


def test_numbers_in_names_are_numbers() -> None:
    names = ["s10", "s9", "a", "10", "9", "s9b"]
    assert sorted(names, key=natural) == ["9", "10", "a", "s9", "s9b", "s10"]


def test_names_that_differ_sort_the_same_in_every_process() -> None:
    assert natural("a1") != natural("a01")
    digits = "9" * 5000
    assert natural(digits) < natural(f"1{digits}") != natural(f"01{digits}")


def test_shares_of_groups_are_whole_groups_near_the_share() -> None:
    groups = np.repeat(np.arange(10), 10)
    for seed in range(5):
        held = hold_out_groups(groups, 0.1, seed)
        assert held.sum() == 10
        assert len(set(groups[held])) == 1
        assert not set(groups[held]) & set(groups[~held])
    assert hold_out_groups(np.array([1, 2]), 0.9, 0).sum() == 1
    with pytest.raises(DataError, match="all 3 samples are of 4"):
        hold_out_groups(np.full(3, 4), 0.1, 0)


def test_a_class_s_draw_does_not_depend_on_the_others() -> None:
    labels = np.repeat([0, 1, 2], 10)
    names = ["a", "b", "c"]
    whole = draw_by_class(labels, {"valid": 0.2, "test": 0.1}, 3, names, "x")
    assert [whole.count(split) for split in ("train", "valid", "test")] == [21, 6, 3]
    assert draw_by_class(labels[10:], {"valid": 0.2, "test": 0.1}, 3, names, "x") == whole[10:]
