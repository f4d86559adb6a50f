"""The commands of "Your own data" in docs/data.md, each run as it stands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from neurozoo.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
N = 30
Y = np.arange(N) % 3


def commands() -> list[str]:
    """The lines of the section's blocks."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(r"^## Your own data\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert len(section[1].splitlines()) <= 40
    return [
        line
        for block in re.findall(r"^```\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


def write_files(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 10, 4)) + Y[:, None, None]
    np.savez(folder / "mine.npz", x=x, y=Y)
    np.savez(
        folder / "films.npz", films=rng.integers(0, 255, (N, 4, 8, 8, 2)).astype(np.uint8), score=rng.normal(size=N)
    )
    lines = ["walk,person,gait,left,right"]
    for walk in range(N):
        for step in range(2 + walk % 4):
            lines.append(f"w{walk},p{walk % 6},{'slow' if walk % 2 else 'fast'},{step},{walk / 7}")
    (folder / "walks.csv").write_text("\n".join(lines))
    for row in range(N):
        path = folder / "recordings" / f"class{Y[row]}" / f"{row}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, x[row, : 3 + row % 7])


def test_the_commands_of_your_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    found = commands()
    assert len(found) == 8
    for line in found:
        program, *words = shlex.split(line)
        assert program == "neurozoo"
        assert main(words) == 0, f"{line}\n{capsys.readouterr().err}"
        if words[:2] == ["data", "guess"]:
            assert "neurozoo data import arrays mine.npz stores/mine" in capsys.readouterr().out
    runs = [json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("summary.json")]
    assert [run["data"]["name"] for run in runs] == ["mine", "mine"]
    for run in runs:
        assert run["metrics"]["test"]["accuracy"] > 0.5, "classes that differ by their mean are learned"
        assert all(0.01 <= layer["rate"] <= 0.5 for layer in run["health"]["valid"].values())
    described = {
        name: json.loads((tmp_path / "stores" / name / "dataset.json").read_text())
        for name in ("walks", "films", "recordings")
    }
    assert described["walks"]["task"]["outputs"] == ["fast", "slow"]
    assert "by person" in described["walks"]["origin"]["splits"]
    assert described["films"]["signals"]["films"]["shape"] == [2, 8, 8]
    assert described["films"]["task"]["name"] == "regression"
    assert described["recordings"]["signals"]["features"]["ragged"]
