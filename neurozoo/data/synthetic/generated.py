"""What all SYNTHETIC data sets share: a store that is generated on first use, and kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from neurozoo.data.locations import data_home
from neurozoo.data.made_once import made_once
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["Draw", "Drawn", "Generated"]

Drawn = tuple[Mapping[str, Any], Any, Mapping[str, Any]]
"""Signals, targets and masks of n samples or more, as :meth:`StoreWriter.add` takes them."""
Draw = Callable[[int, int, int], Drawn]
"""``(split, first, n)`` to n samples from ``first`` on; splits are 0 for train, 1 for valid and 2 for test."""


@dataclass(frozen=True, kw_only=True)
class Generated(ABC):
    """A SYNTHETIC data set; its fields are its parameters, ``size`` samples of ``train`` among them.

    Attributes:
        name: Its registered name, which ends in ``-synthetic``.
        version: Of its generator; a change of any value is a new one.
        what: What is generated, for the store's origin.
        block: Samples drawn at once.
        part: ``valid`` and ``test`` have ``size / part`` samples each, at least 1.
        least: Smallest allowed values of whole numbers.
        rates: Parameters in (0, 1].
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    what: ClassVar[str]
    block: ClassVar[int]
    part: ClassVar[int] = 4
    least: ClassVar[Mapping[str, int]]
    rates: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name, least in self.least.items():
            if self.options[name] < least:
                raise DataError(f"{self.name}: {name} is {self.options[name]}; it must be at least {least}")
        for name in self.rates:
            if not 0 < (rate := self.options[name]) <= 1:
                raise DataError(f"{self.name}: {name} is {rate}; a rate is in (0, 1]")

    @abstractmethod
    def _declaration(self) -> dict[str, Any]:
        """Return the arguments of :class:`StoreWriter` that say what is in the store."""

    def _drawing(self) -> Draw:
        """Return the function that draws samples; it is called in the order of the splits and samples."""
        return lambda split, first, _: self._block(np.random.default_rng([self.options["seed"], split, first]))

    def _block(self, random: np.random.Generator) -> Drawn:
        """Draw ``block`` samples; unless :meth:`_drawing` draws them."""
        raise NotImplementedError

    @property
    def options(self) -> dict[str, Any]:
        """The parameters by name; they are part of the folder's name and of the origin."""
        return asdict(self)

    @property
    def splits(self) -> dict[str, int]:
        """Samples by split, at least 1 each."""
        size = self.options["size"]
        return {"train": size} | dict.fromkeys(("valid", "test"), max(1, size // self.part))

    @property
    def path(self) -> Path:
        """Where the store is, or will be."""
        return data_home() / f"{self.name}-v{self.version}-{'-'.join(map(str, self.options.values()))}"

    def store(self) -> Store:
        """Return the data, generated on first use and kept.

        Raises:
            DataError: The folder cannot be written, or its content is not whole.
        """
        remedy = f"this one is SYNTHETIC: remove {self.path} to generate it again"
        return made_once(self.path, self.name, self._generate, remedy)

    def _generate(self) -> None:
        draw = self._drawing()
        with StoreWriter(self.path, origin=self.origin(), synthetic=True, **self._declaration()) as writer:
            for place, (split, samples) in enumerate(self.splits.items()):
                for first in range(0, samples, self.block):
                    n = min(self.block, samples - first)
                    signals, target, masks = draw(place, first, n)
                    values, valid = ({name: x[:n] for name, x in each.items()} for each in (signals, masks))
                    ids = [f"synthetic-{split}-{number:05d}" for number in range(first, first + n)]
                    writer.add(split, values, target[:n], ids, valid)

    def origin(self) -> dict[str, Any]:
        """Where the values come from, for the store."""
        return {
            "format": self.name,
            "source": f"SYNTHETIC: {self.what.format(version=self.version)}",
            "licence": "Apache-2.0",
            "citation": "none",
            "options": self.options,
        }
