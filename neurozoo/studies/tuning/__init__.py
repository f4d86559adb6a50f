"""Searching a recipe's ``tune.space`` by trials on the valid split; the test split stays closed."""

from neurozoo.studies.tuning.result import Trial, TuningResult
from neurozoo.studies.tuning.search import tune

__all__ = ["Trial", "TuningResult", "tune"]
