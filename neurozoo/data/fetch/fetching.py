"""Fetch a public data set into a folder: only missing files, each complete, with its checksum recorded.

``checksums.json`` in the folder records each file's SHA-256 when it first arrives; later runs compare with it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from neurozoo.data.fetch.catalogue import PublicData, PublicFile
from neurozoo.data.fetch.layouts import LAYOUTS
from neurozoo.data.fetch.transfer import Transfer, remote_size
from neurozoo.data.importers.csd.labels import read_folds
from neurozoo.data.untrusted.process import read_hdf5
from neurozoo.errors import ChangedError, DataError, FetchError, NeurozooError
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.files.opening import read_bytes, sha256_of
from neurozoo.files.writing import write_whole

__all__ = ["Fetch", "Fetched", "Needs"]

_CHECKSUMS = "checksums.json"
_STRICT = ConfigDict(extra="forbid", strict=True)

OnProgress = Callable[[str, int, int | None], None]
"""Called with a file's path, the bytes received, and its size if known."""


@dataclass(frozen=True)
class Needs:
    """What fetching takes.

    Attributes:
        files: Paths of the missing files.
        download: Bytes still to download, without the files of unknown size.
        unsaid: Paths of the files whose size the server does not give.
        free: Free bytes on the folder's disk.
    """

    files: tuple[str, ...]
    download: int
    unsaid: tuple[str, ...]
    free: int


@dataclass(frozen=True)
class Fetched:
    """A file in the folder.

    Attributes:
        path: Within the folder.
        state: ``fetched`` now, ``kept`` from an earlier run, or ``found``: copied there by the user.
        bytes: Its size.
        sha256: Its checksum, hexadecimal.
    """

    path: str
    state: str
    bytes: int
    sha256: str


@checked(frozen=True, config=_STRICT)
class _Entry:
    """The record of one file: its address, size in bytes, and SHA-256, hexadecimal."""

    url: str
    bytes: int
    sha256: str


@checked(config=_STRICT)
class _Record:
    """The content of ``checksums.json``: the data set, the terms that were accepted, and the files by path."""

    name: str
    accepted: str = ""
    files: dict[str, _Entry] = field(default_factory=dict)


class Fetch:
    """Fetches files of a public data set into a folder, and checks those that are there already.

    Args:
        data: The data set.
        folder: Destination of its files.
        only: Names of files; by default the usual ones.
        again: Whether to download files that are there already.
        wait: Waits some seconds between two tries.

    Raises:
        UserError: A file is unknown, or the folder holds another data set.
    """

    def __init__(
        self,
        data: PublicData,
        folder: Path,
        only: Sequence[str] = (),
        *,
        again: bool = False,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.data, self.folder = data, folder
        self._files, self._again, self._wait = data.choose(only), again, wait
        self._record = self._read_record()
        self._sizes: dict[str, int | None] = {}
        self._workspace = folder / ".fetching"  # holds files until they are complete

    @property
    def accepted(self) -> bool:
        """Whether the terms were accepted in this folder before."""
        return self._record.accepted == self.data.licence

    def needs(self) -> Needs:
        """Ask the servers for the sizes of the missing files.

        Raises:
            FetchError: A server cannot be reached; lists the files to copy by hand.
        """
        missing = [file for file in self._files if self._is_wanted(file)]
        if {file.path for file in missing} != set(self._sizes):
            with self._hint_by_hand():
                self._sizes = {file.path: remote_size(file.url, file.hosts) for file in missing}
        total = sum(size for size in self._sizes.values() if size is not None)
        received = sum(self._transfer(file).received for file in missing)
        unsaid = tuple(path for path, size in self._sizes.items() if size is None)
        existing = next(each for each in (self.folder, *self.folder.absolute().parents) if each.exists())
        return Needs(tuple(self._sizes), max(total - received, 0), unsaid, shutil.disk_usage(existing).free)

    def run(self, on_progress: OnProgress = lambda path, done, size: None) -> list[Fetched]:
        """Download the missing files, and compare all files with their checksums.

        Raises:
            ChangedError: A file differs from its recorded checksum.
            FetchError: A file cannot be downloaded; lists the files to copy by hand. Received bytes are kept.
            NeurozooError: The folder cannot be written, or another process fetches into it.
        """
        needs = self.needs()
        if needs.download > needs.free:
            raise FetchError(
                f"{self.folder}: {needs.download:,} bytes are to come and {needs.free:,} are free; make room, "
                "give another --to, or fetch less with --only"
            )
        with self._locked():
            # Read again: another process may have changed the record before the lock.
            self._record = self._read_record()
            self._record.accepted = self.data.licence
            return [self._fetch(file, on_progress) for file in self._files]

    def _read_record(self) -> _Record:
        path = self.folder / _CHECKSUMS
        if not path.is_file():
            return _Record(self.data.name)
        try:
            record = TypeAdapter(_Record).validate_json(read_bytes(path))
        except (DataError, ValidationError) as error:
            raise DataError(f"{path} is not a record of checksums; remove it to record them again") from error
        if record.name != self.data.name:
            raise DataError(
                f"{self.folder} holds {record.name}, and not {self.data.name}; give another folder with --to"
            )
        return record

    def _fetch(self, file: PublicFile, on_progress: OnProgress) -> Fetched:
        path, known = self.folder / file.path, self._record.files.get(file.path)
        state = "kept" if known else "found"
        if self._is_wanted(file):
            state = "fetched"
            with self._hint_by_hand():
                self._download(file, known, on_progress)
        sha256 = sha256_of(path)
        if known is None:
            _check_content(path, file)
        elif sha256 != known.sha256:
            raise ChangedError(
                f"{path}: changed since it first came: its SHA-256 is {sha256[:12]}..., and was "
                f"{known.sha256[:12]}...; --again downloads it again"
            )
        size = path.stat().st_size
        self._record.files[file.path] = _Entry(file.url, size, sha256)
        write_whole(self.folder / _CHECKSUMS, (json.dumps(asdict(self._record), indent=2) + "\n").encode())
        return Fetched(file.path, state, size, sha256)

    def _download(self, file: PublicFile, known: _Entry | None, on_progress: OnProgress) -> None:
        path, transfer = self.folder / file.path, self._transfer(file, on_progress)
        transfer.run()
        try:
            if known is not None and sha256_of(transfer.part) != known.sha256:
                transfer.discard()
                raise ChangedError(
                    f"{file.url}: the server has other bytes than when it was first fetched; what is in {self.folder} "
                    f"was left alone. To take the new ones, remove {file.path!r} from {self.folder / _CHECKSUMS}"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(transfer.part, path)
        except OSError as error:
            raise FetchError(f"{path}: {error.strerror or error}") from error

    def _transfer(self, file: PublicFile, on_progress: OnProgress = lambda path, done, size: None) -> Transfer:
        return Transfer(
            file.url,
            file.hosts,
            self._workspace / f"{file.name}.part",
            check=lambda part: _check_content(part, file),
            on_progress=lambda done, size: on_progress(file.path, done, size),
            expected=self._sizes.get(file.path),
            wait=self._wait,
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the folder, and make the workspace."""
        try:
            self._workspace.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FetchError(
                f"{self.folder}: cannot be written: {error.strerror or error}; give another --to"
            ) from error
        try:
            lock = lock_folder(self.folder, wait=False)
        except BlockingIOError as error:
            raise NeurozooError(f"{self.folder}: another process is fetching to it; wait for its end") from error
        try:
            yield
        finally:
            with suppress(OSError):  # not empty: it holds parts to resume
                self._workspace.rmdir()
            unlock_folder(lock)

    def _is_wanted(self, file: PublicFile) -> bool:
        return self._again or not (self.folder / file.path).is_file()

    @contextmanager
    def _hint_by_hand(self) -> Iterator[None]:
        """Add to a FetchError which files can be copied to which paths by hand."""
        try:
            yield
        except FetchError as error:
            missing = [file for file in self._files if not (self.folder / file.path).is_file()]
            lines = [f"  {file.url}\n    -> {self.folder / file.path}" for file in missing]
            hint = "files copied by other means are used if they are at these paths; missing are:"
            raise FetchError(*error.problems, *(["\n".join([hint, *lines])] if lines else [])) from error


def _check_content(path: Path, file: PublicFile) -> None:
    """Refuse what is at a path if it does not have the content of a file."""
    suffix = Path(file.path).suffix
    if file.layout:
        LAYOUTS[file.layout](path)
    elif suffix in (".csd", ".h5"):
        read_hdf5(path)
    elif suffix == ".py":
        read_folds(path, python=True)
