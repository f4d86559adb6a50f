"""Data sets that are wrong on purpose: each case catches the one that it is there for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from neurozoo.data.locations import data_home
from neurozoo.data.store import Store
from neurozoo.data.writer import StoreWriter
from neurozoo.testing import Candidate, check, kit_of

KIT = kit_of("data")
assert KIT is not None
CASES = KIT.cases


class Sound:
    """Right: two modalities with padding, made up from a seed."""

    labels: Sequence[str] = ("calm", "angry")
    origin: dict[str, Any] = {"source": "SYNTHETIC: made up by the tests", "licence": "CC0-1.0"}  # noqa: RUF012
    synthetic = True
    splits = ("train", "valid")

    def __init__(self, *, size: int = 6, seed: int = 0) -> None:
        self.size, self.seed = size, seed

    @property
    def path(self) -> Path:
        return data_home() / f"sound-{self.size}-{self.seed}"

    def store(self) -> Any:
        if not self.path.exists():
            self.write(self.path)
        return Store(self.path)

    def write(self, path: Path) -> None:
        options = {"labels": self.labels, "origin": self.origin, "synthetic": self.synthetic}
        with StoreWriter(path, **options) as writer:
            for place, split in enumerate(self.splits):
                writer.add(split, *self.samples(np.random.default_rng([self.seed, place])), masks=self.masks())

    def samples(self, rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        features = {"audio": rng.normal(size=(self.size, 5, 3)), "text": rng.normal(size=(self.size, 4, 2))}
        features["audio"][0, 2:] = 0
        return features, np.arange(self.size * 2).reshape(self.size, 2) % 2

    def masks(self) -> dict[str, Any] | None:
        return None


class NoStore(Sound):
    """Gives the folder."""

    def store(self):
        return super().store().path


class InTheWorkingFolder(Sound):
    """Puts itself beside the user's work."""

    path = Path("sound-elsewhere")


class MadeAgainEachTime(Sound):
    """Never finds what it made."""

    def store(self):
        path = data_home() / f"sound-{uuid4().hex}"
        self.write(path)
        return Store(path)


class Unseeded(Sound):
    """Draws other values each time."""

    def samples(self, rng):
        return super().samples(np.random.default_rng())


class NotesItsPlace(Sound):
    """Its origin says where it was made."""

    @property
    def origin(self):
        return {**Sound.origin, "options": {"folder": os.environ["NEUROZOO_DATA"]}}


class NothingToTrainOn(Sound):
    """One split, of another name."""

    splits = ("test",)


class SameIds(Sound):
    """The names of its samples begin anew in each split."""

    def write(self, path):
        with StoreWriter(path, labels=self.labels, origin=self.origin, synthetic=True) as writer:
            for split in self.splits:
                ids = [f"sample-{i}" for i in range(self.size)]
                writer.add(split, *self.samples(np.random.default_rng(0)), ids=ids)


class NothingToLearn(Sound):
    """No label is ever there."""

    def samples(self, rng):
        features, labels = super().samples(rng)
        return features, 0 * labels


class OneWithoutAnything(Sound):
    """A sample of padding alone."""

    def samples(self, rng):
        features, labels = super().samples(rng)
        for x in features.values():
            x[3] = 0
        return features, labels


class HoldsInfinity(Sound):
    """A logarithm of 0 in its features."""

    def samples(self, rng):
        features, labels = super().samples(rng)
        features["text"][1, 1, 1] = -np.inf
        return features, labels


class MaskedButFull(Sound):
    """What its masks leave out still holds values."""

    def masks(self):
        return {"audio": np.arange(5)[None] < np.full((self.size, 1), 3)}


class SilentModality(Sound):
    """One modality is zeros throughout."""

    def samples(self, rng):
        features, labels = super().samples(rng)
        features["text"] *= 0
        return features, labels


class OfNoOrigin(Sound):
    """Does not say where it comes from."""

    origin = {"format": "made by hand"}  # noqa: RUF012


class MadeUpUnsaid(Sound):
    """Made up, and its description says that it is real."""

    synthetic = False


class NoAnnotation(Sound):
    """A recipe may give anything for its size."""

    def __init__(self, *, size=6):
        super().__init__(size=size)


class OtherLengths(Sound):
    """Its description has other shapes than its batches."""

    def store(self):
        store = super().store()
        found = store.description
        wrong = {name: replace(each, length=each.length + 1) for name, each in found.signals.items()}
        store.description = replace(found, signals=wrong)
        return store


WRONG: dict[str, tuple[type[Sound], ...]] = {
    "gives_a_store": (NoStore, InTheWorkingFolder, MadeAgainEachTime),
    "made_twice_is_the_same": (Unseeded, NotesItsPlace),
    "has_samples_to_learn_from": (NothingToTrainOn, SameIds),
    "targets_are_named_and_vary": (NothingToLearn,),
    "masks_leave_something": (OneWithoutAnything,),
    "features_are_finite": (HoldsInfinity, MaskedButFull, SilentModality),
    "says_what_it_is": (OfNoOrigin, MadeUpUnsaid),
    "can_be_read_through_a_recipe": (OtherLengths,),
    "parameters_fit_a_recipe": (NoAnnotation,),
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_case_has_something_to_catch() -> None:
    assert set(WRONG) == set(CASES)


@pytest.mark.parametrize(("case", "wrong"), [(case, wrong) for case, found in WRONG.items() for wrong in found])
def test_the_case_meant_for_it_catches_it(case: str, wrong: type[Sound]) -> None:
    (result,) = check(Candidate("data", wrong.__name__, wrong), [case]).results
    assert result.outcome == "failed"
    assert not result.problem.startswith(("AttributeError", "TypeError", "KeyError")), result.problem


def test_what_they_are_made_of_is_right_and_leaves_nothing_behind() -> None:
    home = os.environ["NEUROZOO_DATA"]
    before = sorted(Path(home).iterdir())
    check(Candidate("data", "sound", Sound)).raise_if_failed()
    assert os.environ["NEUROZOO_DATA"] == home
    assert sorted(Path(home).iterdir()) == before


def test_a_data_home_that_was_not_set_is_not_set_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEUROZOO_DATA")
    check(Candidate("data", "sound", Sound), ["gives_a_store"]).raise_if_failed()
    assert "NEUROZOO_DATA" not in os.environ


def test_a_valid_split_may_be_left_to_the_recipe() -> None:
    class TrainAlone(Sound):
        splits = ("train",)

    (result,) = check(Candidate("data", "train alone", TrainAlone), ["has_samples_to_learn_from"]).results
    assert result.outcome == "passed"
    assert result.refused == ("no split valid: a recipe draws it from train with data.valid",)


def test_a_problem_says_which_sample() -> None:
    (result,) = check(Candidate("data", "wrong", OneWithoutAnything), ["masks_leave_something"]).failures
    assert result.problem == "1 samples of train have no valid position in any signal, such as 3"
