"""Small stores, and the folder of real data where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurozoo.data.store import Store, StoreWriter

MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Makes a store of random values: shapes ``{name: (L, D)}``, sizes ``{split: N}``."""

    def make(
        shapes: Mapping[str, tuple[int, int]], splits: Mapping[str, int], name: str = "store", **options: Any
    ) -> Store:
        rng = np.random.default_rng(0)
        with StoreWriter(tmp_path / name, labels=["glad", "sad"], origin={"format": "test"}, **options) as writer:
            for split, n in splits.items():
                features = {key: rng.standard_normal((n, *shape)) for key, shape in shapes.items()}
                writer.add(split, features, rng.integers(0, 2, (n, 2)))
        return Store(tmp_path / name)

    return make


@pytest.fixture
def real_data() -> Path:
    """The folder with real data sets."""
    folder = os.environ.get("NEUROZOO_TEST_DATA")
    if not folder:
        pytest.skip("NEUROZOO_TEST_DATA is not set: tests on real data need that folder")
    return Path(folder)
