"""What autograd keeps for the backward: less memory, the same gradients to the bit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.saving import LARGE, compact_saves, known_spikes, recomputable
from neurozoo.nn.synapses import _is_product_and_sum, conv_norm
from neurozoo.runs.by_name import create_model


def kept_bytes(run: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Return the bytes that the graph of a result keeps, and the result."""
    from neurozoo.core import saving

    sizes: dict[int, int] = {}
    pack = saving._Saves.pack

    def counted(self: saving._Saves, x: Tensor) -> object:
        made = pack(self, x)
        numbers = made.numbers if isinstance(made, saving._Packed) else getattr(made, "tensor", None)
        if isinstance(numbers, Tensor):
            sizes[numbers.untyped_storage().data_ptr()] = numbers.untyped_storage().nbytes()
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving._Saves, "pack", counted)
        with compact_saves():
            result = run()
    return sum(sizes.values()), result


def test_spikes_are_kept_as_bytes_with_equal_gradients() -> None:
    spikes = (torch.rand(64, LARGE // 64) < 0.2).float()
    weight = torch.randn(LARGE // 64, 3, requires_grad=True)
    (expected,) = torch.autograd.grad((spikes @ weight).square().sum(), weight)
    size, result = kept_bytes(lambda: spikes @ weight)
    assert size == LARGE
    (gradient,) = torch.autograd.grad(result.square().sum(), weight)
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("value", [0.5, 256.0, -1.0, float("nan"), float("inf")])
def test_other_numbers_are_kept_as_they_are(value: float) -> None:
    x = (torch.rand(64, LARGE // 64) < 0.2).float()
    x[40, 5] = value
    weight = torch.randn(LARGE // 64, 3, requires_grad=True)
    (expected,) = torch.autograd.grad((x @ weight).sum(), weight)
    size, result = kept_bytes(lambda: x @ weight)
    assert size == 4 * LARGE
    (gradient,) = torch.autograd.grad(result.sum(), weight)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0, equal_nan=True)


def test_places_of_maxima_take_two_bytes() -> None:
    x = torch.randn(4, 4, 128, 128, requires_grad=True)
    pool = nn.MaxPool2d(2)
    (expected,) = torch.autograd.grad(pool(x).square().sum(), x)
    size, result = kept_bytes(lambda: pool(x))
    assert size == 4 * x.numel() + 2 * x.numel() // 4
    assert torch.equal(torch.autograd.grad(result.square().sum(), x)[0], expected)


def test_spikes_that_were_changed_are_looked_at() -> None:
    weight = torch.randn(LARGE // 64, 3, requires_grad=True)
    spikes = torch.ones(64, LARGE // 64)
    with compact_saves():
        known_spikes(spikes)
        spikes.mul_(0.5)
        result = spikes @ weight
    (gradient,) = torch.autograd.grad(result.sum(), weight)
    assert torch.equal(gradient, torch.full_like(gradient, 32.0))


def test_a_result_is_computed_again_unless_it_was_changed() -> None:
    x = torch.randn(64, LARGE // 64, requires_grad=True)
    for change in (False, True):
        calls: list[int] = []

        def again(source: Tensor, calls: list[int] = calls) -> Tensor:
            calls.append(1)
            return 2 * source

        with compact_saves():
            doubled = 2 * x
            recomputable(doubled, again, x.detach())
            if change:
                doubled.mul_(3)
            result = doubled.square()
        factor = 6 if change else 2
        (gradient,) = torch.autograd.grad(result.sum(), x)
        assert torch.allclose(gradient, 2 * factor**2 * x.detach())
        assert len(calls) == (0 if change else 1)


@pytest.mark.parametrize("kept", ["as it is", "computed again"])
def test_what_is_changed_before_the_backward_is_refused(kept: str) -> None:
    x = torch.randn(64, LARGE // 64, requires_grad=True)
    base = 1 * x
    with compact_saves():
        doubled = 2 * base
        if kept == "computed again":
            recomputable(doubled, lambda source: 2 * source, base.detach())
        result = doubled.square()
    (doubled if kept == "as it is" else base).detach().add_(1)
    with pytest.raises(RuntimeError, match="was changed in place after the forward"):
        result.sum().backward()


def test_a_batch_norm_is_computed_again_to_the_bit() -> None:
    torch.manual_seed(0)
    synapse = conv_norm(3, 8).train()
    x = torch.randn(4, 3, 64, 64)

    with compact_saves():
        loss = synapse(x).square().sum()
    made = torch.autograd.grad(loss, list(synapse.parameters()))
    expected = list(torch.autograd.grad(synapse(x).square().sum(), list(synapse.parameters())))
    for one, other in zip(made, expected, strict=True):
        assert torch.equal(one, other)
    assert isinstance(_is_product_and_sum(torch.float32), bool)


def test_a_models_gradients_are_the_same_with_less_memory() -> None:
    torch.manual_seed(0)
    model = create_model("spikformer-4-384", width=64, heads=2, depth=1, inputs=(3, 32, 32)).train()
    x = torch.randn(4, 3, 32, 32)
    loss = model(x).square().sum()
    made = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda each: each, lambda each: each):  # another's hooks: as torch
        loss = model(x).square().sum()
        expected = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    assert any(each is not None and each.any() for each in expected)
    for one, other in zip(made, expected, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_transforms_are_left_alone() -> None:
    def loss(x: Tensor) -> Tensor:
        with compact_saves():
            return (x * x).sum()

    x = torch.randn(64, LARGE // 64)
    assert torch.equal(torch.func.grad(loss)(x), 2 * x)


@pytest.mark.parametrize("name", ["dcls-delays-shd", "sew-resnet-dvs128-gesture"])
def test_a_forward_without_a_backward_leaves_no_tensor(name: str) -> None:
    # An operation that keeps its own result, which keeps the operation, is a circle that nothing collects.
    model = create_model(name, outputs=3, backend="torch").train()
    (shape,) = model.problem.signals.values()
    x = torch.rand(2, min(shape.length, 5), *shape.shape)
    before = in_graphs()  # kept, so that none of their numbers is given to another object
    known = {id(each) for each in before}
    model(x)
    assert not [each.shape for each in in_graphs() if id(each) not in known]


def in_graphs() -> list[Tensor]:
    """Return the tensors that are results of operations whose graph is kept."""
    gc.collect()
    # `type`, since a look at an attribute wakes what others have made lazy.
    return [each for each in gc.get_objects() if issubclass(type(each), Tensor) and each.grad_fn is not None]


def test_a_gradient_of_a_gradient_is_the_same() -> None:
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)

    def twice(around: AbstractContextManager[None]) -> Tensor:
        with around:
            y = x.exp() * x.sigmoid()  # both keep their results
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        return second

    assert torch.equal(twice(compact_saves()), twice(nullcontext()))
