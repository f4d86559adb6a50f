"""The logger ``mlflow``: one MLflow run for each run folder, in a file or on a server that the environment names."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurozoo.core.leaves import leaf_text, leaves
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import NeurozooError
from neurozoo.training.loggers import Artefact, Logger, one_at_a_time

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""A server that does not answer must not hold up a training for minutes, and nothing goes to anybody but the tracking
server. What the user has set stays."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Set what the user has not, and hide what MLflow's dependencies say of their own future."""
    missing = {name: value for name, value in _DEFAULTS.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning, ResourceWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


with _quiet():
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = ["MlflowLogger"]

_STEPS = "epoch"
"""The metric that is written last of an epoch, by which a resumed run finds which epochs are there."""
_FAILURES = 5
"""After so many epochs in a row that could not be sent the logger gives up."""
_SQLITE = "sqlite:///"
_PARAMS, _METRICS, _LONGEST = 100, 1000, 6000
"""MLflow's limits: parameters and metrics of one request, and characters of a value."""


class MlflowLogger(Logger):
    """Records a training as a run of MLflow, which a resumed training continues.

    The address of the server, and what it needs to let one in, come from MLflow's environment variables, such as
    ``MLFLOW_TRACKING_URI``, and never from a recipe. Without an address the runs are in the file ``mlflow.db`` of the
    current folder, which ``mlflow ui`` shows.

    Args:
        folder: The run folder.
        experiment: Name of MLflow's experiment, which is made if it is missing.
        artefacts: Which files of the run are copied to MLflow at the end: ``recipe`` (with environment and data),
            ``summary`` (with the epochs), ``weights`` (the best), ``predictions``, ``report`` (if the logger of that
            name comes first).
    """

    def __init__(self, folder: Path, *, experiment: str = "neurozoo", artefacts: tuple[Artefact, ...] = ()) -> None:
        super().__init__(folder)
        self.experiment, self.artefacts = experiment, artefacts
        self._pending: list[Mapping[str, Any]] = []
        self._failures = 0
        self._finished = False

    def started(self, info: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> None:
        with _quiet():
            # mlflow.set_tracking_uri sets the variable too.
            address = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
            with _alone(address):
                self._client = MlflowClient(address)
                self._experiment = self._experiment_id()
            found = self._found()
            if found is None:
                self._run_id = self._new(info)
                there: set[int] = set()
            else:
                self._run_id = found.info.run_id
                self._client.update_run(self._run_id, status="RUNNING")
                there = {each.step for each in self._client.get_metric_history(self._run_id, _STEPS)}
            self._there = there
            self._pending = [record for record in past if record["epoch"] not in there]
            self._send()

    def epoch(self, record: Mapping[str, Any]) -> None:
        if record["epoch"] in self._there:  # one that is repeated, with the same numbers
            return
        self._pending.append(record)
        try:
            self._send()
            self._failures = 0
        except Exception as error:  # of the network, of the server, of the file
            self._failures += 1
            if self._failures >= _FAILURES:
                raise NeurozooError(f"the last {_FAILURES} epochs could not be sent: {error}") from error
            if self._failures == 1:
                self.warn(f"MLflow: epoch {record['epoch']} is sent with a later one, as this failed: {error}")

    def finished(self, summary: Mapping[str, Any]) -> None:
        self._send()
        with _quiet():
            self._metrics(self.numbers(self.final_record(summary)), summary["best_epoch"])
            self._client.set_tag(self._run_id, "neurozoo.best_epoch", summary["best_epoch"])
            if warned := "\n".join(summary["warnings"]):
                self._client.set_tag(self._run_id, "neurozoo.warnings", warned[:_LONGEST])
            for name in self.artefact_files(self.artefacts):
                self._client.log_artifact(self._run_id, str(self.folder / name), str(Path(name).parent).strip("."))
        self._finished = True

    def close(self) -> None:
        with _quiet():
            self._client.set_terminated(self._run_id, "FINISHED" if self._finished else "KILLED")

    def _found(self) -> Run | None:
        """Return the MLflow run that this run folder began, if the server has it."""
        run_id = self.kept_id("mlflow")
        if run_id is None:
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # another server, or deleted for good
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _new(self, info: Mapping[str, Any]) -> str:
        """Make an MLflow run with the recipe as its parameters; returns its id."""
        settings, data = self.sent_settings(info), info["data"]
        tags = {
            "neurozoo.group": self.group(info),
            "neurozoo.recipe": info["recipe"],
            "neurozoo.model": info["model"],
            "neurozoo.data": data.get("name") or settings["data"].get("name") or "",
            "neurozoo.data_checksum": data["checksum"],
            "neurozoo.parameters": info["parameters"],
            **({"mlflow.note.content": SYNTHETIC_NOTICE} if info["synthetic"] else {}),
        }
        tags = {name: str(value) for name, value in tags.items()}
        run: Run = self._client.create_run(self._experiment, tags=tags, run_name=self.run_name)
        run_id = str(run.info.run_id)
        self.keep_id("mlflow", run_id)
        params = [Param(_key(path), leaf_text(value)[:_LONGEST]) for path, value in leaves(settings)]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS])
        return run_id

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(self.experiment))
        except MlflowException:  # another training was first
            found = self._client.get_experiment_by_name(self.experiment)
            if found is None:
                raise
            return str(found.experiment_id)

    def _send(self) -> None:
        with _quiet():
            while self._pending:
                record = self._pending[0]
                numbers = self.numbers(record)
                numbers.pop(_STEPS, None)
                self._metrics({**numbers, _STEPS: record["epoch"]}, record["epoch"])
                self._there.add(record["epoch"])
                self._pending.pop(0)

    def _metrics(self, numbers: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(_key(name), value, now, step) for name, value in numbers.items()]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + _METRICS])


def _alone(address: str) -> AbstractContextManager[None]:
    """Wait while another process makes the tables of the same file: MLflow fails if two do."""
    if not address.startswith(_SQLITE):
        return nullcontext()
    path = Path(address.removeprefix(_SQLITE))
    return one_at_a_time(path.with_name(f".{path.name}.lock"))


def _key(name: str) -> str:
    """Return a name in the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]
