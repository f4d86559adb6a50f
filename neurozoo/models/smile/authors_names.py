"""Names of SMILE's tensors in the authors' published code."""

from __future__ import annotations

import re

from neurozoo.core.published import AuthorsNames

__all__ = ["AUTHORS_NAMES", "BLOCKS"]

_LAYERS = {"0": "first", "2": "second"}
_MODALITIES = {"l": "text", "a": "audio", "v": "vision"}

BLOCKS = {
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
"""Encoder blocks: the authors' names, and the names here."""

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


AUTHORS_NAMES = AuthorsNames(
    (
        (r"decoder\.embeddings\.word_embeddings\.weight", "head.labels"),
        *((rf"proj_{theirs}\.(\w+)", rf"project.{ours}.\1") for theirs, ours in _MODALITIES.items()),
        *(
            (rf"snn{modality}\.slinear\.{number}\.(\w+)", rf"branches.{_MODALITIES[modality]}.{layer}.synapse.\1")
            for modality in "av"
            for number, layer in _LAYERS.items()
        ),
        *(
            (rf"{block}\.{re.escape(inside)}\.(\w+)", rf"{ours}.{part}.\1")
            for block, ours in BLOCKS.items()
            for inside, part in _IN_BLOCK.items()
        ),
        *((rf"{re.escape(theirs)}\.(\w+)", rf"head.{ours}.\1") for theirs, ours in _IN_HEAD.items()),
    ),
    {r"\w+\.embeddings\.token_type_embeddings\.weight": "a table of which only a row of zeros is read"},
    own=("threshold.previous",),
)
"""The projections are convolutions of kernel 1 there, and linears here."""
