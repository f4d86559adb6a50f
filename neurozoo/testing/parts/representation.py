"""What a representation must do: the shape that it names, and for a sample alone what it gives in a batch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from neurozoo.core.representation import Representation
from neurozoo.core.signals import Signal, SignalShape
from neurozoo.errors import DataError
from neurozoo.testing.findings import Findings, require
from neurozoo.testing.kits import Kit, cases_of
from neurozoo.testing.parts import parameters

_FORMS = (
    replace(SignalShape.events((6,), 60, tick=0.001), span=90),
    replace(SignalShape.events((2, 5, 4), 60), span=90_000),
    SignalShape((), 4000, "int16", tick=1 / 8000),
    SignalShape((2,), 700, "float32", tick=1 / 250),
    SignalShape((5,), 12),
    SignalShape((4,), 12, "bool", ragged=False, tick=0.004),
    SignalShape((2, 8, 8), 9, "uint8", ragged=False, tick=0.01),
)
"""Channels, a camera, a waveform, leads, features, spike trains and frames."""
_LENGTHS = (0.7, 0.0, 1.0, 0.35)
"""Of the samples of a ragged signal, as shares of the longest: one is empty."""


class RepresentationSubject(Findings):
    """A representation under test."""

    def accepted(self) -> Iterator[tuple[SignalShape, Representation]]:
        """The forms of signals that it does not refuse."""

        def build(stored: SignalShape) -> Representation:
            made: Representation = self.candidate.target(**self.candidate.params)
            made.shape(stored)
            return made

        for stored, made in self.built(_FORMS, build, str):
            self.at = f"{stored.dtype} {stored}"
            yield stored, made


def gives_the_shape_it_names(subject: RepresentationSubject) -> None:
    """Axes, dtype and length as ``shape`` says; ``valid`` only if it is ragged; events in order and on the sensor."""
    for stored, made in subject.accepted():
        seen, found = made.shape(stored), made(_signal(stored), stored)
        x, samples = found.values, len(_LENGTHS)
        dtype = str(x.dtype).removeprefix("torch.")
        require(dtype == seen.dtype, f"it gives {dtype} and names {seen.dtype}: {subject.at}")
        axes = [samples, x.shape[1], *seen.shape]
        require(list(x.shape) == axes, f"it gives {list(x.shape)}, not {axes}: {subject.at}")
        fits = 1 <= x.shape[1] <= seen.length and (seen.ragged or x.shape[1] == seen.length)
        require(fits, f"it gives {x.shape[1]} positions and names {seen.length}: {subject.at}")
        if found.valid is not None:
            form = found.valid.dtype == torch.bool and found.valid.shape == x.shape[:2]
            require(form, f"valid is {found.valid.dtype} {list(found.valid.shape)}: {subject.at}")
        require(
            (found.valid is not None) == seen.ragged,
            f"ragged is {seen.ragged} and valid is {'there' if found.valid is not None else 'None'}: {subject.at}",
        )
        require(torch.isfinite(x[found.mask].double()).all(), f"a valid value is not finite: {subject.at}")
        if seen.sensor is not None:
            _check_events(found, seen, subject.at)
        subject.compared += x.numel()


def samples_are_alone(subject: RepresentationSubject) -> None:
    """A sample has the same bits alone, in another order and among others, at its valid positions."""
    for stored, made in subject.accepted():
        signal = _signal(stored)
        together = _rows(made(signal, stored))
        for order in ([2, 0, 3, 1], *([i] for i in range(len(_LENGTHS)))):
            chosen = Signal(signal.values[order], None if signal.valid is None else signal.valid[order])
            if chosen.valid is not None:
                longest = max(1, int(chosen.valid.sum(1).max()))
                chosen = Signal(chosen.values[:, :longest], chosen.valid[:, :longest])
            for sample, row in zip(order, _rows(made(chosen, stored)), strict=True):
                same = torch.equal(row, together[sample])
                require(same, f"sample {sample} differs among the samples {order}: {subject.at}")
                subject.compared += row.numel()


def padding_does_not_matter(subject: RepresentationSubject) -> None:
    """More padding, and other values in it, change no valid position."""
    for stored, made in subject.accepted():
        signal = _signal(stored)
        if signal.valid is None:
            continue
        more = signal.values.new_ones((len(signal), 3, *signal.values.shape[2:]))
        values = torch.cat([signal.values, more], 1)
        valid = torch.cat([signal.valid, torch.zeros(len(signal), 3, dtype=torch.bool)], 1)
        if stored.sensor is None:  # padding of events is 0 in every store
            values = values.masked_fill(~valid.reshape(*valid.shape, *[1] * (values.dim() - 2)), 1)
        else:
            values[:, -3:] = 0
        longer = replace(stored, length=stored.length + 3)
        for got, want in zip(_rows(made(Signal(values, valid), longer)), _rows(made(signal, stored)), strict=True):
            require(torch.equal(got, want), f"padding changes a valid position: {subject.at}")
            subject.compared += got.numel()


def draws_nothing(subject: RepresentationSubject) -> None:
    """Twice the same bits, from no random numbers, by one object and by another; the signal stays as it is."""
    for stored, made in subject.accepted():
        signal = _signal(stored)
        before, state = signal.values.clone(), torch.random.get_rng_state()
        found = [
            _rows(each(signal, stored)) for each in (made, made, subject.candidate.target(**subject.candidate.params))
        ]
        require(torch.equal(torch.random.get_rng_state(), state), f"it draws random numbers: {subject.at}")
        require(torch.equal(signal.values, before), f"it changes the signal in place: {subject.at}")
        for other in found[1:]:
            same = all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))
            require(same, f"a second call gives something else: {subject.at}")
            subject.compared += sum(each.numel() for each in other)


def targets_follow_or_are_refused(subject: RepresentationSubject) -> None:
    """A target for each position becomes one for each of the result's, or a DataError says that there is no rule."""
    for stored, made in subject.accepted():
        signal = _signal(stored)
        target = torch.arange(signal.values.shape[1]).expand(len(signal), -1)
        try:
            found = made.steps(Signal(target, signal.valid), stored)
        except DataError as error:
            subject.refuse(f"targets of {subject.at}: {error}")
            continue
        given, wanted = list(found.values.shape), list(made(signal, stored).values.shape[:2])
        require(given == wanted, f"targets are {given} and positions {wanted}: {subject.at}")


def _signal(stored: SignalShape) -> Signal:
    """Return four samples as a store reads them, always the same."""
    drawn = torch.Generator().manual_seed(stored.length)
    lengths = [round(share * stored.length) if stored.ragged else stored.length for share in _LENGTHS]
    shape = (len(lengths), stored.length, *stored.shape)
    dtype: torch.dtype = getattr(torch, stored.dtype)
    if stored.sensor is not None:
        time = torch.randint(0, stored.span or 1, shape[:2], generator=drawn)
        valid = torch.arange(stored.length) < torch.tensor(lengths)[:, None]
        time = time.masked_fill(~valid, stored.span or 1).sort(1).values
        values = torch.stack([time, torch.randint(0, stored.addresses, shape[:2], generator=drawn)], 2).to(dtype)
    elif dtype.is_floating_point:
        values = torch.randn(shape, generator=drawn, dtype=dtype)
    else:
        most = {"bool": 2, "uint8": 256}.get(stored.dtype, 3000)
        values = torch.randint(0, most, shape, generator=drawn).to(dtype)
    if not stored.ragged:
        return Signal(values)
    valid = torch.arange(stored.length) < torch.tensor(lengths)[:, None]
    return Signal(values.masked_fill(~valid.reshape(*valid.shape, *[1] * len(stored.shape)), 0), valid)


def _rows(signal: Signal) -> list[Tensor]:
    """Return what is valid of each sample."""
    return [x[valid] for x, valid in zip(signal.values, signal.mask, strict=True)]


def _check_events(found: Signal, seen: SignalShape, at: str) -> None:
    for row in _rows(found):
        time, address = row.long().unbind(1)
        inside = (time >= 0) & (time < (seen.span or 0)) & (address >= 0) & (address < seen.addresses)
        require(inside.all(), f"an event is outside of the span {seen.span} or the sensor {seen.sensor}: {at}")
        require((time.diff() >= 0).all(), f"times of a sample fall: {at}")


REPRESENTATION = Kit(
    "representation",
    RepresentationSubject,
    cases_of(sys.modules[__name__], parameters),
    tiny=("gives_the_shape_it_names",),
)
