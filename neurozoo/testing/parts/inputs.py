"""Made-up sequences for parts: with padding everywhere, and the ways to change what must not matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from neurozoo.core.interfaces import Batch, Features, Layout, Tokens
from neurozoo.nn.sequence import tokens

__all__ = [
    "LENGTHS",
    "SAMPLES",
    "Content",
    "Masks",
    "changed",
    "each_sequence",
    "made_up_features",
    "made_up_mask",
    "made_up_sequence",
    "other_padding",
    "padded",
    "take",
    "with_mask",
]

Content = Tokens | Mapping[str, Features] | Batch
"""What goes into a label head, a fusion, and a model."""
Masks = Literal["mixed", "none", "absent", "empty"]
"""``mixed``: padding on the right, on the left and in between; ``none``: no masks; ``absent``: sample 1
has no valid row in the first modality; ``empty``: it has none in any."""

SAMPLES = 4
LENGTHS = (6, 4, 7, 5)
"""Of the modalities, in order."""
_LARGE = 1e6
"""Of what stands in padding: large enough that a leak through any weight is seen."""


def made_up_mask(length: int, form: int, seed: int) -> Tensor:
    """``[B, L]`` bool: padded on the right, on the left, or in between, as joined modalities are."""
    generator = torch.Generator().manual_seed(seed)
    valid = torch.randint(1, length + 1, (SAMPLES, 1), generator=generator)
    valid[0] = length
    rank = torch.arange(length)
    order = (rank, length - 1 - rank, torch.where(rank % 2 == 0, rank // 2, length - 1 - rank // 2))
    return order[form % 3] < valid


def made_up_sequence(length: int, width: int, mask: Tensor | None, seed: int) -> Tokens:
    """``[B, L, D]`` float64, normal values in valid and padded rows alike."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return tokens(torch.randn(SAMPLES, length, width, generator=generator, dtype=torch.float64), mask)


def made_up_features(layout: Layout, masks: Masks = "mixed", seed: int = 0) -> dict[str, Features]:
    """The modalities of a layout, the context first, each of its own length and padding."""
    names = ((layout.context,) if layout.context is not None else ()) + layout.spiking
    found = {}
    for place, name in enumerate(names):
        length = LENGTHS[place % len(LENGTHS)]
        mask = None if masks == "none" else made_up_mask(length, place, seed + place)
        if mask is not None and (masks == "empty" or (masks == "absent" and place == 0)):
            mask[1] = False
        p, h, e = (made_up_sequence(length, layout.hidden, mask, 100 * seed + 10 * place + i) for i in range(3))
        spiking = name in layout.spiking
        found[name] = Features(p, h, e if spiking else h, spiking)
    return found


def each_sequence(content: Content) -> dict[str, Tokens]:
    """The sequences of a content, by a name for people to read; a context's is there once."""
    if isinstance(content, Tokens):
        return {"sequence": content}
    if isinstance(content, Batch):
        return {name: tokens(x, content.masks[name]) for name, x in content.features.items()}
    found: dict[str, Tokens] = {}
    for name, each in content.items():
        found |= {f"{name}.projected": each.projected, f"{name}.encoded": each.encoded}
        if each.enhanced is not each.encoded:
            found[f"{name}.enhanced"] = each.enhanced
    return found


def changed(content: Content, change: Callable[[Tokens], Tokens]) -> Content:
    """The same content with each sequence changed; called once a sequence, in the order of :func:`each_sequence`."""
    if isinstance(content, Tokens):
        return change(content)
    if isinstance(content, Batch):
        own = {name: with_mask(change(each)) for name, each in each_sequence(content).items()}
        masks = {name: each.mask for name, each in own.items() if each.mask is not None}
        return Batch({name: each.x for name, each in own.items()}, masks)
    found = {}
    for name, each in content.items():
        projected, encoded = change(each.projected), change(each.encoded)
        enhanced = encoded if each.enhanced is each.encoded else change(each.enhanced)
        found[name] = Features(projected, encoded, enhanced, each.spiking)
    return found


def take(sequence: Tokens, samples: Sequence[int]) -> Tokens:
    """These samples of a sequence, in this order."""
    rows = torch.tensor(samples)
    position = sequence.position if sequence.position.shape[0] == 1 else sequence.position[rows]
    return Tokens(sequence.x[rows], None if sequence.mask is None else sequence.mask[rows], position)


def with_mask(sequence: Tokens) -> Tokens:
    """The same sequence with a mask that leaves nothing out, where it has none."""
    if sequence.mask is not None:
        return sequence
    return tokens(sequence.x, torch.ones(sequence.x.shape[:2], dtype=torch.bool, device=sequence.x.device))


def other_padding(sequence: Tokens) -> Tokens:
    """Other values, large and finite, in the rows that the mask leaves out."""
    if sequence.mask is None:
        return sequence
    junk = _LARGE * torch.randn(sequence.x.shape, generator=torch.Generator().manual_seed(5), dtype=sequence.x.dtype)
    return sequence.with_x(sequence.x.where(sequence.mask[..., None], junk))


def padded(sequence: Tokens, left: int, right: int) -> Tokens:
    """More rows of padding at both ends, their values large; positions as for every sequence of a model."""
    whole = with_mask(sequence)
    assert whole.mask is not None
    longer = tokens(F.pad(whole.x, (0, 0, left, right)), F.pad(whole.mask, (left, right)))
    return other_padding(longer)
