"""The page of the libraries' differences: written by a command, and still true."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurozoo.backends.experiments import traits
from neurozoo.registry.registry import default_registry

PAGE = Path(__file__).parents[2] / "docs" / "differences.md"


def table(page: str, title: str) -> list[list[str]]:
    """The rows of the table under a heading, the head first."""
    lines = page.partition(f"## {title}\n\n")[2].partition("\n\n")[0].splitlines()
    rows = [[cell.strip().replace("\\", "") for cell in line.strip("|").split(" | ")] for line in lines]
    return [rows[0], *rows[2:]]


def test_the_page_says_what_the_neurons_do_today() -> None:
    head, *rows = table(PAGE.read_text("utf-8"), "What each neuron is, by experiment")
    names = head[1:]
    assert {"torch", "spikingjelly", "norse", "snntorch", "norse-native", "snntorch-native"} == set(names)
    registry = default_registry()
    found = {name: traits(registry.resolve("neuron", name)) for name in names}
    expected = [
        [trait.name, *(found[name][place].found for name in names)] for place, trait in enumerate(found[names[0]])
    ]
    assert rows == expected, "a library or a backend changed; write the page anew by the command at its top"


@pytest.mark.parametrize("words", ["SYNTHETIC", "neurozoo compare --backends", "spikingjelly 2", "another model"])
def test_the_page_says_how_it_was_made(words: str) -> None:
    page = PAGE.read_text("utf-8")
    assert words in page
    assert " ms |" not in page
