"""HDF5 files: what is read of them is what h5py reads, however a dataset is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from neurozoo.data.untrusted.process import read_hdf5
from neurozoo.errors import DataError


def _twelve_bits(file: h5py.File) -> None:
    """Numbers of 12 bits, from bit 2 of 16 on: numpy has no such type."""
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    kind.set_offset(2)
    made = h5py.h5d.create(file.id, b"twelve bits", kind, h5py.h5s.create_simple((3,)))
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1, 2, 4000], np.uint16))


def _spaces(file: h5py.File) -> None:
    """Text filled with spaces, as Fortran has it."""
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(4)
    kind.set_strpad(h5py.h5t.STR_SPACEPAD)
    made = h5py.h5d.create(file.id, b"spaces", kind, h5py.h5s.create_simple((2,)))
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([b"ab  ", b"abcd"]), mtype=kind)


@pytest.mark.parametrize("options", [{}, {"userblock_size": 512}, {"libver": "latest"}], ids=str)
def test_every_way_to_store_a_dataset(options: dict[str, Any], tmp_path: Path) -> None:
    x = np.arange(200)
    with h5py.File(tmp_path / "file.h5", "w", **options) as file:
        for dtype in ("<f4", ">f4", "<f8", ">i2", "u1", "<f2", "<i8", "?", "S3"):
            file[f"types/{dtype[-2:]}{dtype[0] == '>'}"] = x.astype(dtype)
        file["shapes/none"], file["shapes/three"], file["shapes/empty"] = 3.5, x.reshape(4, 5, 10), x[:0]
        file.create_dataset("never written", (4,), "f4", fillvalue=7)
        file.create_dataset("chunks", data=x, chunks=(7,))
        for filters in ({"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True}):
            file.create_dataset(f"filters/{next(iter(filters.values()))}{next(iter(filters))}", data=x, **filters)
        file.create_dataset("names", data=np.array([1, 2], np.int8), dtype=h5py.enum_dtype({"a": 1, "b": 2}, "i1"))
        file["again"] = file["shapes/three"]
        _twelve_bits(file)
        _spaces(file)
    read = read_hdf5(tmp_path / "file.h5")
    with h5py.File(tmp_path / "file.h5") as file:

        def compare(name: str, member: Any) -> None:
            if isinstance(member, h5py.Dataset):
                value = read
                for step in name.split("/"):
                    value = value[step]
                assert np.array_equal(value, member[()]), name
                assert np.asarray(value).dtype == member.dtype or member.dtype.metadata, name

        file.visititems(compare)
    assert read["again"] is read["shapes"]["three"]


def test_texts_and_nothing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["one"], file["some"], file["latin"] = "\u00e9", ["a", "\u00e9", ""], np.array([b"\xe9"])
        file["nothing"], file["group/in it/more"] = h5py.Empty("f4"), "x"
        file.attrs["left"] = "out"
        file.create_group("bare")
    read = read_hdf5(tmp_path / "file.h5")
    assert read["one"] == "\u00e9"
    assert read["some"].tolist() == ["a", "\u00e9", ""]
    assert read["latin"].tolist() == [b"\xe9"]
    assert read["nothing"] is None
    assert read["group"] == {"in it": {"more": "x"}}
    assert read["bare"] == {}
    assert list(read) == ["bare", "group", "latin", "nothing", "one", "some"]


def test_ragged_rows_are_lists_of_arrays(tmp_path: Path) -> None:
    rows = [np.arange(n, dtype=np.float16) / 8 for n in (3, 0, 5)] + [np.zeros(0, np.float16)] * 300
    with h5py.File(tmp_path / "file.h5", "w") as file:
        made = file.create_dataset("rows", (len(rows),), dtype=h5py.vlen_dtype(np.float16))
        made[:] = np.array(rows, object)
        file.create_dataset("big-endian", (1,), dtype=h5py.vlen_dtype(np.dtype(">u2")))[0] = np.array([1, 256], ">u2")
        file.create_dataset("no rows", (0,), dtype=h5py.vlen_dtype(np.int32))
    read = read_hdf5(tmp_path / "file.h5", ragged=True)
    assert [row.tolist() for row in read["rows"]] == [row.tolist() for row in rows]
    assert {row.dtype for row in read["rows"]} == {np.dtype(np.float16)}
    assert read["big-endian"][0].tolist() == [1, 256]
    assert read["no rows"] == []
    with pytest.raises(DataError, match="holds references or ragged rows"):
        read_hdf5(tmp_path / "file.h5")


def test_ragged_rows_of_rows_or_references_are_refused(tmp_path: Path) -> None:
    for name, dtype, shape in (
        ("nested", h5py.vlen_dtype(h5py.vlen_dtype(np.int8)), (1,)),
        ("two", h5py.vlen_dtype(np.int8), (1, 1)),
        ("reference", h5py.ref_dtype, (1,)),
    ):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("rows", shape, dtype=dtype)
        with pytest.raises(DataError, match="references or ragged rows"):
            read_hdf5(tmp_path / f"{name}.h5", ragged=True)


def test_ragged_rows_that_all_are_the_same_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("rows", (2000,), dtype=h5py.vlen_dtype(np.float64))
        made[0] = np.zeros(8000)
        made[1999] = np.zeros(1)
        start = made.id.get_offset()
    raw = bytearray(path.read_bytes())
    raw[start : start + 2000 * 16] = raw[start : start + 16] * 2000
    path.write_bytes(raw)
    monkeypatch.setenv("NEUROZOO_READ_CONTENT_GIB", "0.001")
    with pytest.raises(DataError, match="it unfolds to more than"):
        read_hdf5(path, ragged=True)
