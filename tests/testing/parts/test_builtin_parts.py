"""The core's own parts pass the kits that strangers' parts are held to."""

from __future__ import annotations

import pytest

from neurozoo.registry.hookspecs import Kind
from neurozoo.registry.registry import default_registry
from neurozoo.testing import (
    DataConformance,
    FusionConformance,
    LabelHeadConformance,
    ModelConformance,
    PartConformance,
    TaskConformance,
    check,
    registered,
)

# Held to their authors' numbers in tests/models as well; `make test-large` runs their kits.
PUBLISHED = pytest.mark.slow


def of_the_core(kind: Kind) -> list[str]:
    registry = default_registry()
    return [name for name in registry.components(kind) if registry.owner(kind, name).startswith("neurozoo-toolkit ")]


class TestInteractive(FusionConformance):
    name = "interactive"


class TestConcat(FusionConformance):
    name = "concat"


class TestSum(FusionConformance):
    name = "sum"


class TestMean(FusionConformance):
    name = "mean"
    params = {"pooling": "last"}  # noqa: RUF012


class TestConcatVectors(FusionConformance):
    name = "concat-vectors"


class TestGMU(FusionConformance):
    name = "gmu"


class TestGMUOfTwo(FusionConformance):
    name = "gmu"
    params = {"form": "bimodal"}  # noqa: RUF012


class TestTFN(FusionConformance):
    name = "tfn"
    params = {"size": 3}  # noqa: RUF012


class TestLMF(FusionConformance):
    name = "lmf"


class TestMAG(FusionConformance):
    name = "mag"


class TestMISA(FusionConformance):
    name = "misa"


@PUBLISHED
class TestMISAAsWideAsPublished(FusionConformance):
    name = "misa"
    params = {"output": "wide", "inner": 8}  # noqa: RUF012


@PUBLISHED
class TestMulT(FusionConformance):
    name = "mult"
    params = {"layers": 1, "memory_layers": 1}  # noqa: RUF012


@PUBLISHED
class TestMulTThatSeesAll(FusionConformance):
    name = "mult"
    params = {"layers": 1, "memory_layers": 1, "causal": False, "output": "wide"}  # noqa: RUF012


@PUBLISHED
class TestMBT(FusionConformance):
    name = "mbt"


@PUBLISHED
class TestSCMRL(FusionConformance):
    name = "scmrl"


@PUBLISHED
class TestMultiAttn(FusionConformance):
    name = "multiattn"


class TestLabelDecoder(LabelHeadConformance):
    name = "label-decoder"


class TestLabelDecoderAsPublished(LabelHeadConformance):
    name = "label-decoder"
    params = {"dropout_at": "logits", "inner": 8, "layers": 2}  # noqa: RUF012 - three lines, as plugin authors write them


class TestPooled(LabelHeadConformance):
    name = "pooled"


class TestChain(LabelHeadConformance):
    name = "chain"


@PUBLISHED
class TestChainOfDecisions(LabelHeadConformance):
    name = "chain"
    params = {"links": "hard", "order": "listed", "pooling": "max"}  # noqa: RUF012


class TestMLGCN(LabelHeadConformance):
    name = "ml-gcn"
    params = {"size": 5, "inner": 6}  # noqa: RUF012


@PUBLISHED
class TestMLGCNOfLargestValues(LabelHeadConformance):
    name = "ml-gcn"
    params = {"size": 5, "inner": 6, "pooling": "max"}  # noqa: RUF012


class TestLSAN(LabelHeadConformance):
    name = "lsan"
    params = {"attention": 6}  # noqa: RUF012


@PUBLISHED
class TestLSANAsPublished(LabelHeadConformance):
    name = "lsan"
    params = {  # noqa: RUF012
        "rows": "halves",
        "attention": 6,
        "size": 3,
        "label_vectors": "fixed",
        "products": "sum",
        "scores": "mean",
    }


class TestLabelAttention(LabelHeadConformance):
    name = "label-attention"


class TestQuery2Label(LabelHeadConformance):
    name = "query2label"
    params = {"inner": 8, "decoder_layers": 1}  # noqa: RUF012


@PUBLISHED
class TestQuery2LabelWhoseLabelsMeet(LabelHeadConformance):
    name = "query2label"
    params = {"inner": 8, "label_attention": True, "encoder_layers": 0, "decoder_layers": 3}  # noqa: RUF012


class TestSmile(ModelConformance):
    name = "smile"
    params = {"hidden": 10, "spiking_inner": 16, "time_steps": 3}  # noqa: RUF012


class TestSpikingSequence(ModelConformance):
    name = "spiking-sequence"
    params = {"hidden": 10, "spiking_inner": 16}  # noqa: RUF012


class TestSpikingConvnet(ModelConformance):
    name = "spiking-convnet"
    params = {"channels": (4, 6)}  # noqa: RUF012


class TestRecurrent(ModelConformance):
    name = "recurrent"
    params = {"hidden": (8,)}  # noqa: RUF012
    slow = ("learns",)  # as its recipe does in tests/models/test_first_models.py


class TestSpikingTransformer(ModelConformance):
    name = "spiking-transformer"
    params = {"width": 8, "heads": 2, "depth": 1}  # noqa: RUF012


@PUBLISHED
class TestSpikformer(ModelConformance):
    name = "spikformer"
    params = {"width": 8, "heads": 2, "depth": 1, "ratio": 2}  # noqa: RUF012


@PUBLISHED
class TestQKFormer(ModelConformance):
    name = "qkformer"
    params = {"width": 8, "heads": 2, "token_stages": 1, "depth": 1, "ratio": 2}  # noqa: RUF012


@PUBLISHED
class TestSpikeDrivenTransformer(ModelConformance):
    name = "spike-driven-transformer"
    params = {"width": 8, "heads": 2, "depth": 1, "ratio": 2}  # noqa: RUF012


class TestCubaMLP(ModelConformance):
    name = "cuba-mlp"
    params = {"hidden": (8, 6)}  # noqa: RUF012
    slow = ("learns",)  # as its recipe does in tests/models/test_first_models.py


@PUBLISHED
class TestSpikeGPT(ModelConformance):
    name = "spikegpt"
    params = {"width": 8, "depth": 1, "vocabulary": 5, "dropout": 0.0}  # noqa: RUF012


@PUBLISHED
class TestISpikformer(ModelConformance):
    name = "ispikformer"
    params = {"width": 8, "heads": 2, "depth": 1, "answer": "pooled"}  # noqa: RUF012


@PUBLISHED
class TestSpikEmo(ModelConformance):
    name = "spikemo"
    params = {"hidden": 8, "spiking_heads": 2, "heads": 2, "depth": 1, "ratio": 2, "time_steps": 6}  # noqa: RUF012


@PUBLISHED
class TestPLIFNet(ModelConformance):
    name = "plif-net"
    params = {"channels": (4, 6)}  # noqa: RUF012


@PUBLISHED
class TestSEWResNet(ModelConformance):
    name = "sew-resnet"
    params = {"blocks": (1, 1), "width": 4}  # noqa: RUF012


@PUBLISHED
class TestSEWResNetEvents(ModelConformance):
    name = "sew-resnet-events"
    params = {"channels": (4, 6)}  # noqa: RUF012


@PUBLISHED
class TestSparCH(ModelConformance):
    name = "sparch"
    params = {"hidden": (8, 6)}  # noqa: RUF012


@PUBLISHED
class TestSparCHInBothDirections(ModelConformance):
    name = "sparch"
    params = {"hidden": (8,), "bidirectional": True}  # noqa: RUF012
    slow = ("learns",)  # as it does in one direction


@PUBLISHED
class TestDelays(ModelConformance):
    name = "dcls-delays"
    params = {"hidden": (12, 12), "kernel": 3}  # noqa: RUF012


@PUBLISHED
class TestRecurrentByEProp(ModelConformance):
    name = "recurrent"
    params = {"hidden": (8,), "gradient": "e-prop"}  # noqa: RUF012


@PUBLISHED
class TestCubaRSNN(ModelConformance):
    name = "cuba-rsnn"
    params = {"hidden": 8, "tau": 2.0, "tau_synapse": 1.0, "surrogate_slope": 2.0, "weight_scale": 3.0}  # noqa: RUF012


@PUBLISHED
class TestLSNN(ModelConformance):
    name = "lsnn"
    params = {"regular": 6, "adaptive": 6, "tau": 2.0, "tau_adaptation": 20.0, "refractory": 1, "tau_readout": 1.0}  # noqa: RUF012


class TestGatedNet(ModelConformance):
    name = "gru"
    params = {"hidden": 8}  # noqa: RUF012


class TestPlainMultimodal(ModelConformance):
    name = "multimodal"
    params = {"hidden": 4, "heads": 2}  # noqa: RUF012
    slow = ("learns", "refuses_what_it_cannot_build", "stays_on_the_device", "any_backend_does")


@PUBLISHED
class TestTAILOR(ModelConformance):
    name = "tailor"
    params = {"hidden": 8, "heads": 2, "inner": 8, "layers": 1, "cross_layers": 1}  # noqa: RUF012


@PUBLISHED
class TestCARAT(ModelConformance):
    name = "carat"
    params = {"hidden": 8, "heads": 2, "inner": 8, "layers": 1, "latent": 4, "queue": 16}  # noqa: RUF012


@PUBLISHED
class TestLDDU(ModelConformance):
    name = "lddu"
    params = {"hidden": 8, "heads": 2, "inner": 8, "layers": 1, "projection": 5, "latent": 4, "queue": 16}  # noqa: RUF012


@PUBLISHED
class TestMulTModel(ModelConformance):
    name = "mult"
    params = {"hidden": 6, "heads": 2, "layers": 1, "memory_layers": 1}  # noqa: RUF012


@PUBLISHED
class TestMISAModel(ModelConformance):
    name = "misa"
    params = {"hidden": 16, "heads": 2, "inner": 16}  # noqa: RUF012


@PUBLISHED
class TestHHMPN(ModelConformance):
    name = "hhmpn"
    params = {  # noqa: RUF012
        "hidden": 8, "heads": 2, "inner": 6, "decoder_layers": 1, "encoder_hidden": 4, "encoder_heads": 2,
        "encoder_layers": 1, "memory_layers": 1,
    }  # fmt: skip


class TestMultilabel(TaskConformance):
    name = "multilabel"


class TestMultilabelFocal(TaskConformance):
    name = "multilabel"
    params = {"loss": "focal", "weights": "balanced", "label_smoothing": 0.1}  # noqa: RUF012


class TestMulticlass(TaskConformance):
    name = "multiclass"


class TestMulticlassSmoothed(TaskConformance):
    name = "multiclass"
    params = {"label_smoothing": 0.2, "weights": [1.0, 0.5, 3.0]}  # noqa: RUF012


class TestMulticlassSquared(TaskConformance):
    name = "multiclass"
    params = {"loss": "squared", "weights": "balanced", "label_smoothing": 0.1}  # noqa: RUF012


class TestRegression(TaskConformance):
    name = "regression"


class TestRegressionHuber(TaskConformance):
    name = "regression"
    params = {"loss": "huber", "delta": 0.3, "standardise": False}  # noqa: RUF012


class TestALIF(PartConformance):
    name = "alif"


class TestDisagreement(PartConformance):
    name = "disagreement"


class TestMoseiSynthetic(DataConformance):
    name = "mosei-synthetic"
    params = {"size": 12, "length": 8}  # noqa: RUF012


class TestPoissonSynthetic(DataConformance):
    name = "poisson-synthetic"
    params = {"features": 3, "labels": 2, "size": 12, "length": 8}  # noqa: RUF012


class TestFramesSynthetic(DataConformance):
    name = "frames-synthetic"
    params = {"size": 12, "side": 8}  # noqa: RUF012


class TestEventsSynthetic(DataConformance):
    name = "events-synthetic"
    params = {"size": 12, "side": 8}  # noqa: RUF012


class TestSpikesSynthetic(DataConformance):
    name = "spikes-synthetic"
    params = {"size": 12, "length": 8}  # noqa: RUF012


class TestEvidenceSynthetic(DataConformance):
    name = "evidence-synthetic"
    params = {"size": 12, "step": 25}  # noqa: RUF012


class TestSeriesSynthetic(DataConformance):
    name = "series-synthetic"
    params = {"size": 12, "length": 8}  # noqa: RUF012


class TestFsddSmall(DataConformance):
    name = "fsdd-small"


# A graph's sizes are its own; see tests/nir/test_model.py.
OF_ONE_SIZE = {"nir-graph"}
# Parts that pass the whole kit above: in a class of their own, or as what fills the slots of smile.
WHOLE = {"alif", "disagreement", "lif", "rate-gain"}
# As published they look at the whole batch.
BY_BATCH = {"cross-entropy-ratio", "batch-softmax"}
QUICK = ("gives_outputs", "firing_is_recorded", "samples_are_alone", "loads_from_a_checkpoint")


@pytest.mark.parametrize("kind", ["fusion", "label-head", "model", "task", "data"])
def test_no_part_of_the_core_is_left_out(kind: Kind) -> None:
    core = set(of_the_core(kind))
    suites = [each for each in globals().values() if isinstance(each, type) and each.__name__.startswith("Test")]
    assert core
    assert core <= {suite.name for suite in suites if suite.kind == kind} | OF_ONE_SIZE


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in WHOLE)) for name in of_the_core("part")]
)
def test_a_part_in_its_model(name: str) -> None:
    results = {each.name: each for each in check(registered("part", name), QUICK).results}
    failed = {case for case, result in results.items() if result.outcome == "failed"}
    assert failed == ({"samples_are_alone"} if name in BY_BATCH else set()), results
