"""A program as an ONNX file, and the same run by ONNX Runtime."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from neurozoo.errors import UserError, install_extra
from neurozoo.exporting.program import Run, quiet

__all__ = ["OPSET", "OPSETS", "check_installed", "open_onnx", "save_onnx"]

LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
"""What writing and running needs."""
OPSET = 20
"""Version of ONNX's operators that a file uses, if no other is asked for; ONNX Runtime runs it since 1.17."""
OPSETS = (18, 23)
"""The oldest and the newest that can be asked for."""


def check_installed() -> None:
    """Refuse to write ONNX without the libraries that write and run it.

    Raises:
        UserError: One is not installed; names all that are missing.
    """
    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"ONNX needs {', '.join(missing)}, not installed here; `{install_extra('export')}`, or use --format "
            "torch-export"
        )


def save_onnx(
    program: ExportedProgram,
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    what: str,
    *,
    opset: int = OPSET,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Write a program as an ONNX file with its weights inside.

    Args:
        program: The program.
        path: The new file.
        inputs: Names of its arguments, in order.
        outputs: Names of what it returns, in order.
        what: The model in words, for the error.
        opset: Version of ONNX's operators.
        metadata: Written into the file, each value as JSON but for texts.

    Returns:
        How often each ONNX operation is in it, those in loops once.

    Raises:
        UserError: ONNX has no operation for one of the program's; names it.
    """
    with quiet():
        try:
            made: Any = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=opset,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise UserError(
                f"{what}: ONNX has no operation for {_operation(error)}; use --format torch-export"
            ) from error
        _keep_apart(made.model.graph, {*inputs, *outputs})
        for key, value in (metadata or {}).items():
            made.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
        made.save(path, external_data=False)
    return dict(sorted(Counter(str(node.op_type) for node in _nodes(made.model.graph)).items()))


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the operations of a graph, and of the graphs inside its loops."""
    for node in graph:
        yield node
        for attribute in node.attributes.values():
            if attribute.type.name == "GRAPH":
                yield from _nodes(attribute.value)


def _keep_apart(graph: Any, taken: set[str]) -> None:
    """Rename values inside a graph that have the name of one of its arguments or outputs, such as `linear`."""
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for node in _nodes(graph):
        inside = [
            value
            for attribute in node.attributes.values()
            if attribute.type.name == "GRAPH"
            for value in attribute.value.inputs
        ]
        for value in (*node.outputs, *inside):
            if value.name in taken and id(value) not in ends:
                value.name = f"inner/{value.name}"


def _operation(error: BaseException) -> str:
    """Return the name of the operation that an export failed at, or the error's first line."""
    text = str(error)
    found = re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", text)
    found = found or re.search(r"Error when translating node %(\w+)", text)
    return found[1] if found else text.strip().splitlines()[0][:200]


def open_onnx(path: Path) -> Run:
    """Read an ONNX file by ONNX Runtime, and return a function that runs it on the CPU, on one thread.

    Raises:
        UserError: ONNX Runtime refuses the file; says why. Also raised by the function.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own in common
        raise UserError(_refused(path, error)) from error
    names = [each.name for each in session.get_outputs()]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        try:
            made = session.run(names, {name: x.contiguous().numpy() for name, x in inputs.items()})
        except Exception as error:
            raise UserError(_refused(path, error)) from error
        return {name: torch.from_numpy(x) for name, x in zip(names, made, strict=True)}

    return run


def _refused(path: Path, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return f"{path.name}: ONNX Runtime refuses it ({reason}); use --format torch-export"
