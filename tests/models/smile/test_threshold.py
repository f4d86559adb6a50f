"""Threshold policies, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neurozoo.core.multimodal import Layout, Tokens
from neurozoo.errors import SpikingError
from neurozoo.models.smile.threshold import Constant, CrossEntropyRatio, Disagreement, disagreement
from neurozoo.nn.sequence import tokens


def sequence(rows: list[list[list[float]]], mask: list[list[int]] | None = None) -> Tokens:
    return tokens(torch.tensor(rows), None if mask is None else torch.tensor(mask, dtype=torch.bool))


def test_constant(layout: Callable[..., Layout]) -> None:
    assert float(Constant(layout(), value=0.7)({})) == pytest.approx(0.7)


def test_cross_entropy_ratio_by_hand(layout: Callable[..., Layout]) -> None:
    policy = CrossEntropyRatio(layout())
    audio = sequence([[[0.0, 0.0]], [[math.log(3.0), 0.0]]])
    vision = sequence([[[1.0, 0.0]], [[0.0, 1.0]]])
    # -ln(1/2) and -ln(1/4), their mean; and CE_0 = 1.
    entropy = (math.log(2) + math.log(4)) / 2
    assert float(policy({"audio": audio, "vision": vision})) == pytest.approx(entropy)
    assert float(policy({"audio": audio, "vision": vision})) == pytest.approx(1.0)
    policy.eval()
    other = sequence([[[0.0, 0.0]], [[0.0, 0.0]]])
    assert float(policy({"audio": other, "vision": vision})) == pytest.approx(math.log(2) / entropy)
    assert float(policy.previous) == pytest.approx(math.log(2))


def test_cross_entropy_ratio_leaves_padding_out(layout: Callable[..., Layout]) -> None:
    policy = CrossEntropyRatio(layout())
    audio = sequence([[[0.0, 0.0], [99.0, 0.0]]], [[1, 0]])
    vision = sequence([[[0.0, 1.0], [0.0, 5.0]]], [[1, 0]])
    assert float(policy({"audio": audio, "vision": vision})) == pytest.approx(math.log(2))


def test_cross_entropy_ratio_needs_two_modalities(layout: Callable[..., Layout]) -> None:
    with pytest.raises(SpikingError, match=r"compares two spiking modalities, and there is audio; name a second one"):
        CrossEntropyRatio(layout(primary=("audio",)))


def test_disagreement_by_hand() -> None:
    a = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 2.0], [5.0, 0.0, 0.0]]])
    b = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 0.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    p = torch.softmax(F.layer_norm(a, (3,)), -1)[0, 0].double()
    q = torch.softmax(F.layer_norm(b, (3,)), -1)[0, 0].double()
    m = (p + q) / 2
    divergence = float(((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2)
    total, count = disagreement([tokens(a, mask), tokens(b, mask)])
    assert count.tolist() == [2.0]
    assert float(total) == pytest.approx(divergence, rel=1e-5)  # the second position agrees


def test_disagreement_is_bounded() -> None:
    torch.manual_seed(0)
    a, b = (tokens(1e4 * torch.randn(2, 5, 6), None) for _ in range(2))
    total, count = disagreement([a, b])
    assert (total / count <= math.log(2) + 1e-6).all()
    assert (disagreement([a, a])[0] == 0).all()


def test_one_modality_is_compared_with_its_neighbours() -> None:
    x = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    total, count = disagreement([tokens(x, torch.tensor([[True, True, False]]))])
    pair, _ = disagreement([tokens(x[:, :1], None), tokens(x[:, 1:2], None)])
    assert count.tolist() == [1.0]
    torch.testing.assert_close(total, pair)
    assert disagreement([tokens(x[:, :1], None)])[1].tolist() == [0.0]


def test_three_modalities_give_the_mean_over_pairs() -> None:
    torch.manual_seed(1)
    a, b, c = (tokens(torch.randn(2, 3, 4), None) for _ in range(3))
    total, count = disagreement([a, b, c])
    each = [disagreement([x, y])[0] for x, y in ((a, b), (a, c), (b, c))]
    torch.testing.assert_close(total, sum(each) / 3)
    assert count.tolist() == [3.0, 3.0]
    # Each pair counts the same, whatever its length.
    long = tokens(torch.randn(2, 9, 4), None)
    total, count = disagreement([long, a, b])
    means = [s / n for s, n in (disagreement([x, y]) for x, y in ((long, a), (long, b), (a, b)))]
    torch.testing.assert_close(total / count, sum(means) / 3)


def projections(samples: int = 6, seed: int = 0) -> dict[str, Tokens]:
    generator = torch.Generator().manual_seed(seed)
    return {name: tokens(torch.randn(samples, 4, 5, generator=generator), None) for name in ("audio", "vision")}


def test_a_threshold_for_each_sample_by_hand(layout: Callable[..., Layout]) -> None:
    policy = Disagreement(layout(), kappa=0.3, xi_0=2.0, n0=8.0)
    given = projections()
    threshold = policy(given)
    total, count = (x.double() for x in disagreement(list(given.values())))
    usual = total.sum() / count.sum()
    log = ((total + 8 * usual) / (count + 8) + 1e-8).log()
    z = (log - log.mean()) / log.std(unbiased=False)
    torch.testing.assert_close(threshold, (2.0 * (0.3 * z.tanh()).exp()).float(), rtol=1e-4, atol=1e-5)
    assert threshold.shape == (6,)


def test_statistics_run_in_training_alone(layout: Callable[..., Layout]) -> None:
    policy = Disagreement(layout())
    policy(projections())
    before = {k: v.clone() for k, v in policy.state_dict().items()}
    policy.eval()
    policy(projections(seed=1))
    assert all(torch.equal(before[k], v) for k, v in policy.state_dict().items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::torch")  # Dynamo meets its own deprecated ways
def test_compiled_training_has_the_same_thresholds(layout: Callable[..., Layout]) -> None:
    plain, compiled = Disagreement(layout()), Disagreement(layout())
    torch.compiler.reset()
    try:
        # As for generated code, but without any; "eager" would show less.
        traced = torch.compile(compiled, backend="aot_eager", fullgraph=True)
        for seed in range(3):
            given = projections(seed)
            torch.testing.assert_close(traced(given), plain(given), rtol=1e-6, atol=0)
    finally:
        torch.compiler.reset()
    assert compiled.mean_log.weight == plain.mean_log.weight > 0


def test_before_training_and_without_positions_the_threshold_is_xi_0(layout: Callable[..., Layout]) -> None:
    policy = Disagreement(layout(), xi_0=1.5).eval()
    assert policy(projections()).tolist() == [1.5] * 6
    policy.train()
    x = torch.randn(3, 4, 5)
    mask = torch.tensor([[True] * 4, [False] * 4, [True] * 4])
    threshold = policy({"audio": tokens(x, mask), "vision": tokens(x.flip(0), mask)})
    assert threshold[1] == 1.5


def test_kappa_learns_within_its_limits(layout: Callable[..., Layout]) -> None:
    policy = Disagreement(layout(), kappa=0.1)
    policy(projections()).square().sum().backward()
    assert policy.kappa.grad is not None
    assert policy.kappa.grad.abs() > 0
    with torch.no_grad():
        policy.kappa.fill_(9.0)
    threshold = policy(projections())
    assert threshold.min() >= 0.5
    assert threshold.max() <= 2.0
    assert float(policy.report()["kappa"]) == pytest.approx(math.log(2))
    policy.kappa.grad = None
    threshold.square().sum().backward()
    assert policy.kappa.grad is not None
    assert policy.kappa.grad.abs() > 0  # so that it can come back


def test_no_gradient_reaches_the_projections(layout: Callable[..., Layout]) -> None:
    x = torch.randn(3, 4, 5, requires_grad=True)
    policy = Disagreement(layout())
    policy({"audio": tokens(x, None), "vision": tokens(torch.randn(3, 4, 5), None)}).sum().backward()
    assert x.grad is None


def test_a_threshold_that_is_not_finite_is_refused(layout: Callable[..., Layout]) -> None:
    broken = {name: tokens(torch.full((2, 3, 4), float("inf")), None) for name in ("audio", "vision")}
    with pytest.raises(SpikingError, match=r"not finite: the cross-entropy.*neurozoo data info"):
        CrossEntropyRatio(layout())(broken)


def test_a_small_spread_of_disagreements_is_not_lost_in_rounding(layout: Callable[..., Layout]) -> None:
    torch.manual_seed(0)
    first = torch.randn(64, 12, 10)
    sequences = [tokens(first, None), tokens(first.flip(2) + 0.01 * torch.randn_like(first), None)]
    total, count = disagreement(sequences)
    policy = Disagreement(layout(), kappa=0.5, n0=1000.0)
    found = policy({"audio": sequences[0], "vision": sequences[1]})

    log = np.log((total.numpy() + 1000 * (total.sum() / count.sum()).item()) / (count.numpy() + 1000) + 1e-8)
    assert log.std() < 0.01
    expected = np.exp(0.5 * np.tanh((log - log.mean()) / log.std()))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=2e-6)
