"""Reading other people's files, none of which is trusted.

``read_foreign`` reads what pickle, ``torch.save`` and ``joblib.dump`` write. Nothing in it can run
anything: ``machine.py`` follows the file's instructions itself and knows no callable, only the names
in ``allowed.py`` and ``tensors.py``, each of which makes a description of data. It does so in a
process of its own (``child.py``), which has the input and two nameless files and opens nothing else,
under the limits of ``limits.py``. Large arrays stay where they are in the file; the answer says where,
and ``rebuild.py`` maps them into memory.

The process imports this package too, so nothing is imported here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurozoo.data.foreign.limits import Limits

__all__ = ["read_foreign"]


def read_foreign(path: Path, *, limits: Limits | None = None) -> Any:
    """The content of a pickle, a torch file (zip or legacy) or a joblib file (also compressed).

    Args:
        path: The file.
        limits: How much memory, time and content it may take; by default those of the environment.

    Returns:
        Plain dict, list, tuple, set, str, int, float, complex, bool, None and bytes, and numpy arrays. Torch
        tensors come as arrays (bfloat16 as float32), ``argparse.Namespace`` as a dict. Arrays are
        read-only and mapped into memory from the file: copy one to change it.

    Raises:
        DataError: The file is missing, not a whole file of these kinds, holds anything else (named), or
            takes more than the limits allow.
    """
    from neurozoo.data.foreign.reading import read

    return read(Path(path), limits)
