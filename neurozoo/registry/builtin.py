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
        "neuron", "torch", "neurozoo.core.layer:TorchNeuron", "plain torch: the oracle that others are compared with"
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
    for name, target, summary in (
        ("spiking-convnet", "spiking_convnet:SpikingConvNet", "a convnet on frames or pictures"),
        ("recurrent", "recurrent:RecurrentNet", "recurrent neurons on spike trains or features, a leaky readout"),
        (
            "spiking-transformer",
            "spiking_transformer:SpikingTransformer",
            "spiking self-attention on frames or pictures",
        ),
        ("cuba-mlp", "cuba_mlp:CubaMLP", "current-based neurons along a series, a leaky readout"),
    ):
        yield Component("model", name, f"neurozoo.models.{target}", summary)
    yield Component(
        "task", "multilabel", "neurozoo.tasks.multilabel:Multilabel", "any number of labels is right at once"
    )
    yield Component("task", "multiclass", "neurozoo.tasks.multiclass:Multiclass", "one class is right")
    yield Component("task", "regression", "neurozoo.tasks.regression:Regression", "numbers in a unit of their own")
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
        "part",
        "cross-entropy-ratio",
        "neurozoo.models.smile.threshold:CrossEntropyRatio",
        "threshold: one scalar a batch, by the change of the modalities' cross-entropy (as published)",
    )
    yield Component(
        "part",
        "disagreement",
        "neurozoo.models.smile.threshold:Disagreement",
        "threshold: one a sample, by how much its modalities disagree (sound)",
    )
    yield Component(
        "part", "constant", "neurozoo.models.smile.threshold:Constant", "the same threshold for every sample and step"
    )
    yield Component(
        "part",
        "batch-softmax",
        "neurozoo.models.smile.scaling:BatchSoftmax",
        "scaling: softmax of the rates over the batch (as published)",
    )
    yield Component(
        "part",
        "rate-gain",
        "neurozoo.models.smile.scaling:RateGain",
        "scaling: a gain by each rate against its running mean (sound)",
    )
    yield Component(
        "part", "none", "neurozoo.models.smile.scaling:NoScaling", "scaling: spikes are not used, the ablation"
    )
    for name, target, summary in (
        ("lif", "LIF", "leaky integrate-and-fire"),
        ("if", "IF", "integrate-and-fire, without a leak"),
        ("plif", "PLIF", "LIF with a learned time constant"),
        ("adlif", "AdLIF", "LIF with a recovery current, four learned parameters a neuron"),
        ("alif", "ALIF", "LIF with an adaptive threshold and a refractory period"),
        ("cuba", "Cuba", "current-based LIF, two states"),
        ("relu", "ReLU", "no spikes: the control"),
    ):
        yield Component("part", name, f"neurozoo.nn.neuron_choices:{target}", f"neurons: {summary}")
    yield Component(
        "part",
        "torch-blocks",
        "neurozoo.models.smile.parts:TorchBlocks",
        "SMILE's encoder blocks, called one by one (default)",
    )
    yield Component(
        "data",
        "mosei-synthetic",
        "neurozoo.data.synthetic.mosei:MoseiSynthetic",
        "SYNTHETIC stand-in with CMU-MOSEI's shapes and label frequencies",
    )
    yield Component(
        "data",
        "poisson-synthetic",
        "neurozoo.data.synthetic.poisson:PoissonSynthetic",
        "SYNTHETIC spike trains and labels without any meaning",
    )
    yield Component(
        "data",
        "frames-synthetic",
        "neurozoo.data.synthetic.frames:FramesSynthetic",
        "SYNTHETIC bars that move, as events or pictures; the direction is the class",
    )
    yield Component(
        "data",
        "spikes-synthetic",
        "neurozoo.data.synthetic.spikes:SpikesSynthetic",
        "SYNTHETIC spike trains, one pattern of rates and latencies a class; per step too",
    )
    yield Component(
        "data",
        "series-synthetic",
        "neurozoo.data.synthetic.series:SeriesSynthetic",
        "SYNTHETIC sums of sines with the quantities that they were made with, for regression",
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
        "importer", "mult", "neurozoo.data.importers.sentiment:import_mult", "MulT's mosei_senti_data[_noalign].pkl"
    )
    yield Component("importer", "mmsa", "neurozoo.data.importers.sentiment:import_mmsa", "MMSA's [un]aligned_50.pkl")
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
