"""Evidence accumulation: where cues are, how often neurons fire, which side is the class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.data.synthetic.evidence import EvidenceSynthetic
from neurozoo.errors import DataError


@pytest.fixture(autouse=True)
def _in_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path))


def drawn(**options: int) -> tuple[Tensor, Tensor]:
    """Spikes by group ``[S, L, 4, group]`` and classes of the training split."""
    data = EvidenceSynthetic(size=64, **options)
    split = data.store().split("train")
    spikes = split.batch(torch.arange(64)).signals["spikes"].values.float()
    return spikes.unflatten(2, (4, data.group)), split.target


def test_its_default_is_the_published_task() -> None:
    store = EvidenceSynthetic(size=4).store()
    assert store.description.signals == {"spikes": SignalShape((40,), 2250, "bool")}
    assert store.description.task.outputs == ("left", "right")
    assert store.description.synthetic


@pytest.mark.parametrize("step", [1, 5, 10])
def test_cues_are_where_they_belong_and_the_side_with_more_is_the_class(step: int) -> None:
    spikes, target = drawn(step=step)
    cue = 100 // step
    by_slot = spikes[:, : 1050 // step].unflatten(1, (7, 150 // step))  # [S, 7, slot, 4, group]
    assert not by_slot[:, :, :-cue, :3].any(), "nothing before the cue of a slot"
    counts = by_slot[:, :, -cue:, :2].sum((2, 4))  # [S, 7, side]
    assert ((counts > 0).sum(2) == 1).all(), "one side in each slot"
    sides = counts.argmax(2)
    assert torch.equal((sides.sum(1) > 3).long(), target)
    assert {0, 1} == set(target.tolist())
    per_second = 1000 / step
    assert counts.sum() / (64 * 7 * cue * 10) * per_second == pytest.approx(40, rel=0.1)
    assert not spikes[:, 1050 // step :, :2].any()
    recall, before = spikes[:, -150 // step :, 2], spikes[:, : -150 // step, 2]
    assert not before.any()
    assert float(recall.mean()) * per_second == pytest.approx(40, rel=0.1)
    assert float(spikes[:, :, 3].mean()) * per_second == pytest.approx(10, rel=0.1)


def test_a_trial_prefers_its_side() -> None:
    spikes, _ = drawn(step=10)
    cues = spikes[:, :105].unflatten(1, (7, 15))[..., :2, :].sum((2, 4)).argmax(2).float().sum(1)
    # Of 7 cues with 0.7 on one side or the other: the variance is larger than that of fair cues, 7/4.
    assert float(cues.var()) > 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cues": 4}, "cues is 4"),
        ({"step": 3}, "step is 3 ms"),
        ({"duration": 1000}, "7 cues and the recall take 1200"),
        ({"rate": 2000.0}, "rate is 2000.0 Hz"),
        ({"noise": -1.0}, "noise is -1.0 Hz"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        EvidenceSynthetic(**options)  # type: ignore[arg-type]
