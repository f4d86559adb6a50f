"""Peak anonymous memory and time of importing SYNTHETIC .csd folders of growing length.

usage: python tests/benchmarks/csd_memory.py [--json] [HOURS ...]

By default 4, 8, 16 and 32 hours; an hour takes 140 MB of disk, and CMU-MOSEI has 65. The folders have CMU-MOSEI's
rates: COVAREP 74 at 100 Hz, FACET 35 at 30 Hz, words of 300 at 2.5 Hz, videos of 90 s in segments of 7.5 s. Each is
imported in a process of its own, whose RssAnon is read every 10 ms (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

VIDEO, SEGMENT = 90.0, 7.5
RATES = {"COVAREP": (100.0, 74), "VisualFacet42": (30.0, 35), "TimestampedGloveVectors": (2.5, 300)}
IMPORT = (
    "import sys; from pathlib import Path; from neurozoo.data.importers.csd.importer import import_csd; "
    "folder = Path(sys.argv[1]); "
    "import_csd(folder, folder / 'store', labels=str(folder / 'labels.csd'), folds=str(folder / 'folds.json'))"
)


def write(folder: Path, hours: float) -> int:
    """A SYNTHETIC folder; returns its bytes."""
    videos = [f"v{i:05d}" for i in range(round(hours * 3600 / VIDEO))]
    random = np.random.default_rng(0)
    for name, (rate, dim) in RATES.items():
        intervals = _intervals(1 / rate)
        with h5py.File(folder / f"SYNTHETIC_{name}.csd", "w") as file:
            for video in videos:
                group = file.create_group(f"{name}/data/{video}")
                group["intervals"] = intervals
                group["features"] = random.normal(size=(len(intervals), dim)).astype(np.float32)
    segments = _intervals(SEGMENT)
    with h5py.File(folder / "labels.csd", "w") as file:
        for video in videos:
            group = file.create_group(f"All Labels/data/{video}")
            group["intervals"] = segments
            group["features"] = random.integers(0, 2, (len(segments), 7)).astype(np.float32)
        names = ["sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear"]
        file.create_group("All Labels/metadata")["dimension names"] = [json.dumps(names)]
    folds = {"train": videos[0::3], "valid": videos[1::3], "test": videos[2::3]}
    (folder / "folds.json").write_text(json.dumps(folds))
    return sum(path.stat().st_size for path in folder.iterdir())


def _intervals(step: float) -> np.ndarray:
    starts = np.arange(0, VIDEO, step)
    return np.stack([starts, starts + step], axis=1).astype(np.float32)


def measure(folder: Path) -> tuple[float, float]:
    """Peak RssAnon in MiB, and seconds, of an import."""
    started, peak = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, "-c", IMPORT, str(folder)]) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            lines = status.read_text().splitlines()
            peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
            time.sleep(0.01)
    if process.returncode:
        sys.exit(f"the import ended with status {process.returncode}")
    return peak / 1024, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hours", nargs="*", type=float, default=[4, 8, 16, 32])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not given.json:
        print("SYNTHETIC folders, imported aligned to the words, L = 60")
        print(f"{'hours':>6}{'GB':>8}{'peak MiB':>10}{'seconds':>9}")
    found = []
    for hours in given.hours:
        with tempfile.TemporaryDirectory() as name:
            size = write(Path(name), hours)
            memory, seconds = measure(Path(name))
        found.append({"hours": hours, "bytes": size, "peak_mib": memory, "seconds": seconds})
        if not given.json:
            print(f"{hours:6g}{size / 1e9:8.2f}{memory:10.0f}{seconds:9.1f}", flush=True)
    if given.json:
        print(json.dumps({"synthetic": True, "folders": found}, indent=2))


if __name__ == "__main__":
    main()
