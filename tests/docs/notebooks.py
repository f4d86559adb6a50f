"""Runs the notebooks of docs/tutorials and stores what they print and draw.

``python tests/docs/notebooks.py [NOTEBOOK...]`` does so for all, or for those that are named. Each runs in a process of
its own, in a new folder, without a network; cells have plain Python, or shell commands, each line beginning with ``!``.
A second run on the same machine writes the same bytes, as neither times nor places are printed.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
LIMIT = 300
"""Seconds that a notebook may take, on a machine that does other things too."""
DPI, COLOURS = 80, 64

Notebook = dict[str, Any]
Outputs = list[dict[str, Any]]


class CellError(Exception):
    """A cell failed: its traceback."""


def read(path: Path) -> Notebook:
    notebook: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def code_cells(notebook: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell: Mapping[str, Any]) -> str:
    """The text of a cell, which a file holds as lines."""
    return "".join(cell["source"])


def is_shell(text: str) -> bool:
    return text.startswith("!")


def run(path: Path, folder: Path, data: Path | None = None) -> list[Outputs]:
    """Run a notebook's code in a process of its own, and return each cell's outputs in the form of a notebook.

    Args:
        path: The notebook.
        folder: An empty folder to run in; home and caches lie in it too.
        data: Where data sets lie; by default in the folder. Notebooks may share one.

    Raises:
        CellError: A cell raised, or a command of it failed.
    """
    work, home = folder / "work", folder / "home"
    work.mkdir()
    home.mkdir()
    unwanted = ("HF_", "NEUROZOO_", "PYTHON", "PYTEST_", "PIP_", "MPL")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "NEUROZOO_DATA": str(data or folder / "data"),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "COLUMNS": "100",
        "NO_COLOR": "1",
        # Whatever wants to leave this machine fails at once.
        **{f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "all")},
        "no_proxy": "127.0.0.1,localhost",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    result = folder / "outputs.json"
    # A warning fails the notebook, but for norse, which decorates with torch.jit.script when it is imported.
    strict = ["-W", "error", "-W", "ignore:`torch.jit.script:DeprecationWarning"]
    command = [sys.executable, *strict, __file__, "--cells-of", str(path.resolve()), str(result)]
    done = subprocess.run(
        command, cwd=work, env=environment, text=True, timeout=LIMIT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise CellError(f"{path.name}: {done.stdout}")
    outputs: list[Outputs] = json.loads(result.read_text(encoding="utf-8"))
    return outputs


def store(path: Path, outputs: list[Outputs]) -> None:
    """Write a notebook with new outputs, in the layout of ``nbformat.write``, without what an editor added."""
    notebook = read(path)
    for number, (cell, made) in enumerate(zip(code_cells(notebook), outputs, strict=True), start=1):
        results = [each for each in made if each["output_type"] == "execute_result"]
        cell |= {"execution_count": number, "outputs": made}
        for each in results:
            each["execution_count"] = number
    for number, cell in enumerate(notebook["cells"], start=1):
        kept = {key: value for key, value in cell["metadata"].items() if key in ("alt", "tags")}
        cell |= {"id": f"cell-{number}", "metadata": kept, "source": source(cell).splitlines(keepends=True)}
    notebook |= {"metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


# What follows runs in the process of a notebook.


def _forbid_network() -> None:
    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(address := arguments[1], tuple) and address[0] != "127.0.0.1":
            raise OSError(f"a tutorial wanted to connect to {address}")
        if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "localhost"):
            raise OSError(f"a tutorial wanted to know where {arguments[0]} is")

    sys.addaudithook(audit)


def _outputs(notebook: Notebook) -> Iterator[Outputs]:
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook), start=1):
        made: Outputs = []
        # Notes on the error output are not stored: whether numba compiles depends on the machine.
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            value = _shell(source(cell)) if is_shell(source(cell)) else _python(source(cell), names, number)
        if text := printed.getvalue():
            made.append({"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)})
        if value is not None:
            shown = {"text/plain": repr(value).splitlines(keepends=True)}
            made.append({"data": shown, "metadata": {}, "output_type": "execute_result"})
        yield made + list(_pictures())


def _python(text: str, names: dict[str, Any], number: int) -> Any:
    """Run a cell and return the value of its last expression, unless that ends in a semicolon."""
    place = f"<cell {number}>"
    tree = ast.parse(text, place)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, place, "exec"), names)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), place, "eval"), names)
    return None if text.rstrip().endswith(";") else value


def _shell(text: str) -> None:
    for line in text.splitlines():
        assert line.startswith("!"), f"a cell of commands has the line {line!r}"
        done = subprocess.run(
            ["bash", "-c", line[1:]], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        print(done.stdout, end="")
        if done.returncode:
            raise CellError(f"{line} ended with {done.returncode}:\n{done.stdout}")


def _pictures() -> Iterator[dict[str, Any]]:
    """Every open figure, as a notebook shows it at the end of a cell."""
    if "matplotlib.pyplot" not in sys.modules:
        return
    from matplotlib import pyplot
    from PIL import Image

    for number in pyplot.get_fignums():
        drawn, small = io.BytesIO(), io.BytesIO()
        pyplot.figure(number).savefig(drawn, dpi=DPI, bbox_inches="tight")
        Image.open(drawn).convert("RGB").quantize(COLOURS).save(small, "png", optimize=True)
        png = base64.b64encode(small.getvalue()).decode()
        shown = {"image/png": png, "text/plain": ["<Figure>"]}
        yield {"data": shown, "metadata": {}, "output_type": "display_data"}
    pyplot.close("all")


def _cells_of(path: Path, result: Path) -> None:
    _forbid_network()
    sys.path[0] = ""  # as in a kernel, in place of this file's folder
    try:
        made = list(_outputs(read(path)))
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        sys.exit(1)
    result.write_text(json.dumps(made), encoding="utf-8")


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--cells-of"]:
        return _cells_of(*map(Path, arguments[1:]))
    paths = list(map(Path, arguments)) or sorted(TUTORIALS.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as data:
        for path in paths:
            with tempfile.TemporaryDirectory() as folder:
                store(path, run(path, Path(folder), Path(data)))
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
