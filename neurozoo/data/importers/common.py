"""What several importers share: splits, citations, the widths of modalities, padding."""

from __future__ import annotations

import codecs
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular
from neurozoo.files.text import is_litter, printable

__all__ = [
    "CHUNK",
    "CMU_MOSEI",
    "POM",
    "SPLITS",
    "UNKNOWN",
    "Positions",
    "files_in",
    "list_arrays",
    "modality_widths",
    "open_text",
    "origin_of",
    "pad_rows",
    "pad_samples",
    "split_columns",
]

SPLITS = ("train", "valid", "test")
CMU_MOSEI = {
    "licence": "CMU-MultimodalSDK's terms for CMU-MOSEI",
    "citation": "Zadeh et al.: Multimodal language analysis in the wild, ACL 2018",
}
POM = {
    "licence": "MIT (as distributed with MFN)",
    "citation": "Park et al.: Computational analysis of persuasiveness in social multimedia, ICMI 2014",
}
CHUNK = 512
"""Samples converted and written at a time by importers that build sequences in memory."""

UNKNOWN = {"licence": "unknown", "citation": "unknown"}
Positions = Annotated[int, Field(ge=1, le=100_000)]
Padded = tuple[NDArray[np.float32], NDArray[np.uint8]]


def origin_of(format: str, source: str, terms: Mapping[str, str], **options: Any) -> dict[str, Any]:
    """Return the ``origin`` of a store: format, source, licence and citation, and the importer's options.

    Names of files may be bytes that are no text; they are written with escapes, as JSON could not be read back.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return list(value)
        return printable(value) if isinstance(value, str) else value

    options = {key: plain(value) for key, value in options.items()}
    return {"format": format, "source": printable(source), **terms, "options": options}


def files_in(folder: Path, *endings: str, below: bool = False) -> list[Path]:
    """Return the files with these endings, sorted, with ``below`` those of subfolders too.

    What systems leave unasked, such as ``._NAME`` and ``.DS_Store``, is left out.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        paths = [path for path in (folder.rglob("*") if below else folder.iterdir()) if path.name.endswith(endings)]
    except OSError as error:
        raise DataError(f"{folder} is not a folder that can be read ({error.strerror}); give another") from error
    return sorted(path for path in paths if not any(map(is_litter, path.relative_to(folder).parts)))


def open_text(path: Path) -> TextIO:
    """Open a text that may be larger than memory: UTF-8, or UTF-16 with a byte order mark; other bytes become U+FFFD.

    Raises:
        DataError: It is not a regular file that can be read.
    """
    raw = open_regular(path)
    marked = raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    raw.seek(0)
    return io.TextIOWrapper(raw, "utf-16" if marked else "utf-8-sig", errors="replace")


def list_arrays(arrays: Mapping[str, Any]) -> str:
    """Return ``name [shape]`` of each array for an error message."""
    return ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "none"


def modality_widths(modalities: Sequence[str], total: int, source: str) -> dict[str, int]:
    """Parse ``NAME=NUMBER`` texts: how the ``total`` columns of the table ``source`` divide into modalities.

    Raises:
        DataError: A modality is malformed, or the numbers do not add up to ``total``.
    """
    widths: dict[str, int] = {}
    for modality in modalities:
        name, _, width = modality.partition("=")
        if not width.isdecimal() or int(width) < 1 or not name or name in widths:
            raise DataError(f"modality {modality!r}: give NAME=NUMBER, each name once, such as timbre=64")
        widths[name] = int(width)
    if sum(widths.values()) != total:
        raise DataError(
            f"the modalities {', '.join(modalities)} take {sum(widths.values())} features, but {source} has {total}; "
            "they must add up"
        )
    return widths


def split_columns(x: NDArray[Any], widths: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Split the last axis of ``x`` ``[N, L, D]`` into modalities of these widths."""
    parts = np.split(x, np.cumsum(list(widths.values()))[:-1], axis=2)
    return dict(zip(widths, parts, strict=True))


def pad_rows(rows: NDArray[np.float32], length: int, *, pad: str, keep: str) -> Padded:
    """Pad or cut rows ``[n, d]`` to ``[length, d]``; return them with their mask ``[length]``.

    Zeros fill the side ``pad``, ``left`` or ``right``; of more rows the end ``keep`` stays, ``first`` or ``last``.
    """
    kept = rows[:length] if keep == "first" else rows[max(len(rows) - length, 0) :]
    valid = slice(0, len(kept)) if pad == "right" else slice(length - len(kept), length)
    padded, mask = np.zeros((length, rows.shape[1]), np.float32), np.zeros(length, np.uint8)
    padded[valid], mask[valid] = kept, 1
    return padded, mask


def pad_samples(samples: Sequence[NDArray[np.float32]], length: int, *, pad: str, keep: str) -> Padded:
    """Apply :func:`pad_rows` to samples ``[n, d]``; return ``[samples, length, d]`` and masks ``[samples, length]``."""
    pairs = [pad_rows(rows, length, pad=pad, keep=keep) for rows in samples]
    return np.stack([rows for rows, _ in pairs]), np.stack([mask for _, mask in pairs])
