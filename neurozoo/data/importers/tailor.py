"""Importer of the CMU-MOSEI file that TAILOR's and SMILE's authors distribute.

Source: the loaders of TAILOR (Zhang et al., Tailor versatile multi-modal learning for multi-label
emotion recognition, AAAI 2022), which SMILE's authors also use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import CMU_MOSEI, SPLITS, origin_of
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.untrusted.nested import Place, content_of
from neurozoo.errors import DataError
from neurozoo.files.text import as_text

__all__ = ["FIRST_WORD", "TARGETS", "import_tailor", "tailor_labels"]

_MODALITIES = {"text": "src-text", "audio": "src-audio", "vision": "src-visual"}
TARGETS = "tgt"
_BEGIN, _END, FIRST_WORD = 2, 3, 4
"""Ids of a list's first and last entry, and the first id of an emotion or word; 0 is padding, 1 unknown."""


def import_tailor(source: Path, dest: Path, *, features: str = "", label_order: Sequence[str] = ()) -> Store:
    """Make a store of ``train_valid_test.pt``.

    Args:
        source: The file.
        dest: The store's folder; new or empty.
        features: MulT's ``mosei_senti_data_noalign.pkl``, the source of unaligned features; its
            samples are in the same order.
        label_order: Names of the emotions with the ids 4, 5, ...; only if the file does not name them.

    Raises:
        DataError: The file is not of that form, or does not name its labels and ``label_order`` is not given.
    """
    content = content_of(source)
    names, labels = tailor_labels(content, label_order)
    other = content_of(features) if features else content
    keys = dict(zip(_MODALITIES, _MODALITIES, strict=True)) if features else _MODALITIES
    of = f"{source.name}, features of {Path(features).name}" if features else source.name
    origin = origin_of("tailor", of, CMU_MOSEI, features=Path(features).name, label_order=list(label_order))
    with StoreWriter(dest, labels=names, origin=origin) as writer:
        for split, truth in labels.items():
            places = {name: other[split][key] for name, key in keys.items()}
            arrays = {name: place.numbers(3) for name, place in places.items()}
            for place in places.values():
                place.count(len(truth), f"{content.where}: {split!r}: {TARGETS!r}")
            writer.add(split, arrays, truth, ids=[f"{split}-{i:05d}" for i in range(len(truth))])
    return Store(dest)


def tailor_labels(
    content: Place, label_order: Sequence[str] = ()
) -> tuple[tuple[str, ...], dict[str, NDArray[np.uint8]]]:
    """Return the names of the K labels of a file, and ``[N, K]`` of each split.

    Raises:
        DataError: The file does not name its labels and ``label_order`` is not given, or it holds other ids.
    """
    names = _label_names(content, label_order)
    column = {identity: index for index, identity in enumerate(names)}
    labels = {}
    for split in SPLITS:
        targets = content[split][TARGETS]
        truth = np.zeros((len(targets.items()), len(names)), np.uint8)
        for sample, target in enumerate(targets.items()):
            truth[sample, _target_columns(target, column, f"{targets.where}, sample {sample}")] = 1
        labels[split] = truth
    return tuple(names.values()), labels


def _label_names(content: Place, given: Sequence[str]) -> dict[int, str]:
    """Return the names by id; no default order, as two projects that share the file's form order them differently."""
    if "dict" in content and TARGETS in content["dict"]:
        place = content["dict"][TARGETS]
        pairs = place.value.items() if isinstance(place.value, Mapping) else ()
        ids = [(identity, as_text(name, place.where)) for name, identity in pairs if type(identity) is int]
        names = {int(identity): name for identity, name in sorted(ids) if identity >= FIRST_WORD}
        if not names or len(set(names.values())) < len(names):
            raise DataError(f"{place.where} does not map labels to ids from {FIRST_WORD} on")
        if given and list(given) != list(names.values()):
            raise DataError(f"{place.where} says the labels are {', '.join(names.values())}; leave out label_order")
        return names
    if not given:
        raise DataError(
            f"{content.where} does not say what its labels are (it has no 'dict' with {TARGETS!r}); give "
            "label_order=NAME,NAME,... in the order of the ids from 4 on"
        )
    return dict(enumerate(given, start=FIRST_WORD))


def _target_columns(target: object, column: Mapping[int, int], where: str) -> list[int]:
    ids = target.tolist() if isinstance(target, np.ndarray) else target
    if not isinstance(ids, list | tuple) or not all(type(identity) is int for identity in ids):
        ids = ()
    if len(ids) < 2 or ids[0] != _BEGIN or ids[-1] != _END:
        raise DataError(f"{where} is {str(target)[:40]}; a list of label ids from {_BEGIN} to {_END} is needed")
    unknown = [identity for identity in ids[1:-1] if identity not in column]
    if unknown or len(set(ids[1:-1])) < len(ids) - 2:
        raise DataError(
            f"{where} has the ids {str(list(ids))[:60]}; labels are {', '.join(map(str, column))}, each once"
        )
    return [column[identity] for identity in ids[1:-1]]
