"""What real tools write comes back as it was."""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

from neurozoo.data.untrusted.limits import Limits
from neurozoo.data.untrusted.process import read_untrusted

ARRAYS: dict[str, Any] = {
    "float32": np.arange(24, dtype=np.float32).reshape(4, 3, 2),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big-endian": np.arange(5, dtype=">i4"),
    "bool": np.array([True, False]),
    "float16": np.ones(3, np.float16),
    "text": np.array(["ab", "c"]),
    "objects": np.array(["x", "yy"], dtype=object),
    "empty": np.zeros((0, 3)),
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "complex": np.array([1 + 2j], np.complex64),
    "bytes": np.array([b"ab", b"c"]),
    "big-endian text": np.array(["ab", "c"], dtype=">U2"),
    "times": np.array(["2026-11-29", "NaT"], dtype="datetime64[D]"),
    "spans": np.array([5], dtype="timedelta64[25us]"),
    "objects in Fortran's order": np.asfortranarray(np.array([["a", 1], [2.5, None]], dtype=object)),
    "no axes": np.array(3, np.int16),
    "scalar": np.float32(2.5),
}
OTHERS: dict[str, Any] = {
    "list": [1, 2.5, None, "t", b"xy", (1, 2), {3, 4}, -(2**40), True, 1 + 2j, frozenset({"f"}), bytearray(b"z")],
    "numbers": [np.float32(0.5), np.int64(-3), np.bool_(True), np.str_("s"), np.complex64(1j), np.float64("inf")],
    "keys": {(1, "a"): 1, b"b": 2, None: 3, 2.5: 4, np.int64(7): 5},
    "ordered": collections.OrderedDict(a=1),
    "default": collections.defaultdict(list, {"k": [1]}),
    "settings": argparse.Namespace(x=1, y="z"),
}
PLAIN = {**OTHERS, "ordered": {"a": 1}, "default": {"k": [1]}, "settings": {"x": 1, "y": "z"}}


PLAIN["list"] = [*OTHERS["list"][:-2], {"f"}, b"z"]
PLAIN["numbers"] = [0.5, -3, True, "s", 1j, float("inf")]


def assert_came_back(found: Any) -> None:
    assert {key: found[key] for key in OTHERS} == PLAIN
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert np.asarray(found[name]).dtype == array.dtype or name == "scalar", name
    assert [type(number) for number in found["numbers"]] == [float, int, bool, str, complex, float]


@pytest.mark.parametrize("protocol", range(6))
def test_pickles(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(ARRAYS | OTHERS, protocol=protocol))
    assert_came_back(read_untrusted(path))


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_joblib_files(compress: Any, tmp_path: Path) -> None:
    joblib.dump(ARRAYS | OTHERS, tmp_path / "file", compress=compress)
    assert_came_back(read_untrusted(tmp_path / "file"))


@pytest.mark.parametrize("protocol", range(6))
def test_joblib_files_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    joblib.dump(ARRAYS | OTHERS, tmp_path / "file", protocol=protocol)
    assert_came_back(read_untrusted(tmp_path / "file"))


def test_a_compressed_pickle_of_several_pieces(tmp_path: Path) -> None:
    whole = pickle.dumps(ARRAYS | OTHERS)
    (tmp_path / "file").write_bytes(gzip.compress(whole[:100]) + gzip.compress(whole[100:]))
    assert_came_back(read_untrusted(tmp_path / "file"))


PYTHON_2 = (
    b"}(S'ids'\n(lS'caf\\xc3\\xa9'\naS'caf\\xe9'\naV\xe9\naU\x01xcnumpy.core.multiarray\n_reconstruct\n"
    b"(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    b"I00\nU\x08\x00\x00\x80?\x00\x00 \xc1tbu."
)


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    """Its texts are bytes of an unknown encoding: UTF-8 where they are that, or else Latin-1."""
    (tmp_path / "file").write_bytes(PYTHON_2)
    found = read_untrusted(tmp_path / "file")
    assert found["ids"] == ["caf\u00e9"] * 2 + ["\u00e9"]
    assert found["x"].tolist() == [1.0, -10.0]


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump])
def test_tensors_in_a_plain_pickle(dump: Any, tmp_path: Path) -> None:
    base = torch.arange(12.0)
    with (tmp_path / "file").open("wb") as file:
        dump({"x": base.reshape(3, 4).t(), "y": [base[2:6]], "z": torch.nn.Parameter(torch.ones(2).half())}, file)
    found = read_untrusted(tmp_path / "file")
    np.testing.assert_array_equal(found["x"], base.reshape(3, 4).t().numpy())
    np.testing.assert_array_equal(found["y"][0], base[2:6].numpy())
    np.testing.assert_array_equal(found["z"], np.ones(2, np.float16))


def test_a_torch_file_that_was_zipped_again(tmp_path: Path) -> None:
    file = io.BytesIO()
    torch.save({"x": torch.arange(1000.0), "y": torch.ones(3), "old": ARRAYS["fortran"]}, file)
    with zipfile.ZipFile(file) as before, zipfile.ZipFile(tmp_path / "file", "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
    found = read_untrusted(tmp_path / "file")
    np.testing.assert_array_equal(found["x"], np.arange(1000.0))
    np.testing.assert_array_equal(found["y"], np.ones(3))
    np.testing.assert_array_equal(found["old"], ARRAYS["fortran"])


def test_what_is_shared_is_written_once(tmp_path: Path) -> None:
    x, names = np.ones(10**6), ["a", "b"]
    (tmp_path / "file").write_bytes(pickle.dumps([x, names] * 300))
    found = read_untrusted(tmp_path / "file", limits=Limits(content_gib=0.01, ratio=1.0))
    assert len(found) == 600
    assert all(each.sum() == 10**6 for each in found[::2])
    assert found[599] == names


MEASURED = """
import json, resource, sys
from pathlib import Path
from neurozoo.data.untrusted.limits import Limits
from neurozoo.data.untrusted.process import read_untrusted
peak = lambda who: resource.getrusage(who).ru_maxrss * 1024
before = peak(resource.RUSAGE_SELF)
total = sum(float(x.sum()) for x in read_untrusted(Path(sys.argv[1])).values())
print(json.dumps([total, peak(resource.RUSAGE_SELF) - before, peak(resource.RUSAGE_CHILDREN)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize("form", ["pickle", "joblib", "torch", "torch of arrays"])
def test_a_file_takes_at_most_twice_its_size_of_memory(form: str, tmp_path: Path) -> None:
    arrays, path = {f"x{i}": np.ones((2**16, 48), np.float32) for i in range(8)}, tmp_path / "file"
    if form == "pickle":
        path.write_bytes(pickle.dumps(arrays))
    elif form == "joblib":
        joblib.dump(arrays, path)
    else:
        torch.save({name: torch.from_numpy(x) for name, x in arrays.items()} if form == "torch" else arrays, path)
    command = [sys.executable, "-B", "-c", MEASURED, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    total, parent, child = json.loads(result.stdout)
    assert total == 8 * 2**16 * 48
    # The two peaks are not at the same time, and some 50 MB are Python and numpy themselves.
    assert parent + child < 2 * path.stat().st_size + 80e6


@pytest.mark.parametrize("as_zip", [True, False])
def test_torch_files(as_zip: bool, tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tensors = {
        "transposed": base.reshape(3, 4).t(),
        "a view": base[2:6],
        "long strides": base[:1].as_strided((1, 1, 1), (2**40, 2**40, 1)),
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
    found = read_untrusted(tmp_path / "file.pt")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor.detach().numpy(), err_msg=name)
    np.testing.assert_array_equal(found["bfloat16"], brain.float().numpy())
    assert tuple(found["size"]) == (1, 2)
    assert {key: found[key] for key in OTHERS} == PLAIN
