"""Whatever a .nir file holds where something else belongs: read, or refused by a named error."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurozoo.errors import DataError
from neurozoo.nir.import_graph import NEUTRAL, nir_recipe
from neurozoo.nir.reading import NIRFile, read_nir
from neurozoo.nir.settings import Dynamics


def whole() -> nir.NIRGraph:
    """A graph of every form of field, with another one in it."""
    ones = np.ones(2)
    lif = nir.LIF(tau=ones, r=ones, v_leak=ones, v_threshold=ones, v_reset=ones)
    inner = nir.NIRGraph(
        {"in": nir.Input({"input": np.array([2])}), "lif": lif, "out": nir.Output({"output": np.array([2])})},
        [("in", "lif"), ("lif", "out")],
    )
    conv = nir.Conv2d((4, 4), np.ones((2, 1, 3, 3), np.float32), 1, "same", 1, 1, np.zeros(2, np.float32))
    pool = nir.SumPool2d(np.array([4, 4]), np.array([4, 4]), np.array([0, 0]))
    nodes = {
        "in": nir.Input({"input": np.array([1, 4, 4])}),
        "conv": conv,
        "pool": pool,
        "flat": nir.Flatten({"input": np.array([2, 1, 1])}, 0, -1),
        "rnn": inner,
        "late": nir.Delay(np.zeros(2)),
        "fc": nir.Affine(np.ones((2, 2), np.float32), np.zeros(2, np.float32)),
        "out": nir.Output({"output": np.array([2])}),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)), {"dt": 1e-3, "said": "so"}, type_check=False)


def tree_of(group: Any) -> dict[str, Any]:
    """What the limited process makes of an HDF5 file."""
    found = {}
    for name, each in group.items():
        value = tree_of(each) if isinstance(each, h5py.Group) else each[()]
        found[name] = value.decode() if isinstance(value, bytes) else value
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("nir") / "whole.nir"
    nir.write(path, whole())
    with h5py.File(path) as file:
        return tree_of(file)


def places(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, each in tree.items():
        yield (*path, name)
        if isinstance(each, dict):
            yield from places(each, (*path, name))


ODD = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.sampled_from(["Conv1d", "NIRGraph", "Input", "LIF", "ALIF", "\ud800", "\x1b[31m", "same"]),
    st.sampled_from([{}, {"type": "LIF"}, {"type": "NIRGraph", "nodes": {}, "edges": np.zeros((0, 2), object)}]),
    st.sampled_from([np.nan, np.inf, -1.0, 0.0, 1.5, 1e300, 2.0**62, -(2.0**70)]).map(np.asarray),
    st.lists(st.integers(-2, 2**62), max_size=5).map(np.asarray),
    st.sampled_from([(0,), (1,), (3,), (2, 2), (1, 1, 1, 1, 1), (0, 2)]).map(np.ones),
    st.sampled_from([b"x", [b"a", b"b"], [[b"in", b"rnn"]], [["in", "in"]], [True], [[1, 2]], [1j]]).map(np.asarray),
)


def read(path: Path) -> tuple[NIRFile | None, DataError | None]:
    """What is read of a file, or the error; any other exception is a fault."""
    try:
        return read_nir(path), None
    except DataError as error:
        return None, error


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_anything_in_any_place(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    changed = copy.deepcopy(tree)
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(sorted(places(changed))))
        holder = changed
        for name in path:
            holder = holder[name]
        holder[data.draw(st.sampled_from([last, "n", "a.b"]))] = copy.deepcopy(data.draw(ODD))
        if data.draw(st.booleans()):
            holder.pop(last, None)
    file = tmp_path / "odd.nir"
    file.write_bytes(b"any")
    monkeypatch.setattr("neurozoo.nir.reading.read_hdf5", lambda _: changed)
    found, error = read(file)
    if found is None:
        assert str(error).startswith(f"{file}: ")
        assert len(str(error)) < 3000
    else:
        dynamics = Dynamics(**{"dt": 1e-3, **NEUTRAL})  # type: ignore[arg-type]
        problems = list(dynamics.problems(found.graph))
        recipe = nir_recipe(found, dynamics, "last", data=None, backend="torch", seed=1)
        assert problems or recipe.model.name == "nir-graph"


def test_the_whole_of_it_is_read(tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whole.nir").write_bytes(b"any")
    monkeypatch.setattr("neurozoo.nir.reading.read_hdf5", lambda _: tree)
    found = read_nir(tmp_path / "whole.nir")
    assert len(found.graph.nodes) == 8
    assert found.metadata == {"dt": "0.001", "said": "so"}


@pytest.mark.slow
def test_bytes_changed_by_chance(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    nir.write(path, whole())
    good, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        bad = bytearray(good)
        for place in rng.integers(0, len(bad), rng.integers(1, 9)):
            bad[place] = rng.integers(0, 256)
        path.write_bytes(bad[: rng.integers(1, len(bad))] if rng.random() < 0.1 else bad)
        read(path)
