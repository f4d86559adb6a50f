"""HTML pages: one file, whatever the words in it."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from neurozoo.reporting.figures import Line, Panel, bars, heat_map, lines, steps
from neurozoo.reporting.page import Picture, html_page
from neurozoo.reporting.tables import Table, markdown, plain_text

EVIL = "<script>alert('&')</script>"


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def drawings() -> dict[str, str]:
    return {
        "bars": bars(["glad", EVIL], {"train": [0.5, 0.25], "test": [0.1, 1]}, unit="n", label="bars of it"),
        "steps": steps({"train": [0, 0.5, 0.5]}, along="length", unit="share", label=f"steps {EVIL}"),
        "heat": heat_map(["glad", "sad"], [[1, 0.2], [0, 1]], label="heat of it"),
    }


def test_whatever_is_said_is_text_and_nothing_else() -> None:
    page = html_page(EVIL, [Table(EVIL, [EVIL], [[EVIL]], [EVIL]), Picture(EVIL, "<svg></svg>", EVIL)], warning=EVIL)
    tags = Tags(page)
    assert "script" not in {tag for tag, _ in tags.found}
    assert tags.text.count(EVIL) == 9


def test_a_number_and_its_interval_stay_on_one_line() -> None:
    cells = ["net to beat", "0.5 ± 0.1", "-0.02 to +0.1"]
    page = html_page("", [Table("", ["a", "b", "c"], [cells])])
    assert "<td>net to beat</td><td>0.5\u00a0±\u00a00.1</td><td>-0.02\u00a0to\u00a0+0.1</td>" in page


def test_control_characters_and_marks_of_direction_are_shown_as_escapes() -> None:
    signs = "\x00\x1b]0;t\x07\x9b\u202e\u2066\ud800"
    names = [f"a{signs}", "b"]
    drawn = [
        bars(names, {f"x{signs}": [1, 2], "y": [1, 2]}, unit=f"n{signs}", label=f"l{signs}"),
        steps({f"x{signs}": [0.5, 0.5], "y": [0, 1]}, along="length", unit="share", label=f"s{signs}"),
        heat_map(names, [[1, 0.2], [0, 1]], label=f"h{signs}"),
        lines([Panel([Line([0, 1], [0, 1])], f"x{signs}", f"y{signs}")], label=f"p{signs}"),
    ]
    for svg in drawn:
        ElementTree.fromstring(svg)  # SVG cannot hold them, so that a browser shows nothing
    content = [Table(signs, [signs], [[signs]], [signs]), *(Picture(signs, svg, signs) for svg in drawn)]
    page = html_page(signs, content, lead=signs, warning=signs)
    page += plain_text([content[0]]) + markdown([content[0]])  # type: ignore[list-item]
    assert not set(signs) - set("]0;t") & set(page)
    assert "\\x1b]0;t" in page
    page.encode()


def test_no_backend_of_matplotlib_is_needed() -> None:
    """A notebook names its own, which the program's environment may lack."""
    code = (
        "import os; from neurozoo.reporting.figures import bars\n"
        "assert '<svg' in bars(['a'], {'x': [1]}, unit='n', label='l')\n"
        "print(os.environ['MPLBACKEND'])"
    )
    backend = "module://a_notebooks.backend_inline"
    environment = os.environ | {"MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (backend, "")


def test_a_page_asks_for_no_other_file() -> None:
    content = [Picture(name, svg) for name, svg in drawings().items()]
    page = html_page("a title", [Table("t", ["a"], [["1"]]), *content], lead="a lead")
    for tag, attributes in Tags(page).found:
        assert tag not in ("link", "script", "img", "iframe"), tag
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href"):
                assert (value or "").startswith(("#", "data:")), (tag, name)
    assert "url(http" not in page
    assert len(page) < 200_000


@pytest.mark.parametrize("name", ["bars", "steps", "heat"])
def test_a_drawing_is_named_and_has_the_pages_ink(name: str) -> None:
    svg = drawings()[name]
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert "currentColor" in svg
    assert "#000000" not in svg.replace("stroke: #000000", "")


def test_the_same_drawing_is_the_same_text() -> None:
    assert drawings() == drawings()


def test_drawings_of_a_page_share_no_id() -> None:
    made = [bars(["a"], {"x": [1], "y": [2]}, unit="n", label=f"number {i}") for i in range(2)]
    ids = [{each.attrib["id"] for each in ElementTree.fromstring(svg).iter() if "id" in each.attrib} for svg in made]
    assert ids[0]
    assert not ids[0] & ids[1]
