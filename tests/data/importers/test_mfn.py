"""Importing MFN's npz and h5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from neurozoo.data.importers.run_importer import import_data
from neurozoo.data.store import Store, feature_shape
from neurozoo.errors import DataError


def arrays(n: int, shift: float = 0.0) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    audio = rng.standard_normal((n, 3, 2)).astype(np.float32)
    audio[:, 0] = 0
    y = np.arange(2 * n, dtype=np.float32).reshape(n, 2) + shift
    return {"audio": audio, "video": rng.standard_normal((n, 3, 4)), "y": y, "weights": np.ones(n)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    for split, n in (("train", 4), ("valid", 2), ("test", 3)):
        np.savez(folder / f"talks_{split}.npz", **arrays(n, shift=0 if split == "train" else 3))
    return folder


def test_splits_modalities_and_labels_above_the_training_median(source: Path, tmp_path: Path) -> None:
    store = import_data("mfn", source, tmp_path / "store")
    assert store.description.splits == {"train": 4, "valid": 2, "test": 3}
    assert store.description.signals == {"audio": feature_shape(2, 3), "video": feature_shape(4, 3)}
    assert store.description.task.outputs == ("trait_00", "trait_01")
    assert store.description.origin["medians"] == [3, 4]
    assert store.split("train").target.tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]
    # 3, 5 and 4, 6 against the medians 3 and 4 of train: a score at the median is not above it.
    assert store.split("valid").target.tolist() == [[0, 0], [1, 1]]
    batch = store.split("test").batch(torch.arange(3))
    assert torch.equal(batch.signals["audio"].values, torch.from_numpy(arrays(3)["audio"]))
    assert batch.signals["audio"].mask.int().tolist() == [[0, 1, 1]] * 3


def test_scores_of_0_and_1_are_labels_already(source: Path, tmp_path: Path) -> None:
    """Their median is 1 where more than half have one, and no score is above it."""
    for split, y in (("train", [1, 1, 1, 0]), ("valid", [0, 1]), ("test", [1, 0, 1])):
        scores = np.stack([y, np.arange(len(y))], axis=1).astype(np.float32)
        np.savez(source / f"talks_{split}.npz", **(arrays(len(y)) | {"y": scores}))
    store = import_data("mfn", source, tmp_path / "store")
    assert store.split("train").target.tolist() == [[1, 0], [1, 0], [1, 1], [0, 1]]
    assert store.split("test").target[:, 0].tolist() == [1, 0, 1]
    assert store.description.origin["scores_of_0_and_1"] == ["trait_00"]


def test_labels_can_be_named(source: Path, tmp_path: Path) -> None:
    store = import_data("mfn", source, tmp_path / "store", labels=["vivid", "dull"])
    assert store.description.task.outputs == ("vivid", "dull")
    with pytest.raises(DataError, match=r"1 label names for 2 scores"):
        import_data("mfn", source, tmp_path / "other", labels=["vivid"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y": None}, r"talks_valid\.npz: the array 'y' is missing; there are: audio, video, weights"),
        ({"audio": None}, r"talks_valid\.npz: the array 'audio' is missing"),
        ({"video": np.ones((5, 3, 4))}, r"'video' has 5 samples, y has 2"),
        (
            {"video": np.ones((2, 3, 9))},
            r"split 'valid', signal 'video': float.* of shape \[2, 3, 9\]; give numbers \[samples, 3, 4\]",
        ),
        ({"y": np.array([[1, np.nan], [0, 0]])}, r"score 1 of sample 0 is nan; scores must be finite"),
        ({"y": np.ones(2)}, r"y is float64 of shape \[2\]; give numbers \[N, K\]"),
        ({"audio": np.array([[["a"]]] * 2)}, r"signal 'audio': <U1"),
        ({"audio": np.array([{}, {}])}, r"talks_valid\.npz holds Python objects, which are never loaded"),
    ],
)
def test_malformed_arrays(source: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    content = {name: x for name, x in (arrays(2) | changes).items() if x is not None}
    np.savez(source / "talks_valid.npz", **content)
    with pytest.raises(DataError, match=said):
        import_data("mfn", source, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("keep", [0, 10, 300, -30])
def test_a_truncated_file(source: Path, tmp_path: Path, keep: int) -> None:
    path = source / "talks_test.npz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"talks_test\.npz is truncated or not an npz file"):
        import_data("mfn", source, tmp_path / "store")


def test_a_damaged_file(source: Path, tmp_path: Path) -> None:
    path = source / "talks_test.npz"
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"talks_test\.npz cannot be read"):
        import_data("mfn", source, tmp_path / "store")


def test_missing_files(source: Path, tmp_path: Path) -> None:
    (source / "talks_valid.npz").unlink()
    with pytest.raises(DataError, match=r"talks_valid\.npz is missing; there are: talks_test\.npz, talks_train\.npz"):
        import_data("mfn", source, tmp_path / "store")
    (source / "talks_train.npz").unlink()
    with pytest.raises(DataError, match=r"NAME_train\.npz or NAME_train\.h5, .*; there are: talks_test\.npz"):
        import_data("mfn", source, tmp_path / "store")


def test_no_sequences(source: Path, tmp_path: Path) -> None:
    np.savez(source / "talks_train.npz", y=np.ones((4, 2)))
    with pytest.raises(DataError, match=r"no array has three axes \[N, L, D\]; there are: y \[4, 2\]"):
        import_data("mfn", source, tmp_path / "store")


def test_pom(real_data: Path, tmp_path: Path) -> None:
    store = import_data("mfn", real_data / "pom", tmp_path / "store")
    assert store.description.splits == {"train": 600, "valid": 100, "test": 203}
    assert store.description.signals == {"audio": feature_shape(43, 20), "video": feature_shape(41, 20)}
    assert len(store.description.task.outputs) == 17
    assert 0.35 < store.split("train").target.mean().item() < 0.5
    silent = sum(
        int((~store.split(split).batch(torch.arange(n)).signals["video"].mask.any(1)).sum())
        for split, n in store.description.splits.items()
    )
    assert silent == 486


def hdf5(path: Path, content: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        for name, x in content.items():
            file[name] = x


def test_hdf5_beside_npz(source: Path, tmp_path: Path) -> None:
    import_data("mfn", source, tmp_path / "store")
    other = tmp_path / "other"
    other.mkdir()
    for path in source.iterdir():
        with np.load(path) as content:
            hdf5(other / f"{path.stem}.h5", dict(content))
    import_data("mfn", other, tmp_path / "again")
    ours, theirs = Store(tmp_path / "store"), Store(tmp_path / "again")
    for split, n in theirs.description.splits.items():
        assert torch.equal(ours.split(split).target, theirs.split(split).target)
        some = torch.arange(n)
        for name in ("audio", "video"):
            assert torch.equal(
                ours.split(split).batch(some).signals[name].values, theirs.split(split).batch(some).signals[name].values
            )


@pytest.fixture
def side_by_side(tmp_path: Path) -> Path:
    """SYNTHETIC: all modalities in one array, as MFN has MOSI."""
    folder = tmp_path / "mosi"
    folder.mkdir()
    for split, n in (("train", 4), ("valid", 2), ("test", 3)):
        x = np.random.default_rng(n).standard_normal((n, 3, 7)).astype(np.float32)
        hdf5(folder / f"X_{split}.h5", {"data": x})
        hdf5(folder / f"y_{split}.h5", {"data": np.arange(n, dtype=np.float32)})
    return folder


def test_modalities_side_by_side(side_by_side: Path, tmp_path: Path) -> None:
    store = import_data("mfn", side_by_side, tmp_path / "store", modalities=["text=4", "audio=3"], labels=["positive"])
    assert store.description.signals == {"text": feature_shape(4, 3), "audio": feature_shape(3, 3)}
    assert store.description.origin["source"] == "mosi"
    assert store.split("train").target.tolist() == [[0], [0], [1], [1]]
    x = np.random.default_rng(2).standard_normal((2, 3, 7)).astype(np.float32)
    batch = store.split("valid").batch(torch.arange(2))
    np.testing.assert_array_equal(batch.signals["audio"].values.numpy(), x[..., 4:])


def test_how_they_divide_must_be_said(side_by_side: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"X_train.h5 is float32 of shape \[4, 3, 7\], and does not say how.*text=300"):
        import_data("mfn", side_by_side, tmp_path / "store")
    with pytest.raises(DataError, match=r"text=4, audio=4 take 8 features, but X_train\.h5 has 7; they must add up"):
        import_data("mfn", side_by_side, tmp_path / "store", modalities=["text=4", "audio=4"])
    with pytest.raises(DataError, match="names its modalities itself; leave out modalities=text=4"):
        import_data("mfn", source, tmp_path / "store", modalities=["text=4"])
    (side_by_side / "y_valid.h5").unlink()
    with pytest.raises(DataError, match=r"y_valid\.h5 is missing; there are: X_test\.h5"):
        import_data("mfn", side_by_side, tmp_path / "store", modalities=["text=4", "audio=3"])


@pytest.fixture
def by_modality(tmp_path: Path) -> Path:
    """SYNTHETIC: a file a modality, as MFN has POM, MMMO and YouTube."""
    folder = tmp_path / "mmmo"
    folder.mkdir()
    for split, n in (("train", 4), ("valid", 2), ("test", 3)):
        content = arrays(n)
        hdf5(folder / f"text_{split}_emb.h5", {"d1": content["video"]})
        hdf5(folder / f"audio_{split}.h5", {"d1": content["audio"]})
        hdf5(folder / f"y_{split}.h5", {"d1": content["y"][:, 0]})
    return folder


def test_a_file_for_each_modality(by_modality: Path, tmp_path: Path) -> None:
    store = import_data("mfn", by_modality, tmp_path / "store")
    assert store.description.signals == {"audio": feature_shape(2, 3), "text": feature_shape(4, 3)}
    assert store.description.origin["source"] == "mmmo"
    assert store.split("train").target.tolist() == [[0], [0], [1], [1]]
    batch = store.split("valid").batch(torch.arange(2))
    np.testing.assert_array_equal(batch.signals["text"].values.numpy(), arrays(2)["video"].astype(np.float32))


def test_files_for_each_modality_that_do_not_fit(by_modality: Path, tmp_path: Path) -> None:
    hdf5(by_modality / "text_train.h5", {"ids": np.ones((4, 3))})
    with pytest.raises(DataError, match=r"text_train\.h5 and text_train_emb\.h5 are both text; move one away"):
        import_data("mfn", by_modality, tmp_path / "store")
    (by_modality / "text_train.h5").unlink()
    hdf5(by_modality / "audio_test.h5", {"d1": np.ones((2, 3, 2))})
    with pytest.raises(DataError, match=r"y_test\.h5: 'audio' has 2 samples, y has 3"):
        import_data("mfn", by_modality, tmp_path / "store")
    hdf5(by_modality / "audio_test.h5", {"d1": np.ones((3, 3, 2)), "d2": np.ones(3)})
    with pytest.raises(DataError, match=r"audio_test\.h5 holds d1, d2; one array is needed"):
        import_data("mfn", by_modality, tmp_path / "store")
    (by_modality / "text_test_emb.h5").unlink()
    with pytest.raises(DataError, match=r"text_test_emb\.h5 is missing; there are: audio_test\.h5"):
        import_data("mfn", by_modality, tmp_path / "store")
    for path in by_modality.glob("y_*"):
        path.unlink()
    with pytest.raises(DataError, match=r"y_train\.h5 and MODALITY_train\.h5 for each; there are: audio_test\.h5"):
        import_data("mfn", by_modality, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_link_to_another_file_is_not_followed(side_by_side: Path, tmp_path: Path) -> None:
    with h5py.File(side_by_side / "X_valid.h5", "w") as file:
        file["data"] = h5py.ExternalLink("X_train.h5", "/data")
    with pytest.raises(DataError, match=r"X_valid\.h5 is not read: /data is a link to another file"):
        import_data("mfn", side_by_side, tmp_path / "store", modalities=["text=4", "audio=3"])
    assert not (tmp_path / "store").exists()
