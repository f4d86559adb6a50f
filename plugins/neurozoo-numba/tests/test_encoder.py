"""Encoder blocks by the compiled loop are those that torch computes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neurozoo_numba import encoder as module
from neurozoo_numba.encoder import NumbaEncoder
from torch import Tensor, nn

from neurozoo.assemble import assemble, inputs_of, open_data
from neurozoo.interfaces import Layout, Tokens
from neurozoo.nn.attention import EncoderBlock
from neurozoo.nn.neurons import TorchNeuron
from neurozoo.nn.sequence import tokens
from neurozoo.recipe import load_recipe

LAYOUT = Layout(12, 3, 0.1, ("audio",), None, 2, TorchNeuron)
ENCODER = NumbaEncoder(LAYOUT)


def blocks_of(count: int, width: int = 12, heads: int = 3) -> list[EncoderBlock]:
    blocks = [EncoderBlock(width, heads, 0.2, 0.0).eval() for _ in range(count)]
    for block in blocks:
        for parameter in block.parameters():  # norms would be alike otherwise
            nn.init.normal_(parameter, std=0.4)
    return blocks


def sequence(length: int, batch: int = 3, width: int = 12, masked: bool = False) -> Tokens:
    return tokens(torch.randn(batch, length, width), torch.rand(batch, length) < 0.7 if masked else None)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many blocks and samples each call of the kernel had."""
    counted: list[int] = []
    original = module.in_threads

    def in_threads(work: Callable[[int, int], object], blocks: int, most: int) -> None:
        counted.append(blocks)
        original(work, blocks, most)

    monkeypatch.setattr(module, "in_threads", in_threads)
    return counted


def exactly(blocks: list[EncoderBlock], queries: list[Tokens], sources: list[Tokens]) -> list[Tensor]:
    """By the blocks themselves, in float64."""

    def double(x: Tokens) -> Tokens:
        return x.with_x(x.x.double())

    found = []
    for block, query, source in zip(blocks, queries, sources, strict=True):
        own = EncoderBlock(query.x.shape[2], block.attention.heads, 0.2, 0.0).eval().double()
        own.load_state_dict(block.state_dict())
        asking = double(query)
        found.append(own(asking, asking if source is query else double(source)).x)
    return found


@given(
    lengths=st.lists(st.tuples(st.integers(1, 150), st.integers(1, 150)), min_size=1, max_size=3),
    form=st.sampled_from([(12, 3), (30, 5), (6, 1), (5, 5), (32, 2)]),
    batch=st.integers(1, 4),
    to_itself=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_what_it_gives_is_within_rounding(
    lengths: list[tuple[int, int]], form: tuple[int, int], batch: int, to_itself: bool, masked: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    width, heads = form
    blocks = blocks_of(len(lengths), width, heads)
    queries = [sequence(asking, batch, width, masked) for asking, _ in lengths]
    sources = queries if to_itself else [sequence(asked, batch, width, masked) for _, asked in lengths]
    with torch.no_grad():
        found, want = ENCODER.encode(blocks, queries, sources), exactly(blocks, queries, sources)
    for one, other, query in zip(found, want, queries, strict=True):
        torch.testing.assert_close(one.x.double(), other, rtol=1e-5, atol=1e-5)
        assert one.position is query.position
        assert one.mask is query.mask


def test_smile_with_it_is_the_plain_form_within_a_millionth() -> None:
    recipe = load_recipe("smile_mosei", ["data.instead.params.size=64", "model.parts.encoder=numba"])
    view = open_data(recipe)
    batch = next(iter(view.batches("train", 32)))
    inputs = inputs_of(recipe, view.dims, len(view.labels))
    torch.manual_seed(0)
    model = assemble(recipe, inputs).eval()
    plain = assemble(load_recipe("smile_mosei", ["model.params.arithmetic=plain"]), inputs).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        one, other = model(batch), plain.double()(_double(batch))
    assert type(model.encoder) is NumbaEncoder  # type: ignore[attr-defined]
    assert float((one - other).abs().max() / other.abs().max()) < 1e-6


def _double(batch):  # type: ignore[no-untyped-def]
    return type(batch)({name: x.double() for name, x in batch.features.items()}, batch.masks)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sample_is_the_same_to_the_bit_in_every_batch(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    blocks = blocks_of(2)
    queries, sources = [sequence(70, 9), sequence(17, 9)], [sequence(20, 9, masked=True), sequence(90, 9)]

    def only(x: Tokens, which: int) -> Tokens:
        mask = None if x.mask is None else x.mask[which : which + 1]
        return Tokens(
            x.x[which : which + 1], mask, x.position[which : which + 1] if len(x.position) > 1 else x.position
        )

    with torch.no_grad():
        whole = ENCODER.encode(blocks, queries, sources)
        for which in range(9):
            alone = ENCODER.encode(blocks, [only(x, which) for x in queries], [only(x, which) for x in sources])
            assert all(torch.equal(a.x[which], b.x[0]) for a, b in zip(whole, alone, strict=True))


def test_all_blocks_go_through_one_call(runs: list[int]) -> None:
    queries = [sequence(4), sequence(9), sequence(2, masked=True)]
    with torch.no_grad():
        ENCODER.encode(blocks_of(3), queries, [queries[0], sequence(5), sequence(8, masked=True)])
    assert runs == [9]


@pytest.mark.parametrize("place", ["query", "source"])
def test_what_is_no_number_is_not_made_one(place: str) -> None:
    query, source = sequence(6), sequence(8)
    (query if place == "query" else source).x[1, 2, 3] = torch.nan
    with torch.no_grad():
        found, want = ENCODER.encode(blocks_of(1), [query], [source])[0].x, blocks_of(1)[0](query, source).x
    assert torch.equal(found.isnan().any(-1), want.isnan().any(-1))


def test_what_a_mask_leaves_out_is_not_read() -> None:
    query, source = sequence(6), sequence(8, masked=True)
    assert source.mask is not None
    blocks = blocks_of(1)
    with torch.no_grad():
        before = ENCODER.encode(blocks, [query], [source])[0].x
        source.x[~source.mask] = torch.nan
        assert torch.equal(ENCODER.encode(blocks, [query], [source])[0].x, before)


def test_a_sample_without_any_valid_key() -> None:
    query, source = sequence(6), sequence(8, masked=True)
    assert source.mask is not None
    source.mask[1] = False
    blocks = blocks_of(1)
    with torch.no_grad():
        found = ENCODER.encode(blocks, [query], [source])[0].x
        torch.testing.assert_close(found, blocks[0](query, source).x, rtol=1e-5, atol=1e-5)


def test_scores_that_are_large_keep_their_order() -> None:
    torch.manual_seed(0)
    blocks = blocks_of(1)
    query, source = sequence(6), sequence(40)
    with torch.no_grad():
        blocks[0].attention.query.weight.mul_(100.0)
        found, (want,) = ENCODER.encode(blocks, [query], [source])[0].x, exactly(blocks, [query], [source])
    # A score of thousands is rounded to its fourth decimal.
    torch.testing.assert_close(found.double(), want, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("place", [-1, 8])
def test_a_position_outside_of_its_sequence_is_an_error(place: int) -> None:
    source = sequence(8)
    source.position[0, 3] = place
    with torch.no_grad(), pytest.raises(IndexError, match="not below its number of rows"):
        ENCODER.encode(blocks_of(1), [sequence(6)], [source])


# What is left to torch.


def _halved(block: EncoderBlock) -> EncoderBlock:
    return block.double()


def _training(block: EncoderBlock) -> EncoderBlock:
    return block.train()


def _plain(block: EncoderBlock) -> EncoderBlock:
    block.attention.plain = True
    return block


def _heard(block: EncoderBlock) -> EncoderBlock:
    block.inner.register_forward_hook(lambda *_: None)
    return block


def _without_bias(block: EncoderBlock) -> EncoderBlock:
    block.inner.bias = None  # type: ignore[assignment]
    return block


def _another_norm(block: EncoderBlock) -> EncoderBlock:
    block.output_norm = nn.Identity()  # type: ignore[assignment]
    return block


def _weight_norm(block: EncoderBlock) -> EncoderBlock:
    nn.utils.parametrizations.weight_norm(block.outer)
    return block


@pytest.mark.parametrize(
    "change", [_halved, _training, _plain, _heard, _without_bias, _another_norm, _weight_norm], ids=lambda f: f.__name__
)
def test_a_block_that_it_does_not_know_is_left_to_torch(
    change: Callable[[EncoderBlock], EncoderBlock], runs: list[int]
) -> None:
    first, second = blocks_of(2)
    query = sequence(5)
    query = query.with_x(query.x.double()) if change is _halved else query
    with torch.no_grad():
        torch.manual_seed(0)
        found = ENCODER.encode([change(second)], [query], [query])[0].x
        torch.manual_seed(0)
        assert torch.equal(found, second(query, query).x)
        assert not runs
        plain = sequence(5)
        ENCODER.encode([first], [plain], [plain])
    assert runs


class _Interception(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def, override]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "context",
    [torch.enable_grad, lambda: torch.autocast("cpu"), _Interception, lambda: torch.profiler.profile(), nullcontext],
    ids=["gradient", "autocast", "intercepted", "profiled", "none"],
)
def test_what_torch_has_to_see_is_left_to_it(
    context: Callable[[], AbstractContextManager[object]], runs: list[int]
) -> None:
    blocks, query = blocks_of(1), sequence(5)
    with torch.no_grad(), context():
        ENCODER.encode(blocks, [query], [query])
    assert bool(runs) == (context is nullcontext)


def test_a_gradient_is_torchs() -> None:
    blocks, query = blocks_of(1), sequence(5)
    ENCODER.encode(blocks, [query], [query])[0].x.square().sum().backward()
    assert blocks[0].inner.weight.grad is not None


def test_layouts_of_memory_do_not_matter() -> None:
    blocks, query, source = blocks_of(1), sequence(5), sequence(7, masked=True)
    assert source.mask is not None
    strange = Tokens(
        source.x.transpose(0, 1).contiguous().transpose(0, 1),
        source.mask.t().contiguous().t(),
        source.position.t().contiguous().t(),
    )
    with torch.no_grad():
        found = [ENCODER.encode(blocks, [query], [each])[0].x for each in (source, strange)]
    assert torch.equal(*found)
