"""What a run's JSON files are, so that one from elsewhere, or edited by hand, is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from neurozoo.errors import RunError

__all__ = ["checked"]

_Numbers = dict[str, dict[str, float | None]]
"""By split and name, or by kind and split; null stands for what is not defined."""


class _File(BaseModel):
    # What is not named here may change between versions.
    model_config = ConfigDict(extra="allow", strict=True)


class _Run(_File):
    recipe: str
    closed: list[str] = []


class _Task(_File):
    name: str
    outputs: list[str]
    per_step: bool


class _Data(_File):
    # Of runs made before there were tasks; they are read as multi-label.
    modalities: dict[str, dict[str, int]] | None = None
    labels: list[str] | None = None
    signals: dict[str, dict[str, Any]] | None = None
    task: _Task | None = None
    splits: dict[str, int]
    origin: dict[str, Any]
    synthetic: bool
    checksum: str


class _Environment(_File):
    versions: dict[str, str]
    plugins: dict[str, str] = {}
    threads: int | None = None


class _Summary(_File):
    recipe: str
    model: str
    backend: str
    seed: int
    synthetic: bool
    parameters: int
    epochs: int
    best_epoch: int
    data: _Data
    metrics: _Numbers
    decision: float | list[Any] | dict[str, Any] | None = None
    decision_threshold: float | list[float] | None = None
    lesion: _Numbers
    health: dict[str, _Numbers]
    threshold: dict[str, float | None]
    metric_definitions: dict[str, str]
    warnings: list[str]
    environment: _Environment
    duration_seconds: float


class _Epoch(_File):
    epoch: int
    train: dict[str, float | None] = {}
    valid: dict[str, float | None] = {}
    health: _Numbers = {}
    threshold: dict[str, float | None] = {}


_FORMS: Mapping[str, type[_File]] = {
    "run.json": _Run,
    "data.json": _Data,
    "environment.json": _Environment,
    "summary.json": _Summary,
    "metrics.jsonl": _Epoch,
}


def checked(path: Path, value: Any, *, name: str | None = None) -> dict[str, Any]:
    """A value that was read from one of a run's files, as it is.

    Args:
        path: Where it stood.
        value: What was read.
        name: Which of a run's files it was; by default the path's.

    Raises:
        RunError: It is not of the form that such a file has; names each place.
    """
    form = _FORMS.get(name or path.name, _File)
    try:
        form.model_validate(value)
    except ValidationError as error:
        found = [f"{'.'.join(map(str, each['loc'])) or 'all of it'}: {each['msg']}" for each in error.errors()]
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise RunError(
            f"{path}: not what a run has there ({'; '.join(found[:3])}{more}); copy the run folder again from "
            "its source"
        ) from error
    kept: dict[str, Any] = value
    return kept
