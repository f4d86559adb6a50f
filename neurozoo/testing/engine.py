"""What an engine must do: a case is a public function, its name says what must hold and its docstring how."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neurozoo.compare.engine_layers import LayerCall, compare_layer
from neurozoo.core.engine import Engine, attach
from neurozoo.core.kinds import (
    AdLIFSpec,
    ALIFSpec,
    CubaSpec,
    IFSpec,
    LIFSpec,
    LISpec,
    PLIFSpec,
    ReLUSpec,
)
from neurozoo.core.layer import Learned, SpikingLayer, TorchNeuron
from neurozoo.core.layer_run import LayerRun, Ran
from neurozoo.core.neuron import NeuronSpec, State
from neurozoo.errors import SpikingError
from neurozoo.nn.delays import DelayedLinear, NormalisedDelays
from neurozoo.nn.ordered import ordered_run
from neurozoo.nn.synapses import Normalised, PooledSynapse, conv_norm
from neurozoo.testing.findings import Findings, NotRun, require
from neurozoo.testing.kits import Kit, cases_of

__all__ = ["ENGINE"]

INPUTS, NEURONS, STEPS, SAMPLES = 23, 17, 12, 3
_SPECS: tuple[NeuronSpec, ...] = (
    LIFSpec(tau=3.3, v_reset=None),
    LIFSpec(decay_input=False, v_reset=0.1),
    IFSpec(),
    PLIFSpec(leak=0.3),
    AdLIFSpec(tie="silent", coupling=0.3),
    ALIFSpec(refractory=2),
    CubaSpec(),
    CubaSpec(order="fire-first", tie="silent"),
    LISpec(v_rest=0.2),
    ReLUSpec(),
)


@dataclass(frozen=True)
class Example:
    """A layer and inputs of it.

    Attributes:
        words: What it is.
        layer: In evaluation mode.
        x: ``[T, B, ...]``.
        threshold: As of the layer's forward.
    """

    words: str
    layer: SpikingLayer
    x: Tensor
    threshold: Tensor | float = 1.0


class EngineSubject(Findings):
    """An engine under test."""

    def prepared(self, *, ordered: bool = False) -> Iterator[tuple[Example, LayerRun]]:
        """The layers that it runs; a refusal by SpikingError is recorded.

        Raises:
            NotRun: Its sums have no stated order, and ``ordered`` asks for one.
        """
        engine, ran = self.engine(), False
        for example in _examples():
            try:
                run = engine.layer(example.layer)
            except SpikingError as error:
                self.refuse(f"{example.words}: {error}")
                continue
            if ordered and not run.ordered:
                raise NotRun("its sums run in another order than those of neurozoo.nn.ordered")
            ran, self.at = True, example.words
            yield example, run
        require(ran, "it refuses every layer, linears with LIF neurons too")

    def engine(self) -> Engine:
        """A new object of it."""
        made: Engine = self.candidate.target(**self.candidate.params)
        return made

    def equal(self, found: Tensor, expected: Tensor, what: str) -> None:
        """Require equal shapes and bits."""
        require(found.shape == expected.shape, f"{what} is {list(found.shape)}, not {list(expected.shape)}: {self.at}")
        different = int((found != expected).sum())
        require(not different, f"{what}: {different} of {found.numel()} numbers differ: {self.at}")
        self.compared += found.numel()


def sums_in_order_are_the_oracles(subject: EngineSubject) -> None:
    """Outputs, states and currents are, to the bit, those of the oracle whose sums run in the same order."""
    for example, run in subject.prepared(ordered=True):
        found = run.run(example.x, None, example.threshold, driven=True)
        _same(subject, found, ordered_run(example.layer, example.x, None, example.threshold), "from rest")
        assert found.driven is not None
        again = run.run(example.x, found.state, example.threshold)
        _same(subject, again, ordered_run(example.layer, example.x, found.state, example.threshold), "from a state")


def spikes_differ_within_rounding_alone(subject: EngineSubject) -> None:
    """Each step, from the oracle's state: spikes are those of torch's sums, or the membrane is within 8 ulp."""
    for example, run in subject.prepared():
        if run.dense:
            raise NotRun("it is the reference")
        found = compare_layer(example.layer, run, LayerCall(example.x, None, example.threshold))
        require(not found.beyond, f"{found.beyond} of {found.steps} spikes differ beyond 8 ulp: {subject.at}")
        require(found.difference < 1e-5, f"outputs differ by {found.difference:.1e} of the largest: {subject.at}")
        subject.compared += found.outputs
        if found.near:
            subject.excuse(found.near, subject.at)


def piece_by_piece_is_the_whole(subject: EngineSubject) -> None:
    """Steps one by one, and three then the rest, with the state passed on, are the whole run; no state is changed.

    Delays need the inputs of other steps, and have more steps than their inputs.
    """
    for example, run in subject.prepared(ordered=True):
        whole = run.run(example.x, None, _at(example.threshold, slice(None)))
        if len(whole.outputs) != STEPS:
            continue
        for cuts in ([3, STEPS - 3], [1] * STEPS):
            state: State | None = None
            outputs, first = [], 0
            for size in cuts:
                some = slice(first, first + size)
                kept: State | None = None if state is None else tuple(each.clone() for each in state)
                made = run.run(example.x[some], state, _at(example.threshold, some))
                if state is not None and kept is not None:
                    for mine, before in zip(state, kept, strict=True):
                        subject.equal(mine, before, "the state that was given")
                state, first = made.state, first + size
                outputs.append(made.outputs)
            subject.equal(torch.cat(outputs), whole.outputs, "outputs in pieces")
            for mine, last in zip(state or (), whole.state, strict=True):
                subject.equal(mine, last, "the state after pieces")


def step_by_step_is_the_whole(subject: EngineSubject) -> None:
    """A stepper gives the outputs of the whole, with delays too; its state can be moved to another one, and reset."""
    for example, run in subject.prepared(ordered=True):
        if isinstance(example.threshold, Tensor) and example.threshold.dim():
            continue
        x = example.x[:, :1].contiguous()
        whole = run.run(x, None, example.threshold).outputs[:STEPS, 0].flatten(1)
        rows = x.flatten(1).numpy()
        first, second = (run.stepper(x.shape[2:], example.threshold) for _ in range(2))
        second.step(rows[-1])
        second.state = None
        begun = [torch.from_numpy(first.step(row).copy()) for row in rows[:5]]
        second.state = first.state
        first.step(rows[0])  # leaves the state that was taken out as it is
        rest = [torch.from_numpy(second.step(row).copy()) for row in rows[5:]]
        subject.equal(torch.stack([*begun, *rest]), whole, "outputs step by step")
        first.state = None
        again = torch.stack([torch.from_numpy(first.step(row).copy()) for row in rows])
        subject.equal(again, whole, "outputs step by step, after a reset")


def a_sample_alone_is_the_same(subject: EngineSubject) -> None:
    """A sample has the same bits alone as in a batch, and inputs that are a view have those of a copy."""
    for example, run in subject.prepared(ordered=True):
        whole = run.run(example.x, None, example.threshold).outputs
        for sample in range(SAMPLES):
            threshold = example.threshold
            if isinstance(threshold, Tensor) and threshold.dim():
                threshold = threshold[sample : sample + 1] if threshold.dim() == 1 else _sample(threshold, sample)
            alone = run.run(example.x[:, sample : sample + 1], None, threshold).outputs
            subject.equal(alone[:, 0], whole[:, sample], "a sample alone")
        by_sample = example.x.transpose(0, 1).contiguous().transpose(0, 1)
        subject.equal(run.run(by_sample, None, example.threshold).outputs, whole, "inputs that are stored by sample")
        held = example.x[:1].expand(STEPS, *example.x.shape[1:])
        threshold = example.threshold
        subject.equal(
            run.run(held, None, threshold).outputs, run.run(held.contiguous(), None, threshold).outputs, "held inputs"
        )


def nothing_is_changed(subject: EngineSubject) -> None:
    """Preparing and running change neither weights nor inputs; silence gives what the oracle gives."""
    for example, run in subject.prepared():
        before = {name: tensor.clone() for name, tensor in example.layer.state_dict().items()}
        given = example.x.clone()
        run.run(example.x, None, example.threshold)
        subject.equal(example.x, given, "the input")
        for name, tensor in example.layer.state_dict().items():
            subject.equal(tensor, before[name], name)
        if run.ordered:
            nothing = torch.zeros_like(example.x)
            silent = ordered_run(example.layer, nothing, None, example.threshold)
            _same(subject, run.run(nothing, None, example.threshold), silent, "silence")


def a_network_predicts_the_same(subject: EngineSubject) -> None:
    """Attached to a network, its forward without gradients is the network's own up to rounding, recorders included."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(*(_layer(LIFSpec(), generator=generator, width=width) for width in (INPUTS, NEURONS)))
    x = _events(generator)
    with torch.no_grad():
        expected = net(x)
        attach(net.eval(), subject.engine(), subject.candidate.name)
        found = net(x)
    different = float((found != expected).float().mean())
    require(different < 0.02, f"{100 * different:.1f} % of the outputs of a network differ")
    require(bool(expected.any()), "the network of the case is silent")
    subject.compared += found.numel()
    with_gradient = net(x.requires_grad_())
    require(with_gradient.grad_fn is not None, "a forward with gradients has none; layers run without the engine then")


def _same(subject: EngineSubject, found: Ran, expected: Ran, where: str) -> None:
    subject.equal(found.outputs, expected.outputs, f"outputs {where}")
    require(
        len(found.state) == len(expected.state), f"{len(found.state)} states, not {len(expected.state)}: {subject.at}"
    )
    for number, (mine, theirs) in enumerate(zip(found.state, expected.state, strict=True)):
        subject.equal(mine, theirs, f"state {number} {where}")
    if found.driven is not None and expected.driven is not None:
        subject.equal(found.driven, expected.driven, f"currents {where}")


def _at(threshold: Tensor | float, some: slice) -> Tensor | float:
    """The thresholds of some steps."""
    by_step = isinstance(threshold, Tensor) and threshold.dim() > 1 and len(threshold) > 1
    return threshold[some] if by_step else threshold  # type: ignore[index]


def _sample(threshold: Tensor, sample: int) -> Tensor:
    return threshold[:, sample : sample + 1] if threshold.shape[1] > 1 else threshold


def _events(generator: torch.Generator, *axes: int) -> Tensor:
    """Counts of which four of five are 0."""
    shape = axes or (STEPS, SAMPLES, INPUTS)
    return (torch.rand(shape, generator=generator) < 0.2) * torch.randint(1, 3, shape, generator=generator).float()


def _layer(
    spec: NeuronSpec, *, generator: torch.Generator, width: int = INPUTS, norm: bool = False, back: bool = False,
    **options: object,
) -> SpikingLayer:  # fmt: skip
    synapse: nn.Module = nn.Linear(width, NEURONS, bias=not norm)
    if norm:
        synapse = Normalised(synapse, NEURONS)
    recurrent = nn.Linear(NEURONS, NEURONS, bias=False) if back else None
    layer = SpikingLayer(
        TorchNeuron(spec),
        synapse,
        shape=(NEURONS,),
        recurrent=recurrent,
        **options,  # type: ignore[arg-type]
    )
    _draw(layer, generator)
    return layer.eval()


@torch.no_grad()
def _draw(layer: SpikingLayer, generator: torch.Generator) -> None:
    """Draw weights that make neurons fire, and statistics of a norm."""
    for name, parameter in layer.named_parameters():
        if not name.startswith("stored"):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
    for name, buffer in layer.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)


def _examples() -> Iterator[Example]:
    generator = torch.Generator().manual_seed(1)
    for spec in _SPECS:
        for back in (False, True):
            # Real numbers that return to each other grow without bound.
            if back and not spec.spiking:
                continue
            layer = _layer(spec, generator=generator, back=back, norm=not back, self_connections=False)
            yield Example(f"{spec}{', recurrent' if back else ', with batch norm'}", layer, _events(generator), 0.7)
    lif = LIFSpec(tau=2.5)
    learned = {"tau": Learned((0.0, 2.0), "neuron", "one-plus-exp")}
    yield Example(
        "a time constant for each neuron", _layer(lif, generator=generator, learned=learned), _events(generator)
    )
    levels = {
        "a threshold for each sample": torch.rand(SAMPLES, generator=generator) + 0.5,
        "a threshold for each step": torch.rand(STEPS, 1, 1, generator=generator) + 0.5,
        "a threshold for each neuron": torch.rand(1, 1, NEURONS, generator=generator) + 0.5,
        "a threshold that is a 0-d tensor": torch.tensor(0.8),
    }
    for words, level in levels.items():
        yield Example(words, _layer(lif, generator=generator, back=True), _events(generator), level)
        yield Example(f"{words}, as a gain", _layer(lif, generator=generator, gain=True), _events(generator), level)
    real = torch.randn(STEPS, SAMPLES, INPUTS, generator=generator)
    yield Example("real inputs", _layer(lif, generator=generator), real)
    tokens = _events(generator, STEPS, SAMPLES, 4, INPUTS)
    yield Example("tokens", _layer(lif, generator=generator), tokens)
    plain = SpikingLayer(TorchNeuron(lif), None).eval()
    yield Example("currents", plain, torch.rand(STEPS, SAMPLES, NEURONS, generator=generator) * 3)
    frames = _events(generator, STEPS, SAMPLES, 2, 6, 5)
    synapses: dict[str, nn.Module] = {
        "a convolution with batch norm": conv_norm(2, 3),
        "a convolution that strides": nn.Conv2d(2, 3, (3, 2), stride=2, padding=(2, 1)),
        "a dilated convolution": nn.Conv2d(2, 3, 3, padding=(1, 2), dilation=(1, 2)),
        "a convolution in groups": nn.Conv2d(2, 4, 3, groups=2),
        "a convolution, then a pool": PooledSynapse(nn.Conv2d(2, 3, 3, padding=1, bias=False), 3),
    }
    for words, synapse in synapses.items():
        learning = {"tau": Learned((0.0, 2.0), "neuron", "one-plus-exp")} if "norm" in words else {}
        pictures = SpikingLayer(TorchNeuron(lif), synapse, shape=(3, 1, 1), learned=learning).eval()
        _draw(pictures, generator)
        yield Example(words, pictures, frames, 0.6)
        if "strides" in words:
            yield Example(
                f"{words}, a threshold for each sample", pictures, frames, levels["a threshold for each sample"]
            )
    delays: dict[str, nn.Module] = {
        "delays with batch norm": NormalisedDelays(DelayedLinear(INPUTS, NEURONS, kernel=5)),
        "smooth delays": DelayedLinear(INPUTS, NEURONS, kernel=5, elements=2, evaluated="smooth"),
    }
    for words, synapse in delays.items():
        delayed = SpikingLayer(TorchNeuron(lif), synapse).eval()
        _draw(delayed, generator)
        yield Example(words, delayed, _events(generator), 0.7)
    wide = SpikingLayer(TorchNeuron(lif), nn.Linear(INPUTS, 401)).eval()
    _draw(wide, generator)
    yield Example("401 neurons", wide, _events(generator))


ENGINE = Kit("engine", EngineSubject, cases_of(sys.modules[__name__]), tiny=("sums_in_order_are_the_oracles",))
