"""Importer of the files of the Multimodal Transformer (MulT), ``mosei_senti_data[_noalign].pkl``.

Source: Tsai et al., Multimodal transformer for unaligned multimodal language sequences, ACL 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neurozoo.data.importers.mosei import CMU_MOSEI
from neurozoo.data.importers.sentiment import is_csd, sentiment_labels
from neurozoo.data.pickled import content_of
from neurozoo.data.store import Store, StoreWriter

__all__ = ["import_mult"]

_SPLITS = ("train", "valid", "test")
_MODALITIES = ("text", "audio", "vision")


def import_mult(
    source: Path,
    dest: Path,
    *,
    labels: str = "",
    thresholds: Sequence[str] = (),
    label_order: Sequence[str] = (),
) -> Store:
    """Make a store of a MulT file; rows of zeros at either end are padding.

    Args:
        source: The file: ``{split: {text, audio, vision, labels, id}}``.
        dest: The store's folder; new or empty.
        labels: A TAILOR file with the emotions of the same samples, in the same order; or a ``.csd`` of
            labels, in which the samples are found by their ids.
        thresholds: Labels of sentiment, such as ``negative<0,positive>0``; where there is no file.
        label_order: Names of the labels in the file, where it does not say.

    Raises:
        DataError: The file is not of that form, or neither labels nor thresholds are given.
    """
    content = content_of(source)
    scores = {split: content[split]["labels"] for split in _SPLITS}
    named = {split: content[split]["id"] for split in _SPLITS} if is_csd(labels) else {}
    names, truth = sentiment_labels(scores, named, labels, thresholds, label_order)
    origin = {
        "format": "mult",
        "source": source.name,
        **CMU_MOSEI,
        "options": {"labels": Path(labels).name, "thresholds": list(thresholds)},
    }
    with StoreWriter(dest, labels=names, origin=origin) as writer:
        for split in _SPLITS:
            places = {name: content[split][name] for name in _MODALITIES}
            arrays = {name: place.numbers(3) for name, place in places.items()}
            for place in places.values():
                place.count(len(truth[split]), scores[split].where)
            writer.add(split, arrays, truth[split])
    return Store(dest)
