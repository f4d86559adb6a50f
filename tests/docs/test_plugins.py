"""The walk-through of docs/plugins.md, done by a stranger; and the same in short for every kind of plugin."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
KINDS = ("neuron", "fusion", "label-head", "model", "part", "task", "data", "representation")
ANYTHING = "…"
_BLOCK = re.compile(r"^```(console|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STATUS = re.compile(r"\s+# exit status (\d+)$")

Run = Callable[[str, Path], subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Command:
    """``$ text``, what the page shows of its output, and how it ends."""

    text: str
    output: str
    status: int


@dataclass(frozen=True)
class Change:
    """Lines of a file that become others."""

    file: str
    before: str
    after: str


def steps(page: Path) -> Iterator[Command | Change]:
    """The commands and changes of a page's ``console`` and ``diff`` blocks, in order."""
    for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "diff":
            first, *lines = block.splitlines()
            before, after = ("".join(f"{line[1:]}\n" for line in lines if line[0] in (" ", sign)) for sign in "-+")
            yield Change(first.removeprefix("--- "), before, after)
            continue
        for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, _, output = each.partition("\n")
            status = _STATUS.search(text)
            yield Command(_STATUS.sub("", text), output, int(status[1]) if status else 0)


def is_shown(printed: str, shown: str) -> bool:
    """Whether an output is what a page shows; ``…`` is anything, a line of it alone any lines."""
    pattern = ""
    for line in map(_squeezed, shown.strip().splitlines()):
        parts = (re.escape(part) for part in line.split(ANYTHING))
        pattern += r"(?:[^\n]*\n)*" if line == ANYTHING else "[^\n]*".join(parts) + r"\n"
    lines = "".join(f"{_squeezed(line)}\n" for line in printed.strip().splitlines())
    return re.fullmatch(pattern, lines) is not None


def _squeezed(line: str) -> str:
    """Without what the width of a column decides."""
    return " ".join(line.split())


def change(each: Change, folder: Path) -> None:
    path = folder / each.file
    text = path.read_text(encoding="utf-8")
    assert text.count(each.before) == 1, f"{each.file} does not hold these lines once:\n{each.before}"
    path.write_text(text.replace(each.before, each.after), encoding="utf-8")


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("a   b\n", "a b", True),
        ("a\nb\nc\n", "a\n…\nc", True),
        ("a\nc\n", "a\n…\nc", True),
        ("a\nb\n", "a\n…\nc", False),
        ("12 cases passed, 1 not run\n", "… cases passed…", True),
        ("12 cases failed\n", "… cases passed…", False),
        ("a\nb\n", "a", False),
    ],
)
def test_what_the_page_shows_is_held_against_what_is_printed(printed: str, shown: str, same: bool) -> None:
    assert is_shown(printed, shown) is same


@pytest.mark.slow
def test_the_walk_through_works_as_it_is_written(stranger: Run, tmp_path: Path) -> None:
    done = list(steps(PAGE))
    assert len(done) >= 10
    for each in done:
        if isinstance(each, Change):
            change(each, tmp_path)
            continue
        result = stranger(each.text, tmp_path)
        assert result.returncode == each.status, f"$ {each.text}\n{result.stdout}"
        assert is_shown(result.stdout, each.output), f"$ {each.text}\n{result.stdout}\nThe page shows:\n{each.output}"
    stranger("pip uninstall --yes neurozoo-mylif", tmp_path)


@pytest.mark.slow
def test_every_kind_installs_shows_up_and_passes_its_own_test(stranger: Run, tmp_path: Path) -> None:
    def ok(command: str) -> str:
        result = stranger(command, tmp_path)
        assert result.returncode == 0, f"$ {command}\n{result.stdout}"
        return result.stdout

    names = {kind: f"own-{kind}" for kind in KINDS}
    for kind, name in names.items():
        ok(f"neurozoo plugins new {name} --kind {kind}")
    ok("pip install " + " ".join(f"-e neurozoo-{name}" for name in names.values()))
    listed = ok("neurozoo plugins list")
    for kind, name in names.items():
        assert f"{kind} {name}" in listed
    assert "BROKEN" not in listed
    for kind, name in names.items():
        # pytest runs more of the neuron's below.
        cases = " --case ties_fire --case learnable_thresholds" if kind == "neuron" else ""
        assert " failed" not in ok(f"neurozoo plugins check neurozoo-{name}{cases}")
    # The two longest cases are left to the walk-through, which checks a neuron by all.
    options = "-q -p no:cacheprovider --import-mode=importlib -k 'not any_spikes and not data_parallel_pair'"
    tested = ok(f"pytest {options} " + " ".join(f"neurozoo-{name}" for name in names.values()))
    assert re.search(r"\d+ passed", tested)
    # As the README of each says.
    for name in names.values():
        readme = (tmp_path / f"neurozoo-{name}" / "README.md").read_text(encoding="utf-8")
        (use,) = re.findall(r"^(neurozoo train .*)$", readme, re.MULTILINE)
        ok(use)
    ok("pip uninstall --yes " + " ".join(f"neurozoo-{name}" for name in names.values()))
