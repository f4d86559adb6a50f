"""What a plugin may add: the whole plugin API on one page.

A plugin is a module (or object) named by an entry point of the group ``neurozoo``.
It says in ``neurozoo_api`` which version of this page it was written for, implements
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

        neurozoo_api = "1.4"

        @hookimpl
        def neurozoo_components():
            yield Component("backend", "mylib", "neurozoo_mylib.neuron:MyNeuron",
                            summary="LIF of mylib", requires=("mylib",))
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import pluggy

__all__ = ["API_VERSION", "KINDS", "Component", "Kind", "hookimpl", "hookspec", "neurozoo_components"]

API_VERSION = "1.4"
"""The version of this page; a plugin declares the one it was written for as ``neurozoo_api``.

1.1 adds the kind ``logger``, 1.2 ``Component.fused``, 1.3 the kind ``nir-reader``, 1.4 the kind ``part``.
"""

Kind = Literal[
    "backend",
    "model",
    "fusion",
    "label-head",
    "threshold",
    "scaling",
    "activation",
    "part",
    "dataset",
    "importer",
    "logger",
    "nir-reader",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

hookspec = pluggy.HookspecMarker("neurozoo")
hookimpl = pluggy.HookimplMarker("neurozoo")


@dataclass(frozen=True)
class Component:
    """A named part that recipes can use.

    Attributes:
        kind: What it is; it must satisfy the interface of that kind (``neurozoo.core.interfaces``). A ``part`` fills a
            slot of one model: it is a subclass of the slot's base class, which lives with the model.
        name: Its name in recipes, unique within the kind.
        target: ``"module:attribute"`` of the class, imported on first use. The keyword-only
            parameters of its ``__init__`` are the ``params`` of a recipe, checked against
            their annotations.
        summary: One line for ``neurozoo list``.
        requires: Import names of the libraries the part needs; where one is missing, the
            error says so and names ``install``.
        install: The command that installs what is missing.
        exact: For a backend: whether every spike equals the oracle's. An inexact one may
            differ where the membrane is within rounding of the threshold.
        native: For a backend: whether it is what its library gives by itself, another model than
            the oracle's. It is there to be compared, and says nothing of conformance.
        fused: For an exact backend: the kinds of device (``"cpu"``, ``"cuda"``) on which it runs the whole loop over
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
