"""Pixels of pictures: few of many values, and small PNGs inside of a page, by Pillow, which comes with matplotlib."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.errors import UserError, install_extra

__all__ = ["evenly", "indexed", "png_address", "pooled"]

_HEAD = "data:image/png;base64,"


def evenly(size: int, most: int) -> NDArray[np.int64]:
    """Return places from 0 to ``size - 1``, at most ``most`` of them, evenly spread with both ends."""
    return np.unique(np.linspace(0, max(size - 1, 0), min(size, most)).astype(np.int64))


def pooled(x: NDArray[Any], starts: NDArray[np.int64], axis: int, *, mean: bool) -> NDArray[Any]:
    """Merge neighbours along an axis, each group from one of ``starts`` up to the next: their sum, or their mean."""
    merged: NDArray[Any] = np.add.reduceat(x, starts, axis=axis)
    if mean:
        sizes = np.diff(starts, append=x.shape[axis])
        merged = merged / np.expand_dims(sizes, tuple(range(1, x.ndim - axis % x.ndim)))
    return merged


def png_address(pixels: NDArray[np.uint8], colours: NDArray[np.uint8] | None) -> str:
    """Return a PNG as the address of an image.

    Args:
        pixels: ``[H, W]`` numbers of colours or, without those, grey; or ``[H, W, 3]`` red, green and blue.
        colours: ``[n, 4]`` by number, with their opacity, at most 256; None of pixels that are shown as they are.
    """
    image = _pillow().fromarray(np.ascontiguousarray(pixels))
    file = io.BytesIO()
    if colours is None:
        image.save(file, "PNG")
    else:
        image.putpalette(colours[:, :3].tobytes())
        bits = 1 if len(colours) <= 2 else 2 if len(colours) <= 4 else 4 if len(colours) <= 16 else 8
        image.save(file, "PNG", transparency=colours[:, 3].tobytes(), bits=bits)
    return f"{_HEAD}{base64.b64encode(file.getvalue()).decode()}"


def indexed(address: str) -> str:
    """Return the address of a PNG as one with numbered colours, a third of its size, if it has at most 256."""
    image = _pillow().open(io.BytesIO(base64.b64decode(address.removeprefix(_HEAD))))
    pixels = np.ascontiguousarray(np.asarray(image.convert("RGBA")))
    colours, numbers = np.unique(pixels.view(np.uint32)[..., 0], return_inverse=True)
    if len(colours) > 256:
        return address
    return png_address(numbers.reshape(pixels.shape[:2]).astype(np.uint8), colours.view(np.uint8).reshape(-1, 4))


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError(
            "pictures need Pillow, which is not installed; install it with: " + install_extra("plots")
        ) from error
    return Image
