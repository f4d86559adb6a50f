"""Importers of CMU-MOSEI files that hold sentiment alone: MulT's and MMSA's.

Their emotion labels come from another file; without one, thresholds on the sentiment define labels.

Sources: Tsai et al., Multimodal transformer for unaligned multimodal language sequences, ACL 2019;
Mao et al., M-SENA: an integrated platform for multimodal sentiment analysis, ACL 2022.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import CMU_MOSEI, SPLITS, origin_of
from neurozoo.data.importers.csd.labels import labels_by_id
from neurozoo.data.importers.tailor import tailor_labels
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.untrusted.nested import Place, content_of
from neurozoo.errors import DataError
from neurozoo.files.text import as_texts

__all__ = ["import_mmsa", "import_mult"]

_MODALITIES = ("text", "audio", "vision")
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_THRESHOLD = re.compile(r"([^<>=]+?)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+)")


def import_mult(
    source: Path, dest: Path, *, labels: str = "", thresholds: Sequence[str] = (), label_order: Sequence[str] = ()
) -> Store:
    """Make a store of a MulT file, ``mosei_senti_data[_noalign].pkl``; rows of zeros at either end are padding.

    Args:
        source: The file: ``{split: {text, audio, vision, labels, id}}``.
        dest: The store's folder; new or empty.
        labels: A TAILOR file with the emotions of the same samples, in the same order; or a ``.csd`` of
            labels, in which the samples are found by their ids.
        thresholds: Labels of sentiment, such as ``negative<0,positive>0``; if ``labels`` is not given.
        label_order: Names of the labels in ``labels``, if that file does not name them.

    Raises:
        DataError: The file is not of that form, or neither labels nor thresholds are given.
    """
    return _import("mult", source, dest, labels, thresholds, label_order)


def import_mmsa(
    source: Path, dest: Path, *, labels: str = "", thresholds: Sequence[str] = (), label_order: Sequence[str] = ()
) -> Store:
    """Make a store of an MMSA file, ``[un]aligned_50.pkl``; padding is on the right, as long as the file says.

    Args:
        source: The file: ``{split: {id, text, text_bert, audio, vision, regression_labels, ...}}``.
        dest: The store's folder; new or empty.
        labels: A TAILOR file with the emotions of the same samples, in the same order; or a ``.csd`` of
            labels, in which the samples are found by their ids.
        thresholds: Labels of sentiment, such as ``negative<0,positive>0``; if ``labels`` is not given.
        label_order: Names of the labels in ``labels``, if that file does not name them.

    Raises:
        DataError: The file is not of that form, or neither labels nor thresholds are given.
    """
    return _import("mmsa", source, dest, labels, thresholds, label_order)


def _import(
    format: str, source: Path, dest: Path, labels: str, thresholds: Sequence[str], label_order: Sequence[str]
) -> Store:
    content, with_ids = content_of(source), format == "mmsa"
    scores = {split: content[split]["regression_labels" if with_ids else "labels"] for split in SPLITS}
    if bool(labels) == bool(thresholds):
        raise DataError(
            "this format holds sentiment alone; give labels=FILE, a TAILOR file with the emotions of the same samples "
            "or the labels' .csd, or thresholds=negative<0,positive>0 for labels of sentiment (one of the two)"
        )
    if thresholds:
        names, truth = _threshold_labels(thresholds, scores)
    elif labels.endswith(".csd"):
        ids_of = {split: content[split]["id"] for split in SPLITS}
        names, truth = labels_by_id(Path(labels), ids_of, label_order=label_order)
    else:
        names, truth = tailor_labels(content_of(labels), label_order)
    for split, place in scores.items():
        place.count(len(truth[split]), f"{labels}: {split!r}")
    origin = origin_of(format, source.name, CMU_MOSEI, labels=Path(labels).name, thresholds=list(thresholds))
    with StoreWriter(dest, labels=names, origin=origin) as writer:
        for split in SPLITS:
            part = content[split]
            arrays = {name: part[name].numbers(3) for name in _MODALITIES}
            for name in (*_MODALITIES, "id") if with_ids else _MODALITIES:
                part[name].count(len(truth[split]), scores[split].where)
            ids = as_texts(part["id"].items(), part["id"].where) if with_ids else None
            masks = {name: _mask(part, name, x) for name, x in arrays.items()} if with_ids else {}
            known = {name: mask for name, mask in masks.items() if mask is not None}
            writer.add(split, arrays, truth[split], ids=ids, masks=known)
    return Store(dest)


def _threshold_labels(
    thresholds: Sequence[str], scores: Mapping[str, Place]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.uint8]]]:
    """Return the names of the K labels, and ``[N, K]`` of each split."""
    rules = [_parse_threshold(each) for each in thresholds]
    if len({name for name, _, _ in rules}) < len(rules):
        raise DataError(f"thresholds {', '.join(thresholds)} name a label twice")
    labels = {}
    for split, place in scores.items():
        score = place.numbers()
        if score.ndim == 0 or score.size != len(score) or not np.isfinite(score).all():
            raise DataError(f"{place.where} is of shape {list(score.shape)}; one finite score a sample is needed")
        columns = [compare(score.reshape(-1), threshold) for _, compare, threshold in rules]
        labels[split] = np.stack(columns, axis=1).astype(np.uint8)
    return tuple(name for name, _, _ in rules), labels


def _mask(split: Place, name: str, x: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Return the mask ``[N, L]`` from the lengths in an MMSA file; None without lengths, as in aligned features."""
    if name == "text" and "text_bert" in split:
        place = split["text_bert"]
        bert = place.numbers(3)  # [N, 3, L]: word pieces, mask, segment
        if bert.shape[1] != 3 or bert.shape[0] != len(x) or bert.shape[2] != x.shape[1]:
            raise DataError(f"{place.where} is of shape {list(bert.shape)}; [N, 3, L] of the text's L is needed")
        spoken: NDArray[np.uint8] = (bert[:, 1] != 0).astype(np.uint8)
        return spoken
    if f"{name}_lengths" not in split:
        return None
    place = split[f"{name}_lengths"]
    lengths = place.numbers().reshape(-1)
    fits = lengths.dtype.kind in "iu" and lengths.shape == (len(x),)
    if not fits or (lengths < 0).any() or (lengths > x.shape[1]).any():
        raise DataError(f"{place.where} is malformed; a length from 0 to {x.shape[1]} for each of {len(x)} is needed")
    valid: NDArray[np.uint8] = (np.arange(x.shape[1]) < lengths[:, None]).astype(np.uint8)
    return valid


def _parse_threshold(text: str) -> tuple[str, Callable[[Any, Any], Any], float]:
    match = _THRESHOLD.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        return match[1], _COMPARE[match[2]], float(match[3])
    except ValueError:
        raise DataError(f"the threshold {text!r} is malformed; write a name, one of < <= > >=, and a score") from None
