"""The core's own components, registered the way any plugin's are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from neurozoo.registry.hookspecs import API_VERSION, Component, Kind, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = API_VERSION

_OWN: Mapping[Kind, tuple[tuple[str, str, str], ...]] = {
    "neuron": (("torch", "core.layer:TorchNeuron", "plain torch: the oracle that others are compared with"),),
    "model": (
        ("smile", "models.smile.model:SMILE", "multi-label emotions from text, audio and vision"),
        (
            "spiking-sequence",
            "models.smile.sequence_model:SpikingSequence",
            "LIF along the sequence, one step a position",
        ),
        ("nir-graph", "nir.model:NIRGraphModel", "a NIR graph, trained elsewhere or to be trained"),
        ("spiking-convnet", "models.spiking_convnet:SpikingConvNet", "a convnet on frames or pictures"),
        (
            "recurrent",
            "models.recurrent:RecurrentNet",
            "recurrent neurons on spike trains or features, a leaky readout",
        ),
        (
            "spiking-transformer",
            "models.spiking_transformer:SpikingTransformer",
            "spiking self-attention on frames or pictures",
        ),
        ("spikegpt", "models.spikegpt:SpikeGPT", "a language model: neurons along the tokens (Zhu et al. 2024)"),
        ("ispikformer", "models.ispikformer:ISpikformer", "forecasts of many series (Lv et al. 2024)"),
        ("spikformer", "models.spikformer:Spikformer", "Spikformer, ICLR 2023: attention and residuals of spikes"),
        ("qkformer", "models.qkformer:QKFormer", "QKFormer, NeurIPS 2024: stages of attention, linear in tokens"),
        (
            "spike-driven-transformer",
            "models.spike_driven_transformer:SpikeDrivenTransformer",
            "Spike-driven Transformer, NeurIPS 2023: residuals of membranes, gated queries",
        ),
        ("cuba-mlp", "models.cuba_mlp:CubaMLP", "current-based neurons along a series, a leaky readout"),
        ("plif-net", "models.plif_net:PLIFNet", "a convnet of learned time constants on event frames"),
        ("sew-resnet", "models.sew_resnet:SEWResNet", "a residual net that joins spikes, on pictures"),
        ("sew-resnet-events", "models.sew_resnet:SEWResNetEvents", "a residual net that joins spikes, on event frames"),
        ("dcls-delays", "models.dcls_delays:DelayNet", "a learned delay for each synapse (Hammouamri et al. 2024)"),
        ("sparch", "models.sparch:SparCH", "recurrent adaptive neurons on speech (Bittar & Garner 2022)"),
        (
            "cuba-rsnn",
            "models.cuba_rsnn:CubaRSNN",
            "current-based recurrent net on spike trains or features (SpyTorch)",
        ),
        ("lsnn", "models.lsnn:LSNN", "recurrent net with adaptive thresholds, trained by BPTT or e-prop"),
    ),
    "task": (
        ("multilabel", "tasks.multilabel:Multilabel", "any number of labels is right at once"),
        ("multiclass", "tasks.multiclass:Multiclass", "one class is right"),
        ("regression", "tasks.regression:Regression", "numbers in a unit of their own"),
    ),
    "fusion": (
        ("interactive", "fusions.interactive:InteractiveFusion", "cross-attention between modalities"),
        ("concat", "fusions.concat:ConcatFusion", "the refined modalities, one after another"),
    ),
    "label-head": (
        ("label-decoder", "heads.label_decoder:LabelDecoderHead", "label queries attend to the sequence"),
        ("pooled", "heads.pooled:PooledHead", "linear on the mean over valid positions"),
    ),
    "part": (
        (
            "cross-entropy-ratio",
            "models.smile.threshold:CrossEntropyRatio",
            "threshold: one scalar a batch, by the change of the modalities' cross-entropy (as published)",
        ),
        (
            "disagreement",
            "models.smile.threshold:Disagreement",
            "threshold: one a sample, by how much its modalities disagree (sound)",
        ),
        ("constant", "models.smile.threshold:Constant", "the same threshold for every sample and step"),
        (
            "batch-softmax",
            "models.smile.scaling:BatchSoftmax",
            "scaling: softmax of the rates over the batch (as published)",
        ),
        ("rate-gain", "models.smile.scaling:RateGain", "scaling: a gain by each rate against its running mean (sound)"),
        ("none", "models.smile.scaling:NoScaling", "scaling: spikes are not used, the ablation"),
        ("lif", "nn.neuron_choices:LIF", "neurons: leaky integrate-and-fire"),
        ("if", "nn.neuron_choices:IF", "neurons: integrate-and-fire, without a leak"),
        ("plif", "nn.neuron_choices:PLIF", "neurons: LIF with a learned time constant"),
        ("adlif", "nn.neuron_choices:AdLIF", "neurons: LIF with a recovery current, four learned parameters a neuron"),
        ("alif", "nn.neuron_choices:ALIF", "neurons: LIF with an adaptive threshold and a refractory period"),
        ("cuba", "nn.neuron_choices:Cuba", "neurons: current-based LIF, two states"),
        ("relu", "nn.neuron_choices:ReLU", "neurons: no spikes: the control"),
        ("torch-blocks", "models.smile.parts:TorchBlocks", "SMILE's encoder blocks, called one by one (default)"),
    ),
    "data": (
        (
            "mosei-synthetic",
            "data.synthetic.mosei:MoseiSynthetic",
            "SYNTHETIC stand-in with CMU-MOSEI's shapes and label frequencies",
        ),
        (
            "poisson-synthetic",
            "data.synthetic.poisson:PoissonSynthetic",
            "SYNTHETIC spike trains and labels without any meaning",
        ),
        (
            "frames-synthetic",
            "data.synthetic.frames:FramesSynthetic",
            "SYNTHETIC bars that move, as events or pictures; the direction is the class",
        ),
        (
            "spikes-synthetic",
            "data.synthetic.spikes:SpikesSynthetic",
            "SYNTHETIC spike trains, one pattern of rates and latencies a class; per step too",
        ),
        (
            "evidence-synthetic",
            "data.synthetic.evidence:EvidenceSynthetic",
            "SYNTHETIC evidence accumulation: cues left and right as spikes; the side with more is the class",
        ),
        (
            "series-synthetic",
            "data.synthetic.series:SeriesSynthetic",
            "SYNTHETIC sums of sines with the quantities that they were made with, for regression",
        ),
    ),
    "importer": (
        ("mulan", "data.importers.mulan:import_mulan", "Mulan ARFF and XML, such as emotions"),
        ("csd", "data.importers.csd.importer:import_csd", "CMU-MultimodalSDK .csd, such as CMU-MOSEI"),
        ("tailor", "data.importers.tailor:import_tailor", "TAILOR's and SMILE's train_valid_test.pt"),
        ("mult", "data.importers.sentiment:import_mult", "MulT's mosei_senti_data[_noalign].pkl"),
        ("mmsa", "data.importers.sentiment:import_mmsa", "MMSA's [un]aligned_50.pkl"),
        ("nemu", "data.importers.nemu:import_nemu", "NEMu's joblib file, songs with twelve moods"),
        (
            "mosei-text",
            "data.importers.mosei_text:import_mosei_text",
            "CMU-MOSEI's transcripts, with word vectors or encodings of yours",
        ),
        ("mfn", "data.importers.mfn:import_mfn", "MFN's npz or h5 by split, such as POM"),
        ("braille", "data.importers.braille:import_braille", "tactile readings of Braille letters, as an npz"),
    ),
    "augmentation": (
        ("mixup", "training.augmentation:Mixup", "mixes each sample, and its loss, with another of the batch"),
        ("random-crop", "training.frames:RandomCrop", "a crop of frames with a border of zeros"),
        ("horizontal-flip", "training.frames:HorizontalFlip", "mirrors frames left and right"),
        ("random-erasing", "training.frames:RandomErasing", "replaces a rectangle of frames by noise or zeros"),
        ("cutout", "training.frames:Cutout", "sets a square of frames to zero"),
        ("random-roll", "training.frames:RandomRoll", "rolls frames along both axes"),
        ("frame-subset", "training.frames:FrameSubset", "takes some positions of each sample, in order"),
        ("event-drop", "training.frames:EventDrop", "drops events by time, by area or anywhere"),
        (
            "neuromorphic",
            "training.frames:NeuromorphicAugment",
            "mirrors event frames, then rolls, rotates, shears or cuts",
        ),
        ("rand-augment", "training.rand_augment:RandAugment", "random operations on pictures, of one magnitude"),
        ("colour-jitter", "training.rand_augment:ColourJitter", "changes brightness, contrast and saturation"),
    ),
}
"""By kind: name, target in ``neurozoo`` and summary."""


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The torch backend, the models with their parts, tasks, stand-in data sets, importers and a logger."""
    for kind, components in _OWN.items():
        for name, target, summary in components:
            yield Component(kind, name, f"neurozoo.{target}", summary)
    yield Component(
        "logger",
        "tensorboard",
        "neurozoo.training.tensorboard:TensorBoardLogger",
        "event files for TensorBoard in the run folder",
        requires=("tensorboard",),
        install="pip install 'neurozoo[tensorboard]'",
    )
