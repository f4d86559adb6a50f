"""The fast SMILE against its plain form: equal but for rounding, with the same weights under the same names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from neurozoo.bench.plain_smile import PlainSMILE
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import UserError
from neurozoo.models.smile.model import SMILE

PUBLISHED = {
    "activation": "lif",
    "threshold": "cross-entropy-ratio",
    "scaling": "batch-softmax",
    "fusion": "interactive",
    "head": "label-decoder",
}
DIMS = {"text": 7, "audio": 5, "vision": 4}


def batch(samples: int, length: int = 9) -> Batch:
    random = torch.Generator().manual_seed(samples)
    masks = {name: torch.rand(samples, length, generator=random) < 0.8 for name in DIMS}
    features = {
        name: 3 * torch.randn(samples, length, dim, generator=random) * masks[name][..., None]
        for name, dim in DIMS.items()
    }
    return Batch.of(features, masks)


@pytest.mark.parametrize("parts", [None, PUBLISHED], ids=["corrected", "published"])
@pytest.mark.parametrize("arithmetic", ["fast", "plain"])
@pytest.mark.parametrize("samples", [1, 64])
def test_logits_and_gradients(
    parts: dict[str, str] | None, arithmetic: str, samples: int, smile: Callable[..., SMILE]
) -> None:
    padding = "visible" if parts else "masked"
    options = {"dropout": 0.0, "context_dropout": 0.0, "hidden": 30, "heads": 5, "padding": padding}
    model = smile(DIMS, ("audio", "vision"), "text", parts=parts, arithmetic=arithmetic, **options)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.double()
    given = batch(samples)
    given = Batch({name: Signal(x.values.double(), x.valid) for name, x in given.signals.items()})
    state = {name: x.clone() for name, x in model.state_dict().items()}
    outcomes = []
    for form in (model, PlainSMILE(model)):
        model.load_state_dict(state)
        model.zero_grad()
        logits = form(given)
        logits.square().sum().backward()
        outcomes.append([logits, *(x.grad for x in model.parameters() if x.grad is not None)])
    assert len(outcomes[0]) == len(outcomes[1]) > 100
    # A key's bias has no gradient but for rounding: the softmax takes away what all keys have in common.
    largest = max(float(x.detach().abs().max()) for x in outcomes[1])
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-12 * largest)


def test_other_fusions_have_no_plain_form(smile: Callable[..., SMILE]) -> None:
    model = smile(DIMS, ("audio", "vision"), "text", parts={**PUBLISHED, "fusion": "concat"})
    with pytest.raises(UserError, match="written for the fusion 'interactive' only"):
        PlainSMILE(model)


def test_the_names_of_the_weights_are_the_same_either_way(smile: Callable[..., SMILE]) -> None:
    names = [list(smile(DIMS, ("audio", "vision"), "text", arithmetic=each).state_dict()) for each in ("fast", "plain")]
    assert names[0] == names[1]
