"""The trained models that come with neurozoo, by name."""

from __future__ import annotations

import json
from pathlib import Path

from neurozoo.core.earlier_names import current_name

__all__ = ["shipped_model", "shipped_models"]

_ZOO = Path(__file__).resolve().parents[1] / "zoo"


def shipped_model(name: str) -> Path | None:
    """Return the folder of a shipped model, by its name of now or earlier; None if there is none of that name."""
    manifest = _manifests().get(current_name("trained model", name))
    return None if manifest is None else manifest.parent


def shipped_models() -> dict[str, str]:
    """Return the description of each shipped model by name."""
    return {
        name: str(json.loads(manifest.read_text(encoding="utf-8"))["description"])
        for name, manifest in _manifests().items()
    }


def _manifests() -> dict[str, Path]:
    from neurozoo.runs.packed import MANIFEST  # imports pydantic, which `--help` does not need

    return {path.parent.name: path for path in sorted(_ZOO.glob(f"*/{MANIFEST}"))}
