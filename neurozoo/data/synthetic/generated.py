"""What all SYNTHETIC data sets share: a store that is generated on first use, and kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from neurozoo.data.locations import data_home
from neurozoo.data.store import Store
from neurozoo.errors import DataError

__all__ = ["Generated", "refuse_small"]


class Generated(ABC):
    """A SYNTHETIC data set.

    Attributes:
        name: Its registered name, which ends in ``-synthetic``.
        version: Of its generator; a change of any value is a new one.
        what: What is generated, for the store's origin.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    what: ClassVar[str]

    @property
    @abstractmethod
    def options(self) -> Mapping[str, Any]:
        """The parameters by name; they are part of the folder's name and of the origin."""

    @abstractmethod
    def _generate(self) -> None:
        """Write the store to :attr:`path`, whole or not at all."""

    @property
    def path(self) -> Path:
        """Where the store is, or will be."""
        return data_home() / f"{self.name}-v{self.version}-{'-'.join(map(str, self.options.values()))}"

    def store(self) -> Store:
        """Return the data, generated on first use and kept.

        Raises:
            DataError: The folder cannot be written, or its content is not whole.
        """
        if not self.path.exists():
            try:
                self._generate()
            except DataError:
                # Another process may have been faster; then its store is this one.
                if not self.path.exists():
                    raise
        try:
            return Store(self.path)
        except DataError as error:
            raise DataError(f"{error}; this one is SYNTHETIC: remove {self.path} to generate it again") from error

    def origin(self) -> dict[str, Any]:
        """Where the values come from, for the store."""
        return {
            "format": self.name,
            "source": f"SYNTHETIC: {self.what.format(version=self.version)}",
            "licence": "Apache-2.0",
            "citation": "none",
            "options": dict(self.options),
        }


def refuse_small(data: str, **numbers: tuple[int, int]) -> None:
    """Check whole numbers, each given with its least value.

    Raises:
        DataError: One is smaller.
    """
    for name, (value, least) in numbers.items():
        if value < least:
            raise DataError(f"{data}: {name} is {value}; it must be at least {least}")
