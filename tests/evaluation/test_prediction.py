"""``neurozoo predict``: samples without labels, whatever they come in."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neurozoo
from neurozoo.cli import main
from neurozoo.data.store import Store
from neurozoo.evaluation.prediction import Sample
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.run import Run
from neurozoo.training.train import train

NO_IDS = [None, True, ["a"], {"k": 1}, "", "\ud800"]
LABELS = ["calm", "angry", "sad"]
Recipes = Callable[..., Recipe]


@pytest.fixture
def batch(store: Path) -> dict[str, Any]:
    """Signals and masks of the test split."""
    found = Store(store).split("test").batch(torch.arange(11))
    return {
        "signals": {name: signal.values for name, signal in found.signals.items()},
        "masks": {name: signal.mask for name, signal in found.signals.items()},
    }


def predicted(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    assert main(["predict", *map(str, words)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def lines(path: Path, batch: dict[str, Any], count: int = 11) -> Path:
    with path.open("w") as file:
        for place in range(count):
            features = {name: x[place].tolist() for name, x in batch["signals"].items()}
            masks = {name: x[place].tolist() for name, x in batch["masks"].items()}
            file.write(json.dumps({"id": f"s{place}", "signals": features, "masks": masks}) + "\n")
    return path


def npz(path: Path, batch: dict[str, Any]) -> Path:
    masks = {f"mask/{name}": x.numpy() for name, x in batch["masks"].items()}
    features = {name: x.numpy() for name, x in batch["signals"].items()}
    np.savez(path, ids=[f"s{place}" for place in range(11)], **features, **masks)
    return path


def test_every_form_of_the_same_samples_says_the_same(
    trained: Path, store: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_store = predicted(capsys, trained, store, "--split", "test")
    made, metadata = read_tensors(trained / "predictions" / "test.safetensors")
    assert [each["id"] for each in of_store] == metadata["ids"]
    found = torch.tensor([[each["probabilities"][name] for name in LABELS] for each in of_store])
    torch.testing.assert_close(found, made["predicted"], rtol=1e-5, atol=1e-6)
    cut = json.loads((trained / "summary.json").read_text())["decision"]
    for each in of_store:
        assert each["labels"] == [name for name, p in each["probabilities"].items() if p > cut]
        assert each["split"] == "test"
    for path in (lines(tmp_path / "in.jsonl", batch), npz(tmp_path / "in.npz", batch)):
        again = predicted(capsys, trained, path)
        assert [each["id"] for each in again] == [f"s{place}" for place in range(11)]
        assert [each["probabilities"] for each in again] == [each["probabilities"] for each in of_store]


@pytest.mark.parametrize("threshold", ["disagreement", "cross-entropy-ratio"])
def test_what_is_said_of_a_sample_does_not_depend_on_the_others(
    threshold: str, tmp_path: Path, recipe: Recipes, batch: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe("training.epochs=1", f"model.parts.threshold={threshold}"), out=tmp_path / "run")
    path = lines(tmp_path / "in.jsonl", batch)
    whole = predicted(capsys, tmp_path / "run", path)
    for place in (0, 5, 10):
        alone = tmp_path / "alone.jsonl"
        alone.write_text(path.read_text().splitlines()[place] + "\n")
        assert predicted(capsys, tmp_path / "run", alone) == [whole[place]]
    path.write_text("".join(f"{line}\n" for line in reversed(path.read_text().splitlines())))
    assert predicted(capsys, tmp_path / "run", path) == whole[::-1]


def test_a_table_and_a_document(trained: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    assert main(["predict", str(trained), str(store), "--split", "test", "--format", "csv", "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    head, *rows = csv.reader(out.read_text().splitlines())
    assert head == ["split", "id", *LABELS, "labels"]
    assert main(["predict", str(trained), str(store), "--split", "test", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["task"], told["outputs"]) == ("multilabel", LABELS)
    assert [([float(cell) for cell in row[2:-1]], row[-1], row[0]) for row in rows] == [
        (list(each["probabilities"].values()), ";".join(each["labels"]), "test") for each in told["predictions"]
    ]
    assert not list(tmp_path.glob(".*.partial"))
    for more in (["--out", str(out)], ["--format", "csv"]):
        assert main(["predict", str(trained), str(store), "--json", *more]) == 2
    assert "--json prints one document" in capsys.readouterr().err


def test_a_pipe_is_written_into_and_a_link_is_followed(
    trained: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, pipe, link = lines(tmp_path / "in.jsonl", batch, 2), tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        assert main(["predict", str(trained), str(source), "--out", str(pipe)]) == 0
        read, _ = reader.communicate(timeout=60)
    assert len(read.splitlines()) == 2
    assert pipe.is_fifo()
    (tmp_path / "there").write_text("old")
    link.symlink_to(tmp_path / "there")
    assert main(["predict", str(trained), str(source), "--out", str(link)]) == 0
    assert link.is_symlink()
    assert (tmp_path / "there").read_text() == read


@pytest.mark.parametrize("value", ["1e300", "-1e39"])
def test_a_value_that_is_not_finite_is_named(
    value: str, trained: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines(tmp_path / "in.jsonl", batch, 1)
    given = json.loads(path.read_text())
    given["signals"]["audio"][0][0] = "VALUE"
    path.write_text(json.dumps(given | {"id": "bad"}).replace('"VALUE"', value))
    assert main(["predict", str(trained), str(path), "--format", "csv", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert (
        "sample 'bad': signals['audio'] has 1 valid positions with values that are NaN or infinite in float32" in told
    )
    assert not (tmp_path / "out").exists()


def test_what_is_masked_may_hold_anything(trained: Path, batch: dict[str, Any]) -> None:
    model = neurozoo.load(trained)
    features = {name: torch.as_tensor(x[:1]).clone() for name, x in batch["signals"].items()}
    masks = {name: torch.ones(x.shape[:2], dtype=torch.bool) for name, x in features.items()}
    masks["audio"][0, -1] = False
    found = model.predict(features, masks)
    features["audio"][0, -1] = math.nan
    assert torch.equal(model.predict(features, masks), found)


def test_lines_are_answered_as_they_come(
    trained: Path,
    batch: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = lines(tmp_path / "in.jsonl", batch, 3).read_text()
    monkeypatch.setattr("sys.stdin", io.StringIO(text + "\n"))
    assert len(predicted(capsys, trained, "-")) == 3
    taken = []

    def samples() -> Any:
        for place in range(3):
            taken.append(place)
            yield Sample(str(place), {name: x[place] for name, x in batch["signals"].items()})

    predictions = neurozoo.predict(trained, samples(), backend="norse")
    assert next(predictions).id == "0"
    assert taken == [0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"in\.jsonl:2: cannot be read as JSON: Expecting property name.*give \{\"id\""),
        ("[]", r"in\.jsonl:2: .*give \{\"id\""),
        ('{"id": 1}', r"in\.jsonl:2: not an object with signals by name"),
        ('{"signals": {"text": [[1, 2], [3]]}}', r"in\.jsonl:2: text is not rows of numbers, all of the same length"),
        ('{"signals": {"text": [1, 2]}}', r"in\.jsonl:2: text has 1 axes; give \[L, 5\]"),
        ('{"id": "x", "features": {"text": [[1, 2, 3, 4, 5]]}}', r"sample 'x': signals\['audio'\] is missing"),
        ('{"id": "x", "features": {"text": [["a"]]}}', r"in\.jsonl:2: text is not rows of numbers"),
        ('{"id": "x", "features": [1]}', r"in\.jsonl:2: not an object with signals by name"),
        ('{"signals": {"text": [[NaN, 2, 3, 4, 5]]}}', r"in\.jsonl:2: cannot be read as JSON: NaN is not a number"),
        ('{"signals": {"text": [[-Infinity]]}}', r"in\.jsonl:2: cannot be read as JSON: -Infinity is not a number"),
        ('{"signals": {"text": [[1e999]]}}', r"in\.jsonl:2: cannot be read as JSON: the number 1e999 is too large"),
        ('{"signals": {}, "signals": {}}', r"in\.jsonl:2: cannot be read as JSON: the key 'signals' occurs twice"),
        ("[" * 3000, r"in\.jsonl:2: cannot be read as JSON: nested deeper than 64 levels"),
        ('{"signals": {"text": [[1, true, 3, 4, 5]]}}', r"in\.jsonl:2: text has true or false among its numbers"),
        ('{"signals": {"text": [[1, null, 3, 4, 5]]}}', r"in\.jsonl:2: text is not rows of numbers"),
        ('{"signals": {"text": [[18446744073709551615]]}}', r"in\.jsonl:2: text has whole numbers above"),
        ('{"signals": {"text": [[1, 2, 3, 4, 99999999999999999999]]}}', r"in\.jsonl:2: text is not rows of numbers"),
        ('{"signals": {}, "masks": {"text": [2]}}', r"in\.jsonl:2: the mask of text has other values than 0 and 1"),
        ('{"signals": {}, "masks": {"text": "ab"}}', r"in\.jsonl:2: text is not rows of numbers"),
        *((f'{{"id": {json.dumps(i)}, "signals": {{}}}}', r"in\.jsonl:2: id: ") for i in NO_IDS),
    ],
)
def test_a_line_that_is_wrong_is_named(
    line: str, said: str, trained: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines(tmp_path / "in.jsonl", batch, 1)
    path.write_text(path.read_text() + line + "\n")
    assert main(["predict", str(trained), str(path), "--out", str(tmp_path / "out.jsonl")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1

    assert re.search(said, error), error
    assert not (tmp_path / "out.jsonl").exists()


def test_other_sources_are_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", text=np.ones((2, 3, 5)), audio=np.ones((3, 3, 4)))
    for words, said in (
        (
            [tmp_path / "x.npz"],
            "holds text 2, audio 3; give numbers text [N, L, 5], audio [N, L, 4], vision [N, L, 3], the same N for all",
        ),
        (
            [tmp_path / "none.jsonl"],
            "cannot be read (No such file or directory); give a file that exists and is readable: a store, .npz or",
        ),
        ([tmp_path / "x.npz", "--split", "test"], "is no store and has no splits"),
        ([tmp_path], "is not a data store"),
    ):
        assert main(["predict", str(trained), *map(str, words)]) == 2
        assert said in capsys.readouterr().err


def test_ids_of_an_npz_are_a_list_of_text_or_numbers(
    trained: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = {name: x[:3].numpy() for name, x in batch["signals"].items()}
    for ids, expected in (
        (np.array([b"a", b"\xc3\xa9", b"c"]), ["a", "é", "c"]),
        (np.array([3, 2, 10]), ["3", "2", "10"]),
        (np.array(["a", "b", "c"]), ["a", "b", "c"]),
        (None, ["0", "1", "2"]),
    ):
        np.savez(tmp_path / "in.npz", **features, **({} if ids is None else {"ids": ids}))
        assert [each["id"] for each in predicted(capsys, trained, tmp_path / "in.npz")] == expected
    for ids, said in (
        (np.array("a"), "in.npz: ids: has shape []; names are a list [N]"),
        (np.array([["a"], ["b"], ["c"]]), "in.npz: ids: has shape [3, 1]; names are a list [N]"),
        (np.array([b"\xff", b"b", b"c"]), "in.npz: ids[0]: b'\\xff' is not UTF-8"),
        (np.array([True, False, True]), "in.npz: ids[0]: found True"),
        (np.array([1.0, np.nan, 2.0]), "in.npz: ids[1]: found nan"),
        (np.array(["a", "b"]), "ids 2"),
    ):
        np.savez(tmp_path / "in.npz", ids=ids, **features)
        assert main(["predict", str(trained), str(tmp_path / "in.npz")]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.full((3, 6), 2), "mask/text, sample 0 has other values than 0 and 1"),
        (np.full((3, 6), "a"), "mask/text, sample 0 has other values than 0 and 1"),
        (np.ones((3, 6, 1)), "mask/text has the shape [3, 6, 1]; give 0 and 1 of [N, L]"),
        (np.ones(3), "mask/text has the shape [3]; give 0 and 1 of [N, L]"),
        (np.ones((3, 7)), "sample '0': valid['text'] is torch.bool [1, 7]"),
        (np.ones((2, 6)), "holds text 3, audio 3, vision 3, mask/text 2; give numbers"),
    ],
)
def test_masks_of_an_npz_are_0_and_1_for_each_position(
    mask: Any, said: str, trained: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = {name: x[:3].numpy() for name, x in batch["signals"].items()}
    np.savez(tmp_path / "in.npz", **{**features, "mask/text": mask})
    assert main(["predict", str(trained), str(tmp_path / "in.npz")]) == 2
    assert said in capsys.readouterr().err


def test_whole_numbers_that_int64_cannot_hold(
    trained: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = {name: x[:1].numpy() for name, x in batch["signals"].items()}
    features["text"] = np.full(features["text"].shape, 2**64 - 1, np.uint64)
    np.savez(tmp_path / "in.npz", **features)
    assert main(["predict", str(trained), str(tmp_path / "in.npz")]) == 2
    assert "text, sample 0 has whole numbers above 9223372036854775807" in capsys.readouterr().err


def test_text_of_other_systems(
    trained: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte order marks, UTF-16, Windows line ends; what is no text is named by its line."""
    path = lines(tmp_path / "in.jsonl", batch, 2)
    text = path.read_text().replace('"s0"', '"日本"')
    plain = predicted(capsys, trained, path)
    forms = [text.encode("utf-8-sig"), text.encode("utf-16"), text.replace("\n", "\r\n").encode()]
    forms.append(b"".join(line.encode("utf-8-sig") for line in text.splitlines(keepends=True)))
    for raw in forms:
        path.write_bytes(raw)
        found = predicted(capsys, trained, path)
        assert [each["id"] for each in found] == ["日本", "s1"]
        assert [each["probabilities"] for each in found] == [each["probabilities"] for each in plain]
    path.write_bytes(text.encode() + b'{"id": "\xe9"}\n')
    assert main(["predict", str(trained), str(path), "--out", str(tmp_path / "out")]) == 2
    assert "in.jsonl:3: byte 0xe9 is not UTF-8; save the file as UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_pipe_that_is_named_is_read(
    trained: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = lines(tmp_path / "in.jsonl", batch, 2).read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(text,))
    writer.start()
    assert [each["id"] for each in predicted(capsys, trained, tmp_path / "pipe")] == ["s0", "s1"]
    writer.join()


def test_predictions_that_are_not_finite_are_a_named_failure(
    trained: Path, batch: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines(tmp_path / "in.jsonl", batch, 1)
    tensors, metadata = read_tensors(Run(trained).best)
    write_tensors(Run(trained).best, {name: x * math.nan for name, x in tensors.items()}, metadata)
    assert main(["predict", str(trained), str(path)]) == 1
    err = capsys.readouterr().err
    assert "sample 's0'" in err or "not finite" in err
    assert "bug" not in err


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "x" * 300, "none/none.npz"])
def test_sources_that_the_system_refuses(name: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(trained), name]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
