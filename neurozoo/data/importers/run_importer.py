"""Making a store of other people's files, by the importer that a plugin registered for the format."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from neurozoo.data.store import Store
from neurozoo.errors import DataError, nearest
from neurozoo.registry.registry import default_registry

__all__ = ["import_data"]


def import_data(format: str, source: str | Path, dest: str | Path, **options: Any) -> Store:
    """Make a store.

    Args:
        format: Name of an importer, such as ``mulan``.
        source: The files to read.
        dest: The store's folder; new or empty.
        options: The importer's own.

    Raises:
        UnknownNameError: No importer is called ``format``.
        DataError: An option is unknown or missing, the source is malformed, or ``dest`` cannot be written.
    """
    importer = default_registry().resolve("importer", format)
    parameters = inspect.signature(importer).parameters.values()
    own = [each for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    known = [each.name for each in own]
    for name in options:
        if name not in known:
            guess = nearest(name, known)
            raise DataError(
                f"format {format!r} has no option {name!r}; there are: {', '.join(known) or 'none'}"
                + (f"; did you mean {guess!r}?" if guess else "")
            )
    missing = [each.name for each in own if each.default is inspect.Parameter.empty and each.name not in options]
    if missing:
        raise DataError(
            f"format {format!r} needs {' and '.join(missing)} besides; add "
            f"{' '.join(f'--{name} VALUE' for name in missing)} (`neurozoo show {format}` says what they are)"
        )
    if not Path(source).exists():
        raise DataError(f"there is no {source} to import; give the folder with the {format} files")
    store = importer(Path(source), Path(dest), **options)
    if not isinstance(store, Store):
        raise DataError(f"the importer {format!r} gave {type(store).__name__} and not a Store; report it to its author")
    return store
