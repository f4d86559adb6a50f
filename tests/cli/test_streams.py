"""The standard streams of the program: closed, broken, of any encoding; what reaches a terminal; Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neurozoo.cli import completion, main
from neurozoo.cli.common import write
from neurozoo.cli.failures import failure_of
from neurozoo.cli.streams import data_input, say
from neurozoo.errors import DataError, UserError

PROGRAM = [sys.executable, "-m", "neurozoo.cli"]
EVIL = "\x1b]0;title\x07\x1b[31mred\x9b\u202eright to left"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shells and signals of POSIX")


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command line in which ``neurozoo`` is the program under test."""
    program = " ".join(PROGRAM)
    return subprocess.run(
        ["bash", "-c", command.replace("neurozoo", program, 1)],
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        check=False,
        timeout=120,
    )


# Closed and broken streams


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    done = shell(f"neurozoo list recipes {closed}")
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_follows_a_closed_stream_is_not_written_into_the_next_file(tmp_path: Path) -> None:
    # Without a standard output the first file that is opened has its descriptor, which libraries print to.
    code = "import os, sys\nfrom neurozoo.cli.streams import present_streams\npresent_streams()\n"
    code += f"file = open({str(tmp_path / 'x')!r}, 'w')\nos.write(1, b'printed')\nfile.close()\nprint('more')"
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "$CODE" >&-'], env=os.environ | {"CODE": code}, check=True
    )
    assert done.returncode == 0
    assert (tmp_path / "x").read_text() == ""


def test_no_standard_input_is_an_error_of_one_line() -> None:
    done = shell("neurozoo predict emotions-corrected - <&-")
    assert done.returncode == 2
    assert done.stderr == b"error: there is no standard input to read; give a file instead of -\n"


@pytest.mark.parametrize("command", ["neurozoo list | head -c 1", "neurozoo list --json | head -c 1"])
def test_a_reader_that_leaves_is_silent(command: str) -> None:
    assert shell(command).stderr == b""


def test_an_error_that_nobody_reads_keeps_its_status() -> None:
    done = shell("set -o pipefail; neurozoo show nosuch 2>&1 >/dev/null | true")
    assert done.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_at_the_output() -> None:
    done = shell("neurozoo list > /dev/full")
    assert done.returncode == 1
    assert done.stderr == b"error: the output cannot be written: No space left on device\n"


def test_json_is_pure_even_of_what_is_printed_below_python() -> None:
    code = (
        "import os, sys; from neurozoo.cli import main, browse\n"
        "def entries(*_):\n"
        "    os.write(1, b'below'); print('python'); os.system('echo child')\n"
        "    return [{'name': 'x', 'summary': ''}]\n"
        "browse._entries = entries\n"
        "sys.exit(main(['list', 'recipes', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"recipes": [{"name": "x", "summary": ""}]}
    for printed in ("below", "python", "child"):
        assert printed in done.stderr


# Encodings


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_text_that_the_terminal_lacks_is_escaped(encoding: str) -> None:
    done = shell("neurozoo show $'\\u65e5\\u672c'", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert b"\\u65e5" in done.stderr
    assert b"Traceback" not in done.stderr


LINE = json.dumps({"id": "日本", "signals": {"timbre": [[0.0] * 64], "rhythm": [[0.0] * 8]}}, ensure_ascii=False)


def test_data_is_utf8_in_and_out_whatever_the_terminal_is(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(f"\ufeff{LINE}\r\n", "utf-8")
    command = f"neurozoo predict emotions-corrected - --format csv < {tmp_path / 'x.jsonl'}"
    done = shell(command, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    head, row = csv.reader(io.StringIO(done.stdout.decode("utf-8"), newline=""))
    assert row[head.index("id")] == "日本"


class Input(io.BytesIO):
    """A standard input of bytes."""

    @property
    def buffer(self) -> io.BytesIO:
        return self


def lines_of(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("sys.stdin", Input(raw))
    return list(data_input())


def test_the_standard_input_is_read_as_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of("a\né\n".encode(), monkeypatch) == ["a\n", "é\n"]
    assert lines_of("a\né\n".encode("utf-16"), monkeypatch) == ["a", "é"]
    with pytest.raises(DataError, match=r"^standard input:2: byte 0xe9 is not UTF-8"):
        lines_of(b"a\n\xe9\n", monkeypatch)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="no standard input"):
        list(data_input())


def test_an_id_is_no_formula_in_a_spreadsheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(LINE.replace("日本", "=1+1"))
    assert main(["predict", "emotions-corrected", str(path), "--format", "csv"]) == 0
    head, row = csv.reader(capsys.readouterr().out.splitlines())
    assert row[head.index("id")] == "'=1+1"
    assert all(not cell.startswith("'") for cell in head)


# What reaches a terminal


def test_nothing_of_a_file_controls_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = (Path(__file__).parents[2] / "recipes" / "smile_emotions.yaml").read_text()
    shown = tmp_path / "shown.yaml"
    quoted = json.dumps(EVIL)
    shown.write_text("".join(f"description: {quoted}\n" if line.startswith("description:") else line
                             for line in recipe.splitlines(keepends=True)))  # fmt: skip
    key = tmp_path / "key.yaml"
    key.write_text(recipe + f"{quoted}: 1\n")
    named = tmp_path / f"{EVIL}.yaml".replace("/", "")
    named.write_text("seed: [\n")
    line = tmp_path / "x.jsonl"
    line.write_text(json.dumps({"signals": {EVIL: [[0.0]]}}))
    said = ""
    for arguments in (
        ["show", str(shown)],
        ["show", str(key)],
        ["show", str(named)],
        ["predict", "emotions-corrected", str(line)],
        ["data", "info", str(tmp_path / EVIL)],
        ["compare", EVIL, EVIL],
        ["list", EVIL],
        ["plugins", "check", EVIL],
        ["train", "smile_emotions", f"{EVIL}=1"],
        ["train", f"--{EVIL}"],
    ):
        main(arguments)
        out, err = capsys.readouterr()
        assert out + err
        said += out + err
    for sign in EVIL:
        assert sign.isprintable() or sign not in said, ascii(sign)
    assert "\\x1b]0;title" in said


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\tb\nc\x1b[0m")
    assert capsys.readouterr().out == "a\tb\nc\\x1b[0m\n"


# What the system refuses

LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", LONG],
        ["verify", LONG],
        ["train", LONG],
        ["show", LONG],
        ["profile", LONG],
        ["pack", LONG],
        ["report", LONG],
        ["compare", LONG, LONG],
        ["results", LONG],
        ["predict", "emotions-corrected", LONG],
        ["predict", LONG, "x.npz"],
        ["data", "info", LONG],
        ["data", "check", LONG],
        ["data", "guess", LONG],
        ["data", "import", "mulan", LONG, "out"],
        ["nir", "import", LONG, "--out", "out"],
        ["nir", "export", LONG, "--out", "out"],
        ["train", "spiking_convnet", "--out", LONG],
        ["train", "smile_emotions", f"data.root={LONG}"],
        ["train", "--resume", LONG],
        ["train", "smile_emotions", "--from", LONG],
        ["bench", "data", LONG],
        ["plugins", "new", "mine", "--kind", "fusion", "--out", LONG],
    ],
)
def test_a_path_that_the_system_refuses_is_named(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert LONG in err
    assert "Traceback" not in err
    assert "bug" not in err
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("", "it is a folder"),
        (".", "it is a folder"),
        ("file/x", "file is not a folder"),
        ("/dev/null", "it is a device or pipe"),
        (LONG, "File name too long"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["report", "run", "--out"],
        ["results", "folder", "--out"],
        ["data", "info", "store", "--html"],
        ["profile", "run", "--html"],
        ["bench", "neurons", "--html"],
        ["bench", "page"],
        ["compare", "smile_pom", "--backends", "torch,norse", "--out"],
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_any_work(
    command: list[str],
    out: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert main([*command, out]) == 2
    err = capsys.readouterr().err
    assert "cannot be written: " in err
    assert words in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_several_writers_of_one_page_all_succeed(tmp_path: Path) -> None:
    out, pages = tmp_path / "page.html", [letter * 200_000 for letter in "abcd"]
    with ThreadPoolExecutor(8) as pool:
        writing = [pool.submit(write, out, page) for page in pages * 10]
        while not all(each.done() for each in writing):
            assert not out.exists() or out.read_text() in pages
        for each in writing:
            each.result()
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    done = shell(f"mkdir {tmp_path}/d; cd {tmp_path}/d; rmdir ../d; neurozoo show smile_emotions")
    assert done.returncode in (0, 2)
    assert b"Traceback" not in done.stderr
    done = shell(f"mkdir {tmp_path}/d; cd {tmp_path}/d; rmdir ../d; neurozoo data guess .")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OSError(36, "File name too long", "a"), 2, "a: File name too long; give another path"),
        (PermissionError(13, "Permission denied", "b"), 2, "b: Permission denied"),
        (MemoryError(), 1, "there is not enough memory; use smaller batches"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            1,
            "not enough memory (",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 1, "not enough memory (CUDA out of memory"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), 2, "a text cannot be converted"),
        (RecursionError("maximum recursion depth exceeded"), 2, "nested too deeply"),
        (ValueError("embedded null character"), 2, "a path holds a null character"),
        (RuntimeError("Symlink loop from 'x'"), 2, "Symlink loop from 'x': a link that leads to itself"),
        (OSError(5, "Input/output error"), 1, "the system refused: Input/output error"),
    ],
)
def test_what_input_or_machine_did_is_no_bug(error: Exception, status: int, words: str) -> None:
    failure = failure_of(error)
    assert (failure.status, failure.bug) == (status, False)
    assert words in failure.problems[0]


def test_all_else_is_a_bug() -> None:
    assert failure_of(ZeroDivisionError("oh")).bug
    assert failure_of(RuntimeError("mat1 and mat2 shapes cannot be multiplied")).bug


# Ctrl-C


def interrupted(arguments: Sequence[str], after: str, times: int) -> tuple[int, str]:
    """Exit status and error output of a command that gets Ctrl-C several times after it printed a line."""
    with subprocess.Popen(
        [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
         "from neurozoo.cli import main; sys.argv = ['neurozoo', *sys.argv[1:]]; sys.exit(main())", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith(after):
                break
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.03)
        _, err = process.communicate(timeout=60)
        return process.returncode, err


def test_three_times_ctrl_c_is_130_and_names_the_command_that_continues(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", "spiking_convnet", "training.epochs=1000", "--out", str(run)]
    status, err = interrupted(command, "epoch 1/", times=3)
    assert status == 130
    assert err == f"error: interrupted; what was written is whole; to continue: neurozoo train --resume {run}\n"


def test_the_same_command_continues_several_trainings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("neurozoo.studies.seeds.train_seeds", interrupt)
    assert main(["train", "smile_pom", "--seeds", "2", "--out", "a b"]) == 130
    assert capsys.readouterr().err.endswith("; to continue: neurozoo train smile_pom --seeds 2 --out 'a b'\n")
    monkeypatch.setattr("neurozoo.hub.zoo_entries.shipped_entries", interrupt)
    assert main(["list", "zoo"]) == 130
    assert capsys.readouterr().err == "error: interrupted; what was written is whole\n"


# Completion and help


def test_the_shell_completes_names() -> None:
    command = {"COMP_WORDS": "neurozoo train smile_mosei --backend tor", "COMP_CWORD": "4"}
    done = shell("neurozoo", _NEUROZOO_COMPLETE="complete_bash", **command)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"torch\n", b"")


def test_names_are_completed() -> None:
    for complete, begun, name in (
        (completion.recipes, "smi", "smile_emotions"),
        (completion.names, "smile_e", "smile_emotions"),
        (completion.names, "dis", "disagreement"),
        (completion.components, "buil", "builtin"),
        (completion.models, "emo", "emotions-corrected"),
        (completion.importers, "mu", "mulan"),
        (completion.public_data, "cmu", "cmu-mosei"),
        (completion.kinds, "back", "backends"),
    ):
        found = [each for each, _ in complete(begun)]
        assert name in found
        assert all(each.startswith(begun) for each in found)


@pytest.mark.parametrize(
    "words", [["-h"], ["train", "-h"], ["data", "-h"], ["data", "info", "-h"], ["nir", "export", "-h"]]
)
def test_h_is_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: ")
    assert "-h, --help" in out


def test_completion_can_be_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out
