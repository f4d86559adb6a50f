"""Importing Mulan's ARFF and XML."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from neurozoo.data.importers.run_importer import import_data
from neurozoo.data.store import Store, feature_shape
from neurozoo.errors import DataError, UnknownNameError

XML = """<?xml version="1.0" encoding="utf-8"?>
<labels xmlns="http://mulan.sourceforge.net/labels">
<label name="calm"><label name="very calm"/></label>
</labels>
"""
HEADER = """% songs
@RELATION 'my songs'

@attribute loud numeric
@attribute calm {0,1}
@attribute 'how \\'fast\\'' real
@attribute "very calm" {'0', '1'}
@attribute bright {1,0}

@data
"""
ROWS = "1.5,0,2e2,1,1\n-3, 1 ,?,'0',0\n0,0,0,0,0\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / "songs.xml").write_text(XML)
    (folder / "songs-train.arff").write_text(HEADER + ROWS)
    (folder / "songs-test.arff").write_text(HEADER + "% one\n9,1,9,1,1")
    return folder


def test_a_pair_becomes_train_and_test(source: Path, tmp_path: Path) -> None:
    store = import_data("mulan", source, tmp_path / "store")
    assert store.description.splits == {"train": 3, "test": 1}
    assert store.description.task.outputs == ("calm", "very calm")
    assert store.description.signals == {"features": feature_shape(3, 1)}
    assert store.description.origin["format"] == "mulan"
    assert store.description.origin["source"] == "songs"
    assert not store.description.synthetic
    assert store.non_finite == {"features": 1}
    batch = store.split("train").batch(torch.arange(3))
    assert batch.signals["features"].values.tolist() == [[[1.5, 200, 1]], [[-3, 0, 0]], [[0, 0, 0]]]
    assert store.split("train").target.tolist() == [[0, 1], [1, 0], [0, 0]]
    assert batch.signals["features"].mask.all(), "a row of zeros is a value in a table"


def test_one_file_becomes_train(source: Path, tmp_path: Path) -> None:
    (source / "songs-test.arff").unlink()
    (source / "songs-train.arff").rename(source / "songs.arff")
    assert import_data("mulan", source, tmp_path / "store").description.splits == {"train": 3}


def test_modalities_split_the_attributes_in_order(source: Path, tmp_path: Path) -> None:
    store = import_data("mulan", source, tmp_path / "store", modalities=["timbre=1", "rhythm=2"])
    assert store.description.signals == {"timbre": feature_shape(1, 1), "rhythm": feature_shape(2, 1)}
    signals = store.split("train").batch(torch.tensor([0])).signals
    assert signals["timbre"].values.flatten().tolist() == [1.5]
    assert signals["rhythm"].values.flatten().tolist() == [200, 1]
    assert store.description.origin["options"] == {"modalities": ["timbre=1", "rhythm=2"]}


@pytest.mark.parametrize(
    ("modalities", "said"),
    [
        (["timbre=2"], r"timbre=2 take 2 features, but songs has 3; they must add up"),
        (["timbre"], r"'timbre': give NAME=NUMBER"),
        (["timbre=x"], r"give NAME=NUMBER"),
        (["a=1", "a=2"], r"'a=2': give NAME=NUMBER, each name once"),
        (["a/b=3"], r"'a/b' cannot be a name"),
    ],
)
def test_wrong_modalities(source: Path, tmp_path: Path, modalities: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        import_data("mulan", source, tmp_path / "store", modalities=modalities)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + "1,0,1,0,1\n1,0,1,0", r"songs-train\.arff:12: 4 values for 5 attributes"),
        (HEADER + "1,0,x,0,1\n", r"arff:11: \"how 'fast'\" is 'x', which is not a number"),
        (HEADER + "1,0,1_0,0,1\n", r"arff:11: .* is '1_0', which is not a number"),
        (HEADER + "{0 1, 3 1}\n", r"arff:11: a sparse row; only dense rows"),
        (HEADER + "1,2,1,0,1\n", r"arff:11: label 'calm' is 2; labels are 0 or 1"),
        (HEADER + "1,0,1,?,1\n", r"arff:11: label 'very calm' is missing; labels are 0 or 1"),
        (HEADER, r"no rows after @data"),
        (HEADER.replace("@data", ""), r"no @data line; the file is truncated"),
        ("@data\n1\n", r"1 values for 0 attributes"),
        ("", r"no @attribute line"),
        (HEADER.replace("loud numeric", "loud string"), r"arff:4: attribute 'loud' is string; only numeric"),
        (HEADER.replace("{1,0}", "{red,blue}"), r"attribute 'bright' is \{red,blue\}; only numeric"),
        (HEADER.replace("loud numeric", "loud"), r"arff:4: '@attribute loud' is not `@attribute NAME TYPE`"),
        (HEADER.replace("bright", "loud"), r"arff:8: attribute 'loud' is declared twice"),
        ("hello\n" + HEADER, r"arff:1: 'hello' is neither @relation, @attribute nor @data"),
        (HEADER.replace("loud", "noisy") + ROWS, r"songs-test\.arff has other attributes than .*songs-train\.arff"),
    ],
)
def test_malformed_arff(source: Path, tmp_path: Path, text: str, said: str) -> None:
    (source / "songs-train.arff").write_text(text)
    with pytest.raises(DataError, match=said):
        import_data("mulan", source, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (XML[:60], r"songs\.xml cannot be read as XML"),
        ('<!DOCTYPE labels [<!ENTITY a "aaaa">]><labels/>', r"songs\.xml:1: a DOCTYPE is not allowed"),
        ("<labels/>", r"names no label"),
        ("<labels><label/></labels>", r"songs\.xml:1: a label without a name"),
        ('<labels><label name="sad"/></labels>', r"names the label sad, but .* has no such attribute"),
    ],
)
def test_malformed_xml(source: Path, tmp_path: Path, text: str, said: str) -> None:
    (source / "songs.xml").write_text(text)
    with pytest.raises(DataError, match=said):
        import_data("mulan", source, tmp_path / "store")


def test_missing_files(source: Path, tmp_path: Path) -> None:
    (source / "songs-test.arff").unlink()
    with pytest.raises(DataError, match=r"give songs-train\.arff and songs-test\.arff.*there: songs-train\.arff"):
        import_data("mulan", source, tmp_path / "store")
    (source / "songs.xml").unlink()
    with pytest.raises(DataError, match=r"a folder with one NAME\.xml; there are: none"):
        import_data("mulan", source, tmp_path / "store")


def test_what_import_data_refuses(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no importer is called 'mulann'; .*did you mean 'mulan'\?"):
        import_data("mulann", source, tmp_path / "store")
    with pytest.raises(DataError, match=r"'mulan' has no option 'modality'; there are: modalities; did you mean"):
        import_data("mulan", source, tmp_path / "store", modality=["a=1"])
    with pytest.raises(DataError, match=r"there is no .*nowhere to import"):
        import_data("mulan", tmp_path / "nowhere", tmp_path / "store")


def test_emotions(real_data: Path, tmp_path: Path) -> None:
    store: Store = import_data("mulan", real_data / "emotions", tmp_path / "store")
    assert store.description.splits == {"train": 391, "test": 202}
    assert store.description.signals == {"timbre": feature_shape(64, 1), "rhythm": feature_shape(8, 1)}
    assert store.description.task.outputs == (
        "amazed-suprised",
        "happy-pleased",
        "relaxing-calm",
        "quiet-still",
        "sad-lonely",
        "angry-aggresive",
    )
    first = store.split("train").batch(torch.tensor([0]))
    assert first.signals["timbre"].values[0, 0, 0].item() == pytest.approx(0.034741)
    assert store.non_finite == {"timbre": 0, "rhythm": 0}
    assert "Trohidis" in store.description.origin["citation"]
