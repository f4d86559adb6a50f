"""Checks of downloaded event data: whether a file is whole and of the layout that its importer reads."""

from __future__ import annotations

import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from neurozoo.data.importers.events.aedat import AEDAT2
from neurozoo.data.importers.events.gesture import GESTURES
from neurozoo.data.importers.events.shd import read_shd
from neurozoo.data.untrusted.limits import Limits
from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular

__all__ = ["LAYOUTS"]

_DIGIT = re.compile(r"(?:Train|Test)/[0-9]/\d+\.bin$")
_PICTURE = re.compile(r"(?:[a-z]+/)?cifar10_[a-z]+_\d+\.aedat$")
_GESTURE = re.compile(r"(?:\./)?ibmGesture(?:Train|Test)/user\d+_\w+/(\d+)\.npy$")
_NPY = b"\x93NUMPY"
_PIECE = 2**20


def _check_shd(path: Path) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        read_shd(path, Path(folder), packed=".gz")


def _check_n_mnist(path: Path) -> None:
    def problem(info: zipfile.ZipInfo, start: bytes) -> str:
        return "is no whole number of events, five bytes each" if info.file_size % 5 or not start else ""

    _check_zip(path, _DIGIT, "Train/D/NNNNN.bin or Test/D/NNNNN.bin", problem)


def _check_cifar10_dvs(path: Path) -> None:
    def problem(_: zipfile.ZipInfo, start: bytes) -> str:
        return "" if start.startswith(AEDAT2) else f"does not begin with {AEDAT2.decode()}"

    _check_zip(path, _PICTURE, "cifar10_CLASS_N.aedat", problem)


def _check_zip(path: Path, name: re.Pattern[str], form: str, problem: Callable[[zipfile.ZipInfo, bytes], str]) -> None:
    """Read every member that has the name, to its checksum.

    Raises:
        DataError: It is no whole archive, has no such member, or one has a problem.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = [info for info in archive.infolist() if name.search(info.filename)]
            if not members:
                first = ", ".join(info.filename for info in archive.infolist()[:5])
                raise DataError(f"{path} holds no {form}; it holds {first or 'nothing'}")
            for info in members:
                with archive.open(info) as member:
                    start = member.read(_PIECE)
                    if words := problem(info, start):
                        raise DataError(f"{path}: {info.filename} {words}")
                    while member.read(_PIECE):
                        pass
    except (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no whole zip archive ({error}); download it again") from error


def _check_gesture(path: Path) -> None:
    """Pass through a tar archive once; nothing is unpacked."""
    found, left = 0, Limits().content(path.stat().st_size)
    try:
        with open_regular(path) as file, tarfile.open(fileobj=file, mode="r|gz") as archive:
            for member in archive:
                left -= max(member.size, 512)
                if left < 0:
                    raise DataError(f"{path} unpacks to more than is allowed; it is no archive of this data set")
                if (name := _GESTURE.match(member.name)) is None:
                    continue
                content = archive.extractfile(member) if member.isfile() else None
                if content is None or content.read(len(_NPY)) != _NPY or int(name[1]) >= len(GESTURES):
                    raise DataError(f"{path}: {member.name} is no npy file of a class 0 to {len(GESTURES) - 1}")
                found += 1
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path} is no whole tar.gz archive ({error}); download it again") from error
    if not found:
        raise DataError(f"{path} holds no ibmGestureTrain/userNN_LIGHT/C.npy")


LAYOUTS: Mapping[str, Callable[[Path], None]] = {
    "shd": _check_shd,
    "n-mnist": _check_n_mnist,
    "cifar10-dvs": _check_cifar10_dvs,
    "dvs128-gesture": _check_gesture,
}
"""By name: raises DataError for a file of another layout, or that is not whole."""
