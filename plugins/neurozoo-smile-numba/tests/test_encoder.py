"""Encoder blocks by the compiled loop are those that torch computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neurozoo_smile_numba import encoder as module
from neurozoo_smile_numba.encoder import NumbaEncoder
from torch import Tensor, nn

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.multimodal import Layout, Tokens
from neurozoo.models.build import build_model, expected_problem, open_experiment
from neurozoo.nn.attention import EncoderBlock
from neurozoo.nn.dropout import factors_of
from neurozoo.nn.sequence import tokens
from neurozoo.recipe.recipe import load_recipe

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


def doubled(blocks: list[EncoderBlock]) -> list[EncoderBlock]:
    return [copy.deepcopy(block).double() for block in blocks]


def double(x: Tokens) -> Tokens:
    return x.with_x(x.x.detach().double().requires_grad_())


def exactly(blocks: list[EncoderBlock], queries: list[Tokens], sources: list[Tokens]) -> list[Tensor]:
    """By the blocks themselves, in float64."""
    found = []
    for block, query, source in zip(doubled(blocks), queries, sources, strict=True):
        asking = double(query)
        found.append(block(asking, asking if source is query else double(source)).x)
    return found


@given(
    lengths=st.lists(st.tuples(st.integers(1, 150), st.integers(1, 150)), min_size=1, max_size=3),
    form=st.sampled_from([(12, 3), (30, 5), (6, 1), (5, 5), (32, 2)]),
    batch=st.integers(1, 4),
    to_itself=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=30, deadline=None)
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
    recipe = load_recipe("smile_mosei", ["data.instead.params.size=64", "model.parts.encoder=numba-blocks"])
    experiment = open_experiment(recipe)
    batch = next(iter(experiment.view.batches("train", 32)))
    torch.manual_seed(0)
    model = experiment.build().eval()
    plain = build_model(load_recipe("smile_mosei", ["model.params.arithmetic=plain"]), experiment.problem).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        one, other = model(batch), plain.double()(_double(batch))
    assert type(model.encoder) is NumbaEncoder  # type: ignore[attr-defined]
    assert float((one - other).abs().max() / other.abs().max()) < 1e-6


def test_smile_calls_its_blocks_where_its_arithmetic_is_plain() -> None:
    recipe = load_recipe("smile_mosei", ["model.params.arithmetic=plain", "model.parts.encoder=numba-blocks"])
    model = build_model(recipe, expected_problem(recipe)[0])
    assert type(model.encoder) is not NumbaEncoder  # type: ignore[attr-defined]


def _double(batch):  # type: ignore[no-untyped-def]
    return type(batch).of(
        {name: x.values.double() for name, x in batch.signals.items()},
        {name: x.mask for name, x in batch.signals.items()},
    )


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


def _with_part_in_training(block: EncoderBlock) -> EncoderBlock:
    block.dropout.train()
    return block


def _with_another_eps(block: EncoderBlock) -> EncoderBlock:
    block.output_norm.eps = 0.1
    return block


def _heard_backwards(block: EncoderBlock) -> EncoderBlock:
    block.inner.register_full_backward_hook(lambda *_: None)
    return block


def _overridden(block: EncoderBlock) -> EncoderBlock:
    block.inner.forward = lambda x: nn.functional.linear(x, 2 * block.inner.weight, block.inner.bias)  # type: ignore[method-assign]
    return block


def _called_by_another(block: EncoderBlock) -> EncoderBlock:
    return torch.compile(block, backend="eager")  # type: ignore[return-value]


class _OwnBlock(EncoderBlock):
    def forward(self, query: Tokens, source: Tokens) -> Tokens:
        return query.with_x(2 * super().forward(query, source).x)


def _of_another_class(block: EncoderBlock) -> EncoderBlock:
    block.__class__ = _OwnBlock
    return block


MEDDLED = [
    _of_another_class,
    _with_part_in_training,
    _with_another_eps,
    _heard_backwards,
    _overridden,
    _called_by_another,
]


@pytest.mark.parametrize(
    "change", [*MEDDLED, _halved, _heard, _without_bias, _another_norm, _weight_norm], ids=lambda f: f.__name__
)
def test_a_block_that_it_does_not_know_is_left_to_torch(
    change: Callable[[EncoderBlock], EncoderBlock], runs: list[int]
) -> None:
    first, second = blocks_of(2)
    query = sequence(5)
    query = query.with_x(query.x.double()) if change is _halved else query
    with torch.no_grad():
        changed = change(second)
        torch.manual_seed(0)
        found = ENCODER.encode([changed], [query], [query])[0].x
        torch.manual_seed(0)
        assert torch.equal(found, changed(query, query).x)
        assert not runs
        plain = sequence(5)
        ENCODER.encode([first], [plain], [plain])
    assert runs


class _Interception(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def, override]
        return func(*args, **(kwargs or {}))


class _FunctionInterception(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return func(*args, **(kwargs or {}))


@contextmanager
def _Everywhere() -> Iterator[None]:
    with nn.modules.module.register_module_forward_hook(lambda *_: None):
        yield


@pytest.mark.parametrize(
    "context",
    [
        lambda: torch.autocast("cpu"),
        _Interception,
        _FunctionInterception,
        _Everywhere,
        torch.profiler.profile,
        nullcontext,
    ],
    ids=["autocast", "intercepted", "functions", "hooks of all", "profiled", "none"],
)
def test_what_torch_has_to_see_is_left_to_it(
    context: Callable[[], AbstractContextManager[object]], runs: list[int]
) -> None:
    blocks, query = blocks_of(1), sequence(5)
    with torch.no_grad(), context():
        ENCODER.encode(blocks, [query], [query])
    assert bool(runs) == (context is nullcontext)


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


@pytest.mark.parametrize("name", [name for name, _ in EncoderBlock(12, 3, 0.2, 0.0).named_modules()])
def test_a_hook_on_any_part_is_called_and_changes_the_result(name: str) -> None:
    (block,), query = blocks_of(1), sequence(5)

    def hook(_part: nn.Module, _given: object, found: Tensor | Tokens) -> Tensor | Tokens:
        return found.with_x(1.5 * found.x) if isinstance(found, Tokens) else 1.5 * found

    with torch.no_grad(), block.get_submodule(name).register_forward_hook(hook):
        assert torch.equal(ENCODER.encode([block], [query], [query])[0].x, block(query, query).x)


def test_a_block_on_another_device_stays_there() -> None:
    block, query = blocks_of(1)[0].to("meta"), sequence(5, masked=True)
    assert query.mask is not None
    there = Tokens(query.x.to("meta"), query.mask.to("meta"), query.position.to("meta"))
    with torch.no_grad():
        assert ENCODER.encode([block], [there], [there])[0].x.is_meta


def test_parameters_are_read_at_each_call(runs: list[int]) -> None:
    blocks, query = blocks_of(1), sequence(5)

    def checkpoint(block: EncoderBlock) -> None:
        block.load_state_dict({name: x + 0.1 for name, x in block.state_dict().items()}, assign=True)

    def data(block: EncoderBlock) -> None:
        block.outer.weight.data = 0.5 * block.outer.weight.data

    with torch.no_grad():
        for change in (checkpoint, data, lambda block: block.inner.weight.mul_(-1.5)):
            change(blocks[0])
            found, want = ENCODER.encode(blocks, [query], [query])[0].x, blocks[0](query, query).x
            torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)
    assert len(runs) == 3


def test_an_evaluation_changes_nothing_and_draws_nothing() -> None:
    blocks, query, source = blocks_of(1), sequence(5).of("audio"), sequence(7, masked=True)
    given = [x.clone() for x in (query.x, source.x, *blocks[0].parameters())]
    state = torch.get_rng_state()
    with torch.no_grad():
        (found,) = ENCODER.encode(blocks, [query], [source])
    assert found.segments == query.segments
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, given, (query.x, source.x, *blocks[0].parameters())))


# Gradients.


def gradients(
    encode: Callable[..., Sequence[Tokens]], blocks: list[EncoderBlock], queries: list[Tokens], sources: list[Tokens]
) -> dict[str, Tensor]:
    """Of sequences and parameters, with the results, by name; each block's result counts by numbers of its own."""
    found = encode(blocks, queries, sources)
    generator = torch.Generator().manual_seed(0)
    shares = [torch.randn(each.x.shape, generator=generator).to(each.x.dtype) for each in found]
    loss = torch.stack([(each.x * share).sum() for each, share in zip(found, shares, strict=True)]).sum()
    given = {f"query {place}": each.x for place, each in enumerate(queries)}
    given |= {f"source {place}": each.x for place, each in enumerate(sources)}
    given |= {f"{place} {name}": x for place, block in enumerate(blocks) for name, x in block.named_parameters()}
    made = torch.autograd.grad(loss, list(given.values()))
    return dict(zip(given, made, strict=True)) | {
        f"result {place}": each.x.detach() for place, each in enumerate(found)
    }


def one_by_one(blocks: list[EncoderBlock], queries: list[Tokens], sources: list[Tokens]) -> list[Tokens]:
    return [block(*each) for block, *each in zip(blocks, queries, sources, strict=True)]


def assert_gradients_are_near(found: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    largest = max(float(x.abs().max()) for x in want.values())
    for name, x in found.items():
        # A key's bias changes no weight: its gradient is nothing but rounding.
        scale = largest if "key.bias" in name else max(float(want[name].abs().max()), 1e-3 * largest)
        assert float((x - want[name]).abs().max()) < tolerance * scale, name


@given(
    lengths=st.lists(st.tuples(st.integers(1, 150), st.integers(1, 150)), min_size=1, max_size=3),
    form=st.sampled_from([(12, 3), (30, 5), (6, 1), (5, 5), (32, 2)]),
    batch=st.sampled_from([1, 2, 16, 19]),
    to_itself=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=30, deadline=None)
def test_gradients_are_within_rounding(
    lengths: list[tuple[int, int]], form: tuple[int, int], batch: int, to_itself: bool, masked: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    width, heads = form
    blocks = blocks_of(len(lengths), width, heads)
    with torch.no_grad():  # no ReLU is near 0, where rounding would decide on a gradient
        for block in blocks:
            block.inner.weight.mul_(0.05)
            block.inner.bias.sign_()
    queries = [sequence(asking, batch, width, masked) for asking, _ in lengths]
    sources = queries if to_itself else [sequence(asked, batch, width, masked) for _, asked in lengths]
    for each in (*queries, *sources):
        each.x.requires_grad_()
    found = gradients(ENCODER.encode, blocks, queries, sources)
    exact = [double(each) for each in queries]
    exact_sources = exact if to_itself else [double(each) for each in sources]
    want = gradients(one_by_one, doubled(blocks), exact, exact_sources)
    assert_gradients_are_near(found, want, 2e-4)


def _with_given_dropout(block: EncoderBlock, bits: Tensor, query: Tokens, source: Tokens) -> Tensor:
    """A block's arithmetic with the dropout that the kernel makes of random bits, where no row is masked."""
    p, p_weights, heads = block.dropout.p, block.attention.dropout.p, block.attention.heads
    batch, asking, width = query.x.shape
    asked = source.x.shape[1]
    sizes = [width * asking] * 3 + [width * asked] * 2 + [heads * asked * asking] * (p_weights > 0)
    parts = [factors_of(part, p_weights if n == 5 else p, query.x.dtype) for n, part in enumerate(bits.split(sizes, 1))]
    of_query = [part.view(batch, width, asking).transpose(1, 2) for part in parts[:3]]
    of_source = [part.view(batch, width, asked).transpose(1, 2) for part in parts[3:5]]
    attention = block.attention
    q = block._embed(query) * of_query[0]
    embedded = block._embed(source)

    def split(x: Tensor) -> Tensor:
        return x.view(batch, -1, heads, width // heads).transpose(1, 2)

    queries, keys, values = (
        split(linear(x))
        for linear, x in (
            (attention.query, q),
            (attention.key, embedded * of_source[0]),
            (attention.value, embedded * of_source[1]),
        )
    )
    weights = torch.softmax(queries @ keys.transpose(-1, -2) / (width // heads) ** 0.5, -1)
    if p_weights:
        weights = weights * parts[5].view(batch, heads, asked, asking).transpose(2, 3)
    attended = attention.out((weights @ values).transpose(1, 2).flatten(2))
    x = block.attention_norm(attended * of_query[1] + q)
    result: Tensor = block.output_norm(block.outer(torch.relu(block.inner(x))) * of_query[2] + x)
    return result


@pytest.mark.parametrize("p_weights", [0.0, 0.3])
def test_dropout_falls_where_its_bits_say(p_weights: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    drawn: list[Tensor] = []

    def draw(shape: Sequence[int], device: torch.device) -> Tensor:
        drawn.append(original(shape, device))
        return drawn[-1]

    original = module.draw
    monkeypatch.setattr(module, "draw", draw)
    blocks = [each.train() for each in blocks_of(2)]
    for block in blocks:
        block.attention.dropout.p = p_weights
    queries, sources = [sequence(70), sequence(5)], [sequence(9), sequence(66)]
    for each in (*queries, *sources):
        each.x.requires_grad_()
    found = gradients(ENCODER.encode, blocks, queries, sources)

    def by_bits(blocks: list[EncoderBlock], queries: list[Tokens], sources: list[Tokens]) -> list[Tokens]:
        made = map(_with_given_dropout, blocks, drawn, queries, sources)
        return [query.with_x(x) for query, x in zip(queries, made, strict=True)]

    want = gradients(by_bits, doubled(blocks), [double(x) for x in queries], [double(x) for x in sources])
    assert len(drawn) == 2
    assert_gradients_are_near(found, want, 2e-4)


def test_what_dropout_draws_follows_the_seed() -> None:
    blocks, query = [each.train() for each in blocks_of(1)], sequence(8)

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return ENCODER.encode(blocks, [query], [query])[0].x

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_gradients_do_not_depend_on_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH", 1)
    torch.manual_seed(0)
    blocks, query, source = blocks_of(2), sequence(20, 40), sequence(30, 40, masked=True)
    query.x.requires_grad_()
    source.x.requires_grad_()
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(gradients(ENCODER.encode, blocks, [query, source], [source, query]))
    assert all(torch.equal(found[0][name], each[name]) for each in found for name in each)


def test_nothing_is_kept_for_the_backward_but_what_came_in() -> None:
    blocks, query = blocks_of(1), sequence(8)
    query.x.requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        ENCODER.encode(blocks, [query], [query])
    there = {x.data_ptr() for x in (query.x, query.position, *blocks[0].parameters())}
    assert {x.data_ptr() for x in kept} == there


def test_a_sequence_changed_before_the_backward_is_an_error() -> None:
    blocks, x = blocks_of(1), sequence(8)
    x.x.requires_grad_()
    inside = x.with_x(x.x * 1)
    loss = ENCODER.encode(blocks, [inside], [inside])[0].x.sum()
    with torch.no_grad():
        inside.x.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_second_derivative_is_an_error() -> None:
    blocks, x = blocks_of(1), sequence(8)
    x.x.requires_grad_()
    (grad,) = torch.autograd.grad(ENCODER.encode(blocks, [x], [x])[0].x.square().sum(), x.x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_a_result_that_is_not_used_has_no_part_in_the_gradients() -> None:
    torch.manual_seed(0)
    blocks, first, second = blocks_of(2), sequence(8), sequence(9)
    ENCODER.encode(blocks, [first, second], [first, second])[0].x.square().sum().backward()
    assert all(not (x.grad if x.grad is not None else torch.zeros(())).any() for x in blocks[1].parameters())
    assert all(x.grad is not None for x in blocks[0].parameters())


def test_smile_learns_the_same_with_it() -> None:
    overrides = ["data.instead.params.size=64", "model.params.dropout=0", "model.params.context_dropout=0"]
    overrides += ["model.parts.head.params.dropout=0", "model.parts.head.params.classifier_dropout=0"]
    recipe = load_recipe("smile_mosei_corrected", overrides)
    experiment, found = open_experiment(recipe), []
    batch = next(iter(experiment.view.batches("train", 32)))
    for override in ([], ["model.parts.encoder=numba-blocks"]):
        torch.manual_seed(0)
        model = build_model(load_recipe("smile_mosei_corrected", overrides + override), experiment.problem).train()
        assert batch.target is not None
        nn.functional.binary_cross_entropy_with_logits(model(batch), batch.target).backward()
        found.append({name: x.grad for name, x in model.named_parameters() if x.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert_gradients_are_near(found[1], found[0], 1e-3)


def test_compiled_by_torch_it_is_torchs(runs: list[int]) -> None:
    blocks, query = blocks_of(2), [sequence(5), sequence(6)]

    def encode(x: Tensor, y: Tensor) -> list[Tensor]:
        given = [query[0].with_x(x), query[1].with_x(y)]
        return [each.x for each in ENCODER.encode(blocks, given, given)]

    compiled = torch.compile(encode, backend="eager", fullgraph=True)
    for one, other in zip(compiled(query[0].x, query[1].x), one_by_one(blocks, query, query), strict=True):
        torch.testing.assert_close(one, other.x, rtol=1e-5, atol=1e-5)
    assert not runs


# What a stranger to the kernel can do to its memory.


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_is_not_its_own(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    blocks, query = blocks_of(1), sequence(8)
    query.x.requires_grad_()
    want = gradients(ENCODER.encode, blocks, [query], [query])
    torch.set_default_dtype(dtype)
    try:
        found = ENCODER.encode(blocks, [query], [query])[0].x
        (grad,) = torch.autograd.grad(found.sum(), query.x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype is grad.dtype is torch.float32
    assert torch.equal(found, want["result 0"])


@pytest.mark.parametrize("view", [torch._neg_view, torch._efficientzerotensor], ids=["negative", "zero"])
def test_numbers_that_are_not_in_memory(view: Callable[..., Tensor]) -> None:
    blocks, query = blocks_of(1), sequence(8)
    x = view(query.x) if view is torch._neg_view else view(query.x.shape)
    with torch.no_grad():
        found = ENCODER.encode(blocks, [query.with_x(x)], [query])[0].x
        torch.testing.assert_close(found, blocks[0](query.with_x(x), query).x, rtol=1e-5, atol=1e-5)
    query.x.requires_grad_()
    result = ENCODER.encode(blocks, [query], [query])[0].x
    weight = torch.ones_like(result)
    share = view(weight) if view is torch._neg_view else view(weight.shape)
    (grad,) = torch.autograd.grad(result, query.x, share, retain_graph=True)
    (want,) = torch.autograd.grad(result, query.x, share.clone() * 1.0)
    assert torch.equal(grad, want)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["mask", "position"])
def test_a_mask_or_position_changed_before_the_backward_is_an_error(what: str) -> None:
    blocks, query = blocks_of(1), sequence(8, masked=True)
    query.x.requires_grad_()
    loss = ENCODER.encode(blocks, [query], [query])[0].x.sum()
    changed = query.mask if what == "mask" else query.position
    assert changed is not None
    changed.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.slow
def test_what_was_saved_may_come_back_in_another_layout_and_in_no_other_dtype() -> None:
    blocks, query = blocks_of(1), sequence(8)

    def loss(unpack: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x, unpack):
            return ENCODER.encode(blocks, [query], [query])[0].x.square().sum()

    (want,) = torch.autograd.grad(loss(lambda x: x), blocks[0].inner.weight)
    transposed = loss(lambda x: x.t().contiguous().t() if x.dim() == 2 else x)
    assert torch.equal(torch.autograd.grad(transposed, blocks[0].inner.weight)[0], want)
    with pytest.raises(RuntimeError, match="another dtype"):
        torch.autograd.grad(loss(lambda x: x.bfloat16()), blocks[0].inner.weight)


def test_sequences_made_for_inference_are_torchs_to_train_on(runs: list[int]) -> None:
    with torch.inference_mode():
        query = sequence(8)
    blocks = blocks_of(1)
    ENCODER.encode(blocks, [query], [query])[0].x.sum().backward()
    assert blocks[0].inner.weight.grad is not None
    assert not runs


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.functionalize])
def test_transforms_of_functions_are_torchs(transform: Callable[..., Callable[[Tensor], Tensor]]) -> None:
    blocks, query = blocks_of(1), sequence(8)

    def encoded(x: Tensor) -> Tensor:
        given = query.with_x(x)
        return ENCODER.encode(blocks, [given], [given])[0].x

    with torch.no_grad():
        xs = query.x[None] if transform is torch.func.vmap else query.x
        torch.testing.assert_close(transform(encoded)(xs).view_as(query.x), encoded(query.x), rtol=1e-5, atol=1e-5)


def test_a_unit_that_is_switched_off_by_infinity() -> None:
    blocks, query = blocks_of(1), sequence(8)
    with torch.no_grad():
        blocks[0].inner.bias[3] = -torch.inf
        torch.testing.assert_close(
            ENCODER.encode(blocks, [query], [query])[0].x, blocks[0](query, query).x, rtol=1e-5, atol=1e-5
        )
