"""Checkpoints in safetensors: written whole or not at all, and checked when loaded."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from neurozoo.errors import CheckpointError, RunError
from neurozoo.files.opening import open_regular
from neurozoo.files.writing import write_whole

__all__ = [
    "SCHEMA",
    "load_checkpoint",
    "load_tensors",
    "read_plain_tensors",
    "read_tensors",
    "renamed",
    "write_tensors",
]

SCHEMA = 2
_HASH = "sha256"
"""Metadata key of the tensors' digest, which files of earlier versions lack."""
_KEY = "neurozoo"
"""Key of all metadata as one JSON text; safetensors would write several keys in varying order."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], *, inside: Path | None = None
) -> None:
    """Write tensors and JSON metadata to ``path``; a reader sees the old file or the new one.

    Equal content gives equal bytes. No link below the folder ``inside`` is followed.

    Raises:
        RunError: The file cannot be written, or the disk is full; the old file is unchanged.
    """
    # Copies, as safetensors refuses tensors that share storage.
    copies = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    header = {_KEY: json.dumps({"schema": SCHEMA, **metadata, _HASH: _digest(copies)})}
    try:
        # Not save_file, whose files other users of the machine cannot read.
        write_whole(path, save(copies, header), inside=inside)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"{path}: cannot be written: {reason}; the old file is unchanged, make room or give another folder"
        ) from error


def read_tensors(
    path: Path, *, inside: Path | None = None, remedy: str = "take another checkpoint"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and metadata of a file from :func:`write_tensors`.

    No link below the folder ``inside`` is followed; ``remedy`` is the advice in the message about a damaged file.

    Raises:
        CheckpointError: The file is missing, damaged or of an unknown schema.
    """
    if not os.path.lexists(path):
        raise CheckpointError(f"{path}: there is no such checkpoint; train first, or name another run")
    open_regular(path, inside=inside, error=CheckpointError).close()  # safe_open takes a name, and would wait on a pipe
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); {remedy}") from error
    try:
        metadata = json.loads(header.get(_KEY, "{}"))  # infinite numbers too, such as a schedule's best loss so far
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata cannot be read as JSON ({error}); {remedy}") from error
    schema = metadata.get("schema", header.get("schema")) if isinstance(metadata, dict) else None
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path}: its schema is {schema!r} and this version reads {SCHEMA}; use the neurozoo version that wrote it"
        )
    if metadata.pop(_HASH, None) not in (None, _digest(tensors)):
        raise CheckpointError(f"{path}: damaged, its tensors differ from those that were written; {remedy}")
    return tensors, metadata


def read_plain_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file that another program wrote.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    open_regular(path, error=CheckpointError).close()
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); download it again") from error


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_checkpoint(path: Path, module: nn.Module, *, inside: Path | None = None) -> dict[str, Any]:
    """Load weights and running statistics into ``module``; return the metadata.

    Raises:
        CheckpointError: As :func:`read_tensors`; or the checkpoint is of another model, and nothing is loaded.
    """
    tensors, metadata = read_tensors(path, inside=inside)
    load_tensors(path, tensors, module)
    return metadata


def renamed(tensors: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Rename the tensors of an older checkpoint to the module's current names."""
    own, by_name = module.state_dict().keys(), {}
    for name, tensor in tensors.items():
        new = name
        if name not in own:
            for pattern, replacement in getattr(module, "renamed", ()):
                new = re.sub(pattern, replacement, new)
        by_name[new] = tensor
    return by_name


def load_tensors(path: Path | str, tensors: Mapping[str, Tensor], module: nn.Module) -> None:
    """Load weights and running statistics that were read from ``path``.

    Raises:
        CheckpointError: They are of another model; nothing is loaded.
    """
    own = module.state_dict()
    tensors = renamed(tensors, module)
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [
        f"{name} is {list(tensors[name].shape)} there and {list(own[name].shape)} here"
        for name in sorted(own.keys() & tensors.keys())
        if own[name].shape != tensors[name].shape
    ]
    if missing or unknown or shapes:
        kinds = {"missing": missing, "unknown": unknown, "of another shape": shapes}
        differences = [f"{len(names)} {kind}, such as {names[0]}" for kind, names in kinds.items() if names]
        raise CheckpointError(
            f"{path}: a checkpoint of another model ({'; '.join(differences)}); use the recipe that it was trained with"
        )
    module.load_state_dict(tensors)
