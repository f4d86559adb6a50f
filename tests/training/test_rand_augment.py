"""RandAugment's operations against Pillow's, to which the published ones belong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from neurozoo.training.rand_augment import OPERATIONS, ColourJitter, RandAugment


def picture(height: int = 24, width: int = 20) -> Tensor:
    """A smooth picture of bytes ``[H, W, 3]`` with a part of the range."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    channels = (30 + 160 * y, 220 - 120 * x * y, 90 + 60 * (x * 3).sin())
    return torch.stack(channels, -1).round().to(torch.uint8)


def applied(name: str, amount: float, image: Tensor) -> Tensor:
    """Bytes ``[H, W, 3]``, by way of ``[1, 1, 3, H, W]`` floats."""
    x = image.permute(2, 0, 1)[None, None].float() / 255
    return (OPERATIONS[name](x, torch.tensor([amount]))[0, 0].permute(1, 2, 0) * 255).round().long()


def near(made: Tensor, expected: Image.Image, tolerance: int) -> None:
    difference = (made - torch.from_numpy(np.array(expected)).long()).abs()
    assert int(difference.max()) <= tolerance


PILLOW: dict[str, tuple[float, Callable[[Image.Image], Image.Image], int]] = {
    "identity": (0.5, lambda image: image, 0),
    "autocontrast": (0.5, ImageOps.autocontrast, 1),
    "equalise": (0.5, ImageOps.equalize, 0),
    "posterise": (0.9, lambda image: ImageOps.posterize(image, 5), 0),
    "solarise": (0.5, lambda image: ImageOps.solarize(image, 128), 0),
    "colour": (-0.7, lambda image: ImageEnhance.Color(image).enhance(1 - 0.63), 1),
    "contrast": (0.7, lambda image: ImageEnhance.Contrast(image).enhance(1 + 0.63), 1),
    "brightness": (0.4, lambda image: ImageEnhance.Brightness(image).enhance(1.36), 1),
    "sharpness": (1.0, lambda image: ImageEnhance.Sharpness(image).enhance(1.9), 1),
}


@pytest.mark.parametrize("name", PILLOW)
def test_it_is_pillow_s(name: str) -> None:
    amount, theirs, tolerance = PILLOW[name]
    image = picture()
    near(applied(name, amount, image), theirs(Image.fromarray(image.numpy())), tolerance)


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("shear-x", (1, 0.15, 0, 0, 1, 0)),
        ("shear-y", (1, 0, 0, 0.15, 1, 0)),
        ("translate-x", (1, 0, 0.225 * 20, 0, 1, 0)),
        ("translate-y", (1, 0, 0, 0, 1, 0.225 * 24)),
        ("rotate", (np.cos(np.pi / 12), -np.sin(np.pi / 12), 0, np.sin(np.pi / 12), np.cos(np.pi / 12), 0)),
    ],
)
def test_moves_are_affine_about_the_middle(name: str, matrix: tuple[float, ...]) -> None:
    image = picture()
    a, b, c, d, e, f = matrix
    about = (a, b, c + 10 - a * 10 - b * 12, d, e, f + 12 - d * 10 - e * 12)
    theirs = Image.fromarray(image.numpy()).transform(
        (20, 24), Image.Transform.AFFINE, about, Image.Resampling.BILINEAR
    )
    made, expected = applied(name, 0.5, image), torch.from_numpy(np.array(theirs)).long()
    inside = torch.zeros(24, 20, dtype=torch.bool)  # at edges they weigh what is outside differently
    there = (expected > 0).all(-1) & (made > 0).all(-1)
    inside[1:-1, 1:-1] = F.max_pool2d((~there).float()[None], 3, 1)[0] == 0
    assert float(inside.float().mean()) > 0.4
    assert int((made - expected).abs()[inside].max()) <= 2


@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    magnitude=st.floats(0, 10),
    seed=st.integers(0, 1000),
)
def test_any_size_stays_in_range(size: tuple[int, ...], magnitude: float, seed: int) -> None:
    torch.manual_seed(seed)
    values = torch.randint(0, 256, size, dtype=torch.uint8)
    for augmentation in (RandAugment(magnitude=magnitude, operations=2, deviation=0.5), ColourJitter()):
        changed = augmentation.frames(values)
        assert (changed.shape, changed.dtype) == (values.shape, torch.float32)
        assert float(changed.min()) >= 0
        assert float(changed.max()) <= 255.001


def test_every_sample_draws_its_own_operation() -> None:
    torch.manual_seed(0)
    values = picture().permute(2, 0, 1)[None, None].float().div(255).expand(200, 2, -1, -1, -1)
    changed = RandAugment(magnitude=9).frames(values)
    assert len({tuple(sample[0].flatten()[::7].tolist()) for sample in changed}) >= len(OPERATIONS)
    torch.testing.assert_close(changed[:, 0], changed[:, 1])  # frames of a sample alike
    assert torch.equal(RandAugment(p=0.0).frames(values), values)
    assert torch.equal(RandAugment(magnitude=0).frames(values)[:1] <= 1, torch.ones(1, 2, 3, 24, 20, dtype=torch.bool))


def test_jitter_moves_the_mean_and_keeps_a_picture_of_one_channel_grey() -> None:
    torch.manual_seed(0)
    values = torch.full((100, 1, 1, 4, 4), 0.5)
    changed = ColourJitter(brightness=0.5, contrast=0.0, saturation=0.5).frames(values)
    torch.testing.assert_close(changed, changed[..., :1, :1].expand_as(changed))
    assert 0.25 <= float(changed.min()) < 0.3
    assert 0.7 < float(changed.max()) <= 0.75
    assert torch.equal(ColourJitter(brightness=0.0, contrast=0.0, saturation=0.0).frames(values), values)
