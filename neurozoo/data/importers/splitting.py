"""How importers divide samples into train, valid and test: as files say, by a field's values, or by a draw."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.data.importers.common import SPLITS
from neurozoo.errors import DataError, suggestion

__all__ = [
    "GROUPS",
    "SHARES",
    "Seed",
    "Share",
    "check_division",
    "described",
    "divided",
    "draw_by_class",
    "drawn_text",
    "hold_out_groups",
    "natural",
    "some_of",
    "split_alias",
    "split_by_values",
    "usual_groups",
]

Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
SHARES: Mapping[str, float] = {"valid": 0.15, "test": 0.15}
"""Share of the groups, or of each class's samples, that is drawn for each split where a user gives no shares."""
GROUPS = ("group", "groups", "subject", "subjects", "speaker", "speakers", "patient", "patients", "participant")
"""Usual names, in small letters, of a field whose values no two splits should share."""
_ALIASES = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid", "testing": "test"}
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})")


def natural(text: str) -> list[tuple[int, int, str, str]]:
    """Return a key that sorts ``spk2`` before ``spk10``; keys of different texts differ."""
    # Not int(): Python refuses numbers of more than 4,300 digits.
    return [
        (0, len(digits := part.lstrip("0")), digits, part) if part.isdecimal() else (1, 0, part, "")
        for part in re.split(r"(\d+)", text)
        if part
    ]


def some_of(names: Sequence[str]) -> str:
    """Return the first names for a message, and how many there are."""
    return ", ".join(names[:12]) + (f", ... ({len(names)})" if len(names) > 12 else "")


def split_alias(text: str) -> str:
    """Return a split's usual name: ``val``, ``dev`` and ``validation`` are valid; other texts in small letters."""
    return _ALIASES.get(text.lower(), text.lower())


def check_division(split_by: str, chosen: Mapping[str, Sequence[str]]) -> None:
    """Refuse groups of train, valid or test without the field that they are values of.

    Raises:
        DataError: ``chosen`` names values, and ``split_by`` is empty.
    """
    if any(chosen.values()) and not split_by:
        raise DataError("--train, --valid and --test name values of a field or column; name it by --split-by NAME")


def divided(
    source: object,
    n: int,
    *,
    given: Sequence[str] | None = None,
    what: str = "",
    where: Sequence[str] = (),
    by: str = "",
    groups: Sequence[str] | None = None,
    chosen: Mapping[str, Sequence[str]],
    classes: Sequence[Any] | None = None,
    seed: int = 0,
    complete: bool = False,
) -> tuple[list[str], str]:
    """Divide samples as their files say, else by the chosen groups, else by a draw of :data:`SHARES`.

    A draw takes whole groups if there are any; else samples of each class separately; else samples.

    Args:
        source: Names the data in errors.
        n: Number of samples.
        given: The split that each sample names; None if they name none.
        what: Names that field or column.
        where: Names each sample in errors.
        by: Name of the groups' field.
        groups: The group of each sample, such as its speaker; None if there are none.
        chosen: The groups of each split, see :func:`split_by_values`.
        classes: The class of each sample; None if it has none.
        seed: Seed of a draw.
        complete: Whether splits that no sample is said to be in are drawn from train.

    Returns:
        The split of each sample, and a sentence that says where it is from.

    Raises:
        DataError: A name is no split, a group is in none or two, or there are too few groups or samples to draw.
    """
    if given is not None:
        names, rule = _split_names(given, what, where), f"as {what} says"
        shares = {split: share for split, share in SHARES.items() if split not in names}
        if complete and shares and "train" in names:
            try:
                names, by = _completed(source, names, groups, classes, shares, seed, by)
                rule += f", {' and '.join(shares)} drawn from train with the seed {seed}{by}"
            except DataError:
                rule += f", and train has too few samples to draw {' and '.join(shares)}"
    elif groups is not None and any(chosen.values()):
        names, rule = split_by_values(groups, by, chosen, source), f"by {by}"
    else:
        names, by = _drawn(source, n, groups, classes, SHARES, seed, by)
        rule = f"drawn by neurozoo with the seed {seed}{by}"
    return names, described(names, rule)


def _split_names(texts: Sequence[str], what: str, where: Sequence[str]) -> list[str]:
    names = [split_alias(text) for text in texts]
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
                    f"{source}: no sample has the {field} {text!r} of --{split}; there are: {some_of(known)}"
                    + suggestion(text, known)
                )
            for value in found:
                if split_of.setdefault(value, split) != split:
                    raise DataError(
                        f"{source}: the {field} {value!r} is in --{split_of[value]} and in --{split}; name it once"
                    )
    rest = [value for value in known if value not in split_of]
    if rest and chosen.get("train"):
        raise DataError(f"{source}: the {field} {some_of(rest)} is in no split; name it, or leave --train out")
    return [split_of.get(value, "train") for value in values]


def _completed(
    source: object,
    names: Sequence[str],
    groups: Sequence[str] | None,
    classes: Sequence[Any] | None,
    shares: Mapping[str, float],
    seed: int,
    by: str,
) -> tuple[list[str], str]:
    """Return the splits with those that are missing drawn from train, and how they were drawn."""
    train = [row for row, name in enumerate(names) if name == "train"]
    of = f"{source}, train"
    drawn, how = _drawn(
        of,
        len(train),
        None if groups is None else [groups[row] for row in train],
        None if classes is None else [classes[row] for row in train],
        shares,
        seed,
        by,
    )
    found = list(names)
    for row, name in zip(train, drawn, strict=True):
        found[row] = name
    return found, how


def _drawn(
    source: object,
    n: int,
    groups: Sequence[str] | None,
    classes: Sequence[Any] | None,
    shares: Mapping[str, float],
    seed: int,
    by: str,
) -> tuple[list[str], str]:
    """Return the splits of a draw, and how samples were drawn."""
    needed = 1 + len(shares)
    if groups is not None:
        known = sorted(set(groups), key=natural)
        if len(known) < needed:
            raise DataError(
                f"{source}: each split needs a group, and {by} has {len(known)}: {some_of(known)}; divide by another "
                "field, or name the groups of each split"
            )
        drawn = dict(zip(known, _draw(len(known), shares, (seed,)), strict=True))
        return [drawn[group] for group in groups], f", by {by}"
    if classes is None:
        if n < needed:
            raise DataError(f"{source}: each split needs a sample, and there are {n}; give more, or the split of each")
        return _draw(n, shares, (seed,)), ""
    names = sorted({str(name) for name in classes}, key=natural)
    index = {name: place for place, name in enumerate(names)}
    labels = np.array([index[str(name)] for name in classes], np.int64)
    return draw_by_class(labels, shares, seed, names, source), ", for each class separately"


def usual_groups(columns: Mapping[str, Iterable[Any]]) -> str:
    """Return the first column with a usual name of groups and enough of them for a draw; an empty text if none is."""
    return next(
        (name for name, values in columns.items() if name.lower() in GROUPS and len(set(values)) > len(SHARES)), ""
    )


def draw_by_class(
    labels: NDArray[Any], shares: Mapping[str, float], seed: int, names: Sequence[str], source: object
) -> list[str]:
    """Draw splits for each class separately: that share of it to each split named, the rest to train.

    Args:
        labels: Class of each sample ``[n]``.
        shares: Splits with their shares.
        seed: Seed; a class's draw does not depend on the other classes.
        names: Names of the classes, for errors.
        source: Names the data in errors.

    Returns:
        The split of each sample.

    Raises:
        DataError: A class has too few samples to give each split one.
    """
    splits = np.full(len(labels), "train", dtype=object)
    for label in np.unique(labels) if shares else ():
        rows = np.flatnonzero(labels == label)
        if len(rows) <= len(shares):
            raise DataError(
                f"{source}: the class {names[label]!r:.60} has {len(rows)} samples, and each of train, "
                f"{', '.join(shares)} needs one; leave it out, or give the splits or other shares"
            )
        splits[rows] = _draw(len(rows), shares, (seed, int(label)))
    return splits.tolist()


def _draw(n: int, shares: Mapping[str, float], seed: tuple[int, ...]) -> list[str]:
    """Return the split of each of n; each share takes one at least, and leaves one at least."""
    splits, order = np.full(n, "train", dtype=object), np.random.default_rng(seed).permutation(n)
    for split, share in shares.items():
        count = min(max(1, round(share * n)), len(order) - 1)
        splits[order[:count]] = split
        order = order[count:]
    return splits.tolist()


def hold_out_groups(groups: NDArray[Any], share: float, seed: int) -> NDArray[np.bool_]:
    """Draw whole groups, such as speakers, whose samples come closest to a share of all.

    Args:
        groups: Group of each sample ``[n]``.
        share: Wanted share of the samples.
        seed: Seed.

    Returns:
        Whether each sample is drawn; at least one group is, and one is not.

    Raises:
        DataError: There is one group alone.
    """
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < 2:
        raise DataError(
            f"all {len(groups)} samples are of {names[0]!s}, so that none can be held out; give a share of 0"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    sums = counts[order][:-1].cumsum()
    taken = int(np.abs(sums - share * len(groups)).argmin()) + 1
    return np.isin(groups, names[order[:taken]])


def described(names: Sequence[str], rule: str) -> str:
    """Return how the splits were made, with the number of samples of each."""
    count = Counter(names)
    return f"{rule}; {', '.join(f'{split} {count[split]:,}' for split in SPLITS if count[split])}"


def drawn_text(shares: Mapping[str, float], seed: int, by: str, there: Iterable[str] = ()) -> str:
    """Return a sentence that says which splits were drawn by these shares, and which were ``there``."""
    given = ", ".join(split for split in SPLITS if split in there)
    if not shares:
        return f"as given: {given}" if given else "none given and none drawn: all is train"
    drawn = ", ".join(f"{share:g} to {split}" for split, share in shares.items())
    return f"drawn by neurozoo with the seed {seed}, by {by}: {drawn}" + (f"; as given: {given}" if given else "")
