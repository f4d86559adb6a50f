"""Make neurozoo/data/shipped/fsdd_small.npz of the public recordings, or compare it with them.

usage: python docs/examples/make_fsdd_small.py RECORDINGS OUT.npz
       python docs/examples/make_fsdd_small.py RECORDINGS OUT.npz --check

RECORDINGS is the folder `recordings` of the Free Spoken Digit Dataset, with DIGIT_SPEAKER_INDEX.wav:
https://github.com/Jakobovski/free-spoken-digit-dataset, doi:10.5281/zenodo.1342401, CC BY-SA 4.0. What is made of it
has the same licence. With --check nothing is written, and the exit status is 1 if an event differs.

The events are those of the representation `mel-level-crossing` with its default parameters: 10 ms a frame, 40 bands, ON
and OFF. A frame and a unit fit into a byte each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.importers.sound_files import open_recording, read_samples
from neurozoo.data.representations.mel import MelLevelCrossing

# By speaker the split, and how many of the recordings of each digit, from the first on.
CHOSEN = {
    "george": ("train", 14),
    "jackson": ("train", 14),
    "lucas": ("train", 14),
    "nicolas": ("valid", 8),
    "theo": ("test", 10),
    "yweweler": ("test", 10),
}
RATE = 8000


def make(recordings: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the file: events one after another, and what each recording is."""
    encoder, names, splits, digits, counts, frames, units = MelLevelCrossing(), [], [], [], [], [], []
    for speaker, (split, number) in CHOSEN.items():
        for digit in range(10):
            for index in range(number):
                recording = open_recording(recordings / f"{digit}_{speaker}_{index}.wav")
                assert recording.rate == RATE, f"{recording.path}: {recording.rate} samples a second"
                waveform = torch.from_numpy(read_samples(recording)[:, 0])
                stored = SignalShape((), len(waveform), "int16", True, 1 / RATE)
                (events,) = encoder(Signal(waveform[None], None), stored).values.numpy()
                names.append(f"{digit}_{speaker}_{index}")
                splits.append(split)
                digits.append(digit)
                counts.append(len(events))
                frames.append(events[:, 0])
                units.append(events[:, 1])
    return {
        "name": np.array(names),
        "split": np.array(splits),
        "digit": np.array(digits, np.uint8),
        "events": np.array(counts, np.uint16),
        "frame": np.concatenate(frames).astype(np.uint8),
        "unit": np.concatenate(units).astype(np.uint8),
    }


def main(recordings: str, out: str, check: bool = False) -> None:
    made = make(Path(recordings))
    if not check:
        np.savez_compressed(out, **made)
        print(f"{len(made['name'])} recordings, {len(made['frame']):,} events, {Path(out).stat().st_size:,} bytes")
        return
    with np.load(out) as kept:
        differ = [name for name in made if name not in kept or not np.array_equal(made[name], kept[name])]
        differ += [name for name in kept if name not in made]
    print(f"differ: {', '.join(differ)}" if differ else "equal")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["--check"]):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3:] == ["--check"])
