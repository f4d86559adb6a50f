"""Norse's own reader of NIR: what it gives by hand, and each of its faults in the fewest lines.

A test of a fault fails where Norse mends it; then the note in the reader goes.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
import torch
from neurozoo_norse.nir_reader import NorseReader
from norse.torch.functional.reset import reset_subtract
from norse.torch.utils.import_nir import from_nir

from neurozoo.registry.registry import default_registry

DT = 1e-3


def lif(**changes: float) -> nir.NIRGraph:
    given = {"tau": 2 * DT, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.999, "v_reset": 0.0} | changes
    return nir.NIRGraph.from_list(nir.LIF(**{name: np.array([value]) for name, value in given.items()}))


def spikes(graph: nir.NIRGraph, *currents: float, reset: Any = "value", dt: float = DT) -> list[float]:
    x = torch.tensor(currents)[:, None, None]
    read = NorseReader().read(graph, dt=dt, reset=reset)
    once, again = read.run(x), read.run(x)
    assert torch.equal(once, again), "each call begins at rest"
    return once.flatten().tolist()


def membrane_after(graph: nir.NIRGraph, current: float, **options: Any) -> float:
    with pytest.warns(DeprecationWarning, match=r"nirtorch\.load"):
        module = from_nir(graph, dt=DT, ignore_warnings=True, **options)
    _, state = module(torch.tensor([[current]]))
    (cell,) = state.state["lif"]
    return float(cell.v.detach())


def test_its_backend_hands_it_out() -> None:
    assert isinstance(default_registry().resolve("neuron", "norse").nir_reader(), NorseReader)
    assert NorseReader.requires == ("norse", "nir")


def test_the_spikes_by_hand() -> None:
    # h: 0.75, 1.125 (fires), 0.75, 1.0 (fires), 2.0 (fires)
    assert spikes(lif(), 1.5, 1.5, 1.5, 1.25, 4.0) == [0, 1, 0, 1, 1]
    assert spikes(lif(tau=2e-4), 1.5, 1.5, dt=1e-4) == [0, 1]


def test_a_graph_that_it_takes_whole_has_no_note() -> None:
    assert NorseReader().read(lif(), dt=DT, reset="value").notes == ()


def test_its_option_reset_method_does_not_reach_a_lif_node() -> None:
    assert membrane_after(lif(v_threshold=1.0), 4.0, reset_method=reset_subtract) == 0.0  # and not 2 - 1
    (note,) = NorseReader().read(lif(), dt=DT, reset="subtract").notes
    assert note.startswith("Norse does not hand its option reset_method on to LIF nodes")


def test_it_takes_r_for_one() -> None:
    assert membrane_after(lif(r=10.0), 1.0) == 0.5  # and not 5, reset to 0
    (note,) = NorseReader().read(lif(r=10.0), dt=DT, reset="value").notes
    assert note.startswith("Norse takes r for 1")


def test_it_takes_v_reset_for_zero() -> None:
    assert membrane_after(lif(v_reset=-0.5), 4.0) == 0.0  # and not -0.5
    (note,) = NorseReader().read(lif(v_reset=-0.5), dt=DT, reset="value").notes
    assert note.startswith("Norse takes v_reset for 0")
