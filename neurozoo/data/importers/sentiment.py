"""Labels for files that hold sentiment alone: emotions from another file, or thresholds with a name."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.csd.matching import labels_by_id
from neurozoo.data.importers.tailor import tailor_labels
from neurozoo.data.pickled import Place, content_of
from neurozoo.errors import DataError

__all__ = ["is_csd", "sentiment_labels"]

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_RULE = re.compile(r"([^<>=]+?)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+)")

Truth = tuple[tuple[str, ...], Mapping[str, NDArray[np.uint8]]]
"""Names of the K labels, and ``[N, K]`` of each split."""


def is_csd(labels: str) -> bool:
    """Whether the labels' file is a computational sequence, by its name."""
    return labels.endswith(".csd")


def sentiment_labels(
    scores: Mapping[str, Place],
    ids: Mapping[str, Place],
    labels: str,
    thresholds: Sequence[str],
    label_order: Sequence[str],
) -> Truth:
    """The labels of each split.

    Args:
        scores: The sentiment of each split's samples, from -3 to 3.
        ids: The ids of each split's samples; needed where the labels are a ``.csd``.
        labels: A TAILOR file with the emotions of the same samples in the same order, or a ``.csd`` of
            labels; or nothing.
        thresholds: ``NAME<SCORE``, ``NAME>=SCORE`` and so on, a label each; where there is no file.
        label_order: Names of the labels in the file, where it does not say.

    Raises:
        DataError: Both or none are given, they are malformed, or numbers of samples differ.
    """
    if bool(labels) == bool(thresholds):
        raise DataError(
            "this format holds sentiment alone; give labels=FILE, a TAILOR file with the emotions of the same samples "
            "or the labels' .csd, or thresholds=negative<0,positive>0 for labels of sentiment (one of the two)"
        )
    if labels:
        if is_csd(labels):
            return labels_by_id(Path(labels), ids, label_order=label_order)
        names, truth = tailor_labels(content_of(labels), label_order)
        for split, place in scores.items():
            place.count(len(truth[split]), f"{labels}: {split!r}")
        return names, truth
    rules = [_rule(each) for each in thresholds]
    if len({name for name, _, _ in rules}) < len(rules):
        raise DataError(f"thresholds {', '.join(thresholds)} name a label twice")
    made = {}
    for split, place in scores.items():
        score = np.asarray(place.value, dtype=np.float64).reshape(len(place.value), -1)
        if score.shape[1] != 1 or not np.isfinite(score).all():
            raise DataError(
                f"{place.where} is of shape {list(np.shape(place.value))}; one finite score a sample is needed"
            )
        made[split] = np.stack([compare(score[:, 0], at) for _, compare, at in rules], axis=1).astype(np.uint8)
    return tuple(name for name, _, _ in rules), made


def _rule(text: str) -> tuple[str, Callable[[Any, Any], Any], float]:
    found = _RULE.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        return found[1], _COMPARE[found[2]], float(found[3])
    except ValueError:
        raise DataError(f"the threshold {text!r} is malformed; write a name, one of < <= > >=, and a score") from None
