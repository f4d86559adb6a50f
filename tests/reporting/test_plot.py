"""Pictures of a record: what is drawn on the axes that matplotlib's users get."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn

import neurozoo as nz
from neurozoo.errors import UserError
from neurozoo.nn.record import Record


@pytest.fixture
def plt() -> Iterator[Any]:
    mpl.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def seen() -> Record:
    torch.manual_seed(0)
    net = nn.Sequential(nz.LIF(nn.Linear(3, 6), threshold=0.2), nz.ALIF(nn.Linear(6, 4), threshold=0.2), nz.LI())
    with nz.record(net, "spikes", "membrane", "threshold") as record:
        net(3 * torch.rand(9, 2, 3))
    assert record["0"].rate > 0
    assert record["1"].rate > 0
    return record


def test_a_raster_has_a_mark_for_each_spike_of_the_sample(seen: Record, plt: Any) -> None:
    assert isinstance(nz.plot, ModuleType)
    figure, ax = plt.subplots()
    assert nz.plot.raster(seen, layer="0", sample=1, ax=ax) is ax
    (marks,) = ax.collections
    steps, neurons = seen.spikes["0"][:, 1].nonzero(as_tuple=True)
    assert {*map(tuple, marks.get_offsets().tolist())} == {*zip(steps.tolist(), neurons.tolist(), strict=True)}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "neuron")
    # All layers above one another, in new axes.
    both = nz.plot.raster(seen)
    assert both.figure is not figure
    assert [each.get_text() for each in both.get_yticklabels()] == ["0", "1"]
    assert both.get_ylim() == (-0.5, 9.5)
    # Spikes alone.
    plain = nz.plot.raster(seen.spikes["0"])
    assert len(plain.collections[0].get_offsets()) == int(seen.spikes["0"][:, 0].sum())


def test_membranes_with_threshold_and_spikes(seen: Record, plt: Any) -> None:
    ax = nz.plot.membrane(seen, neurons=[2, 5], sample=1)
    curve = next(line for line in ax.lines if line.get_label() == "neuron 5")
    np.testing.assert_allclose(curve.get_ydata(), seen.membrane["0"][:, 1, 5].numpy(), rtol=1e-6)
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata().tolist() for line in dashed] == [pytest.approx([0.2] * 9)]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in dots) == int(seen.spikes["0"][:, 1, [2, 5]].sum())
    assert ax.get_title() == "0: lif"
    assert nz.plot.membrane(seen, layer="1").get_ylabel() == "membrane / threshold"
    readout = nz.plot.membrane(seen, layer="2")
    assert [line.get_label() for line in readout.lines] == ["neuron 0", "neuron 1", "neuron 2"]


def test_rates_over_time(seen: Record, plt: Any) -> None:
    ax = nz.plot.rates(seen)
    assert [line.get_label() for line in ax.lines] == ["0", "1"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), seen.spikes["0"].detach().flatten(1).mean(1))


def test_rates_count_valid_steps_alone(plt: Any) -> None:
    layer = nz.IF()
    x = torch.ones(3, 2, 4)
    x[:, 1] = 0
    valid = torch.tensor([[True, True], [True, False], [False, False]])
    with nz.record(layer, "spikes") as seen:
        layer(x, valid=valid)
    assert nz.plot.rates(seen).lines[0].get_ydata().tolist() == [0.5, 1.0, 0.0]


def test_words_for_what_cannot_be_drawn(seen: Record) -> None:
    with pytest.raises(UserError, match=r"no such numbers of a layer '7'; it has those of: 0, 1"):
        nz.plot.raster(seen, layer="7")
    with pytest.raises(UserError, match=r"no sample 2: 0 is \[9, 2, 6\]"):
        nz.plot.raster(seen, sample=2)
    with pytest.raises(UserError, match=r"no neuron 6; the layer has 6"):
        nz.plot.membrane(seen, neurons=[6])
    with pytest.raises(UserError, match=r"the record is empty"):
        nz.plot.rates(Record(("spikes",)))
