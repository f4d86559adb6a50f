"""The logger ``wandb``: one run of Weights & Biases for each run folder, offline unless the environment says so."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import NeurozooError
from neurozoo.training.loggers import Artefact, Logger

_REPORTING = "WANDB_ERROR_REPORTING"


@contextmanager
def _no_reports() -> Iterator[None]:
    """Keep wandb and its process from reporting their own errors to their maker, unless the user has said so."""
    before = os.environ.get(_REPORTING)
    os.environ[_REPORTING] = before or "false"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_REPORTING, None)


with _no_reports():  # read at the import
    import wandb

__all__ = ["WandbLogger"]

_BEGIN, _END = 30.0, 60.0
"""Seconds that a training waits for the server at the beginning, and for the last uploads at its end."""
_LOCAL = ("offline", "disabled", "dryrun")
"""Modes in which nothing is sent."""


class WandbLogger(Logger):
    """Records a training as a run of Weights & Biases, which a resumed training continues.

    Nothing is sent unless the environment says so: ``WANDB_MODE=online``. The key and the address of the server come
    from the environment or from ``wandb login``, and never from a recipe. Offline runs are in ``loggers/wandb`` of the
    run folder, and ``wandb sync`` sends them. Machine, user, code and the output of the program are not recorded.

    Args:
        folder: The run folder.
        project: Name of the project.
        entity: The user or team that it belongs to; by default that of the key.
        artefacts: Which files of the run become an artefact at the end: ``recipe`` (with environment and data),
            ``summary`` (with the epochs), ``weights`` (the best), ``predictions``, ``report`` (if the logger of that
            name comes first).
    """

    def __init__(
        self,
        folder: Path,
        *,
        project: str = "neurozoo",
        entity: str | None = None,
        artefacts: tuple[Artefact, ...] = (),
    ) -> None:
        super().__init__(folder)
        self.project, self.entity, self.artefacts = project, entity, artefacts
        self._finished = False

    def started(self, info: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> None:
        with _no_reports():  # and by the process that is started here
            self._begin(info)
        for record in past:
            self.epoch(record)

    def _begin(self, info: Mapping[str, Any]) -> None:
        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        # Without a key, wandb.init would ask for one in the middle of a training.
        if mode not in _LOCAL and not wandb.login(prompt=False):
            raise NeurozooError(
                f"WANDB_MODE={mode}, and there is no key; log in with `wandb login`, set WANDB_API_KEY, or leave "
                "WANDB_MODE out to record offline"
            )
        local = mode in _LOCAL
        settings = wandb.Settings(
            mode=mode, silent=local, quiet=True, console="off", disable_code=True, disable_git=True, save_code=False,
            init_timeout=_BEGIN, finish_timeout=_END, finish_timeout_raises=True, x_disable_meta=True,
            x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        config = {
            **self.sent_settings(info),
            "run": {name: info[name] for name in ("recipe", "parameters", "device", "synthetic") if name in info},
            "data_checksum": info["data"]["checksum"],
        }
        self._run = wandb.init(
            project=self.project, entity=self.entity, dir=str(self.own_folder()), id=self._id(), resume="allow",
            name=self.run_name, group=self.group(info), tags=[info["model"], info["backend"]], config=config,
            notes=SYNTHETIC_NOTICE if info["synthetic"] else None, settings=settings,
            # Not the run of other code in this process, which may log on its own.
            reinit="create_new",
        )  # fmt: skip
        # The server has what an earlier training sent; an offline run is a new file, which gets all epochs.
        self._there = 0 if local or not self._run.resumed else self._run.step - 1

    def epoch(self, record: Mapping[str, Any]) -> None:
        if record["epoch"] > self._there:
            self._run.log(self.numbers(record), step=record["epoch"])

    def finished(self, summary: Mapping[str, Any]) -> None:
        final = self.numbers(self.final_record(summary))
        self._run.summary.update({**final, "best_epoch": summary["best_epoch"], "warnings": list(summary["warnings"])})
        if names := list(self.artefact_files(self.artefacts)):
            artefact = wandb.Artifact(f"run-{self._run.id}", type="run")
            for name in names:
                # As it is in the run folder, which does not change any more; a copy would lie in the user's home.
                artefact.add_file(str(self.folder / name), name=name, policy="immutable", skip_cache=True)
            self._run.log_artifact(artefact)
        self._finished = True

    def close(self) -> None:
        self._run.finish(exit_code=0 if self._finished else 1)

    def _id(self) -> str:
        """Return the id of the run of this folder; a new one is kept in it."""
        run_id = self.kept_id("wandb") or uuid.uuid4().hex[:16]
        self.keep_id("wandb", run_id)
        return run_id
