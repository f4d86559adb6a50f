"""Test samples with noise, without some positions, and without some signals: the same for every model of a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neurozoo.core.signals import Batch, Signal
from neurozoo.data.view import DataView, ModalityStatistics, training_statistics
from neurozoo.studies.arena.description import Corruptions

__all__ = ["Corruption", "corrupted", "corruptions_of"]

SIZE = 64
"""Samples of a batch, whatever the recipe says: random numbers are drawn batch by batch."""


@dataclass(frozen=True)
class Corruption:
    """One way to change samples.

    Attributes:
        kind: ``noise``, ``frames`` (positions are lost), ``signal`` (one is lost in all samples) or ``without_one``.
        amount: Of noise in standard deviations, of the others the share of positions or samples.
        signal: The one that is lost, for ``signal``.
    """

    kind: str
    amount: float = 1.0
    signal: str = ""

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return {
            "noise": f"noise of {self.amount:g} times the deviation",
            "frames": f"{self.amount:.0%} of positions lost",
            "signal": f"{self.signal} lost",
            "without_one": f"one signal lost in {self.amount:.0%} of samples",
        }[self.kind]


def corruptions_of(section: Corruptions, signals: Sequence[str]) -> list[Corruption]:
    """Return the corruptions of an arena; signals are lost only where there are several."""
    found = [Corruption("noise", each) for each in section.noise]
    found += [Corruption("frames", each) for each in section.dropped_frames]
    if len(signals) > 1:
        found += [Corruption("signal", signal=name) for name in signals if section.dropped_signals]
        found += [Corruption("without_one", each) for each in section.without_one]
    return found


def corrupted(view: DataView, split: str, corruption: Corruption, seed: int, signals: Sequence[str]) -> Iterator[Batch]:
    """Yield a split's batches, changed.

    What is drawn depends on the corruption, the seed, and the signal's name and shape, and on nothing of the model.

    Args:
        view: The data as a model sees it.
        split: Its name.
        corruption: What to do.
        seed: Of the random numbers.
        signals: Names of all signals of the arena, in order, of which a model may see some; one of these is lost.
    """
    statistics = training_statistics(view) if corruption.kind == "noise" else {}
    generators = {name: _generator(corruption, seed, name) for name in ("", *view.signals)}
    for batch in view.batches(split, SIZE):
        lost = _lost(corruption, len(batch), signals, generators[""])
        changed = {
            name: _changed(signal, name, corruption, generators[name], lost.get(name), statistics)
            for name, signal in batch.signals.items()
        }
        yield replace(batch, signals=changed)


def _generator(corruption: Corruption, seed: int, signal: str) -> torch.Generator:
    text = f"{corruption.title}/{seed}/{signal}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.Generator().manual_seed(number)


def _lost(
    corruption: Corruption, samples: int, signals: Sequence[str], generator: torch.Generator
) -> dict[str, Tensor]:
    """Return ``[B]`` bool by signal, which samples lose it."""
    if corruption.kind == "signal":
        return {corruption.signal: torch.ones(samples, dtype=torch.bool)}
    if corruption.kind != "without_one":
        return {}
    which = torch.rand(samples, generator=generator) < corruption.amount
    one = torch.randint(len(signals), (samples,), generator=generator)
    return {name: which & (one == place) for place, name in enumerate(signals)}


def _changed(
    signal: Signal,
    name: str,
    corruption: Corruption,
    generator: torch.Generator,
    lost: Tensor | None,
    statistics: Mapping[str, ModalityStatistics],
) -> Signal:
    values, valid = signal.values, signal.mask
    if corruption.kind == "noise":
        noise = torch.randn(values.shape, generator=generator) * statistics[name].std.reshape(values.shape[2:])
        noise *= corruption.amount * valid.reshape(*valid.shape, *[1] * (values.dim() - 2))
        return Signal(values + noise.to(values.dtype), signal.valid)
    if corruption.kind == "frames":
        gone = torch.rand(valid.shape, generator=generator) < corruption.amount
    elif lost is None or not lost.any():
        return signal
    else:
        gone = lost[:, None].expand(valid.shape)
    kept = (valid & ~gone).reshape(*valid.shape, *[1] * (values.dim() - 2))
    return Signal(torch.where(kept, values, torch.zeros((), dtype=values.dtype)), valid & ~gone)
