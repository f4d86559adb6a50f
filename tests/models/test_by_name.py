"""Models by name: what cannot be built or called is refused by its name, and the rest is a module like others."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neurozoo
from neurozoo.core.model import Model, trained_modules
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import DataError, UserError

SEQUENCE: dict[str, Any] = {"inputs": (5,), "length": 4, "outputs": 3}
SIZES: dict[str, dict[str, Any]] = {
    "spikformer": {"inputs": (1, 9, 7), "width": 16, "heads": 2, "depth": 1},
    "qkformer": {"inputs": (1, 9, 7), "width": 16, "heads": 2, "depth": 1},
    "spike-driven-transformer": {"inputs": (1, 9, 7), "width": 16, "heads": 2, "depth": 1},
    "sew-resnet": {"inputs": (1, 9, 7), "width": 4, "blocks": (1, 1)},
    "sew-resnet-events": {"inputs": (1, 9, 7), "channels": (4, 4)},
    "plif-net": {"inputs": (1, 9, 7), "channels": (4, 4)},
    "sparch": {"inputs": (5,), "hidden": (6,)},
    "dcls-delays": {"inputs": (5,), "hidden": (6,), "kernel": 3},
    "cuba-rsnn": {"inputs": (5,), "hidden": 6},
    "lsnn": {"inputs": (5,), "regular": 3, "adaptive": 3},
    "spikegpt": {"inputs": (), "width": 8, "depth": 2, "vocabulary": 11},
    "ispikformer": {"inputs": (3,), "width": 8, "heads": 2, "depth": 1, "answer": "pooled"},
}


def created(name: str, **others: Any) -> Model:
    torch.manual_seed(0)
    return neurozoo.create_model(name, **{"outputs": 3, "length": 3, **SIZES[name], **others})


def values(name: str, batch: int = 2) -> Tensor:
    shape = (batch, 3, *SIZES[name]["inputs"])
    generator = torch.Generator().manual_seed(1)
    if name == "spikegpt":
        return torch.randint(0, 11, shape, generator=generator)
    return 2 * torch.rand(shape, generator=generator)


def outputs(model: Model, x: Any) -> Tensor:
    torch.manual_seed(3)  # of random initial states
    return model(x)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"length": 0}, "sparch: length is 0; give a whole number from 1"),
        ({"length": True}, "length is True"),
        ({"length": 1.5}, "length is 1.5"),
        ({"outputs": 0}, "outputs is 0"),
        ({"outputs": 2.0}, "outputs is 2.0"),
        ({"outputs": "ab"}, "outputs is 'ab'; give a number, or a list of names"),
        ({"outputs": []}, "task.outputs: it is empty"),
        ({"outputs": ["a", "a"]}, "'a' is named 2 times"),
        ({"outputs": ["a", 1]}, "task.outputs.1: found the number 1; give text"),
        ({"inputs": 5.0}, "inputs is 5.0; give the axes of a position"),
        ({"inputs": True}, "inputs is True"),
        ({"inputs": "5"}, "inputs is '5'"),
        ({"inputs": (0,)}, "inputs is 0"),
        ({"inputs": (2.0,)}, "inputs is 2.0"),
        ({"inputs": {}}, "inputs names no signal"),
        ({"inputs": {"a": 5.0}}, r"inputs\['a'\] is 5"),
        ({"task": ""}, "task.name: it is empty"),
        ({"task": 1}, "task.name: found the number 1; give text"),
        ({"per_step": "yes"}, "task.per_step: found the text 'yes'; give true or false"),
        ({"neuron": 1}, "neuron is 1; give a name"),
        ({"neuron": {}}, "needs the key 'name'"),
        ({"neuron": {"name": "lif", "params": {"tau": float("nan")}}}, "neuron cannot be in a recipe"),
        ({"neuron": {"name": "adlif", "params": {"tau": [5, 1]}}}, "params.tau: the range begins at 5 and ends at 1"),
        ({"neuron": {"name": "adlif", "params": {"tau": [0, 0]}}}, "a time constant of 0 steps is none"),
        ({"neuron": {"name": "adlif", "params": {"jump": [2, 0]}}}, "params.jump: the range begins at 2 and ends at 0"),
        ({"backend": None}, "backend: found null; give text"),
        ({"dropout": float("inf")}, "sparch: dropout cannot be in a recipe"),
        ({"dropout": torch.tensor(0.5)}, r"dropout cannot be in a recipe \(it holds a Tensor\)"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused_by_name(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        neurozoo.create_model("sparch", **{**SEQUENCE, **given})
    assert caught.value.exit_status == 2
    assert ".yaml" not in str(caught.value)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(UserError, match="the name of a model is text, and 1 is a int"):
        neurozoo.create_model(1)  # type: ignore[arg-type]


def test_a_number_of_inputs_is_that_of_features() -> None:
    model = neurozoo.create_model("cuba-rsnn", inputs=5, outputs=3, length=3, hidden=6)
    assert next(iter(model.problem.signals.values())).shape == (5,)


def test_numbers_of_numpy_are_numbers() -> None:
    model = neurozoo.create_model(
        "sparch", inputs=np.array([5]), outputs=np.int64(3), length=np.int32(4), hidden=(np.int64(6),)
    )
    assert model(torch.rand(2, 4, 5)).shape == (2, 3)


def test_a_window_of_one_position_is_refused() -> None:
    with pytest.raises(DataError, match="a window of one position of input is 0 once standardised"):
        created("ispikformer", length=1)


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (np.zeros((2, 3, 5), np.float32), "found a ndarray; give a torch tensor"),
        (None, "found a NoneType"),
        ({"input": np.zeros((2, 3, 5), np.float32)}, "the signal 'input' is a ndarray"),
        (torch.zeros(2, 3, 5).to_sparse(), "the signal 'input' is a torch.float32 torch.sparse_coo"),
        (torch.zeros(2, 3, 5, dtype=torch.complex64), "the signal 'input' is a torch.complex64"),
        (torch.zeros(2, 0, 5), "has no positions"),
        (torch.zeros(3, 5), r"the signal 'input' is \[3, 5\]"),
        ({"other": torch.zeros(2, 3, 5)}, "the signal 'input' is missing"),
    ],
    ids=lambda each: str(type(each)) if not isinstance(each, str) else each[:12],
)
def test_what_a_model_cannot_read_is_refused(x: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        created("sparch")(x)


def test_several_frames_are_no_picture() -> None:
    with pytest.raises(DataError, match="input has 3 positions, and the model takes pictures, which have one"):
        created("spikformer", length=1)(values("spikformer"))


def test_a_longer_window_than_the_models_is_refused_and_longer_padding_is_not() -> None:
    model = created("ispikformer").eval()
    x = values("ispikformer")
    longer = torch.cat((x, torch.ones_like(x)), 1)
    with pytest.raises(DataError, match="input has 6 positions, and the model reads a window of 3"):
        model(longer)
    valid = torch.arange(6).expand(2, 6) < 3
    torch.testing.assert_close(model(Batch({"input": Signal(longer, valid)})), model(x))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.bool])
def test_tokens_are_whole_numbers_of_any_dtype(dtype: torch.dtype) -> None:
    model = created("spikegpt").eval()
    tokens = (values("spikegpt") % 2).to(dtype)
    torch.testing.assert_close(model(tokens), model(tokens.long()))


def test_tokens_that_are_no_whole_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"input is torch\.float32; tokens are whole numbers"):
        created("spikegpt")(values("spikegpt").float())


@pytest.mark.parametrize("name", SIZES)
class TestAModuleLikeOthers:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int16])
    def test_values_get_the_models_dtype(self, name: str, dtype: torch.dtype) -> None:
        x = values(name).to(dtype)
        x = x.long() if name == "spikegpt" else x
        for model in (created(name).eval(), created(name).double().eval()):
            own = next(model.parameters()).dtype
            torch.testing.assert_close(outputs(model, x), outputs(model, x if name == "spikegpt" else x.to(own)))

    @pytest.mark.parametrize("form", ["corrected", "published"])
    def test_copies_and_pickles_are_equal_also_after_a_training_forward(self, name: str, form: str) -> None:
        model = created(name, form=form)
        model.train()(values(name))
        model.eval()
        expected = outputs(model, values(name))
        model.train()(values(name))
        for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            model.eval()
            assert copied.training
            assert not any(each.losses(torch.tensor([0, 1])) for _, each in trained_modules(copied))
            copied.load_state_dict(model.state_dict())
            state = {key: value.clone() for key, value in model.state_dict().items()}
            fresh = created(name, form=form).eval()
            fresh.load_state_dict(state)
            torch.testing.assert_close(outputs(copied.eval(), values(name)), outputs(fresh, values(name)))
        assert expected.isfinite().all()

    def test_no_samples_have_no_answers(self, name: str) -> None:
        assert created(name).eval()(values(name, batch=0)).shape == (0, 3)

    def test_one_sample_of_one_step_can_be_trained_on(self, name: str) -> None:
        if name == "ispikformer":  # its windows have more positions
            model, x = created(name), values(name, batch=1)
        else:
            one_place = {"inputs": (1, 1, 1)} if name in ("spikformer", "qkformer", "spike-driven-transformer") else {}
            model = created(name, **one_place)
            x = values(name, batch=1)[:, :1, ..., :1, :1] if one_place else values(name, batch=1)[:, :1]
        made = model.train()(x)
        made.square().sum().backward()
        assert made.isfinite().all()
        assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())
        assert all(each.isfinite().all() for each in model.state_dict().values())
