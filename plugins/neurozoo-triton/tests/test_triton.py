from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="triton is not installed; `make test-triton` installs it and runs this")
if not pytest.importorskip("neurozoo_triton.kernels").INTERPRETED:
    pytest.skip("set TRITON_INTERPRET=1, as `make test-triton` does: there may be no GPU", allow_module_level=True)

from neurozoo_triton import kernels, operator
from neurozoo_triton.neuron import TritonNeuron

from neurozoo.core.kinds import CubaSpec, LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError
from neurozoo.registry.registry import default_registry

T = 5


def currents(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 1.5 + 0.5).to(dtype)


def without_interpreter(code: str) -> str:
    """What Python prints where Triton compiles its kernels."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_registered_and_says_what_it_is() -> None:
    component = default_registry().get("neuron", "triton")
    assert component.exact
    assert component.requires == ("triton",)
    assert component.install == "pip install neurozoo-triton"
    assert "triton" in TritonNeuron.runs


def test_other_kinds_are_refused_by_name() -> None:
    with pytest.raises(SpikingError, match="TritonNeuron does not run cuba neurons; it runs: lif, if"):
        TritonNeuron(CubaSpec())


def test_listing_it_imports_no_library() -> None:
    without_interpreter("import sys, neurozoo_triton; sys.exit('torch' in sys.modules or 'triton' in sys.modules)")


def test_it_is_the_fastest_on_cuda_and_nowhere_else() -> None:
    assert default_registry().fastest_backend("cuda:1") == "triton"
    assert default_registry().fastest_backend("cpu") != "triton"


# Without a GPU, and without the interpreter.


def test_on_a_cpu_it_says_what_to_do() -> None:
    said = without_interpreter(
        "import torch\n"
        "from neurozoo.core.kinds import LIFSpec\n"
        "from neurozoo.testing.doctor import refuses_device\n"
        "from neurozoo_triton.neuron import TritonNeuron\n"
        "print(refuses_device(TritonNeuron(LIFSpec()), 'cpu'))\n"
    )
    assert said.startswith(
        "the backend 'triton' needs a CUDA device, and the currents are on the CPU; choose such a device"
    )
    assert "or `backend: numba`" in said
    assert "set TRITON_INTERPRET=1 before neurozoo starts" in said


def test_the_doctor_finds_nothing_wrong_with_that() -> None:
    said = without_interpreter(
        "import json\n"
        "from neurozoo.testing.doctor import SECTIONS\n"
        "from neurozoo.registry.registry import default_registry\n"
        "found = SECTIONS['conformance'](default_registry())\n"
        "print(json.dumps([(each.status, each.said) for each in found if each.name == 'triton']))\n"
    )
    ((status, text),) = json.loads(said)
    assert status == "ok"
    assert text.startswith("not held against the oracle here: the backend 'triton' needs a CUDA device")


def test_neurons_are_measured_without_it() -> None:
    said = without_interpreter("from neurozoo.cli.bench import _backends; print(*_backends('cpu'))")
    assert "torch" in said.split()
    assert "triton" not in said.split()


COMPILE = """
import re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from neurozoo_triton import kernels

number, kind, by_step = sys.argv[1:]
neuron = dict(TAU=0.3, PRODUCT=True, REST=0.1, V_RESET=0.1, DECAY_INPUT=True, HARD=True, SILENT=False, BLOCK=512)
how = dict(DETACH=False, KIND=kind, SCALE=3.1, ALPHA=1.5, OWN_GRAD=True,
           BY_STEP=bool(by_step), ONE_LEVEL=bool(by_step))
whole = {"steps", "size", "x_step", "level_step", "inner", "period", "grad_step"}
for kernel, constants in ((kernels.forward, dict(WHAT="spikes", SCALE=1.0)), (kernels.backward, how)):
    constants = neuron | constants
    signature = {
        name: "constexpr" if name in constants else "i32" if name in whole else f"*{number}"
        for name in kernel.arg_names
    }
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(name),): value for name, value in constants.items()})
    made = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"enable_fp_fusion": False})
    print(*re.findall(r"\\b(?:fma|mad|div|rcp|ex2|sqrt)\\.[\\w.]*f(?:32|64)\\b|\\.ftz", made.asm["ptx"]))
"""


@pytest.mark.parametrize("by_step", ["", "by step"])
@pytest.mark.parametrize("kind", ["atan", "sigmoid", "superspike"])
@pytest.mark.parametrize("number", ["fp32", "fp64"])
def test_it_compiles_for_a_gpu_with_nothing_fused_and_nothing_approximated(
    number: str, kind: str, by_step: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For sm_80, which needs none: rounded divisions, and neither fused products nor numbers flushed to 0."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    said = without_interpreter(f"import sys; sys.argv[1:] = {[number, kind, by_step]!r}\n{COMPILE}")
    assert set(said.split()) == (set() if kind == "sigmoid" else {f"div.rn.f{number[2:]}"})


# As torch computes on CUDA, in the interpreter.


@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_division_by_tau_can_be_a_product_with_its_reciprocal(dtype: torch.dtype, decay_input: bool) -> None:
    x, tau = currents(T, 300, dtype=dtype), 3.3
    inverse = operator._reciprocal(tau, dtype)
    assert torch.tensor(inverse, dtype=dtype) == 1 / torch.tensor(tau, dtype=dtype)
    heights, v = torch.empty_like(x), torch.empty_like(x[0])
    kernels.forward[(1,)](
        T, 300, x, 300, None, torch.full((1,), 0.7, dtype=dtype), 0, 300, 1, heights, v,
        TAU=inverse, PRODUCT=True, REST=0.0, V_RESET=0.0, DECAY_INPUT=decay_input, HARD=False, SILENT=False,
        WHAT=kernels.HEIGHTS, SCALE=1.0, BLOCK=512, enable_fp_fusion=False,
    )  # fmt: skip
    want = torch.zeros_like(x[0])
    for current, got in zip(x, heights, strict=True):
        h = want + (current - want) * inverse if decay_input else want - want * inverse + current
        assert torch.equal(got, h - 0.7)
        want = h - (h >= 0.7).to(dtype) * 0.7
    assert torch.equal(v, want)
    divided = TritonNeuron(LIFSpec(tau=tau, v_reset=None, decay_input=decay_input)).scan(x, None, 0.7)[1][0]
    assert not torch.equal(v, divided)


# Several programs, and memory.


@pytest.mark.parametrize("shape", [(), (1, 1, 1), (1, 5, 1), (T, 1, 1), (1, 1, 30), (T, 5, 30), (T, 1, 30)])
@pytest.mark.parametrize("repeated", [False, True])
def test_any_number_of_programs_gives_the_same(
    shape: tuple[int, ...], repeated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, threshold = currents(1 if repeated else T, 5, 30), torch.rand(shape, generator=torch.Generator().manual_seed(0))
    weights = currents(T, 5, 30, seed=1)
    found = []
    for width, neuron in ((2**16, TorchNeuron), (2**16, TritonNeuron), (32, TritonNeuron)):
        monkeypatch.setattr(operator, "WIDEST", width)
        leaves = x.clone().requires_grad_(), threshold.clone().requires_grad_()
        spikes, (v,) = neuron(LIFSpec(v_reset=None)).scan(leaves[0].expand(T, 5, 30), None, leaves[1])
        found.append((spikes, v, *torch.autograd.grad((spikes * weights).sum() + v.sum(), leaves)))
    for want, one, several in zip(*found, strict=True):
        assert torch.allclose(one, want, rtol=1e-5, atol=1e-5)
        assert torch.allclose(several, one, rtol=1e-5, atol=1e-5)
    for want, one, several in list(zip(*found, strict=True))[:2]:
        assert torch.equal(one, want)
        assert torch.equal(several, want)


@pytest.mark.parametrize("wanted", [False, True])
def test_membranes_are_kept_in_the_memory_of_the_currents_gradient_where_one_is_wanted(
    wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[tuple[Any, ...]] = []
    launch = operator._launch
    monkeypatch.setattr(
        operator, "_launch", lambda *given, **constants: launched.append(given) or launch(*given, **constants)
    )
    x, threshold = currents(T, 4, 8), torch.tensor(0.7)
    leaf = (x if wanted else threshold).requires_grad_()
    spikes, _ = TritonNeuron(LIFSpec()).scan(x, None, threshold)
    torch.autograd.grad(spikes.sum(), leaf)
    kernel, _, _, membranes, _, _, _, _, gradient, *_ = launched[1]
    assert kernel is kernels.backward
    assert membranes.numel() == T * 4 * 8
    assert (membranes is gradient) is wanted
