"""The core's own parts, registered the way any plugin's are."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import API_VERSION, Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = API_VERSION


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The torch backend, SMILE and its parts, the stand-in data set the importers and a logger."""
    yield Component(
        "backend", "torch", "neurozoo.core.layer:TorchNeuron", "plain torch: the oracle that others are compared with"
    )
    yield Component(
        "model", "smile", "neurozoo.models.smile.model:SMILE", "multi-label emotions from text, audio and vision"
    )
    yield Component(
        "model",
        "spiking-sequence",
        "neurozoo.models.smile.sequence_model:SpikingSequence",
        "LIF along the sequence, one step a position",
    )
    yield Component(
        "model",
        "nir-graph",
        "neurozoo.nir.model:NIRGraphModel",
        "a NIR graph, trained elsewhere or to be trained",
    )
    yield Component(
        "fusion", "interactive", "neurozoo.fusions.interactive:InteractiveFusion", "cross-attention between modalities"
    )
    yield Component(
        "fusion", "concat", "neurozoo.fusions.concat:ConcatFusion", "the refined modalities, one after another"
    )
    yield Component(
        "label-head",
        "label-decoder",
        "neurozoo.heads.label_decoder:LabelDecoderHead",
        "label queries attend to the sequence",
    )
    yield Component(
        "label-head", "pooled", "neurozoo.heads.pooled:PooledHead", "linear on the mean over valid positions"
    )
    yield Component(
        "threshold",
        "cross-entropy-ratio",
        "neurozoo.models.smile.threshold:CrossEntropyRatio",
        "one scalar a batch, by the change of the modalities' cross-entropy (as published)",
    )
    yield Component(
        "threshold",
        "disagreement",
        "neurozoo.models.smile.threshold:Disagreement",
        "one a sample, by how much its modalities disagree (sound)",
    )
    yield Component(
        "threshold", "constant", "neurozoo.models.smile.threshold:Constant", "the same for every sample and step"
    )
    yield Component(
        "scaling",
        "batch-softmax",
        "neurozoo.models.smile.scaling:BatchSoftmax",
        "softmax of the rates over the batch (as published)",
    )
    yield Component(
        "scaling",
        "rate-gain",
        "neurozoo.models.smile.scaling:RateGain",
        "a gain by each rate against its running mean (sound)",
    )
    yield Component("scaling", "none", "neurozoo.models.smile.scaling:NoScaling", "spikes are not used: the ablation")
    yield Component(
        "activation", "lif", "neurozoo.models.smile.branch:LIFActivation", "leaky integrate-and-fire over T steps"
    )
    yield Component("activation", "relu", "neurozoo.models.smile.branch:ReLUActivation", "no spikes: the control")
    yield Component(
        "part",
        "torch-blocks",
        "neurozoo.models.smile.parts:TorchBlocks",
        "SMILE's encoder blocks, called one by one (default)",
    )
    yield Component(
        "dataset",
        "mosei-synthetic",
        "neurozoo.data.synthetic.mosei:MoseiSynthetic",
        "SYNTHETIC stand-in with CMU-MOSEI's shapes and label frequencies",
    )
    yield Component(
        "dataset",
        "poisson-synthetic",
        "neurozoo.data.synthetic.poisson:PoissonSynthetic",
        "SYNTHETIC spike trains and labels without any meaning",
    )
    yield Component(
        "importer", "mulan", "neurozoo.data.importers.mulan:import_mulan", "Mulan ARFF and XML, such as emotions"
    )
    yield Component(
        "importer",
        "csd",
        "neurozoo.data.importers.csd.importer:import_csd",
        "CMU-MultimodalSDK .csd, such as CMU-MOSEI",
    )
    yield Component(
        "importer", "tailor", "neurozoo.data.importers.tailor:import_tailor", "TAILOR's and SMILE's train_valid_test.pt"
    )
    yield Component(
        "importer", "mult", "neurozoo.data.importers.mult:import_mult", "MulT's mosei_senti_data[_noalign].pkl"
    )
    yield Component("importer", "mmsa", "neurozoo.data.importers.mmsa:import_mmsa", "MMSA's [un]aligned_50.pkl")
    yield Component(
        "importer", "nemu", "neurozoo.data.importers.nemu:import_nemu", "NEMu's joblib file, songs with twelve moods"
    )
    yield Component(
        "importer",
        "mosei-text",
        "neurozoo.data.importers.mosei_text:import_mosei_text",
        "CMU-MOSEI's transcripts, with word vectors or encodings of yours",
    )
    yield Component(
        "importer", "mfn", "neurozoo.data.importers.mfn:import_mfn", "MFN's npz or h5 by split, such as POM"
    )
    yield Component(
        "importer",
        "braille",
        "neurozoo.data.importers.braille:import_braille",
        "tactile readings of Braille letters, as an npz",
    )
    yield Component(
        "logger",
        "tensorboard",
        "neurozoo.training.tensorboard:TensorBoardLogger",
        "event files for TensorBoard in the run folder",
        requires=("tensorboard",),
        install="pip install 'neurozoo[tensorboard]'",
    )
