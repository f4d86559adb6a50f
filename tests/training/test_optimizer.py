"""The recipe's optimiser is torch's, without what torch imports for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from neurozoo.core.shapes import SignalShape
from neurozoo.models.build import build_model, make_problem
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.training.optimizer import make_optimizer

KINDS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


@pytest.mark.parametrize("name", KINDS)
def test_it_steps_as_torch_s_does(name: str, recipe: Callable[..., Recipe]) -> None:
    checked = recipe(f"training.optimizer.name={name}", "training.optimizer.weight_decay=0.01")
    signals = {name: SignalShape((dim,), 5) for name, dim in {"text": 4, "audio": 3, "vision": 2}.items()}
    model = build_model(checked, make_problem(checked, signals, ("a", "b", "c")))
    models = [model, deepcopy(model)]
    ours = make_optimizer(checked, models[0])
    theirs = KINDS[name](models[1].parameters(), lr=checked.training.optimizer.lr, weight_decay=0.01)
    assert isinstance(ours, KINDS[name])
    heard = []
    ours.register_step_post_hook(lambda *_: heard.append(1))
    scheduler = torch.optim.lr_scheduler.LambdaLR(ours, lambda epoch: 1.0)
    for seed in range(3):
        for model, optimizer in zip(models, (ours, theirs), strict=True):
            torch.manual_seed(seed)
            optimizer.zero_grad()
            torch.stack([(p * torch.randn_like(p)).sum() for p in model.parameters()]).sum().backward()
            optimizer.step()
        scheduler.step()
        ours.load_state_dict(ours.state_dict())
    assert len(heard) == 3
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)
        assert one.requires_grad
        assert one.grad_fn is None


@pytest.mark.parametrize(
    "backend", [name for name in ("torch", "numba") if name in default_registry().usable_backends()]
)
def test_a_training_does_without_torch_compile_and_lightning_fabric(backend: str, tmp_path: Path) -> None:
    heavy = ["torch._dynamo", "lightning_fabric", "torchmetrics"]
    code = (
        "import sys\n"
        "from neurozoo.cli import main\n"
        "from neurozoo.training.step import Stepper\n"
        "step = Stepper.step\n"
        "def stepped(self):\n"
        "    step(self)\n"
        f"    print('a step is done', *[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
        "    sys.exit(1)\n"
        "Stepper.step = stepped\n"
        "main(sys.argv[1:])\n"
    )
    sizes = ["data.instead.params.size=16", "training.batch_size=4", "model.params.hidden=10", "model.params.heads=5"]
    command = ["train", "smile_mosei", "--backend", backend, *sizes, "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "a step is done"
