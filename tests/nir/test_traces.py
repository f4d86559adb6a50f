"""One LIF neuron as eleven platforms ran it, and the settings that make it so (the traces of the NIR paper)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.nir.import_graph import NEUTRAL
from neurozoo.nir.nodes import make_node
from neurozoo.nir.reading import read_nir
from neurozoo.nir.settings import PLATFORMS, Dynamics
from neurozoo.registry.registry import default_registry

DT = 1e-4

# Platform: the settings that it had, what its voltages are multiples of, and how far they may be off.
TRACES: Mapping[str, tuple[Mapping[str, Any], float, float]] = {
    "norse": (PLATFORMS["norse"], 1.0, 5e-8),
    "nengo": (PLATFORMS["nengo"], 10.0, 5e-8),
    "sinabs": (PLATFORMS["sinabs"], 1.0, 5e-8),
    "rockpool": (PLATFORMS["rockpool"], 1.0, 5e-8),
    "snntorch": (PLATFORMS["snntorch"], 25.0, 1e-7),
    "lava_cpu_float": (PLATFORMS["lava"], 1.0, 1e-7),
    "spinnaker2": (PLATFORMS["norse"], 24.995, 1e-6),
    # In whole numbers, so that voltages are off by a percent or more of the threshold.
    "lava_cpu_fixed": (PLATFORMS["lava"], 16000.0, 2e-3),
    "lava_loihi_fixed": (PLATFORMS["lava"], 16000.0, 9e-3),
}
# What none of the settings makes, though the spikes are those of one: here a reset a step after the spike (and not
# of the voltage that is recorded), and there one inside of a step.
SPIKES_ALONE = {"spyx": PLATFORMS["lava"], "exact": PLATFORMS["nengo"]}


@pytest.fixture
def folder() -> Path:
    found = os.environ.get("NEUROZOO_TEST_DATA")
    if not found:
        pytest.skip("NEUROZOO_TEST_DATA is not set: the traces of the NIR paper")
    return Path(found) / "nir"


def told(folder: Path, platform: str) -> np.ndarray:
    """Input, voltage and spike, a row a step."""
    return np.loadtxt(folder / f"lif_{platform}.csv", delimiter=",")


def run(folder: Path, settings: Mapping[str, Any], backend: str = "torch") -> tuple[np.ndarray, np.ndarray]:
    """Voltages after each step's reset, and spikes."""
    dynamics = Dynamics(**{"dt": DT, **NEUTRAL, **settings})
    neuron = default_registry().resolve("neuron", backend)
    node = make_node(read_nir(folder / "lif.nir").graph.by_name["1"], dynamics, neuron, "atan", 2.0)
    x = torch.tensor(told(folder, "norse")[:, 0], dtype=torch.float32).view(-1, 1, 1)
    if dynamics.forward_delay:
        x = torch.cat((torch.zeros_like(x[:1]), x[:-1]))
    state, voltages, spikes = (), [], []
    for step in x:
        fired, state = node.run(step[None], state)
        voltages.append(state[0].item())
        spikes.append(fired.item())
    return np.array(voltages), np.array(spikes)


@pytest.mark.parametrize("backend", default_registry().usable_backends())
def test_norses_trace_on_every_backend(folder: Path, backend: str) -> None:
    _, voltages, spikes = told(folder, "norse").T
    found, fired = run(folder, PLATFORMS["norse"], backend)
    assert np.flatnonzero(fired).tolist() == np.flatnonzero(spikes).tolist() == [460, 510, 710, 760]
    np.testing.assert_allclose(found, voltages, rtol=0, atol=5e-8)


@pytest.mark.parametrize("platform", TRACES)
def test_each_platforms_trace_by_its_settings(folder: Path, platform: str) -> None:
    settings, scale, tolerance = TRACES[platform]
    _, voltages, spikes = told(folder, platform).T
    found, fired = run(folder, settings)
    assert np.flatnonzero(fired).tolist() == np.flatnonzero(spikes).tolist()
    np.testing.assert_allclose(voltages / scale, found, rtol=0, atol=tolerance)


@pytest.mark.parametrize("platform", SPIKES_ALONE)
def test_where_no_setting_makes_the_voltages(folder: Path, platform: str) -> None:
    _, voltages, spikes = told(folder, platform).T
    found, fired = run(folder, SPIKES_ALONE[platform])
    assert np.flatnonzero(fired).tolist() == np.flatnonzero(spikes).tolist()
    assert np.abs(found - voltages).max() > 1e-3
