"""Thousands of spoilt inputs: each is read or refused in a line, and none hangs, escapes or is a traceback."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

import forked
from mutations import copied, spoil
from samples import Kind, pick

__all__ = ["Tried", "fuzz"]

KEPT = 3
"""Inputs that are kept of each fault."""


@dataclass
class Tried:
    """What came of some inputs of a kind.

    Attributes:
        verdicts: How many were read, refused, failed by name, or a fault.
        faults: Of each problem the first inputs that had it: seed, what was done, command, folder where it is kept.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=dict)


def fuzz(kind: Kind, seed: int, numbers: Iterator[int], until: float, folder: Path, kept: Path) -> Tried:
    """Spoil a kind's input, and read it, until a time of ``time.monotonic`` or the numbers end.

    Args:
        kind: What is spoilt.
        seed: Of the whole campaign; with a number it decides the input.
        numbers: Which inputs.
        until: When to end.
        folder: For what is made; emptied after each input.
        kept: Where inputs that cause a fault are kept.
    """
    tried = Tried()
    for number in numbers:
        if time.monotonic() > until:
            break
        random = Random(f"{seed}:{kind.name}:{number}")
        shutil.rmtree(folder, ignore_errors=True)
        inside = folder / "inside"
        inside.mkdir(parents=True)
        copy = copied(kind.source, inside / kind.source.name)
        path, arguments = pick(random, kind, copy)
        unspoilt = sha256(path.read_bytes()).hexdigest()
        done = spoil(path, random)
        if kind.streams and path.is_fifo():
            path.unlink()
        if copy.is_dir() and random.random() < 0.5:
            done += _sealed(copy, path, unspoilt)
        before = _content(folder, inside)
        ended = forked.run(forked.call(arguments, inside), folder / "stderr", seconds=60, memory=4 * forked.GIB)
        verdict, problem = ended.verdict, ended.problem
        if _content(folder, inside) != before:
            verdict, problem = "fault", "a file outside of the folder was written"
        elif verdict in ("refused", "failed") and (inside / "out").exists() and any((inside / "out").iterdir()):
            verdict, problem = (
                "fault",
                f"left {', '.join(sorted(each.name for each in (inside / 'out').iterdir()))} behind",
            )
        tried.verdicts[verdict] += 1
        if verdict == "fault":
            found = tried.faults.setdefault(problem, [])
            if len(found) < KEPT:
                place = kept / f"{kind.name.replace(' ', '-')}-{seed}-{number}"
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(folder, place, symlinks=True, copy_function=_copy)
                found.append(f"seed {seed}, number {number}: {done}; neurozoo {' '.join(arguments)}; kept in {place}")
    shutil.rmtree(folder, ignore_errors=True)
    return tried


def _sealed(folder: Path, path: Path, before: str) -> str:
    """Put the hash of a spoilt file where the other files of its folder have the old one, as who wants to harm does."""
    if not path.is_file():
        return ""
    after = sha256(path.read_bytes()).hexdigest()
    for each in folder.rglob("*.json"):
        if each.is_file() and before in (text := each.read_text(encoding="utf-8", errors="surrogateescape")):
            each.write_text(text.replace(before, after), encoding="utf-8", errors="surrogateescape")
    return ", its hash put right"


def _copy(source: str, target: str, *, follow_symlinks: bool = True) -> str:
    """As shutil.copy2, but of pipes it makes new ones instead of waiting for them."""
    if Path(source).is_fifo():
        os.mkfifo(target)
        return target
    return shutil.copy2(source, target, follow_symlinks=follow_symlinks)


def _content(folder: Path, inside: Path) -> dict[str, bytes]:
    """What is in a folder, but for a part of it and the log."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(inside) and path.name != "stderr"
    }
