"""The networks of the golden files: a label head with what its authors have before it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from neurozoo.core.multimodal import Layout
from neurozoo.heads.chain import ChainHead
from neurozoo.heads.label_attention import LabelAttentionHead, attention_of_labels
from neurozoo.heads.label_decoder import LabelDecoderHead
from neurozoo.heads.lsan import BothDirections, LSANHead
from neurozoo.heads.mlgcn import MLGCNHead, adjacency
from neurozoo.heads.query2label import Query2LabelHead
from neurozoo.nn.sequence import tokens
from neurozoo.testing.golden_parts import PartCase

Batch = Mapping[str, Tensor]
LABELS = 6


def layout(hidden: int, heads: int = 1) -> Layout:
    return Layout(hidden, heads, 0.0, ("audio",), (), LABELS)


def masked(batch: Batch) -> Any:
    return tokens(batch["sequence"], batch["valid"].bool())


def one(value: Tensor) -> Tensor:
    return value.reshape(1)


class Estimators(nn.Module):
    """A logistic regression for each link, as scikit-learn has them: the last weights are of the labels before."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList([torch.zeros(1, features + before) for before in range(LABELS)])
        self.biases = nn.ParameterList([torch.zeros(1) for _ in range(LABELS)])


class Chain(PartCase):
    file = "mm-head-chain.safetensors"
    names = (
        (r"estimators_\.(\d)\.coef_", r"weights.\1"),
        (r"estimators_\.(\d)\.intercept_", r"biases.\1"),
    )
    features = 5

    def network(self, header: Mapping[str, str]) -> nn.Module:
        network = Estimators(self.features)
        # In a list, so that its own parameters, which the estimators' take the place of, are not the network's.
        network.heads = [ChainHead(layout(self.features), links=links, dropout=0.0) for links in ("soft", "hard")]
        for head in network.heads:
            head.order.copy_(torch.tensor(json.loads(header["order"])))
        return network

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        soft, hard = network.heads
        back = soft.order.argsort()
        parameters = {
            "features.weight": torch.cat([each[:, : self.features] for each in network.weights])[back],
            "features.bias": torch.cat(list(network.biases))[back],
            "links": torch.cat([each[0, self.features :] for each in network.weights]),
        }
        rows = tokens(batch["x"][:, None], None)
        taught = functional_call(soft, parameters, (rows, batch["labels"]))
        return {
            "out_soft": torch.sigmoid(functional_call(soft, parameters, (rows,))),
            "out_hard": torch.sigmoid(functional_call(hard, parameters, (rows,))),
            "loss": one(F.binary_cross_entropy_with_logits(taught, batch["labels"])),
        }


class MLGCN(PartCase):
    file = "mm-head-mlgcn.safetensors"
    names = (
        (r"gc1\.weight", "first"),
        (r"gc2\.weight", "second"),
        (r"label_embedding", "vectors.weight"),
        (r"(counts|together)", r"\1"),
        (r"A", None),  # of given/counts and given/together
    )

    def network(self, header: Mapping[str, str]) -> nn.Module:
        head = MLGCNHead(
            layout(6),
            vectors=Path("given"),  # a file, so that its vectors do not learn
            size=5,
            inner=7,
            threshold=float(header["threshold"]),
            pooling="max",
            dropout=0.0,
        )
        assert not head.vectors.state_dict()["weight"].requires_grad
        return head

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        places = batch["features"].flatten(2).transpose(1, 2)
        out = network(tokens(places, None))
        graph = adjacency(network.counts, network.together, network.threshold)
        return {
            "out": out,
            "loss": one(F.binary_cross_entropy_with_logits(out, batch["labels"])),
            "act/adjacency": graph,
            "act/gc1": network.convolved(graph),
            "act/gc2": network.classifiers(),
            "act/pooled": places.amax(1),
        }


class LSAN(PartCase):
    file = "mm-head-lsan.safetensors"
    names = (
        (r"embeddings\.weight", "words.weight"),
        (r"lstm\.(.+)_reverse", r"lstm.back.\1"),
        (r"lstm\.(.+)", r"lstm.ahead.\1"),
        (r"label_embed\.weight", "head.vectors.weight"),
        (r"linear_(first|second)\.(.+)", r"head.\1.\2"),
        (r"weight1\.(.+)", r"head.gate_labels.\1"),
        (r"weight2\.(.+)", r"head.gate_self.\1"),
        (r"output_layer\.(.+)", r"head.classifier.\1"),
    )

    def network(self, header: Mapping[str, str]) -> nn.Module:
        hidden = int(header["hidden"])
        head = LSANHead(
            layout(2 * hidden),
            attention=5,
            rows="halves",
            label_vectors="fixed",
            products="sum",
            scores="mean",
            dropout=0.0,
        )
        return nn.ModuleDict({"words": nn.Embedding(9, 6), "lstm": BothDirections(6, hidden), "head": head})

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        rows = network["lstm"](tokens(network["words"](batch["ids"]), None), (batch["h0"], batch["c0"]))
        head = network["head"]
        found = head.mixed(rows)
        out = torch.sigmoid(head(rows))
        return {
            "out": out,
            "loss": one(F.binary_cross_entropy(out, batch["labels"])),
            "act/outputs": rows.x,
            "act/self_scores": head.self_scores(rows.x),
            "act/self_att": found["by_self"],
            "act/label_att": found["by_label"],
            "act/document": found["mixed"].mean(1),
        }


class LabelAttention(PartCase):
    file = "mm-head-label-attention.safetensors"
    names = ((r"attention\.attention\.weight", "queries"), (r"clf_weight", "classifiers"))

    def network(self, header: Mapping[str, str]) -> nn.Module:
        return LabelAttentionHead(layout(8), dropout=0.0)

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        sequence = masked(batch)
        out = network(sequence)
        return {
            "out": out,
            "loss": one(F.binary_cross_entropy_with_logits(out, batch["labels"])),
            "act/attention": attention_of_labels(sequence.x @ network.queries.T, sequence.mask),
            "act/label": network.label_vectors(sequence),
        }


class TAILOR(PartCase):
    file = "mm-head-tailor.safetensors"
    names = (
        (r"decoder\.embeddings\.word_embeddings\.weight", "labels"),
        (r"decoder\.embeddings\.LayerNorm\.(.+)", r"label_norm.\1"),
        *(
            (rf"decoder\.decoder\.layer\.0\.{theirs}\.(.+)", rf"{ours}.\1")
            for attention, name in (("slf_attn", "self"), ("enc_attn", "cross"))
            for theirs, ours in (
                *((rf"{attention}\.att\.{part}", f"{name}_attention.{part}") for part in ("query", "key", "value")),
                (rf"{attention}\.output\.dense", f"{name}_attention.out"),
                (rf"{attention}\.output\.LayerNorm", f"{name}_norm"),
            )
        ),
        (r"decoder\.decoder\.layer\.0\.intermediate\.dense\.(.+)", r"inner.\1"),
        (r"decoder\.decoder\.layer\.0\.output\.dense\.(.+)", r"outer.\1"),
        (r"decoder\.decoder\.layer\.0\.output\.LayerNorm\.(.+)", r"output_norm.\1"),
        (r"cross_classifier\.dense\.(.+)", r"classifier.\1"),
    )

    def network(self, header: Mapping[str, str]) -> nn.Module:
        return LabelDecoderHead(
            layout(int(header["hidden"]), int(header["heads"])),
            dropout=0.0,
            inner=int(header["inner"]),
            classifier_dropout=0.0,
            dropout_at="logits",
            layers=int(header["layers"]),
        )

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        sequence = masked(batch)
        out = torch.sigmoid(network(sequence))
        loss = F.binary_cross_entropy(out, batch["labels"])
        return {"out": out, "loss": one(loss), "act/decoder": network.decode(sequence)}


class Query2Label(PartCase):
    file = "mm-head-query2label.safetensors"
    names = (
        (r"query_embed\.weight", "queries"),
        (r"fc\.W", "weight"),
        (r"fc\.b", "bias"),
        (r"transformer\.decoder\.norm\.(.+)", r"norm.\1"),
        *(
            (rf"transformer\.{half}\.layers\.(\d)\.{theirs}", rf"{half}.\1.{ours}")
            for half, attention, norms in (
                ("encoder", "self_attn", ("norm1", "norm2")),
                ("decoder", "multihead_attn", ("norm2", "norm3")),
            )
            for theirs, ours in (
                (rf"{attention}\.in_proj_(weight|bias)", r"attention.\2"),
                (rf"{attention}\.out_proj\.(.+)", r"attention.out.\2"),
                (rf"{norms[0]}\.(.+)", r"norm.\2"),
                (rf"{norms[1]}\.(.+)", r"feed.norm.\2"),
                (r"linear1\.(.+)", r"feed.inner.\2"),
                (r"linear2\.(.+)", r"feed.outer.\2"),
            )
        ),
    )

    def network(self, header: Mapping[str, str]) -> nn.Module:
        assert header["self_attention"] == "false"
        return Query2LabelHead(
            layout(int(header["hidden"]), int(header["heads"])),
            encoder_layers=int(header["encoder_layers"]),
            decoder_layers=int(header["decoder_layers"]),
            inner=int(header["inner"]),
            dropout=0.0,
        )

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        sequence = masked(batch)
        rows, code, allowed = network.encoded(sequence.x, batch["position"], sequence.mask)
        labels = network.decoded(rows, code, allowed)
        out = network.logits(labels)
        loss = F.binary_cross_entropy_with_logits(out, batch["labels"])
        return {"out": out, "loss": one(loss), "act/memory": rows, "act/queries": labels}


CASES: tuple[PartCase, ...] = (Chain(), MLGCN(), LSAN(), LabelAttention(), TAILOR(), Query2Label())
