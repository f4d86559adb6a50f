"""SpikingJelly's own reader of NIR: what it gives by hand, and what it has no way to be told."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
import torch
from neurozoo_spikingjelly.nir_reader import SpikingJellyReader

from neurozoo.registry.registry import default_registry

DT = 1e-3


def lif(**changes: float) -> nir.NIRGraph:
    given = {"tau": 2 * DT, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.999, "v_reset": 0.0} | changes
    return nir.NIRGraph.from_list(nir.LIF(**{name: np.array([value]) for name, value in given.items()}))


def spikes(graph: nir.NIRGraph, *currents: float, reset: Any = "value", dt: float = DT) -> list[float]:
    x = torch.tensor(currents)[:, None, None]
    read = SpikingJellyReader().read(graph, dt=dt, reset=reset)
    once, again = read.run(x), read.run(x)
    assert torch.equal(once, again), "each call begins at rest"
    return once.flatten().tolist()


def test_its_backend_hands_it_out() -> None:
    assert isinstance(default_registry().resolve("neuron", "spikingjelly").nir_reader(), SpikingJellyReader)
    assert SpikingJellyReader.requires == ("spikingjelly", "nir", "nirtorch")


def test_the_spikes_by_hand() -> None:
    # h: 0.75, 1.125 (fires), 0.75, 1.0 (fires), 2.0 (fires)
    assert spikes(lif(), 1.5, 1.5, 1.5, 1.25, 4.0) == [0, 1, 0, 1, 1]
    assert spikes(lif(tau=2e-4), 1.5, 1.5, dt=1e-4) == [0, 1]


def test_it_takes_a_resistance_of_tau_and_another_reset_value() -> None:
    assert spikes(lif(r=2.0), 0.75, 0.75) == [0, 1]  # h: 0.75, 1.125
    assert spikes(lif(v_leak=-1.0, v_reset=-1.0), 3.0, 3.0, 6.0) == [0, 1, 1]  # h: 0.5, 1.25, 2
    assert SpikingJellyReader().read(lif(r=2.0), dt=DT, reset="value").notes == ()


def test_it_cannot_be_told_to_subtract() -> None:
    # h = 2 fires; by subtraction 1.001 is left, and 0.5005 + 0.5 would fire again.
    assert spikes(lif(), 4.0, 1.0, reset="subtract") == [1, 0]
    (note,) = SpikingJellyReader().read(lif(), dt=DT, reset="subtract").notes
    assert note.startswith("SpikingJelly resets every LIF node to v_reset")


def test_it_refuses_what_it_has_no_neuron_for() -> None:
    with pytest.raises(ValueError, match="v_leak must equal v_reset"):
        SpikingJellyReader().read(lif(v_leak=-1.0), dt=DT, reset="value")
