"""Each kind of node by hand-computed tables, and as a step is as all at once."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.layer import TorchNeuron
from neurozoo.nir.graph import Node
from neurozoo.nir.nodes import NIRNode, make_node
from neurozoo.nir.settings import Dynamics

EULER = Dynamics(
    dt=0.5, reset="value", integration="euler", fires="at", forward_delay=0, recurrent_delay=1, synapse_delay=0
)


def make(kind: str, shape: tuple[int, ...] | None = (1,), dynamics: Dynamics = EULER, **given: Any) -> NIRNode:
    options = {key: given.pop(key) for key in list(given) if key in Node.model_fields}
    node = Node.model_validate({"name": "n", "kind": kind, "shape": shape, "values": given, **options})
    assert not list(node.problems())
    return make_node(node, dynamics, TorchNeuron, "atan", 2.0)


def told(node: NIRNode, *inputs: float) -> list[float]:
    """What a node of one element makes of these, step by step."""
    found: list[float] = node(torch.tensor(inputs).view(-1, 1, 1)).flatten().tolist()
    return found


def with_(**changes: Any) -> Dynamics:
    return Dynamics(**{**EULER.__dict__, **changes})


LIF = {"tau": 1.0, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}


def membranes(node: NIRNode, *inputs: float) -> list[float]:
    """The membrane after each step's reset."""
    state, found = (), []
    for x in inputs:
        _, state = node.run(torch.tensor([[[x]]]), state)
        found.append(state[0].item())
    return found


def test_lif_to_a_value() -> None:
    # v + (0.5 / 1) (2 x - v): .5 | .75 | 1.375 fires, 0 | .5
    assert told(make("LIF", **LIF), 0.5, 0.5, 1.0, 0.5) == [0, 0, 1, 0]
    assert membranes(make("LIF", **LIF), 0.5, 0.5, 1.0, 0.5) == [0.5, 0.75, 0.0, 0.5]


def test_lif_by_subtraction() -> None:
    # .5 | .75 | 1.375 fires, .375 | .6875
    node = make("LIF", dynamics=with_(reset="subtract"), **LIF)
    assert told(node, 0.5, 0.5, 1.0, 0.5) == [0, 0, 1, 0]
    assert membranes(node, 0.5, 0.5, 1.0, 0.5) == [0.5, 0.75, 0.375, 0.6875]


def test_lif_leaks_to_its_rest_and_not_to_its_reset() -> None:
    # from v_reset = -1: v + .5 ((.5 - v) + 2 x): -.25 | .125 | 1.3125 fires, -1 | -.25
    node = make("LIF", **(LIF | {"v_leak": 0.5, "v_reset": -1.0}))
    assert membranes(node, 0.0, 0.0, 1.0, 0.0) == [-0.25, 0.125, -1.0, -0.25]


def test_at_the_threshold_or_above_it() -> None:
    values = LIF | {"r": 4.0}  # .5 * 4 * .5 = 1, the threshold itself
    assert told(make("LIF", **values), 0.5) == [1]
    assert told(make("LIF", dynamics=with_(fires="above"), **values), 0.5) == [0]
    assert told(make("LIF", dynamics=with_(fires="above"), **values), 0.5000001) == [1]


def test_exact_and_exponential_leak() -> None:
    keep = math.exp(-0.5)
    values = LIF | {"v_threshold": 10.0}
    exact = membranes(make("LIF", dynamics=with_(integration="exact"), **values), 1.0, 0.0)
    assert exact == pytest.approx([2 * (1 - keep), 2 * (1 - keep) * keep], rel=1e-6)
    leak = membranes(make("LIF", dynamics=with_(integration="exponential-leak"), **values), 1.0, 0.0)
    assert leak == pytest.approx([2 * 0.5, 2 * 0.5 * keep], rel=1e-6)


def test_if_forgets_nothing() -> None:
    # dt r x: .5 | 1 fires, 0 | .5
    node = make("IF", r=1.0, v_threshold=1.0, v_reset=0.0)
    assert told(node, 1.0, 1.0, 1.0, 0.0, 1.0) == [0, 1, 0, 0, 1]
    assert membranes(node, 1.0, 1.0, 1.0, 0.0, 1.0) == [0.5, 0.0, 0.5, 0.5, 0.0]


def test_a_lif_of_the_longest_time_constant_forgets_nothing() -> None:
    # Its leak of 5e-309 has no inverse; r makes up for it: v + dt x, as an IF.
    values = LIF | {"tau": 1e308, "r": 1e308}
    assert membranes(make("LIF", **values), 1.0, 1.0, 1.0, 0.0, 1.0) == [0.5, 0.0, 0.5, 0.5, 0.0]
    exact = make("LIF", dynamics=with_(integration="exact"), **values)
    assert membranes(exact, 1.0, 1.0, 1.0, 0.0, 1.0) == [0.5, 0.0, 0.5, 0.5, 0.0]


CUBA = {"tau_syn": 1.0, "tau_mem": 2.0, "w_in": 2.0}


def test_cubalif_sees_this_steps_current_or_the_last_ones() -> None:
    # i + .5 (2 x - i): 1 | .5 | .25; v + .25 (2 i - v)
    values = {**CUBA, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.6, "v_reset": 0.0}
    # .5 | .625 fires, 0 | .125
    assert membranes(make("CubaLIF", **values), 1.0, 0.0, 0.0) == [0.5, 0.0, 0.125]
    # 0 | .5 | .625 fires, 0
    assert membranes(make("CubaLIF", dynamics=with_(synapse_delay=1), **values), 1.0, 0.0, 0.0) == [0.0, 0.5, 0.0]


def test_cubali_li_and_i() -> None:
    assert told(make("CubaLI", **CUBA, r=2.0, v_leak=0.0), 1.0, 0.0, 0.0) == [0.5, 0.625, 0.59375]
    assert told(make("CubaLI", dynamics=with_(synapse_delay=1), **CUBA, r=2.0, v_leak=0.0), 1.0, 0.0) == [0.0, 0.5]
    assert told(make("LI", tau=1.0, r=2.0, v_leak=0.5), 0.0, 1.0, 0.0) == [0.5, 1.5, 1.0]
    assert told(make("I", r=2.0), 1.0, 0.0, 3.0) == [1.0, 1.0, 4.0]


def test_threshold_remembers_nothing() -> None:
    node = make("Threshold", threshold=0.5)
    assert told(node, 0.4, 0.5, 0.4, 0.6) == [0, 1, 0, 1]
    assert told(make("Threshold", dynamics=with_(fires="above"), threshold=0.5), 0.5, 0.6) == [0, 1]
    x = torch.full((1, 1, 1), 0.5, requires_grad=True)
    assert torch.autograd.grad(node(x).sum(), x)[0].item() == 1.0  # the surrogate's height, alpha / 2


def test_delays_of_one_length_or_of_several() -> None:
    assert told(make("Delay", delay=1.0), 1.0, 2.0, 3.0) == [0.0, 0.0, 1.0]
    found = make("Delay", (2,), delay=(0.0, 0.5))(torch.tensor([[[1.0, 1.0]], [[2.0, 2.0]]]))
    assert found.tolist() == [[[1.0, 0.0]], [[2.0, 1.0]]]
    assert told(make("Delay", delay=0.0), 1.0, 2.0) == [1.0, 2.0]


def test_scale_pools_and_flatten() -> None:
    scale = make("Scale", (2,))
    with torch.no_grad():
        scale.scale.copy_(torch.tensor([2.0, 3.0]))
    assert scale(torch.ones(1, 1, 2)).tolist() == [[[2.0, 3.0]]]
    x = torch.arange(4.0).view(1, 1, 1, 2, 2)
    window = {"kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0]}
    assert make("SumPool2d", None, **window)(x).tolist() == [[[[[6.0]]]]]
    assert make("AvgPool2d", None, **window)(x).tolist() == [[[[[1.5]]]]]
    assert make("Flatten", None, start_dim=0, end_dim=-1)(x).shape == (1, 1, 4)
    assert make("Flatten", None, start_dim=-2, end_dim=-1)(x).shape == (1, 1, 1, 4)


def test_convolutions_are_torchs() -> None:
    options = {"stride": [2], "padding": [1], "dilation": [1], "groups": 2}
    node: Any = make("Conv1d", (4, 1, 3), **options)
    x = torch.randn(3, 2, 2, 7)
    expected = torch.nn.functional.conv1d(x.flatten(0, 1), node.of.weight, node.of.bias, 2, 1, 1, 2)
    assert torch.equal(node(x).flatten(0, 1), expected)
    same: Any = make("Conv2d", (3, 2, 3, 3), stride=[1, 1], padding="same", dilation=[1, 1], groups=1)
    assert same(torch.randn(2, 1, 2, 5, 4)).shape == (2, 1, 3, 5, 4)


MANY = {
    "LIF": {
        "tau": (1.0, 2.0, 1.0),
        "r": 1.0,
        "v_leak": 0.1,
        "v_threshold": (0.5, 0.6, 0.7),
        "v_reset": (0.0, 0.0, 0.2),
    },
    "CubaLIF": {**CUBA, "r": 1.5, "v_leak": 0.0, "v_threshold": 0.6, "v_reset": 0.0},
    "IF": {"r": (1.0, 2.0, 3.0), "v_threshold": 1.0, "v_reset": 0.0},
    "LI": {"tau": (1.0, 2.0, 3.0), "r": 1.0, "v_leak": 0.3},
    "CubaLI": {**CUBA, "r": 1.5, "v_leak": 0.2},
    "I": {"r": 1.0},
    "Delay": {"delay": (0.0, 1.0, 0.5)},
    "Threshold": {"threshold": 0.4},
}


@given(
    kind=st.sampled_from(sorted(MANY)),
    reset=st.sampled_from(["value", "subtract"]),
    integration=st.sampled_from(["euler", "exact", "exponential-leak"]),
    late=st.sampled_from([0, 1]),
    cut=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=80)
def test_steps_in_pieces_are_those_of_the_whole(
    kind: str, reset: Any, integration: Any, late: int, cut: int, seed: int
) -> None:
    dynamics = with_(reset=reset, integration=integration, synapse_delay=late)
    node = make(kind, (3,), dynamics, **MANY[kind])
    x = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(seed)) * 2
    whole = node(x)
    first, state = node.run(x[:cut], ())
    rest, _ = node.run(x[cut:], state)
    assert torch.equal(torch.cat((first, rest)), whole)


def test_neurons_of_several_kinds_are_each_its_own() -> None:
    node = make("LIF", (3,), **MANY["LIF"])
    x = torch.rand(20, 2, 3) * 2
    alone = []
    for place in range(3):
        values = {key: value[place] if isinstance(value, tuple) else value for key, value in MANY["LIF"].items()}
        alone.append(make("LIF", (1,), **values)(x[..., place : place + 1]))
    spikes = node(x)
    assert torch.equal(spikes, torch.cat(alone, -1))
    assert 0 < spikes.mean() < 1


def test_in_float64_and_with_gradients() -> None:
    node = make("LIF", (3,), **MANY["LIF"])
    x = torch.rand(6, 2, 3, dtype=torch.float64, requires_grad=True)
    spikes: Tensor = node(x)
    assert spikes.dtype is torch.float64
    (g,) = torch.autograd.grad(spikes.sum(), x)
    assert (g != 0).any()


@pytest.mark.parametrize("kind", ["LIF", "CubaLIF"])
@pytest.mark.parametrize("integration", ["euler", "exact", "exponential-leak"])
def test_many_different_constants_are_one_layer_that_runs_once(kind: str, integration: Any) -> None:
    scans: list[str] = []

    class Counted(TorchNeuron):
        def scan(self, *args: Any, **options: Any) -> Any:
            scans.append(self.spec.kind)
            return super().scan(*args, **options)

    taus = tuple(1.0 + place / 200 for place in range(200))
    values = (LIF | {"tau": taus}) if kind == "LIF" else {**LIF, **CUBA, "tau_mem": taus, "tau_syn": taus}
    if kind == "CubaLIF":
        del values["tau"]
    node = Node.model_validate({"name": "n", "kind": kind, "shape": [200], "values": values})
    module = make_node(node, with_(integration=integration), Counted, "atan", 2.0)
    x = 3 * torch.rand(20, 4, 200)
    fired = module(x)
    assert sorted(scans) == (["lif"] if kind == "LIF" else ["li", "lif"])
    for place in (0, 99, 199):  # each as a layer of one neuron with its constant
        own = {name: value[place] if isinstance(value, tuple) else value for name, value in values.items()}
        alone = make(kind, dynamics=with_(integration=integration), **own)
        assert torch.equal(fired[..., place], alone(x[..., place : place + 1])[..., 0])
    assert fired.sum() > 0
