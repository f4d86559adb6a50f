"""Set how OpenMP's threads wait for work, before torch is loaded, and record the setting.

torch computes with OpenMP, whose threads meet after every operation. In libgomp, the library of torch's wheels for
Linux, a waiting thread spins 300,000 times before it sleeps. If other processes need the cores, spinning threads use up
the time slices of the thread they wait for, and a training can come to a standstill. With ``GOMP_SPINCOUNT=1000`` a
training takes as long as before on an idle machine, and gets its fair share of a busy one.

libgomp reads its environment once, when it is loaded. Therefore ``import neurozoo`` sets the variable; it is the first
import of the command line and of every process that neurozoo starts. This module does not import torch.

Source: GNU libgomp manual, ``GOMP_SPINCOUNT`` and ``OMP_WAIT_POLICY``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

__all__ = ["SPIN_COUNT", "VARIABLES", "ThreadWaiting", "openmp_libraries", "thread_waiting"]

SPIN_COUNT = "1000"
"""Rounds that a thread spins before it sleeps, dimensionless; with 10,000 a busy machine takes twice as long."""

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables that set how threads wait: libgomp's, OpenMP's, and two of LLVM's and Intel's libraries."""

_OURS = {"GOMP_SPINCOUNT": SPIN_COUNT}


class ThreadWaiting(NamedTuple):
    """How the OpenMP threads of this process wait.

    Attributes:
        set_by: ``neurozoo`` if its own setting is in force, set here or inherited from another process of neurozoo;
            ``user`` if the environment had another one, which is left as it is; ``nobody`` if it was too late.
        variables: Those of :data:`VARIABLES` that are in force, with their values.
        loaded_first: What had read the environment before neurozoo was imported: ``torch``, ``libgomp`` (loaded by
            another library, which shares it with torch), or None.
    """

    set_by: Literal["neurozoo", "user", "nobody"]
    variables: Mapping[str, str]
    loaded_first: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record for ``environment.json``, with the OpenMP libraries that are loaded."""
        return {**self._asdict(), "libraries": openmp_libraries()}

    def describe(self) -> str:
        """Return the setting in force as a sentence, with what to do if there is none."""
        ours = " ".join(f"{name}={value}" for name, value in _OURS.items())
        if self.set_by == "nobody":
            return (
                f"{self.loaded_first} was loaded before neurozoo, so {ours} could not be set, and trainings can come "
                f"to a standstill on a busy machine; import neurozoo first, or set {ours} in the environment"
            )
        if self.set_by == "user":
            values = " ".join(f"{name}={value}" for name, value in self.variables.items())
            return f"{values}, from the environment"
        loaded = openmp_libraries()
        if loaded and "libgomp" not in loaded:
            return f"{ours}, set by neurozoo for libgomp, has no effect: {', '.join(loaded)} does not read it"
        return f"{ours}, set by neurozoo for libgomp"


@cache
def thread_waiting() -> ThreadWaiting:
    """Set how OpenMP's threads wait, unless the user has or it is too late; later calls return the first result.

    Child processes inherit the setting with the environment.
    """
    loaded_first = _loaded()
    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if not variables and loaded_first is None:
        os.environ.update(_OURS)
        variables = dict(_OURS)
    set_by: Literal["neurozoo", "user", "nobody"] = (
        "neurozoo" if variables == _OURS else "user" if variables else "nobody"
    )
    return ThreadWaiting(set_by, variables, loaded_first)


def openmp_libraries() -> list[str]:
    """Return the OpenMP libraries that this process has loaded, such as ``libgomp``; none if they are not known."""
    names = {Path(path).name.partition(".")[0].partition("-")[0] for path in _mapped_files()}
    return sorted(names & {"libgomp", "libiomp5", "libomp"})


def _loaded() -> str | None:
    if "torch" in sys.modules:
        return "torch"
    # The loader reuses a loaded library of this name, so another package's copy would serve torch too.
    return "libgomp" if any(Path(path).name.startswith("libgomp.so") for path in _mapped_files()) else None


def _mapped_files() -> set[str]:
    """Return the files that are mapped into this process's memory, shared libraries among them; Linux only."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
            return {fields[5].rstrip("\n") for fields in (line.split(maxsplit=5) for line in lines) if len(fields) > 5}
    except OSError:
        return set()
