"""NIR, the neuromorphic intermediate representation: graphs, and what they say of a model (https://neuroir.org)."""

from __future__ import annotations

import importlib.util

from neurozoo.errors import UserError, install_extra

__all__ = ["check_installed"]


def check_installed() -> None:
    """Refuse to read or write a file without the library ``nir``.

    Raises:
        UserError: It is not installed.
    """
    if importlib.util.find_spec("nir") is None:
        raise UserError(f"NIR graphs need the library nir, which is not installed; `{install_extra('nir')}`")
