"""A .nir file as a graph: what is read, and what is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch

from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import DataError
from neurozoo.nir.import_graph import NEUTRAL
from neurozoo.nir.nodes import make_node
from neurozoo.nir.reading import read_nir
from neurozoo.nir.settings import Dynamics


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


def test_a_loop_of_nothing_but_inputs_and_outputs_is_refused(tmp_path: Path) -> None:
    through = ends({}, [("in", "out")])
    outer = ends({"a": through, "n": lif()}, [("in", "a"), ("a", "a"), ("a", "n"), ("n", "out")])
    with pytest.raises(DataError, match="is in a loop without a neuron in it"):
        read_nir(written(tmp_path, outer))


def test_a_reset_that_is_not_said_is_nirs(tmp_path: Path) -> None:
    node = nir.IF(r=np.ones(2), v_threshold=np.ones(2))
    file = read_nir(written(tmp_path, ends({"n": node}, [("in", "n"), ("n", "out")])))
    assert file.graph.by_name["n"].values == {"r": 1.0, "v_threshold": 1.0, "v_reset": 0.0}


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (lambda: ends({"n": lif(3)}, [("in", "n"), ("n", "out")]), "LIF 'n' is of shape [3], and gets [2]"),
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
        (lambda: lif(), "holds a LIF and no graph; export the whole network"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, graph: Any, said: str) -> None:
    with pytest.raises(DataError) as error:
        read_nir(written(tmp_path, graph()))
    assert said in str(error.value)
    assert "net.nir" in str(error.value)


def edited(path: Path, change: Callable[[Any], None]) -> Path:
    """The file with something of its group ``node/nodes/n`` changed."""
    with h5py.File(path, "r+") as file:
        change(file["node/nodes/n"])
    return path


def put(name: str, value: Any) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        if name in node:
            del node[name]
        if value is not None:
            node[name] = value

    return change


def chain(node: nir.NIRNode, takes: Any = 2, makes: Any = 2) -> nir.NIRGraph:
    return ends({"n": node}, [("in", "n"), ("n", "out")], takes, makes)


def test_an_unknown_kind_is_named_with_its_node_and_those_there_are(tmp_path: Path) -> None:
    path = edited(written(tmp_path, chain(lif())), put("type", "Resonator"))
    with pytest.raises(DataError, match="'n' is a Resonator: such nodes cannot be run here; there are: Input, Output"):
        read_nir(path)


def conv2d(groups: int, into: int = 2, **changes: Any) -> nir.Conv2d:
    weight = np.arange(4 * (into // groups) * 9, dtype=np.float32).reshape(4, into // groups, 3, 3)
    given = {"stride": 1, "padding": 1, "dilation": 1, "groups": groups, "bias": np.zeros(4)} | changes
    return nir.Conv2d(input_shape=(8, 8), weight=weight, **given)


@pytest.mark.parametrize("groups", [1, 2])
def test_grouped_and_depthwise_convolutions(tmp_path: Path, groups: int) -> None:
    node = conv2d(groups)
    file = read_nir(written(tmp_path, chain(node, (2, 8, 8), (4, 8, 8))))
    found = file.graph.by_name["n"]
    assert (found.groups, found.shape, found.stride) == (groups, node.weight.shape, (1, 1))
    assert file.graph.shapes()["n"] == (4, 8, 8)
    x = torch.rand(1, 2, 8, 8)
    module = make_node(found, Dynamics(**{"dt": 1.0, **NEUTRAL}), TorchNeuron, "atan", 2.0)  # type: ignore[arg-type]
    module.load_state_dict({f"of.{name}": torch.tensor(each) for name, each in file.weights["n"].items()})
    expected = torch.nn.functional.conv2d(x, torch.tensor(node.weight), padding=1, groups=groups)
    assert torch.equal(module(x[None])[0], expected)


def test_groups_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, chain(conv2d(2), (4, 8, 8), (4, 8, 8)))
    with pytest.raises(DataError, match="takes 2 channels and 2 axes besides, and gets"):
        read_nir(path)
    path = written(tmp_path, chain(conv2d(2), (2, 8, 8), (4, 8, 8)))
    with pytest.raises(DataError, match="3 groups do not divide"):
        read_nir(edited(path, put("groups", 3)))


def test_a_node_without_an_input_before_it_gets_one(tmp_path: Path) -> None:
    graph = ends({"n": nir.Linear(np.ones((2, 3)))}, [("n", "out")])
    del graph.nodes["in"]
    file = read_nir(written(tmp_path, graph))
    assert file.graph.input.shape == (3,)
    assert ("input_n", "n") in file.graph.edges


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("tau", None), "LIF 'n': lacks tau"),
        (put("tau", "fast"), "LIF 'n': its tau holds no numbers"),
        (put("tau", np.array([b"1", b"2"])), "LIF 'n': its tau holds no numbers"),
        (put("tau", np.ones(2, complex)), "is complex128; only numbers and text"),
        (put("tau", np.ones((2, 2, 2)) * np.nan), "LIF 'n': "),
        (put("tau", np.ones(3)), "its parameters have different shapes: tau [3], r [2]"),
        (put("tau", np.ones(0)), "LIF 'n': "),
        (put("tau", -np.ones(2)), "tau of 'n' is -1.0; a time constant is longer than 0"),
        (put("type", None), "the node 'n' has no type"),
        (put("type", np.array([1.0])), "the type of the node 'n'"),
        (put("type", ""), "the type of the node 'n': found an empty text"),
    ],
)
def test_odd_values_are_named_errors(tmp_path: Path, change: Callable[[Any], None], words: str) -> None:
    path = edited(written(tmp_path, chain(lif())), change)
    with pytest.raises(DataError, match=re.escape(words)) as raised:
        read_nir(path)
    assert raised.value.exit_status == 2
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("stride", 1.5), "its stride is [1.5]; give whole numbers"),
        (put("stride", np.array([1e30, 1e30])), "stride"),
        (put("stride", np.ones(3, int)), "stride of 'n' is (1, 1, 1); Conv2d takes 2 of it"),
        (put("padding", "most"), "padding: found the text 'most'"),
        (put("padding", 2**23), "elements"),
        (put("groups", np.ones(2, int)), "its groups is [1 1]; give a whole number"),
        (put("bias", np.ones(3)), "its bias has the shape [3], and its weight needs [4]"),
        (put("weight", np.ones((4, 3, 3))), "the weight of 'n' has the shape [4, 3, 3]; Conv2d takes 4 axes"),
    ],
)
def test_odd_options_of_a_convolution_are_named_errors(
    tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    path = edited(written(tmp_path, chain(conv2d(1), (2, 8, 8), (4, 8, 8))), change)
    with pytest.raises(DataError, match=re.escape(words)):
        read_nir(path)


def test_edges_that_are_none_are_named_errors(tmp_path: Path) -> None:
    path = written(tmp_path, chain(lif()))
    for edges, words in (
        (np.array([[1, 2]]), "there is no node '1'"),
        (np.array([b"in", b"n"]), "have the shape [2]; they are pairs of names"),
        (np.array([[b"in", b"n"], [b"n", b"\xff"]]), "is not UTF-8"),
        (np.array([[b"in", b"n"], [b"in", b"n"], [b"n", b"out"]]), "'in' -> 'n' is there twice"),
    ):
        with h5py.File(path, "r+") as file:
            del file["node/edges"]
            file["node/edges"] = edges
        with pytest.raises(DataError, match=re.escape(words)):
            read_nir(path)


def test_a_file_refers_to_no_other(tmp_path: Path) -> None:
    path = written(tmp_path, chain(nir.Linear(np.eye(2, dtype=np.float32))))
    (tmp_path / "secret.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    whole = path.read_bytes()

    def storage(node: Any) -> None:
        del node["weight"]
        node.create_dataset("weight", (2, 2), np.float32, external=[(str(tmp_path / "secret.bin"), 0, 16)])

    def soft(node: Any) -> None:
        node["bias"] = h5py.SoftLink("/node/edges")

    def external(node: Any) -> None:
        del node["weight"]
        node["weight"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "w")

    def virtual(node: Any) -> None:
        layout = h5py.VirtualLayout((2, 2), np.float32)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (2, 2))
        del node["weight"]
        node.create_virtual_dataset("weight", layout)

    for change, words in (
        (storage, "keeps its values in another file"),
        (soft, "a soft link"),
        (external, "a link to another file"),
        (virtual, "a virtual dataset"),
    ):
        path.write_bytes(whole)
        with pytest.raises(DataError, match=words):
            read_nir(edited(path, change))


def test_what_a_file_unfolds_to_is_limited(tmp_path: Path) -> None:
    def endless(node: Any) -> None:
        del node["weight"]
        node.create_dataset("weight", (2**20, 2**12), np.float32, chunks=True)

    path = edited(written(tmp_path, chain(nir.Linear(np.eye(2, dtype=np.float32)))), endless)
    with pytest.raises(DataError, match="arrays come to more than 1 GiB"):
        read_nir(path)


def test_a_file_in_which_hdf5_loops_for_ever_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, chain(lif()))
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16] = content[heap + 24] = 0  # the first object of the global heap: index and size
    path.write_bytes(content)
    monkeypatch.setenv("NEUROZOO_READ_SECONDS", "4")
    with pytest.raises(DataError, match="it took more than 4 s, and was stopped"):
        read_nir(path)


def test_graphs_within_graphs_do_not_multiply(tmp_path: Path) -> None:
    path = written(tmp_path, chain(lif()))
    with h5py.File(path, "r+") as file:
        inner = file["node/nodes/n"]
        for depth in range(12):  # each holds the one before four times
            outer = file.create_group(f"spare/{depth}")
            outer["type"], outer["edges"] = "NIRGraph", np.zeros((0, 2), "S1")
            for place in range(4):
                outer[f"nodes/{place}"] = inner
            inner = outer
        file["node/nodes/deep"] = inner
        del file["spare"]
    with pytest.raises(DataError, match=r"more than 10,000 nodes|not a data file|values"):
        read_nir(path)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.nir"):
        read_nir(tmp_path / "no.nir")
    (tmp_path / "text.nir").write_text("no HDF5")
    with pytest.raises(DataError, match=r"text\.nir is not read"):
        read_nir(tmp_path / "text.nir")
    with h5py.File(tmp_path / "other.nir", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match=r"other\.nir: the file's 'node' is missing; give a file that nir.write wrote"):
        read_nir(tmp_path / "other.nir")


def test_constants_of_too_many_neurons_are_refused_and_equal_ones_are_not(tmp_path: Path) -> None:
    size = 2**16 + 1
    assert read_nir(written(tmp_path, chain(lif(size), size, size))).graph.by_name["n"].values["tau"] == 0.01
    different = lif(size, tau=np.linspace(0.01, 0.02, size))
    with pytest.raises(DataError, match="LIF 'n': its tau differs between more than 65,536 neurons"):
        read_nir(written(tmp_path, chain(different, size, size)))
