"""Running means: the first batch sets them, later ones move them."""

from __future__ import annotations

import pytest
import torch

from neurozoo.nn.running import RunningMean


def test_by_hand() -> None:
    mean = RunningMean(momentum=0.5, initial=7.0)
    assert float(mean.value) == 7.0
    mean.update(torch.tensor(8.0), torch.tensor(2.0))
    assert float(mean.value) == 4.0
    # Weights 1/4 and 1/2, corrected: (0.25 * 4 + 0.5 * 10) / 0.75.
    mean.update(torch.tensor(10.0), torch.tensor(1.0))
    assert float(mean.value) == pytest.approx(8.0)


def test_a_batch_without_samples_changes_nothing() -> None:
    mean = RunningMean((2,), momentum=0.5)
    mean.update(torch.tensor([1.0, 2.0]), torch.tensor(1.0))
    mean.update(torch.zeros(2), torch.tensor(0.0))
    assert mean.value.tolist() == [1.0, 2.0]


def test_it_is_part_of_the_checkpoint() -> None:
    mean, other = RunningMean((2,)), RunningMean((2,))
    mean.update(torch.tensor([3.0, 4.0]), torch.tensor(1))
    other.load_state_dict(mean.state_dict())
    assert torch.equal(other.value, mean.value)


def test_a_checkpoint_brings_its_precision() -> None:
    old, new = RunningMean(dtype=torch.float32), RunningMean(dtype=torch.float64)
    old.update(torch.tensor(1.0), torch.tensor(3.0))
    new.load_state_dict(old.state_dict())
    assert new.total.dtype is new.weight.dtype is torch.float32
    new.update(torch.tensor(1.0, dtype=torch.float64), torch.tensor(7.0, dtype=torch.float64))
    old.update(torch.tensor(1.0), torch.tensor(7.0))
    assert torch.equal(new.value, old.value)


@pytest.mark.filterwarnings("ignore:::torch")  # Dynamo meets its own deprecated ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_code_keeps_the_updates(dtype: torch.dtype) -> None:
    def step(mean: RunningMean, x: torch.Tensor) -> torch.Tensor:
        mean.update(x.sum(), x.new_tensor(4.0))
        return x * mean.value

    plain, compiled = RunningMean(momentum=0.5, dtype=dtype), RunningMean(momentum=0.5, dtype=dtype)
    torch.compiler.reset()
    try:
        traced = torch.compile(step, backend="aot_eager", fullgraph=True)  # "eager" shows less, inductor takes longer
        for x in torch.arange(12.0).view(3, 4):
            assert torch.equal(traced(compiled, x), step(plain, x))
    finally:
        torch.compiler.reset()
    assert torch.equal(compiled.total, plain.total)
    assert compiled.weight == plain.weight == 0.875
