"""Pieces of the compiled loops."""

from __future__ import annotations

import numpy as np
import pytest
from neurozoo_events.kernel import active


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 200])
@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_the_places_of_numbers_that_are_not_0(size: int, share: float) -> None:
    made = np.random.default_rng(size).random(size + 3, np.float32)
    x = np.where(made < share, made + np.float32(0.5), np.float32(0.0)).astype(np.float32)
    x[2::17] = -0.0
    x[9::31] = np.nan
    places, numbers = np.zeros(size + 1, np.int64), np.zeros(size + 1, np.float32)
    count = active(x, 3, size, places, numbers)
    (expected,) = np.nonzero(x[3:])
    np.testing.assert_array_equal(places[:count], expected)
    np.testing.assert_array_equal(numbers[:count], x[3:][expected])
