"""Stores that are made on their first use and kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from neurozoo.data.store import Store
from neurozoo.errors import DataError

__all__ = ["made_once"]


def made_once(path: Path, name: str, make: Callable[[], object], remedy: str) -> Store:
    """Return the store of a folder, made if the folder is not there.

    Args:
        path: The store's folder.
        name: What the store is called.
        make: Writes the folder, whole or not at all.
        remedy: What to do about a folder that is not whole, for the error.

    Raises:
        DataError: The folder cannot be written, or its content is not whole.
    """
    if not os.path.exists(path):
        try:
            make()
        except DataError:
            # Another process may have been faster; then its store is this one.
            if not os.path.exists(path):
                raise
    try:
        return Store(path, name=name)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error
