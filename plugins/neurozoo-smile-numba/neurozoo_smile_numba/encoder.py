"""Encoder blocks by one compiled loop over blocks and samples, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from neurozoo_numba.threads import in_threads
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from neurozoo.backends.fused.operators import plain, untraced
from neurozoo.core.multimodal import Tokens
from neurozoo.models.smile.parts import Encoder
from neurozoo.nn.attention import LAYER_NORM_EPS, EncoderBlock, MultiHeadAttention, encode_each
from neurozoo.nn.dropout import Dropout, draw, lost_of
from neurozoo.nn.hook_checks import has_hooks
from neurozoo.nn.sequence import code_table
from neurozoo_smile_numba.encoder_kernel import COLUMNS, INNER, PARAMETERS, PIECE, compiled, parameter_counts

__all__ = ["NumbaEncoder", "own_parameters"]

WORTH = 2**22
"""Multiplications per thread, at least."""


class NumbaEncoder(Encoder):
    """Encoder blocks in float32 on a CPU; calls the blocks for everything else.

    Without dropout the result for a sample is the same to the bit in every batch, and within rounding of torch's.
    Dropout drops other elements than torch's. The backward keeps only the sequences and, with dropout, its random bits.
    """

    def encode(
        self, blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
    ) -> list[Tokens]:
        read = _read(blocks, queries, sources)
        if read is None:
            return encode_each(blocks, queries, sources)
        (samples, width, inner, heads), numbers = read
        places, work = [], 0
        for block, query, source in zip(blocks, queries, sources, strict=True):
            asking, asked = query.x.shape[1], source.x.shape[1]
            mask = None if source.mask is None else source.mask.contiguous()
            place = _Place(asking, asked, query.position.contiguous(), source.position.contiguous(), mask)
            if block.training:
                place.drop(samples, width, heads, block.dropout.p, block.attention.dropout.p)
            places.append(place)
            work += samples * (asking + asked) * (2 * width * (width + asking) + width * inner)
        call = _Call(samples, width, inner, heads, tuple(places), work // WORTH)
        xs = [each.x for each in (*queries, *sources)]
        if torch.is_grad_enabled() and any(x.requires_grad for x in (*xs, *numbers)):
            found = _Encoded.apply(call, *xs, *numbers)  # type: ignore[no-untyped-call]
        else:
            found = call.forward(xs, numbers)
        return [query.with_x(x) for query, x in zip(queries, found, strict=True)]


@dataclass
class _Place:
    """Lengths Q and S, positions ``[B or 1, L]`` and mask ``[B, S]`` of a block's sequences, and its dropout.

    ``lost`` and ``lost_weights`` (attention's weights) are the dropped share of 2^16, ``bits`` the random bits of both.
    """

    asking: int
    asked: int
    query_position: Tensor
    source_position: Tensor
    mask: Tensor | None
    lost: int = 0
    lost_weights: int = 0
    bits: Tensor | None = None

    def drop(self, samples: int, width: int, heads: int, p: float, p_weights: float) -> None:
        """Draw dropout's random bits."""
        self.lost, self.lost_weights = lost_of(p), lost_of(p_weights)
        count = width * (3 * self.asking + 2 * self.asked)
        count += heads * self.asked * self.asking if self.lost_weights else 0
        if self.lost or self.lost_weights:
            self.bits = draw((samples, count), torch.device("cpu"))


@dataclass
class _Call:
    """A call of the kernel, without its sequences and parameters."""

    samples: int
    width: int
    inner: int
    heads: int
    places: tuple[_Place, ...]
    threads: int

    def forward(self, xs: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
        """The blocks' results; ``xs`` are all queries, then all sources."""
        xs = [x.contiguous() for x in xs]
        found = [x.new_empty(x.shape) for x in xs[: len(self.places)]]
        table = self._table(xs, parameters, found, [0] * len(xs))
        self._run("forward", len(self.places) * self.samples, self.threads, (xs, parameters, found), table)
        return found

    def backward(
        self, xs: Sequence[Tensor], parameters: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The gradients of ``xs`` and of the parameters, from the gradients of the blocks' results."""
        xs, parameters = [x.contiguous() for x in xs], [x.contiguous() for x in parameters]
        grads = [x.contiguous() if plain(x) else xs[0].new_empty(x.shape).copy_(x) for x in grads]
        given = *xs, *parameters, *grads
        if not plain(*given) or not all(x.is_cpu and x.dtype is torch.float32 for x in given):
            raise RuntimeError("a saved tensor came back with another dtype or on another device")
        to_xs = [x.new_empty(x.shape) for x in xs]
        counts, pieces = parameter_counts(self.width, self.inner), -(-self.samples // PIECE)
        buffers = xs[0].new_zeros(len(self.places) * pieces, sum(counts))
        table = self._table(xs, parameters, grads, [x.data_ptr() for x in to_xs])
        in_use = xs, parameters, grads, to_xs, buffers
        self._run("backward", len(buffers), 4 * self.threads, in_use, table, np.array(counts), buffers.numpy())
        by_block = buffers.view(len(self.places), pieces, -1).sum(1)
        shapes = iter(parameters)
        return to_xs, [part.view(next(shapes).shape) for row in by_block for part in row.split(counts)]

    def _run(self, name: str, pieces: int, threads: int, in_use: object, *arrays: NDArray[Any]) -> None:
        """Call a kernel for all pieces; ``in_use`` is kept alive until all threads are done."""
        kernel, longest = compiled(name), max(max(each.asking, each.asked) for each in self.places)
        code = code_table(longest, self.width, torch.float32, torch.device("cpu"))
        arguments = self.samples, self.width, self.inner, self.heads, code.data_ptr(), *arrays

        def run(first: int, last: int, _in_use: object = (self, in_use, code)) -> None:
            if not kernel(first, last, *arguments):
                raise IndexError("a sequence has a position that is negative, or not below its number of rows")

        in_threads(run, pieces, threads)

    def _table(
        self, xs: Sequence[Tensor], parameters: Sequence[Tensor], out: Sequence[Tensor], to_xs: Sequence[int]
    ) -> NDArray[np.int64]:
        """The kernel's table of addresses; the tensors must be kept until it is done."""
        count, addresses = len(self.places), [x.data_ptr() for x in parameters]
        each, table = len(addresses) // count, np.empty((count, COLUMNS), np.int64)
        for g, place in enumerate(self.places):
            table[g] = (
                xs[g].data_ptr(), place.query_position.data_ptr(), place.query_position.shape[0] == 1, place.asking,
                xs[count + g].data_ptr(), place.source_position.data_ptr(), place.source_position.shape[0] == 1,
                place.asked, 0 if place.mask is None else place.mask.data_ptr(), out[g].data_ptr(),
                0 if place.bits is None else place.bits.data_ptr(), place.lost, place.lost_weights,
                to_xs[g], to_xs[count + g], *addresses[g * each : (g + 1) * each],
            )  # fmt: skip
        return table


class _Encoded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.call = call
        # With the call's own tensors, so that torch detects changes in place.
        own = [x for each in call.places for x in (each.query_position, each.source_position, each.mask)]
        ctx.save_for_backward(*tensors, *own)
        sequences = 2 * len(call.places)
        return tuple(call.forward(tensors[:sequences], tensors[sequences:]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.call.places)
        sequences, parameters = 2 * count, PARAMETERS * count
        tensors = ctx.saved_tensors
        to_xs, to_parameters = ctx.call.backward(
            tensors[:sequences], tensors[sequences : sequences + parameters], grads
        )
        return None, *to_xs, *to_parameters


def _read(
    blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
) -> tuple[tuple[int, int, int, int], list[Tensor]] | None:
    """B, D, width of the feed-forward and H, and all parameters in the kernel's order; None for other blocks."""
    if torch.is_autocast_enabled("cpu") or not untraced():
        return None
    if torch.is_grad_enabled() and any(each.x.is_inference() for each in (*queries, *sources)):
        return None  # torch does not save inference tensors
    sizes: tuple[int, int, int, int] | None = None
    counts: list[int] = []
    parameters: list[Tensor] = []
    parameter, float32 = torch.nn.Parameter, torch.float32
    for block, query, source in zip(blocks, queries, sources, strict=True):
        numbers = own_parameters(block)
        if numbers is None or not _plain_sequence(query) or not (source is query or _plain_sequence(source)):
            return None
        (samples, width), inner, heads = query.x.shape[::2], numbers[INNER].shape[0], block.attention.heads
        if sizes is None:
            sizes, counts = (samples, width, inner, heads), parameter_counts(width, inner)
        if sizes != (samples, width, inner, heads) or width % heads or width == 1:
            return None
        if source.x.shape[::2] != (samples, width):
            return None
        for x, count in zip(numbers, counts, strict=True):
            # A contiguous parameter of more than one number has its values in memory.
            if not ((type(x) is parameter or plain(x)) and x.dtype is float32 and x.is_cpu):
                return None
            if not x.is_contiguous() or x.numel() != count:
                return None
        parameters += numbers
    return None if sizes is None else (sizes, parameters)


def own_parameters(block: EncoderBlock) -> list[Tensor] | None:
    """Return the block's parameters if the kernel may compute it, else None.

    Returns:
        Weight and bias of the norms of embedding, attention and output; of query, key, value and output of the
        attention; of inner and outer. None if the block computes anything else with them: a part of another type or
        with its own ``forward``, another epsilon of a norm, only some parts in training mode, a hook.
    """
    # Plain loops over the modules' dicts: anything else takes longer than a small block.
    if type(block) is not EncoderBlock or has_hooks(block):
        return None
    parts: Mapping[str, Any] = block._modules
    attention = parts["attention"]
    if type(attention) is not MultiHeadAttention:
        return None
    inside: Mapping[str, Any] = attention._modules
    dropouts = parts["dropout"], inside["dropout"]
    norms = parts["embedding_norm"], parts["attention_norm"], parts["output_norm"]
    linears = inside["query"], inside["key"], inside["value"], inside["out"], parts["inner"], parts["outer"]
    for kind, group in ((Dropout, dropouts), (nn.LayerNorm, norms), (nn.Linear, linears)):
        for part in group:
            if type(part) is not kind:
                return None
    for module in (attention, *dropouts):
        if module.training is not block.training:
            return None
    for norm in norms:
        if norm.eps != LAYER_NORM_EPS:
            return None
    found: list[Tensor] = []
    for module in (*norms, *linears):
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
        if weight is None or bias is None:
            return None
        found += weight, bias
    return found


def _plain_sequence(sequence: Tokens) -> bool:
    x, position, mask = sequence.x, sequence.position, sequence.mask
    if not plain(x, position) or x.dtype is not torch.float32 or position.dtype is not torch.int64 or x.dim() != 3:
        return False
    batch, length, _ = x.shape
    if not (x.is_cpu and position.is_cpu) or position.shape not in ((batch, length), (1, length)) or x.numel() == 0:
        return False
    if mask is None:
        return True
    return plain(mask) and mask.dtype is torch.bool and mask.is_cpu and mask.shape == (batch, length)
