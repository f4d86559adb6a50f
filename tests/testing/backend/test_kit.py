"""The kit as a whole: outcomes, refusals, other models, and what the report says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest

from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError
from neurozoo.testing import Candidate, ConformanceError, Report, check
from neurozoo.testing.backend import BACKEND, CASE_MODULES, calls, models, objects
from neurozoo.testing.backend.tables import TABLES
from neurozoo.testing.kits import cases_of

CASES = BACKEND.cases
SLOW = {"can_be_compiled", "a_data_parallel_pair", "a_thousand_steps", "back_through_a_thousand_steps"}
QUICK = [name for name in CASES if name not in SLOW]


def check_backend(neuron, cases=QUICK, *, exact: bool = True, **declared) -> Report:
    return check(Candidate("neuron", "mylib", neuron, exact, **declared), cases)


def outcomes(report: Report) -> Mapping[str, str]:
    return {result.name: result.outcome for result in report.results}


class Native(TorchNeuron):
    """Another model: it fires at twice the threshold."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, state, threshold * 2, params)


class LeakingNative(Native):
    """Another model that remembers."""

    last = None

    def scan(self, currents, state=None, threshold=1.0, params=None):
        if state is None and self.last is not None and self.last[0].shape == currents.shape[1:]:
            state = self.last
        spikes, v = super().scan(currents, state, threshold, params)
        self.last = (v[0].detach(),)
        return spikes, v


class OnlySoft(TorchNeuron):
    """A library that has the soft reset alone."""

    @classmethod
    def refusal(cls, spec):
        resets = getattr(spec, "v_reset", None) is not None
        return "mylib resets by subtraction; set v_reset: null" if resets else ""


class RefusesTooLate(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        raise SpikingError("mylib has no such neuron")


class Broken(TorchNeuron):
    def __init__(self, spec):
        raise KeyError("no kernel for this device")


def test_every_case_has_a_name_of_its_own_and_says_what_must_hold() -> None:
    # A test file of each module asserts that every case of it catches a wrong neuron.
    names = [name for module in CASE_MODULES for name in cases_of(module)]
    assert names == list(CASES)
    assert len(names) >= 50
    assert all(case.__doc__ for case in CASES.values())
    assert set(BACKEND.tiny) <= set(CASES)


# The right neurons of every plugin, and that of the page for authors of backends, pass the cases too.
@pytest.mark.slow
def test_the_oracle_passes_every_case() -> None:
    report = check_backend(TorchNeuron, list(CASES), requires=("neurozoo",))
    report.raise_if_failed()
    assert outcomes(report) == dict.fromkeys(CASES, "passed")


@pytest.mark.parametrize(
    "cases",
    [
        ["hand_computed_membranes", "starts_from_rest", "every_reset", "nothing_is_kept_between_calls", "any_spikes"],
        pytest.param(QUICK, marks=pytest.mark.slow),
    ],
    ids=["some", "all"],
)
def test_what_a_backend_refuses_is_counted_and_not_failed(cases: list[str]) -> None:
    report = check_backend(OnlySoft, cases)
    report.raise_if_failed()
    told = outcomes(report)
    assert told["starts_from_rest"] == told["every_reset"] == told["nothing_is_kept_between_calls"] == "passed"
    (tables,) = (result for result in report.results if result.name == "hand_computed_membranes")
    assert 0 < len(tables.refused) < len({table.spec for table in TABLES})
    assert "refused" in tables.findings
    assert "LIFSpec(): mylib resets by subtraction; set v_reset: null" in report.refused
    assert len(set(report.refused)) == len(report.refused)
    told = re.findall(
        r"\nrefused:\n  LIFSpec\(\) and (\d+) others: mylib resets by subtraction; set v_reset: null", str(report)
    )
    assert told == [str(len(report.refused) - 1)]


def test_a_case_in_which_everything_is_refused_is_not_run() -> None:
    class NoIntegers(TorchNeuron):
        def __init__(self, spec):
            if isinstance(getattr(spec, "tau", None), int):
                raise SpikingError("tau must be a float")
            super().__init__(spec)

    (result,) = check_backend(NoIntegers, ["an_integer_time_constant"]).results
    assert result.outcome == "not run"
    assert (
        result.problem == "it refuses every neuron of this case, such as LIFSpec(tau=2, v_reset=0): tau must be a float"
    )


def test_a_backend_that_refuses_everything_fails() -> None:
    class RefusesAll(TorchNeuron):
        def __init__(self, spec):
            raise SpikingError("not today")

    report = check_backend(RefusesAll)
    failed = [result.name for result in report.failures]
    assert failed == ["accepts_a_neuron", "refusals_name_the_neuron"]
    assert {result.outcome for result in report.results if result.name not in failed} <= {"not run"}
    assert not report.passed


def test_a_refusal_after_the_constructor_and_any_other_error_are_failures() -> None:
    assert "SpikingError: mylib has no such neuron" in check_backend(RefusesTooLate, ["ties_fire"]).failures[0].problem
    report = check_backend(Broken, QUICK, requires=("neurozoo",))
    assert set(outcomes(report)) == set(QUICK)  # one case stops no other
    assert set(outcomes(report).values()) == {"failed"}
    with pytest.raises(
        ConformanceError, match=r"neuron mylib: 0 of \d+ cases passed, \d+ failed\n.*KeyError: 'no kernel"
    ):
        report.raise_if_failed()


def test_another_model_is_held_to_the_interface_and_not_to_the_oracle() -> None:
    report = check_backend(Native, native=True, requires=("neurozoo",))
    report.raise_if_failed()
    told = outcomes(report)
    for_any_neuron = {name for module in (objects, calls, models) for name in cases_of(module)}
    against_the_oracle = set(QUICK) - for_any_neuron - {"any_cut", "any_order_of_samples"}
    assert {name for name, outcome in told.items() if outcome == "not run"} == against_the_oracle
    reason = "marked as another model; `neurozoo compare` says how far off it is"
    assert {result.problem for result in report.results if result.outcome == "not run"} == {reason}
    assert check_backend(Native, ["ties_fire"]).failures  # it is another model


def test_another_model_is_no_excuse_for_hidden_state() -> None:
    assert check_backend(LeakingNative, ["nothing_is_kept_between_calls"], native=True).failures


class TestReport:
    def test_it_is_aligned_a_line_a_case_with_the_details_below(self) -> None:
        report = check_backend(Native, ["a_sample_is_alone", "ties_fire", "runs_its_library", "every_surrogate"])
        lines = str(report).splitlines()
        assert lines[0] == "neuron mylib: 1 of 4 cases passed, 2 failed, 1 not run"
        assert lines[1:5] == [
            "  passed   a_sample_is_alone",
            "  failed   ties_fire",
            "  not run  runs_its_library   it names no library in Component.requires",
            "  failed   every_surrogate",
        ]
        assert lines[5:7] == ["what failed:", "  ties_fire"]
        assert lines[7].startswith("    spikes on a grid of eighths, LIFSpec(): ")

    def test_what_was_measured_stands_on_the_line_and_the_worst_below(self) -> None:
        text = str(check_backend(TorchNeuron, ["time_constants", "every_surrogate"]))
        assert re.search(r"  passed   time_constants   \d+ compared\n", text)
        assert re.search(r"  passed   every_surrogate  worst 0.0e\+00 of 1.2e-05 allowed$", text)

    def test_everything_is_in_the_dict(self) -> None:
        told = json.loads(json.dumps(check_backend(OnlySoft, ["ties_fire", "every_reset"]).to_dict()))
        assert told["passed"] is True
        assert told["refused"][0].startswith("LIFSpec(): mylib")
        assert told["worst"]["tolerance"] > 0
        assert told["results"][0]["outcome"] == "passed"
