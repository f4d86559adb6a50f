"""snnTorch's own reader of NIR: what it gives by hand, and each of its faults in the fewest lines.

A test of a fault fails where snnTorch mends it; then the note in the reader goes.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
import torch
from neurozoo_snntorch.nir_reader import SnnTorchReader
from snntorch import SpikingNeuron
from snntorch.import_nir import import_from_nir

from neurozoo.registry import default_registry

DT = 1e-4


def lif(**changes: float) -> nir.NIRGraph:
    given = {"tau": 2 * DT, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.999, "v_reset": 0.0} | changes
    return nir.NIRGraph.from_list(nir.LIF(**{name: np.array([value]) for name, value in given.items()}))


def spikes(graph: nir.NIRGraph, *currents: float, reset: Any = "value", dt: float = DT) -> list[float]:
    x = torch.tensor(currents)[:, None, None]
    read = SnnTorchReader().read(graph, dt=dt, reset=reset)
    once, again = read.run(x), read.run(x)
    assert torch.equal(once, again), "each call begins at rest"
    return once.flatten().tolist()


def by_itself(graph: nir.NIRGraph, *currents: float) -> list[float]:
    module = import_from_nir(graph)
    return [float(module(torch.tensor([[current]]))[0]) for current in currents]


def test_it_is_registered() -> None:
    component = default_registry().get("nir-reader", "snntorch")
    assert component.requires == ("snntorch", "nir", "nirtorch")
    assert component.install == "pip install 'neurozoo-snntorch[nir]'"
    assert default_registry().resolve("nir-reader", "snntorch") is SnnTorchReader


@pytest.mark.parametrize("dt", [1e-4, 1e-3, 0.01])
def test_the_spikes_by_hand_at_any_step(dt: float) -> None:
    # h: 0.75, 1.125 (fires), 0.75, 1.0 (fires), 2.0 (fires)
    assert spikes(lif(tau=2 * dt), 1.5, 1.5, 1.5, 1.25, 4.0, dt=dt) == [0, 1, 0, 1, 1]


def test_it_says_nothing_on_the_output_and_keeps_no_neuron(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(SpikingNeuron.instances)
    assert SnnTorchReader().read(lif(), dt=DT, reset="value").notes == ()
    assert SpikingNeuron.instances == before
    assert capsys.readouterr().out == ""


def test_it_takes_every_step_for_a_ten_thousandth_of_a_second() -> None:
    # At dt = 1 ms this neuron fires at once, as h = 2; it is read as one with tau = 20 steps.
    assert by_itself(lif(tau=2e-3), 4.0) == [0]
    (note,) = SnnTorchReader().read(lif(tau=2e-3), dt=1e-3, reset="value").notes
    assert note.startswith("snnTorch takes dt for 0.0001 s, without an option")
    assert note.endswith("so it was told 0.1 times the file's time constants")


def test_it_resets_to_zero_whatever_is_asked_for() -> None:
    # h = 2 fires; by subtraction 1.001 is left, and 0.5005 + 0.5 would fire again.
    assert by_itself(lif(), 4.0, 1.0) == [1, 0]
    (note,) = SnnTorchReader().read(lif(), dt=DT, reset="subtract").notes
    assert note.startswith("snnTorch resets every LIF node to zero")


def test_it_takes_v_reset_for_zero() -> None:
    # From 0 the second step ends at 1.0 and fires, from -1 it ends at 0.5.
    assert by_itself(lif(v_reset=-1.0), 4.0, 2.0) == [1, 1]
    (note,) = SnnTorchReader().read(lif(v_reset=-1.0), dt=DT, reset="value").notes
    assert note.startswith("snnTorch takes v_reset for 0")


def test_it_refuses_another_leak() -> None:
    with pytest.raises(AssertionError, match="v_leak not supported"):
        SnnTorchReader().read(lif(v_leak=-1.0), dt=DT, reset="value")
