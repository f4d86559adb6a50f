"""SMILE weights under the names of the authors' published code, and back to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from neurozoo.errors import CheckpointError

__all__ = ["from_published", "published_name"]

_LAYERS = {"0": "first", "2": "second"}
_MODALITIES = {"l": "text", "a": "audio", "v": "vision"}

_BLOCKS = {
    "trans_l_with_self": "refine.text",
    "trans_a_with_self": "refine.audio",
    "trans_v_with_self": "refine.vision",
    "trans_snna": "enhance.audio",
    "trans_snnv": "enhance.vision",
    "trans_a_with_v": "fusion.mutual.audio",
    "trans_v_with_a": "fusion.mutual.vision",
    "trans_l_with_av": "fusion.context_asks.audio",
    "trans_l_with_va": "fusion.context_asks.vision",
    "trans_av_with_l": "fusion.asks_context.audio",
    "trans_va_with_l": "fusion.asks_context.vision",
}

_IN_BLOCK = {
    "embeddings.LayerNorm": "embedding_norm",
    "layer.0.attention.crattn.query": "attention.query",
    "layer.0.attention.crattn.key": "attention.key",
    "layer.0.attention.crattn.value": "attention.value",
    "layer.0.attention.output.dense": "attention.out",
    "layer.0.attention.output.LayerNorm": "attention_norm",
    "layer.0.intermediate.dense": "inner",
    "layer.0.output.dense": "outer",
    "layer.0.output.LayerNorm": "output_norm",
}

_IN_HEAD = {
    "decoder.embeddings.LayerNorm": "label_norm",
    "classifier.dense": "classifier",
    "decoder.decoder.layer.0.slf_attn.output.dense": "self_attention.out",
    "decoder.decoder.layer.0.slf_attn.output.LayerNorm": "self_norm",
    "decoder.decoder.layer.0.enc_attn.output.dense": "cross_attention.out",
    "decoder.decoder.layer.0.enc_attn.output.LayerNorm": "cross_norm",
    "decoder.decoder.layer.0.intermediate.dense": "inner",
    "decoder.decoder.layer.0.output.dense": "outer",
    "decoder.decoder.layer.0.output.LayerNorm": "output_norm",
} | {
    f"decoder.decoder.layer.0.{theirs}_attn.att.{part}": f"{ours}_attention.{part}"
    for theirs, ours in (("slf", "self"), ("enc", "cross"))
    for part in ("query", "key", "value")
}


def published_name(name: str) -> str | None:
    """Our name of a parameter of the published code, None for one without a counterpart.

    The token-type tables have none: only their padding row is ever read, and it stays 0.

    Raises:
        CheckpointError: The name is not one of the published model's.
    """
    stem, _, leaf = name.rpartition(".")
    block, _, inside = stem.partition(".")
    if inside == "embeddings.token_type_embeddings" and block in _BLOCKS:
        return None
    if name == "decoder.embeddings.word_embeddings.weight":
        return "head.labels"
    if match := re.fullmatch(r"proj_([lav])", stem):
        return f"project.{_MODALITIES[match[1]]}.{leaf}"
    if match := re.fullmatch(r"snn([av])\.slinear\.([02])", stem):
        return f"branches.{_MODALITIES[match[1]]}.{_LAYERS[match[2]]}.synapse.{leaf}"
    if block in _BLOCKS and inside in _IN_BLOCK:
        return f"{_BLOCKS[block]}.{_IN_BLOCK[inside]}.{leaf}"
    if stem in _IN_HEAD:
        return f"head.{_IN_HEAD[stem]}.{leaf}"
    raise CheckpointError(
        f"{name!r} is not a parameter of the published SMILE model; give the state dict of its code's last "
        "public version, whose names begin with proj_, trans_, snn, decoder and classifier"
    )


def from_published(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the published code under our names, for ``SMILE.load_state_dict(..., strict=False)``.

    The projections are 1x1 convolutions there, ``[hidden, D, 1]``, and linears ``[hidden, D]`` here.

    Args:
        weights: The published model's state dict.

    Raises:
        CheckpointError: A name is not the published model's.
    """
    converted = {}
    for name, weight in weights.items():
        ours = published_name(name)
        if ours is not None:
            converted[ours] = weight.squeeze(-1) if ours.startswith("project.") and weight.dim() == 3 else weight
    return converted
