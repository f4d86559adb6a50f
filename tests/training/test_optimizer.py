"""The recipe's optimiser is torch's, without what torch imports for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from neurozoo.core.model import Model
from neurozoo.core.roles import parameter_roles
from neurozoo.core.shapes import SignalShape
from neurozoo.errors import RecipeError, UserError
from neurozoo.models.build import build_model, make_problem
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.training.bert_adam import BertAdam
from neurozoo.training.lamb import Lamb
from neurozoo.training.optimizer import FUSED, make_optimizer

KINDS = {
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "bert-adam": BertAdam,
    "lamb": Lamb,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


OPTIONS = {
    "adam": {"betas": (0.8, 0.99), "eps": 1e-6},
    "adamax": {"betas": (0.9, 0.995)},
    "adamw": {"eps": 4e-9},
    "bert-adam": {"betas": (0.8, 0.99), "eps": 1e-5},
    "lamb": {"betas": (0.8, 0.99)},
    "sgd": {"momentum": 0.9, "nesterov": True},
}


def built(recipe: Recipe) -> Model:
    signals = {name: SignalShape((dim,), 5) for name, dim in {"text": 4, "audio": 3, "vision": 2}.items()}
    return build_model(recipe, make_problem(recipe, signals, ("a", "b", "c")))


@pytest.mark.parametrize("with_options", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_it_steps_as_torch_s_does(name: str, with_options: bool, recipe: Callable[..., Recipe]) -> None:
    options = OPTIONS.get(name, {}) if with_options else {}
    lines = [f"training.optimizer.{key}={json.dumps(value)}" for key, value in options.items()]
    checked = recipe(f"training.optimizer.name={name}", "training.optimizer.weight_decay=0.01", *lines)
    model = built(checked)
    models = [model, deepcopy(model)]
    ours = make_optimizer(checked, models[0])
    step = {"fused": True} if name in FUSED else {}
    theirs = KINDS[name](models[1].parameters(), lr=checked.training.optimizer.lr, weight_decay=0.01, **options, **step)
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


def test_groups_take_the_parameters_of_their_roles(recipe: Callable[..., Recipe]) -> None:
    groups = "{norm: {weight_decay: 0}, bias: {lr: 1}}"
    checked = recipe(f"training.optimizer={{name: adamw, lr: 0.01, weight_decay: 0.1, groups: {groups}}}")
    model = built(checked)
    others, norms, biases = make_optimizer(checked, model).param_groups
    named, roles = dict(model.named_parameters()), parameter_roles(model)
    for group, role in ((norms, "norm"), (biases, "bias")):
        assert group["role"] == role
        assert [id(each) for each in group["params"]] == [id(named[name]) for name in named if roles[name] == role]
    assert "role" not in others
    assert sum(len(group["params"]) for group in (others, norms, biases)) == len(named)
    rates = [(group["lr"], group["weight_decay"]) for group in (others, norms, biases)]
    assert rates == [(0.01, 0.1), (0.01, 0.0), (1.0, 0.1)]


def test_a_role_that_no_parameter_has_is_refused(recipe: Callable[..., Recipe]) -> None:
    checked = recipe("training.optimizer.groups={delay: {lr: 0.1}}")
    with pytest.raises(
        UserError, match=r"no parameter of SMILE has the role delay; its roles are: bias, .*norm, .*weight"
    ):
        make_optimizer(checked, built(checked))


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ("{name: sgd, betas: [0.9, 0.99]}", "sgd has none"),
        ("{name: sgd, nesterov: true}", "only sgd with momentum"),
        ("{name: sgd, eps: 1.0e-8}", "sgd has none"),
        ("{name: adam, betas: [0.9, 1.0]}", "1.0 is too large; give less than 1"),
        ("{name: adam, groups: {norm: {momentum: 0.9}}}", "groups.norm has no key 'momentum'"),
        ("{name: adam, groups: {norm: {scheduler: {name: plateau}}}}", "a group cannot have a plateau"),
    ],
)
def test_options_that_do_not_fit(optimizer: str, said: str, recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(f"training.optimizer={optimizer}")


def test_bert_adam_by_hand() -> None:
    x, y = torch.nn.Parameter(torch.tensor([3.0, 4.0])), torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = BertAdam([x, y], lr=0.1, betas=(0.5, 0.75), eps=1.0, weight_decay=0.1)
    x.grad, y.grad = torch.tensor([6.0, 8.0]), torch.tensor([0.5])
    optimizer.step()
    # x's gradient has the norm 10, and is clipped to 0.6, 0.8; y's is not.
    want = [3 - 0.1 * (0.3 / (0.3 + 1) + 0.3), 4 - 0.1 * (0.4 / (0.4 + 1) + 0.4)]
    torch.testing.assert_close(x.detach(), torch.tensor(want))
    torch.testing.assert_close(y.detach(), torch.tensor([1 - 0.1 * (0.25 / (0.25 + 1) + 0.1)]))
    before = y.detach().clone()
    x.grad = None
    optimizer.step()  # again 0.5: m = 0.375, v = 0.109375, no correction of either
    root = 0.109375**0.5
    torch.testing.assert_close(y.detach(), before - 0.1 * (0.375 / (root + 1) + 0.1 * before))
    torch.testing.assert_close(x.detach(), torch.tensor(want))


def test_lamb_by_hand() -> None:
    """x = (3, 4), gradients (1, -1) and (0, 2), lr 0.1, betas 0.5 and 0.5, decay 0.1, eps 1."""
    x = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    optimizer = Lamb([x], lr=0.1, betas=(0.5, 0.5), eps=1.0, weight_decay=0.1)
    x.grad = torch.tensor([1.0, -1.0], dtype=torch.float64)
    optimizer.step()
    # The corrected moments are the gradient and its square: u = (1 / 2 + 0.3, -1 / 2 + 0.4).
    u = torch.tensor([0.8, -0.1], dtype=torch.float64)
    first = torch.tensor([3.0, 4.0], dtype=torch.float64) - 0.1 * 5.0 / 0.65**0.5 * u
    torch.testing.assert_close(x.detach(), first, rtol=1e-12, atol=0)
    x.grad = torch.tensor([0.0, 2.0], dtype=torch.float64)
    optimizer.step()
    # m = (0.25, 0.75) / 0.75, v = (0.25, 2.25) / 0.75.
    m, v = torch.tensor([1 / 3, 1.0], dtype=torch.float64), torch.tensor([1 / 3, 3.0], dtype=torch.float64)
    u = m / (v.sqrt() + 1) + 0.1 * first
    torch.testing.assert_close(x.detach(), first - 0.1 * first.norm() / u.norm() * u, rtol=1e-12, atol=0)


def test_lamb_moves_a_tensor_of_zeros_and_leaves_one_without_gradient() -> None:
    zeros, other = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.ones(2))
    zeros.grad = torch.tensor([2.0, -2.0])
    Lamb([zeros, other], lr=0.1, eps=1e-12).step()
    torch.testing.assert_close(zeros.detach(), torch.tensor([-0.1, 0.1]))
    assert torch.equal(other.detach(), torch.ones(2))


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
