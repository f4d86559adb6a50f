"""The trained models that come with neurozoo, by name."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["shipped_model", "shipped_models"]

_ZOO = Path(__file__).resolve().parents[1] / "zoo"


def shipped_model(name: str) -> Path | None:
    """The folder of a shipped model, by its name; None where there is none."""
    manifest = _manifests().get(name)
    return None if manifest is None else manifest.parent


def shipped_models() -> dict[str, str]:
    """What each shipped model is, by name: its recipe's ``description``."""
    return {
        name: str(json.loads(manifest.read_text(encoding="utf-8"))["description"])
        for name, manifest in _manifests().items()
    }


def _manifests() -> dict[str, Path]:
    from neurozoo.runs.packed import MANIFEST  # imports pydantic, which `--help` does not need

    return {path.parent.name: path for path in sorted(_ZOO.glob(f"*/{MANIFEST}"))}
