"""Files made to do harm: each is refused in one line with exit status 2, nothing of it runs, and nothing is left."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import joblib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurozoo.cli import main
from neurozoo.data.untrusted import process
from neurozoo.data.untrusted.process import read_hdf5, read_untrusted
from neurozoo.errors import DataError

CANARY = "NEUROZOO_CANARY"
SECONDS = 60.0
"""Far more than any of these needs on a machine that has much else to do."""


@pytest.fixture(autouse=True)
def _a_short_time_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_READ_SECONDS", "20")


def call(module: str, name: str, *arguments: str) -> bytes:
    """A pickle that calls ``module.name`` with texts."""
    texts = b"".join(b"V" + each.encode("raw_unicode_escape") + b"\n" for each in arguments)
    return f"c{module}\n{name}\n(".encode() + texts + b"tR."


def stack_call(module: str, name: str, *arguments: str) -> bytes:
    """The same by STACK_GLOBAL, as protocol 4 does."""

    def text(value: str) -> bytes:
        encoded = value.encode()
        return b"X" + struct.pack("<I", len(encoded)) + encoded

    return b"\x80\x04" + text(module) + text(name) + b"\x93(" + b"".join(map(text, arguments)) + b"tR."


def touch(folder: Path) -> str:
    return f"touch {folder / CANARY}"


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def torch_zip(data: bytes, **others: bytes) -> bytes:
    return zipped(
        {"archive/data.pkl": data, "archive/version": b"3\n"} | {f"archive/{k}": v for k, v in others.items()}
    )


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def dumped(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file, **options)
    return file.getvalue()


def tensor_pickle(size: str, stride: str, numel: int = 4, offset: int = 0) -> bytes:
    """torch's pickle of one tensor, with a size and stride of one's own."""
    encoded = f"{size}{stride}".encode("latin-1")
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + b"J" + struct.pack("<i", numel) + b"tQ"
        b"J" + struct.pack("<i", offset) + encoded + b"\x89ccollections\nOrderedDict\n)RtR."
    )


def deep(levels: int) -> bytes:
    return b"]" * levels + b"a" * (levels - 1) + b"."


def laughs() -> bytes:
    """A list of ten of a list of ten of ..., by the memo: 10^20 values of some 400 bytes."""
    lines = b"(lp0\n"
    for level in range(20):
        lines += b"(" + f"g{level}\n".encode() * 10 + f"lp{level + 1}\n".encode()
    return lines + b"."


def ndarray(shape: bytes, dtype: bytes = b"f4", data: bytes = b"C\x04\x00\x00\x00\x00") -> bytes:
    return (
        b"\x80\x03cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\nX"
        + struct.pack("<I", len(dtype))
        + dtype
        + b"\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + data
        + b"tb."
    )


def unicode(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def building(name: str, attribute: str) -> bytes:
    """A pickle that sets an attribute of what an allowed name stands for."""
    return b"\x80\x02" + name.encode() + b"N}" + unicode(attribute) + b"cbuiltins\nlist\ns\x86b."


def deep_tuple(levels: int) -> bytes:
    return b"\x80\x02)" + b"\x85" * levels


def doubled(levels: int) -> bytes:
    """A tuple of two of a tuple of two of ..., by the memo: its hash would take 2^levels steps."""
    return b"\x80\x04)" + b"\x94" + b"".join(b"h" + bytes([i]) + b"\x86\x94" for i in range(levels))


def storages_in_each_other(levels: int) -> bytes:
    data = b"N."
    for _ in range(levels):
        data = b"\x80\x03ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(data)) + data + b"\x85R."
    return data


def itself(kind: str) -> bytes:
    return {"list": b"]q\x00h\x00a.", "dict": b"}q\x00" + unicode("x") + b"h\x00s."}[kind]


def torch_of(size: str, stride: str, storage: bytes = bytes(16), **options: int) -> bytes:
    return torch_zip(tensor_pickle(size, stride, **options), **{"data/0": storage})


class Nested:
    def __reduce__(self) -> Any:
        return pickle.loads, (call("os", "system", "true"),)


class SetState:
    """An array whose state is a command's result."""

    def __reduce__(self) -> Any:
        return np.ndarray, ((2,),), {"x": Nested()}


ROUTES = {
    "os.system": ("os", "system"),
    "posix.system": ("posix", "system"),
    "nt.system": ("nt", "system"),
    "subprocess.Popen": ("subprocess", "Popen"),
    "subprocess.check_output": ("subprocess", "check_output"),
    "builtins.eval": ("builtins", "eval"),
    "builtins.exec": ("builtins", "exec"),
    "builtins.compile": ("builtins", "compile"),
    "builtins.open": ("builtins", "open"),
    "builtins.__import__": ("builtins", "__import__"),
    "builtins.getattr": ("builtins", "getattr"),
    "builtins of Python 2": ("__builtin__", "eval"),
    "importlib": ("importlib", "import_module"),
    "runpy": ("runpy", "run_path"),
    "pydoc.locate": ("pydoc", "locate"),
    "pty.spawn": ("pty", "spawn"),
    "webbrowser": ("webbrowser", "open"),
    "shutil.rmtree": ("shutil", "rmtree"),
    "ctypes": ("ctypes", "CDLL"),
    "marshal.loads": ("marshal", "loads"),
    "pickle.loads": ("pickle", "loads"),
    "types.FunctionType": ("types", "FunctionType"),
    "functools.partial": ("functools", "partial"),
    "operator.attrgetter": ("operator", "attrgetter"),
    "operator.methodcaller": ("operator", "methodcaller"),
    "codecs": ("codecs", "open"),
    "logging.config": ("logging.config", "listen"),
    "numpy.load": ("numpy", "load"),
    "numpy runstring": ("numpy.testing._private.utils", "runstring"),
    "numpy.f2py": ("numpy.f2py", "compile"),
    "torch.load": ("torch", "load"),
    "torch.hub": ("torch.hub", "load"),
    "torch.jit": ("torch.jit", "load"),
    "joblib.load": ("joblib", "load"),
    "a dotted name": ("collections", "OrderedDict.__class__"),
    "a name of this project": ("neurozoo.runs.run", "Run"),
}

CORPUS: dict[str, Callable[[Path], bytes]] = {
    **{f"{name}, GLOBAL": lambda at, of=of: call(*of, touch(at)) for name, of in ROUTES.items()},
    "os.system, STACK_GLOBAL": lambda at: stack_call("os", "system", touch(at)),
    "os.system, INST": lambda at: b"(V" + touch(at).encode() + b"\nios\nsystem\n.",
    "os.system, OBJ": lambda at: b"(cos\nsystem\nV" + touch(at).encode() + b"\no.",
    "os.system, NEWOBJ_EX": lambda at: b"\x80\x04cos\nsystem\n(V" + touch(at).encode() + b"\nt}\x92.",
    "an extension code": lambda at: b"\x80\x02\x82\x01(V" + touch(at).encode() + b"\ntR.",
    "a pickle in a pickle": lambda at: pickle.dumps(Nested()),
    "a state that is a command": lambda at: pickle.dumps(SetState()),
    "os.system in a torch zip": lambda at: torch_zip(call("os", "system", touch(at))),
    "os.system in an old torch file": lambda at: (
        saved([1], _use_new_zipfile_serialization=False)[:-40] + call("os", "system", touch(at))
    ),
    "os.system in joblib": lambda at: dumped(np.zeros(3))[:-1] + call("os", "system", touch(at)),
    "os.system, gzip": lambda at: gzip.compress(call("os", "system", touch(at))),
    "os.system, xz": lambda at: lzma.compress(call("os", "system", touch(at))),
    "os.system, bzip2": lambda at: bz2.compress(call("os", "system", touch(at))),
    "os.system, zlib": lambda at: zlib.compress(call("os", "system", touch(at))),
    "a TorchScript archive": lambda at: torch_zip(b"N.", **{"constants.pkl": b"N.", "code/m.py": b"import os"}),
    "a billion laughs": lambda at: laughs(),
    "100,000 deep": lambda at: deep(100_000),
    "a text of 2^62 bytes": lambda at: b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "bytes of 2^31": lambda at: b"\x80\x03B" + struct.pack("<I", 2**31) + b"x.",
    "a frame of 2^60": lambda at: b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "a number of 2^31 bytes": lambda at: b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
    "an array of 10^12": lambda at: ndarray(b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85"),
    "an array of a negative size": lambda at: ndarray(b"J\xff\xff\xff\xff\x85"),
    "an array of objects": lambda at: pickle.dumps(np.array([Nested(), 1], dtype=object)),
    "a ragged array": lambda at: pickle.dumps({"train": np.array([np.zeros(2), np.zeros(3)], dtype=object)}),
    "a structured array": lambda at: pickle.dumps(np.zeros(2, dtype=[("a", "f4")])),
    "a tensor beyond its storage": lambda at: torch_zip(tensor_pickle("(K\x08t", "(K\x01t"), **{"data/0": bytes(16)}),
    "a tensor before its storage": lambda at: torch_zip(
        tensor_pickle("(K\x02t", "(K\x01t", offset=-4), **{"data/0": bytes(16)}
    ),
    "a tensor of negative strides": lambda at: torch_zip(
        tensor_pickle("(K\x02t", "(J\xff\xff\xff\xfft"), **{"data/0": bytes(16)}
    ),
    "a storage that is too short": lambda at: torch_zip(tensor_pickle("(K\x04t", "(K\x01t"), **{"data/0": bytes(8)}),
    "a storage that is missing": lambda at: torch_zip(tensor_pickle("(K\x04t", "(K\x01t")),
    "a zip bomb": lambda at: zipped({"archive/data.pkl": bytes(10**8)}, zipfile.ZIP_DEFLATED),
    "a zip in a zip": lambda at: zipped({"a.zip": zipped({"archive/data.pkl": b"N."})}),
    "a zip that climbs": lambda at: zipped({f"../../{CANARY}": b"x", "archive/data.pkl": call("os", "system", "true")}),
    "an encrypted zip": lambda at: torch_zip(b"N.").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
    ),
    "half a zip": lambda at: saved(torch.zeros(100))[:300],
    "a gzip bomb": lambda at: (
        gzip.compress(b"\x80\x03B" + struct.pack("<I", 2**30) + bytes(2**30), 9)
        if os.environ.get("NEUROZOO_LARGE_TESTS")
        else gzip.compress(b"(" * 10**7)
    ),
    "an endless list": lambda at: b"(l" + b"I1\na" * 10**5,
    "a pickle without an end": lambda at: pickle.dumps({"train": list(range(1000))})[:-1],
    "half an array": lambda at: pickle.dumps({"train": np.zeros(1000)})[:4000],
    "half a joblib array": lambda at: dumped({"train": np.zeros(1000)})[:4000],
    "half a gzip": lambda at: gzip.compress(pickle.dumps(np.zeros(1000)))[:50],
    **{
        f"a state for {name.split()[-1]}, its {attribute}": lambda at, of=(name, attribute): building(*of)
        for name, attribute in (
            ("c_codecs\nencode\n", "make"),
            ("cbuiltins\ndict\n", "__code__"),
            ("cnumpy\ndtype\n", "label"),
            ("cargparse\nNamespace\n", "__setstate__"),
            ("cjoblib.numpy_pickle\nNumpyArrayWrapper\n", "fill"),
        )
    },
    "a state for a list": lambda at: b"]}b.",
    "an object of a function": lambda at: b"\x80\x02c_codecs\nencode\n)\x81.",
    "copyreg of what is no class": lambda at: b"ccopyreg\n_reconstructor\n(cbuiltins\nlist\ncbuiltins\nobject\nNtR.",
    "bytes of a number": lambda at: b"\x80\x02cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",
    "bytes in another encoding": lambda at: b"\x80\x02c_codecs\nencode\n" + unicode("a") + unicode("rot13") + b"\x86R.",
    "a list in itself": lambda at: itself("list"),
    "a dict in itself": lambda at: itself("dict"),
    "a text outside of the file": lambda at: b"P0\n.",
    "a buffer outside of the file": lambda at: b"\x80\x05\x97.",
    "a storage of a plain pickle": lambda at: tensor_pickle("(K\x04t", "(K\x01t"),
    "storages in each other": lambda at: storages_in_each_other(2000),
    "a tensor of 10^12 by a stride of 0": lambda at: torch_of("(J\x00\x00\x00\x40J\x00\x04\x00\x00t", "(K\x00K\x00t"),
    "a tensor of other axes than strides": lambda at: torch_of("(K\x02t", "(K\x01K\x01t"),
    "a storage of 10^9": lambda at: torch_of("(K\x04t", "(K\x01t", numel=10**9),
    "an array of 2^46 empty texts": lambda at: ndarray(
        b"\x8a\x06" + (2**46).to_bytes(6, "little") + b"\x85", b"S0", b"C\0"
    ),
    "a text that is no array's size": lambda at: ndarray(b"K\x01\x85", b"U999999999"),
    "an array that is set twice": lambda at: ndarray(b"K\x01\x85")[:-1] + b"K\x01\x85b.",
    "objects of a number": lambda at: ndarray(b"K\x04\x85", b"O8"),
    "objects in joblib": lambda at: dumped({"train": np.array([Nested(), 1], dtype=object)}),
    "a wrapper without a state": lambda at: b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}b.",
    "arrays as keys": lambda at: pickle.dumps({(0,): 1})[:-1] + ndarray(b"K\x01\x85")[2:-1] + b"K\x01s.",
    "LZ4": lambda at: b"\x04\x22\x4d\x18" + bytes(100),
    "a tar": lambda at: _tar(at),
    "an HTML page": lambda at: b"<!DOCTYPE html><html><body>404 not found</body></html>",
    "nothing": lambda at: b"",
    "noise": lambda at: np.random.default_rng(0).bytes(10_000),
    "an .npy of objects": lambda at: _npy(np.array([Nested()], dtype=object)),
}


def _tar(at: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo(f"../{CANARY}")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    return file.getvalue()


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, source: str, *options: str) -> str:
    """The one line that is said; the file lies in ``tmp_path/in``, and no store comes of it."""
    before = time.monotonic()
    status = main(["data", "import", form, source, str(tmp_path / "store"), *options])
    assert time.monotonic() - before < SECONDS
    error = capsys.readouterr().err
    assert status == 2, error
    assert len(error.splitlines()) == 1, error
    # The process that reads refuses by a check and a reason, rather than by breaking.
    assert "ended with status" not in error
    assert not list(tmp_path.rglob(f"*{CANARY}*"))
    assert [each.name for each in tmp_path.iterdir()] == ["in"]
    return error


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 110


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_file_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in" / "train_valid_test.pt"
    path.parent.mkdir()
    path.write_bytes(CORPUS[name](tmp_path))
    assert str(path) in refused(tmp_path, capsys, "tailor", str(path))


@pytest.mark.parametrize("name", ["os.system, GLOBAL", "torch.load, GLOBAL", "numpy runstring, GLOBAL"])
def test_the_name_that_is_refused_is_told(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(CORPUS[name](tmp_path))
    module, function = ROUTES[name.removesuffix(", GLOBAL")]
    with pytest.raises(DataError, match=f"{module}.{function}".replace(".", r"\.")):
        read_untrusted(path)


def test_hashes_that_take_for_ever_and_too_much_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_READ_SECONDS", "3")
    path = tmp_path / "file.pkl"
    for key, words in ((doubled(60), "took more than 3 s"), (deep_tuple(10**7), "is not read")):
        path.write_bytes(b"}" + key + b"K\x01s.")
        before = time.monotonic()
        with pytest.raises(DataError, match=words):
            read_untrusted(path)
        assert time.monotonic() - before < SECONDS


def test_more_than_the_limits_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, storage = tmp_path / "file", {"archive/data/0": bytes(2**24)}
    copies = pickle.dumps([0] * 10**5)[:-1] + b"q\x00" + b"cbuiltins\nlist\nh\x00\x85R" * 2000 + b"."
    tensor = tensor_pickle("(K\x04t", "(K\x01t", numel=2**22)
    large = tensor_pickle("(J\x00\x00\x40\x00t", "(K\x01t", numel=2**22)
    for content, setting, most in (
        (copies, "MEMORY", "0.25"),
        (zipped({"archive/data.pkl": tensor} | storage, zipfile.ZIP_DEFLATED), "CONTENT", "0.001"),
        (gzip.compress(pickle.dumps(bytes(2**24))), "CONTENT", "0.001"),
        (torch_of("(J\x00\x00\x40\x00t", "(K\x00t"), "CONTENT", "0.001"),
        (zipped({"archive/data.pkl": large} | storage), "FILE", "0.001"),
    ):
        path.write_bytes(content)
        with monkeypatch.context() as context:
            context.setenv(f"NEUROZOO_READ_{setting}_GIB", most)
            with pytest.raises(DataError, match=f"NEUROZOO_READ_{setting}_GIB"):
                read_untrusted(path)
    path.write_bytes(zipped({"archive/data.pkl": large} | storage))
    assert read_untrusted(path).nbytes == 2**24


ATTEMPTS = """
import ctypes, importlib, mmap, os, pickle, socket, subprocess, sys, threading, _thread
from neurozoo.data.untrusted.child import _lock
from neurozoo.data.untrusted.limits import Limits
own = socket.socket()
_lock(Limits(), 0)
attempts = dict(
    write=lambda: open("harm", "w"),
    read=lambda: open("/etc/passwd"),
    os_open=lambda: os.open("harm", os.O_CREAT | os.O_WRONLY),
    remove=lambda: os.remove("harm"),
    rename=lambda: os.rename("harm", "harm2"),
    listing=lambda: os.listdir("/"),
    imports=lambda: importlib.import_module("antigravity"),
    exec=lambda: exec("1"),
    eval=lambda: eval("1"),
    compile=lambda: compile("1", "", "eval"),
    connect=lambda: own.connect(("127.0.0.1", 9)),
    bind=lambda: own.bind(("127.0.0.1", 0)),
    socket=lambda: socket.socket(),
    start=lambda: subprocess.Popen(["true"]),
    system=lambda: os.system("true"),
    fork=lambda: os.fork(),
    kill=lambda: os.kill(os.getppid(), 0),
    library=lambda: ctypes.CDLL(None),
    address=lambda: ctypes.string_at(0, 1),
    frames=lambda: sys._getframe(),
    unpickle=lambda: pickle.loads(b"cposix\\nsystem\\n."),
)
done = []
for name, attempt in attempts.items():
    try:
        attempt()
    except BaseException as error:
        if type(error).__name__ != "RefusedError":
            done.append(f"{name}: {error!r}")
    else:
        done.append(name)
print(done)
"""


def test_the_locked_process_can_do_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-B", "-c", ATTEMPTS]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
    assert not list(tmp_path.iterdir())


ANSWERS = [
    {"array": ["<f4", [4], [4], 0, 10**6]},
    {"array": ["<f4", [4], [4], 0, -16]},
    {"array": ["<f4", [4], [-4], 0, 16]},
    {"array": ["<f4", [2, 2], [4], 0, 0]},
    {"array": ["<f4", [10**15], [0], 0, 0]},
    {"array": ["<f4", [4], [4], 2, 0]},
    {"array": ["<f4", [4], [4], -3, 0]},
    {"array": ["|O", [1], [8], 0, 0]},
    {"array": ["<V8", [1], [8], 0, 0]},
    {"array": ["<f4,O", [1], [8], 0, 0]},
    {"array": ["<f3", [1], [3], 0, 0]},
    {"array": ["<U2", [1], [8], 0, 0]},
    {"array": ["<f4", ["4"], [4], 0, 0]},
    {"bytes": [0, 0, 10**9]},
    {"scalar": ["O", "12345678"]},
    {"scalar": ["<f8", "1"]},
    {"objects": [[3], [1]]},
    {"dict": [[[1], 2]]},
    {"dict": [1]},
    {"set": [{"dict": []}]},
    {"tuple": 1},
    {"complex": ["1", "2", "3"]},
    {"pickle": "gASVAAAA"},
    {"list": [], "tuple": []},
    {},
    "{",
    "[" * 10**5,
    "",
]
"""What a process that a file has taken over could answer."""


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: str(answer)[:40])
def test_an_answer_is_not_trusted(answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xff" * 64)
    document = answer if isinstance(answer, str) else json.dumps([1, answer])
    monkeypatch.setattr(process, "_CODE", f"import sys; sys.stderr.write({document!r})")
    with pytest.raises(DataError, match="makes no sense") as caught:
        read_untrusted(path)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError):
            read_untrusted(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    form=st.sampled_from(["pickle", "zip", "old", "joblib"]),
)
def test_a_flipped_bit_is_refused_or_does_no_harm(place: float, bit: int, form: str, tmp_path: Path) -> None:
    value = {"train": {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": ["a", "b"], "n": 3}}
    made = {
        "pickle": lambda: pickle.dumps(value),
        "zip": lambda: saved(value),
        "old": lambda: saved(value, _use_new_zipfile_serialization=False),
        "joblib": lambda: dumped(value),
    }[form]()
    content = bytearray(made)
    content[int(place * len(content))] ^= 1 << bit
    path = tmp_path / "flipped"
    path.write_bytes(content)
    before = time.monotonic()
    with contextlib.suppress(DataError):
        read_untrusted(path)
    assert time.monotonic() - before < SECONDS


def _link(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("other.h5", "/x")


def _soft(file: h5py.File) -> None:
    file["x"] = h5py.SoftLink("/y")


def _raw(file: h5py.File) -> None:
    file.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("x", layout)


def _huge(file: h5py.File) -> None:
    file.create_dataset("x", (10**6, 10**6, 10**3), "f4", chunks=(1, 1000, 10))


def _ragged(file: h5py.File) -> None:
    file.create_dataset("x", (3,), h5py.vlen_dtype(np.float32))


def _fields(file: h5py.File) -> None:
    file.create_dataset("x", (3, 2, 2), [("a", "f4"), ("b", "f4")])


def _references(file: h5py.File) -> None:
    file.create_dataset("x", (3,), h5py.ref_dtype)


def _circle(file: h5py.File) -> None:
    file["x"] = file["/"]


def _filter(file: h5py.File) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((4,))
    made.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL, ())
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4,)), made)


ELSEWHERE = [_link, _soft, _raw, _virtual]
HDF5 = [*ELSEWHERE, _huge, _ragged, _fields, _references, _circle, _filter]


@pytest.mark.parametrize("harm", ELSEWHERE)
def test_hdf5_that_points_elsewhere_is_refused(harm: Callable[[h5py.File], None], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "file.csd", "w") as file:
        harm(file)
    with pytest.raises(DataError, match="/x"):
        read_hdf5(tmp_path / "file.csd")


def _mfn(folder: Path, harm: Callable[[h5py.File], None]) -> tuple[Path, list[str]]:
    for split in ("train", "valid", "test"):
        for name, shape in (("audio", (3, 2, 2)), ("y", (3, 1))):
            with h5py.File(folder / f"{name}_{split}.h5", "w") as file:
                file["d"] = np.ones(shape)
    with h5py.File(folder / "audio_valid.h5", "w") as file:
        harm(file)
    return folder / "audio_valid.h5", ["mfn", str(folder)]


def _csd(folder: Path, harm: Callable[[h5py.File], None]) -> tuple[Path, list[str]]:
    (folder / "folds.json").write_text('{"train": ["v"], "valid": [], "test": []}')
    for name, width in (("COVAREP", 2), ("TimestampedGloveVectors", 3), ("labels", 1)):
        with h5py.File(folder / f"{name}.csd", "w") as file:
            file["root/data/v/features"] = np.ones((2, width))
            file["root/data/v/intervals"] = [[0.0, 1.0], [1.0, 2.0]]
    with h5py.File(folder / "COVAREP.csd", "r+") as file:
        del file["root/data/v/features"]
        harm(file["root/data/v"])
        if "x" in file["root/data/v"]:
            file["root/data/v"].move("x", "features")
    labels = ["--labels", str(folder / "labels.csd"), "--label-order", "glad", "--folds", str(folder / "folds.json")]
    return folder / "COVAREP.csd", ["csd", str(folder), *labels]


def by_turns(kinds: Sequence[Any]) -> list[Any]:
    """Each kind of file, as each of two importers reads it, which share the reader; quickly by one of them in turn."""
    return [
        pytest.param(form, kind, marks=[pytest.mark.slow] * ((place + turn) % 2))
        for place, kind in enumerate(kinds)
        for turn, form in enumerate((_mfn, _csd))
    ]


@pytest.mark.parametrize(("form", "harm"), by_turns(HDF5))
def test_a_hostile_hdf5_file_is_refused(
    form: Callable[..., tuple[Path, list[str]]],
    harm: Callable[[h5py.File], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "in").mkdir()
    path, command = form(tmp_path / "in", harm)
    assert path.name in refused(tmp_path, capsys, *command)


@pytest.mark.parametrize(("form", "keep"), by_turns([0, 100, 700, 2000, -8]))
def test_a_truncated_hdf5_file_is_refused(
    form: Callable[..., tuple[Path, list[str]]], keep: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    path, command = form(tmp_path / "in", lambda file: file.create_dataset("x", (2, 2), data=np.ones((2, 2))))
    path.write_bytes(path.read_bytes()[:keep])
    assert path.name in refused(tmp_path, capsys, *command)


def _unfolding(file: h5py.File) -> None:
    for name in "abc":
        file.create_dataset(name, (2**11, 2**9), "f4", chunks=(256, 256))


def test_the_limit_is_for_all_arrays_of_an_hdf5_file_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """None of these three is larger than the limit, and none was ever written: the file has some kB."""
    monkeypatch.setenv("NEUROZOO_READ_CONTENT_GIB", "0.01")
    folder = tmp_path / "in"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        with h5py.File(folder / f"p_{split}.h5", "w") as file:
            _unfolding(file)
    before = time.monotonic()
    error = refused(tmp_path, capsys, "mfn", str(folder))
    assert "p_train.h5 is not read: its arrays come to more than 0.01 GiB" in error
    assert "NEUROZOO_READ_CONTENT_GIB" in error
    assert time.monotonic() - before < SECONDS
    monkeypatch.setenv("NEUROZOO_READ_CONTENT_GIB", "0.02")
    assert read_hdf5(folder / "p_train.h5")["c"].shape == (2**11, 2**9)


def _without_end(path: Path) -> None:
    """Make the heap of texts one whose first object has no index and no size: HDF5 steps by it for ever."""
    raw = bytearray(path.read_bytes())
    at = raw.index(b"GCOL") + 16
    raw[at : at + 16] = bytes(16)
    path.write_bytes(raw)


def test_a_loop_in_hdf5_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEUROZOO_READ_SECONDS", "3")
    (tmp_path / "in").mkdir()
    path, command = _csd(tmp_path / "in", lambda file: file.create_dataset("x", (2, 2), data=np.ones((2, 2))))
    with h5py.File(path, "r+") as file:
        file["root/metadata/dimension names"] = ['["a", "b"]']
    _without_end(path)
    assert f"{path.name} is not read: it took more than 3 s" in refused(tmp_path, capsys, *command)


def header(text: str, data: bytes = b"") -> bytes:
    """An npy member with a header of one's own."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


HEADERS = {
    "a type of nothing": header("{'descr': (), 'fortran_order': False, 'shape': (1,)}"),
    "a length that is true": header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", bytes(4)),
    "text of no characters": header("{'descr': '<U0', 'fortran_order': False, 'shape': (10000000000000,)}"),
    "many signs": header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'-' * 9000}1,)}}", bytes(4)),
    "no end": header("(("),
    "a negative length": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"),
    "objects": header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "a version of the future": b"\x93NUMPY\x09\x00" + bytes(100),
    "nothing": b"",
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("form", ["braille", "guess"])
def test_a_hostile_npz_header_is_refused(
    name: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "x.npz"
    path.write_bytes(zipped({"x.npy": HEADERS[name]}))
    assert str(path) in refused(tmp_path, capsys, form, str(path))


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_an_npz_is_refused(kind: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "x.npz"
    raw = bytearray(zipped({"x.npy": np.random.default_rng(0).bytes(4000)}, kind))
    raw[60:80] = bytes(20)
    path.write_bytes(raw)
    assert str(path) in refused(tmp_path, capsys, "braille", str(path))


@pytest.mark.parametrize("form", ["mult", "mmsa", "nemu", "guess"])
@pytest.mark.parametrize("name", ["os.system, GLOBAL", "os.system in joblib", "a ragged array"])
def test_every_importer_of_pickles_refuses(
    form: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in" / "file"
    path.parent.mkdir()
    path.write_bytes(CORPUS[name](tmp_path))
    assert str(path) in refused(tmp_path, capsys, form, str(path))


def test_arff_of_a_million_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.xml").write_text('<labels><label name="l"/></labels>')
    columns = "\n".join(f"@attribute a{i} numeric" for i in range(10**6))
    (folder / "x.arff").write_text(f"@relation x\n{columns}\n@attribute l {{0,1}}\n@data\n1\n")
    before = time.monotonic()
    assert main(["data", "import", "mulan", str(folder), str(tmp_path / "store")]) == 2
    assert time.monotonic() - before < SECONDS
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "store").exists()
