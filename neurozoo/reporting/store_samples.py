"""Which samples of a store a person looks at: chosen by a stated rule, and read one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurozoo.data.store import Split, Store
from neurozoo.reporting.page import Content, section_of
from neurozoo.reporting.sample_pictures import class_key, sample_picture
from neurozoo.reporting.samples import Sample, answer_words, sample_facts, signals_of, steps_of

__all__ = ["Chosen", "choose_samples", "sample_pictures"]

_MOST = 30
"""Samples on a page."""
_FEW, _FIRST = 5, 3
"""Up to so many classes have two samples each; so many samples are shown where classes do not decide."""
_SEARCHED = 1000
"""So many samples are searched for steps of a class."""
_ROOM = 1_100_000
"""Bytes of the pictures of all samples together."""


@dataclass(frozen=True)
class Chosen:
    """Samples that a person looks at, and the rule by which they were chosen."""

    samples: Sequence[Sample]
    rule: str

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        shown = [{"id": each.name, "title": each.title, **sample_facts(each)} for each in self.samples]
        return {"rule": self.rule, "shown": shown}


def choose_samples(store: Store) -> Chosen:
    """Choose samples by the targets, in the order of the store, and read them; no others are read."""
    known = store.description
    split = next((name for name in sorted(known.splits, key=lambda name: name != "train") if known.splits[name]), None)
    if split is None:
        return Chosen([], "The store has no samples.")
    samples = store.split(split)
    places, rule = _places(samples, split)
    shown = [_sample(store, samples, split, place) for place in places]
    return Chosen(shown, f"{rule}.")


def _places(samples: Split, split: str) -> tuple[list[int], str]:
    task, target = samples.task, samples.target.numpy()
    classes: Sequence[int] = []
    places: list[int] = []
    having: Callable[[int], NDArray[np.bool_]]
    each = 2 if len(task.outputs) <= _FEW else 1
    first = f"the first {'two samples' if each == 2 else 'one'} of {split}"
    if task.name == "multiclass" and not task.per_step:
        classes, having = np.unique(target).tolist(), lambda k: target == k
        rule = f"Of each class {first}, in the order of the store"
    elif task.name == "multilabel" and not task.per_step:
        classes, having = range(len(task.outputs)), lambda k: target[:, k] > 0
        rule = f"Of each label {first} with it, in the order of the store"
    else:
        places = list(range(min(_FIRST, len(samples))))
        rule = f"The first {len(places)} of {split}"
        if task.name == "multiclass":
            valid, steps = samples.target_valid, target[:_SEARCHED]
            steps = steps if valid is None else np.where(valid[:_SEARCHED].numpy(), steps, -1)
            classes = [k for k in np.unique(steps[steps >= 0]).tolist() if not (steps[places] == k).any()]
            each, having = 1, lambda k: (steps == k).any(1)
            rule += ", and of each class that they lack the first one with steps of it"
    left = 0
    for k in classes:
        new = [place for place in np.flatnonzero(having(k))[:each].tolist() if place not in places]
        if len(places) + len(new) > _MOST:
            left = len(classes) - classes.index(k)
            break
        places += new
    return places, rule + (f"; {left:,} of {len(task.outputs):,} have no room" if left else "")


def _sample(store: Store, samples: Split, split: str, place: int) -> Sample:
    batch, task = samples.batch(torch.tensor([place])), samples.task
    name = samples.ids[place]
    title = f"{name} of {split}"
    signals = signals_of(batch, store.description.signals)
    if task.per_step:
        return Sample(name, title, signals, steps_of(batch, task.outputs))
    assert batch.target is not None
    return Sample(name, f"{answer_words(batch.target[0].numpy(), task.outputs)}: {title}", signals)


def sample_pictures(chosen: Chosen) -> list[Content]:
    """The section of a page that shows the samples."""
    pictures, left_out = [], 0
    for sample in chosen.samples:
        picture, missing = sample_picture(sample, room=_ROOM // len(chosen.samples))
        left_out += missing
        pictures.append(picture)
    notes = [f"{left_out} drawings have no room."] if left_out else []
    return section_of("Samples", pictures, chosen.rule, class_key(chosen.samples), notes)
