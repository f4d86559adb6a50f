"""Bringing a public data set to a folder: what is missing, what it takes, and each file whole and as it first was."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pooch

from neurozoo.data.fetch.catalogue import PublicData, PublicFile
from neurozoo.data.fetch.checksums import CHECKSUMS, Entry, Record, digest
from neurozoo.data.fetch.transfer import Transfer, remote_size
from neurozoo.data.foreign.hdf5 import open_hdf5
from neurozoo.data.importers.csd.segments import read_folds
from neurozoo.errors import ChangedError, FetchError, NeurozooError
from neurozoo.files.locks import lock_folder, unlock_folder

__all__ = ["Fetch", "Fetched", "Needs"]

Told = Callable[[str, int, int | None], None]
"""Called with a file's path, the bytes that are there, and of how many."""


@dataclass(frozen=True)
class Needs:
    """What fetching takes.

    Attributes:
        files: Paths that are missing.
        download: Bytes still to come; of files whose size the server does not say, none are counted.
        unsaid: Paths of those files.
        free: Bytes free where they go.
    """

    files: tuple[str, ...]
    download: int
    unsaid: tuple[str, ...]
    free: int


@dataclass(frozen=True)
class Fetched:
    """A file that is there.

    Attributes:
        path: Within the folder.
        state: ``fetched`` now, ``kept`` from before, or ``found``: put there by hand.
        bytes: Its size.
        sha256: Its checksum.
    """

    path: str
    state: str
    bytes: int
    sha256: str


class Fetch:
    """Fetches files of a public data set into a folder, or finds them there.

    Args:
        data: The data set.
        folder: Where its files go.
        only: Names of files; by default the usual ones.
        again: Whether files that are there are fetched anew.
        wait: Waits some seconds between two tries.

    Raises:
        UserError: A file is unknown, or the folder holds something else.
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
        self._record = Record.read(folder, data.name)
        self._sizes: dict[str, int | None] = {}

    @property
    def accepted(self) -> bool:
        """Whether the terms were accepted in this folder before."""
        return self._record.accepted == self.data.licence

    def needs(self) -> Needs:
        """Ask the servers how large the missing files are.

        Raises:
            FetchError: One cannot be reached; says which files to put where by hand.
        """
        missing = [file for file in self._files if self._wanted(file)]
        if {file.path for file in missing} != set(self._sizes):
            with self._by_hand():
                self._sizes = {file.path: remote_size(file.url) for file in missing}
        sizes = [size for size in self._sizes.values() if size is not None]
        begun = sum(self._transfer(file).begun for file in missing)
        unsaid = tuple(path for path, size in self._sizes.items() if size is None)
        there = next(each for each in (self.folder, *self.folder.absolute().parents) if each.exists())
        return Needs(tuple(self._sizes), max(sum(sizes) - begun, 0), unsaid, shutil.disk_usage(there).free)

    def run(self, told: Told = lambda path, done, of: None) -> list[Fetched]:
        """Bring what is missing, and hold all of it to its checksums.

        Args:
            told: Hears of each piece.

        Raises:
            ChangedError: A file is not what it was when it first came.
            FetchError: A file cannot be had; says which to put where by hand. What came is kept.
            NeurozooError: The folder cannot be written, or another process is at it.
        """
        needs = self.needs()
        if needs.download > needs.free:
            raise FetchError(
                [
                    f"{self.folder}: {needs.download:,} bytes are to come and {needs.free:,} are free; make room, "
                    "give another --to, or fetch less with --only"
                ]
            )
        with self._locked():
            # Again, now that nobody else writes to it.
            self._record = replace(Record.read(self.folder, self.data.name), accepted=self.data.licence)
            return [self._one(file, told) for file in self._files]

    def _one(self, file: PublicFile, told: Told) -> Fetched:
        path, known = self.folder / file.path, self._record.files.get(file.path)
        state = "kept" if known else "found"
        if self._wanted(file):
            state = "fetched"
            with self._by_hand():
                self._bring(file, known, told)
        found = digest(path)
        if known is None:
            self._look(path)
        elif found != known.sha256:
            raise ChangedError(
                f"{path}: changed since it first came: its SHA-256 is {found[:12]}..., and was {known.sha256[:12]}...; "
                "--again fetches it anew"
            )
        entry = Entry(file.url, path.stat().st_size, found)
        self._record = replace(self._record, files={**self._record.files, file.path: entry})
        self._record.write(self.folder)
        return Fetched(file.path, state, entry.bytes, found)

    def _bring(self, file: PublicFile, known: Entry | None, told: Told) -> None:
        pooch.get_logger().setLevel(logging.WARNING)
        path = self.folder / file.path
        try:
            came = pooch.retrieve(
                file.url,
                known_hash=known.sha256 if known else None,
                fname=f"{file.name}.whole",
                path=self._workspace,
                downloader=self._transfer(file, told),
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(came, path)
        except ValueError as error:  # pooch's word for a checksum that differs
            if known is None:
                raise
            raise ChangedError(
                f"{file.url}: the server has other bytes than when it was first fetched; what is in {self.folder} was "
                f"left alone. To take the new ones, remove {file.path!r} from {self.folder / CHECKSUMS}"
            ) from error
        except OSError as error:
            raise FetchError([f"{path}: {error.strerror or error}"]) from error

    def _transfer(self, file: PublicFile, told: Told = lambda path, done, of: None) -> Transfer:
        return Transfer(
            self._workspace / f"{file.name}.part",
            check=self._looking(file.path),
            told=lambda done, of: told(file.path, done, of),
            expected=self._sizes.get(file.path),
            wait=self._wait,
        )

    @property
    def _workspace(self) -> Path:
        """Where files are until they are whole."""
        return self.folder / ".fetching"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder and its workspace, for nobody else; what a killed process left unnamed is removed."""
        try:
            self._workspace.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FetchError(
                [f"{self.folder}: cannot be written: {error.strerror or error}; give another --to"]
            ) from error
        try:
            lock = lock_folder(self.folder, wait=False)
        except OSError as error:
            raise NeurozooError(f"{self.folder}: another process is fetching to it; wait for its end") from error
        try:
            for left in self._workspace.glob("tmp*"):  # pooch's own
                left.unlink()
            yield
        finally:
            with suppress(OSError):  # parts are in it
                self._workspace.rmdir()
            unlock_folder(lock)

    def _wanted(self, file: PublicFile) -> bool:
        return self._again or not (self.folder / file.path).is_file()

    def _look(self, path: Path) -> None:
        """Whether a file that was put there by hand is what it should be.

        Raises:
            DataError: It is not.
        """
        self._looking(path.name)(path)

    @staticmethod
    def _looking(name: str) -> Callable[[Path], None]:
        def hdf5(path: Path) -> None:
            open_hdf5(path).close()

        def folds(path: Path) -> None:
            read_folds(path, python=True)

        looks = {".csd": hdf5, ".h5": hdf5, ".py": folds}
        return looks.get(Path(name).suffix, lambda path: None)

    @contextmanager
    def _by_hand(self) -> Iterator[None]:
        """What to do where the network does not."""
        try:
            yield
        except FetchError as error:
            missing = [file for file in self._files if not (self.folder / file.path).is_file()]
            lines = [f"  {file.url}\n    -> {self.folder / file.path}" for file in missing]
            hint = "files that come by another way are taken from their places, and these are missing:"
            raise FetchError([*error.problems, *(["\n".join([hint, *lines])] if lines else [])]) from error
