"""Exports read back by libraries' own readers: no spike differs, or the note says whose fault it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.errors import UnknownNameError
from neurozoo.nir.export import export_run, read_back
from neurozoo.nir.export.read_back import Row
from neurozoo.registry.registry import Registry, default_registry

LIBRARIES = ("norse", "snntorch", "spikingjelly")
LIF = "model.parts.activation={{name: lif, params: {{{}}}}}"


def rows_of(
    source: str | Path, out: Path, names: tuple[str, ...], registry: Registry | None = None, **options: object
) -> tuple[Row, ...]:
    export = export_run(source, out, **({"dt": 1e-3} | options))  # type: ignore[arg-type]
    return read_back(export, names, registry=registry or default_registry()).rows


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize(("dt", "threshold"), [(1e-3, None), (1e-4, 0.8), (0.01, 0.3)])
def test_three_libraries_read_the_packed_models_spikes(
    tmp_path: Path, dt: float, threshold: float | None, fold: bool
) -> None:
    rows = rows_of("emotions-corrected", tmp_path / "out", LIBRARIES, dt=dt, threshold=threshold, fold=fold)
    assert [(row.library, row.branch) for row in rows] == [(a, b) for a in LIBRARIES for b in ("timbre", "rhythm")]
    for row in rows:
        assert (row.mismatches, row.first) == (0, None), row
        assert row.rounding <= 2
        assert row.spikes == 12640
        assert 0.2 < row.fired / row.spikes < 0.8


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [LIF.format("tau: 3.7, decay_input: false")],
        [LIF.format("v_reset: -0.4")],
        [LIF.format("v_reset: null")],
        [LIF.format("v_reset: -0.4, apply: gain"), "model.parts.threshold={name: constant, params: {value: 0.5}}"],
        ["model.params.time_steps=60"],
    ],
)
@pytest.mark.parametrize("fold", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_formats_own_equations_give_the_models_spikes(
    tmp_path: Path, run: Callable[..., Path], readers: Registry, overrides: list[str], fold: bool
) -> None:
    rows = rows_of(run(*overrides), tmp_path / "out", ("euler",), readers, fold=fold)
    assert [row.branch for row in rows] == ["audio", "vision"]
    for row in rows:
        assert row.mismatches == 0, row
        assert row.fired > 100
        assert row.rounding < row.spikes / 1000


@pytest.mark.parametrize("fold", [False, True])
def test_a_sequence_model_too(tmp_path: Path, sequence_run: Path, readers: Registry, fold: bool) -> None:
    for row in rows_of(sequence_run, tmp_path / "out", (*LIBRARIES, "euler"), readers, fold=fold):
        assert row.mismatches == 0, row
        assert row.fired > 50


def test_what_norse_ignores_is_named_and_folding_mends_one(tmp_path: Path, run: Callable[..., Path]) -> None:
    folder = run(LIF.format("decay_input: false"))
    (row, _) = rows_of(folder, tmp_path / "plain", ("norse",))
    assert row.mismatches
    assert row.notes == (
        "Norse takes r for 1 in LIF nodes (norse/torch/utils/import_nir.py, _import_norse_module); --fold puts it into "
        "the weights",
    )
    (row, _) = rows_of(folder, tmp_path / "folded", ("norse",), fold=True)
    assert (row.mismatches, row.notes) == (0, ())


def test_a_soft_reset_is_beyond_them_all_and_each_says_so(tmp_path: Path, run: Callable[..., Path]) -> None:
    rows = rows_of(run(LIF.format("v_reset: null")), tmp_path / "out", LIBRARIES)
    for row in rows:
        assert row.mismatches
        assert any("reset" in note for note in row.notes), row.notes


def test_another_program_is_found_out(tmp_path: Path, readers: Registry) -> None:
    (row, _) = rows_of("emotions-corrected", tmp_path / "out", ("silent",), readers)
    assert row.mismatches == row.fired > 0
    assert row.first == (1, 1)
    assert row.notes == ("it never fires",)


def test_a_reader_that_refuses_is_told_of_and_stops_no_other(tmp_path: Path, readers: Registry) -> None:
    rows = rows_of("emotions-corrected", tmp_path / "out", ("raises", "euler"), readers)
    assert [row.mismatches for row in rows] == [None, None, 0, 0]
    assert rows[0].notes == ("refused: ValueError: this graph is not to my taste",)


def test_a_silent_model_proves_little(tmp_path: Path, readers: Registry) -> None:
    (row, _) = rows_of("emotions-corrected", tmp_path / "out", ("euler",), readers, threshold=1e6)
    assert (row.fired, row.mismatches) == (0, 0)
    assert row.notes == ("no neuron fired, which proves little",)


def test_the_runs_own_samples_are_taken_where_they_are(tmp_path: Path, run: Callable[..., Path]) -> None:
    export = export_run(run(), tmp_path / "out", dt=1e-3)
    found = read_back(export, ["norse"], registry=default_registry())
    assert (found.samples, found.made_up) == ("10 samples of valid, made up by the tests", False)
    assert found.same


def test_samples_are_made_up_where_the_data_cannot_be_used_and_it_says_why(
    tmp_path: Path, run: Callable[..., Path], store: Path
) -> None:
    export = export_run(run(), tmp_path / "out", dt=1e-3)
    shutil.rmtree(store)
    found = read_back(export, ["norse"], registry=default_registry())
    assert found.made_up
    assert found.samples.startswith("16 made-up samples, as the data ")
    assert str(store) in found.samples or "is not here" in found.samples
    assert found.same


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    export = export_run("emotions-corrected", tmp_path / "out", dt=1e-3)
    with pytest.raises(UnknownNameError, match=r"no backend is called 'nrose'.*did you mean 'norse'"):
        read_back(export, ["nrose"], registry=default_registry())
