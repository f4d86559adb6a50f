"""Cases on a model that uses the neuron: it can be copied, stored and loaded like any other."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import RunError
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.testing.backend.inputs import B, T, made_up_currents, same
from neurozoo.testing.backend.model import INPUTS, SmallModel
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.findings import ConformanceError

__all__ = ["MODEL_CASES"]


def a_model_can_be_copied(subject: Subject) -> None:
    """deepcopy after a forward and backward gives the same model; ensembles and averaged weights need that."""
    model, x, spikes = _run_model(subject)
    try:
        twin = copy.deepcopy(model)
    except RuntimeError as error:
        raise ConformanceError(f"deepcopy of a model after a backward: {error}") from error
    same(twin(x).detach(), spikes, "spikes of a copied model")


def a_checkpoint_holds_the_cores_tensors_alone(subject: Subject) -> None:
    """After a forward the state_dict has the keys that it has under the torch backend, no more and no fewer."""
    model, _, _ = _run_model(subject)
    got = set(model.state_dict())
    want = set(SmallModel(TorchNeuron, subject.usual()).state_dict())
    if got != want:
        more, fewer = ", ".join(sorted(got - want)) or "nothing", ", ".join(sorted(want - got)) or "nothing"
        raise ConformanceError(
            f"a checkpoint has {more} that it has not under the torch backend, and lacks {fewer}; "
            "a neuron is no module, and registers nothing"
        )


def a_checkpoint_comes_back(subject: Subject) -> None:
    """Written with safetensors after a forward and loaded into a new model, it gives the same spikes to the bit."""
    model, x, spikes = _run_model(subject)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        try:
            write_tensors(path, model.state_dict(), {})
        except RunError as error:
            raise ConformanceError(f"a model that uses it cannot be stored: {error}") from error
        stored, _ = read_tensors(path)
    new = SmallModel(subject.make, subject.usual())
    missing, unknown = new.load_state_dict(stored, strict=False)
    same((missing, unknown), ([], []), "tensors that a newly built model misses, and does not know")
    same(new(x).detach(), spikes, "spikes of a newly built model with stored weights")


MODEL_CASES: tuple[Callable[[Subject], None], ...] = (
    a_model_can_be_copied,
    a_checkpoint_holds_the_cores_tensors_alone,
    a_checkpoint_comes_back,
)


def _run_model(subject: Subject) -> tuple[SmallModel, Tensor, Tensor]:
    """A model after a forward and a backward, its input, and its spikes."""
    model, x = SmallModel(subject.make, subject.usual()), made_up_currents(T, B, INPUTS)
    spikes = model(x)
    spikes.sum().backward()
    return model, x, spikes.detach()
