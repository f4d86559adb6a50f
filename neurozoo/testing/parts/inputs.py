"""Made-up contents for parts and models: with padding everywhere, and the ways to change what must not matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from neurozoo.core.multimodal import Features, Layout, Tokens
from neurozoo.core.signals import Batch, Signal
from neurozoo.nn.sequence import tokens

Content = Tokens | Mapping[str, Features] | Batch
"""What goes into a label head, a fusion, and a model."""
Masks = Literal["mixed", "none", "absent", "empty"]
"""``mixed``: padding on the right, on the left and in between; ``none``: no masks; ``absent``: sample 1
has no valid row in the first signal; ``empty``: it has none in any."""

SAMPLES = 4
STEPS = 3
"""T of spike trains."""
LENGTHS = (6, 4, 7, 5)
"""Of the signals, in order."""
_LARGE = 1e6
"""Of what stands in the padding of parts: large enough that a leak through any weight is seen."""


def made_up_mask(length: int, form: int, seed: int) -> Tensor:
    """``[B, L]`` bool: from sample to sample padded in between, on the right or on the left; sample 0 is whole."""
    generator = torch.Generator().manual_seed(seed)
    valid = torch.randint(1, max(length, 2), (SAMPLES, 1), generator=generator)
    valid[0] = length
    rank = torch.arange(length)
    between = torch.where(rank % 2 == 0, rank // 2, length - 1 - rank // 2)
    orders = (rank, length - 1 - rank, between)
    return torch.stack([orders[(form + sample) % 3] for sample in range(SAMPLES)]) < valid


def made_up_sequence(length: int, width: int, mask: Tensor | None, seed: int) -> Tokens:
    """``[B, L, D]`` float64, normal values in valid and padded rows alike."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return tokens(torch.randn(SAMPLES, length, width, generator=generator, dtype=torch.float64), mask)


def made_up_features(
    layout: Layout, masks: Masks = "mixed", seed: int = 0, *, spikes: bool = False
) -> dict[str, Features]:
    """The modalities of a layout, the context first, each of its own length and padding; with spikes where asked."""
    found = {}
    for place, name in enumerate((*layout.context, *layout.primary)):
        length = LENGTHS[place % len(LENGTHS)]
        mask = None if masks == "none" else made_up_mask(length, place, seed + place)
        if mask is not None and (masks == "empty" or (masks == "absent" and place == 0)):
            mask[1] = False
        p, h, e = (made_up_sequence(length, layout.hidden, mask, 100 * seed + 10 * place + i) for i in range(3))
        primary = name in layout.primary
        trains = made_up_trains(length, layout.hidden, mask, 100 * seed + place) if spikes and primary else None
        found[name] = Features(p, h, e if primary else h, primary, trains)
    return found


def made_up_trains(length: int, width: int, mask: Tensor | None, seed: int) -> Tokens:
    """``[B, L, T, D]`` float64, 0 and 1 with equal probability in valid and padded rows alike."""
    generator = torch.Generator().manual_seed(3000 + seed)
    drawn = torch.randint(0, 2, (SAMPLES, length, STEPS, width), generator=generator)
    return tokens(drawn.double(), mask)


def each_sequence(content: Content) -> dict[str, Tokens]:
    """The sequences of a content, by a name for people to read; a context's is there once."""
    if isinstance(content, Tokens):
        return {"sequence": content}
    if isinstance(content, Batch):
        return {name: tokens(signal.values, signal.valid) for name, signal in content.signals.items()}
    found: dict[str, Tokens] = {}
    for name, each in content.items():
        found |= {f"{name}.projected": each.projected, f"{name}.encoded": each.encoded}
        if each.enhanced is not each.encoded:
            found[f"{name}.enhanced"] = each.enhanced
        if each.spikes is not None:
            found[f"{name}.spikes"] = each.spikes
    return found


def changed(content: Content, change: Callable[[Tokens], Tokens]) -> Content:
    """The same content with each sequence changed; called once a sequence, in the order of :func:`each_sequence`."""
    if isinstance(content, Tokens):
        return change(content)
    if isinstance(content, Batch):
        own = {name: change(each) for name, each in each_sequence(content).items()}
        return replace(content, signals={name: Signal(each.x, each.mask) for name, each in own.items()})
    found = {}
    for name, each in content.items():
        projected, encoded = change(each.projected), change(each.encoded)
        enhanced = encoded if each.enhanced is each.encoded else change(each.enhanced)
        spikes = None if each.spikes is None else change(each.spikes)
        found[name] = Features(projected, encoded, enhanced, each.primary, spikes)
    return found


def of_samples(content: Content, samples: Sequence[int]) -> Content:
    """These samples of a content, in this order; of a batch their targets too."""
    rows = torch.tensor(samples)

    def taken(sequence: Tokens) -> Tokens:
        position = sequence.position if sequence.position.shape[0] == 1 else sequence.position[rows]
        return Tokens(sequence.x[rows], None if sequence.mask is None else sequence.mask[rows], position)

    content = changed(content, taken)
    if not isinstance(content, Batch):
        return content
    target, valid = (None if each is None else each[rows] for each in (content.target, content.target_valid))
    return replace(content, target=target, target_valid=valid)


def longer(content: Content, left: int, right: int) -> Content:
    """More padding at both ends of every sequence that has some; targets of steps move with their steps."""
    content = changed(content, partial(_padded, left=left, right=right))
    if not isinstance(content, Batch) or content.target is None or content.target_valid is None:
        return content
    ends = (*[0, 0] * (content.target.dim() - 2), left, right)
    return replace(content, target=F.pad(content.target, ends), target_valid=F.pad(content.target_valid, (left, right)))


def with_mask(sequence: Tokens) -> Tokens:
    """The same sequence with a mask that leaves nothing out, where it has none."""
    if sequence.mask is not None:
        return sequence
    return tokens(sequence.x, torch.ones(sequence.x.shape[:2], dtype=torch.bool, device=sequence.x.device))


def with_dtype(sequence: Tokens, dtype: torch.dtype) -> Tokens:
    """The same sequence in a floating dtype; token numbers stay as they are."""
    return sequence.with_x(sequence.x.to(dtype) if sequence.x.is_floating_point() else sequence.x)


def other_padding(sequence: Tokens, junk: float = _LARGE) -> Tokens:
    """Other values in the rows that the mask leaves out: random ones of size ``junk``; of token numbers other ones."""
    if sequence.mask is None:
        return sequence
    x = sequence.x
    mask = sequence.mask.reshape(*sequence.mask.shape, *[1] * (x.dim() - 2))
    if not x.is_floating_point():
        return sequence.with_x(torch.where(mask, x, x.max() - x))
    drawn = junk * torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    return sequence.with_x(torch.where(mask, x, drawn))


def _padded(sequence: Tokens, left: int, right: int) -> Tokens:
    """More rows of padding, their values large; positions as for every sequence of a model."""
    if sequence.mask is None:
        return sequence
    x = F.pad(sequence.x, (*[0, 0] * (sequence.x.dim() - 2), left, right))
    return other_padding(tokens(x, F.pad(sequence.mask, (left, right))))


def leaves(content: Content) -> tuple[Content, dict[str, Tensor]]:
    """The same content with its floating tensors as leaves of a graph, and these by the names of each_sequence."""

    def leaf(sequence: Tokens) -> Tokens:
        x = sequence.x.detach().clone()
        return sequence.with_x(x.requires_grad_() if x.is_floating_point() else x)

    own = changed(content, leaf)
    return own, {name: each.x for name, each in each_sequence(own).items() if each.x.requires_grad}
