"""Names that a shell completes: recipes, components, models, importers; without importing torch.

Each function gets what is typed so far and returns the names that begin so, each with a line of help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from neurozoo.recipe.shipped import shipped_arenas, shipped_recipes
from neurozoo.registry.hookspecs import KINDS, Kind
from neurozoo.registry.registry import default_registry
from neurozoo.runs.shipped_models import shipped_models

__all__ = [
    "LISTED",
    "arenas",
    "backends",
    "components",
    "importers",
    "kinds",
    "models",
    "names",
    "public_data",
    "recipes",
]

Complete = Callable[[str], list[tuple[str, str]]]


def _beginning(source: Callable[[], Mapping[str, str]]) -> Complete:
    def complete(incomplete: str) -> list[tuple[str, str]]:
        return [(name, text) for name, text in source().items() if name.startswith(incomplete)]

    return complete


def _components(*kinds: Kind) -> Mapping[str, str]:
    registry = default_registry()
    return {name: each.summary for kind in kinds for name, each in registry.components(kind).items()}


def _public_data() -> Mapping[str, str]:
    from neurozoo.data.fetch.catalogue import CATALOGUE

    return {name: data.summary for name, data in CATALOGUE.items()}


LISTED = (*(each.plural for each in KINDS.values()), "recipes", "arenas", "sizes", "zoo", "plugins")
"""What `neurozoo list` has; the published sizes of models need torch."""

recipes = _beginning(shipped_recipes)
arenas = _beginning(shipped_arenas)
models = _beginning(shipped_models)
backends = _beginning(lambda: _components("neuron"))
engines = _beginning(lambda: _components("engine"))
importers = _beginning(lambda: {"guess": "the format that the files seem to be in", **_components("importer")})
public_data = _beginning(_public_data)
kinds = _beginning(lambda: dict.fromkeys(LISTED, ""))
components = _beginning(
    lambda: {**_components(*KINDS), **{each.name: each.distribution for each in default_registry().plugins}}
)
names = _beginning(lambda: {**_components(*KINDS), **shipped_recipes(), **shipped_models()})
