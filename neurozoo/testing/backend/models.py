"""Cases on a model that uses the neuron: it can be copied, stored, loaded, moved and compiled like any other."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, TorchNeuron
from neurozoo.core.neuron import Neuron, NeuronSpec, State
from neurozoo.errors import RunError
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.testing.backend.inputs import B, N, T, describe, random_currents, same, total
from neurozoo.testing.backend.subject import Subject, each_kind, tolerance_of
from neurozoo.testing.findings import ConformanceError, NotRun, require

INPUTS, INNER, OUTPUTS = 5, 8, 4


class SmallModel(nn.Module):
    """``Linear - neurons - Linear - neurons`` with one learned threshold, and the same weights each time."""

    def __init__(self, neuron: MakeNeuron, spec: NeuronSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        # torch draws weights of its own, which must not advance the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            self.linear1 = nn.Linear(INPUTS, INNER, dtype=dtype)
            self.linear2 = nn.Linear(INNER, OUTPUTS, dtype=dtype)
        self.lif1 = SpikingLayer(neuron(spec))
        self.lif2 = SpikingLayer(neuron(spec))
        self.threshold = nn.Parameter(torch.tensor(0.7, dtype=dtype))
        with torch.no_grad():
            for seed, linear in enumerate((self.linear1, self.linear2)):
                linear.weight.copy_(random_currents(*linear.weight.shape, seed=seed) * 0.7)
                linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``[T, B, OUTPUTS]`` of inputs ``[T, B, INPUTS]``."""
        hidden: Tensor = self.lif1(self.linear1(x), self.threshold)
        outputs: Tensor = self.lif2(self.linear2(hidden), self.threshold)
        return outputs


@each_kind
def a_model_can_be_copied(subject: Subject, spec: NeuronSpec) -> None:
    """``deepcopy`` after a forward and backward gives the same model, as ensembles and averaged weights need."""
    model, x, spikes = _trained_model(subject, spec)
    try:
        twin = copy.deepcopy(model)
    except RuntimeError as error:
        raise ConformanceError(f"deepcopy of a model after a backward: {error}") from error
    same(twin(x).detach(), spikes, "spikes of a copied model")


@each_kind
def a_checkpoint_holds_the_cores_tensors_alone(subject: Subject, spec: NeuronSpec) -> None:
    """After a forward the ``state_dict`` has the keys that it has with the oracle."""
    model, _, _ = _trained_model(subject, spec)
    got, want = set(model.state_dict()), set(SmallModel(TorchNeuron, spec).state_dict())
    more, fewer = (", ".join(sorted(names)) or "nothing" for names in (got - want, want - got))
    require(
        got == want,
        f"a checkpoint has {more} that it has not under the torch backend, and lacks {fewer}; "
        "a neuron is no module, and registers nothing",
    )


@each_kind
def a_checkpoint_comes_back(subject: Subject, spec: NeuronSpec) -> None:
    """Written to a safetensors file and loaded into a new model, weights give the same spikes to the bit."""
    model, x, spikes = _trained_model(subject, spec)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        try:
            write_tensors(path, model.state_dict(), {})
        except RunError as error:
            raise ConformanceError(f"a model that uses it cannot be stored: {error}") from error
        stored, _ = read_tensors(path)
    new = SmallModel(subject.make, spec)
    missing, unknown = new.load_state_dict(stored, strict=False)
    same((missing, unknown), ([], []), "tensors that a newly built model misses, and does not know")
    same(new(x).detach(), spikes, "spikes of a newly built model with stored weights")


@each_kind
def tensors_are_made_on_the_currents_device(subject: Subject, spec: NeuronSpec) -> None:
    """On torch's "meta" device, which mixes with no other, a tensor made on the CPU by default is an error."""
    neuron = subject.make(spec)
    currents = torch.zeros(T, B, N, device="meta", requires_grad=True)
    thresholds: list[Tensor | float] = [0.7]
    thresholds += [torch.zeros(shape, device="meta", requires_grad=True) for shape in ((), (1, B, 1), (T, 1, 1))]
    for threshold in thresholds:
        try:
            spikes, after = neuron.scan(currents, None, threshold)
            (gradient,) = torch.autograd.grad(total(spikes, after), currents)
        except NotImplementedError as error:
            raise NotRun(f"its operators have no meta kernel: {str(error).splitlines()[0]}") from error
        except RuntimeError as error:
            raise ConformanceError(
                f"on the meta device: {error}; make tensors with device=currents.device, or with torch.full_like"
            ) from error
        for name, tensor in zip(("spikes", "gradient", *spec.states), (spikes, gradient, *after), strict=True):
            there = tensor.device == currents.device
            require(there, f"the {name} of currents on {currents.device} are on {tensor.device}")


@each_kind
def can_be_compiled(subject: Subject, spec: NeuronSpec) -> None:
    """``torch.compile`` as one graph, or with breaks where ``graph_breaks`` declares them, changes no result."""
    neuron, currents = subject.make(spec), random_currents(2, 2, 4)
    forms: tuple[Tensor | float, ...] = (torch.tensor([0.4, 0.9]).reshape(2, 1, 1),)
    for threshold in (0.7, *forms) if spec == subject.usual() else forms:
        where = describe(spec, currents, threshold)
        want = _results(neuron.scan, currents, threshold)
        try:
            got = _compiled(neuron, currents, threshold, fullgraph=not neuron.graph_breaks)
        except Exception as error:  # dynamo's own errors, and whatever its graph raises
            try:
                _compiled(TorchNeuron(LIFSpec()), random_currents(2, 2, 2), 0.7, fullgraph=True)
            except Exception as own:  # it does not compile the oracle either, such as on a new Python
                raise NotRun(f"torch.compile does not work here: {_reason(own)}") from own
            failed = (
                "it declares graph_breaks, and fails when compiled all the same"
                if neuron.graph_breaks
                else "torch.compile cannot trace it as one graph; where that is the library's doing, declare "
                "graph_breaks = True"
            )
            raise ConformanceError(f"{failed} ({_reason(error)}): {where}") from error
        same(got[0], want[0], f"spikes when compiled: {where}")
        subject.compared += want[0].numel()
        for name, a, b in zip(("gradient of the currents", *spec.states), got[1:], want[1:], strict=True):
            error_share = float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
            subject.allow(error_share, tolerance_of(currents.dtype, subject.exact), f"{name} when compiled: {where}")


def _trained_model(subject: Subject, spec: NeuronSpec) -> tuple[SmallModel, Tensor, Tensor]:
    """A model after a forward and a backward, its input, and its outputs."""
    model, x = SmallModel(subject.make, spec), random_currents(T, B, INPUTS)
    spikes = model(x)
    spikes.sum().backward()
    return model, x, spikes.detach()


def _results(
    scan: Callable[[Tensor, None, Tensor | float], tuple[Tensor, State]], currents: Tensor, threshold: Tensor | float
) -> tuple[Tensor, ...]:
    """Outputs, gradient of the currents, and last states."""
    leaf = currents.clone().requires_grad_()
    outputs, after = scan(leaf, None, threshold)
    (gradient,) = torch.autograd.grad(total(outputs, after), leaf)
    return outputs.detach(), gradient, *(each.detach() for each in after)


def _compiled(neuron: Neuron, currents: Tensor, threshold: Tensor | float, fullgraph: bool) -> tuple[Tensor, ...]:
    # A new function each time: the compiler caches by code object.
    def scan(currents: Tensor, state: None, threshold: Tensor | float) -> tuple[Tensor, State]:
        return neuron.scan(currents, state, threshold)

    torch.compiler.reset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making
            # It traces forward and backward, and needs no C++ compiler.
            return _results(torch.compile(scan, fullgraph=fullgraph, backend="aot_eager"), currents, threshold)
    finally:
        torch.compiler.reset()


def _reason(error: Exception) -> str:
    """The first line of an error of dynamo's, which tells much more."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"
