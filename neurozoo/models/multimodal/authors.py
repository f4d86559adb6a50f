"""Names of BERT's tensors in the code of TAILOR, CARAT and LDDU, which descend from one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["POOLERS", "encoder_names", "layer_names"]

POOLERS: Mapping[str, str] = {r"\w+\.pooler\.dense\.\w+": "a pooler is computed, and used nowhere"}
"""Tensors of the authors that have no counterpart here."""


def layer_names(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """Yield the names of layers of BERT, as pairs for :class:`~neurozoo.core.published.AuthorsNames`.

    Args:
        theirs: Regular expression for what is before ``.layer``, without groups.
        ours: Name here of the layers.
    """
    layer = rf"{theirs}\.layer\.(\d+)\."
    yield rf"{layer}attention\.self\.(query|key|value)\.(\w+)", rf"{ours}.attention.\1.\2.\3"
    yield rf"{layer}attention\.output\.dense\.(\w+)", rf"{ours}.attention.\1.out.\2"
    yield rf"{layer}attention\.output\.LayerNorm\.(\w+)", rf"{ours}.attention_norm.\1.\2"
    yield rf"{layer}intermediate\.dense\.(\w+)", rf"{ours}.inner.\1.\2"
    yield rf"{layer}output\.dense\.(\w+)", rf"{ours}.outer.\1.\2"
    yield rf"{layer}output\.LayerNorm\.(\w+)", rf"{ours}.output_norm.\1.\2"


def encoder_names(encoders: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the names of the encoders' tensors.

    Args:
        encoders: The authors' name of an encoder to the modality here.
    """
    for theirs, modality in encoders.items():
        ours = f"encoders.{modality}"
        yield rf"{theirs}\.embeddings\.word_embeddings\.(\w+)", rf"{ours}.embed.\1"
        yield rf"{theirs}\.embeddings\.position_embeddings\.(\w+)", rf"{ours}.positions.\1"
        yield rf"{theirs}\.embeddings\.LayerNorm\.(\w+)", rf"{ours}.norm.\1"
        yield from layer_names(rf"{theirs}\.encoder", f"{ours}.layers")
        # Named for the modality where the encoder is called bert.
        norm = {"text": "text", "vision": "visual"}.get(modality, modality)
        yield rf"{norm}_norm\.(?:{norm}_)?norm2d\.(\w+)", rf"{ours}.input_norm.\1"
