"""A run's JSON files: written whole, and checked when read, as they may come from elsewhere or be edited by hand."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from neurozoo.errors import RunError
from neurozoo.files import json_text
from neurozoo.files.writing import append_line, sync_folder, write_whole

__all__ = ["append_json", "checked", "read_json", "write_json"]

_Numbers = dict[str, dict[str, float | None]]
"""By split and name, or by kind and split; null stands for what is not defined."""


class _File(BaseModel):
    # What is not named here may change between versions.
    model_config = ConfigDict(extra="allow", strict=True)


class _Run(_File):
    recipe: str
    closed: list[str] = []
    data_root: str | None = None


class _Task(_File):
    name: str
    outputs: list[str]
    per_step: bool


class _Signal(_File):
    shape: list[int]
    length: int


class _Stored(_File):
    # Before it is represented; runs of earlier versions did not record it.
    shape: list[int]
    dtype: str
    tick: float | None = None


class _Data(_File):
    # Of runs made before there were tasks; they are read as multi-label.
    modalities: dict[str, dict[str, int]] | None = None
    labels: list[str] | None = None
    signals: dict[str, _Signal] | None = None
    stored: dict[str, _Stored] = {}
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
    learning_rate: float | None = None
    seconds: float | None = None


_FORMS: Mapping[str, type[_File]] = {
    "run.json": _Run,
    "data.json": _Data,
    "environment.json": _Environment,
    "summary.json": _Summary,
    "metrics.jsonl": _Epoch,
}


def read_json(path: Path, *, inside: Path | None = None) -> dict[str, Any]:
    """Read one of a run's JSON files; no link below the run folder ``inside`` is followed.

    Raises:
        RunError: It is missing, damaged or malformed.
    """
    if not os.path.lexists(path):
        raise RunError(f"{path}: not there; the run did not get that far")
    return checked(path, json_text.read_json(path, inside=inside, error=RunError))


def checked(path: Path, value: Any, *, name: str | None = None) -> dict[str, Any]:
    """Return what was read of one of a run's files, unchanged, if it has the form of the file called ``name``.

    Raises:
        RunError: It has another form; names up to three places.
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
    return dict(value)


def write_json(path: Path, value: Mapping[str, Any], *, inside: Path | None = None) -> None:
    """Write a JSON file, whole or not at all; NaN and infinity become null.

    Raises:
        RunError: It cannot be written.
    """
    try:
        content = json.dumps(_finite(value), indent=2, allow_nan=False)
        write_whole(path, f"{content}\n".encode(), inside=inside)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def append_json(path: Path, record: Mapping[str, Any], *, inside: Path | None = None) -> None:
    """Append a record to a file of JSON lines and flush it to disk; NaN and infinity become null.

    Raises:
        RunError: It cannot be written.
    """
    try:
        append_line(path, json.dumps(_finite(record)), inside=inside, sync=True)
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
