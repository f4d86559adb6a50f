"""MulT, HHMPN and MISA in their corrected form: what a sample lacks, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import DataError, UserError
from neurozoo.models.build import build_model, expected_problem
from neurozoo.models.multimodal.hhmpn import HHMPN
from neurozoo.recipe.recipe import make_recipe
from neurozoo.registry.registry import default_registry

LENGTHS = {"text": 5, "audio": 3, "vision": 4}
SMALL: Mapping[str, Mapping[str, Any]] = {
    "misa": {"hidden": 6, "heads": 2, "inner": 8},
    "mult": {"hidden": 6, "heads": 2, "layers": 1, "memory_layers": 1},
    "hhmpn": {
        "hidden": 8, "heads": 2, "inner": 6, "decoder_layers": 1, "encoder_hidden": 4, "encoder_heads": 2,
        "encoder_layers": 1, "memory_layers": 1,
    },
}  # fmt: skip


def made(name: str, lengths: Mapping[str, int] = LENGTHS, **params: Any) -> Model:
    content = {
        "schema": 2,
        "data": {
            "name": "none",
            "inputs": [*lengths],
            "expect": {name: {"dim": 7, "length": length} for name, length in lengths.items()},
        },
        "task": {"name": "multilabel", "outputs": 3},
        "model": {"name": name, "params": {**SMALL[name], **params}},
    }
    recipe = make_recipe(content, "test", default_registry())
    torch.manual_seed(0)
    return build_model(recipe, expected_problem(recipe)[0]).eval()


def given(lengths: Mapping[str, int] = LENGTHS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(3, length, 7, generator=generator) for name, length in lengths.items()}


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_a_sample_may_lack_modalities(name: str) -> None:
    model, values = made(name), given()
    masks = {name: torch.ones(3, length, dtype=torch.bool) for name, length in LENGTHS.items()}
    masks["audio"][1] = False
    masks["text"][2] = masks["vision"][2] = False

    def answer(**changed: float) -> Tensor:
        filled = {m: x.masked_fill(~masks[m][..., None], changed.get(m, 0.0)) for m, x in values.items()}
        return model(Batch({m: Signal(x, masks[m]) for m, x in filled.items()}))

    outputs = answer()
    assert outputs.isfinite().all()
    assert torch.equal(answer(audio=float("nan"), text=5.0, vision=-5.0), outputs)
    assert not torch.allclose(outputs[1:], model(values)[1:])


@torch.no_grad()
def test_hhmpn_leaves_an_absent_modality_out_of_the_sum() -> None:
    model, values = made("hhmpn"), given()
    assert isinstance(model, HHMPN)
    masks = {name: torch.ones(3, length, dtype=torch.bool) for name, length in LENGTHS.items()}
    masks["audio"][:] = False
    batch = Batch({m: Signal(x, masks[m]) for m, x in values.items()})
    before = model(batch)
    for each in model.angles["audio"].parameters():
        each.add_(1.0)
    torch.testing.assert_close(model(batch), before)


@pytest.mark.parametrize("names", [("text",), ("text", "vision")])
@pytest.mark.parametrize("name", SMALL)
def test_any_number_of_modalities(name: str, names: tuple[str, ...]) -> None:
    lengths = {each: LENGTHS[each] for each in names}
    outputs = made(name, lengths)(given(lengths))
    assert outputs.shape == (3, 3)
    outputs.sum().backward()


def test_misa_has_no_terms_of_pairs_for_a_sample_alone() -> None:
    model = made("misa").train()
    model({name: x[:1] for name, x in given().items()})
    terms = model.losses(torch.zeros(1, 3))
    assert terms["difference"] == 0
    assert float(terms["similarity"].detach()) > 0
    sum(terms.values(), torch.zeros(())).backward()
    assert all(each.grad is None or bool(each.grad.isfinite().all()) for each in model.parameters())


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises((DataError, UserError), match="lengths differ: text 5, audio 3, vision 4; set it to own"):
        made("hhmpn", streams="exchanged")
    with pytest.raises((DataError, UserError), match="the data has no modality 'speech'; there are: text"):
        made("mult", context="speech")
    model = made("hhmpn", dict.fromkeys(LENGTHS, 4), streams="exchanged")
    with pytest.raises(DataError, match="vision has 5 rows and text 4"):
        model(given({"text": 4, "audio": 4, "vision": 5}))
