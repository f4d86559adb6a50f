"""An encoder under test, the blocks that it is given, and how its results are held against theirs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from neurozoo.core.interfaces import Encoder, Layout, Tokens
from neurozoo.nn.attention import EncoderBlock
from neurozoo.testing.findings import ConformanceError, Findings
from neurozoo.testing.parts.inputs import SAMPLES, made_up_mask, made_up_sequence
from neurozoo.testing.parts.layouts import describe, layout_of
from neurozoo.testing.parts.subject import hold

__all__ = ["TOLERANCES", "EncoderSubject", "Round", "by_blocks", "gradients", "loss_of"]

TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5}
"""Allowed difference of results, as a share of the largest: above rounding, below what anything wrong does."""

_FORMS = ((12, 3), (10, 5), (8, 1))
"""Features D and heads H."""
_QUERIES, _SOURCES = (6, 6, 4), (5, 5, 9)
"""Lengths by block: two alike and one of its own."""


@dataclass(frozen=True)
class Round:
    """Blocks that do not wait for one another, with what they are given.

    Attributes:
        layout: What the encoder was made of.
        blocks: In evaluation.
        queries: One a block.
        sources: One a block; the same objects as the queries where blocks attend to their own.
        where: All that in words.
    """

    layout: Layout
    blocks: list[EncoderBlock]
    queries: list[Tokens]
    sources: list[Tokens]
    where: str

    def changed(self, change: Callable[[Tokens], Tokens]) -> Round:
        """The same with other sequences; what attended to itself does so still."""
        queries = [change(each) for each in self.queries]
        sources = queries if self.sources is self.queries else [change(each) for each in self.sources]
        return replace(self, queries=queries, sources=sources)

    def copied(self) -> Round:
        """The same with blocks of its own, and sequences that are leaves of a graph."""
        return replace(self.changed(_leaf), blocks=copy.deepcopy(self.blocks))


class EncoderSubject(Findings):
    """An encoder under test."""

    def rounds(self, *, dropout: float = 0.0) -> Iterator[Round]:
        """Blocks of several widths, which attend to their own query or to another sequence, with and without masks.

        Args:
            dropout: Of the blocks; it takes part in training alone.

        Raises:
            ConformanceError: The encoder refuses every layout.
        """
        for layout in self._layouts():
            for dtype, masks, own in product(TOLERANCES, ("mixed", "none", "empty"), (True, False)):
                yield _made_up(layout, dtype, masks, own, dropout)

    def one_round(self, dtype: torch.dtype = torch.float32) -> Round:
        """The first of them: with masks, and blocks that attend to another sequence."""
        return _made_up(next(self._layouts()), dtype, "mixed", False, 0.0)

    def encoder(self, layout: Layout) -> Encoder:
        """A new one."""
        made: Encoder = self.candidate.target(layout, **self.candidate.params)
        return made

    def encode(self, given: Round) -> list[Tokens]:
        """What a new encoder makes of a round.

        Raises:
            ConformanceError: It is not a sequence for each query, of the query's shape.
        """
        found = self.encoder(given.layout).encode(given.blocks, given.queries, given.sources)
        if len(found) != len(given.queries):
            raise ConformanceError(f"encode gives {len(found)} sequences for {len(given.queries)}: {given.where}")
        for query, each in zip(given.queries, found, strict=True):
            if not isinstance(each, Tokens):
                raise ConformanceError(f"encode gives {type(each).__name__}, and not Tokens: {given.where}")
            if each.x.shape != query.x.shape:
                raise ConformanceError(f"{list(each.x.shape)} for a query {list(query.x.shape)}: {given.where}")
        return found

    def hold_results(self, got: Sequence[Tokens], want: Sequence[Tokens], where: str, tolerance: float) -> None:
        """Two rounds' results are the same at the rows that count.

        Raises:
            ConformanceError: They are not.
        """
        for place, (one, other) in enumerate(zip(got, want, strict=True)):
            hold(self, _valid(one.x, other), _valid(other.x, other), f"block {place}, {where}", tolerance)

    def _layouts(self) -> Iterator[Layout]:
        forms = [layout_of(("audio", "vision"), "text", hidden=hidden, heads=heads) for hidden, heads in _FORMS]
        for layout, _ in self.built(forms, self.encoder, describe):
            yield layout


def by_blocks(given: Round) -> list[Tokens]:
    """What the blocks make of it themselves, one after another."""
    return [block(*each) for block, *each in zip(given.blocks, given.queries, given.sources, strict=True)]


def loss_of(given: Round, found: Sequence[Tokens]) -> Tensor:
    """A sum in which each valid number of the results counts by one of its own, float64."""
    generator = torch.Generator().manual_seed(9)
    loss = torch.zeros((), dtype=torch.float64)
    for query, each in zip(given.queries, found, strict=True):
        share = torch.randn(each.x.shape, generator=generator, dtype=torch.float64)
        loss = loss + (_valid(each.x, query).double() * _valid(share, query)).sum()
    return loss


def gradients(given: Round, found: Sequence[Tokens]) -> dict[str, Tensor]:
    """Of :func:`loss_of`, by sequences and parameters; zeros where there is none.

    Raises:
        ConformanceError: The results have no gradient.
    """
    if not all(each.x.requires_grad for each in found):
        raise ConformanceError(f"a result has no gradient: it was detached, or made without one: {given.where}")
    wanted = {f"query {place}": each.x for place, each in enumerate(given.queries)}
    if given.sources is not given.queries:
        wanted |= {f"source {place}": each.x for place, each in enumerate(given.sources)}
    for place, block in enumerate(given.blocks):
        wanted |= {f"block {place} {name}": x for name, x in block.named_parameters()}
    made = torch.autograd.grad(loss_of(given, found), list(wanted.values()), materialize_grads=True)
    return dict(zip(wanted, made, strict=True))


def _made_up(layout: Layout, dtype: torch.dtype, masks: str, own: bool, dropout: float) -> Round:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(layout.hidden)
        blocks = [EncoderBlock(layout.hidden, layout.heads, dropout, dropout).to(dtype).eval() for _ in _QUERIES]
        for block in blocks:
            for parameter in block.parameters():  # norms and biases would be alike otherwise
                torch.nn.init.normal_(parameter, std=0.4)
    queries = [_sequence(length, layout.hidden, dtype, masks, place) for place, length in enumerate(_QUERIES)]
    sources = [_sequence(length, layout.hidden, dtype, masks, 3 + place) for place, length in enumerate(_SOURCES)]
    where = f"{dtype}, hidden {layout.hidden}, heads {layout.heads}, masks {masks}, "
    where += "each attends to itself" if own else "each attends to another sequence"
    return Round(layout, blocks, queries, queries if own else sources, where)


def _sequence(length: int, width: int, dtype: torch.dtype, masks: str, place: int) -> Tokens:
    mask = None if masks == "none" else made_up_mask(length, place, place)
    if mask is not None and masks == "empty":
        mask[SAMPLES - 1] = False
    made = made_up_sequence(length, width, mask, place).of(f"sequence {place}")
    return made.with_x(made.x.to(dtype))


def _leaf(sequence: Tokens) -> Tokens:
    return sequence.with_x(sequence.x.detach().clone().requires_grad_())


def _valid(x: Tensor, sequence: Tokens) -> Tensor:
    return x if sequence.mask is None else x[sequence.mask]
