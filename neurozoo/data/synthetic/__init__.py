"""Stand-in data sets, generated here, and the notice that goes with every number measured on such data."""

__all__ = ["SYNTHETIC_NOTICE"]

SYNTHETIC_NOTICE = (
    "SYNTHETIC data: these numbers say nothing about real data and cannot be compared with published results"
)
