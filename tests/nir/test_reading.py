"""A .nir file as a graph: what is read, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from neurozoo.errors import DataError
from neurozoo.nir.reading import read_nir


def lif(size: int = 2, **changes: Any) -> nir.LIF:
    values = {"tau": 0.01, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | changes
    return nir.LIF(**{name: np.broadcast_to(np.asarray(value), (size,)) for name, value in values.items()})


def ends(inner: dict[str, Any], edges: list[tuple[str, str]], takes: Any = 2, makes: Any = 2) -> nir.NIRGraph:
    nodes = {"in": nir.Input({"input": np.array(np.atleast_1d(takes))}), **inner}
    nodes["out"] = nir.Output({"output": np.array(np.atleast_1d(makes))})
    return nir.NIRGraph(nodes, edges, type_check=False)


def written(tmp_path: Path, graph: nir.NIRNode) -> Path:
    nir.write(tmp_path / "net.nir", graph)
    return tmp_path / "net.nir"


def test_nodes_values_and_weights(tmp_path: Path) -> None:
    weight = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    inner = {"a": nir.Affine(weight, np.array([5.0, 6.0])), "n": lif(tau=np.array([0.01, 0.02]))}
    file = read_nir(written(tmp_path, ends(inner, [("in", "a"), ("a", "n"), ("n", "out")])))
    assert file.name == "net"
    assert file.graph.by_name["n"].values["tau"] == (0.01, 0.02)
    assert file.graph.by_name["n"].values["r"] == 1.0
    assert file.weights["a"]["weight"].tolist() == weight.tolist()
    assert file.weights["a"]["bias"].tolist() == [5.0, 6.0]
    assert file.graph.components == (("in",), ("a",), ("n",), ("out",))


def test_a_graph_within_the_graph_is_flat(tmp_path: Path) -> None:
    deepest = ends({"w": nir.Linear(np.eye(2))}, [("in", "w"), ("w", "out")])
    recurrent = ends({"lif": lif(), "back": deepest}, [("in", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "out")])
    outer = ends({"rnn": recurrent, "last": lif()}, [("in", "rnn"), ("rnn", "last"), ("last", "out")])
    file = read_nir(written(tmp_path, outer))
    assert set(file.graph.by_name) == {"in", "rnn.lif", "rnn.back.w", "last", "out"}
    assert set(file.graph.edges) == {
        ("in", "rnn.lif"), ("rnn.lif", "rnn.back.w"), ("rnn.back.w", "rnn.lif"), ("rnn.lif", "last"), ("last", "out"),
    }  # fmt: skip
    assert set(file.weights) == {"rnn.back.w"}


def test_an_inner_graph_passes_on_what_it_gets(tmp_path: Path) -> None:
    beside = ends({"lif": lif()}, [("in", "lif"), ("lif", "out"), ("in", "out")])
    deep = ends({"through": ends({}, [("in", "out")])}, [("in", "through"), ("through", "out")])
    outer = ends({"a": deep, "b": beside}, [("in", "a"), ("a", "b"), ("b", "out")])
    file = read_nir(written(tmp_path, outer))
    assert set(file.graph.edges) == {("in", "b.lif"), ("b.lif", "out"), ("in", "out")}


def test_what_arrives_twice_past_inner_graphs_is_refused_and_not_halved(tmp_path: Path) -> None:
    twice = {"a": ends({}, [("in", "out")]), "b": ends({}, [("in", "out")]), "n": lif()}
    outer = ends(twice, [("in", "a"), ("in", "b"), ("a", "n"), ("b", "n"), ("n", "out")])
    with pytest.raises(DataError, match="'in' -> 'n' is there twice"):
        read_nir(written(tmp_path, outer))


def test_a_reset_that_is_not_said_is_nirs(tmp_path: Path) -> None:
    node = nir.IF(r=np.ones(2), v_threshold=np.ones(2))
    file = read_nir(written(tmp_path, ends({"n": node}, [("in", "n"), ("n", "out")])))
    assert file.graph.by_name["n"].values == {"r": 1.0, "v_threshold": 1.0, "v_reset": 0.0}


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (lambda: ends({"n": lif(3)}, [("in", "n"), ("n", "out")]), "Type inference error"),
        (
            lambda: ends({"n": lif(tau=np.nan)}, [("in", "n"), ("n", "out")]),
            "LIF 'n': its tau has numbers that are not",
        ),
        (lambda: ends({"n": nir.Linear(np.full((2, 2), np.inf))}, [("in", "n"), ("n", "out")]), "not finite"),
        (
            lambda: ends({"n": lif(v_threshold=1e300)}, [("in", "n"), ("n", "out")]),
            "its v_threshold has numbers that are not finite in float32",
        ),
        (lambda: ends({"n": nir.Linear(np.full((2, 2), 1e300))}, [("in", "n"), ("n", "out")]), "not finite"),
        (lambda: lif(), "cannot be read as NIR"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, graph: Any, said: str) -> None:
    with pytest.raises(DataError) as error:
        read_nir(written(tmp_path, graph()))
    assert said in str(error.value)
    assert "net.nir" in str(error.value)


def test_an_unknown_kind_is_named_with_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Resonator(nir.LIF):
        pass

    graph = ends({"n": lif()}, [("in", "n"), ("n", "out")])
    graph.nodes["n"].__class__ = Resonator
    path = tmp_path / "net.nir"
    path.write_bytes(b"")
    monkeypatch.setattr(nir, "read", lambda _: graph)
    with pytest.raises(
        DataError, match="of the kind Resonator, which cannot be run here; there are: Input, Output, Affine"
    ):
        read_nir(path)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_nir(tmp_path / "no.nir")
    (tmp_path / "text.nir").write_text("no HDF5")
    with pytest.raises(DataError, match=r"text.nir: cannot be read as NIR \(OSError"):
        read_nir(tmp_path / "text.nir")
