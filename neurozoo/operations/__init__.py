"""What a model computes: its operations by layer, and an estimate of their energy beside a control without spikes."""

from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.energy import Energy, energy_of
from neurozoo.operations.profiling import kept_profile, profile_run
from neurozoo.operations.result import Counts, LayerOperations, OperationsProfile

__all__ = [
    "Counts",
    "Energy",
    "LayerOperations",
    "OperationCounter",
    "OperationsProfile",
    "energy_of",
    "kept_profile",
    "profile_run",
]
