"""Streams: steps and events as they come give what the model gives of the whole; what order and gaps mean."""

from __future__ import annotations

import io
import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import neurozoo
from neurozoo.cli.app import app
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Signal
from neurozoo.data.importers.sound_files import resampled
from neurozoo.data.representations.bins import Bins
from neurozoo.errors import DataError, SpikingError
from neurozoo.evaluation.stream_input import of_file
from neurozoo.nn.steps import read_out
from neurozoo.runs.loading import TrainedModel
from neurozoo.runs.stream_parts import Readout
from neurozoo.runs.streaming import Stream


@pytest.fixture(scope="module")
def digits() -> TrainedModel:
    return neurozoo.load("fsdd-small", backend="torch")


def steps(count: int, *shape: int) -> Tensor:
    return (torch.rand(count, *shape, generator=torch.Generator().manual_seed(count)) < 0.1).float()


def events(count: int, seconds: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    return np.round(generator.uniform(0, seconds, count), 4), generator.integers(0, 80, count)


def counted(times: np.ndarray, addresses: np.ndarray, count: int) -> Tensor:
    found = np.zeros((count, 80), np.float32)
    np.add.at(found, (np.floor(np.round(times * 1e4) / 100).astype(int), addresses), 1)
    return torch.from_numpy(found)


@pytest.mark.parametrize("name", ["fsdd-small", "qtdb", "poker-dvs"])
def test_steps_as_they_come_give_the_whole(name: str) -> None:
    trained = neurozoo.load(name, backend="torch")
    ((signal, shape),) = trained.module.problem.signals.items()
    x = steps(9, *shape.shape).to(getattr(torch, shape.dtype))
    whole = trained.predict({signal: x[None]})[0]
    stream = Stream(trained)
    found = torch.cat([stream.push(some) for some in x.split([1, 0, 5, 3])])
    assert found.shape == (9, len(trained.outputs))
    torch.testing.assert_close(found if trained.task.per_step else found[-1], whole, rtol=1e-5, atol=1e-6)
    if not trained.task.per_step:
        torch.testing.assert_close(found[4], trained.predict({signal: x[None, :5]})[0], rtol=1e-5, atol=1e-6)
    assert stream.steps == 9
    assert stream.answer() == stream.answers(found)[-1]


@torch.no_grad()
def made(digits: TrainedModel, size: str, **params: object) -> TrainedModel:
    """A model of a published size with weights that make its neurons fire."""
    torch.manual_seed(1)
    model = neurozoo.create_model(size, **params).eval()
    for name, each in model.named_parameters():
        if each.dim() > 1 and "position" not in name:
            each.mul_(2 if "shd" in size else 25)
    return replace(digits, module=model)


LATE = [
    ("cuba-rsnn-shd", {"hidden": 30}, 3),
    ("cuba-rsnn-shd", {"hidden": 30, "readout": "max-with-start", "task": "multilabel"}, 3),
    ("cuba-rsnn-shd", {"hidden": 30, "readout": "mean", "latency": "kept"}, 0),
    ("cuba-rsnn-braille", {"hidden": 30, "encoder": 3, "encoder_scale": 20, "tau": 5, "encoder_reset": "late"}, 4),
    ("dcls-delays-shd", {"hidden": (24, 16), "kernel": 5}, 6),
    ("dcls-delays-shd", {"hidden": (16,), "kernel": 5, "pool": 1, "evaluated": "smooth", "readout": "max"}, 4),
    ("plif-net-n-mnist", {"channels": (2, 2), "hidden": 16, "head": "votes", "voters": 3}, 0),
    ("plif-net-n-mnist", {"channels": (2, 2), "hidden": 16, "pool": "mean"}, 0),
]


@pytest.mark.parametrize(("size", "params", "behind"), LATE)
def test_models_whose_answer_comes_later(
    digits: TrainedModel, size: str, params: dict[str, object], behind: int
) -> None:
    trained = made(digits, size, **params)
    ((_, shape),) = trained.module.problem.signals.items()
    x = steps(12, *shape.shape) if size != "cuba-rsnn-braille" else torch.randn(12, 4)
    with torch.no_grad():
        whole = [trained.module.problem.task.predict(trained.module(some[None]))[0] for some in (x[:7], x)]
    stream = Stream(trained)
    assert stream.behind == behind
    assert torch.equal(stream.whole(), stream._predict(np.zeros((1, len(whole[0])), np.float32))[0])
    begun = stream.push(x[:7])
    torch.testing.assert_close(stream.whole(), whole[0], rtol=1e-5, atol=1e-6)
    kept = stream.snapshot()
    found = torch.cat([begun, stream.push(x[7:])])
    torch.testing.assert_close(stream.whole(), whole[1], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(whole[0], whole[1], rtol=1e-3, atol=1e-4)  # there was something to compare
    if not behind:
        assert torch.equal(found[-1], stream.whole())
    other = Stream(trained)
    other.restore(kept)
    assert torch.equal(other.push(x[7:]), found[7:])
    other.reset()
    assert torch.equal(other.push(x), found)
    assert torch.equal(other.whole(), stream.whole())


@pytest.mark.parametrize(
    ("size", "params", "behind"),
    [("cuba-rsnn-shd", {"hidden": 30}, 3), ("dcls-delays-shd", {"hidden": (24, 16), "kernel": 5}, 0)],
)
def test_a_task_per_step_is_answered_at_the_step_or_some_later(
    digits: TrainedModel, size: str, params: dict[str, object], behind: int
) -> None:
    trained = made(digits, size, per_step=True, **params)
    x = steps(12, 700)
    with torch.no_grad():
        whole = trained.module.problem.task.predict(trained.module(x[None]))[0]
    stream = Stream(trained)
    found = stream.push(x)
    assert stream.behind == behind
    torch.testing.assert_close(found[behind:], whole[: 12 - behind], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(stream.whole(), whole[-1], rtol=1e-5, atol=1e-6)


def test_a_model_that_answers_by_its_last_steps(digits: TrainedModel) -> None:
    torch.manual_seed(0)
    model = neurozoo.create_model("lsnn-evidence", decision_steps=3).eval()
    x = (torch.rand(1, 12, 40) < 0.2).float()
    trained = replace(digits, module=model)
    found = Stream(trained).push(x[0])
    with torch.no_grad():
        torch.testing.assert_close(found[-1], model.problem.task.predict(model(x))[0], rtol=1e-5, atol=1e-6)
    other = Stream(trained, window=12).push(x[0])
    assert not torch.allclose(other[-1], found[-1])
    with pytest.raises(DataError, match="answers by the last step alone"):
        Stream(neurozoo.load("qtdb", backend="torch"), window=12)
    with pytest.raises(DataError, match="a window of 0 steps"):
        Stream(trained, window=0)


@pytest.mark.parametrize("how", ["mean", "max", "last", "softmax"])
@pytest.mark.parametrize("window", [None, 3])
def test_readouts_in_constant_memory(how: str, window: int | None) -> None:
    outputs = torch.randn(8, 1, 4, generator=torch.Generator().manual_seed(1))
    readout = Readout(how, window, 4)
    for number, each in enumerate(outputs[:, 0].numpy(), start=1):
        some = outputs[:number] if window is None else outputs[max(number - window, 0) : number]
        expected = read_out(some, None, how)[0]  # type: ignore[arg-type]
        torch.testing.assert_close(torch.from_numpy(readout.add(each)), expected)


def test_snapshots_and_streams_do_not_touch_each_other(digits: TrainedModel) -> None:
    x = steps(20, 80)
    first, second = Stream(digits), Stream(digits)
    expected = first.push(x)
    second.push(steps(5, 80) * 3)
    second.reset()
    begun = second.push(x[:8])
    kept = second.snapshot()
    assert torch.equal(torch.cat([begun, second.push(x[8:])]), expected)
    second.push(x)
    second.restore(kept)
    third = Stream(digits)
    third.restore(kept)
    assert (second.steps, third.steps) == (8, 8)
    assert torch.equal(second.push(x[8:]), expected[8:])
    assert torch.equal(third.push(x[8:]), expected[8:])


def test_events_are_counted_as_the_representation_counts_them(digits: TrainedModel) -> None:
    times, addresses = events(300)
    ticks = np.round(times * 1e4).astype(np.int32)
    order = np.argsort(ticks, kind="stable")
    rows = torch.from_numpy(np.stack([ticks[order], addresses[order].astype(np.int32)], 1))
    stored = replace(SignalShape.events((80,), 300, tick=1e-4), span=5_000)
    seen = Bins(step=0.01, valid="event")(Signal(rows[None], torch.ones(1, 300, dtype=torch.bool)), stored)
    expected = Stream(digits).push(seen.values[0])
    stream, found = Stream(digits), []
    for some in np.array_split(np.arange(300)[order], 7):
        shuffled = np.random.default_rng(0).permutation(some)
        found.append(stream.push_events(times[shuffled], addresses[shuffled]))
    found.append(stream.finish())
    assert torch.equal(torch.cat(found), expected)
    assert stream.late == 0


def test_late_equal_and_missing_events(digits: TrainedModel) -> None:
    stream = Stream(digits)
    # Step 0 has an address twice; steps 1 to 3 have nothing; step 4 is open.
    found = stream.push_events(np.array([0.041, 0.003, 0.003]), np.array([5, 9, 9]))
    assert len(found) == 4
    assert (stream.steps, stream.late) == (4, 0)
    assert len(stream.push_events(np.array([0.039, 0.0]), np.array([1, 2]))) == 0  # late: their steps have been run
    assert stream.late == 2
    assert len(stream.push_events(np.array([0.049, 0.04]), np.array([6, 5]))) == 0  # still in the open step
    last = torch.cat([found, stream.finish()])
    x = torch.zeros(5, 80)
    x[0, 9], x[4, 5], x[4, 6] = 2, 2, 1
    assert torch.equal(last, Stream(digits).push(x))
    assert len(stream.push_events(np.empty(0), np.empty(0, np.int64))) == 0


@pytest.mark.parametrize(
    ("times", "addresses", "why"),
    [
        ([0.0, np.nan], [1, 2], "some may be negative, NaN or too late"),
        ([-0.01], [1], "some may be negative"),
        ([1e12], [1], "too late"),
        ([0.01], [80], "addresses are 80 to 80; the model has 0 to 79"),
        ([0.01], [-1], "addresses are -1 to -1"),
        ([0.01], [1.0], "give 1 whole numbers"),
        ([0.01, 0.02], [1], "give 2 whole numbers"),
        ([0.001, 60.0], [1, 2], "a gap of 6,000 steps before an event, and the longest is 5,000"),
    ],
)
def test_events_that_cannot_be_counted_change_nothing(
    digits: TrainedModel, times: list[float], addresses: list[float], why: str
) -> None:
    stream = Stream(digits, longest_gap=5_000)
    with pytest.raises(DataError, match=why):
        stream.push_events(np.array(times), np.array(addresses))
    assert stream.steps == 0
    assert torch.equal(stream.finish(), Stream(digits).push(torch.zeros(1, 80)))


def test_counts_that_the_dtype_does_not_hold() -> None:
    stream = Stream(neurozoo.load("ev-objects", backend="torch"))
    stream.push_events(np.zeros(200), np.zeros(200, np.int64))
    with pytest.raises(DataError, match="an address has 300 events in a step, and the model takes 255"):
        stream.push_events(np.zeros(100), np.zeros(100, np.int64))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("emotions-corrected", "SMILE cannot run step by step: it reads a sample whole"),
    ],
)
def test_models_that_need_other_steps_are_refused(name: str, why: str) -> None:
    with pytest.raises(SpikingError, match=why):
        Stream(neurozoo.load(name))


@pytest.mark.parametrize(
    ("size", "params", "why"),
    [
        ("sparch-adlif-128", {"bidirectional": True}, "layers.0 gets something else than what the signal"),
        ("sparch-adlif-128", {"start": "random"}, "layers.0 starts each sample in another state"),
    ],
)
def test_published_sizes_that_need_other_steps(
    digits: TrainedModel, size: str, params: dict[str, object], why: str
) -> None:
    model = neurozoo.create_model(size, **params).eval()
    with pytest.raises(SpikingError, match=why):
        Stream(replace(digits, module=model))


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (torch.zeros(3, 79), r"steps are \[3, 79\]; the model takes \[L, 80\]"),
        (torch.zeros(80), r"steps are \[80\]"),
        (torch.full((2, 80), torch.nan), "NaN or infinite"),
    ],
)
def test_steps_that_do_not_fit(digits: TrainedModel, x: Tensor, why: str) -> None:
    stream = Stream(digits)
    with pytest.raises(DataError, match=why):
        stream.push(x)
    with pytest.raises(DataError, match="there was no step yet"):
        stream.answer()


def test_events_for_a_model_that_sees_none() -> None:
    with pytest.raises(DataError, match="the model sees ecg by group-steps, and not as events in bins; push steps"):
        Stream(neurozoo.load("qtdb", backend="torch")).push_events(np.zeros(1), np.zeros(1, np.int64))


def test_latency_is_that_of_the_steps(digits: TrainedModel) -> None:
    stream = Stream(digits)
    assert np.isnan(stream.latency(50)[50])
    stream._latency._counts[:] = 0
    for nanoseconds in (1_000_000,) * 98 + (5_000_000, 20_000_000):
        stream._latency.add(nanoseconds)
    found = stream.latency(50, 99, 100)
    assert [round(found[share], 1) for share in (50, 99, 100)] == [1.0, 5.1, 20.0]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[dict[str, object]], str]:
    app(["stream", *words], standalone_mode=False)
    done = capsys.readouterr()
    return [json.loads(line) for line in done.out.splitlines()], done.err


def test_the_command_reads_files(
    tmp_path: Path, digits: TrainedModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times, addresses = events(100, 0.2)
    times[0] = 0.1999
    expected = Stream(digits)
    answers = expected.answers(expected.push(counted(times, addresses, 20)))
    np.savez(tmp_path / "events.npz", times=times, addresses=addresses)
    lines, err = run(capsys, "fsdd-small", "--from", str(tmp_path / "events.npz"))
    assert [line["class"] for line in lines] == [each["class"] for each in answers]
    assert [line["step"] for line in lines] == list(range(20))
    assert err.startswith("20 steps, each within: 50 %")
    np.savez(tmp_path / "steps.npz", events=counted(times, addresses, 20).numpy())
    some, _ = run(capsys, "fsdd-small", "--from", str(tmp_path / "steps.npz"), "--every", "8")
    assert [line["step"] for line in some] == [7, 15, 19]
    assert some[-1] == lines[-1]
    pairs = [[float(t), int(a)] for t, a in zip(times, addresses, strict=True)]
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"events": pairs}) + "\n\n"))
    assert run(capsys, "fsdd-small", "--from", "-")[0] == lines


def tone(rate: int) -> np.ndarray:
    time = np.arange(rate // 2) / rate
    return np.rint(np.sin(3000 * time**1.2) * np.hanning(len(time)) * 9_000)


def recording(path: Path, rate: int = 8000, sound: np.ndarray | None = None) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((tone(rate) if sound is None else sound).astype("<i2").tobytes())
    return path


def test_the_command_reads_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recording(tmp_path / "speech.wav")
    lines, _ = run(capsys, "fsdd-official", "--from", str(path), "--every", "1000", "--window", "20")
    assert len(lines) == 1
    assert lines[0]["class"] in [str(digit) for digit in range(10)]


def test_a_recording_of_another_rate_is_resampled_only_on_request(tmp_path: Path) -> None:
    trained = neurozoo.load("fsdd-official", backend="torch")

    def answers(path: Path, rate: int | None = None) -> Tensor:
        return torch.cat(list(of_file(Stream(trained), trained, path, rate)))

    plain = answers(recording(tmp_path / "plain.wav"))
    fast = recording(tmp_path / "fast.wav", 16_000)
    with pytest.raises(DataError, match=r"fast.wav has 16,000 samples a second.* on 8,000; give --rate 8000"):
        answers(fast)
    for path in (fast, tmp_path / "plain.wav"):
        with pytest.raises(DataError, match=r"resampled to 16,000 samples a second.* on 8,000; give --rate 8000"):
            answers(path, 16_000)
    with pytest.raises(DataError, match=r"slow.wav has 100 samples a second.* on 8,000; give --rate 8000"):
        answers(recording(tmp_path / "slow.wav", 100))
    assert torch.equal(answers(tmp_path / "plain.wav", 8_000), plain)
    half = recording(tmp_path / "half.wav", sound=np.rint(resampled(tone(16_000) / 2**15, 16_000, 8_000) * 2**15))
    assert torch.equal(answers(fast, 8_000), answers(half))


def test_sound_is_refused_by_a_model_of_events(tmp_path: Path) -> None:
    path = recording(tmp_path / "speech.wav")
    with pytest.raises(DataError, match="not trained on sound: bins, which represents its events"):
        app(["stream", "fsdd-small", "--from", str(path)], standalone_mode=False)


def test_a_run_that_did_not_record_its_rate_needs_one(tmp_path: Path) -> None:
    trained = neurozoo.load("fsdd-official", backend="torch")
    packed = trained.source.packed
    assert packed is not None
    data = {name: value for name, value in packed.data.items() if name != "stored"}
    source = replace(trained.source, packed=replace(packed, summary={**packed.summary, "data": data}))
    earlier = replace(trained, source=source)
    path = recording(tmp_path / "plain.wav")
    with pytest.raises(DataError, match="did not record the rate of its recordings; give the one that they had by --r"):
        list(of_file(Stream(earlier), earlier, path))
    found = torch.cat(list(of_file(Stream(earlier), earlier, path, 8_000)))
    assert torch.equal(found, torch.cat(list(of_file(Stream(trained), trained, path))))


def test_the_command_ends_with_the_answer_for_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = neurozoo.load("braille-taxels", backend="torch")
    x = torch.randn(12, 12, generator=torch.Generator().manual_seed(1))
    np.savez(tmp_path / "taxels.npz", taxels=x.numpy())
    lines, _ = run(capsys, "braille-taxels", "--backend", "torch", "--from", str(tmp_path / "taxels.npz"))
    assert [line["step"] for line in lines] == [*range(12), 11]
    assert [line for line in lines if "end" in line] == lines[-1:]
    whole = trained.task.answer_of_one(trained.predict({"taxels": x[None]})[0], trained.decision)
    assert lines[-1]["class"] == whole["class"]
    assert lines[-1]["probabilities"] == pytest.approx(whole["probabilities"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"steps": [[1, 2], [1]]}', "standard input:1: the steps are no rows of numbers of one length"),
        ('{"steps": [[1, 2]]}', r"standard input:1: steps are \[1, 2\]"),
        ('{"events": [[0.1, 1.5]]}', r"standard input:1: an event is no pair \[SECONDS, ADDRESS\]"),
        ('{"events": [[0.1, true]]}', "an event is no pair"),
        (f'{{"events": [[1{"0" * 30}, 1]]}}', "an event is no pair"),
        ('{"step": [1]}', r'standard input:1: give {"steps"'),
        ("[1]", r'standard input:1: give {"steps"'),
    ],
)
def test_lines_that_are_none(line: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(line + "\n"))
    with pytest.raises(DataError, match=why):
        app(["stream", "fsdd-small", "--from", "-"], standalone_mode=False)


def test_files_that_are_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", other=np.zeros(3))
    for name, why in (("other.npz", r"has other float64 \[3\]; give times and addresses"), ("a.txt", "is none of")):
        with pytest.raises(DataError, match=why):
            app(["stream", "fsdd-small", "--from", str(tmp_path / name)], standalone_mode=False)


def test_padding_has_no_part_in_it(digits: TrainedModel) -> None:
    x = steps(6, 80)
    with torch.no_grad():
        made = digits.module(Batch({"events": Signal(x[None])}))
    torch.testing.assert_close(Stream(digits).push(x)[-1], digits.task.predict(made)[0], rtol=1e-5, atol=1e-6)
