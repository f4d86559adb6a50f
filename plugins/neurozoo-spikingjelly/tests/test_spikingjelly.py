from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from neurozoo_spikingjelly.neuron import SpikingJellyNeuron
from spikingjelly.activation_based import surrogate
from spikingjelly.activation_based.neuron import LIFNode

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.registry.registry import default_registry


def test_it_is_registered_and_says_what_it_is() -> None:
    component = default_registry().get("neuron", "spikingjelly")
    assert component.exact
    assert component.requires == ("spikingjelly",)
    assert component.install == "pip install neurozoo-spikingjelly"
    assert "LIFNode" in SpikingJellyNeuron.runs


def test_listing_it_imports_no_library() -> None:
    code = "import sys, neurozoo_spikingjelly; sys.exit('torch' in sys.modules or 'spikingjelly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_and_running_it_says_nothing() -> None:
    code = (
        "import torch\n"
        "from neurozoo.core.kinds import LIFSpec\n"
        "from neurozoo_spikingjelly.neuron import SpikingJellyNeuron\n"
        "SpikingJellyNeuron(LIFSpec()).scan(torch.ones(3, 2, 4))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize(
    ("threshold", "stock"), [(0.7, True), (torch.tensor(0.7), False), (torch.full((1, 4, 1), 0.7), False)]
)
def test_stock_parts_for_a_float_threshold_the_reference_path_for_a_tensor(
    threshold: torch.Tensor | float, stock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = []
    run = LIFNode.multi_step_functional_forward
    monkeypatch.setattr(
        LIFNode, "multi_step_functional_forward", lambda node, *args: nodes.append(node) or run(node, *args)
    )
    SpikingJellyNeuron(LIFSpec()).scan(torch.ones(5, 4, 3), None, threshold)
    (node,) = nodes
    assert type(node) is LIFNode
    assert (type(node.surrogate_function) is surrogate.ATan) == stock
    assert isinstance(node.surrogate_function, surrogate.ATan)


def test_long_runs_give_the_oracles_gradient_to_the_last_bit() -> None:
    currents = torch.randn(50, 4, 8, generator=torch.Generator().manual_seed(0)) * 2
    gradients = []
    for neuron in (TorchNeuron(LIFSpec()), SpikingJellyNeuron(LIFSpec())):
        x = currents.clone().requires_grad_()
        neuron.scan(x, None, 0.9)[0].sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)
