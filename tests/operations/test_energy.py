"""The estimate of energy: hand-computed, with the published costs of single operations."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.operations.energy import AC, MAC, assumptions, dense_energy, energy_of, memory_for, stepwise
from neurozoo.operations.result import Counts, LayerOperations
from neurozoo.operations.synaptic import MOST_ACCUMULATIONS

HELD = LayerOperations("one", "one", "Linear", "synaptic", dense=40, macs=30, presented=5, parameters=10, bytes=40)
FIRED = LayerOperations("two", "two", "Linear", "synaptic", dense=100, acs=20)
NEURONS = LayerOperations("lif", "lif", "SpikingLayer", "neurons", updates=50)
RELU = LayerOperations("relu", "relu", "ReLUActivation", "activation", updates=10)


def test_macs_cost_4_6_pj_acs_0_9_and_updates_5_5() -> None:
    counts = Counts(2, (HELD, FIRED, NEURONS))
    found = energy_of(counts)
    assert found.operations == pytest.approx((30 * 4.6 + 20 * 0.9 + 50 * 5.5) / 2)
    # 40 bytes are in the smallest memory; a word an operation, three an update.
    assert found.memory == pytest.approx(5.0 * (30 + 20 + 3 * 50) / 2)
    assert energy_of(counts, [FIRED]).operations == pytest.approx(20 * 0.9 / 2)


def test_a_whole_number_accumulates_and_reads_its_weight_once() -> None:
    sums = LayerOperations("sums", "sums", "Linear", "synaptic", dense=100, acs=50, repeated=30, macs=4, fed="whole")
    found = energy_of(Counts(1, (sums,)))
    assert sums.effective == 24
    assert (found.operations, found.memory) == (pytest.approx(50 * 0.9 + 4 * 4.6), pytest.approx(5.0 * 24))
    again = stepwise(Counts(1, (replace(sums, presented=3),))).layers[0]
    assert (again.acs, again.repeated, again.macs) == (150, 90, 12)


def test_five_accumulations_cost_less_than_a_multiplication_and_six_more() -> None:
    assert MOST_ACCUMULATIONS * AC < MAC < (MOST_ACCUMULATIONS + 1) * AC


def test_a_relu_costs_a_multiplication_and_a_comparison() -> None:
    found = energy_of(Counts(1, (RELU,)))
    assert (found.operations, found.memory) == (pytest.approx(10 * 4.6), pytest.approx(5.0 * 2 * 10))


def test_dense_hardware_multiplies_spikes_too() -> None:
    assert dense_energy(Counts(1, (FIRED, NEURONS))) == pytest.approx(100 * 4.6 + 50 * 5.5)


def test_what_is_held_costs_more_where_every_step_multiplies_it() -> None:
    again = stepwise(Counts(1, (HELD, FIRED)))
    assert [(each.dense, each.macs, each.acs) for each in again.layers] == [(200, 150, 0), (100, 0, 20)]


@pytest.mark.parametrize(
    ("size", "name", "word"),
    [(2**13, "8 KB", 5.0), (2**13 + 1, "32 KB", 10.0), (2**20, "1 MB", 50.0), (2**20 + 1, "DRAM", 650.0)],
)
def test_the_memory_is_the_smallest_that_holds_the_weights(size: int, name: str, word: float) -> None:
    counts = Counts(1, (replace(HELD, bytes=size),))
    memory = memory_for(counts)
    assert name in memory.name
    assert memory.word == word
    said = " ".join(assumptions(counts))
    for constant in ("estimate", "45 nm", "4.6 pJ", "0.9 pJ", "Horowitz", memory.name, f"{word:g} pJ"):
        assert constant in said


@given(st.lists(st.sampled_from([HELD, FIRED, NEURONS, RELU]), max_size=6), st.integers(1, 9))
def test_a_networks_energy_is_the_sum_over_its_layers(layers: list[LayerOperations], samples: int) -> None:
    counts = Counts(samples, tuple(layers))
    parts = [energy_of(counts, [layer]) for layer in layers]
    assert energy_of(counts).operations == pytest.approx(sum(each.operations for each in parts))
    assert energy_of(counts).memory == pytest.approx(sum(each.memory for each in parts))
    assert energy_of(counts).operations <= dense_energy(counts) + 1e-9
