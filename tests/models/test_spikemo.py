"""SpikEmo equals its authors' code, and its corrected form has the properties that the published one lacks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from neurozoo.core.model import Model
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import DataError
from neurozoo.models.authors_weights import load_authors_weights
from neurozoo.models.build import build_model, expected_problem
from neurozoo.models.spikemo import SpikEmo
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.testing.golden import GoldenFile
from neurozoo.testing.golden_parts import GoldenPart, PartCase
from neurozoo.training.initialisation import initialise_fluctuation_driven

FOLDER = Path(os.environ.get("NEUROZOO_GOLDEN") or Path(__file__).parents[1] / "golden" / "parts")
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


class Case(PartCase):
    file = "mm-spikemo.safetensors"
    names = SpikEmo.authors_names.renamed if SpikEmo.authors_names else ()

    def __init__(self, make: Make, backend: str) -> None:
        self.make, self.backend = make, backend

    def network(self, header: Mapping[str, str]) -> nn.Module:
        sizes = {
            "hidden": "width",
            "spiking_heads": "spiking_heads",
            "depth": "depth",
            "time_steps": "T",
            "heads": "heads",
            "layers": "layers",
        }
        params = {ours: int(header[theirs]) for ours, theirs in sizes.items()}
        return self.make(backend=self.backend, **params, **PUBLISHED)

    def run(self, network: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kept: dict[str, Tensor] = {}
        handles = [
            network.norm.register_forward_hook(lambda _, __, x: kept.update(rates=x)),
            network.fusion.register_forward_pre_hook(
                lambda _, x: kept.update({f"scaled_{m}": x[0][m].x for m in x[0]})
            ),
            network.fusion.register_forward_hook(lambda _, __, x: kept.update({f"fused_{m}": x[m].x for m in x})),
            network.join.register_forward_hook(lambda _, __, x: kept.update(fc=x)),
        ]
        given = {name: Signal(batch[name].transpose(0, 1)) for name in ("text", "audio", "vision")}
        with recorded(network) as firings:
            out = network(Batch(given))
        for handle in handles:
            handle.remove()
        labels = batch["labels"]
        there = labels >= 0
        names = {"text": "text", "audio": "audio", "vision": "visual"}
        found = {"out": out[there], "loss": F.cross_entropy(out[there], labels[there]).reshape(1)}
        found["act/fc"] = kept["fc"][there]
        layers = {"q0": "blocks.0.attention.q", "attn0": "blocks.0.attention.attended", "last": "blocks.1.mlp.fc2"}
        for place, (ours, theirs) in enumerate(names.items()):
            found[f"act/rate_{theirs}"] = kept["rates"].chunk(3)[place].mean(0).transpose(0, 1)
            found[f"act/scaled_{theirs}"] = kept[f"scaled_{ours}"]
            found[f"act/fused_{theirs}"] = kept[f"fused_{ours}"][there]
            for short, layer in layers.items():
                found[f"act/spikes_{short}_{theirs}"] = firings[layer].spikes.chunk(3)[place]
        return found


@pytest.fixture(scope="module")
def file() -> GoldenFile:
    with safe_open(FOLDER / Case.file, framework="pt") as found:
        tensors = {key: found.get_tensor(key) for key in found.keys()}  # noqa: SIM118
        return GoldenFile(Case.file, found.metadata() or {}, tensors)


@pytest.mark.parametrize(
    "backend", ["torch", *(pytest.param(each, marks=pytest.mark.slow) for each in BACKENDS if each != "torch")]
)
class TestGolden:
    def test_batches(self, make: Make, file: GoldenFile, backend: str) -> None:
        golden = GoldenPart(Case(make, backend), file)
        golden.check_batches()
        print(golden.worst)

    def test_steps(self, make: Make, file: GoldenFile, backend: str) -> None:
        golden = GoldenPart(Case(make, backend), file)
        golden.check_steps()
        print(golden.worst)


def test_the_authors_weights_load_by_name(make: Make, file: GoldenFile) -> None:
    model = make(**PUBLISHED)
    taken = load_authors_weights(model, file.under("weights/"))
    assert not taken.left
    assert torch.equal(model.get_parameter("join.weight"), file.tensors["weights/fc.weight"])


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
