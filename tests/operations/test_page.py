"""The numbers of docs/profile.md are still those of the model that comes with neurozoo."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neurozoo.cli import main
from neurozoo.operations.energy import energy_of
from neurozoo.operations.profiling import profile_run

PAGE = Path(__file__).parents[2] / "docs" / "profile.md"
DATA = os.environ.get("NEUROZOO_TEST_DATA")


def totals() -> list[list[float]]:
    """The rows called total, as numbers."""
    rows = [line.split()[1:] for line in PAGE.read_text("utf-8").splitlines() if line.startswith("  total ")]
    return [[float(cell.replace(",", "")) for cell in row if cell != "-"] for row in rows]


@pytest.mark.skipif(DATA is None, reason="NEUROZOO_TEST_DATA names no folder of real data")
def test_the_page_says_what_the_command_says(tmp_path: Path) -> None:
    store = tmp_path / "emotions"
    assert main(["data", "import", "mulan", str(Path(DATA or "") / "emotions"), str(store)]) == 0
    found = profile_run("emotions-corrected", data_root=str(store))
    network, control = found.network, found.control
    assert control is not None
    counts, attention, energy = totals()
    means = [n / found.of for n in (network.dense, network.macs, network.acs, network.updates)]
    # Another machine may round a current across the threshold.
    assert [*means, network.parameters, network.bytes] == pytest.approx(counts, rel=1e-3)
    assert [network.attention / found.of] * 2 == pytest.approx(attention, rel=1e-3)
    mine, its = energy_of(network), energy_of(control)
    pairs = [(mine.operations, its.operations), (mine.memory, its.memory)]
    expected = [number for a, b in pairs for number in (a / 1000, b / 1000, a / b)]
    assert expected == pytest.approx(energy, rel=6e-3)
