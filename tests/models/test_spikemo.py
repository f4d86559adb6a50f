"""SpikEmo equals its authors' code on every backend; its corrected form lacks the faults of the published one."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from neurozoo.core.model import Model
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import DataError
from neurozoo.models.build import build_model, expected_problem
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.testing.golden import GoldenFile
from neurozoo.testing.golden_models import GoldenModel
from neurozoo.training.initialisation import initialise_fluctuation_driven

WIDTHS = {"text": 7, "audio": 5, "vision": 6}
PUBLISHED = {
    "state": "crossing",
    "padding": "visible",
    "attention_current": "raw",
    "dropout_at": "logits",
}
BACKENDS = [name for name, each in default_registry().components("neuron").items() if not each.native]
Make = Callable[..., Model]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Builds a small model; keyword arguments are its parameters."""

    def build(
        widths: Mapping[str, int] = WIDTHS, backend: str = "torch", per_step: bool = True, **params: Any
    ) -> Model:
        path = tmp_path / "recipe.yaml"
        small = {"hidden": 8, "spiking_heads": 2, "heads": 2, "time_steps": 8, "inner": 10, "dropout": 0.0}
        recipe = {
            "schema": 2,
            "data": {"name": "none", "expect": {name: {"dim": dim, "length": 5} for name, dim in widths.items()}},
            "task": {"name": "multiclass", "per_step": per_step, "outputs": 7},
            "model": {"name": "spikemo", "params": small | params},
        }
        path.write_text(json.dumps(recipe))
        read = load_recipe(path, registry=default_registry())
        return build_model(read, expected_problem(read)[0], backend=backend)

    return build


def signals(samples: int = 3, length: int = 5, widths: Mapping[str, int] = WIDTHS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(samples, length, dim, generator=generator) for name, dim in widths.items()}


@pytest.mark.slow
@pytest.mark.parametrize("backend", [each for each in BACKENDS if each != "torch"])
class TestGolden:
    """On torch it is one of the models in test_golden_multimodal.py."""

    @pytest.fixture
    def golden(self, backend: str) -> GoldenModel:
        path = Path(__file__).with_name("golden_multimodal") / "spikemo.py"
        spec = importlib.util.spec_from_file_location("golden_spikemo", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        case = module.SpikEmoCase(backend)
        folder = Path(os.environ.get("NEUROZOO_GOLDEN") or Path(__file__).parents[1] / "golden" / "models")
        with safe_open(folder / case.file, framework="pt") as found:
            tensors = {key: found.get_tensor(key) for key in found.keys()}  # noqa: SIM118
            return GoldenModel(case, GoldenFile(case.file, found.metadata() or {}, tensors))

    def test_batches(self, golden: GoldenModel) -> None:
        golden.check_batches()

    def test_steps(self, golden: GoldenModel) -> None:
        golden.check_steps()


def test_published_neurons_start_from_another_modality(make: Make) -> None:
    def rates(**params: Any) -> Tensor:
        torch.manual_seed(0)
        model = make(**params)
        with torch.no_grad(), recorded(model) as firings:
            for each in model.modules():
                if isinstance(each, nn.LayerNorm):
                    each.weight.fill_(4.0)
            model(signals())
        return firings["blocks.0.attention.q"].spikes

    crossing, reset = rates(state="crossing"), rates()
    assert crossing.shape[:2] == (24, 3)
    assert reset.shape[:2] == (8, 9)
    first, *others = crossing.chunk(3)
    alone, *others_alone = reset.chunk(3, 1)
    assert torch.equal(first, alone)
    assert not torch.equal(others[0], others_alone[0])


@pytest.mark.parametrize("names", [("text",), ("text", "vision"), ("text", "audio", "vision", "face")])
@pytest.mark.parametrize("per_step", [True, False])
def test_any_number_of_modalities(make: Make, names: tuple[str, ...], per_step: bool) -> None:
    widths = {**WIDTHS, "face": 3}
    chosen = {name: widths[name] for name in names}
    model = make(chosen, per_step=per_step)
    out = model(signals(widths=chosen))
    assert out.shape == ((3, 5, 7) if per_step else (3, 7))
    out.sum().backward()
    assert all(each.grad is not None for each in model.parameters())


@pytest.mark.parametrize("per_step", [True, False])
@torch.no_grad()
def test_padding_and_other_conversations_change_nothing(make: Make, per_step: bool) -> None:
    model = make(per_step=per_step)
    given = signals()
    initialise_fluctuation_driven(model, Batch({name: Signal(x) for name, x in given.items()}), 0.2)
    model.eval()
    whole = model(given)
    valid = torch.ones(3, 8, dtype=torch.bool)
    valid[:, [0, 4, 6]] = False
    longer = {}
    for name, x in given.items():
        values = torch.full((3, 8, x.shape[2]), float("nan"))
        values[valid] = x.flatten(0, 1)
        longer[name] = Signal(values, valid)
    padded = model(Batch(longer))
    if per_step:
        assert not padded[~valid].any()
        padded = padded[valid].view_as(whole)
    torch.testing.assert_close(padded, whole)
    alone = model({name: x[1:2] for name, x in given.items()})
    torch.testing.assert_close(alone, whole[1:2])


@torch.no_grad()
def test_an_utterance_without_a_modality_and_a_sample_without_it(make: Make) -> None:
    model = make().eval()
    given = signals()
    there = torch.ones(3, 5, dtype=torch.bool)
    some = there.clone()
    some[0, 1] = False  # one utterance has no picture
    some[1] = False  # nor has one conversation
    masks = {"text": there, "audio": there, "vision": some}
    out = model(Batch({name: Signal(x, masks[name]) for name, x in given.items()}))
    garbage = given["vision"].clone()
    garbage[~some] = float("nan")
    again = model(Batch({name: Signal(x, masks[name]) for name, x in {**given, "vision": garbage}.items()}))
    assert out.isfinite().all()
    assert torch.equal(out, again)
    assert out.abs().amin() > 0  # answered all the same


def test_modalities_of_other_utterances_are_refused(make: Make) -> None:
    model = make()
    given = signals()
    with pytest.raises(DataError, match="text 5, audio 4, vision 5; pad them alike"):
        model({**given, "audio": given["audio"][:, :4]})


@torch.no_grad()
def test_every_layer_fires_after_the_initialisation(make: Make) -> None:
    torch.manual_seed(0)
    sizes = {"hidden": 32, "time_steps": 16, "spiking_heads": 4}
    batch = Batch({name: Signal(x) for name, x in signals(8).items()})
    silent = make(**sizes, **PUBLISHED)
    with recorded(silent) as firings:
        silent(batch)
    assert not firings["blocks.0.attention.attended"].spikes.any()
    model = make(**sizes)
    initialise_fluctuation_driven(model, batch, 0.2)
    with recorded(model) as firings:
        model(batch)
    rates = {name: float(each.spikes.mean()) for name, each in firings.items()}
    assert len(rates) == 14
    assert all(0.01 < rate < 0.5 for rate in rates.values()), rates
