"""Seeded ways to spoil a file: its bytes, its text, its JSON, and the folder that it is in."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["spoil"]

EXTREME = (
    0,
    1,
    -1,
    2**31 - 1,
    -(2**31),
    2**63 - 1,
    2**64,
    10**400,
    0.5,
    -0.0,
    1e-320,
    1e300,
    float("nan"),
    float("inf"),
)
WORDS = (
    "",
    " ",
    "null",
    "true",
    "no",
    "1e999",
    "0x10",
    "nan",
    "-.inf",
    "~",
    "[]",
    "{}",
    "[[",
    "*a",
    "&a",
    "<<",
    "!!python/object:os.system x",
    "../../etc/passwd",
    "/dev/zero",
    "\x1b[31mred",
    "\u202eevil",
    "\ufeff",
    "\ud7ff",
    "a" * 5000,
    "=1+1",
    "{a: {a: {a: 1}}}",
    "2026-11-29",
)
BYTES = (
    b"\0",
    b"\xff",
    b"\x80",
    b"\x1b]0;x\x07",
    b"\r\n",
    b"\n",
    b'"',
    b"{",
    b"[" * 3000,
    b"9" * 400,
    b"\xef\xbb\xbf",
    b"\xff\xfe",
)


def spoil(path: Path, random: Random) -> str:
    """Spoil a file in one to three ways; returns what was done, in a line."""
    done = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if not path.is_file() or path.is_symlink():
            break
        ways = [_bytes] * 3 + [_folder]
        if path.suffix in (".json", ".jsonl"):
            ways += [_json] * 6
        if path.suffix in (".yaml", ".json", ".jsonl", ".csv", ".txt", ".py", ".md"):
            ways += [_text] * 6
        if path.suffix in (".safetensors",):
            ways += [_safetensors] * 4
        if path.suffix in (".csd", ".nir", ".h5"):
            ways += [_hdf5] * 8
        done.append(random.choice(ways)(path, random))
    return "; ".join(done)


def _bytes(path: Path, random: Random) -> str:
    raw = bytearray(path.read_bytes())
    way = random.choice(("flip", "set", "cut", "drop", "twice", "insert", "number"))
    at = random.randrange(len(raw) + 1)
    span = min(len(raw) - at, random.choice((1, 2, 8, 100, 5000)))
    if way == "flip" and raw:
        for _ in range(random.choice((1, 4, 64))):
            raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    elif way == "set":
        raw[at : at + span] = bytes(random.choice((0, 255, 32)) for _ in range(span))
    elif way == "cut":
        del raw[at:]
    elif way == "drop":
        del raw[at : at + span]
    elif way == "twice":
        raw[at:at] = raw[at : at + span]
    elif way == "insert":
        raw[at:at] = random.choice(BYTES)
    else:
        raw[at : at + 8] = struct.pack("<q", random.choice((0, -1, 1, 2**31, 2**40, 2**62)))
    path.write_bytes(raw)
    return f"{path.name}: {way} at byte {at}"


def _text(path: Path, random: Random) -> str:
    lines = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    at = random.randrange(len(lines))
    way = random.choice(("value", "value", "value", "key", "drop", "twice", "indent", "line", "windows"))
    line = lines[at]
    if way == "value":
        head, mark, _ = line.partition(random.choice((":", ":", ",", "=")))
        word = random.choice(WORDS) if random.random() < 0.6 else str(random.choice(EXTREME))
        lines[at] = f"{head}{mark} {word}" if mark else word
    elif way == "key":
        lines[at] = line.replace("e", random.choice(("", "E", "é", " ", ".")), 1)
    elif way == "drop":
        del lines[at]
    elif way == "twice":
        lines.insert(at, line)
    elif way == "indent":
        lines[at] = random.choice((" ", "\t", "    ")) + line
    elif way == "line":
        lines.insert(at, random.choice(WORDS))
    else:
        lines = [f"{each}\r" for each in lines]
    text = "\n".join(lines)
    path.write_bytes(text.encode(random.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1")), "replace"))
    return f"{path.name}: {way} in line {at + 1}"


def _json(path: Path, random: Random) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.suffix == ".jsonl" else []
    number = random.randrange(len(lines)) if lines else 0
    try:
        content = json.loads(lines[number] if lines else path.read_text(encoding="utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return _bytes(path, random)
    places: list[tuple[Any, Any]] = []
    todo = [content]
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            todo.append(node[key])
    if not places:
        path.write_text(random.choice(("[]", "7", "null", "", "[" * 100_000)))
        return f"{path.name}: another content"
    node, key = random.choice(places)
    way = random.choice(("drop", "value", "value", "value", "wrap", "rename"))
    if way == "drop":
        del node[key]
    elif way == "wrap":
        node[key] = random.choice(([node[key]], {"a": node[key]}, [node[key]] * 3))
    elif way == "rename" and isinstance(node, dict):
        node[random.choice(WORDS)] = node.pop(key)
    else:
        node[key] = random.choice((*WORDS, *EXTREME, None, True, False, [], {}))
    text = json.dumps(content)
    lines[number : number + 1] = [text]
    path.write_text("".join(f"{line}\n" for line in lines))
    return f"{path.name}: {way} of {key!r}"


def _safetensors(path: Path, random: Random) -> str:
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    if not 8 < size + 8 <= len(raw):
        return _bytes(path, random)
    header = path.with_name("header.json")
    header.write_bytes(raw[8 : 8 + size])
    done = random.choice((_json, _json, _bytes))(header, random)
    text = header.read_bytes()
    header.unlink()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])
    return f"{path.name}: {done}"


def _hdf5(path: Path, random: Random) -> str:
    import h5py
    import numpy as np

    try:
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            name = random.choice(names)
            way = random.choice(("drop", "other", "other", "group", "soft", "external", "loop", "attribute", "storage"))
            is_set = isinstance(file[name], h5py.Dataset)
            del file[name]
            if way == "other" or (way == "attribute" and not is_set):
                file[name] = random.choice(
                    (
                        np.float64(random.choice([x for x in EXTREME if isinstance(x, float)])),
                        np.zeros((0, 3)),
                        np.full((3, 2), np.nan, np.float32),
                        np.arange(6).reshape(1, 2, 3),
                        b"bytes \xff",
                        "text \x1b[31m",
                        np.array([True]),
                        np.array(["a", "b"], dtype="S1"),
                        np.float32(1e38) * np.ones(4, np.float32),
                        np.array(2**62),
                        np.array([1 + 2j]),
                        h5py.Empty("f8"),
                        np.array(-1),
                    )
                )
            elif way == "group":
                file.create_group(name)
            elif way == "soft":
                file[name] = h5py.SoftLink(random.choice(("/nowhere", "/", f"/{name}")))
            elif way == "external":
                file[name] = h5py.ExternalLink(random.choice(("other.h5", "/etc/passwd", path.name)), "/")
            elif way == "loop":
                file[name] = file["/"]
            elif way == "attribute":
                file.create_dataset(name, data=np.zeros(2)).attrs["type"] = random.choice(WORDS[:9])
            elif way == "storage":
                file.create_dataset(name, (10,), "u1", external=[("/etc/hostname", 0, 10)])
            return f"{path.name}: {way} {name}"
    except Exception:  # spoilt before
        return _bytes(path, random)


def _folder(path: Path, random: Random) -> str:
    way = random.choice(("gone", "empty", "folder", "pipe", "link", "loop", "litter"))
    if way == "litter":
        for name in (".DS_Store", f"._{path.name}", "Thumbs.db", "desktop.ini"):
            path.with_name(name).write_bytes(b"\0\1litter")
        return f"litter next to {path.name}"
    kept = path.read_bytes()
    path.unlink()
    if way == "empty":
        path.touch()
    elif way == "folder":
        path.mkdir()
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "link":
        elsewhere = path.parent.parent / f"elsewhere-{path.name}"
        elsewhere.write_bytes(kept)
        path.symlink_to(elsewhere)
    elif way == "loop":
        path.symlink_to(path.name)
    return f"{path.name}: {way}"


def copied(source: Path, target: Path) -> Path:
    """A copy of a file or folder."""
    return Path(shutil.copytree(source, target, symlinks=True) if source.is_dir() else shutil.copy(source, target))
