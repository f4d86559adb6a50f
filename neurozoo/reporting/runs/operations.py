"""What the models compute: operations and energy by part, beside a control; and activation sparsity over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neurozoo.errors import DataError
from neurozoo.operations.energy import energy_of
from neurozoo.operations.profiling import Told, kept_profile, profile_run
from neurozoo.operations.result import OperationsProfile
from neurozoo.reporting.operations import BRIEF, brief, energy_table, heading, operations_pictures, operations_tables
from neurozoo.reporting.page import Content
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.tables import Table
from neurozoo.runs.trained_folder import open_trained

__all__ = ["SAMPLES", "facts", "operations", "profiled"]

SAMPLES = 200
"""Of so many samples a report counts the operations itself, where the run has kept no profile."""


def profiled(run: ReportedRun, *, data_root: str | None = None, told: Told) -> OperationsProfile:
    """A run's profile on valid: the one that it keeps, or one of fewer samples that is made here.

    Raises:
        NeurozooError: None is kept, and the data or the weights are not there, or another's.
    """
    kept = kept_profile(open_trained(run.folder))
    if kept is not None:
        return kept
    found = profile_run(run.folder, samples=SAMPLES, data_root=data_root, told=told)
    if not found.same_data:
        raise DataError(f"the data of the name {run.data} that is here is not what it was trained on")
    return found


def operations(
    runs: Sequence[ReportedRun], found: Mapping[str, OperationsProfile], why: Mapping[str, str]
) -> list[Content]:
    """Operations and energy; for a single run by part, with pictures."""
    missing = [f"{name} is left out: {reason}" for name, reason in why.items()]
    if not found:
        return [Table("Operations and energy", notes=missing)]
    if len(runs) == 1:
        (profile,) = found.values()
        counted, *others = operations_tables(profile)
        first = Table("Operations and energy", counted.head, counted.rows, [heading(profile), *counted.notes])
        pictures = operations_pictures(profile)
        by_itself, energy = [_untitled(each) for each in others], _untitled(energy_table(profile))
        return [first, pictures[0], *by_itself, pictures[1], energy]
    rows = [[name, *_row(profile)] for name, profile in found.items()]
    notes = [f"{name}: {heading(profile)}" for name, profile in found.items()]
    notes.append("The energy is an estimate for operations alone; `neurozoo profile RUN` says what it assumes.")
    head = ["run, a sample", *BRIEF, "control, nJ", "ratio", "sparsity"]
    content: list[Content] = [Table("Operations and energy", head, rows, [*notes, *missing])]
    return content


def facts(found: Mapping[str, OperationsProfile]) -> dict[str, Any]:
    """What was counted, for programs: means over the samples, and the estimate of energy in pJ."""
    return {
        name: {
            "samples": profile.network.samples,
            "split": profile.split,
            **{
                what: profile.network.a_sample(getattr(profile.network, what))
                for what in ("dense", "macs", "acs", "attention", "updates")
            },
            "sparsity": profile.network.sparsity,
            "energy_estimate_pj": energy_of(profile.network).operations,
            "control_energy_estimate_pj": None if profile.control is None else energy_of(profile.control).operations,
        }
        for name, profile in found.items()
    }


def _row(profile: OperationsProfile) -> list[str]:
    network, control = profile.network, profile.control
    sparsity = "-" if network.sparsity is None else f"{network.sparsity:.1%}"
    if control is None:
        return [*brief(network), "-", "-", sparsity]
    mine, its = energy_of(network).operations, energy_of(control).operations
    return [*brief(network), brief(control)[-1], f"{mine / its:.2f}" if its else "-", sparsity]


def _untitled(table: Table) -> Table:
    """Of the section before; its title becomes a note."""
    return Table("", table.head, table.rows, [table.title, *table.notes])
