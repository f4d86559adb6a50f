"""A virtual environment in which neurozoo is installed as for a stranger, once for all tests of the documentation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("neurozoo", "recipes", "pyproject.toml", "README.md", "LICENSE")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a line of shell in the environment; no command of it reaches a network."""
    home = tmp_path_factory.mktemp("stranger")
    subprocess.run([sys.executable, ROOT / ".ci" / "fresh_venv.py", home / "env"], check=True, capture_output=True)
    unwanted = ("PIP_", "PYTHON", "NEUROZOO_", "PYTEST_", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)} | {
        "PATH": f"{home / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "NEUROZOO_DATA": str(home / "data"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        # Turns isolation off: pip reads the variable as the value of `build_isolation`.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }

    def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    # From a copy, since building writes beside the sources.
    source = home / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    installed = run("pip install --quiet ./source", home)
    assert installed.returncode == 0, installed.stdout
    return run
