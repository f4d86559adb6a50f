"""What was called something else in earlier versions of neurozoo: the one table of earlier names.

Published models had a form called ``sound``, which a model of speech or music misled about; it is ``corrected`` now.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import wraps
from typing import Any, Literal, TypeVar

from neurozoo.errors import NeurozooWarning

__all__ = ["EARLIER", "Named", "current_name", "earlier_name", "takes_earlier_arguments"]

Named = Literal["recipe", "trained model", "form", "option", "argument", "description"]
"""What has a name."""

_RECIPES = (
    "cuba_rsnn_shd",
    "dcls_delays_shd",
    "dcls_delays_ssc",
    "ispikformer_metr_la",
    "ispikformer_solar",
    "plif_net_cifar10_dvs",
    "plif_net_dvs128_gesture",
    "plif_net_n_mnist",
    "qkformer_cifar10",
    "qkformer_cifar10_dvs",
    "sew_resnet_cifar10_dvs",
    "sew_resnet_dvs128_gesture",
    "smile_mosei",
    "smile_nemu",
    "sparch_rlif_shd",
    "sparch_shd",
    "sparch_ssc",
    "spike_driven_transformer_cifar10",
    "spike_driven_transformer_cifar10_dvs",
    "spikegpt_enwik8",
    "spikformer_cifar10",
    "spikformer_cifar10_dvs",
)
_DESCRIPTIONS = (
    "PLIF net, corrected variant, on CIFAR10-DVS",
    "PLIF net, corrected variant, on DVS128 Gesture",
    "PLIF net, corrected variant, on N-MNIST",
    "QKFormer, corrected, on CIFAR-10",
    "QKFormer, corrected, on CIFAR10-DVS",
    "SEW ResNet, corrected variant, on CIFAR10-DVS",
    "SEW ResNet, corrected variant, on DVS128 Gesture",
    "SMILE, corrected variant, on CMU-MOSEI (or its synthetic stand-in)",
    "SMILE, corrected variant, on NEMu",
    "SMILE, corrected variant, on POM (traits of the speakers in 903 videos)",
    "SMILE, corrected variant, on emotions (moods of 593 songs)",
    "SMILE, corrected variant, on the real transcripts of CMU-MOSEI alone",
    "SMILE, corrected variant, on the real transcripts of CMU-MOSEI, encoded",
    "SparCH's RLIF on SHD, corrected",
    "SparCH's RadLIF on SHD, corrected",
    "SparCH's RadLIF on SSC, corrected",
    "Spike-driven Transformer, corrected, on CIFAR-10",
    "Spike-driven Transformer, corrected, on CIFAR10-DVS",
    "SpikeGPT, corrected, on the characters of enwik8",
    "Spikformer, corrected, on CIFAR-10",
    "Spikformer, corrected, on CIFAR10-DVS",
    "SpyTorch's current-based recurrent net in its corrected form, on Braille letters",
    "SpyTorch's current-based recurrent net in its corrected form, on SHD",
    "iSpikformer, corrected, forecasts of solar power (Solar)",
    "iSpikformer, corrected, forecasts of traffic (METR-LA)",
    "learned delays on SHD, corrected",
    "learned delays on SSC, corrected",
)
EARLIER: Mapping[Named, Mapping[str, str]] = {
    "recipe": {f"{name}_sound": f"{name}_corrected" for name in _RECIPES},
    "trained model": {"emotions-sound": "emotions-corrected"},
    "form": {"sound": "corrected"},
    "option": {"--sound": "--corrected"},
    "argument": {"sound": "corrected"},
    # Of shipped recipes; they are in the digests that runs, searches and studies recorded.
    "description": {text.replace("corrected", "sound"): text for text in _DESCRIPTIONS},
}
"""The current name of each kind of thing, by its earlier one."""
_BEFORE = {kind: {new: old for old, new in names.items()} for kind, names in EARLIER.items()}

T = TypeVar("T")


def current_name(kind: Named, name: str, *, quiet: bool = False) -> str:
    """Return what something is called now; a name that is no earlier one is returned as it is.

    Args:
        kind: What is named.
        name: Its name of now or of an earlier version.
        quiet: Whether to omit the note, for names that no user typed: those that files recorded.

    Warns:
        NeurozooWarning: It is an earlier name.
    """
    # Values that come from outside of neurozoo may have any type.
    new = EARLIER[kind].get(name, name) if isinstance(name, str) else name
    if new != name and not quiet:
        warnings.warn(NeurozooWarning(f"the {kind} {name} is now called {new}"), stacklevel=3)
    return new


def earlier_name(kind: Named, name: str) -> str:
    """Return what something was called in earlier versions; its name if that did not change."""
    return _BEFORE[kind].get(name, name)


def takes_earlier_arguments(made: type[T]) -> type[T]:
    """Decorate a class so that it takes keyword arguments by their earlier names too."""
    initialise: Any = getattr(made, "__init__")  # noqa: B009

    @wraps(initialise)
    def call(self: T, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **{current_name("argument", name): value for name, value in kwargs.items()})

    setattr(made, "__init__", call)  # noqa: B010
    return made
