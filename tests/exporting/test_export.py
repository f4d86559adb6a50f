"""Written programs and their metadata; refused ones leave no files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from exported import five_steps, small

import neurozoo
from neurozoo.cli import main
from neurozoo.core.model import Model
from neurozoo.core.recording import spiking_layers
from neurozoo.core.signals import Signal
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import RunError, UserError
from neurozoo.exporting import export as exporting
from neurozoo.exporting.comparison import at_least_two, compare, flips
from neurozoo.exporting.export import export_model, write_program
from neurozoo.exporting.onnx_file import OPSET, open_onnx
from neurozoo.exporting.program import METADATA, Run, inputs_of, open_program, outputs_of, program_of


@pytest.mark.slow
def test_the_folder_says_what_goes_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["export", "fsdd-small", "--format", "torch-export", "--out", str(out), "--samples", "5", "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {each.name for each in out.iterdir()} == {"model.pt2", "export.json"}
    written = json.loads((out / "export.json").read_text())
    assert printed == written | {"folder": str(out), "source": "fsdd-small"}
    assert written["inputs"]["events"] == {"shape": ["B", 100, 80], "dtype": "float32"}
    assert written["inputs"]["events_valid"] == {"shape": ["B", 100], "dtype": "bool"}
    assert written["outputs"]["predicted"] == {"shape": ["B", 10], "dtype": "float32"}
    assert (written["samples"], written["made_up"], written["difference"]) == (5, False, 0)

    extra = {METADATA: ""}
    module = torch.export.load(out / "model.pt2", extra_files=extra).module()
    inside = json.loads(extra[METADATA])
    trained = neurozoo.load("fsdd-small")
    assert (inside["recipe"], inside["model"]) == (trained.recipe.name, "sparch")
    assert tuple(inside["names"]) == trained.outputs
    assert inside["weights_sha256"] == written["weights_sha256"]

    events = torch.rand(3, 60, 80).round()
    padded = torch.cat([events, torch.zeros(3, 40, 80)], 1)
    valid = (torch.arange(100) < 60).expand(3, -1)
    _, predicted = module({"events_valid": valid, "events": padded})  # in any order
    whole = torch.ones(3, 60, dtype=torch.bool)
    torch.testing.assert_close(predicted, trained.predict({"events": events}, {"events": whole}), atol=1e-6, rtol=1e-5)

    assert main(command) == 2
    assert "already there and not empty" in capsys.readouterr().err


@pytest.mark.slow
def test_onnx_takes_any_number_of_samples_and_holds_its_origin(tmp_path: Path) -> None:
    import onnx

    model, batches = five_steps()
    path = tmp_path / "model.onnx"
    origin = {"recipe": "five", "names": ["a", "b", "c"], "decision": None}
    found, operations = write_program(model, batches, path, "five", opset=OPSET, metadata=origin)
    assert (found.samples, found.different) == (7, 0)
    assert found.largest <= 1e-6
    read = onnx.load(path)
    assert {each.key: each.value for each in read.metadata_props} == {
        "recipe": "five", "names": '["a", "b", "c"]', "decision": "null",
    }  # fmt: skip
    assert [each.version for each in read.opset_import if not each.domain] == [OPSET]
    assert [each.name for each in read.graph.input] == ["linear", "linear_valid"]
    assert [each.name for each in read.graph.output] == ["outputs", "predicted"]
    assert operations > 10
    run = open_onnx(path)
    for size in (1, 3, 200):
        inputs = inputs_of(model, made_up(model.problem.signals, model.problem.task, size, size))
        torch.testing.assert_close(run(inputs)["outputs"], outputs_of(model, inputs)["outputs"], atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match=r"model\.onnx: ONNX Runtime refuses it \(.*double"):
        run({"linear": torch.zeros(2, 5, 6, dtype=torch.float64), "linear_valid": torch.ones(2, 5, dtype=torch.bool)})


def test_other_outputs_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(path: Path) -> Run:
        run = open_program(path)
        return lambda inputs: {name: x + 0.25 for name, x in run(inputs).items()}

    monkeypatch.setattr(exporting, "open_program", off)
    command = ["export", "fsdd-small", "--format", "torch-export", "--out", str(tmp_path / "out"), "--samples", "4"]
    assert main(command) == 3
    assert list(tmp_path.iterdir()) == []


def test_what_counts_as_different() -> None:
    model, (batch,) = five_steps()
    wanted = outputs_of(model, inputs_of(model, batch))

    def giving(change: torch.Tensor) -> Run:
        return lambda inputs: {name: x + change[: len(x), None] for name, x in outputs_of(model, inputs).items()}

    assert compare(model, giving(torch.zeros(7)), [batch]).largest == 0
    off = torch.tensor([0, 9e-6, 0, 1e-3, 0, torch.nan, 0])
    found = compare(model, giving(off), [batch])
    assert (found.samples, found.different, found.largest) == (7, 2, float("inf"))
    found = compare(model, lambda inputs: {name: x[:1] for name, x in wanted.items()}, [batch])
    assert (found.different, found.largest) == (7, float("inf"))
    assert flips(model, lambda inputs: outputs_of(model, inputs, spikes=True), batch) is None


def test_two_samples_are_traced_even_of_one() -> None:
    _, (batch,) = five_steps()
    assert len(at_least_two(batch.rows(0, 1))) == 2
    assert len(at_least_two(batch)) == 2


def test_evaluation_that_changes_the_model_is_refused_by_its_buffers() -> None:
    model, (batch,) = five_steps()
    model.register_buffer("seen", torch.zeros(()))
    model.register_forward_hook(lambda module, *_: module.seen.add_(1) and None)
    with pytest.raises(UserError, match=r"five: evaluation changes the model's own state \(seen\)"):
        program_of(model, inputs_of(model, at_least_two(batch)), "five")
    assert model.seen == 0


def test_what_cannot_be_traced_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (batch,) = five_steps()
    answer = type(model).answer  # type: ignore[attr-defined]

    def by_its_numbers(self: Model, outputs: torch.Tensor, *others: object) -> torch.Tensor:
        return answer(self, outputs if outputs.sum() > 0 else -outputs, *others)

    monkeypatch.setattr(type(model), "answer", by_its_numbers)
    with pytest.raises(
        UserError, match=r"five: torch\.export cannot trace RecurrentNet\.forward \(recurrent\.py:\d+\): "
    ):
        program_of(model, inputs_of(model, at_least_two(batch)), "five")


def test_names_that_collide_are_refused() -> None:
    model = neurozoo.create_model("smile", inputs={"a": (4,), "outputs": (3,)}, length=2, outputs=3, task="multilabel")
    batch = made_up(model.problem.signals, model.problem.task, 2, 0)
    with pytest.raises(UserError, match="another tensor of the name 'outputs'"):
        inputs_of(model, batch)


def test_what_is_missing_or_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["export", "fsdd-small", "--out", str(tmp_path / "a"), "--format"]
    for wrong, text in (
        (["onnx", "--dt", "1e-3"], "--dt is for --format nir"),
        (["nir", "--dt", "1e-3", "--samples", "3"], "--samples is of torch-export and onnx"),
        (["nir", "--dt", "1e-3", "--opset", "0"], "--opset is of torch-export and onnx"),
        (["torch-export", "--opset", "20"], "opset is 20 for torch-export; it is of onnx alone"),
        (["onnx", "--opset", "7"], "from 18 to 23"),
    ):
        assert main([*base, *wrong]) == 2
        assert text in capsys.readouterr().err
    with pytest.raises(UserError, match="the format 'tflite' is unknown; give one of torch-export, onnx, nir"):
        neurozoo.export("fsdd-small", tmp_path / "a", format="tflite")  # type: ignore[call-overload]
    with pytest.raises(UserError, match="dt is of nir"):
        neurozoo.export("fsdd-small", tmp_path / "a", format="onnx", dt=1e-3)  # type: ignore[call-overload]
    with pytest.raises(UserError, match="samples is of torch-export and onnx"):
        neurozoo.export("fsdd-small", tmp_path / "a", format="nir", samples=3)  # type: ignore[call-overload]
    with pytest.raises(RunError, match="no such run folder"):
        export_model("runs/none", tmp_path / "a", format="torch-export")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"ONNX needs onnx, onnxscript, onnxruntime, not installed here; `pip install '.*\[export\]'`"
    ):
        export_model("fsdd-small", tmp_path / "a", format="onnx")
    assert list(tmp_path.iterdir()) == []


def test_nir_is_written_as_by_its_own_command(tmp_path: Path) -> None:
    from neurozoo.nir.export import export_run

    exported = neurozoo.export("poker-dvs", tmp_path / "a", format="nir", dt=1e-3)
    other = export_run("poker-dvs", tmp_path / "b", dt=1e-3)
    assert [each.sha256 for each in exported.branches] == [each.sha256 for each in other.branches]


def test_small_models_of_the_tests_fire() -> None:
    model, (batch, _) = small("sparch")
    fired = outputs_of(model, inputs_of(model, batch), spikes=True)
    for name in spiking_layers(model):
        assert 0.01 < float(fired[name].mean()) < 0.99
    assert isinstance(batch.signals["input"], Signal)
