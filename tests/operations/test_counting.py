"""Operations by layer: hand-computed on tiny layers, and what holds for any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurozoo.core.kinds import LIFSpec, LISpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.signals import Batch, Signal
from neurozoo.models.smile.model import SMILE
from neurozoo.nn.attention import SpikingAttention
from neurozoo.nn.delays import DelayedLinear
from neurozoo.nn.synapses import Normalised
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.result import Counts, LayerOperations

DIMS = {"text": 5, "audio": 4, "vision": 3}
WHOLE = {name: (6, dim) for name, dim in DIMS.items()}


def counted(model: nn.Module, *inputs: Tensor | Batch) -> Counts:
    with torch.no_grad(), OperationCounter(model.eval()) as counter:
        for each in inputs:
            model(each)
    return counter.counts(sum(map(len, inputs)))


def layer(counts: Counts, name: str) -> LayerOperations:
    (found,) = [each for each in counts.layers if each.name == name]
    return found


def linear(weight: list[list[float]]) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(len(weight[0]), len(weight)))
    model[0].weight.data = torch.tensor(weight)
    return model


def without_padding(batch: Batch) -> Batch:
    whole = {name: Signal(signal.values, torch.ones_like(signal.mask)) for name, signal in batch.signals.items()}
    return replace(batch, signals=whole)


# By hand


@pytest.mark.parametrize(
    ("x", "macs", "acs", "zeros"),
    [
        ([[2.5, 0.0, 3.0], [0.0, 0.0, 0.0]], 3, 0, 4),  # of the first input one weight is not 0, of the third two
        ([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], 0, 3, 4),
        ([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]], 0, 4, 3),
        ([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]], 4, 0, 3),  # one number that is no spike, and the whole call multiplies
    ],
)
def test_a_linear_counts_pairs_of_an_input_and_a_weight(x: list[list[float]], macs: int, acs: int, zeros: int) -> None:
    found = layer(counted(linear([[1.0, 0.0, 3.0], [0.0, 5.0, 1.0]]), torch.tensor(x)), "0")
    assert (found.dense, found.macs, found.acs, found.zeros, found.elements) == (12, macs, acs, zeros, 6)
    assert (found.parameters, found.bytes) == (8, 32)


def test_what_a_layer_gets_may_be_a_parameter() -> None:
    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries, self.read = nn.Parameter(torch.ones(1, 3, 4)), nn.Linear(4, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.read(self.queries.expand(len(x), -1, -1))

    model = Queries()
    counts = counted(model, torch.zeros(5, 3, 2))
    assert layer(counts, "read").macs + layer(counts, "read").acs == 5 * 3 * 4 * 2
    assert model.queries.requires_grad


def test_a_convolution_counts_no_border() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1))
    counts = counted(model, torch.tensor([[[0.0, 1.0, 0.0, 0.0]], [[2.5, 1.0, 0.0, 0.0]]]))
    found = layer(counts, "0")
    # Each of 2 kernels reaches 2 + 3 + 3 + 2 of 4 inputs; three places reach the second input, two the first.
    assert (found.dense, found.macs, found.acs) == (2 * 20, 2 * (3 + 3 + 2), 0)
    assert not counts.uncounted


def test_a_synapse_with_a_delay_counts_the_inputs_that_arrive() -> None:
    model = nn.Sequential(DelayedLinear(1, 2, kernel=5))
    model[0].weight.data = torch.tensor([[[1.0]], [[0.0]]])
    model[0].position.data = torch.tensor([[[1.6]], [[-2.0]]])  # delays of 0 and 4 steps
    counts = counted(model, torch.tensor([1.0, 0.0, 1.0, 1.0]).view(4, 1, 1))
    # There are 6 steps: all 4 inputs reach the first output, those of the steps 0 and 1 the second.
    found = layer(counts, "0")
    assert (found.dense, found.macs, found.acs, found.zeros, found.elements) == (4 + 2, 0, 3, 1, 4)
    assert not counts.uncounted


@pytest.mark.parametrize(
    ("x", "macs", "acs", "repeated"),
    [
        ([[2.0, 0.0, 3.0], [0.0, 0.0, 0.0]], 0, 2 * 1 + 3 * 2, 1 * 1 + 2 * 2),  # as many accumulations as the number
        ([[-2.0, 0.0, 5.0], [0.0, 0.0, 1.0]], 0, 2 * 1 + 5 * 2 + 2, 1 * 1 + 4 * 2),
        ([[6.0, 0.0, 2.0], [0.0, 1.0, 0.0]], 1, 2 * 2 + 1, 1 * 2),  # more than 5 cost less as a multiplication
    ],
)
def test_a_whole_number_is_so_many_accumulations(x: list[list[float]], macs: int, acs: int, repeated: int) -> None:
    found = layer(counted(linear([[1.0, 0.0, 3.0], [0.0, 5.0, 1.0]]), torch.tensor(x)), "0")
    assert (found.fed, found.macs, found.acs, found.repeated) == ("whole", macs, acs, repeated)
    pairs = sum(int(each != 0) * weights for row in x for each, weights in zip(row, (1, 1, 2), strict=True))
    assert found.effective == pairs


def test_whole_numbers_in_a_convolution_and_behind_delays() -> None:
    found = layer(counted(nn.Sequential(nn.Conv1d(1, 2, 3, padding=1)), torch.tensor([[[0.0, 2.0, 0.0, 7.0]]])), "0")
    # Of 2 kernels three places reach the second input, two the last.
    assert (found.fed, found.macs, found.acs, found.repeated) == ("whole", 2 * 2, 2 * 2 * 3, 2 * 3)
    model = nn.Sequential(DelayedLinear(1, 2, kernel=5))
    model[0].weight.data = torch.tensor([[[1.0]], [[0.0]]])
    model[0].position.data = torch.tensor([[[1.6]], [[-2.0]]])  # delays of 0 and 4 steps
    found = layer(counted(model, torch.tensor([3.0, 0.0, 1.0]).view(3, 1, 1)), "0")
    assert (found.fed, found.macs, found.acs, found.repeated) == ("whole", 0, 4, 2)


@pytest.mark.parametrize(
    ("x", "fed"),
    [
        ([0.0, 0.0], "bits"),
        ([1.0, -1.0], "bits"),
        ([2.0, 0.0], "whole"),
        ([255.0, 1.0], "whole"),
        ([256.0, 1.0], "real"),  # of more than 8 bits
        ([0.5, 1.0], "real"),
        ([torch.inf, 0.0], "real"),
        ([torch.nan, 0.0], "real"),
    ],
)
def test_what_a_synapse_is_fed(x: list[float], fed: str) -> None:
    assert layer(counted(linear([[1.0, 1.0]]), torch.tensor([x])), "0").fed == fed


def test_a_synapse_is_fed_the_least_of_its_calls() -> None:
    bits, whole, real = (torch.tensor([[x, 0.0]]) for x in (1.0, 2.0, 0.5))
    assert layer(counted(linear([[1.0, 1.0]]), bits, whole, bits), "0").fed == "whole"
    assert layer(counted(linear([[1.0, 1.0]]), real, whole, bits), "0").fed == "real"


class Gates(nn.Module):
    """A residual of whole numbers, a gate, a product of reals, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        bits = (x > 0).to(x.dtype)
        return self.norm((bits * x + x) * self.scale).mean(1)


def test_arithmetic_element_by_element_is_named() -> None:
    counts = counted(nn.Sequential(Gates()), torch.tensor([[0.5, -1.5, 2.0], [0.1, 0.2, -0.3]]))
    own, norm = counts.elsewhere[1], counts.elsewhere[0]
    # A product and a sum of 6 elements, a product with parameters, and two means of three elements.
    assert (own.module, own.gates, own.additions, own.multiplications) == ("Gates", 6, 6 + 2 * 2, 6)
    assert (norm.module, norm.functions, norm.arithmetic) == ("BatchNorm1d", 6, 6)


def test_the_arithmetic_of_neurons_and_synapses_is_not_named_again() -> None:
    layer_ = SpikingLayer(TorchNeuron(LIFSpec()), Normalised(nn.Linear(3, 2), 2), recurrent=nn.Linear(2, 2, bias=False))
    with torch.no_grad(), OperationCounter(nn.Sequential(layer_).eval()) as counter:
        layer_(torch.ones(4, 1, 3))
    assert {each.module: each.arithmetic for each in counter.counts(1).elsewhere if each.arithmetic} == {
        "BatchNorm1d": 8
    }


def test_spikes_and_other_inputs_of_one_layer_are_told_apart_call_by_call() -> None:
    found = layer(counted(linear([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 2.0]])), "0")
    assert (found.dense, found.macs, found.acs) == (4, 2, 1)


class Attends(nn.Module):
    """Queries, keys and values along the second axis."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.attention = SpikingAttention(heads)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(*x.unbind(1))


@pytest.mark.parametrize(("key", "macs", "acs"), [(1.0, 0, 2 + 2), (0.5, 2, 2)])
def test_products_of_spiking_attention(key: float, macs: int, acs: int) -> None:
    # One head, two places, two features: key 0 meets values 0 and 1 at the first place; query 0 both products.
    q, k, v = [[0.0, 0.0], [1.0, 0.0]], [[key, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]
    counts = counted(Attends(1), torch.tensor([[q, k, v]]))
    found = layer(counts, "attention")
    assert (found.kind, found.dense, found.macs, found.acs) == ("attention", 2 * 2 * 2 * 2, macs, acs)
    assert counts.attention == found.macs + found.acs
    assert not counts.uncounted


def test_products_of_several_heads_stay_within_their_head() -> None:
    ones = torch.ones(1, 3, 5, 4)
    for heads, pairs in ((1, 5 * 4 * 4), (2, 5 * 4 * 2), (4, 5 * 4)):
        found = layer(counted(Attends(heads), ones), "attention")
        assert (found.dense, found.acs, found.macs) == (2 * pairs, 2 * pairs, 0)


def test_a_layer_of_neurons_updates_each_membrane_at_each_step() -> None:
    model = nn.Sequential(SpikingLayer(TorchNeuron(LIFSpec(tau=2.0))))
    currents = torch.tensor([2.0, 0.0, 4.0]).expand(5, 1, 3)  # half of it in a step: 2.0 fires in every one
    with torch.no_grad(), OperationCounter(model) as counter:
        model(currents)
    found = layer(counter.counts(1), "0")
    assert (found.kind, found.updates, found.zeros, found.elements) == ("neurons", 15, 5, 15)
    assert found.sparsity == 1 / 3


def test_a_spiking_branch_multiplies_its_held_input_once(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch]
) -> None:
    model = smile(DIMS, ("audio", "vision"), "text", hidden=10, spiking_inner=16, time_steps=5)
    counts = counted(model, without_padding(random_batch(WHOLE)))
    rows = 4 * 6
    one, two = layer(counts, "branches.audio.first.synapse"), layer(counts, "branches.audio.second.synapse")
    assert (one.dense, one.presented, one.acs) == (rows * 160, 5, 0)
    assert (two.dense, two.presented, two.macs) == (5 * rows * 160, 1, 0)
    assert layer(counts, "branches.audio.first").updates == 5 * rows * 16
    assert layer(counts, "branches.audio.second").updates == 5 * rows * 10


def test_without_time_one_step_stands_for_all(smile: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> None:
    batch = without_padding(random_batch(WHOLE))
    parts = {"activation": "relu"}
    counts = [
        counted(smile(DIMS, ("audio", "vision"), "text", parts=parts, hidden=10, time_steps=steps), batch)
        for steps in (1, 5)
    ]
    for one, five in zip(*(each.layers for each in counts), strict=True):
        assert (one.dense, one.macs, one.acs, one.updates) == (five.dense, five.macs, five.acs, five.updates)
    found = layer(counts[1], "branches.vision.first")
    assert (found.kind, found.updates) == ("activation", 4 * 6 * 128)
    assert counts[1].updates == 0


def test_attention_products_are_apart_and_leave_out_what_is_masked(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch]
) -> None:
    batch = random_batch(WHOLE)
    counts = counted(smile(DIMS, ("audio", "vision"), "text", hidden=10), batch)
    found = layer(counts, "refine.text.attention")
    valid = int(batch.signals["text"].mask.sum())
    assert (found.dense, found.macs) == (2 * 4 * 6 * 6 * 10, 2 * 6 * valid * 10)
    assert counts.attention == sum(each.macs for each in counts.layers if each.kind == "attention") > 0
    assert counts.macs + counts.acs + counts.attention == sum(each.macs + each.acs for each in counts.layers)


def test_all_parameters_and_bytes_are_somewhere(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch]
) -> None:
    model = smile(DIMS, ("audio", "vision"), "text", standardise=True)
    counts = counted(model, random_batch(WHOLE))
    assert counts.parameters == sum(each.numel() for each in model.parameters())
    tensors = [*model.parameters(), *model.buffers()]
    assert counts.bytes == sum(each.numel() * each.element_size() for each in tensors)
    assert not counts.uncounted


@pytest.mark.parametrize("arithmetic", ["fast", "plain"])
def test_it_changes_nothing_and_leaves_no_hook(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch], arithmetic: str
) -> None:
    model, batch = smile(DIMS, ("audio", "vision"), "text", arithmetic=arithmetic).eval(), random_batch(WHOLE)
    with torch.no_grad():
        before = model(batch)
        with OperationCounter(model):
            torch.testing.assert_close(model(batch), before, rtol=1e-5, atol=1e-6)
        assert torch.equal(model(batch), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_both_arithmetics_are_counted_the_same(smile: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> None:
    batch = random_batch(WHOLE)
    fast, plain = (
        counted(smile(DIMS, ("audio", "vision"), "text", arithmetic=each), batch) for each in ("fast", "plain")
    )
    assert fast == plain


# What no rule covers


class Bilinear(nn.Module):
    """A product of matrices that is nobody's layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.weight = nn.Parameter(torch.ones(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) @ self.weight


def test_a_product_that_no_rule_covers_is_named() -> None:
    counts = counted(nn.Sequential(Bilinear()), torch.ones(5, 3))
    (missing,) = counts.uncounted
    assert (missing.name, missing.module, missing.macs) == ("0", "Bilinear", 5 * 4 * 2)
    assert counts.dense == 5 * 3 * 4


def test_products_are_added_up_over_several_uses() -> None:
    model = nn.Sequential(Bilinear()).eval()
    counter = OperationCounter(model)
    for _ in range(2):
        with torch.no_grad(), counter:
            model(torch.ones(5, 3))
    counts = counter.counts(10)
    assert (counts.dense, counts.uncounted[0].macs) == (2 * 5 * 3 * 4, 2 * 5 * 4 * 2)


class First(nn.Module):
    """Gives on the first of what a module gives."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = (self.inner(x, x, x) if isinstance(self.inner, nn.MultiheadAttention) else self.inner(x))[0]
        return found


@pytest.mark.parametrize("inner", [nn.LSTM(4, 3, batch_first=True), nn.MultiheadAttention(4, 2, batch_first=True)])
def test_torchs_own_recurrence_and_attention_are_not_dropped_in_silence(inner: nn.Module) -> None:
    counts = counted(First(inner), torch.randn(2, 5, 4))
    assert {each.name for each in counts.uncounted} == {"inner"}


def test_looking_up_a_row_is_no_product() -> None:
    assert not counted(nn.Sequential(nn.Embedding(5, 3)), torch.tensor([1, 2])).uncounted


# What holds for any layer


@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(1, 4),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    spiking=st.booleans(),
)
def test_effective_operations_are_those_without_a_zero(
    seed: int, rows: int, sizes: tuple[int, int], spiking: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    given_, out = sizes
    weight = torch.randint(-1, 2, (out, given_), generator=generator) * 0.5
    x = torch.randint(0, 2, (rows, given_), generator=generator) * (1.0 if spiking else 0.3)
    counts = counted(linear(weight.tolist()), x)
    found = layer(counts, "0")
    expected = sum(
        int(x[row, i] != 0) * int(weight[k, i] != 0) for row in range(rows) for i in range(given_) for k in range(out)
    )
    assert found.macs + found.acs == expected <= found.dense == rows * given_ * out
    assert not (found.macs and found.acs)
    assert found.macs == 0 or not spiking


@given(
    seed=st.integers(0, 2**16),
    stride=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    mode=st.sampled_from(["zeros", "circular"]),
)
def test_a_convolutions_effective_operations_are_never_more_than_its_dense_ones(
    seed: int, stride: int, groups: int, mode: str
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, stride, 1, groups=groups, padding_mode=mode))
    x = torch.randint(0, 2, (2, 2, 5, 4)).float()
    found = layer(counted(model, x), "0")
    full = layer(counted(model, torch.ones_like(x)), "0")
    assert found.acs <= found.dense == full.dense == full.acs


def test_what_comes_back_is_counted_by_the_spikes_that_come_back() -> None:
    layer_ = SpikingLayer(TorchNeuron(LIFSpec(tau=2.0)), nn.Linear(3, 2), recurrent=nn.Linear(2, 2, bias=False))
    layer_.synapse.weight.data = torch.eye(2, 3) * 4  # type: ignore[union-attr,operator]
    layer_.synapse.bias.data.zero_()  # type: ignore[union-attr,operator]
    layer_.recurrent.weight.data = torch.tensor([[0.0, 0.0], [0.0, 0.1]])  # type: ignore[union-attr]
    x = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])[:, None]  # [T, 1, 3]
    with torch.no_grad(), OperationCounter(nn.Sequential(layer_)) as counter:
        fired = layer_(x)
    assert fired[:, 0].tolist() == [[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    counts = counter.counts(1)
    back = layer(counts, "0.recurrent")
    # 4 weights at 3 steps; after the first step 1, after the second 1 that is not 0; the last spikes go nowhere.
    assert (back.dense, back.acs, back.macs, back.zeros, back.elements) == (12, 2, 0, 3, 6)
    assert (layer(counts, "0.synapse").dense, layer(counts, "0").updates) == (18, 6)
    assert not counts.uncounted


def test_weights_that_are_not_used_are_no_effective_ones() -> None:
    back = nn.Linear(2, 2, bias=False)
    back.weight.data = torch.ones(2, 2)
    layer_ = SpikingLayer(TorchNeuron(LIFSpec()), recurrent=back, self_connections=False)
    with torch.no_grad(), OperationCounter(nn.Sequential(layer_)) as counter:
        layer_(torch.full((2, 1, 2), 3.0))
    found = layer(counter.counts(1), "0.recurrent")
    assert (found.dense, found.acs) == (8, 2)


def test_a_held_picture_is_convolved_once_and_a_normalised_layer_is_a_part() -> None:
    synapse = Normalised(nn.Conv2d(1, 2, 3, padding=1, bias=False), 2)
    model = nn.ModuleDict({"a": SpikingLayer(TorchNeuron(LIFSpec()), synapse)}).eval()
    with torch.no_grad(), OperationCounter(model) as counter:
        model["a"](torch.ones(5, 1, 4, 4), steps=3)
    counts = counter.counts(5)
    found, neurons = layer(counts, "a.synapse.weight"), layer(counts, "a")
    assert (found.dense, found.presented, found.part) == (5 * 2 * 100, 3, "a.synapse")
    assert (neurons.updates, neurons.elements) == (5 * 3 * 2 * 16, 5 * 3 * 2 * 16)
    assert counts.parameters == sum(each.numel() for each in model.parameters())


def test_a_readout_has_membranes_and_no_sparsity() -> None:
    model = nn.Sequential(SpikingLayer(TorchNeuron(LISpec()), nn.Linear(2, 3)))
    with torch.no_grad(), OperationCounter(model) as counter:
        model[0](torch.ones(4, 1, 2))
    found = layer(counter.counts(1), "0")
    assert (found.kind, found.updates, found.sparsity) == ("neurons", 12, None)
