"""The generator behind ``mosei-synthetic``: SYNTHETIC sequences with emotion events in them.

Nothing here was recorded; no score on it compares with a score on CMU-MOSEI. Only the figures of
``mosei_statistics.json`` are real. The generator is frozen: another one must get another version.

How a sample is generated:

1. Its label set is drawn by the real sets' frequencies, its number of words by the real quantiles,
   linearly between them (1 word at 0 %, 60 at 100 %). The words stand at the end of the sequence:
   padding is on the left, as the SDK of CMU-MOSEI does it.
2. Every feature is a first-order autoregression along the words with its modality's real lag-1
   autocorrelation, of deviation 1. In audio it goes through ``z + 0.15 z^3``, scaled back to
   deviation 1, for heavy tails.
3. Every label present has one or two events (even odds), and each of 6 distractors, which belong to
   no label, has one with probability 0.25. An event begins at a random word, lasts 2 to 8 words, rises
   and falls as a raised cosine, and has a gain between 0.6 and 1.4.
4. An event shows in a modality unless it is missed there (``MISSED``), later by a lag (``LAGS``), with
   the strength of its label there (``STRENGTH``, in deviations of a feature), along a direction of
   feature space that belongs to the label and modality: a random unit vector, fixed by the seed.
5. The features are multiplied by deviations spread over the real quantiles (linearly in their square
   roots; one audio feature is constant), and clipped at the real largest absolute value.

The values depend on the seed, the split and the block of 256 samples, and on nothing else: a
smaller data set is the beginning of a larger one.

The strengths were set once, so that a logistic regression (C = 0.01, threshold 0.35) on each
sample's mean over the words, trained on 2,048 samples of seed 7, reaches a micro F1 of 0.58 by text, 0.57 by
audio, 0.56 by vision and 0.65 by all; "happy" for everybody reaches 0.45.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "SPLITS", "Block", "EmotionEvents", "statistics"]

BLOCK = 256
"""Samples that are drawn together."""
SPLITS = ("train", "valid", "test")

# Rows: happy, sad, anger, surprise, disgust, fear. Columns: text, audio, vision.
STRENGTH = np.array(
    [
        [2.0, 2.8, 2.8],
        [2.3, 3.8, 2.2],
        [2.0, 4.2, 2.5],
        [2.4, 3.4, 3.0],
        [2.5, 2.8, 3.3],
        [2.4, 4.0, 2.2],
    ]
)
DISTRACTORS = 6
DISTRACTOR_STRENGTH = 3.0
DISTRACTOR_ODDS = 0.25
MISSED = {"text": 0.25, "audio": 0.3, "vision": 0.35}
LAGS = {"text": (0, 0), "audio": (0, 1), "vision": (1, 3)}
LONGEST = 8
TAIL = 0.15

_Float = NDArray[np.float32]


@cache
def statistics() -> dict[str, Any]:
    """The real figures that the generator follows."""
    return json.loads(files("neurozoo.data.synthetic").joinpath("mosei_statistics.json").read_text())  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Block:
    """256 samples.

    Attributes:
        features: By modality, ``[256, L, D]``, in the extractors' units.
        mask: ``[256, L]``, True where there is a word; the same for every modality.
        labels: ``[256, K]`` of 0 and 1.
    """

    features: dict[str, _Float]
    mask: NDArray[np.bool_]
    labels: NDArray[np.uint8]


class EmotionEvents:
    """Draws blocks of samples.

    Args:
        seed: Fixes everything.
        length: Positions L of a sequence, at least 1.
    """

    def __init__(self, seed: int, length: int) -> None:
        self._seed, self._length = seed, length
        figures = statistics()
        self._sets = np.array([[int(bit) for bit in bits] for bits in figures["label_sets"]], dtype=np.uint8)
        counts = np.array(list(figures["label_sets"].values()), dtype=np.float64)
        self._odds = counts / counts.sum()
        self._directions: dict[str, _Float] = {}
        self._scales: dict[str, _Float] = {}
        # The splits are 0, 1 and 2; 3 is for what they share.
        rng = self._random(len(SPLITS), 0)
        for column, (name, of) in enumerate(figures["features"].items()):
            vectors = rng.standard_normal((len(figures["labels"]) + DISTRACTORS, of["dim"]))
            vectors /= np.sqrt((vectors**2).sum(axis=1, keepdims=True))
            strength = np.append(STRENGTH[:, column], np.full(DISTRACTORS, DISTRACTOR_STRENGTH))
            self._directions[name] = (strength[:, None] * vectors).astype(np.float32)
            spread = np.interp(np.linspace(0, 100, of["dim"]), of["std_percent"], np.sqrt(of["std"])) ** 2
            self._scales[name] = rng.permutation(spread).astype(np.float32)

    def _random(self, split: int, block: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(split, block)))

    def block(self, split: str, index: int) -> Block:
        """The samples ``256 index`` to ``256 index + 255`` of a split."""
        rng = self._random(SPLITS.index(split), index)
        labels = self._sets[rng.choice(len(self._sets), BLOCK, p=self._odds)]
        words = self._words(rng)
        amounts = self._amounts(rng, labels, words)
        mask = np.arange(self._length) >= (self._length - words)[:, None]
        features = {}
        for name, of in statistics()["features"].items():
            x = _noise(rng, (BLOCK, self._length, of["dim"]), of["lag1"], TAIL if name == "audio" else 0.0)
            # Source by source and not as a matrix product, whose rounding differs between machines.
            for source, direction in enumerate(self._directions[name]):
                where = amounts[name][:, :, source].nonzero()
                x[where] += amounts[name][(*where, source)][:, None] * direction
            x *= self._scales[name]
            np.clip(x, -of["max_abs"], of["max_abs"], out=x)
            x[~mask] = 0.0
            features[name] = x
        return Block(features, mask, labels)

    def _words(self, rng: np.random.Generator) -> NDArray[np.int64]:
        known = statistics()["words_per_segment"]
        drawn = np.interp(rng.random(BLOCK) * 100, [0, *known["percent"], 100], [1, *known["words"], 60])
        words: NDArray[np.int64] = np.clip(np.rint(drawn), 1, self._length).astype(np.int64)
        return words

    def _amounts(
        self, rng: np.random.Generator, labels: NDArray[np.uint8], words: NDArray[np.int64]
    ) -> dict[str, _Float]:
        """Draw the events; return by modality how much of each source is at each position, ``[256, L, sources]``."""
        shape = (BLOCK, labels.shape[1] + DISTRACTORS, 2)
        present = np.concatenate([labels == 1, rng.random((BLOCK, DISTRACTORS)) < DISTRACTOR_ODDS], axis=1)
        second = (rng.random(shape[:2]) < 0.5) & (np.arange(shape[1]) < labels.shape[1])
        sample, source, which = np.nonzero(np.stack([present, present & second], axis=2))  # one entry per event
        # Drawn for every place an event could be, so that no draw depends on another's outcome.
        take = (sample, source, which)
        longest = rng.integers(2, LONGEST + 1, shape)[take]
        at, gain = rng.random(shape)[take], rng.uniform(0.6, 1.4, shape)[take]
        shown = {name: rng.random(shape)[take] >= odds for name, odds in MISSED.items()}
        lag = {name: rng.integers(first, last + 1, shape)[take] for name, (first, last) in LAGS.items()}
        room = words[sample]
        lasts = np.minimum(longest, room)
        begin = self._length - room + (at * (room - lasts + 1)).astype(np.int64)
        amounts = {name: np.zeros((BLOCK, self._length, shape[1]), np.float32) for name in MISSED}
        for name, amount in amounts.items():
            for step in range(LONGEST):
                place = begin + lag[name] + step
                on = shown[name] & (step < lasts) & (place < self._length)
                rise = 0.5 - 0.5 * np.cos(2 * np.pi * (step + 0.5) / lasts[on])
                np.add.at(amount, (sample[on], place[on], source[on]), gain[on] * rise)
        return amounts


def _noise(rng: np.random.Generator, shape: tuple[int, int, int], lag1: float, tail: float) -> _Float:
    """Autoregression along the second axis, deviation 1; ``tail`` is the weight of its cube."""
    x = rng.standard_normal(shape, dtype=np.float32)
    x[:, 1:] *= np.float32(np.sqrt(1 - lag1**2))
    for position in range(1, shape[1]):
        x[:, position] += np.float32(lag1) * x[:, position - 1]
    if tail:
        # The deviation of z + a z^3 is sqrt(1 + 6 a + 15 a^2).
        x *= (1 + np.float32(tail) * np.square(x)) / np.float32(np.sqrt(1 + 6 * tail + 15 * tail**2))
    return x
