"""The core's own components, registered the way any plugin's are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from neurozoo.errors import install_extra
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
        (
            "multimodal",
            "models.multimodal.plain:PlainMultimodal",
            "plain encoders, any fusion, any label head; no spikes",
        ),
        (
            "tailor",
            "models.multimodal.tailor:TAILOR",
            "TAILOR, AAAI 2022: private and common parts of modalities, a ladder",
        ),
        ("carat", "models.multimodal.carat:CARAT", "CARAT, AAAI 2024: each modality by label, rebuilt from the others"),
        ("lddu", "models.multimodal.lddu:LDDU", "LDDU, ACL 2025: a Gaussian for each modality and label"),
        ("nir-graph", "nir.model:NIRGraphModel", "a NIR graph, trained elsewhere or to be trained"),
        ("spiking-convnet", "models.spiking_convnet:SpikingConvNet", "a convnet on frames or pictures"),
        (
            "recurrent",
            "models.recurrent:RecurrentNet",
            "recurrent neurons on spike trains or features, a leaky readout",
        ),
        ("gru", "models.gru:GatedNet", "gated recurrent units, the control without spikes for sequences"),
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
        ("mult", "models.multimodal.mult:MulT", "MulT, ACL 2019: each modality attends to each other one, a linear"),
        ("misa", "models.multimodal.misa:MISA", "MISA, ACM MM 2020: recurrent nets, shared and private spaces"),
        ("hhmpn", "models.multimodal.hhmpn:HHMPN", "HHMPN, AAAI 2021: label queries attend to each modality"),
        ("spikemo", "models.spikemo:SpikEmo", "SpikEmo's spiking core: the emotion of each utterance (Yu et al. 2024)"),
        ("lsnn", "models.lsnn:LSNN", "recurrent net with adaptive thresholds, trained by BPTT or e-prop"),
    ),
    "task": (
        ("multilabel", "tasks.multilabel:Multilabel", "any number of labels is right at once"),
        ("multiclass", "tasks.multiclass:Multiclass", "one class is right"),
        ("regression", "tasks.regression:Regression", "numbers in a unit of their own"),
    ),
    "engine": (("dense", "core.engine:Dense", "each layer as it is, all weights at each step"),),
    "fusion": (
        ("interactive", "fusions.interactive:InteractiveFusion", "cross-attention between modalities"),
        ("concat", "fusions.concat:ConcatFusion", "the refined modalities, one after another"),
        ("sum", "fusions.pooled:SumFusion", "the sum of one vector a modality"),
        ("mean", "fusions.pooled:MeanFusion", "the mean of one vector a modality, of those that are present"),
        ("concat-vectors", "fusions.pooled:ConcatVectorsFusion", "a linear of the modalities' vectors side by side"),
        ("gmu", "fusions.gmu:GMUFusion", "gated multimodal unit (Arevalo et al. 2017)"),
        ("tfn", "fusions.tensor:TFNFusion", "outer product of the modalities (Zadeh et al. 2017)"),
        ("lmf", "fusions.tensor:LMFFusion", "the outer product with low rank (Liu et al. 2018)"),
        ("mag", "fusions.mag:MAGFusion", "the others shift the rows of a base (Rahman et al. 2020)"),
        ("misa", "fusions.misa:MISAFusion", "shared and private spaces, three loss terms (Hazarika et al. 2020)"),
        ("mult", "fusions.mult:MulTFusion", "each modality attends to each other one (Tsai et al. 2019)"),
        ("scmrl", "fusions.scmrl:SCMRLFusion", "spiking attention between the modalities' spikes (He et al. 2025)"),
        (
            "multiattn",
            "fusions.multiattn:MultiAttnFusion",
            "attention to one modality after another (Shi and Huang 2023)",
        ),
        ("mbt", "fusions.mbt:MBTFusion", "modalities exchange a few bottleneck tokens (Nagrani et al. 2021)"),
    ),
    "label-head": (
        ("label-decoder", "heads.label_decoder:LabelDecoderHead", "label queries attend to the sequence"),
        ("pooled", "heads.pooled:PooledHead", "linear on the mean over valid positions: binary relevance"),
        ("chain", "heads.chain:ChainHead", "each label sees those before it (Read et al. 2011)"),
        ("ml-gcn", "heads.mlgcn:MLGCNHead", "a graph of labels that are there together (Chen et al. 2019)"),
        ("lsan", "heads.lsan:LSANHead", "two kinds of attention for each label (Xiao et al. 2019)"),
        ("label-attention", "heads.label_attention:LabelAttentionHead", "a weighted mean for each label, as in CARAT"),
        ("query2label", "heads.query2label:Query2LabelHead", "a decoder whose labels are apart (Liu et al. 2021)"),
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
            "threshold: one a sample, by how much its modalities disagree (corrected)",
        ),
        ("constant", "models.smile.threshold:Constant", "the same threshold for every sample and step"),
        (
            "batch-softmax",
            "models.smile.scaling:BatchSoftmax",
            "scaling: softmax of the rates over the batch (as published)",
        ),
        (
            "rate-gain",
            "models.smile.scaling:RateGain",
            "scaling: a gain by each rate against its running mean (corrected)",
        ),
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
            "events-synthetic",
            "data.synthetic.events:EventsSynthetic",
            "SYNTHETIC bars that move, as the events of a camera; the direction is the class",
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
        (
            "fsdd-small",
            "data.shipped.fsdd_small:FsddSmall",
            "spoken digits of six speakers as events, shipped (CC BY-SA 4.0); two speakers are test alone",
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
        ("emodb", "data.importers.emodb:import_emodb", "acted emotions in German speech as log-mel, as an npz"),
        (
            "arrays",
            "data.importers.table:import_table",
            "your own data: npz, a folder of npy or of a file a sample, CSV, Parquet",
        ),
        ("table", "data.importers.table:import_table", "the same as arrays, its earlier name"),
        ("wfdb", "data.importers.wfdb:import_wfdb", "windows of PhysioNet's records, such as beats of the heart"),
        ("fsdd", "data.importers.audio_folder:import_fsdd", "the Free Spoken Digit Dataset, waveforms"),
        ("audio-folder", "data.importers.audio_folder:import_audio_folder", "a folder of WAV or FLAC, and its labels"),
        ("shd", "data.importers.events.shd:import_shd", "SHD's and SSC's HDF5, also packed, and files of their layout"),
        ("n-mnist", "data.importers.events.data_sets:import_n_mnist", "N-MNIST, .bin in folders of digits"),
        ("n-caltech101", "data.importers.events.data_sets:import_n_caltech101", "N-Caltech101, .bin in folders"),
        ("poker-dvs", "data.importers.events.data_sets:import_poker_dvs", "POKER-DVS, AEDAT 2.0 or npy"),
        ("cifar10-dvs", "data.importers.events.data_sets:import_cifar10_dvs", "CIFAR10-DVS, AEDAT 2.0 or 4.0, or zips"),
        ("dvs128-gesture", "data.importers.events.gesture:import_dvs128_gesture", "AEDAT 3.1 with tables, or npy"),
        ("n-cars", "data.importers.events.data_sets:import_n_cars", "N-CARS, Prophesee's .dat"),
        ("asl-dvs", "data.importers.events.data_sets:import_asl_dvs", "ASL-DVS, .mat in folders of letters"),
        (
            "event-folder",
            "data.importers.events.data_sets:import_event_folder",
            "an event camera's AEDAT, .dat, .bin, npy, npz or .mat in folders of classes",
        ),
        ("st-mnist", "data.importers.events.tactile:import_st_mnist", "ST-MNIST, .mat in folders of digits"),
        ("ev-objects", "data.importers.events.tactile:import_ev_objects", "grasped objects, npy files or their zip"),
        ("qtdb", "data.importers.events.qtdb:import_qtdb", "electrocardiograms with a label at each step, .mat"),
    ),
    "representation": (
        ("log-mel", "data.representations.mel:LogMel", "sound as the log power of mel bands"),
        (
            "mel-level-crossing",
            "data.representations.mel:MelLevelCrossing",
            "sound as events: a mel band's level rises or falls by a factor e",
        ),
        (
            "resonators",
            "data.representations.resonators:Resonators",
            "sound as the log power of gammatone filters",
        ),
        (
            "send-on-delta",
            "data.representations.delta:SendOnDelta",
            "dense values as events: a value has moved by a step",
        ),
        (
            "delta-counts",
            "data.representations.delta:DeltaCounts",
            "send-on-delta, counted at each position",
        ),
        (
            "level-crossing",
            "data.representations.delta:LevelCrossing",
            "dense values as events: a value crosses multiples of a step",
        ),
        ("bins", "data.representations.bins:Bins", "events as spike trains or frames: counts or bits of equal steps"),
        ("frames-by-count", "data.representations.bins:FramesByCount", "events as frames of equal numbers of them"),
        ("voxel-grid", "data.representations.voxel_grid:VoxelGrid", "events shared between the nearest points of time"),
        ("time-surface", "data.representations.time_surface:TimeSurface", "how long ago each address had an event"),
        ("crop", "data.representations.event_choice:Crop", "events of a window of time and a part of the sensor"),
        ("downsample", "data.representations.event_choice:Downsample", "events of a coarser sensor"),
        ("group-steps", "data.representations.group_steps:GroupSteps", "several positions as one, with their targets"),
        ("centre", "data.representations.centre:Centre", "dense values less a mean over time, channels or both"),
        (
            "statistics",
            "data.representations.statistics:Statistics",
            "dense values with their mean and deviation over time",
        ),
    ),
    "augmentation": (
        ("mixup", "training.augmentation:Mixup", "mixes each sample, and its loss, with another of the batch"),
        ("random-crop", "training.frames:RandomCrop", "a crop of frames with a border of zeros"),
        ("horizontal-flip", "training.frames:HorizontalFlip", "mirrors frames left and right"),
        ("random-erasing", "training.frames:RandomErasing", "replaces a rectangle of frames by noise or zeros"),
        ("cutout", "training.frames:Cutout", "sets a square of frames to zero"),
        ("random-roll", "training.frames:RandomRoll", "rolls frames along both axes"),
        ("frame-subset", "training.frames:FrameSubset", "takes some positions of each sample, in order"),
        ("event-shift", "training.events:EventShift", "moves the events of a sample on the sensor and in time"),
        ("event-flip", "training.events:EventFlip", "mirrors events along an axis of the sensor"),
        ("event-drop", "training.frames:EventDrop", "drops events by time, by area or anywhere"),
        ("event-jitter", "training.events:EventJitter", "moves each event at random, in time and on the sensor"),
        (
            "neuromorphic",
            "training.frames:NeuromorphicAugment",
            "mirrors event frames, then rolls, rotates, shears or cuts",
        ),
        ("shift-channels", "training.sequences:ShiftChannels", "moves spike trains or features along their channels"),
        ("mask-channels", "training.sequences:MaskChannels", "sets bands of channels to zero"),
        ("mask-steps", "training.sequences:MaskSteps", "sets stretches of positions to zero"),
        ("stretch-time", "training.sequences:StretchTime", "makes spike trains or features slower or faster"),
        ("thin-events", "training.sequences:ThinEvents", "sets some numbers of spike trains or features to zero"),
        ("rand-augment", "training.rand_augment:RandAugment", "random operations on pictures, of one magnitude"),
        ("colour-jitter", "training.rand_augment:ColourJitter", "changes brightness, contrast and saturation"),
    ),
    "loss": (
        ("binary-cross-entropy", "tasks.multilabel_losses:BinaryCrossEntropy", "of labels, also smoothed"),
        ("focal", "tasks.multilabel_losses:Focal", "of labels: easy answers weigh less"),
        ("asymmetric", "tasks.multilabel_losses:Asymmetric", "of labels: easy negatives weigh nothing"),
    ),
}
"""By kind: name, target in ``neurozoo`` and summary."""


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The torch backend, the models with their parts, tasks, data sets, importers and loggers."""
    for kind, components in _OWN.items():
        for name, target, summary in components:
            yield Component(kind, name, f"neurozoo.{target}", summary)
    # Not refused without matplotlib, which it needs at the end alone: the training is worth having without its page.
    yield Component(
        "logger",
        "report",
        "neurozoo.reporting.runs.report_logger:ReportLogger",
        "report.html in the run folder when the training is finished, as `neurozoo report` writes it",
    )
    yield Component(
        "logger",
        "epochs",
        "neurozoo.training.kept_epochs:EpochsLogger",
        "the weights of every epoch in the run folder, to choose among them afterwards",
    )
    yield Component(
        "logger",
        "tensorboard",
        "neurozoo.training.tensorboard:TensorBoardLogger",
        "event files for TensorBoard in the run folder",
        requires=("tensorboard",),
        install=install_extra("tensorboard"),
    )
