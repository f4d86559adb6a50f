"""Where the commands of a study run: in processes of this machine, as jobs of Slurm, or on a dask cluster."""

from neurozoo.studies.launchers.jobs import JobDied, Jobs
from neurozoo.studies.launchers.launcher import LAUNCHERS, RETRIES, Launcher
from neurozoo.studies.launchers.options import read_options

__all__ = ["LAUNCHERS", "RETRIES", "JobDied", "Jobs", "Launcher", "read_options"]
