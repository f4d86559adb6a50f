"""How importers of a user's own files divide samples into train, valid and test."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neurozoo.data.importers.common import SPLITS
from neurozoo.errors import DataError, suggestion

__all__ = ["SHARE", "described", "draw_splits", "natural", "split_by_values", "split_names"]

SHARE = 0.15
"""Share of the groups, or of each class's samples, that is drawn for each of valid and test."""
_ALIASES = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid", "testing": "test"}
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts ``spk2`` before ``spk10``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def split_names(texts: Sequence[str], what: str, where: Sequence[str]) -> list[str]:
    """Return the splits that samples name themselves; ``val``, ``dev``, ``validation`` are valid.

    Args:
        texts: A name for each sample.
        what: Names the column or field in errors.
        where: Names each sample in errors.

    Raises:
        DataError: A text is no split's name.
    """
    names = [_ALIASES.get(text.lower(), text.lower()) for text in texts]
    for name, text, place in zip(names, texts, where, strict=True):
        if name not in SPLITS:
            raise DataError(f"{place}: {what} is {text!r}; give train, valid or test")
    return names


def split_by_values(
    values: Sequence[str], field: str, chosen: Mapping[str, Sequence[str]], source: object
) -> list[str]:
    """Return each sample's split by the value of one of its fields, such as its speaker.

    Args:
        values: The field's value for each sample.
        field: Its name.
        chosen: The values of each split, as they are or as ranges of whole numbers ``5..9``. If train has none, it gets
            those that no other split names.
        source: Names the data in errors.

    Raises:
        DataError: A value belongs to two splits or to none, or no sample has it.
    """
    known = sorted(set(values), key=natural)
    numbers = {value: int(value) for value in known if re.fullmatch(r"-?\d{1,18}", value)}
    split_of: dict[str, str] = {}
    for split, wanted in chosen.items():
        for text in wanted:
            within = _RANGE.fullmatch(text)
            if within and text not in known:
                first, last = int(within[1]), int(within[2])
                found = [value for value, number in numbers.items() if first <= number <= last]
            else:
                found = [text] if text in known else []
            if not found:
                raise DataError(
                    f"{source}: no sample has the {field} {text!r} of --{split}; there are: {_some(known)}"
                    + suggestion(text, known)
                )
            for value in found:
                if split_of.setdefault(value, split) != split:
                    raise DataError(
                        f"{source}: the {field} {value!r} is in --{split_of[value]} and in --{split}; name it once"
                    )
    rest = [value for value in known if value not in split_of]
    if rest and chosen.get("train"):
        raise DataError(f"{source}: the {field} {_some(rest)} is in no split; name it, or leave --train out")
    return [split_of.get(value, "train") for value in values]


def draw_splits(groups: Sequence[Any] | None, classes: Sequence[Any] | None, samples: int, seed: int) -> list[str]:
    """Draw the splits: 15 % to valid, as many to test, the rest to train.

    Whole groups are drawn if there are any; else the samples of each class separately; else samples.

    Args:
        groups: The group of each sample, such as its speaker; None if there are none.
        classes: The class of each sample; None if it has none.
        samples: Number of samples.
        seed: Seed of the draw.

    Raises:
        DataError: There are fewer than three groups, or than three samples of a class.
    """
    if groups is not None:
        known = sorted(set(groups), key=lambda group: natural(str(group)))
        if len(known) < 3:
            raise DataError(f"each split needs a group, and there are {len(known)}: {_some(list(map(str, known)))}")
        drawn = dict(zip(known, _draw(len(known), (seed,)), strict=True))
        return [drawn[group] for group in groups]
    if classes is None:
        if samples < 3:
            raise DataError(f"each split needs a sample, and there are {samples}")
        return _draw(samples, (seed,))
    names = [""] * samples
    for number, name in enumerate(sorted(set(classes), key=lambda name: natural(str(name)))):
        places = [place for place, each in enumerate(classes) if each == name]
        if len(places) < 3:
            raise DataError(
                f"the class {str(name)!r} has {len(places)} samples, and each split needs one; leave it out, or give "
                "the splits"
            )
        for place, split in zip(places, _draw(len(places), (seed, number)), strict=True):
            names[place] = split
    return names


def described(names: Sequence[str], rule: str) -> str:
    """Return how the splits were made, with the number of samples of each."""
    count = Counter(names)
    return f"{rule}; {', '.join(f'{split} {count[split]:,}' for split in SPLITS if count[split])}"


def _draw(n: int, seed: tuple[int, ...]) -> list[str]:
    share = max(1, round(SHARE * n))
    names = np.array(["train"] * n, dtype=object)
    order = np.random.default_rng(seed).permutation(n)
    names[order[:share]], names[order[share : 2 * share]] = "valid", "test"
    return list(names)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f", ... ({len(names)})" if len(names) > 12 else "")
