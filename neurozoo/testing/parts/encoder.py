"""What an encoder must do: what the blocks do themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.core.interfaces import Tokens
from neurozoo.nn.attention import LAYER_NORM_EPS, EncoderBlock
from neurozoo.nn.sequence import tokens
from neurozoo.testing.compiling import BACKEND, compiler, reason
from neurozoo.testing.findings import ConformanceError, NotRun
from neurozoo.testing.parts.devices import one_device, to_meta
from neurozoo.testing.parts.encoder_subject import TOLERANCES, EncoderSubject, Round, by_blocks, gradients, loss_of
from neurozoo.testing.parts.inputs import other_padding, take
from neurozoo.testing.parts.parameters import check_declared
from neurozoo.testing.parts.portability import copy_of
from neurozoo.testing.parts.subject import hold
from neurozoo.testing.report import Kit

__all__ = ["ENCODER"]

_GRADIENTS = {torch.float64: 1e-8, torch.float32: 5e-4}
"""Allowed difference of gradients, as a share of the tensor's largest or of a thousandth of all tensors' largest."""
_HALF = 0.1
"""Allowed under autocast in bfloat16, where a number has 8 bits."""
_P = 0.3
_SIGMAS = 5.0


def computes_what_the_blocks_do(subject: EncoderSubject) -> None:
    """With and without a gradient, for every layout of memory, as the blocks themselves within rounding."""
    for given in subject.rounds():
        tolerance = TOLERANCES[given.queries[0].x.dtype]
        with torch.no_grad():
            want = by_blocks(given)
            subject.hold_results(subject.encode(given), want, given.where, tolerance)
            got = subject.encode(given.changed(_strided))
            subject.hold_results(got, want, f"in other layouts of memory, {given.where}", tolerance)
        with torch.inference_mode():
            subject.hold_results(subject.encode(given), want, f"in inference mode, {given.where}", tolerance)
        subject.hold_results(subject.encode(given.copied()), want, f"with a gradient, {given.where}", tolerance)


def keeps_the_places_of_queries(subject: EncoderSubject) -> None:
    """A result has its query's mask, positions, segments and dtype. What came in is left as it was, and so are torch's
    random numbers."""
    for given in subject.rounds(dropout=0.5):
        kept = [each.x.clone() for each in (*given.queries, *given.sources)]
        weights = [x.clone() for block in given.blocks for x in block.parameters()]
        before = torch.get_rng_state()
        for query, found in zip(given.queries, subject.encode(given), strict=True):
            if found.x.dtype != query.x.dtype:
                raise ConformanceError(f"{found.x.dtype} for a query in {query.x.dtype}: {given.where}")
            if not _same(found.mask, query.mask) or not _same(found.position, query.position):
                raise ConformanceError(f"mask or position is not the query's; use query.with_x(x): {given.where}")
            if found.segments != query.segments:
                raise ConformanceError(f"the query's segments are lost; use query.with_x(x): {given.where}")
            subject.compared += 1
        now = [x for block in given.blocks for x in block.parameters()]
        if not all(map(torch.equal, kept, [each.x for each in (*given.queries, *given.sources)])):
            raise ConformanceError(f"it changes the sequences that it is given: {given.where}")
        if not all(map(torch.equal, weights, now)):
            raise ConformanceError(f"it changes the blocks' parameters: {given.where}")
        if not torch.equal(before, torch.get_rng_state()):
            raise ConformanceError(f"in evaluation it draws random numbers: {given.where}")


def padding_does_not_matter(subject: EncoderSubject) -> None:
    """Other values in the rows that a source's mask leaves out change nothing."""
    for given in subject.rounds():
        if given.sources is given.queries:
            continue
        with torch.no_grad():
            want = subject.encode(given)
            sources = [other_padding(each) for each in given.sources]
            got = subject.encode(replace(given, sources=sources))
        subject.hold_results(got, want, f"with other padding, {given.where}", TOLERANCES[want[0].x.dtype])


def samples_are_by_themselves(subject: EncoderSubject) -> None:
    """A sample alone gets what it gets among others."""
    for given in subject.rounds():
        with torch.no_grad():
            want = subject.encode(given)
            for sample in range(len(given.queries[0].x)):
                alone = partial(take, samples=[sample])
                got, where = subject.encode(given.changed(alone)), f"sample {sample} alone, {given.where}"
                subject.hold_results(got, list(map(alone, want)), where, TOLERANCES[want[0].x.dtype])


def gradients_are_the_blocks(subject: EncoderSubject) -> None:
    """Of queries, sources and every parameter, in evaluation and in training without dropout."""
    for given, training in product(subject.rounds(), (False, True)):
        ours, theirs = given.copied(), given.copied()
        for block in (*ours.blocks, *theirs.blocks):
            block.train(training)
        got, want = gradients(ours, subject.encode(ours)), gradients(theirs, by_blocks(theirs))
        largest = max(float(x.abs().max()) for x in want.values())
        for name, x in want.items():
            subject.compared += x.numel()
            # A key's bias changes no weight, so that its gradient is nothing but rounding.
            scale = largest if name.endswith("key.bias") else max(float(x.abs().max()), 1e-3 * largest)
            error = float((got[name] - x).abs().max()) / scale
            subject.allow(error, _GRADIENTS[x.dtype], f"the gradient of {name}, {given.where}")


def weights_are_read_at_each_call(subject: EncoderSubject) -> None:
    """What an optimiser, a checkpoint or a user does to the parameters between two calls takes part in the next."""
    for dtype in TOLERANCES:
        given = subject.one_round(dtype)
        encoder = subject.encoder(given.layout)
        for change in (_in_place, _by_data, _by_a_checkpoint):
            with torch.no_grad():
                encoder.encode(given.blocks, given.queries, given.sources)
                for block in given.blocks:
                    change(block)
                got = encoder.encode(given.blocks, given.queries, given.sources)
                where = f"after parameters were changed {change.__name__.strip('_').replace('_', ' ')}, {given.where}"
                subject.hold_results(got, by_blocks(given), where, TOLERANCES[dtype])


def parts_are_called_where_someone_listens(subject: EncoderSubject) -> None:
    """A forward hook on any part of a block is called, and what it gives instead is used."""
    for dtype in TOLERANCES:
        given = subject.one_round(dtype)
        names = [name for name, _ in given.blocks[0].named_modules()]
        for name in names:
            calls: list[int] = []

            def hook(_part: nn.Module, _given: object, found: Any, calls: list[int] = calls) -> object:
                calls.append(1)
                return found.with_x(found.x * 1.5) if isinstance(found, Tokens) else found * 1.5

            with given.blocks[0].get_submodule(name).register_forward_hook(hook), torch.no_grad():
                want, expected = by_blocks(given), len(calls)
                got, what = subject.encode(given), name or "the block"
                if len(calls) != 2 * expected:
                    raise ConformanceError(
                        f"a forward hook on {what} is called {len(calls) - expected} times, and not {expected}; call "
                        f"the block where someone listens: {given.where}"
                    )
                subject.hold_results(got, want, f"with a hook on {what}, {given.where}", TOLERANCES[dtype])


def parts_of_another_kind_take_part(subject: EncoderSubject) -> None:
    """A block with another epsilon, a parametrised weight, a part of another class or a ``forward`` of its own."""
    for dtype, change in product(TOLERANCES, (_epsilon, _weight_norm, _another_part, _own_forward, _own_block)):
        given = subject.one_round(dtype)
        given.blocks[0] = change(given.blocks[0])
        with torch.no_grad():
            where = f"a block changed by {change.__name__.strip('_').replace('_', ' ')}, {given.where}"
            subject.hold_results(subject.encode(given), by_blocks(given), where, TOLERANCES[dtype])


def dropout_follows_the_seed(subject: EncoderSubject) -> None:
    """Training with dropout: the same seed gives the same, the next call other numbers."""
    for given in subject.rounds(dropout=0.5):
        for block in given.blocks:
            block.train()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            first, second = subject.encode(given), subject.encode(given)
            torch.manual_seed(1)
            again = subject.encode(given)
        for place, (one, other, same) in enumerate(zip(first, second, again, strict=True)):
            if not torch.equal(one.x, same.x):
                raise ConformanceError(
                    f"after the same torch.manual_seed it drops others: block {place}, {given.where}"
                )
            if torch.equal(one.x, other.x):
                raise ConformanceError(f"it drops nothing, or the same at each call: block {place}, {given.where}")
            subject.compared += one.x.numel()


def dropout_has_its_probability(subject: EncoderSubject) -> None:
    """What is dropped, and what the others are multiplied by; seen in the last place, after the feed-forward."""
    for dtype, p in product(TOLERANCES, (_P, 1 - _P)):
        layout = subject.one_round(dtype).layout
        block, where = EncoderBlock(layout.hidden, layout.heads, p, 0.0).to(dtype), f"{dtype}, p = {p}"
        # What comes before is made the same in every row, and the feed-forward adds a number to half of the features.
        before = torch.linspace(-1, 1, layout.hidden, dtype=torch.float64)
        added = 0.5 * (torch.arange(layout.hidden) % 2).double()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for x, value in (
                (block.attention_norm.weight, 0.0), (block.attention_norm.bias, before),
                (block.outer.weight, 0.0), (block.outer.bias, added),
            ):  # fmt: skip
                x.copy_(torch.as_tensor(value))
            torch.manual_seed(3)
            query = tokens(torch.randn(256, 8, layout.hidden, dtype=dtype), None)
            (found,) = subject.encode(Round(layout, [block], [query], [query], where))
        kept = _kept(found.x, before, added / (1 - p))
        if kept is None:
            raise ConformanceError(f"dropout multiplies by something else than 0 and 1 / (1 - p): {where}")
        share, count = float(kept.double().mean()), kept.numel()
        subject.compared += count
        off = abs(share - (1 - p)) / (p * (1 - p) / count) ** 0.5
        if off > _SIGMAS:
            raise ConformanceError(f"it keeps {share:.3f} of {count}, and not {1 - p:.3f}: {where}")


def dropout_is_in_the_gradients(subject: EncoderSubject) -> None:
    """The backward drops what the forward dropped: along the gradient, the loss changes as the gradient says."""
    for given in subject.rounds(dropout=_P):
        dtype = given.queries[0].x.dtype
        for block in given.blocks:
            block.train()
        own = given.copied()
        made = gradients(own, _seeded(subject, own))
        along = [made[f"query {place}"] for place in range(len(own.queries))]
        length = torch.stack([x.double().square().sum() for x in along]).sum().sqrt()
        step = {torch.float64: 1e-5, torch.float32: 1e-2}[dtype]
        losses = []
        for sign in (1, -1):
            queries = [
                each.with_x(each.x + (sign * step / length).to(dtype) * x)
                for each, x in zip(own.queries, along, strict=True)
            ]
            sources = queries if given.sources is given.queries else own.sources
            moved = replace(own, queries=queries, sources=sources)
            # With a gradient, since without one others may be dropped.
            losses.append(loss_of(moved, _seeded(subject, moved)).detach())
        slope = (losses[0] - losses[1]) / (2 * step)
        tolerance = {torch.float64: 1e-4, torch.float32: 0.05}[dtype]
        subject.allow(float((slope - length).abs() / length), tolerance, f"the slope with dropout, {given.where}")
        subject.compared += 1


def autocast_is_the_blocks(subject: EncoderSubject) -> None:
    """Under autocast in bfloat16 the result has the dtype that the blocks give, and about their numbers."""
    given = subject.one_round()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got, want = subject.encode(given), by_blocks(given)
    for one, other in zip(got, want, strict=True):
        if one.x.dtype != other.x.dtype:
            raise ConformanceError(f"under autocast {one.x.dtype}, and not {other.x.dtype}: {given.where}")
    subject.hold_results(got, want, f"under autocast, {given.where}", _HALF)


def stays_on_the_device(subject: EncoderSubject) -> None:
    """Seen on the meta device, whose tensors have shapes and no values."""
    given = subject.one_round()
    there = replace(given.changed(to_meta), blocks=[each.to("meta") for each in given.blocks])
    with one_device(), torch.no_grad():
        found = subject.encode(there)
    if not all(each.x.is_meta for each in found):
        raise ConformanceError(f"a result is on {found[0].x.device} while the input is not: {given.where}")
    subject.compared += len(found)


def can_be_copied_after_a_call(subject: EncoderSubject) -> None:
    """It goes with its model: no parameter or graph is on it, and a deep copy does the same."""
    given = subject.one_round()
    encoder = subject.encoder(given.layout)
    if isinstance(encoder, nn.Module) and any(True for _ in encoder.parameters()):
        raise ConformanceError("it has parameters of its own, which checkpoints of other encoders would not have")
    own = given.copied()
    want = encoder.encode(own.blocks, own.queries, own.sources)
    got = copy_of(encoder).encode(own.blocks, own.queries, own.sources)
    subject.hold_results(got, want, f"a copy, {given.where}", TOLERANCES[torch.float32])


def can_be_compiled(subject: EncoderSubject) -> None:
    """``torch.compile`` takes it as one graph, for ``training.compile``, forward and backward."""
    given = subject.one_round()
    ours, theirs = given.copied(), given.copied()
    want = gradients(theirs, by_blocks(theirs))
    try:
        found = _compiled(subject, ours)
    except Exception as error:  # dynamo's own errors, and whatever its graph raises
        try:
            _compiled(None, given.copied())
        except Exception as own:
            raise NotRun(f"torch.compile does not work here: {reason(own)}") from own
        raise ConformanceError(
            f"torch.compile cannot trace it as one graph ({reason(error)}); while torch.compiler.is_compiling(), hand "
            "all to neurozoo.nn.together.TorchEncoder"
        ) from error
    subject.hold_results(found, by_blocks(theirs), f"compiled, {given.where}", TOLERANCES[torch.float32])
    got = gradients(ours, found)
    for place in range(len(ours.queries)):
        name = f"query {place}"
        hold(subject, got[name], want[name], f"the gradient of {name}, compiled", _GRADIENTS[torch.float32])


def parameters_fit_a_recipe(subject: EncoderSubject) -> None:
    """Keyword-only parameters, annotated, each default within its own bounds; those given are accepted."""
    check_declared(subject)


ENCODER = Kit(
    "encoder",
    EncoderSubject,
    {
        case.__name__: case
        for case in (
            computes_what_the_blocks_do,
            keeps_the_places_of_queries,
            padding_does_not_matter,
            samples_are_by_themselves,
            gradients_are_the_blocks,
            weights_are_read_at_each_call,
            parts_are_called_where_someone_listens,
            parts_of_another_kind_take_part,
            dropout_follows_the_seed,
            dropout_has_its_probability,
            dropout_is_in_the_gradients,
            autocast_is_the_blocks,
            stays_on_the_device,
            can_be_copied_after_a_call,
            can_be_compiled,
            parameters_fit_a_recipe,
        )
    },
)


def _strided(sequence: Tokens) -> Tokens:
    """The same numbers, one sample's beside another's in memory."""

    def other(x: Tensor) -> Tensor:
        return x.transpose(0, 1).contiguous().transpose(0, 1)

    mask = None if sequence.mask is None else other(sequence.mask)
    return Tokens(other(sequence.x), mask, other(sequence.position), sequence.segments)


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _in_place(block: EncoderBlock) -> None:
    block.inner.weight.mul_(-1.5)


def _by_data(block: EncoderBlock) -> None:
    block.outer.weight.data = 0.5 * block.outer.weight.data


def _by_a_checkpoint(block: EncoderBlock) -> None:
    block.load_state_dict({name: x + 0.1 for name, x in block.state_dict().items()}, assign=True)


def _epsilon(block: EncoderBlock) -> EncoderBlock:
    block.output_norm.eps = 0.1
    return block


def _weight_norm(block: EncoderBlock) -> EncoderBlock:
    nn.utils.parametrizations.weight_norm(block.outer)
    with torch.no_grad():
        block.outer.parametrizations.weight.original0.mul_(2)  # type: ignore[union-attr, operator]
    return block


def _another_part(block: EncoderBlock) -> EncoderBlock:
    block.outer = nn.Sequential(block.outer, nn.Tanh())  # type: ignore[assignment]
    return block


def _own_forward(block: EncoderBlock) -> EncoderBlock:
    linear = block.inner
    linear.forward = lambda x: F.linear(x, 2 * linear.weight, linear.bias)  # type: ignore[method-assign, assignment]
    return block


class _OwnBlock(EncoderBlock):
    def forward(self, query: Tokens, source: Tokens) -> Tokens:
        return query.with_x(2 * super().forward(query, source).x)


def _own_block(block: EncoderBlock) -> EncoderBlock:
    block.__class__ = _OwnBlock
    return block


def _kept(x: Tensor, before: Tensor, added: Tensor) -> Tensor | None:
    """Which of the numbers added to ``before`` each row ``norm(before + kept * added)`` has; None where a row is no
    such thing. All choices are made, and the nearest taken."""
    places = added.nonzero().flatten()
    choices = torch.arange(2 ** len(places))[:, None] >> torch.arange(len(places)) & 1
    rows = before.repeat(len(choices), 1)
    rows[:, places] += choices * added[places]
    distances = torch.cdist(x.flatten(0, 1).double(), F.layer_norm(rows, [len(before)], eps=LAYER_NORM_EPS))
    nearest = distances.min(1)
    return None if float(nearest.values.max()) > 1e-3 else choices[nearest.indices].bool()


def _seeded(subject: EncoderSubject, given: Round) -> list[Tokens]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return subject.encode(given)


def _compiled(subject: EncoderSubject | None, given: Round) -> list[Tokens]:
    """What an encoder gives when compiled; without one, a linear of the first block."""
    encode = None if subject is None else subject.encoder(given.layout).encode

    def run(asking: list[Tensor], asked: list[Tensor]) -> list[Tensor]:
        if encode is None:
            return [given.blocks[0].inner(x) for x in asking]
        queries = [each.with_x(x) for each, x in zip(given.queries, asking, strict=True)]
        sources = [each.with_x(x) for each, x in zip(given.sources, asked, strict=True)]
        return [each.x for each in encode(given.blocks, queries, sources)]

    with compiler():
        made = torch.compile(run, fullgraph=True, backend=BACKEND)
        found = made([each.x for each in given.queries], [each.x for each in given.sources])
    return [each.with_x(x) for each, x in zip(given.queries, found, strict=True)]
