"""e-prop's gradient against automatic differentiation, and its memory."""

from __future__ import annotations

import copy
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, IFSpec, LIFSpec, LISpec, PLIFSpec, SpikingSpec
from neurozoo.core.layer import Learned, SpikingLayer, TorchNeuron
from neurozoo.core.recording import recorded
from neurozoo.errors import DataError
from neurozoo.nn.eprop import EProp

B, INPUTS, N, K = 3, 7, 5, 2
BETA = torch.tensor([0.0, 0.3, 0.0, 0.1, 0.2])


def net(
    spec: SpikingSpec, *, bias: bool = False, recurrent: bool = True, loops: bool = False, **options: Any
) -> tuple[SpikingLayer, SpikingLayer]:
    torch.manual_seed(0)
    back = nn.Linear(N, N, bias=False) if recurrent else None
    layer = SpikingLayer(
        TorchNeuron(spec),
        nn.Linear(INPUTS, N, bias=bias),
        shape=(N,),
        recurrent=back,
        self_connections=loops,
        detach_recurrent=True,
        **options,
    )
    head = SpikingLayer(TorchNeuron(LISpec(decay=0.8, gain=0.2)), nn.Linear(N, K, bias=bias))
    with torch.no_grad():
        layer.synapse.weight.mul_(4)
    return layer.double(), head.double()


def inputs(steps: int, batch: int = B) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(steps, batch, INPUTS, generator=generator) < 0.4).double()


def loss_of(outputs: Tensor, rates: Tensor) -> Tensor:
    """A loss that uses every output differently, and a penalty on the rates."""
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
    return (outputs.square() * weights).sum() + 3 * (rates.mean(0) - 0.1).square().sum()


def gradients(layer: SpikingLayer, head: SpikingLayer) -> dict[str, Tensor]:
    both = {**dict(layer.named_parameters("layer")), **dict(head.named_parameters("head"))}
    return {name: each.grad.clone() for name, each in both.items() if each.grad is not None}


SPECS = {
    "hard": LIFSpec(tau=3.0),
    "hard, to a value": LIFSpec(tau=3.0, v_reset=-0.2, surrogate="sigmoid", alpha=3.0),
    "soft": LIFSpec(tau=3.0, v_reset=None, decay_input=False, tie="silent"),
    "if": IFSpec(surrogate="superspike", alpha=5.0),
    "if, soft": IFSpec(v_reset=None),
    "alif": ALIFSpec(adaptation=0.2, adaptation_decay=0.9, surrogate="triangle", alpha=0.3, tie="silent"),
    "alif, refractory": ALIFSpec(adaptation=0.2, adaptation_decay=0.9, refractory=3, surrogate="triangle", alpha=0.3),
}


@pytest.mark.parametrize("form", [{}, {"bias": True}, {"recurrent": False}, {"loops": True, "bias": True}], ids=str)
@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
def test_the_gradient_is_that_of_the_cut_graph(spec: SpikingSpec, form: dict[str, bool]) -> None:
    own = {"params": {"adaptation": BETA}} if spec.kind == "alif" and form.get("bias") else {}
    layer, head = net(replace(spec, detach_reset=True), **form, **own)
    x = inputs(12)
    spikes = layer(x, 0.7)
    loss = loss_of(head(spikes), spikes.mean(0))
    loss.backward()
    want = gradients(layer, head)
    for module in (layer, head):
        module.zero_grad()
    outputs, rates = EProp(layer, head)(x, 0.7)
    again = loss_of(outputs, rates)
    again.backward()
    torch.testing.assert_close(again, loss, rtol=1e-12, atol=1e-12)
    got = gradients(layer, head)
    assert want.keys() == got.keys()
    assert 0.02 < float(spikes.detach().mean()) < 0.8
    for name, each in want.items():
        assert each.any(), name
        torch.testing.assert_close(got[name], each, rtol=1e-10, atol=1e-12, msg=name)


def test_it_cuts_the_reset_whatever_the_specification_says() -> None:
    layer, head = net(LIFSpec(tau=3.0, detach_reset=False))
    other, same_head = net(LIFSpec(tau=3.0, detach_reset=True))
    for first, second in ((layer, head), (other, same_head)):
        loss_of(*EProp(first, second)(inputs(12), 0.7)).backward()
    want, got = gradients(layer, head), gradients(other, same_head)
    assert all(torch.equal(got[name], each) for name, each in want.items())


def test_padding_takes_no_part() -> None:
    layer, head = net(ALIFSpec(adaptation=0.2, adaptation_decay=0.9))
    eprop, x = EProp(layer, head), inputs(12)
    valid = torch.ones(12, B, dtype=torch.bool)
    valid[8:, 1] = False
    found = []
    for padding in (0.0, 1.0):
        given = torch.where(valid[..., None], x, torch.full_like(x, padding))
        nn.ModuleList([layer, head]).zero_grad()
        outputs, rates = eprop(given, 0.7, valid)
        loss_of(outputs * valid[..., None], rates).backward()
        found.append({"rates": rates.detach(), **gradients(layer, head)})
    for name in found[0]:
        assert torch.equal(found[0][name], found[1][name]), name


def test_random_feedback_is_drawn_once_and_saved() -> None:
    layer, head = net(LIFSpec(tau=3.0))
    eprop = EProp(layer, head, random=True)
    assert eprop.feedback is not None
    assert list(eprop.state_dict()) == ["feedback"]
    loss_of(*eprop(inputs(12), 0.7)).backward()
    random = gradients(layer, head)
    nn.ModuleList([layer, head]).zero_grad()
    loss_of(*EProp(layer, head)(inputs(12), 0.7)).backward()
    symmetric = gradients(layer, head)
    torch.testing.assert_close(random["head.synapse.weight"], symmetric["head.synapse.weight"])
    assert not torch.allclose(random["layer.synapse.weight"], symmetric["layer.synapse.weight"])
    layer.zero_grad()
    with torch.no_grad():
        eprop.feedback.copy_(head.synapse.weight)
    loss_of(*eprop(inputs(12), 0.7)).backward()
    torch.testing.assert_close(gradients(layer, head)["layer.synapse.weight"], symmetric["layer.synapse.weight"])


def test_a_recorder_gets_rates_with_a_gradient() -> None:
    layer, head = net(LIFSpec(tau=3.0))
    x = inputs(12)
    model = nn.ModuleList([layer, head, EProp(layer, head)])
    with recorded(model) as firings:
        model[2](x, 0.7)
    firing = firings["0"]
    assert firing.spikes.shape == (1, B, N)
    with torch.no_grad():
        torch.testing.assert_close(firing.spikes[0], layer(x, 0.7).mean(0))
    firing.spikes.mean().backward()
    assert layer.synapse.weight.grad is not None
    assert layer.synapse.weight.grad.any()


def test_a_copy_trains_its_own_weights() -> None:
    layer, head = net(LIFSpec(tau=3.0))
    model = nn.ModuleList([layer, head, EProp(layer, head)])
    other = copy.deepcopy(model)
    loss_of(*other[2](inputs(12), 0.7)).backward()
    assert layer.synapse.weight.grad is None
    assert other[0].synapse.weight.grad is not None
    assert [name for name, _ in model.named_parameters()] == [
        "0.synapse.weight",
        "0.recurrent.weight",
        "1.synapse.weight",
    ]


def test_what_it_cannot_train_is_refused_by_name() -> None:
    for spec, options, words in (
        (AdLIFSpec(), {}, "adlif neurons have no eligibility traces"),
        (PLIFSpec(), {"learned": {"leak": Learned(0.0)}}, "plif neurons have no"),
        (LIFSpec(), {"learned": {"tau": Learned(3.0)}}, "lif neurons learn tau too"),
        (LIFSpec(), {"gain": True}, "threshold divides the current"),
        (LIFSpec(), {"params": {"tau": torch.full((N,), 3.0)}}, "the parameter tau is a tensor"),
        (ALIFSpec(), {"params": {"membrane_decay": torch.full((N,), 0.9)}}, "parameter membrane_decay is a tensor"),
    ):
        with pytest.raises(DataError, match=words):
            EProp(*net(spec, **options))
    layer, head = net(LIFSpec())
    layer.synapse = nn.Sequential(nn.Linear(INPUTS, N), nn.Linear(N, N))
    with pytest.raises(DataError, match="the synapse is Sequential"):
        EProp(layer, head)


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, other than the given one."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.held = self.most = 0
        self._seen = weakref.WeakSet([known.untyped_storage()])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and each.untyped_storage() not in self._seen:
                storage = each.untyped_storage()
                self._seen.add(storage)
                self.held += storage.nbytes()
                self.most = max(self.most, self.held)
                weakref.finalize(storage, self._drop, storage.nbytes())
        return made

    def _drop(self, size: int) -> None:
        self.held -= size


def peak(layer: SpikingLayer, head: SpikingLayer, steps: int, eprop: bool) -> int:
    """Peak bytes of a forward and backward, beyond the input."""
    layer.zero_grad()
    head.zero_grad()
    x = inputs(steps, 8)
    learning = EProp(layer, head) if eprop else None
    with Live(x) as live:
        outputs = head(layer(x, 0.7)) if learning is None else learning(x, 0.7)[0]
        outputs.square().mean().backward()
    return live.most


@pytest.mark.parametrize(
    ("few", "many"), [(20, 200), pytest.param(100, 2000, marks=pytest.mark.slow)], ids=["quick", "long"]
)
@pytest.mark.parametrize("spec", [LIFSpec(tau=3.0), ALIFSpec(adaptation=0.2)], ids=["lif", "alif"])
def test_memory_does_not_grow_with_the_steps(
    spec: SpikingSpec, few: int, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows by the outputs alone, which the loss needs; that of backpropagation by every state."""
    for name, size in (("N", 48), ("INPUTS", 30), ("K", 1)):
        monkeypatch.setitem(globals(), name, size)
    layer, head = net(spec)
    short, long = peak(layer, head, few, True), peak(layer, head, many, True)
    outputs = 8 * 8 * K  # bytes of a step
    assert long - short <= 4 * (many - few) * outputs
    through_time = [peak(layer, head, steps, False) for steps in (few, 2 * few)]
    assert through_time[1] - through_time[0] > 100 * few * outputs
