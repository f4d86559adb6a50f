"""Importer of MMSA's feature files, ``aligned_50.pkl`` and ``unaligned_50.pkl``.

Source: Mao et al., M-SENA: an integrated platform for multimodal sentiment analysis, ACL 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.mosei import CMU_MOSEI
from neurozoo.data.importers.sentiment import is_csd, sentiment_labels
from neurozoo.data.pickled import Place, content_of
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["import_mmsa"]

_SPLITS = ("train", "valid", "test")
_MODALITIES = ("text", "audio", "vision")
_SCORES = "regression_labels"


def import_mmsa(
    source: Path,
    dest: Path,
    *,
    labels: str = "",
    thresholds: Sequence[str] = (),
    label_order: Sequence[str] = (),
) -> Store:
    """Make a store of an MMSA file; sequences are padded on the right, their lengths are the file's.

    Args:
        source: The file: ``{split: {id, text, text_bert, audio, vision, regression_labels, ...}}``.
        dest: The store's folder; new or empty.
        labels: A TAILOR file with the emotions of the same samples, in the same order; or a ``.csd`` of
            labels, in which the samples are found by their ids.
        thresholds: Labels of sentiment, such as ``negative<0,positive>0``; where there is no file.
        label_order: Names of the labels in the file, where it does not say.

    Raises:
        DataError: The file is not of that form, or neither labels nor thresholds are given.
    """
    content = content_of(source)
    scores = {split: content[split][_SCORES] for split in _SPLITS}
    named = {split: content[split]["id"] for split in _SPLITS} if is_csd(labels) else {}
    names, truth = sentiment_labels(scores, named, labels, thresholds, label_order)
    origin = {
        "format": "mmsa",
        "source": source.name,
        **CMU_MOSEI,
        "options": {"labels": Path(labels).name, "thresholds": list(thresholds)},
    }
    with StoreWriter(dest, labels=names, origin=origin) as writer:
        for split in _SPLITS:
            here, samples = content[split], len(truth[split])
            arrays = {name: here[name].numbers(3) for name in _MODALITIES}
            for name in (*_MODALITIES, "id"):
                here[name].count(samples, scores[split].where)
            masks = {name: _mask(here, name, x) for name, x in arrays.items()}
            ids = [str(each) for each in here["id"].items()]
            known = {name: mask for name, mask in masks.items() if mask is not None}
            writer.add(split, arrays, truth[split], ids=ids, masks=known)
    return Store(dest)


def _mask(split: Place, name: str, x: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """``[N, L]`` of what the file says of the lengths; None where it says nothing, as of aligned features."""
    if name == "text" and "text_bert" in split:
        given = split["text_bert"]
        bert = given.numbers(3)  # [N, 3, L]: word pieces, mask, segment
        if bert.shape[1] != 3 or bert.shape[0] != len(x) or bert.shape[2] != x.shape[1]:
            raise DataError(f"{given.where} is of shape {list(bert.shape)}; [N, 3, L] of the text's L is needed")
        spoken: NDArray[np.uint8] = (bert[:, 1] != 0).astype(np.uint8)
        return spoken
    if f"{name}_lengths" not in split:
        return None
    place = split[f"{name}_lengths"]
    lengths = np.asarray(place.value).reshape(-1)
    if lengths.dtype.kind not in "iu" or lengths.shape != (len(x),) or not _within(lengths, x.shape[1]):
        raise DataError(f"{place.where} is malformed; a length from 0 to {x.shape[1]} for each of {len(x)} is needed")
    valid: NDArray[np.uint8] = (np.arange(x.shape[1]) < lengths[:, None]).astype(np.uint8)
    return valid


def _within(lengths: NDArray[np.int64], most: int) -> bool:
    return not len(lengths) or (int(lengths.min()) >= 0 and int(lengths.max()) <= most)
