"""How long ``neurozoo list`` takes with and without many plugins installed.

usage: python tests/benchmarks/list_with_plugins.py [PLUGINS] [REPEATS]

Makes that many distributions (50) in a temporary folder, and runs the command so often (15) with and without that
folder on the path, in turn. Prints the medians, in milliseconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

PLUGIN = """
from neurozoo.registry.hookspecs import Component, hookimpl
neurozoo_api = "2.0"
@hookimpl
def neurozoo_components():
    for kind in ("neuron", "fusion"):
        yield Component(kind, "made-{n}", "neurozoo_made_{n}.part:Part", "made for a benchmark",
                        requires=("a_library_{n}",), install="pip install it", tested=("a-library-{n} >=1",))
"""
COMMAND = [sys.executable, "-m", "neurozoo.cli", "list"]


def make(folder: Path, plugins: int) -> None:
    for n in range(plugins):
        package = folder / f"neurozoo_made_{n}"
        package.mkdir()
        (package / "__init__.py").write_text(PLUGIN.format(n=n), encoding="utf-8")
        info = folder / f"neurozoo_made_{n}-1.0.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: neurozoo-made-{n}\nVersion: 1.0\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[neurozoo]\nmade-{n} = neurozoo_made_{n}\n", encoding="utf-8")


def milliseconds(path: str | None) -> tuple[float, str]:
    environment = dict(os.environ) | ({"PYTHONPATH": path} if path else {})
    start = time.perf_counter()
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=True)
    return 1000 * (time.perf_counter() - start), done.stdout


def main(plugins: int = 50, repeats: int = 15) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), plugins)
        for path in (None, folder):  # once for the compiled files
            _, listed = milliseconds(path)
        if listed.count("made for a benchmark") != 2 * plugins:
            sys.exit(f"not all of the {plugins} plugins are listed:\n{listed}")
        without, with_them = [], []
        for _ in range(repeats):
            without.append(milliseconds(None)[0])
            with_them.append(milliseconds(folder)[0])
    print(f"neurozoo list, median of {repeats}, in turn")
    print(f"  as installed here       {median(without):6.0f} ms")
    print(f"  with {plugins:3} more plugins   {median(with_them):6.0f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
