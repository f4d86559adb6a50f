"""Read a pickle, torch, joblib or HDF5 file in a process of its own, and build plain values from its answer.

The process that answers has read a file that may be made to do harm, so every form, number and bound in its answer is
checked here, and no pickle comes back: a JSON document of values (see ``child.py``), and arrays as places in two files,
which are mapped into memory.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.untrusted.limits import LONGEST, REFUSED, Limits
from neurozoo.data.untrusted.npz import has_impossible_text
from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular

__all__ = ["read_hdf5", "read_untrusted"]

# Without site: nothing that is installed is needed, and none of its start-up code runs.
_FLAGS = ("-I", "-S", "-B")
_CODE = (
    "import sys; form, limits, *homes = sys.argv[1:]; sys.path.extend(homes); "
    "from neurozoo.data.untrusted.child import main; sys.exit(main(form, limits))"
)
# For HDF5 and numpy: one thread, no lock on the file, and no plugins.
_SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "HDF5_USE_FILE_LOCKING": "FALSE", "HDF5_PLUGIN_PRELOAD": "::"}
_LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_LONGEST_REASON = 2000
_DTYPE = re.compile(r"[<>]([biufcSUMm]\d{1,9}(\[\w{1,12}\])?|V2)")
_BFLOAT16 = "<V2"


def read_untrusted(path: Path, *, limits: Limits | None = None) -> Any:
    """Read a pickle, a torch file (zip or legacy) or a joblib file (also compressed); nothing in it is run.

    Args:
        path: The file.
        limits: How much memory, time and content it may take; by default those of the environment.

    Returns:
        Plain dict, list, tuple, set, str, int, float, complex, bool, None and bytes, and numpy arrays. Torch
        tensors are arrays (bfloat16 as float32), ``argparse.Namespace`` and defaultdict are a dict. Arrays are
        read-only and mapped into memory: copy one to change it.

    Raises:
        DataError: The file is missing, not a whole file of these kinds, holds anything else (named), or
            takes more than the limits allow.
    """
    return _read("pickle", path, limits or Limits())


def read_hdf5(path: Path, *, ragged: bool = False) -> dict[str, Any]:
    """Read an HDF5 file.

    Args:
        path: The file.
        ragged: Whether a dataset of rows of numbers that each have their own length is read, as a list of arrays; else
            it is refused.

    Returns:
        Groups as dicts; datasets as numpy arrays, or as a text (``str``) or None where they hold a single text or are
        empty. Arrays are read-only and mapped into memory: copy one to change it. Attributes are left out.

    Raises:
        DataError: The file is missing, not a whole HDF5 file, takes more than the limits allow, or holds a link that
            is not a hard one, a virtual or externally stored dataset, a filter that is not built in, or other types
            than numbers and text.
    """
    content = _read("hdf5-ragged" if ragged else "hdf5", path, Limits())
    if not isinstance(content, dict):
        raise DataError(f"{path}: what was read of it makes no sense; download it again")
    return content


def _read(form: str, path: Path, limits: Limits) -> Any:
    path = Path(path)
    with open_regular(path) as file, tempfile.TemporaryFile() as spool, tempfile.TemporaryFile() as answer:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise DataError(f"{path} is empty; download it again")
        if size > limits.file:
            raise DataError(
                f"{path} is {size / 2**30:.3g} GiB large, more than the {limits.file_gib:g} GiB allowed; "
                "set NEUROZOO_READ_FILE_GIB to more"
            )
        _run(form, path, file, spool, answer, limits, size)
        places = [_mapped(file), _mapped(spool)]
        try:
            return _Builder(places, limits.content(size)).value(json.loads(answer.read(LONGEST)))
        except Exception as error:  # no list of what a forged answer may lead to is complete
            reason = _one_line(f"{type(error).__name__}: {error}")[:200]
            raise DataError(f"{path}: what was read of it makes no sense ({reason}); download it again") from error


def _run(
    form: str, path: Path, file: IO[bytes], spool: IO[bytes], answer: IO[bytes], limits: Limits, size: int
) -> None:
    """Start the process, wait for it, and leave ``answer`` at the beginning of a whole one."""
    home = str(Path(__file__).parents[3])  # the folder that neurozoo is in
    command = [sys.executable, *_FLAGS, "-c", _CODE, form, json.dumps(asdict(limits)), home]
    if form.startswith("hdf5"):
        command += [str(Path(str(spec.origin)).parents[1]) for name in ("numpy", "h5py") if (spec := find_spec(name))]
    environment = {name: os.environ[name] for name in _LIBRARIES if name in os.environ} | _SETTINGS
    seconds = limits.time(size)
    try:
        process = subprocess.Popen(command, stdin=file, stdout=spool, stderr=answer, env=environment, cwd=home)
    except OSError as error:
        raise DataError(f"{path}: the process that reads it could not be started ({error.strerror})") from error
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path} {_too_slow(seconds)}") from None
    finally:
        process.kill()
        process.wait()
    answer.seek(0)
    if status == REFUSED:
        raise DataError(f"{path} is not read: {_one_line(answer.read(_LONGEST_REASON).decode('utf-8', 'replace'))}")
    if status == -getattr(signal, "SIGXCPU", 0):
        raise DataError(f"{path} {_too_slow(seconds)}")
    if status:
        last = _one_line(answer.read().decode("utf-8", "replace")[-200:])
        raise DataError(
            f"{path} is not read: the process that reads it ended with status {status}{f' ({last})' if last else ''}; "
            "it may need more memory (NEUROZOO_READ_MEMORY_GIB), or be made to do harm"
        )


def _too_slow(seconds: float) -> str:
    return (
        f"is not read: it took more than {seconds:.0f} s, and was stopped; if you trust it, set NEUROZOO_READ_SECONDS "
        "to more"
    )


def _one_line(text: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _mapped(file: IO[bytes]) -> Any:
    size = os.fstat(file.fileno()).st_size
    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""


class _Builder:
    """Builds values of an answer; ``content`` is what its arrays may come to, in bytes."""

    def __init__(self, places: list[Any], content: int) -> None:
        self._places, self._content = places, content
        self._arrays: dict[Any, NDArray[Any]] = {}

    def value(self, form: Any) -> Any:
        if isinstance(form, list):
            return [self.value(item) for item in form]
        if not isinstance(form, dict):
            return form
        ((kind, content),) = form.items()
        if kind == "dict":
            return {self.value(key): self.value(value) for key, value in content}
        if kind in ("tuple", "set"):
            items = (self.value(item) for item in content)
            return tuple(items) if kind == "tuple" else set(items)
        if kind == "complex":
            return complex(*content)
        if kind == "bytes":
            place, start, length = content
            return self._array("<u1", [length], [1], place, start).tobytes()
        if kind == "scalar":
            dtype, raw = content
            number = np.frombuffer(raw.encode("latin-1"), self._dtype(dtype), 1)
            return number.reshape(()) if dtype[1] in "Mm" else number[0].item()
        if kind == "objects":
            return self._objects(*content)
        if kind == "array":
            return self._array(*content)
        raise ValueError(f"the form {kind!r}")

    def _dtype(self, name: str) -> np.dtype[Any]:
        if not _DTYPE.fullmatch(name):
            raise ValueError(f"an array of {name!r}")
        return np.dtype("<u2" if name == _BFLOAT16 else name)

    def _array(self, name: str, shape: list[int], strides: list[int], place: int, start: int) -> NDArray[Any]:
        key = (name, tuple(shape), tuple(strides), place, start)
        if key not in self._arrays:
            self._arrays[key] = self._view(name, shape, strides, place, start)
        return self._arrays[key]

    def _view(self, name: str, shape: list[int], strides: list[int], place: int, start: int) -> NDArray[Any]:
        dtype = self._dtype(name)
        self._content -= prod(shape) * max(dtype.itemsize, 1)
        if self._content < 0 or min(shape + strides + [start], default=0) < 0:
            raise ValueError(f"an array of {shape}")
        held = np.dtype("<u1") if dtype == np.bool_ else dtype
        if not prod(shape) * dtype.itemsize:
            return np.zeros(shape, np.float32 if name == _BFLOAT16 else dtype)
        # numpy refuses what reaches beyond the buffer.
        array: NDArray[Any] = np.ndarray(shape, held, self._places[place], start, strides)
        if name == _BFLOAT16:
            # The upper half of a float32.
            widened: NDArray[np.uint32] = np.left_shift(array, 16, dtype=np.uint32)
            return widened.view(np.float32)
        if dtype == np.bool_:
            # Bytes other than 0 and 1 would make a bool that is neither.
            truth: NDArray[np.bool_] = array != 0
            return truth
        if has_impossible_text(array):
            raise ValueError("a text with characters that do not exist")
        return array

    def _objects(self, shape: list[int], items: list[Any]) -> NDArray[Any]:
        array = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):
            array[i] = self.value(item)
        return array.reshape(shape)
