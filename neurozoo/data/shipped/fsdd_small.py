"""Spoken digits as events: 700 recordings of the Free Spoken Digit Dataset, shipped with neurozoo.

The events are the level crossings of 40 mel bands (:mod:`neurozoo.data.representations.mel`), computed by
``docs/examples/make_fsdd_small.py``. Three speakers are ``train``, one is ``valid``, two others are ``test``. The file
is under CC BY-SA 4.0, see ``NOTICE`` in this folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neurozoo.core.shapes import SignalShape
from neurozoo.data.locations import data_home
from neurozoo.data.made_once import made_once
from neurozoo.data.store import Store, StoreWriter

__all__ = ["FILE", "FsddSmall"]

FILE = Path(__file__).with_name("fsdd_small.npz")
"""Arrays: by recording ``name``, ``split``, ``digit`` and number of ``events``; by event ``frame`` and ``unit``."""

_UNITS, _TICK = 80, 0.01


class FsddSmall:
    """Spoken digits of six speakers as events, 420 to train on, 80 to choose by and 200 of unseen speakers.

    The signal ``events`` has times in ticks of 10 ms, and 80 channels: 2 x band + (0 rising, 1 falling).
    """

    name = "fsdd-small"
    version = 1

    @property
    def path(self) -> Path:
        """Where the store is, or will be."""
        return data_home() / f"{self.name}-v{self.version}"

    def store(self) -> Store:
        """Return the data, unpacked into a store on first use and kept.

        Raises:
            DataError: The folder cannot be written, or its content is not whole.
        """
        return made_once(self.path, self.name, self._unpack, f"remove {self.path} to unpack it again")

    def _unpack(self) -> None:
        with np.load(FILE) as file:
            kept = {name: file[name] for name in file.files}
        ends = np.cumsum(kept["events"], dtype=np.int64)[:-1]
        events = np.split(np.stack([kept["frame"], kept["unit"]], 1).astype(np.int32), ends)
        shape = SignalShape.events((_UNITS,), int(kept["events"].max()), _TICK)
        outputs = [str(digit) for digit in range(10)]
        with StoreWriter(
            self.path, signals={"events": shape}, task="multiclass", outputs=outputs, origin=_ORIGIN
        ) as writer:
            for split in ("train", "valid", "test"):
                places = np.flatnonzero(kept["split"] == split)
                names, digits = kept["name"][places].tolist(), kept["digit"][places].tolist()
                writer.add(split, {"events": [events[place] for place in places]}, digits, ids=names)


_ORIGIN = {
    "format": FsddSmall.name,
    "source": "Free Spoken Digit Dataset, 700 recordings as events",
    "licence": "CC BY-SA 4.0 (derived data under the same licence)",
    "citation": "Jackson et al.: Free Spoken Digit Dataset; doi:10.5281/zenodo.1342401",
    "options": {"encoder": "mel-level-crossing", "splits": "by speaker: 3 train, 1 valid, 2 others test"},
}
