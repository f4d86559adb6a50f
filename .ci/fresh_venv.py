"""Make a new virtual environment that borrows this one's packages, and nothing of neurozoo.

usage: python .ci/fresh_venv.py FOLDER

The packages are linked one by one, with the commands they bring: torch once more would take minutes.
Editable installs are left out, and so is neurobench, which only the tests want and which is there without all that it
declares.
"""

from __future__ import annotations

import sys
import sysconfig
import venv
from importlib.metadata import entry_points
from pathlib import Path

NOT_BORROWED = ("neurozoo", "neurobench", "__editable__", "__pycache__")


def make(folder: Path) -> Path:
    """Make the environment in a new folder; returns its Python."""
    venv.create(folder, symlinks=True)
    scripts, packages = (
        Path(sysconfig.get_path(each, "venv", {"base": str(folder)})) for each in ("scripts", "purelib")
    )
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for item in Path(sysconfig.get_path("purelib")).iterdir():
        if not item.name.startswith(NOT_BORROWED) and item.suffix != ".pth":
            (borrowed / item.name).symlink_to(item)
    (packages / "borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")
    python = scripts / "python"
    for command in entry_points(group="console_scripts"):
        if not command.module.startswith(NOT_BORROWED):
            script = scripts / command.name
            call = f"import sys\nfrom {command.module} import {command.attr}\nsys.exit({command.attr}())\n"
            script.write_text(f"#!{python}\n{call}", encoding="utf-8")
            script.chmod(0o755)
    return python


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(make(Path(sys.argv[1]).absolute()))
