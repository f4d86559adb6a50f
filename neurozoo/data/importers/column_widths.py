"""How the columns of a table divide into modalities, where the file does not say."""

from __future__ import annotations

from collections.abc import Sequence

from neurozoo.errors import DataError

__all__ = ["modality_widths"]


def modality_widths(modalities: Sequence[str], total: int, name: str) -> dict[str, int]:
    """Number of features by modality, in their order.

    Args:
        modalities: ``NAME=NUMBER`` each.
        total: How many features there are.
        name: What has them, for the error.

    Raises:
        DataError: One is malformed, or they do not add up.
    """
    found: dict[str, int] = {}
    for part in modalities:
        key, _, width = part.partition("=")
        if not width.isdecimal() or int(width) < 1 or not key or key in found:
            raise DataError(f"modality {part!r}: give NAME=NUMBER, each name once, such as timbre=64")
        found[key] = int(width)
    if sum(found.values()) != total:
        raise DataError(
            f"the modalities {', '.join(modalities)} take {sum(found.values())} features, but {name} has {total}; "
            "they must add up"
        )
    return found
