"""A loop over time has the bits of the steps written out, and what differs elsewhere is counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import five_steps
from torch import Tensor, nn

import neurozoo
from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec, ReLUSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import Neuron, NeuronSpec
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import DifferentError
from neurozoo.exporting import export as exporting
from neurozoo.exporting.export import write_program
from neurozoo.exporting.loops import LONG, LoopNeuron
from neurozoo.exporting.onnx_file import OPSET, open_onnx
from neurozoo.exporting.program import Run, inputs_of, outputs_of, quiet

STEPS = LONG + 3
SPECS: tuple[NeuronSpec, ...] = (
    LIFSpec(), LIFSpec(v_reset=None, tie="silent"), IFSpec(), PLIFSpec(), AdLIFSpec(coupling=0.3),
    ALIFSpec(refractory=2), CubaSpec(), CubaSpec(order="fire-first"), LISpec(v_rest=0.1), ReLUSpec(),
)  # fmt: skip


class Scans(nn.Module):
    """Runs neurons of each kind, with a threshold a sample, a step or all, and recurrent ones."""

    def __init__(self, kind: type[Neuron], specs: tuple[NeuronSpec, ...]) -> None:
        super().__init__()
        self.neurons = [kind(spec) for spec in specs]
        self.weight = nn.Parameter(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))

    @torch.no_grad()
    def forward(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        levels: tuple[Any, ...] = (0.8, torch.linspace(0.5, 1, STEPS)[:, None, None], torch.full((1, 1, 4), 0.7))
        for place, neuron in enumerate(self.neurons):
            outputs, state = neuron.scan(x, None, levels[place % 3])
            again, _ = neuron.scan(x, state, 1.0)
            found += [outputs, *state, again]
        made = self.neurons[0].recur(x, self.weight, None, 0.5, None, self_connections=False, driven=False)
        return [*found, made.outputs, *made.state]


def currents(samples: int) -> Tensor:
    return 2 * torch.randn(STEPS, samples, 4, generator=torch.Generator().manual_seed(samples))


def exported(specs: tuple[NeuronSpec, ...]) -> Any:
    dynamic = {1: torch.export.Dim("batch")}
    with torch.no_grad(), quiet():
        return torch.export.export(Scans(LoopNeuron, specs), (currents(2),), dynamic_shapes=(dynamic,), strict=False)


@pytest.mark.slow
def test_the_bits_of_every_kind() -> None:
    program = exported(SPECS)
    scans = [node for node in program.graph.nodes if "scan" in str(node.target) and node.op == "call_function"]
    assert len(scans) == 2 * (len(SPECS) - 1) + 1  # the control has no state, and needs no loop
    x = currents(5)
    found, wanted = program.module()(x), Scans(TorchNeuron, SPECS)(x)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)
    assert 0.05 < float(wanted[0].mean()) < 0.95


def test_few_steps_are_written_out() -> None:
    x = currents(2)[: LONG - 1]
    ours, theirs = LoopNeuron(LIFSpec()), TorchNeuron(LIFSpec())
    assert torch.equal(ours.scan(x)[0], theirs.scan(x)[0])


@pytest.mark.slow
def test_a_spike_that_flips_is_counted_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = five_steps()

    def rounding_otherwise(path: Path) -> Run:
        run = open_onnx(path)

        def other(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            made = run(inputs)
            if len(made["outputs"]) > 2:
                made["outputs"][2, 0] += 0.25
            if "layers.0" in made:
                made["layers.0"][3, 2, 4] = 1 - made["layers.0"][3, 2, 4]
            return made

        return other

    monkeypatch.setattr(exporting, "open_onnx", rounding_otherwise)
    with pytest.raises(DifferentError) as caught:
        write_program(model, batches, tmp_path / "model.onnx", "five", opset=OPSET)
    text = str(caught.value)
    assert "outputs of 1 of 7 samples differ from the model's, by up to 0.25, and 1e-05 is allowed" in text
    assert "1 of 315 values of the layer layers.0 (Linear) are a spike in one of the two alone, and 1 of 7" in text
    assert "--format torch-export" in text
    assert caught.value.exit_status == 3


@pytest.mark.slow
def test_a_program_runs_where_no_neurozoo_is_imported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = neurozoo.create_model("sparch", inputs=(6,), length=LONG, outputs=3, hidden=(5,)).eval()
    batch = made_up(model.problem.signals, model.problem.task, 4, 0)
    write_program(model, [batch], tmp_path / "m.pt2", "small")
    inputs = inputs_of(model, batch)
    torch.save(inputs, tmp_path / "inputs.pt")
    script = (
        "import sys, torch\n"
        "module = torch.export.load('m.pt2').module()\n"
        "outputs, _ = module(torch.load('inputs.pt'))\n"
        "print(outputs.tolist(), 'neurozoo' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout.strip() == f"{outputs_of(model, inputs)['outputs'].tolist()} False", ran.stderr
