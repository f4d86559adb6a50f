"""A user's own arrays: splits in one file, masks, files a sample, axes; what is guessed is what works."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.data.store import Store
from neurozoo.errors import DataError

RNG = np.random.default_rng(0)
N, T, F = 30, 7, 4
X = RNG.normal(size=(N, T, F)).astype(np.float32)
Y = np.arange(N) % 3
LENGTHS = RNG.integers(2, T + 1, N)
WHO = np.array([f"p{row // 5}" for row in range(N)])


def saved(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def samples(store: Store) -> dict[str, tuple[str, Mapping[str, Any], Any]]:
    """By id: split, values at valid positions by signal, target."""
    found: dict[str, tuple[str, Mapping[str, Any], Any]] = {}
    for split, n in store.description.splits.items():
        view = store.split(split)
        batch = view.batch(torch.arange(n))
        for row, id in enumerate(view.ids):
            x = {name: signal.values[row][signal.mask[row]].numpy() for name, signal in batch.signals.items()}
            found[id] = (split, x, view.target[row].tolist())
    return found


def csv(path: Path) -> Path:
    lines = [
        "a,b,name,state,score",
        *(f"{row},{row / 2},n{row},{'up' if row % 2 else 'down'},{row}" for row in range(60)),
    ]
    path.write_text("\n".join(lines))
    return path


def parquet(path: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as files

    files.write_table(pyarrow.table({"a": np.arange(N) / 7, "b": np.arange(N), "label": list("abc" * 10)}), path)
    return path


def by_class(folder: Path) -> Path:
    for row in range(N):
        (folder / f"class{Y[row]}").mkdir(parents=True, exist_ok=True)
        np.save(folder / f"class{Y[row]}" / f"{row}.npy", X[row, : LENGTHS[row]])
    return folder


def by_split(folder: Path) -> Path:
    for split, rows in (("train", slice(0, 20)), ("val", slice(20, 25)), ("test", slice(25, 30))):
        saved(folder / f"{split}.npz", x=X[rows], y=Y[rows])
    return folder


def arrays_of_a_folder(folder: Path) -> Path:
    folder.mkdir()
    np.save(folder / "signals.npy", X)
    np.save(folder / "classes_of_mine.npy", Y)
    return folder


KERAS = {"x_train": X[:20], "y_train": Y[:20, None], "x_test": X[20:], "y_test": Y[20:, None]}
GUESSED: dict[str, tuple[Callable[[Path], Path], dict[str, tuple[int, tuple[int, ...]]], tuple[str, int]]] = {
    "N F": (lambda at: saved(at / "d.npz", X=X[:, 0], y=Y), {"features": (1, (F,))}, ("multiclass", 3)),
    "N T F": (lambda at: saved(at / "d.npz", x=X, y=Y), {"features": (T, (F,))}, ("multiclass", 3)),
    "other names": (lambda at: saved(at / "d.npz", data=X, gt=Y), {"data": (T, (F,))}, ("multiclass", 3)),
    "frames": (
        lambda at: saved(at / "d.npz", frames=np.ones((N, 3, 2, 8, 8), np.uint8), labels=Y),
        {"frames": (3, (2, 8, 8))},
        ("multiclass", 3),
    ),
    "pictures": (
        lambda at: saved(at / "d.npz", x=np.ones((N, 9, 8, 3)), y=Y),
        {"features": (1, (3, 9, 8))},
        ("multiclass", 3),
    ),
    "splits": (lambda at: saved(at / "d.npz", **KERAS), {"features": (T, (F,))}, ("multiclass", 3)),
    "numbers": (lambda at: saved(at / "d.npz", x=X, y=Y / 2), {"features": (T, (F,))}, ("regression", 1)),
    "many whole numbers": (
        lambda at: saved(at / "d.npz", x=np.repeat(X, 2, 0), y=np.arange(2 * N)),
        {"features": (T, (F,))},
        ("regression", 1),
    ),
    "one-hot": (lambda at: saved(at / "d.npz", x=X, y=np.eye(3)[Y]), {"features": (T, (F,))}, ("multiclass", 3)),
    "labels": (
        lambda at: saved(at / "d.npz", x=X, y=np.stack([Y > 0, Y < 2], 1).astype(float)),
        {"features": (T, (F,))},
        ("multilabel", 2),
    ),
    "two may be targets": (lambda at: saved(at / "d.npz", x=X, a=Y, b=Y), {"features": (T, (F,))}, ("multiclass", 3)),
    "csv": (lambda at: csv(at / "d.csv"), {"features": (1, (2,))}, ("regression", 1)),
    "parquet": (lambda at: parquet(at / "d.parquet"), {"features": (1, (2,))}, ("multiclass", 3)),
    "a file a sample": (lambda at: by_class(at / "d"), {"features": (int(LENGTHS.max()), (F,))}, ("multiclass", 3)),
    "a file a split": (lambda at: by_split(at / "d"), {"features": (T, (F,))}, ("multiclass", 3)),
    "a file an array": (lambda at: arrays_of_a_folder(at / "d"), {"signals": (T, (F,))}, ("multiclass", 3)),
}


@pytest.mark.parametrize("case", GUESSED)
def test_guess_ends_with_a_command_that_works(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, signals, task = GUESSED[case]
    monkeypatch.chdir(tmp_path)
    source = make(tmp_path)
    assert main(["data", "guess", source.name]) == 0
    command = capsys.readouterr().out.strip().splitlines()[-1].removeprefix("import it with: neurozoo ")
    assert main(shlex.split(command)) == 0, command
    found = Store(tmp_path / "stores/d").description
    assert {name: (of.length, of.shape) for name, of in found.signals.items()} == signals
    assert (found.task.name, len(found.task.outputs)) == task
    assert min(found.splits[split] for split in ("train", "valid", "test")) > 0


def test_arrays_by_split_keep_their_splits_and_valid_is_drawn_from_train(tmp_path: Path) -> None:
    store = import_data("arrays", saved(tmp_path / "d.npz", **KERAS), tmp_path / "store")
    assert store.description.splits == {"train": 17, "valid": 3, "test": 10}
    found = samples(store)
    assert {id for id, (split, _, _) in found.items() if split == "test"} == {str(row) for row in range(20, 30)}
    for row in range(N):
        np.testing.assert_array_equal(found[str(row)][1]["features"], X[row])
        assert found[str(row)][2] == Y[row]
    assert "as the array split says, valid drawn from train with the seed 0" in store.description.origin["splits"]


def test_what_is_missing_is_drawn_by_group(tmp_path: Path) -> None:
    split = np.where(WHO == "p5", "test", "train")
    for name, options in (("a", {}), ("b", {"groups": "who"})):
        column = {"who": WHO} if options else {"subject": WHO}
        store = import_data(
            "arrays", saved(tmp_path / f"{name}.npz", x=X, y=Y, split=split, **column), tmp_path / name, **options
        )
        of_who: dict[str, set[str]] = {}
        for id, (where, _, _) in samples(store).items():
            of_who.setdefault(WHO[int(id)], set()).add(where)
        assert all(len(splits) == 1 for splits in of_who.values())
        assert of_who["p5"] == {"test"}
        assert store.description.splits == {"train": 20, "valid": 5, "test": 5}


def test_masks_with_and_without_gaps(tmp_path: Path) -> None:
    ends = np.arange(T) < LENGTHS[:, None]
    gaps = ends.copy()
    gaps[:, 0] = False
    steps = RNG.integers(0, 3, (N, T))
    for name, mask, ragged in (("ends", ends, True), ("gaps", gaps, False)):
        store = import_data("arrays", saved(tmp_path / f"{name}.npz", x=X, y=steps, mask=mask), tmp_path / name)
        assert (store.columns["features"].ragged, store.columns["features"].masked) == (ragged, not ragged)
        assert store.description.task.per_step
        found = samples(store)
        for row in range(N):
            np.testing.assert_array_equal(found[str(row)][1]["features"], X[row][mask[row]])
        view = store.split("test")
        assert view.target_valid is not None
        assert view.target_valid.sum(1).tolist() == [int(mask[int(id)].sum()) for id in view.ids]
    with pytest.raises(
        DataError, match=r"odd is int64 of shape \[30, 4\]; a mask of x \[30, 7, 4\] is \[30, 7\], 1 where"
    ):
        import_data("arrays", saved(tmp_path / "d.npz", x=X, y=Y, odd=np.ones((N, 4), int)), tmp_path / "d", mask="odd")


def test_a_file_a_sample_with_everything_in_it(tmp_path: Path) -> None:
    for row in range(N):
        part = "train" if row < 20 else "dev" if row < 25 else "test"
        path = tmp_path / "d" / part / f"s{row}.npz"
        saved(path, x=X[row, : LENGTHS[row]], y=RNG.integers(0, 2, LENGTHS[row]) + 5, other=X[row, 0])
    store = import_data(
        "arrays", tmp_path / "d", tmp_path / "store", inputs=["x", "other"], target=["y"], task="multiclass"
    )
    assert store.description.splits == {"train": 20, "valid": 5, "test": 5}
    assert (store.description.task.per_step, store.description.task.outputs) == (True, ("5", "6"))
    found = samples(store)
    for row in range(N):
        part = "train" if row < 20 else "dev" if row < 25 else "test"
        split, x, _ = found[f"{part}/s{row}"]
        assert split == part.replace("dev", "valid")
        np.testing.assert_array_equal(x["features"], X[row, : LENGTHS[row]])
        np.testing.assert_array_equal(x["other"], X[row, 0][None])


def test_axes_are_put_in_order(tmp_path: Path) -> None:
    file = saved(tmp_path / "d.npz", x=X.transpose(0, 2, 1), y=Y)
    store = import_data("arrays", file, tmp_path / "store", axes=["x=NCT"])
    np.testing.assert_array_equal(samples(store)["3"][1]["features"], X[3])
    for axes in ("x=NCC", "x=NT", "x=CTF", "x=NTQ"):
        with pytest.raises(DataError, match=r"x is \[30, 4, 7\]; give 3 different letters"):
            import_data("arrays", file, tmp_path / "other", axes=[axes])
    with pytest.raises(DataError, match=r"--axes 'z=NTF': give NAME=LETTERS; the arrays are: x \[30, 4, 7\], y \[30\]"):
        import_data("arrays", file, tmp_path / "other", axes=["z=NTF"])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({**KERAS, "y_val": Y[:3]}, r"y_train, y_test, y_val .*no x of valid|has x_train, x_test and no x of valid"),
        ({**KERAS, "X_training": X}, "X_training"),
        (
            {**KERAS, "x_test": X[20:, :3]},
            r"x_train \[20, 7, 4\], x_test \[10, 3, 4\] differ in more than their samples",
        ),
        (
            {"x": X, "a": Y, "b": Y},
            r"which array is the target\? there are: x \[30, 7, 4\], a \[30\], b \[30\]; give --tar",
        ),
    ],
)
def test_arrays_that_leave_questions(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        import_data("arrays", saved(tmp_path / "d.npz", **arrays), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_files_of_samples_that_do_not_fit(tmp_path: Path) -> None:
    for names, said in (
        ({"x": X[0], "z": Y}, r"holds x \[7, 4\], z \[30\], and .*0\.npz x, y; files of samples have the same names"),
        ({"x": X[0, :, :2], "y": Y[0]}, r"x is float32 \[7, 2\], and float32 \[7, 4\] in .*0\.npz; samples may differ"),
    ):
        saved(tmp_path / "d/0.npz", x=X[0], y=Y[0])
        saved(tmp_path / "d/1.npz", **names)
        with pytest.raises(DataError, match=said):
            import_data("arrays", tmp_path / "d", tmp_path / "store")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no \.npz or \.npy file"):
        import_data("arrays", tmp_path / "empty", tmp_path / "store")


def test_the_earlier_name_makes_the_same_store(tmp_path: Path) -> None:
    file = saved(tmp_path / "d.npz", x=X, y=Y)
    one, other = (import_data(name, file, tmp_path / name) for name in ("arrays", "table"))
    assert one.description.checksum == other.description.checksum
    assert detect_format(file).format == "arrays"
