"""Where data sets are: a folder given, or a name under ``NEUROZOO_DATA``.

No torch is needed here, so that data sets can be listed quickly.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from neurozoo.data.manifest import MANIFEST
from neurozoo.errors import DataError, NotInstalledError, suggestion

__all__ = ["data_home", "installed", "locate"]


def data_home() -> Path:
    """Return the folder of named data sets: ``NEUROZOO_DATA``, by default in the platform's cache folder."""
    given = os.environ.get("NEUROZOO_DATA")
    return Path(os.path.expanduser(given)) if given else platformdirs.user_cache_path("neurozoo") / "data"


def installed() -> dict[str, Path]:
    """Return the stores under :func:`data_home` by name."""
    home = data_home()
    try:
        names = sorted(os.listdir(home)) if os.path.isdir(home) else []
    except OSError as error:
        raise DataError(f"{home}, the folder of data sets, cannot be read ({error.strerror})") from error
    return {name: home / name for name in names if name[0] != "." and os.path.isfile(home / name / MANIFEST)}


def locate(name: str | None, root: str | None) -> Path:
    """Return the folder of a data set: ``root``, the store itself, or the one of that name under :func:`data_home`.

    Raises:
        DataError: Neither is given, or no data set of that name is installed.
    """
    if root is not None:
        return Path(os.path.expanduser(root))
    there = installed()
    if name is None:
        raise DataError(
            f"no data set is named; set data.root=FOLDER, or data.name to one of: {', '.join(there) or 'none'}"
        )
    if name in there:
        return there[name]
    raise NotInstalledError(
        f"no data set {name!r} is installed in {data_home()} (set NEUROZOO_DATA to look elsewhere); "
        f"there are: {', '.join(there) or 'none'}{suggestion(name, there)}; "
        f"install it with `neurozoo data import FORMAT SOURCE {data_home() / name}`, "
        "or give a store with data.root=FOLDER"
    )
