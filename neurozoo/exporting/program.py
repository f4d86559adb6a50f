"""A trained model as a program of tensors, by ``torch.export``, for any number of samples."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import UserError
from neurozoo.exporting.loops import with_loops

__all__ = [
    "METADATA",
    "OUTPUTS",
    "Program",
    "Run",
    "inputs_of",
    "open_program",
    "outputs_of",
    "program_of",
    "quiet",
    "save_program",
]

OUTPUTS = ("outputs", "predicted")
"""What a program returns: the model's outputs, and the task's predictions of them, such as probabilities."""
VALID = "_valid"
"""Ends the name of a mask, after the name of its signal."""
METADATA = "neurozoo.json"
"""Name of the metadata among a ``.pt2`` archive's extra files."""

Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Runs a written program on arguments by name, and returns what it makes by name."""


class Program(nn.Module):
    """A model whose argument is a dictionary of tensors: each signal, and a mask for a signal of varying length.

    Args:
        model: On the backend ``torch``, in evaluation mode.
        spikes: Whether it returns the spikes of each layer as well, to compare them.
    """

    def __init__(self, model: Model, *, spikes: bool = False) -> None:
        super().__init__()
        self.model = model
        self.spikes = spikes

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what it returns, in order."""
        return (*OUTPUTS, *(spiking_layers(self.model) if self.spikes else ()))

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return outputs and predictions, ``[B, K]`` or ``[B, L, K]`` each, of the tensors of :func:`inputs_of`."""
        problem = self.model.problem
        batch = Batch({name: Signal(tensors[name], tensors.get(name + VALID)) for name in problem.signals})
        if not self.spikes:
            outputs = self.model(batch)
            return outputs, problem.task.predict(outputs)
        with recorded(self.model) as firings:
            outputs = self.model(batch)
        fired = (firings[name].spikes.clone() for name in spiking_layers(self.model))
        return (outputs, problem.task.predict(outputs), *fired)


def inputs_of(model: Model, batch: Batch) -> dict[str, Tensor]:
    """Return a program's arguments by name: ``[B, L, *shape]`` in the signal's dtype, and masks ``[B, L]`` bool.

    Positions beyond a batch's own length are padding, as the program's length is the signal's.

    Raises:
        UserError: Two arguments, or an argument and an output, would have the same name.
    """
    found: dict[str, Tensor] = {}
    for name, shape in model.problem.signals.items():
        signal, dtype = batch.signals[name], getattr(torch, shape.dtype)
        values, mask = signal.values.to(dtype), signal.mask
        if (missing := shape.length - values.shape[1]) > 0 and shape.ragged:
            values = torch.cat([values, values.new_zeros(values.shape[0], missing, *shape.shape)], 1)
            mask = torch.cat([mask, mask.new_zeros(mask.shape[0], missing)], 1)
        given = {name: values, name + VALID: mask} if shape.ragged else {name: values}
        if taken := sorted(given.keys() & {*found, *OUTPUTS}):
            raise UserError(
                f"a program has another tensor of the name {taken[0]!r}; give the signal {name!r} another name in "
                "data.inputs, and train again"
            )
        found |= given
    return found


@torch.no_grad()
def outputs_of(model: Model, inputs: Mapping[str, Tensor], *, spikes: bool = False) -> dict[str, Tensor]:
    """Return what the model itself makes of a program's arguments, by name; its buffers are restored."""
    program = Program(model, spikes=spikes)
    with frozen_statistics(model):
        return dict(zip(program.names, program(dict(inputs)), strict=True))


@torch.no_grad()
def program_of(
    model: Model, inputs: Mapping[str, Tensor], what: str, *, spikes: bool = False
) -> tuple[ExportedProgram, tuple[str, ...]]:
    """Trace a model into a program of torch's elementary operations, for any number of samples.

    Args:
        model: On the backend ``torch``, in evaluation mode; it is copied.
        inputs: Arguments of at least two samples.
        what: The model in words, for the error.
        spikes: See :class:`Program`.

    Returns:
        The program, and the names of what it returns.

    Raises:
        UserError: It cannot be traced, or changes its own state in evaluation; names the operation or the buffers.
    """
    _check_unchanged(model, inputs, what)
    batch = Dim("batch")
    traced = Program(with_loops(model), spikes=spikes).eval()
    try:
        with quiet():
            program = torch.export.export(
                traced, (dict(inputs),), dynamic_shapes=({name: {0: batch} for name in inputs},), strict=False
            )
    except Exception as error:  # the tracer passes on whatever an operation raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{what}: torch.export cannot trace {_where(error)}: {reason[0][:300]}; the format nir and `neurozoo pack` "
            "remain"
        ) from error
    return program, traced.names


def _check_unchanged(model: Model, inputs: Mapping[str, Tensor], what: str) -> None:
    """Refuse a model that changes its buffers in evaluation: a program's outputs depend on its arguments alone."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with frozen_statistics(model):
        Program(model)(dict(inputs))
        changed = [name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])]
    if changed:
        raise UserError(
            f"{what}: evaluation changes the model's own state ({', '.join(changed[:3])}"
            f"{' and others' if len(changed) > 3 else ''}), so that outputs depend on the batches before; export a "
            "model whose threshold does not follow its batches"
        )


def _where(error: BaseException) -> str:
    """Return the function of neurozoo nearest to an error, with its line."""
    found, trace = "the model", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        path = Path(code.co_filename)
        if "neurozoo" in path.parts and "exporting" not in path.parts and "site-packages" not in path.parts:
            found = f"{code.co_qualname} ({path.name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found


def save_program(program: ExportedProgram, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a program as a ``.pt2`` archive, which ``torch.export.load`` reads, with metadata as JSON inside."""
    with quiet():
        torch.export.save(program, path, extra_files={METADATA: json.dumps(metadata or {})})


def open_program(path: Path, names: tuple[str, ...] = OUTPUTS) -> Run:
    """Read a ``.pt2`` archive, and return a function that runs it.

    Args:
        path: The archive.
        names: Names of what it returns, in order.
    """
    with quiet():
        module = torch.export.load(path).module()

    @torch.no_grad()
    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(zip(names, module(dict(inputs)), strict=True))

    return run


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the exporters' own warnings and reports, which are of torch's making and not for the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch._export", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
