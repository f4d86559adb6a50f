"""The code of the first page and of the one on Python runs from top to bottom, and prints what the pages show."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import matplotlib as mpl
import pytest

import neurozoo

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "python.md"
_BLOCKS = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


def numbers(text: str) -> list[float]:
    return [float(each.replace(",", "")) for each in _NUMBER.findall(text)]


def is_shown(printed: str, shown: str) -> bool:
    """Whether lines are those of the page, which may leave out later ones; other processors round otherwise."""
    lines, wanted = printed.splitlines(), shown.splitlines()
    return all(
        _NUMBER.sub("0", line) == _NUMBER.sub("0", want)
        and numbers(line) == pytest.approx(numbers(want), rel=0.05, abs=1e-5)
        for line, want in zip(lines, wanted, strict=False)
    ) and 0 < len(wanted) <= len(lines)


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("a 1.01\nb\n", "a 1.0\n", True),
        ("a 1.2\n", "a 1.0\n", False),
        ("a 1,000 x\n", "a 1,001 x\n", True),
        ("a\n", "a\nb\n", False),
        ("b\n", "a\n", False),
        ("a\n", "", False),
    ],
)
def test_what_is_printed_is_held_against_the_page(printed: str, shown: str, same: bool) -> None:
    assert is_shown(printed, shown) is same


def run_page(page: Path) -> int:
    """Run the code of a page, compare what it prints, and return how many outputs were compared."""
    mpl.use("Agg")
    names: dict[str, object] = {"__name__": "page"}
    printed, compared = "", 0
    for kind, block in _BLOCKS.findall(page.read_text(encoding="utf-8")):
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block, f"{page.name}: {block.splitlines()[0]}", "exec"), names)
            printed = out.getvalue()
        else:
            assert is_shown(printed, block), f"{printed}\nThe page shows:\n{block}"
            compared += 1
    from matplotlib import pyplot

    pyplot.close("all")
    return compared


def test_the_code_of_the_page_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page(PAGE) >= 12
    assert (tmp_path / "record.png").is_file()


def test_the_ten_lines_of_the_first_page_print_what_it_shows() -> None:
    first = DOCS / "index.md"
    ((kind, code), *_) = _BLOCKS.findall(first.read_text(encoding="utf-8"))
    assert (kind, len([*filter(None, code.splitlines())])) == ("python", 10)
    assert run_page(first) == 1


def test_every_new_name_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    told = {
        "LIF", "IF", "PLIF", "AdLIF", "ALIF", "CUBA", "LI", "Neurons", "EachStep", "set_backend", "record", "plot",
        "equivalent", "count_operations", "energy", "to_nir", "from_nir", "list_models", "create_model", "runs",
        "data_of",
    }  # fmt: skip
    assert told <= {*neurozoo.__all__}
    assert [name for name in sorted(told) if not re.search(rf"\b{name}\b", text)] == []
