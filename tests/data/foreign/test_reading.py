"""What real tools write comes back as it was."""

from __future__ import annotations

import argparse
import collections
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

from neurozoo.data.foreign import read_foreign

ARRAYS: dict[str, Any] = {
    "float32": np.arange(24, dtype=np.float32).reshape(4, 3, 2),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big-endian": np.arange(5, dtype=">i4"),
    "bool": np.array([True, False]),
    "float16": np.ones(3, np.float16),
    "text": np.array(["ab", "c"]),
    "objects": np.array(["x", "yy"], dtype=object),
    "empty": np.zeros((0, 3)),
    "scalar": np.float32(2.5),
}
OTHERS: dict[str, Any] = {
    "list": [1, 2.5, None, "t", b"xy", (1, 2), {3, 4}, -(2**40)],
    "ordered": collections.OrderedDict(a=1),
    "default": collections.defaultdict(list, {"k": [1]}),
    "settings": argparse.Namespace(x=1, y="z"),
}
PLAIN = {**OTHERS, "ordered": {"a": 1}, "default": {"k": [1]}, "settings": {"x": 1, "y": "z"}}


def assert_came_back(found: Any) -> None:
    assert {key: found[key] for key in OTHERS} == PLAIN
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(ARRAYS | OTHERS, protocol=protocol))
    assert_came_back(read_foreign(path))


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_joblib_files(compress: Any, tmp_path: Path) -> None:
    joblib.dump(ARRAYS | OTHERS, tmp_path / "file", compress=compress)
    assert_came_back(read_foreign(tmp_path / "file"))


@pytest.mark.parametrize("as_zip", [True, False])
def test_torch_files(as_zip: bool, tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tensors = {
        "transposed": base.reshape(3, 4).t(),
        "a view": base[2:6],
        "half": torch.randn(3, generator=torch.Generator().manual_seed(0)).half(),
        "int64": torch.arange(3),
        "bool": torch.tensor([True]),
        "empty": torch.zeros(0, 3),
        "0-d": torch.tensor(3.0),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    brain = torch.randn(4, generator=torch.Generator().manual_seed(1)).bfloat16()
    content = {**tensors, "bfloat16": brain, "size": torch.Size([1, 2]), **OTHERS}
    torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=as_zip)
    found = read_foreign(tmp_path / "file.pt")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor.detach().numpy(), err_msg=name)
    np.testing.assert_array_equal(found["bfloat16"], brain.float().numpy())
    assert tuple(found["size"]) == (1, 2)
    assert {key: found[key] for key in OTHERS} == PLAIN
