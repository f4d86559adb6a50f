from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import neurozoo_numba
import pytest
import torch
from neurozoo_numba import compiling
from neurozoo_numba.neuron import NumbaNeuron
from neurozoo_numba.threads import in_threads
from torch import Tensor

from neurozoo.backends.fused.pages import LARGE
from neurozoo.backends.library_calls import library_calls
from neurozoo.compare.memory import peak_bytes
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.registry.registry import default_registry

CPU = torch.device("cpu")
T = 5


def currents(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 1.5 + 0.5).to(dtype)


def test_it_is_registered_and_says_what_it_is() -> None:
    component = default_registry().get("neuron", "numba")
    assert component.exact
    assert component.requires == ("numba",)
    assert component.install == "pip install neurozoo-numba"
    assert "numba" in NumbaNeuron.runs


def test_it_runs_on_the_cpu() -> None:
    neuron = NumbaNeuron(LIFSpec())
    assert neuron.takes(CPU)
    assert not neuron.takes(torch.device("cuda"))


def test_listing_it_imports_no_library() -> None:
    code = "import sys, neurozoo_numba; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_scan_goes_through_numbas_dispatcher() -> None:
    calls = library_calls(lambda: NumbaNeuron(LIFSpec()).scan(torch.ones(T, 2, 3)), ["numba"])
    assert any(name.endswith("get_overload") for name in calls)


def test_a_long_compilation_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Kernel:
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds

        def compile(self, _signature: object) -> None:
            time.sleep(self.seconds)

    compiling._send_message.cache_clear()
    compiling.for_arguments(Kernel(0.0), ())
    assert not caplog.messages
    monkeypatch.setattr(compiling, "PATIENCE", 0.01)
    for _ in range(2):
        compiling.for_arguments(Kernel(0.5), ())
    (message,) = caplog.messages
    assert "numba is compiling" in message


@pytest.mark.slow
def test_it_runs_where_the_cache_cannot_be_written(tmp_path: Path) -> None:
    code = """
import torch
from numba.core import caching
from neurozoo.core.kinds import LIFSpec
from neurozoo_numba.neuron import NumbaNeuron
folders = caching.FunctionCache._impl_class._locator_classes
kept = [*folders]
folders.clear()  # no folder can be written
assert NumbaNeuron(LIFSpec()).scan(torch.full((1, 2, 3), 2.0))[0].sum() == 6
folders += kept
caching.FunctionCache._save_overload = lambda *_: (_ for _ in ()).throw(OSError(28, "disk full"))
assert NumbaNeuron(LIFSpec()).scan(torch.full((1, 2, 3), 2.0, dtype=torch.float64))[0].sum() == 6
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.nbc"))


def test_memory_is_that_of_spikes_and_gradient() -> None:
    x = currents(T, 16, 16, 64).requires_grad_()
    one = x.numel() * x.element_size()

    def run() -> None:
        spikes, _ = NumbaNeuron(LIFSpec()).scan(x, None, 0.7)
        torch.autograd.grad(spikes.sum(), x)

    run()  # compiles
    assert peak_bytes(run, CPU) < 2.5 * one  # the last membranes are a fifth


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [2.0, 1.7])
def test_results_that_go_past_the_cache_are_the_same(dtype: torch.dtype, tau: float) -> None:
    # No row but the first begins where a vector may.
    x = currents(T, 1, LARGE // dtype.itemsize // T + 1111, dtype=dtype).requires_grad_()
    weights = currents(*x.shape, dtype=dtype, seed=1)
    found = []
    for make in (NumbaNeuron, TorchNeuron):
        spikes, (v,) = make(LIFSpec(tau=tau)).scan(x, None, 0.7)
        found.append((spikes, v, *torch.autograd.grad(spikes, x, weights)))
    for ours, oracle in zip(*found, strict=True):
        assert torch.allclose(ours, oracle, rtol=1e-5, atol=1e-6)
    for ours, oracle in list(zip(*found, strict=True))[:2]:
        assert torch.equal(ours, oracle)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    x, threshold = currents(T, 32, 48, 64), torch.tensor(0.7)
    found = []
    before = torch.get_num_threads()
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            leaves = x.clone().requires_grad_(), threshold.clone().requires_grad_()
            spikes, (v,) = NumbaNeuron(LIFSpec()).scan(leaves[0], None, leaves[1])
            found.append((spikes, v, *torch.autograd.grad((spikes * x).sum() + v.sum(), leaves)))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_repeated_current_is_not_copied() -> None:
    x = currents(16, 512).requires_grad_()
    one, steps = x.numel() * x.element_size(), 50

    def run() -> None:
        spikes, _ = NumbaNeuron(LIFSpec()).scan(x.expand(steps, 16, 512), None, 0.7)
        torch.autograd.grad(spikes.sum(), x)

    run()  # compiles
    assert peak_bytes(run, CPU) < (2 * steps + 5) * one  # the spikes, the currents' gradient, and little else


def test_threads_that_wait_sleep() -> None:
    def begins(first: int, _last: int) -> None:
        time.sleep(0.5 if first == 0 else 0.0)  # all threads but one have nothing to do

    in_threads(begins, 3, 3)  # starts them
    started, used = time.perf_counter(), time.process_time()
    in_threads(begins, 3, 3)
    assert time.perf_counter() - started >= 0.5
    assert time.process_time() - used < 0.25


def test_importing_it_compiles_nothing_and_numba_starts_no_threads_of_its_own() -> None:
    code = """
import numba, torch
from neurozoo_numba.neuron import NumbaNeuron
from neurozoo_numba import block, kernels
from neurozoo.core.kinds import LIFSpec
assert not kernels._ready.cache_info().currsize + block.address.cache_info().currsize
torch.set_num_threads(2)
x = torch.randn(5, 64, 1024, requires_grad=True)
s, _ = NumbaNeuron(LIFSpec()).scan(x)
s.sum().backward()
try:
    print(numba.threading_layer())
except ValueError:
    print("none")
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "none"


def test_two_threads_may_call_it_at_once() -> None:
    inputs = [currents(T, 32, 48, 64, seed=seed) for seed in range(4)]
    neuron = NumbaNeuron(LIFSpec(surrogate="superspike"))
    alone = [neuron.scan(x)[0] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: neuron.scan(x)[0], inputs * 4))
    for one, other in zip(alone * 4, together, strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, as data loaders do on Linux")
def test_a_process_that_forked_can_use_it_again() -> None:
    code = """
import os, torch
from neurozoo.core.kinds import LIFSpec
from neurozoo_numba.neuron import NumbaNeuron
torch.set_num_threads(2)
x = torch.randn(5, 32, 48, 64)
want = NumbaNeuron(LIFSpec()).scan(x)[0]
child = os.fork()
if not child:
    os._exit(0 if torch.equal(NumbaNeuron(LIFSpec()).scan(x)[0], want) else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


def test_no_thread_is_at_work_when_another_ones_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    at_work: list[int] = []

    def work(first: int, last: int) -> None:
        at_work.append(first)
        time.sleep(0.05)
        at_work.remove(first)
        raise IndexError(first)

    with pytest.raises(IndexError):
        in_threads(work, 12, 3)
    assert not at_work


def test_a_kernel_is_compiled_again_when_another_file_of_the_package_changes(tmp_path: Path) -> None:
    package = tmp_path / "neurozoo_numba"
    shutil.copytree(Path(neurozoo_numba.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from neurozoo_numba import compiling\n"
        "def double(x):\n    return 2 * x\n"
        "print(compiling.__file__)\n"
        "print(compiling.kept_on_disk(double, {}).py_func.__qualname__)"
    )

    def name() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        file, name = done.stdout.split()
        assert Path(file).parent == package
        return name

    before = name()
    assert name() == before
    with (package / "steps.py").open("a") as file:
        file.write("# changed\n")
    assert name() != before


def test_code_from_the_cache_runs_without_what_compiling_imports(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import ctypes, sys\n"
        "import numpy as np\n"
        "from numba import types\n"
        "from neurozoo_numba.compiling import called_by_address, for_arguments, kept_on_disk\n"
        "def third(x):\n    y = np.empty(x)\n    y[2] = 0.5\n    return y[2]\n"
        "def double(x):\n    return 2 * x\n"
        "kernel = for_arguments(kept_on_disk(third, {}), (types.int64,)).get_overload((types.int64,))\n"
        "address = called_by_address(double, types.float64(types.float64), {})\n"
        "doubled = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(address)\n"
        "print(kernel(3), doubled(1.5), *[name for name in ('numba.np.linalg', 'scipy.linalg') if name in sys.modules])"
    )

    def printed() -> str:
        return subprocess.run(
            [sys.executable, script], capture_output=True, text=True, check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        ).stdout  # fmt: skip

    assert printed().split() == ["0.5", "3.0", "numba.np.linalg", "scipy.linalg"]
    assert printed().split() == ["0.5", "3.0"]
