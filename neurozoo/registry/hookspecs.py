"""What a plugin may add: the whole plugin API on one page.

A plugin is a module (or object) named by an entry point of the group ``neurozoo``.
It declares in ``neurozoo_api`` the version of this page it was written for, implements
:func:`neurozoo_components`, and yields one :class:`Component` for each part it offers. The parts
themselves are named by ``"module:attribute"`` and imported on first use, so that listing plugins
imports no spiking library and no torch.

The version is ``"MAJOR.MINOR"``. A minor one adds to this page, a major one breaks with it: a
plugin written for another major is refused by name, one written for a newer minor is loaded with
a note. ``neurozoo plugins new`` writes all of this.

Example:
    In ``pyproject.toml``::

        [project.entry-points.neurozoo]
        mylib = "neurozoo_mylib"

    In ``neurozoo_mylib/__init__.py``::

        from neurozoo.registry.hookspecs import Component, hookimpl

        neurozoo_api = "2.0"

        @hookimpl
        def neurozoo_components():
            yield Component("neuron", "mylib", "neurozoo_mylib.neuron:MyNeuron",
                            summary="LIF of mylib", requires=("mylib",))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import pluggy

__all__ = [
    "API_VERSION",
    "CHANGES",
    "KINDS",
    "Component",
    "Kind",
    "KindOfComponent",
    "hookimpl",
    "hookspec",
    "neurozoo_components",
]

API_VERSION = "2.2"
"""The version of this page; a plugin declares the one it was written for as ``neurozoo_api``.

2.0 renames the kinds ``backend`` to ``neuron`` and ``dataset`` to ``data``; thresholds, scalings, activations and
encoders are parts; tasks are new. A neuron's state is a tuple, and it takes parameters by name. 2.1 adds the kind
``engine``. 2.2 names the outputs in a layout (``labels``); a label head whose ``forward`` takes no target works.
:data:`CHANGES` lists what a plugin for another major has to change.
"""
CHANGES: Mapping[str, str] = {
    "1": (
        "The kind `backend` is called `neuron`, `dataset` is `data`, and `nir-reader` is the class method "
        "`Neuron.nir_reader`. A neuron is `neurozoo.core.neuron.Neuron`: step and scan take and give the state as a "
        "tuple of tensors and take `params`, and `neurozoo.core.equations` has what `neurozoo.functional` had. "
        "Thresholds, scalings, activations and encoders are the kind `part`, a subclass of the slot's base class. A "
        "model is `neurozoo.core.model.Model`, built for a Problem. A batch is `neurozoo.core.signals.Batch`, with "
        "signals and a target."
    )
}
"""By the major that a plugin was written for."""

Kind = Literal[
    "neuron",
    "engine",
    "fusion",
    "label-head",
    "model",
    "part",
    "task",
    "data",
    "importer",
    "representation",
    "augmentation",
    "loss",
    "logger",
]


@dataclass(frozen=True)
class KindOfComponent:
    """What there is to know of a kind.

    Attributes:
        interface: ``"module:class"`` that a component's class is a subclass of; empty where it is a function, or where
            the slot of a model defines it.
        plural: What a user calls a list of them.
        kit: ``"module:name"`` of its conformance kit; empty where there is none.
    """

    interface: str
    plural: str
    kit: str = ""

    @property
    def singular(self) -> str:
        """What a user calls one of them."""
        return self.plural.removesuffix("es" if self.plural.endswith("sses") else "s")


KINDS: Mapping[Kind, KindOfComponent] = {
    "neuron": KindOfComponent("neurozoo.core.neuron:Neuron", "backends", "neurozoo.testing.backend:BACKEND"),
    "engine": KindOfComponent("neurozoo.core.engine:Engine", "engines", "neurozoo.testing.engine:ENGINE"),
    "fusion": KindOfComponent("neurozoo.core.multimodal:Fusion", "fusions", "neurozoo.testing.parts.multimodal:FUSION"),
    "label-head": KindOfComponent(
        "neurozoo.core.multimodal:LabelHead", "label-heads", "neurozoo.testing.parts.multimodal:LABEL_HEAD"
    ),
    "model": KindOfComponent("neurozoo.core.model:Model", "models", "neurozoo.testing.parts.model:MODEL"),
    "part": KindOfComponent("", "parts", "neurozoo.testing.parts.part:PART"),
    "task": KindOfComponent("neurozoo.core.task:Task", "tasks", "neurozoo.testing.parts.task:TASK"),
    "data": KindOfComponent("", "datasets", "neurozoo.testing.parts.data:DATA"),
    "importer": KindOfComponent("", "importers"),
    "representation": KindOfComponent(
        "neurozoo.core.representation:Representation",
        "representations",
        "neurozoo.testing.parts.representation:REPRESENTATION",
    ),
    "augmentation": KindOfComponent("neurozoo.training.augmentation:Augmentation", "augmentations"),
    "loss": KindOfComponent("neurozoo.core.loss:Loss", "losses", "neurozoo.testing.parts.loss:LOSS"),
    "logger": KindOfComponent("neurozoo.training.loggers:Logger", "loggers"),
}
"""Every kind of component; nothing else lists them."""

hookspec = pluggy.HookspecMarker("neurozoo")
hookimpl = pluggy.HookimplMarker("neurozoo")


@dataclass(frozen=True)
class Component:
    """A named part that recipes can use.

    Attributes:
        kind: What it is; it must satisfy the interface of that kind, see :data:`KINDS`. A ``part`` fills a slot of one
            model: it is a subclass of the slot's base class, which lives with the model.
        name: Its name in recipes, unique within the kind.
        target: ``"module:attribute"`` of the class, imported on first use. The keyword-only
            parameters of its ``__init__`` are the ``params`` of a recipe, checked against
            their annotations.
        summary: One line for ``neurozoo list``.
        requires: Import names of the libraries the part needs; where one is missing, the
            error says so and names ``install``.
        install: The command that installs what is missing.
        exact: For a neuron: whether every spike equals the oracle's. An inexact one may
            differ where the membrane is within rounding of the threshold.
        native: For a neuron: whether it is what its library gives unchanged, another model than
            the oracle's. It can be compared, and is exempt from the conformance kit.
        fused: For an exact neuron: the kinds of device (``"cpu"``, ``"cuda"``) on which it runs the whole loop over
            time as one. A recipe's ``backend: fastest`` takes such a one.
        tested: The versions it was tested with, one requirement a library, such as
            ``"spikingjelly >=2.0,<2.1"``; ``neurozoo doctor`` warns outside of them.
    """

    kind: Kind
    name: str
    target: str
    summary: str
    requires: tuple[str, ...] = ()
    install: str = ""
    exact: bool = True
    native: bool = False
    fused: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()


@hookspec
def neurozoo_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield the parts this plugin offers."""
