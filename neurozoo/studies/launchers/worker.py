"""What a cluster runs: one command in a child process, described by a text, with its output in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from neurozoo.files.writing import write_whole
from neurozoo.studies.launchers.jobs import WORKER

__all__ = ["run_command"]

_INTERVAL = 0.2
"""Seconds between two looks at the process."""

_INTERRUPTED = 130


def run_command(text: str) -> int:
    """Run ``neurozoo ARGUMENTS`` and return its exit status, negative for a signal.

    Args:
        text: A JSON object: ``arguments``; ``folder``, the working folder; ``environment``, variables to set; and the
            files ``log`` (gets the standard error output), ``status`` (gets the exit status, at the end) and ``stop``
            (ends the command when somebody makes it).
    """
    given = json.loads(text)
    stop = Path(given["stop"])
    if stop.exists():
        return _INTERRUPTED
    with Path(given["log"]).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(os.getpid()), *given["arguments"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=given["folder"],
            env={**os.environ, **given["environment"]},
        )
        try:
            while (status := process.poll()) is None:
                if stop.exists():
                    process.terminate()
                time.sleep(_INTERVAL)
        except BaseException:  # a signal of the cluster
            process.terminate()
            process.wait()
            raise
    write_whole(Path(given["status"]), str(status).encode())
    return status
