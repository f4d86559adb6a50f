"""What a NIR graph may be, and in which order it is computed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from neurozoo.nir.graph import Graph
from neurozoo.nir.settings import Dynamics, needed, whole_steps

LIF = {"tau": 0.01, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
ENDS = [{"name": "in", "kind": "Input", "shape": [2]}, {"name": "out", "kind": "Output", "shape": [2]}]
EULER = Dynamics(1e-3, "value", "euler", "at", 0, 1, 0)


def graph(*nodes: dict[str, Any], edges: str) -> Graph:
    """Edges such as ``in a, a out``."""
    return Graph.of([*ENDS, *nodes], [tuple(edge.split()) for edge in edges.split(", ")])


def conv(name: str, **changes: Any) -> dict[str, Any]:
    one = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    return {"name": name, "kind": "Conv2d", "shape": [2, 2, 3, 3], **one, **changes}


def pool(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "kind": "SumPool2d", "kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0], **changes}


def problems(*nodes: dict[str, Any], edges: str) -> str:
    return "; ".join(problem for _, problem in graph(*nodes, edges=edges).problems())


def linear(name: str, rows: int = 2, columns: int = 2) -> dict[str, Any]:
    return {"name": name, "kind": "Linear", "shape": [rows, columns]}


def lif(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "kind": "LIF", "shape": [2], "values": LIF | values}


def test_a_chain_is_in_the_order_of_its_edges() -> None:
    found = graph(lif("b"), linear("a"), edges="b out, a b, in a")
    assert found.components == (("in",), ("a",), ("b",), ("out",))
    assert not list(found.problems())
    assert found.shapes() == {"in": (2,), "a": (2,), "b": (2,), "out": (2,)}


def test_a_loop_is_one_component_and_its_neuron_comes_last_in_a_step() -> None:
    found = graph(lif("n"), linear("w"), linear("a"), edges="in a, a n, n w, w n, n out")
    assert found.components == (("in",), ("a",), ("w", "n"), ("out",))
    assert [found.is_loop(each) for each in found.components] == [False, False, True, False]
    assert not list(found.problems())


def test_a_neuron_that_feeds_itself_is_a_loop() -> None:
    found = graph(lif("n"), edges="in n, n n, n out")
    assert found.is_loop(("n",))
    assert not list(found.problems())


@pytest.mark.parametrize(
    ("nodes", "edges", "said"),
    [
        ([linear("a"), linear("b")], "in a, a b, b a, b out", "a loop without a neuron"),
        ([linear("a")], "in a, a x, a out", "there is no node 'x'; there are: in, out, a"),
        ([linear("a", 3, 2)], "in a, a out", "Output 'out' is of shape [2], and gets [3]"),
        ([linear("a", 2, 5)], "in a, a out", "Linear 'a' takes 5 features, and gets [2]"),
        ([linear("a")], "in a, in out", ""),
        ([linear("a")], "in out", "Linear 'a' gets nothing"),
        ([linear("a"), linear("b", 3)], "in a, in b, a out, b out", "'out' gets [2] from 'a', [3] from 'b'"),
        ([linear("a")], "in a, in a, a out", "'in' -> 'a' is there twice"),
        ([{"name": "n", "kind": "LIF", "shape": [2], "values": {"tau": 1.0}}], "in n, n out", "lacks r, v_leak"),
        ([lif("n", tau=0.0)], "in n, n out", "a time constant is longer than 0"),
        ([lif("n", r=(1.0, 2.0, 3.0))], "in n, n out", "r of 'n' has 3 numbers, and its shape has 2 elements"),
        ([lif("n", w_in=1.0)], "in n, n out", "LIF 'n' has no w_in"),
        ([{"name": "c", "kind": "Conv1d", "shape": [1, 1, 3]}], "in c, c out", "stride of 'c' is None"),
        ([conv("c", stride=[2, 1], padding="same")], "in c, c out", "the padding 'same' and stride [2, 1]"),
        (
            [conv("c", shape=[3, 1, 3, 3], groups=2)],
            "in c, c out",
            "'c' makes 3 channels, which 2 groups do not divide",
        ),
        ([pool("p", padding=[0, 2])], "in p, p out", "[0, 2], more than half of its kernel_size [2, 2]"),
        ([{**ENDS[0], "name": "in2"}], "in out, in2 out", "one Input, and this one 2: in, in2"),
    ],
)
def test_what_cannot_be_run_is_said(nodes: list[dict[str, Any]], edges: str, said: str) -> None:
    found = problems(*nodes, edges=edges)
    assert said in found
    assert bool(found) is bool(said)


def test_shapes_through_convolution_pooling_and_flatten() -> None:
    square = {"stride": [1, 1], "padding": [0, 0]}
    found = Graph.of(
        [
            {"name": "in", "kind": "Input", "shape": [2, 6, 5]},
            {"name": "conv", "kind": "Conv2d", "shape": [4, 1, 3, 3], **square, "dilation": [1, 2], "groups": 2},
            {"name": "pool", "kind": "SumPool2d", "kernel_size": [2, 1], "stride": [2, 1], "padding": [0, 0]},
            {"name": "flat", "kind": "Flatten", "start_dim": 0, "end_dim": -1},
            {"name": "out", "kind": "Output", "shape": [8]},
        ],
        [("in", "conv"), ("conv", "pool"), ("pool", "flat"), ("flat", "out")],
    )
    assert not list(found.problems())
    assert found.shapes() == {"in": (2, 6, 5), "conv": (4, 4, 1), "pool": (4, 2, 1), "flat": (8,), "out": (8,)}


def test_the_settings_that_matter_are_asked_for_and_no_others() -> None:
    assert needed(graph(linear("a"), edges="in a, a out")) == ("dt",)
    assert needed(graph(lif("n"), edges="in n, n out")) == ("dt", "reset", "integration", "fires", "forward_delay")
    assert "recurrent_delay" in needed(graph(lif("n"), edges="in n, n n, n out"))


def test_a_step_that_leaps_over_the_rest_is_refused_under_euler_alone() -> None:
    chain = graph(lif("n"), edges="in n, n out")
    ((setting, problem),) = Dynamics(0.01, "value", "euler", "at", 0, 1, 0).problems(chain)
    assert setting == "dt"
    assert "'n' has a time constant of 0.01, no longer than dt = 0.01" in problem
    assert not list(Dynamics(0.01, "value", "exact", "at", 0, 1, 0).problems(chain))


def test_a_gain_beyond_float32_is_refused() -> None:
    chain = graph(lif("n", r=1e30), edges="in n, n out")
    ((setting, problem),) = Dynamics(1e20, "value", "exponential-leak", "at", 0, 1, 0).problems(chain)
    assert (setting, "'n' has a gain of " in problem) == ("dt", True)
    assert not list(Dynamics(1e20, "value", "exact", "at", 0, 1, 0).problems(chain))
    ((_, problem),) = Dynamics(1e308, "value", "exponential-leak", "at", 0, 1, 0).problems(chain)
    assert "a gain of inf a step" in problem
    delayed = graph({"name": "d", "kind": "Delay", "shape": [1], "values": {"delay": 1e300}}, edges="in d, d out")
    ((_, problem),) = Dynamics(1e-300, "value", "euler", "at", 0, 1, 0).problems(delayed)
    assert "is inf steps of dt" in problem


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"kind": "Input", "shape": [2**24, 2**24]}, "more than 33,554,432 elements"),
        ({"kind": "LIF", "shape": [2**24] * 3, "values": {"tau": 1.0}}, "more than 33,554,432 elements"),
        (
            {"kind": "Conv2d", "shape": [1, 1, 1, 1], "stride": [1, 1], "padding": [2**23] * 2, "dilation": [1, 1]},
            "makes",
        ),
    ],
)
def test_shapes_beyond_any_memory_are_refused_before_anything_is_made(node: dict[str, Any], words: str) -> None:
    first = {"name": "in", "kind": "Input", "shape": [1, 2, 2]}
    nodes = [first, {"name": "n", **node}, {"name": "out", "kind": "Output", "shape": [1, 2, 2]}]
    found = [problem for _, problem in Graph.of(nodes, [("in", "n"), ("n", "out")]).problems()]
    assert any(words in problem for problem in found), found


def test_a_long_chain_and_too_many_nodes() -> None:
    names = [f"n{place}" for place in range(3000)]
    edges = ", ".join(f"{one} {other}" for one, other in pairwise(["in", *names, "out"]))
    found = graph(*(lif(name) for name in names), edges=edges)
    assert not list(found.problems())
    assert len(found.components) == 3002
    many = graph(*(lif(f"n{place}") for place in range(10_001)), edges="in out")
    ((_, problem),) = many.problems()
    assert "at most 10,000 nodes" in problem


def test_a_delay_is_a_whole_number_of_steps() -> None:
    delayed = graph({"name": "d", "kind": "Delay", "shape": [2], "values": {"delay": 0.0025}}, edges="in d, d out")
    ((_, problem),) = EULER.problems(delayed)
    assert "2.5 steps of dt = 0.001; give a dt of which it is a whole number, such as 0.000833333" in problem
    assert whole_steps(0.3, 0.1) == 3
    endless = graph({"name": "d", "kind": "Delay", "shape": [1], "values": {"delay": 1e6}}, edges="in d, d out")
    ((_, problem),) = EULER.problems(endless)
    assert "1e+09 steps of dt = 0.001, and at most 65,536 can be held; give a larger dt" in problem
    assert whole_steps(0.35, 0.1) is None
