"""Encoders that are wrong on purpose: each case catches the one that it is there for."""

from __future__ import annotations

import copy
import threading

import pytest
import torch

from neurozoo.core.interfaces import Encoder, Tokens
from neurozoo.errors import SpikingError
from neurozoo.nn.attention import EncoderBlock
from neurozoo.nn.dropout import Dropout
from neurozoo.testing import KITS, Candidate, ConformanceError, check

CASES = KITS["encoder"].cases


class Sound(Encoder):
    """Right: the blocks one after another."""

    def encode(self, blocks, queries, sources):
        return [self.one(block, query, source) for block, query, source in zip(blocks, queries, sources, strict=True)]

    def one(self, block, query, source):
        return block(query, source)


class Scaled(Sound):
    """A little larger than it should be."""

    def one(self, block, query, source):
        found = block(query, source)
        return found.with_x(1.001 * found.x)


class ForgetsMasks(Sound):
    """Padding is asked too."""

    def one(self, block, query, source):
        return block(query, Tokens(source.x, None, source.position))


class TakesMemoryAsItComes(Sound):
    """Reads memory as if all were laid out alike."""

    def one(self, block, query, source):
        if source.x.is_contiguous():
            return block(query, source)
        return block(query, source.with_x(source.x.transpose(0, 1).reshape(source.x.shape)))


class CountsFromZero(Sound):
    """Sees places, and not positions."""

    def one(self, block, query, source):
        found = block(query, Tokens(source.x, source.mask, torch.arange(source.x.shape[1])[None]))
        return query.with_x(found.x)


class FewerThanAsked(Sound):
    """Leaves the last block out."""

    def encode(self, blocks, queries, sources):
        return super().encode(blocks[:-1], queries[:-1], sources[:-1])


class Tensors(Sound):
    """Gives tensors."""

    def one(self, block, query, source):
        return block(query, source).x


class SourcesPlaces(Sound):
    """Says that its results lie where the sources do."""

    def one(self, block, query, source):
        return Tokens(block(query, source).x, query.mask, query.position)


class HalfPrecision(Sound):
    """Gives float32 always."""

    def one(self, block, query, source):
        found = block(query, source)
        return found.with_x(found.x.float())


class DrawsAlways(Sound):
    """Draws dropout's numbers in evaluation too."""

    def one(self, block, query, source):
        torch.rand(1)
        return block(query, source)


class ChangesItsInput(Sound):
    """Works in place."""

    def one(self, block, query, source):
        with torch.no_grad():
            query.x.mul_(1.0001)
        return block(query, source)


class AddsPadding(Sound):
    """A little of the mean over all rows."""

    def one(self, block, query, source):
        found = block(query, source)
        return found.with_x(found.x + 1e-9 * source.x.mean())


class Neighbours(Sound):
    """A little of the first sample."""

    def one(self, block, query, source):
        found = block(query, source)
        return found.with_x(found.x + 1e-3 * found.x[:1, :1])


class Detached(Sound):
    """No gradient reaches the source."""

    def one(self, block, query, source):
        return block(query, source if source is query else source.with_x(source.x.detach()))


class NoGradient(Sound):
    """There is no gradient at all."""

    def one(self, block, query, source):
        found = block(query, source)
        return found.with_x(found.x.detach())


class Remembers(Sound):
    """Keeps the weights of the first call."""

    def __init__(self, layout):
        super().__init__(layout)
        self.kept = {}

    def one(self, block, query, source):
        if torch.is_grad_enabled():
            return block(query, source)
        if id(block) not in self.kept:
            self.kept[id(block)] = block, copy.deepcopy(block)
        return self.kept[id(block)][1](query, source)


class Rebuilt(Sound):
    """Takes the parameters, and nothing else of a block."""

    def one(self, block, query, source):
        return self.of(block)(query, source)

    def of(self, block):
        made = EncoderBlock(query_width(block), block.attention.heads, block.dropout.p, block.attention.dropout.p)
        made.train(block.training)
        for name, part in made.named_modules():
            for own in list(part._parameters):
                part._parameters[own] = getattr(block.get_submodule(name), own)
        return made


def query_width(block: EncoderBlock) -> int:
    return block.inner.weight.shape[1]


class Deaf(Rebuilt):
    """Sees everything but who listens."""

    def of(self, block):
        if type(block) is not EncoderBlock or any("forward" in part.__dict__ for part in block.modules()):
            return block
        twin = copy.copy(block)
        twin.__dict__["_modules"] = {name: without_hooks(part) for name, part in block._modules.items()}
        return without_hooks(twin)


def without_hooks(module):
    twin = copy.copy(module)
    twin.__dict__["_forward_hooks"] = {}
    twin.__dict__["_modules"] = {name: without_hooks(part) for name, part in module._modules.items()}
    return twin


class SeededAnew(Sound):
    """The same dropout at each call."""

    def one(self, block, query, source):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return block(query, source)


class DropsByItself(Sound):
    """Its random numbers are not torch's."""

    def encode(self, blocks, queries, sources):
        if not blocks[0].training:
            return super().encode(blocks, queries, sources)
        with torch.random.fork_rng(devices=[]):
            torch.seed()
            return super().encode(blocks, queries, sources)


class WithP(Sound):
    """Another probability."""

    factor = 1.0

    def one(self, block, query, source):
        dropouts = [part for part in block.modules() if isinstance(part, Dropout)]
        before = [part.p for part in dropouts]
        try:
            for part in dropouts:
                part.p = self.p(part.p)
            return block(query, source)
        finally:
            for part, p in zip(dropouts, before, strict=True):
                part.p = p

    def p(self, p):
        return p


class DropsHalf(WithP):
    """Always half."""

    def p(self, p):
        return 0.5 if p else 0.0


class DropsLess(WithP):
    """Of what is to be dropped, 1 in 10 is kept; what is kept is multiplied accordingly."""

    def p(self, p):
        return 0.9 * p


class AnotherDropoutBackwards(Sound):
    """The backward draws anew."""

    def one(self, block, query, source):
        if not block.training or not torch.is_grad_enabled():
            return block(query, source)
        found, other = block(query, source), block(query, source)
        return found.with_x(other.x + (found.x - other.x).detach())


class HalvedByAutocast(Sound):
    """Gives what its last linear would give under autocast, and not the norm after it."""

    def one(self, block, query, source):
        found = block(query, source)
        return found.with_x(found.x.bfloat16()) if torch.is_autocast_enabled("cpu") else found


class OnTheCPU(Sound):
    """Makes a tensor where tensors are by default."""

    def one(self, block, query, source):
        found = block(query, source)
        return found.with_x(found.x + torch.zeros(found.x.shape[-1], dtype=found.x.dtype))


class Locked(Sound):
    """Has a lock, which cannot be copied."""

    def __init__(self, layout):
        super().__init__(layout)
        self.lock = threading.Lock()


class LooksAtNumbers(Sound):
    """Does what depends on a number, which breaks a graph."""

    def one(self, block, query, source):
        return block(query, source) if torch.isfinite(query.x).all().item() else query


class WithoutAnnotation(Sound):
    """A parameter that no recipe's value is checked for."""

    def __init__(self, layout, *, depth=2):
        super().__init__(layout)


class NeverFits(Sound):
    """Refuses all."""

    def __init__(self, layout):
        raise SpikingError("a width of 7 is needed")


WRONG = [
    (Scaled, "computes_what_the_blocks_do"),
    (ForgetsMasks, "computes_what_the_blocks_do"),
    (TakesMemoryAsItComes, "computes_what_the_blocks_do"),
    (CountsFromZero, "computes_what_the_blocks_do"),
    (NeverFits, "computes_what_the_blocks_do"),
    (FewerThanAsked, "keeps_the_places_of_queries"),
    (Tensors, "keeps_the_places_of_queries"),
    (SourcesPlaces, "keeps_the_places_of_queries"),
    (HalfPrecision, "keeps_the_places_of_queries"),
    (DrawsAlways, "keeps_the_places_of_queries"),
    (ChangesItsInput, "keeps_the_places_of_queries"),
    (AddsPadding, "padding_does_not_matter"),
    (Neighbours, "samples_are_by_themselves"),
    (Detached, "gradients_are_the_blocks"),
    (NoGradient, "gradients_are_the_blocks"),
    (Remembers, "weights_are_read_at_each_call"),
    (Deaf, "parts_are_called_where_someone_listens"),
    (Rebuilt, "parts_of_another_kind_take_part"),
    (SeededAnew, "dropout_follows_the_seed"),
    (DropsByItself, "dropout_follows_the_seed"),
    (DropsHalf, "dropout_has_its_probability"),
    (DropsLess, "dropout_has_its_probability"),
    (AnotherDropoutBackwards, "dropout_is_in_the_gradients"),
    (HalvedByAutocast, "autocast_is_the_blocks"),
    (OnTheCPU, "stays_on_the_device"),
    (Locked, "can_be_copied_after_a_call"),
    (LooksAtNumbers, "can_be_compiled"),
    (WithoutAnnotation, "parameters_fit_a_recipe"),
]


@pytest.mark.parametrize(("wrong", "case"), WRONG, ids=lambda given: getattr(given, "__name__", given))
def test_it_is_caught(wrong: type[Encoder], case: str) -> None:
    report = check(Candidate("encoder", wrong.__name__, wrong), [case])
    assert not report.passed
    with pytest.raises(ConformanceError):
        report.raise_if_failed()


@pytest.mark.parametrize("case", CASES)
def test_what_is_right_passes(case: str) -> None:
    check(Candidate("encoder", "sound", Sound), [case]).raise_if_failed()


def test_no_case_is_never_failed() -> None:
    assert {case for _, case in WRONG} == set(CASES)
