from __future__ import annotations

import subprocess
import sys

import torch
from neurozoo_norse.neuron import NorseNeuron
from norse.torch.module.snn import SNNCell

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.registry.registry import default_registry


def test_it_is_registered_and_says_what_it_is() -> None:
    component = default_registry().get("neuron", "norse")
    assert component.exact
    assert component.requires == ("norse",)
    assert component.install == "pip install neurozoo-norse"
    assert "SNNCell" in NorseNeuron.runs


def test_listing_it_imports_no_library() -> None:
    code = "import sys, neurozoo_norse; sys.exit('torch' in sys.modules or 'norse' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_it_warns_of_nothing() -> None:
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", "import neurozoo_norse.neuron"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_step_goes_through_norses_cell(monkeypatch) -> None:
    calls = []
    forward = SNNCell.forward
    monkeypatch.setattr(SNNCell, "forward", lambda *args: calls.append(args) or forward(*args))
    NorseNeuron(LIFSpec()).scan(torch.ones(5, 2, 3))
    assert len(calls) == 5


def test_hard_resets_give_the_oracles_gradient_to_the_last_bit() -> None:
    currents = torch.randn(50, 4, 8, generator=torch.Generator().manual_seed(0)) * 2
    for v_reset in (0.0, 0.2):
        gradients = []
        for neuron in (TorchNeuron(LIFSpec(v_reset=v_reset)), NorseNeuron(LIFSpec(v_reset=v_reset))):
            x = currents.clone().requires_grad_()
            neuron.scan(x, None, 0.9)[0].sum().backward()
            gradients.append(x.grad)
        assert torch.equal(*gradients)
