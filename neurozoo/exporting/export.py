"""Export a trained model for another runtime, and compare what that computes with the model."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.export import ExportedProgram

from neurozoo.core.model import Model
from neurozoo.core.signals import Batch
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import DISTRIBUTION, DataError, DifferentError, RunError, UserError
from neurozoo.evaluation.evaluate import data_of
from neurozoo.exporting.comparison import TOLERANCE, Comparison, at_least_two, compare, flips
from neurozoo.exporting.onnx_file import OPSET, OPSETS, check_installed, open_onnx, save_onnx
from neurozoo.exporting.program import inputs_of, open_program, outputs_of, program_of, save_program
from neurozoo.files.opening import sha256_of
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.nir.export.export import Export, check_backend, export_run
from neurozoo.registry.registry import default_registry
from neurozoo.runs.json_files import write_json
from neurozoo.runs.loading import TrainedModel, load
from neurozoo.runs.run import check_free

__all__ = ["SAMPLES", "SUMMARY", "Exported", "Format", "export", "export_model", "write_program"]

Format = Literal["torch-export", "onnx"]
FILES: Mapping[Format, str] = {"torch-export": "model.pt2", "onnx": "model.onnx"}
SUMMARY = "export.json"
"""The file next to the program: an :class:`Exported` as JSON."""
SAMPLES = 256
"""How many a program is compared on, if no other number is given."""
AT_A_TIME = 32
"""Samples in a batch of the comparison."""


@dataclass(frozen=True)
class Exported:
    """What was exported, and how it was compared.

    Attributes:
        folder: The new folder.
        source: The run.
        recipe: Name of the recipe.
        model: Name of the model.
        synthetic: Whether the model was trained on synthetic data.
        format: ``torch-export`` or ``onnx``.
        file: The program, in the folder.
        sha256: Of the file, hexadecimal.
        weights_sha256: Of the checkpoint that it was made from.
        inputs: Shape and dtype of each argument by name, in order; B is any number of samples.
        outputs: Shape and dtype of what is returned.
        task: Name of the task.
        names: Of the K outputs, in order.
        decision: How predictions become answers, as in the run's summary: a threshold, one for each output, or None.
        opset: Version of ONNX's operators; None for ``torch-export``.
        operations: Elementary operations in the program, those in a loop over time once.
        samples: How many it was compared on.
        made_up: Whether these were random numbers, as the data is not here.
        difference: Largest absolute difference from the model, over outputs and predictions.
        versions: Of the libraries that wrote and ran it.
    """

    folder: Path
    source: str
    recipe: str
    model: str
    synthetic: bool
    format: Format
    file: str
    sha256: str
    weights_sha256: str
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    task: str
    names: tuple[str, ...]
    decision: Any
    opset: int | None
    operations: int
    samples: int
    made_up: bool
    difference: float
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON but the locations."""
        return {key: value for key, value in asdict(self).items() if key not in ("folder", "source")}


@overload
def export(
    run: str | Path, out: str | Path, *, format: Format, opset: int | None = None, samples: int = SAMPLES,
    data_root: str | Path | None = None,
) -> Exported: ...  # fmt: skip


@overload
def export(run: str | Path, out: str | Path, *, format: Literal["nir"], dt: float | None = None) -> Export: ...


def export(
    run: str | Path,
    out: str | Path,
    *,
    format: Literal["torch-export", "onnx", "nir"],
    dt: float | None = None,
    opset: int | None = None,
    samples: int | None = None,
    data_root: str | Path | None = None,
) -> Exported | Export:
    """Write a trained model for another runtime.

    A program of ``torch-export`` or ``onnx`` is run and compared with the model before the folder appears. The graphs
    of ``nir`` are not: :func:`neurozoo.nir.export.read_back` has the libraries that are installed read them.

    Args:
        run: A run folder, a packed one, the name of a model that comes with neurozoo, or its address on a hub.
        out: A new folder.
        format: ``torch-export``, a ``.pt2`` archive for torch; ``onnx``, for ONNX Runtime and others; ``nir``, graphs
            for simulators and chips, as by ``neurozoo nir export``.
        dt: Of ``nir`` alone: length of a step, in seconds.
        opset: Of ``onnx`` alone: version of ONNX's operators.
        samples: How many the program is compared on, by default :data:`SAMPLES`; not of ``nir``.
        data_root: A store, if the data moved; not of ``nir``.

    Raises:
        DifferentError: The program's outputs differ from the model's; says by how much.
        UserError: As for :func:`export_model`, or an option of another format is given.

    Example:
        >>> neurozoo.export("fsdd-small", "exported/digits", format="onnx").difference
        1.2e-07
    """
    if format == "nir":
        options = {"opset": opset, "samples": samples, "data_root": data_root}
        if given := [name for name, value in options.items() if value is not None]:
            raise UserError(f"{given[0]} is of torch-export and onnx; leave it out for nir")
        return export_run(run, Path(out), dt=dt)
    if dt is not None:
        raise UserError(f"dt is of nir; {format} has no length of a step, leave it out")
    count = SAMPLES if samples is None else samples
    return export_model(run, out, format=format, opset=opset, samples=count, data_root=data_root)


def export_model(
    run: str | Path,
    out: str | Path,
    *,
    format: Format,
    opset: int | None = None,
    samples: int = SAMPLES,
    data_root: str | Path | None = None,
) -> Exported:
    """Write a trained model as a program of another runtime; it is run there before the folder appears.

    The program takes any number of samples, and each signal at the length L that the model was built for. It computes
    what the backend ``torch`` computes, on the CPU.

    Args:
        run: See :func:`export`.
        out: A new folder.
        format: See :func:`export`.
        opset: Of ``onnx``: version of ONNX's operators, see :data:`~neurozoo.exporting.onnx_file.OPSETS`.
        samples: How many it is compared on: of valid, or random ones if the data is not here.
        data_root: A store, if the data moved.

    Raises:
        DifferentError: Outputs differ by more than :data:`~neurozoo.exporting.comparison.TOLERANCE`; says in how many
            samples, by how much, and in which layer spikes differ. Nothing is written.
        UserError: The format has no operation for one of the model's; names it. Or a library is not installed.
        RunError: The run cannot be opened, or ``out`` is not empty or cannot be written.
        CheckpointError: Its weights are missing or damaged.
    """
    folder, what = Path(out), f"{run} as {format}"
    _check(format, opset, samples)
    check_free(folder)
    trained = load(run, backend="torch").check_finite()
    check_backend(trained, default_registry())
    model, source = trained.module.cpu().eval(), trained.source
    batches, random = _samples(trained, samples, data_root)
    inputs = inputs_of(model, batches[0].rows(0, 1))
    opset = (opset or OPSET) if format == "onnx" else None
    origin: dict[str, Any] = {
        "recipe": trained.recipe.name,
        "model": trained.recipe.model.name,
        "synthetic": bool(source.summary.get("synthetic", source.data.get("synthetic", False))),
        "weights_sha256": sha256_of(source.checkpoint),
        "task": trained.task.name,
        "names": trained.outputs,
        "decision": trained.decision,
        "versions": _versions(format),
    }
    try:
        with PartialFolder(folder, marker=SUMMARY) as new:
            path = new.path / FILES[format]
            found, operations = write_program(model, batches, path, what, opset=opset, metadata=origin)
            made = Exported(
                folder=folder,
                source=str(run),
                format=format,
                file=path.name,
                sha256=sha256_of(path),
                inputs={name: _form(x) for name, x in inputs.items()},
                outputs={name: _form(x) for name, x in outputs_of(model, inputs).items()},
                opset=opset,
                operations=operations,
                samples=found.samples,
                made_up=random,
                difference=found.largest,
                **origin,
            )
            write_json(new.path / SUMMARY, made.to_dict())
            new.finish()
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
    return made


def write_program(
    model: Model,
    batches: Sequence[Batch],
    path: Path,
    what: str,
    *,
    opset: int | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[Comparison, int]:
    """Write a model as a program, run the file, and compare the outputs with the model's.

    Args:
        model: On the backend ``torch`` and the CPU, in evaluation mode.
        batches: What to compare on.
        path: The new file. If outputs differ, another file of spikes is left next to it.
        what: The model in words, for the errors.
        opset: Version of ONNX's operators; None for an archive of torch.
        metadata: Written into the file.

    Returns:
        How the outputs compare, and the number of operations in the program.

    Raises:
        DifferentError: See :func:`export_model`.
        UserError: As there.
    """
    inputs = inputs_of(model, at_least_two(batches[0]))
    program, names = program_of(model, inputs, what)
    operations = _write(program, path, names, inputs, what, opset, metadata)
    found = compare(model, open_program(path) if opset is None else open_onnx(path), batches)
    if found.different:
        raise DifferentError(_different(model, found, batches[found.worst], inputs, path, what, opset))
    return found, sum(operations.values())


def _check(format: str, opset: int | None, samples: int) -> None:
    if format not in FILES:
        raise UserError(f"the format {format!r} is unknown; give one of {', '.join(FILES)}, nir")
    if format == "onnx":
        check_installed()
    if opset is not None and (format != "onnx" or not OPSETS[0] <= opset <= OPSETS[1]):
        raise UserError(
            f"opset is {opset} for {format}; it is of onnx alone, from {OPSETS[0]} to {OPSETS[1]}, and by default "
            f"{OPSET}"
        )
    if samples < 1:
        raise UserError(f"samples is {samples}; give a whole number from 1 on")


def _write(
    program: ExportedProgram,
    path: Path,
    names: tuple[str, ...],
    inputs: Mapping[str, Tensor],
    what: str,
    opset: int | None,
    metadata: Mapping[str, Any] | None = None,
) -> Mapping[str, int]:
    """Write a program as ONNX, or without an opset as an archive of torch; return how often each operation is in it."""
    if opset is not None:
        return save_onnx(program, path, list(inputs), names, what, opset=opset, metadata=metadata)
    save_program(program, path, metadata)
    graphs = [module.graph for module in program.graph_module.modules() if isinstance(module, torch.fx.GraphModule)]
    return {"call_function": sum(node.op == "call_function" for graph in graphs for node in graph.nodes)}


def _form(x: Tensor) -> dict[str, Any]:
    return {"shape": ["B", *x.shape[1:]], "dtype": str(x.dtype).removeprefix("torch.")}


def _versions(format: Format) -> dict[str, str]:
    libraries = ("torch", "onnx", "onnxscript", "onnxruntime") if format == "onnx" else ("torch",)
    versions = {name: importlib.metadata.version(name) for name in libraries}
    return {"neurozoo": importlib.metadata.version(DISTRIBUTION), "python": platform.python_version()} | versions


def _samples(trained: TrainedModel, count: int, data_root: str | Path | None) -> tuple[list[Batch], bool]:
    """Return batches of valid samples, or random ones if the data is not here, and whether they are random."""
    problem = trained.module.problem
    try:
        view = data_of(trained, data_root)
    except DataError:
        if data_root is not None:
            raise
        random = made_up(problem.signals, problem.task, count, 0)
        return [random.rows(start, start + AT_A_TIME) for start in range(0, count, AT_A_TIME)], True
    split = "valid" if view.description.splits.get("valid") else "train"
    batches = list(islice(view.batches(split, AT_A_TIME), -(-count // AT_A_TIME)))
    over = sum(map(len, batches)) - count
    if over > 0:
        batches[-1] = batches[-1].rows(0, len(batches[-1]) - over)
    return batches, False


def _different(
    model: Model,
    found: Comparison,
    batch: Batch,
    inputs: Mapping[str, Tensor],
    path: Path,
    what: str,
    opset: int | None,
) -> str:
    """Return why nothing was written, from a second program that also returns the spikes."""
    text = (
        f"{what}: not written, as outputs of {found.different} of {found.samples} samples differ from the model's, by "
        f"up to {found.largest:.3g}, and {TOLERANCE:g} is allowed"
    )
    if opset is None:
        return f"{text}; this is a bug, please report it with the run's recipe, and use `neurozoo pack` until then"
    program, names = program_of(model, inputs, what, spikes=True)
    apart = path.with_name(f"spikes-{path.name}")
    operations = _write(program, apart, names, inputs, what, opset)
    fell = flips(model, open_onnx(apart), batch)
    if fell is None:
        return (
            f"{text}. No spike differs in the batch with the largest difference, so one of its operations computes "
            f"something else: {', '.join(operations)}. Use --format torch-export, which has torch's own operations"
        )
    return (
        f"{text}. In the batch of the largest difference {fell.different:,} of {fell.compared:,} values of the layer "
        f"{fell.layer} are a spike in one of the two alone, and {fell.samples} of {len(batch)} samples have such a "
        "spike: ONNX Runtime rounds sums in another order, and a membrane within rounding of its threshold then falls "
        "on the other side. Use --format torch-export, which has torch's own operations"
    )
