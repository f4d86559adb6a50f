from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
import torch
from neurozoo_snntorch.neuron import SnnTorchNeuron
from snntorch import Leaky, SpikingNeuron

from neurozoo.backends.agreement import agreement
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.registry.registry import default_registry


def test_it_is_registered_and_says_that_it_rounds() -> None:
    component = default_registry().get("neuron", "snntorch")
    assert not component.exact
    assert component.requires == ("snntorch",)
    assert component.install == "pip install neurozoo-snntorch"
    assert "Leaky" in SnnTorchNeuron.runs


def test_listing_it_imports_no_library() -> None:
    code = "import sys, neurozoo_snntorch; sys.exit('torch' in sys.modules or 'snntorch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_librarys_list_of_neurons_does_not_grow() -> None:
    theirs = Leaky(beta=0.5)
    before = list(SpikingNeuron.instances)
    neuron = SnnTorchNeuron(LIFSpec())
    neuron.scan(torch.ones(5, 2, 3))
    neuron.step(torch.ones(2, 3), (torch.zeros(2, 3),), 1.0)
    assert SpikingNeuron.instances == before
    assert theirs in SpikingNeuron.instances


def test_no_leaky_outlives_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Leaky]] = []
    forward = Leaky.forward
    monkeypatch.setattr(Leaky, "forward", lambda leaky, *args: made.append(weakref.ref(leaky)) or forward(leaky, *args))
    neuron = SnnTorchNeuron(LIFSpec())
    neuron.scan(torch.ones(3, 2, 4, requires_grad=True), None, torch.tensor(0.9, requires_grad=True))
    gc.collect()
    assert len(made) == 3
    assert all(leaky() is None for leaky in made)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_it_differs_it_is_within_rounding_of_the_threshold(dtype: torch.dtype) -> None:
    grid = torch.randint(-20, 40, (6, 64, 64), generator=torch.Generator().manual_seed(0)).to(dtype) / 10
    spec = LIFSpec(tau=3.0)
    result = agreement(SnnTorchNeuron(spec), TorchNeuron(spec), grid, 0.5)
    assert result.beyond == 0
    assert result.mismatches < result.spikes * 0.01
