"""The core's own parts pass the kits that strangers' parts are held to."""

from __future__ import annotations

import pytest

from neurozoo.registry.hookspecs import Kind
from neurozoo.registry.registry import default_registry
from neurozoo.testing import (
    DatasetConformance,
    FusionConformance,
    LabelHeadConformance,
    ModelConformance,
)


class TestInteractive(FusionConformance):
    name = "interactive"


class TestConcat(FusionConformance):
    name = "concat"


class TestLabelDecoder(LabelHeadConformance):
    name = "label-decoder"


class TestLabelDecoderAsPublished(LabelHeadConformance):
    name = "label-decoder"
    params = {"dropout_at": "logits", "inner": 8}  # noqa: RUF012 - three lines, as plugin authors write them


class TestPooled(LabelHeadConformance):
    name = "pooled"


class TestSmile(ModelConformance):
    name = "smile"
    params = {"hidden": 10, "spiking_inner": 16, "time_steps": 3}  # noqa: RUF012


class TestSpikingSequence(ModelConformance):
    name = "spiking-sequence"
    params = {"hidden": 10, "spiking_inner": 16}  # noqa: RUF012


class TestMoseiSynthetic(DatasetConformance):
    name = "mosei-synthetic"
    params = {"size": 12, "length": 8}  # noqa: RUF012


class TestPoissonSynthetic(DatasetConformance):
    name = "poisson-synthetic"
    params = {"features": 3, "labels": 2, "size": 12, "length": 8}  # noqa: RUF012


# The kit builds a model for data of several sizes; a graph's are its own. See tests/models/test_nir_graph.py.
OF_ONE_SIZE = {"nir-graph"}


@pytest.mark.parametrize("kind", ["fusion", "label-head", "model", "dataset"])
def test_no_part_of_the_core_is_left_out(kind: Kind) -> None:
    registry = default_registry()
    core = {name for name in registry.components(kind) if registry.owner(kind, name).startswith("neurozoo ")}
    suites = [each for each in globals().values() if isinstance(each, type) and each.__name__.startswith("Test")]
    assert core
    assert core <= {suite.name for suite in suites if suite.kind == kind} | OF_ONE_SIZE
