"""Loggers beside the listener: told everything once, and no harm to the run whatever they do."""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from neurozoo.cli import main
from neurozoo.errors import UserError
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.training import listener as following
from neurozoo.training import run_folder
from neurozoo.training.loggers import Logger
from neurozoo.training.train import resume, train

Recipes = Callable[..., Recipe]
PAGE = Path(__file__).parents[2] / "docs" / "plugins" / "logger.md"

PLUGIN = """
from neurozoo.registry.hookspecs import Component, hookimpl
neurozoo_api = "2.0"

@hookimpl
def neurozoo_components():
    yield Component("logger", "mine", "{target}", "a logger"{more})
"""


class Ear(Logger):
    """Keeps what it is told, takes all random numbers it can get, breaks what it is given, and fails where asked."""

    heard: list[tuple[Any, ...]]
    fails = ""

    def __init__(self, folder: Path, *, word: str = "w") -> None:
        super().__init__(folder)
        self.word = word
        self._tell("made", folder.name, word)

    def started(self, info: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> None:
        self._tell("started", [record["epoch"] for record in past])
        assert info["settings"]["model"]["name"] == "smile"
        assert info["parameters"] > 0
        info.clear()  # type: ignore[attr-defined]

    def epoch(self, record: Mapping[str, Any]) -> None:
        self._tell("epoch", record["epoch"])
        assert "valid/map" in self.numbers(record)
        record["valid"].clear()

    def finished(self, summary: Mapping[str, Any]) -> None:
        self._tell("finished", summary["status"])
        summary["metrics"].clear()

    def close(self) -> None:
        self._tell("close")

    def _tell(self, what: str, *more: Any) -> None:
        Ear.heard.append((what, *more))
        torch.manual_seed(0)
        random.seed(0)
        if Ear.fails == what:
            raise ZeroDivisionError("oh")


class Listener(following.Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(autouse=True)
def _anew(install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The logger ``mine``, which is this module's."""
    monkeypatch.setattr(Ear, "heard", [], raising=False)
    monkeypatch.setattr(Ear, "fails", "")
    module = ModuleType("an_ear")
    module.Ear = Ear  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "an_ear", module)
    install("neurozoo-x", PLUGIN.format(target="an_ear:Ear", more=""))
    default_registry.cache_clear()
    yield
    default_registry.cache_clear()


def outcome(run: Path) -> tuple[dict[str, str], list[Any], dict[str, Any]]:
    """What a run leaves, without what depends on the clock and on its name."""
    hashes = {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in run.rglob("*.safetensors")
    }
    records = [{k: v for k, v in record.items() if k != "seconds"} for record in Run(run).records()]
    summary = json.loads((run / "summary.json").read_text())
    return hashes, records, {k: v for k, v in summary.items() if k not in ("run", "duration_seconds")}


def test_a_logger_hears_all_and_changes_nothing(recipe: Recipes, tmp_path: Path) -> None:
    train(recipe(), out=tmp_path / "quiet")
    told = train(recipe("training.loggers=[{name: mine, params: {word: v}}]"), out=tmp_path / "loud")
    assert Ear.heard == [
        *[("made", "loud", "v"), ("started", []), ("epoch", 1), ("epoch", 2), ("finished", "finished"), ("close",)]
    ]
    assert outcome(tmp_path / "loud") == outcome(tmp_path / "quiet")
    assert told["metrics"]["valid"]


@pytest.mark.parametrize(
    ("fails", "words", "heard"),
    [
        ("started", "at the beginning", ["made", "started", "close"]),
        ("epoch", "in epoch 1", ["made", "started", "epoch", "close"]),
        ("close", "when it was closed", ["made", "started", "epoch", "epoch", "finished", "close"]),
    ],
)
def test_one_that_fails_is_named_and_left_out(
    fails: str, words: str, heard: list[str], recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ear, "fails", fails)
    listener = Listener()
    summary = train(recipe("training.loggers=[mine]"), out=tmp_path / "run", listener=listener)
    assert [what for what, *_ in Ear.heard] == heard
    assert summary["status"] == "finished"
    (warning,) = [text for text in listener.warnings if "logger" in text]
    assert warning == (
        f"the logger 'mine' failed {words} and was disabled; the training is not affected: ZeroDivisionError: oh"
    )
    if fails in ("made", "started", "epoch"):
        assert warning in json.loads((tmp_path / "run" / "summary.json").read_text())["warnings"]


def test_who_goes_on_is_told_of_the_epochs_before(
    recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = run_folder.write_tensors, []

    def stopped(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 4:  # in the second epoch
            raise KeyboardInterrupt
        write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_tensors", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(recipe("training.loggers=[mine]"), out=tmp_path / "run")
    assert [what for what, *_ in Ear.heard] == ["made", "started", "epoch", "close"]
    Ear.heard.clear()
    resume(tmp_path / "run")
    assert Ear.heard[1:] == [("started", [1]), ("epoch", 2), ("finished", "finished"), ("close",)]


def test_a_group_is_of_runs_that_differ_by_their_seed_alone(tmp_path: Path, recipe: Recipes) -> None:
    def info(*overrides: str, checksum: str = "a") -> dict[str, Any]:
        settings = recipe("training.loggers=[mine]", *overrides).content
        return {"recipe": "small", "settings": settings, "data": {"checksum": checksum}}

    first = Logger.group(info())
    assert re.fullmatch("small-[0-9a-f]{8}", first)
    for same in (info("seed=9"), info("training.threads=null"), info("training.loggers=[]")):
        assert Logger.group(same) == first
    for other in (info("training.epochs=9"), info(checksum="b")):
        assert Logger.group(other) != first
    sent = json.dumps(Logger.sent_settings(info()))
    assert str(tmp_path) not in sent  # the store's folder
    assert "mine" not in sent
    assert '"seed": 3' in sent
    for folder, name in (("first", "first"), ("seeds-small/4", "seeds-small/4")):
        assert Ear(tmp_path / folder).run_name == name


def test_a_failure_is_told_without_keys(recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE_API_KEY", "abcdefgh1234")
    monkeypatch.setenv("MINE_KEY_SHORT", "oh")

    def refuse(self: Ear, *_: Any) -> None:
        raise OSError("http://me:pass word@host/x?k=abcdefgh1234 and http://me:secret@host:80/oh: no")

    monkeypatch.setattr(Ear, "started", refuse)
    listener = Listener()
    train(recipe("training.loggers=[mine]", "training.epochs=1"), out=tmp_path / "run", listener=listener)
    (warning,) = [text for text in listener.warnings if "logger" in text]
    assert warning.endswith("OSError: http://me:pass word@host/x?k=*** and http://***@host:80/oh: no")
    assert "abcdefgh1234" not in (tmp_path / "run" / "summary.json").read_text()


def test_the_digest_is_the_same_with_loggers(recipe: Recipes) -> None:
    plain, loud = recipe(), recipe("training.loggers=[mine]")
    assert plain.digest == loud.digest
    assert plain != loud
    assert plain.digest != recipe("training.epochs=3").digest


def test_names_and_params_are_checked_before_anything_is_done(
    recipe: Recipes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe()
    for override, words in (
        (
            "training.loggers=[tensorbord]",
            "training.loggers.0.name: no logger is called 'tensorbord'; there are: epochs, mine",
        ),
        (
            "training.loggers=[{name: mine, params: {wort: a}}]",
            "'mine' has no parameter 'wort'; there are: word",
        ),
        (
            "training.loggers=[{name: mine, parms: {}}]",
            "has no key 'parms'; there are: name, params",
        ),
        ("training.loggers=mine", "training.loggers: found the text 'mine'; give a list"),
        ("training.loggers=[mine, mine]", "training.loggers: 'mine' is named 2 times; name it once"),
    ):
        assert main(["train", str(tmp_path / "small.yaml"), override, "--out", str(tmp_path / "run")]) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_a_missing_library_is_told_before_anything_is_done(
    recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neurozoo.registry.registry._is_there", lambda library: library != "tensorboard")
    with pytest.raises(UserError) as caught:
        train(recipe("training.loggers=[tensorboard]"), out=tmp_path / "run")
    assert str(caught.value) == (
        "training.loggers: logger 'tensorboard' needs tensorboard, which is not installed; install it with: "
        "pip install 'neurozoo-toolkit[tensorboard]'; or take it out of training.loggers"
    )
    assert not (tmp_path / "run").exists()


def test_what_is_no_logger_is_refused(install: Callable[..., Path], recipe: Recipes, tmp_path: Path) -> None:
    install("neurozoo-y", PLUGIN.format(target="json:dumps", more="").replace('"mine"', '"other"'))
    default_registry.cache_clear()
    with pytest.raises(UserError, match=r"'json:dumps' is not a subclass of neurozoo\.training\.loggers\.Logger"):
        train(recipe("training.loggers=[other]"), out=tmp_path / "run")


class FakeWandb(ModuleType):
    """What the page's example calls of wandb, which passes over steps that it has."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.settings: dict[str, Any] = {}
        self.logged: dict[int, dict[str, float]] = {}
        self.summary: dict[str, float] = {}
        self.ended = 0

    def init(self, **settings: Any) -> FakeWandb:
        self.settings = settings
        return self

    def log(self, values: dict[str, float], *, step: int) -> None:
        self.logged.setdefault(step, values)

    def finish(self) -> None:
        self.ended += 1


def test_the_pages_example_logs_a_run(
    recipe: Recipes, install: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, hook = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    install("page-logger", example, entry_points="")
    install("neurozoo-page", hook.replace('"mine"', '"page"').replace("neurozoo_mine.logger:", "page_logger:"))
    default_registry.cache_clear()
    listener = Listener()
    summary = train(
        recipe("training.loggers=[{name: page, params: {mode: offline}}]"), out=tmp_path / "run", listener=listener
    )
    assert not [text for text in listener.warnings if "logger" in text]
    assert wandb.settings["mode"] == "offline"
    assert wandb.settings["config"]["training"]["epochs"] == 2
    assert sorted(wandb.logged) == [1, 2]
    assert wandb.logged[2]["valid/map"] == Run(tmp_path / "run").records()[1]["valid"]["map"]
    assert wandb.summary["final_test/map"] == summary["metrics"]["test"]["map"]
    assert wandb.ended == 1
