"""The page on NIR shows what its command says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from neurozoo.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "nir.md"


def test_an_export_says_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (shown,) = re.findall(r"```console\n\$ neurozoo (nir export .*)\n([\s\S]*?)```", PAGE.read_text("utf-8"))
    command, expected = shown
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == expected
