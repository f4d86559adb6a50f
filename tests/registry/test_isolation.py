"""Whatever a plugin does at import costs it alone: output, state, exceptions of any kind, hostile objects."""

from __future__ import annotations

import builtins
import gc
import json
import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from neurozoo.errors import PluginError
from neurozoo.registry.isolation import isolated, text_of
from neurozoo.registry.registry import Plugin, Registry

Install = Callable[..., Path]

HOOK = """
from neurozoo.registry.hookspecs import Component, hookimpl
neurozoo_api = "2.0"
@hookimpl
def neurozoo_components():
    yield Component("part", "mine", "{target}", "a part")
"""


def loaded(registry: Registry) -> Plugin:
    assert "torch" in registry.components("neuron")
    return next(plugin for plugin in registry.plugins if plugin.name == "x")


PANIC = "class PanicException(BaseException): pass\nraise PanicException('called unwrap() on a None value')\n"
UNREADABLE = "class Odd(BaseException):\n    def __str__(self):\n        raise SystemExit(9)\nraise Odd\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (PANIC, "PanicException: called unwrap() on a None value ("),
        (UNREADABLE, "Odd: (its text cannot be read: SystemExit) ("),
        ("raise GeneratorExit\n", "GeneratorExit"),
        ("raise ValueError('\\x1b]0;title\\x07')\n", r"ValueError: \x1b]0;title\x07 ("),
    ],
)
def test_any_exception_is_reported_under_the_plugins_name(install: Install, code: str, words: str) -> None:
    install("neurozoo-x", code)
    assert loaded(Registry()).error.startswith(words)
    install("neurozoo-y", HOOK.format(target="json:dumps").replace("mine", "other"))
    assert "other" in Registry().components("part")


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("def neurozoo_components(a, b): return []", "Argument(s) {"),
        ("def neurozoo_components(): return 3", "returns no components"),
        ("def neurozoo_components():\n    while True: yield 1", "yields more than 1000 components"),
        ("def neurozoo_components(): yield Component(['part'], 'x', 'json:dumps', '')", "unknown kind ['part']"),
        ("def neurozoo_components(): yield Component('part', 'x', 'json:dumps', '', exact=1)", "give True or False"),
        ("def neurozoo_components(): yield Component('part', 'x', 'json:dumps', '', requires=3)", "give a tuple of"),
        ("def neurozoo_components(): yield Component('part', 'x\\x1b[31m', 'json:dumps', '')", "name of one word"),
    ],
)
def test_hooks_and_components_of_the_wrong_shape(install: Install, hook: str, words: str) -> None:
    code = "from neurozoo.registry.hookspecs import Component, hookimpl\nneurozoo_api = '2.0'\n@hookimpl\n"
    install("neurozoo-x", code + hook + "\n")
    plugin = loaded(Registry())
    assert words in plugin.error
    assert plugin.components == ()


CHANGES = {
    "os.chdir('/')": "the working directory",
    "os.environ['NEUROZOO_DATA'] = '/nowhere'": "the environment variable NEUROZOO_DATA",
    "os.environ.pop('HOME')": "the environment variable HOME",
    "signal.signal(signal.SIGINT, print)": "signal handlers",
    "signal.setitimer(signal.ITIMER_REAL, 60)": "timers",
    "sys.stderr = None": "the standard streams",
    "sys.excepthook = print": "hooks of the interpreter",
    "sys.setrecursionlimit(77777)": "the recursion limit",
    "import gc; gc.disable()": "garbage collection",
    "import logging; logging.disable(50)": "logging",
    "os.umask(0)": "the mask of new files",
    "import builtins; builtins.open = None": "builtins",
    "sys.modules['json'] = None": "imported modules",
    "import random; random.seed(1)": "Python's random numbers",
    "import numpy; numpy.random.seed(1)": "numpy's random numbers",
    "import torch; torch.set_grad_enabled(False)": "torch's gradients",
    "import torch; torch.set_default_dtype(torch.float64)": "torch's default dtype",
    "import torch; torch.set_default_device('meta')": "torch's default device",
    "import torch; torch.use_deterministic_algorithms(True)": "torch's deterministic algorithms",
    "import torch; torch.manual_seed(1)": "torch's random numbers",
}


def state() -> list[object]:
    """What the changes above change."""
    return [
        *(os.getcwd(), dict(os.environ), signal.getsignal(signal.SIGINT), signal.getitimer(signal.ITIMER_REAL)),
        *(sys.stderr, sys.excepthook, sys.getrecursionlimit(), gc.isenabled(), logging.root.manager.disable),
        *(builtins.open, sys.modules["json"], random.getstate(), np.random.get_state()[1].tobytes()),  # noqa: NPY002
        *(torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()),
        *(torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist(), list(warnings.filters)),
    ]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", ["loaded", "imported"])
def test_changes_of_the_process_are_undone_and_told(
    install: Install, change: str, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    code = f"import os, signal, sys, warnings\nwarnings.simplefilter('ignore')\n{change}\n"
    if when == "loaded":
        install("neurozoo-x", code + HOOK.format(target="json:dumps"))
    else:
        install("neurozoo-x", HOOK.format(target="neurozoo_x_part:Mine"))
        (Path(sys.path[0]) / "neurozoo_x_part.py").write_text(code + "Mine = dict\n")
    before = state()
    registry = Registry()
    if when == "imported":
        assert registry.resolve("part", "mine") is dict
    assert state() == before
    said = loaded(registry).note if when == "loaded" else caplog.text
    assert "it changed " in said
    assert CHANGES[change] in said
    assert f"when it was {when}, which was undone" in said


PRINTS = {
    "Python": "print('hello')",
    "the descriptor": "import os; os.write(1, b'hello')",
    "C": "import ctypes; ctypes.CDLL(None).printf(b'hello')",
    "the original stream": "import sys; sys.__stdout__.write('hello')",
    "a child": "import subprocess; subprocess.run(['echo', 'hello'])",
}


@pytest.mark.parametrize("how", PRINTS)
def test_prints_stay_off_the_standard_output_however_they_are_made(
    install: Install, how: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    install("neurozoo-x", PRINTS[how] + "\n" + HOOK.format(target="neurozoo_x_part:Mine"))
    (Path(sys.path[0]) / "neurozoo_x_part.py").write_text(PRINTS[how] + "\nMine = dict\n")
    registry = Registry()
    assert registry.resolve("part", "mine") is dict
    assert capfd.readouterr().out == ""
    assert loaded(registry).note == "it printed 'hello' when it was loaded"
    assert "part 'mine' of neurozoo-x 0.3: it printed 'hello' when it was imported" in caplog.text


def test_a_part_that_raises_no_exception_of_python_s_is_refused_and_not_imported_again(install: Install) -> None:
    install("neurozoo-x", HOOK.format(target="neurozoo_x_part:Mine"))
    part = Path(sys.path[0]) / "neurozoo_x_part.py"
    part.write_text(PANIC)
    registry = Registry()
    for _ in range(2):
        with pytest.raises(PluginError, match=r"part 'mine' of neurozoo-x 0\.3 could not be imported.*PanicException"):
            registry.resolve("part", "mine")
        part.write_text("raise SystemExit('imported twice')")


def test_a_child_that_a_plugin_forks_ends(install: Install, capfd: pytest.CaptureFixture[str]) -> None:
    code = "from neurozoo.registry.registry import Registry\nRegistry()\nprint('once')\n"
    path = install("neurozoo-x", "import os\nos.fork()\n" + HOOK.format(target="json:dumps"))
    environment = {**os.environ, "PYTHONPATH": str(path.parent)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout == "once\n"


def test_what_a_block_does_is_put_back_after_an_exception_too(tmp_path: Path) -> None:
    folder, seen = os.getcwd(), []

    def fail() -> None:
        with isolated() as traces:
            seen.append(traces)
            os.chdir(tmp_path)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert (os.getcwd(), seen[0].changed) == (folder, ["the working directory"])


def test_text_of_anything_is_one_printable_line() -> None:
    class Odd:
        def __str__(self) -> str:
            raise MemoryError

    assert text_of("a\n b\x1b[1m") == r"a b\x1b[1m"
    assert text_of(Odd()) == "(its text cannot be read: MemoryError)"


# Other distributions


MALFORMED = ("other-thing", "", {"entry_points": "[console_scripts]\nno equals sign\n"})


def run(path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path.parent)}
    command = (sys.executable, "-m", "neurozoo.cli", *command)
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_a_damaged_distribution_of_somebody_else_stops_no_command(install: Install) -> None:
    name, code, more = MALFORMED
    path = install(name, code, **more)
    done = run(path, "show", "smile", "--json")  # builds pydantic's validators, and imports torch
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)


def test_the_doctor_names_a_damaged_distribution_and_a_plugin_that_ends_the_process(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neurozoo.testing import doctor

    name, code, more = MALFORMED
    install(name, code, **more)
    path = install("neurozoo-x", "import ctypes\nctypes.string_at(0)\n")
    monkeypatch.setenv("PYTHONPATH", str(path.parent))
    monkeypatch.setattr(doctor, "SECTIONS", {name: doctor.SECTIONS[name] for name in ("versions", "plugins")})
    found = {each.name: each for each in doctor.examine()}
    assert found["neurozoo-x 0.3"].status == "failed"
    assert found["neurozoo-x 0.3"].said.startswith("loading it ended the process (SIGSEGV)")
    (damaged,) = [each for name, each in found.items() if name.startswith("other_thing-0.3")]
    assert damaged.status == "warning"
    assert "its metadata is damaged (TypeError: " in damaged.said
    assert found["builtin (neurozoo-toolkit 0.1.0)"].status == "ok"
    assert found["python"].status == "ok"


def test_the_doctor_outlives_a_torch_that_ends_its_process(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    from neurozoo.testing import doctor

    path = install("other-thing")
    (path.parent / "torch.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.setenv("PYTHONPATH", str(path.parent))
    monkeypatch.setattr(doctor, "SECTIONS", {name: doctor.SECTIONS[name] for name in ("devices", "data")})
    first, *rest = doctor.examine()
    assert (first.section, first.name, first.status) == ("devices", "devices", "failed")
    assert "the check ended its process (exit status 7)" in first.said
    assert {each.section for each in rest} == {"data"}


@pytest.mark.slow
def test_the_doctor_outlives_a_backend_that_ends_its_process(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    from neurozoo.testing import doctor

    code = HOOK.format(target="neurozoo_x_part:Mine").replace('"part"', '"neuron"').replace("mine", "aaa")
    path = install("neurozoo-x", code)
    (path.parent / "neurozoo_x_part.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.setenv("PYTHONPATH", str(path.parent))
    monkeypatch.setattr(doctor, "SECTIONS", {name: doctor.SECTIONS[name] for name in ("conformance", "data")})
    found = list(doctor.examine())
    assert (found[0].name, found[0].status) == ("aaa", "failed")
    assert "the check ended its process (exit status 7)" in found[0].said
    assert {each.name for each in found} > {"torch"}
    assert found[-1].section == "data"


@pytest.mark.parametrize("code", ["raise OSError('libtorch.so: cannot open')", "import torch.part\n1 / 0\n"])
def test_a_broken_torch_is_named_and_not_imported_again(install: Install, code: str) -> None:
    path = install("other-thing")
    (path.parent / "torch").mkdir()
    (path.parent / "torch" / "__init__.py").write_text(code)
    (path.parent / "torch" / "part.py").write_text("import sys\nsys.modules['torch.imports'] = sys\n")
    done = run(path, "train", "smile_mosei_corrected", "--dry-run")
    assert done.returncode in (1, 2)
    assert "this is a bug" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "torch" in done.stderr
