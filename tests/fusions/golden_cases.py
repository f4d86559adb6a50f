"""The networks of the golden files: a fusion with what its authors have before and behind it.

What is before a fusion is a model's business; it is here so that whole trainings can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.core.multimodal import Features, Layout, Tokens
from neurozoo.fusions.gmu import GatedUnit
from neurozoo.fusions.mag import AdaptationGate
from neurozoo.fusions.mbt import MBTFusion
from neurozoo.fusions.misa import SharedPrivate, difference, reconstruction, similarity
from neurozoo.fusions.scmrl import SCMRLFusion
from neurozoo.fusions.tensor import LowRankProduct, TensorProduct
from neurozoo.nn.sequence import tokens
from neurozoo.testing.golden_parts import PartCase

Batch = Mapping[str, Tensor]


def one(value: Tensor) -> Tensor:
    return value.reshape(1)


def refined(x: Tensor) -> Features:
    """A sequence ``[B, L, D]`` without padding, as a fusion is given it."""
    sequence: Tokens = tokens(x, None)
    return Features(sequence, sequence, sequence, True)


class SubNet(nn.Module):
    """TFN's and LMF's branch of audio and vision: batch norm and three layers."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.linear_1 = nn.Linear(width, hidden)
        self.linear_2, self.linear_3 = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.linear_1(self.norm(x)))
        return torch.relu(self.linear_3(torch.relu(self.linear_2(x))))


class TextNet(nn.Module):
    """TFN's and LMF's branch of text: the last state of an LSTM, and a linear."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(width, hidden, batch_first=True)
        self.linear_1 = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        reduced: Tensor = self.linear_1(self.rnn(x)[1][0][0])
        return reduced


class Branches(nn.Module):
    def __init__(self, header: Mapping[str, str]) -> None:
        super().__init__()
        audio, video, text = map(int, header["hidden"].strip("[]").split(","))
        self.audio_subnet, self.video_subnet = SubNet(7, audio), SubNet(6, video)
        self.text_subnet = TextNet(8, text, int(header["text_out"]))
        self.widths = (audio, video, int(header["text_out"]))

    def vectors(self, batch: Batch) -> list[Tensor]:
        return [
            self.audio_subnet(batch["audio"]),
            self.video_subnet(batch["vision"]),
            self.text_subnet(batch["text"]),
        ]


BRANCHES = ((r"(audio|video|text)_subnet\.(.+)", r"\1_subnet.\2"),)


def acts(vectors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"act/{name}_h": x for name, x in zip(("audio", "vision", "text"), vectors, strict=True)}


class TFN(PartCase):
    file = "mm-fusion-tfn.safetensors"
    names = (
        *BRANCHES,
        (r"post_fusion_layer_1\.(.+)", r"product.first.\1"),
        (r"post_fusion_layer_2\.(.+)", r"product.second.\1"),
        (r"post_fusion_layer_3\.(.+)", r"head.\1"),
        (r"output_(range|shift)", None),
    )

    def network(self, header: Mapping[str, str]) -> nn.Module:
        network = Branches(header)
        network.product = TensorProduct(network.widths, int(header["post"]), 0.0)
        network.head = nn.Linear(int(header["post"]), 1)
        return network

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        vectors = network.vectors(batch)
        fused = network.product(vectors)
        out = 6 * torch.sigmoid(network.head(fused)) - 3
        loss = (out - batch["target"]).abs().mean()
        seams = {"act/tensor": network.product.product(vectors), "act/fused": fused}
        return {"out": out, "loss": one(loss), **acts(vectors), **seams}


class LMF(PartCase):
    file = "mm-fusion-lmf.safetensors"
    names = (
        *BRANCHES,
        (r"audio_factor", "product.factors.0"),
        (r"video_factor", "product.factors.1"),
        (r"text_factor", "product.factors.2"),
        (r"fusion_(weights|bias)", r"product.\1"),
    )

    def network(self, header: Mapping[str, str]) -> nn.Module:
        network = Branches(header)
        network.product = LowRankProduct(network.widths, 6, int(header["rank"]), "published")
        return network

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        vectors = network.vectors(batch)
        out = network.product(vectors)
        loss = F.binary_cross_entropy_with_logits(out, batch["labels"])
        return {"out": out, "loss": one(loss), **acts(vectors)}


class GMU(PartCase):
    file = "mm-fusion-gmu.safetensors"
    names = (
        (r"bimodal\.W", "two.gates.0.weight"),
        (r"bimodal\.visual\.weight", "two.inputs.0.weight"),
        (r"bimodal\.textual\.weight", "two.inputs.1.weight"),
        (r"many\.h\.(\d)\.weight", r"many.inputs.\1.weight"),
        (r"many\.z\.(\d)\.weight", r"many.gates.\1.weight"),
    )

    def converted(self, name: str, tensor: Tensor) -> Tensor:
        return tensor.T if name == "bimodal.W" else tensor

    def network(self, header: Mapping[str, str]) -> nn.Module:
        hidden = int(header["hidden"])
        forms = {"two": GatedUnit([6, 7], hidden, "bimodal"), "many": GatedUnit([7, 5, 6], hidden, "independent")}
        return nn.ModuleDict(forms)

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        text, audio, vision = (batch[name] for name in ("text", "audio", "vision"))
        all_there = torch.ones(len(text), 3, dtype=torch.bool)
        out, gate = network["two"]([vision, text], all_there[:, :2])
        many, gates = network["many"]([text, audio, vision], all_there)
        loss = F.mse_loss(out, batch["target"]) + F.mse_loss(many, batch["target"])
        return {"out": out, "loss": one(loss), "act/gate": gate[:, 0], "act/many": many, "act/many_gates": gates}


class MAG(PartCase):
    file = "mm-fusion-mag.safetensors"
    names = (
        (r"LayerNorm\.(.+)", r"norm.\1"),
        (r"W_hv\.(.+)", r"gates.0.\1"),
        (r"W_ha\.(.+)", r"gates.1.\1"),
        (r"W_v\.(.+)", r"shifts.0.\1"),
        (r"W_a\.(.+)", r"shifts.1.\1"),
    )

    def network(self, header: Mapping[str, str]) -> nn.Module:
        return AdaptationGate(8, [6, 7], float(header["beta_shift"]), 0.0)

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        out = network(batch["text"], [batch["vision"], batch["audio"]])
        return {"out": out, "loss": one(F.mse_loss(out, batch["target"]))}


class MISABranches(nn.Module):
    """Two bidirectional LSTMs a modality with a norm between, over valid rows alone; the text from a table."""

    def __init__(self, header: Mapping[str, str]) -> None:
        super().__init__()
        sizes = map(int, header["sizes"].strip("[]").split(","))
        self.embed = nn.Embedding(int(header["vocab"]), 5)
        self.sizes = dict(zip("tva", sizes, strict=True))
        for name, size in self.sizes.items():
            self.add_module(f"{name}rnn1", nn.LSTM(size, size, bidirectional=True))
            self.add_module(f"{name}rnn2", nn.LSTM(2 * size, size, bidirectional=True))
            self.add_module(f"{name}layer_norm", nn.LayerNorm(2 * size))

    def utterance(self, name: str, x: Tensor, lengths: Tensor) -> Tensor:
        first, second, norm = (self.get_submodule(f"{name}{part}") for part in ("rnn1", "rnn2", "layer_norm"))
        packed, (h1, _) = first(nn.utils.rnn.pack_padded_sequence(x, lengths))
        rows, _ = nn.utils.rnn.pad_packed_sequence(packed)
        _, (h2, _) = second(nn.utils.rnn.pack_padded_sequence(norm(rows), lengths))
        return torch.cat([h1[0], h2[0], h1[1], h2[1]], 1)


class MISA(PartCase):
    file = "mm-fusion-misa.safetensors"
    order = "tva"
    names = (
        (r"([tva](?:rnn\d|layer_norm)|embed)\.(.+)", r"\1.\2"),
        *((rf"project_{m}\.project_{m}\.(.+)", rf"spaces.project.{i}.\1") for i, m in enumerate(order)),
        *((rf"project_{m}\.project_{m}_layer_norm\.(.+)", rf"spaces.project_norm.{i}.\1") for i, m in enumerate(order)),
        *((rf"private_{m}\.private_{m}_\d\.(.+)", rf"spaces.private.{i}.\1") for i, m in enumerate(order)),
        *((rf"recon_{m}\.recon_{m}_\d\.(.+)", rf"spaces.rebuild.{i}.\1") for i, m in enumerate(order)),
        (r"shared\.shared_1\.(.+)", r"spaces.shared.\1"),
        (r"transformer_encoder\.layers\.0\.self_attn\.in_proj_(.+)", r"spaces.attention.\1"),
        (r"transformer_encoder\.layers\.0\.self_attn\.out_proj\.(.+)", r"spaces.attention.out.\1"),
        (r"transformer_encoder\.layers\.0\.linear1\.(.+)", r"spaces.inner.\1"),
        (r"transformer_encoder\.layers\.0\.linear2\.(.+)", r"spaces.outer.\1"),
        (r"transformer_encoder\.layers\.0\.norm1\.(.+)", r"spaces.attention_norm.\1"),
        (r"transformer_encoder\.layers\.0\.norm2\.(.+)", r"spaces.output_norm.\1"),
        (r"fusion\.fusion_layer_1\.(.+)", r"spaces.mix.\1"),
        (r"fusion\.fusion_layer_3\.(.+)", r"head.\1"),
        (r"sp_discriminator\.sp_discriminator_layer_1\.(.+)", r"judge.\1"),
    )

    def network(self, header: Mapping[str, str]) -> nn.Module:
        network = MISABranches(header)
        hidden = int(header["hidden"])
        widths = [4 * network.sizes[m] for m in self.order]
        network.spaces = SharedPrivate(widths, hidden, 2, 2048, 0.0)
        network.head = nn.Linear(3 * hidden, 6)
        network.judge = nn.Linear(hidden, hidden)  # computed in theirs, and in no loss
        return network

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        lengths, inputs = batch["lengths"], {"t": network.embed(batch["text"]), "v": batch["vision"]}
        inputs["a"] = batch["audio"]
        vectors = {m: network.utterance(m, inputs[m], lengths) for m in self.order}
        present = torch.ones(len(lengths), 3, dtype=torch.bool)
        found = network.spaces(list(vectors.values()), present)
        out = network.head(found["fused"])
        named = {"orig": "original", "private": "private", "shared": "shared", "recon": "rebuilt"}
        terms = {
            "cls": F.binary_cross_entropy_with_logits(out, batch["labels"]),
            "diff": difference(found["private"], found["shared"], present),
            "similarity": similarity(found["shared"], present),
            "reconstruction": reconstruction(found["original"], found["rebuilt"], present),
        }
        loss = terms["cls"] + 0.3 * terms["diff"] + terms["similarity"] + terms["reconstruction"]
        seams = {
            f"act/{theirs}_{m}": found[ours][:, i] for theirs, ours in named.items() for i, m in enumerate(self.order)
        }
        judged = torch.stack([*found["private"].unbind(1), found["shared"].mean(1)])
        return {
            "out": out,
            "loss": one(loss),
            "act/fused": found["fused"],
            "act/mixed": found["mixed"].transpose(0, 1),
            "act/sp": network.judge(judged).detach(),
            **{f"act/utterance_{m}": x for m, x in vectors.items()},
            **seams,
            **{f"losses/{name}": one(term) for name, term in terms.items()},
        }


class MBT(PartCase):
    file = "mm-fusion-mbt.safetensors"
    names = (
        *(
            (
                rf"Transformer/encoderblock_(\d){suffix}/{theirs}/(?:kernel|scale)",
                rf"fusion.blocks.{name}.\1.{ours}.weight",
            )
            for suffix, name in (("_spectrogram", "audio"), ("", "vision"))
            for theirs, ours in (
                ("LayerNorm_0", "attention_norm"),
                ("LayerNorm_1", "norm"),
                ("MlpBlock_0/Dense_0", "inner"),
                ("MlpBlock_0/Dense_1", "outer"),
                *((f"MultiHeadDotProductAttention_0/{part}", f"attention.{part}") for part in ("query", "key")),
                *((f"MultiHeadDotProductAttention_0/{part}", f"attention.{part}") for part in ("value", "out")),
            )
        ),
        *(
            (rf"Transformer/encoderblock_(\d){suffix}/{theirs}/bias", rf"fusion.blocks.{name}.\1.{ours}.bias")
            for suffix, name in (("_spectrogram", "audio"), ("", "vision"))
            for theirs, ours in (
                ("LayerNorm_0", "attention_norm"),
                ("LayerNorm_1", "norm"),
                ("MlpBlock_0/Dense_0", "inner"),
                ("MlpBlock_0/Dense_1", "outer"),
                *((f"MultiHeadDotProductAttention_0/{part}", f"attention.{part}") for part in ("query", "key")),
                *((f"MultiHeadDotProductAttention_0/{part}", f"attention.{part}") for part in ("value", "out")),
            )
        ),
        ("Transformer/encoder_norm/scale", "fusion.norm.weight"),
        ("Transformer/encoder_norm/bias", "fusion.norm.bias"),
        ("Transformer/posembed_input_spectrogram/pos_embedding", "table.audio"),
        ("Transformer/posembed_input/pos_embedding", "table.vision"),
        ("bottleneck", "fusion.bottleneck"),
        ("output_projection/kernel", "head.weight"),
        ("output_projection/bias", "head.bias"),
    )

    def converted(self, name: str, tensor: Tensor) -> Tensor:
        if not name.endswith("kernel"):
            return tensor
        # [in, ...] there; of the output [heads, size, D].
        return tensor.flatten(0, -2).T if "/out/" in name else tensor.flatten(1).T

    def network(self, header: Mapping[str, str]) -> nn.Module:
        hidden = int(header["hidden"])
        layout = Layout(hidden, int(header["heads"]), 0.0, ("audio", "vision"), (), 6)
        fusion = MBTFusion(
            layout,
            layers=int(header["layers"]),
            fusion_layer=int(header["fusion_layer"]),
            bottlenecks=int(header["bottlenecks"]),
            inner=12,
            positions="none",
        )
        table = {"audio": nn.Parameter(torch.zeros(1, 5, hidden)), "vision": nn.Parameter(torch.zeros(1, 4, hidden))}
        return nn.ModuleDict({"fusion": fusion, "table": nn.ParameterDict(table), "head": nn.Linear(hidden, 6)})

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        given = {name: refined(batch[name] + network["table"][name]) for name in ("audio", "vision")}
        encoded = network["fusion"](given).x
        out = network["head"](encoded.mean(1))
        loss = F.binary_cross_entropy_with_logits(out, batch["labels"])
        return {"out": out, "loss": one(loss), "act/encoded": encoded}


class SCMRL(PartCase):
    file = "mm-fusion-scmrl.safetensors"
    names = (
        *(
            (
                rf"block\.{i}\.attn\.{kind}_attn\.{theirs}_{what}",
                f"fusion.blocks.{name}.{kind}.{ours}.layer.synapse.{of}",
            )
            for i, name in enumerate(("audio", "vision"))
            for kind in ("spatial", "temporal")
            for theirs, ours in {"q": "query", "k": "key", "v": "value", "proj": "out"}.items()
            for what, of in ((r"conv\.weight", "weight.weight"), (r"bn\.(.+)", r"norm.\1"))
        ),
        (r"block\.0\.trans_linear\.(.+)", r"fusion.blocks.audio.mix.layer.synapse.\1"),
        (r"block\.1\.trans_linear\.(.+)", r"fusion.blocks.vision.mix.layer.synapse.\1"),
        (r"head\.(.+)", r"head.\1"),
        (r".+_lif\.(threshold|act_fun\.alpha)", None),
    )
    spikes = ("act/spikes_", "act/spatial_", "act/temporal_", "act/branch_")

    def network(self, header: Mapping[str, str]) -> nn.Module:
        width = int(header["width"])
        layout = Layout(width, int(header["heads"]), 0.0, ("audio", "vision"), (), 6)
        fusion = SCMRLFusion(
            layout,
            alpha=float(header["alpha"]),
            temperature=float(header["temperature"]),
            threshold=1.0,
            start=0.0,
            products="scaled",
            gradient="each-step",
            heads_and_steps="mixed",
        )
        return nn.ModuleDict({"fusion": fusion, "head": nn.Linear(width, 6)})

    def run(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        given = {name: tokens(batch[name].permute(1, 3, 0, 2), None) for name in ("audio", "vision")}
        fusion, seams, handles = network["fusion"], {}, []

        def places_last(x: Tensor) -> Tensor:
            return x.transpose(2, 3)  # [T, B, C, places], as in the file

        for name, block in fusion.blocks.items():
            keep = {"out": "fused", "residual": "branch", "spatial": "spatial", "temporal": "temporal"}
            names = {ours: f"act/{theirs}_{name}" for ours, theirs in keep.items()}
            take = partial(_take, seams, names, places_last)
            handles.append(block.register_forward_hook(take))
            for of, layer in (
                (f"attn_{name}", block.spatial.attend),
                (f"attn_t_{name}", block.temporal.attend),
                (f"q_{name}", block.spatial.query),
            ):
                key = f"act/spikes_{of}"
                handles.append(layer.register_forward_hook(partial(_take, seams, {None: key}, places_last)))
        fused = fusion({name: Features(x, x, x, True, x) for name, x in given.items()})
        for handle in handles:
            handle.remove()
        halves = fused.x.split([x.x.shape[1] for x in given.values()], 1)
        out = network["head"](torch.stack([each.mean(1) for each in halves]).sum(0))
        entropy = F.cross_entropy(out, batch["labels"])
        contrast = fusion.losses(batch["labels"]).get("alignment", torch.zeros(()))
        terms = {"losses/cross_entropy": one(entropy), "losses/contrast": one(contrast)}
        return {"out": out, "loss": one(entropy + contrast), **terms, **seams}


def _take(seams: dict[str, Tensor], names: Mapping[Any, str], arranged: Any, _: Any, __: Any, found: Any) -> None:
    for ours, theirs in names.items():
        value = arranged(found if ours is None else found[ours])
        seams[theirs] = value.flatten(0, 1) if ours is None else value


CASES: tuple[PartCase, ...] = (GMU(), LMF(), MAG(), MBT(), MISA(), SCMRL(), TFN())
