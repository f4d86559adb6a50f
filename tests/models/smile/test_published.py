"""The published preset gives the published code's numbers, on every backend installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch
from neurozoo.errors import CheckpointError
from neurozoo.models.authors_weights import load_authors_weights
from neurozoo.models.smile.authors_names import AUTHORS_NAMES, BLOCKS
from neurozoo.models.smile.model import SMILE
from neurozoo.registry.registry import default_registry
from neurozoo.tasks.multilabel import Multilabel

GOLDEN = Path(__file__).parents[2] / "golden" / "smile_reference.safetensors"
BACKENDS = {name: each.exact for name, each in default_registry().components("neuron").items() if not each.native}
TASK = Multilabel(("happy", "sad", "anger", "surprise", "disgust", "fear"), label_smoothing=0.2)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN)


@pytest.fixture
def published(smile: Callable[..., SMILE], golden: dict[str, Tensor]) -> Callable[[str], SMILE]:
    def make(backend: str) -> SMILE:
        model = smile(
            {"text": 300, "audio": 74, "vision": 35},
            ("audio", "vision"),
            "text",
            labels=6,
            parts={"threshold": "cross-entropy-ratio", "scaling": "batch-softmax"},
            part_params={"head": {"dropout_at": "logits"}},
            padding="visible",
            backend=backend,
        )
        weights = {k.removeprefix("weights/"): v for k, v in golden.items() if k.startswith("weights/")}
        assert load_authors_weights(model, weights).left == {}
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return model

    return make


def batch_of(golden: dict[str, Tensor], k: int) -> Batch:
    return Batch.of({m: golden[f"batch{k}/{m}"] for m in ("text", "audio", "vision")}, {}, golden[f"batch{k}/labels"])


def test_the_torch_backend_is_among_those_tested() -> None:
    assert "torch" in BACKENDS


def test_live_parameters(published: Callable[[str], SMILE]) -> None:
    assert sum(p.numel() for p in published("torch").parameters()) == 175_233


@pytest.mark.parametrize("backend", BACKENDS)
def test_forward(published: Callable[[str], SMILE], golden: dict[str, Tensor], backend: str) -> None:
    model = published(backend)
    activations: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: activations.__setitem__(name, getattr(output, "x", output))

    for theirs, ours in BLOCKS.items():
        model.get_submodule(ours).register_forward_hook(keep(theirs))
    model.get_submodule("head.output_norm").register_forward_hook(keep("decoder"))
    thresholds: list[Tensor] = []
    model.threshold.register_forward_hook(lambda _m, _i, level: thresholds.append(level))

    for k in (1, 2):
        batch = batch_of(golden, k)
        with recorded(model) as firings:
            logits = model(batch)
        torch.testing.assert_close(thresholds[-1].double()[None], golden[f"batch{k}/threshold"], rtol=1e-6, atol=0)
        entropy = model.threshold.report()["cross_entropy"].double()[None]
        torch.testing.assert_close(entropy, golden[f"batch{k}/cross_entropy"], rtol=1e-6, atol=0)
        for theirs, name in (("snna", "audio"), ("snnv", "vision")):
            fired = firings[f"branches.{name}.second"].spikes
            # Exact for every backend: no membrane of these batches is within rounding of the threshold.
            assert torch.equal(fired.to(torch.uint8), golden[f"batch{k}/spikes/{theirs}"])
            assert (fired.mean() > 0.1) == (k == 2)
        assert len(activations) == 12
        for name, activation in activations.items():
            torch.testing.assert_close(activation, golden[f"batch{k}/act/{name}"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.sigmoid(logits), golden[f"batch{k}/probs"], rtol=1e-6, atol=1e-6)
        loss = TASK.loss(logits, golden[f"batch{k}/labels"])
        torch.testing.assert_close(loss[None], golden[f"batch{k}/loss"], rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients(published: Callable[[str], SMILE], golden: dict[str, Tensor], backend: str) -> None:
    model = published(backend)
    model(batch_of(golden, 1))
    TASK.loss(model(batch_of(golden, 2)), golden["batch2/labels"]).backward()
    parameters = dict(model.named_parameters())
    tolerance = 1e-5 if BACKENDS[backend] else 1e-4
    compared = 0
    for key, expected in golden.items():
        if not key.startswith("batch2/grad/"):
            continue
        name = AUTHORS_NAMES.here(key.removeprefix("batch2/grad/"))
        assert name is not None
        found = parameters[name].grad
        assert found is not None
        # A bias on the keys shifts every score of a softmax alike: its gradient is 0 but for
        # rounding, which the floor of 1e-9 (the others' largest are 1e-4 to 1) lets pass.
        limit = tolerance * expected.abs().max() + 1e-9
        assert (found.reshape(expected.shape) - expected).abs().max() <= limit, name
        compared += 1
    assert compared == len(parameters)


@pytest.mark.parametrize("backend", BACKENDS)
def test_eight_training_steps(published: Callable[[str], SMILE], golden: dict[str, Tensor], backend: str) -> None:
    model = published(backend)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses, thresholds = [], []
    model.threshold.register_forward_hook(lambda _m, _i, level: thresholds.append(float(level)))
    for step in range(8):
        batch = batch_of(golden, 1 + step % 2)
        assert batch.target is not None
        loss = TASK.loss(model(batch), batch.target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.8)
        optimizer.step()
        losses.append(loss.item())
    torch.testing.assert_close(torch.tensor(losses).double(), golden["train/losses"], rtol=1e-5, atol=0)
    torch.testing.assert_close(torch.tensor(thresholds).double(), golden["train/thresholds"], rtol=1e-5, atol=0)


def test_a_prediction_depends_on_its_batch(published: Callable[[str], SMILE], golden: dict[str, Tensor]) -> None:
    """As published, and the reason for the corrected preset."""
    model = published("torch").eval()
    both = batch_of(golden, 2)
    first = Batch.of({m: signal.values[:1] for m, signal in both.signals.items()}, {})
    model.threshold.previous.fill_(4.0)
    together = torch.sigmoid(model(both))[:1]
    model.threshold.previous.fill_(4.0)
    alone = torch.sigmoid(model(first))
    assert (together - alone).abs().max() > 1e-6


def test_an_unknown_name_is_refused(smile: Callable[..., SMILE]) -> None:
    with pytest.raises(CheckpointError, match=r"'encoder.weight' is no tensor of the published SMILE"):
        load_authors_weights(smile({"text": 4, "audio": 3}, ("audio",), "text"), {"encoder.weight": torch.zeros(1)})
