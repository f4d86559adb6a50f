"""``list`` and ``show``: what there is, and what one of them is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurozoo.cli.options import Backend, Json, Overrides
from neurozoo.cli.output import emit
from neurozoo.cli.plugins import plugin_rows, plugin_text
from neurozoo.core.leaves import leaf_text, leaves
from neurozoo.errors import NeurozooError, UnknownNameError, UserError
from neurozoo.recipe.shipped import shipped_recipes
from neurozoo.registry.hookspecs import KINDS, Kind
from neurozoo.registry.registry import Registry, default_registry, slot_kind
from neurozoo.reporting.tables import columns
from neurozoo.runs.shipped_models import shipped_model, shipped_models

if TYPE_CHECKING:
    from neurozoo.recipe.recipe import Recipe

__all__ = ["list_", "show"]

KINDS_LISTED: Mapping[str, Kind] = {each.plural: kind for kind, each in KINDS.items()}
LISTED = (*KINDS_LISTED, "recipes", "zoo", "plugins")


def list_(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help=f"One of: {', '.join(LISTED)}.")] = None,
    json: Json = False,
) -> None:
    """List what there is: components, recipes, trained models (zoo) and plugins."""
    wanted = LISTED if kind is None else (_listed(kind),)
    registry = default_registry()
    entries = {name: _entries(name, registry) for name in wanted}
    if json:
        emit(entries if kind is None else {wanted[0]: entries[wanted[0]]})
        return
    blocks = [_block(name, rows, titled=kind is None) for name, rows in entries.items()]
    print("\n".join(blocks))


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME|RECIPE", help="A component, a recipe's file or name, or a model.")
    ],
    overrides: Overrides = None,
    backend: Backend = None,
    json: Json = False,
) -> None:
    """Show a recipe, resolved, with where each value comes from; a component; or a trained model's card."""
    registry = default_registry()
    kinds = [kind for kind in KINDS if name in registry.components(kind)]
    if kinds and (overrides or backend is not None):
        raise UserError(f"{name!r} is a component; overrides and --backend are for recipes")
    if kinds:
        components = [_component(kind, name, registry) for kind in kinds]
        if json:
            emit({"components": components})
        else:
            print("\n\n".join(map(_component_text, components)))
        return
    if not Path(name).exists() and (model := shipped_model(name)) is not None:
        if overrides or backend is not None:
            raise UserError(f"{name!r} is a trained model; overrides and --backend are for recipes")
        from neurozoo.runs.packed import CARD, read_packed

        packed = read_packed(model)
        if json:
            emit(packed)
        else:
            print((model / CARD).read_text("utf-8"))
        return
    if not Path(name).exists() and not name.endswith((".yaml", ".yml")) and name not in shipped_recipes():
        known = {each for kind in KINDS for each in registry.components(kind)}
        raise UnknownNameError("component, recipe or model", name, {*known, *shipped_recipes(), *shipped_models()})

    from neurozoo.recipe.recipe import load_recipe

    content = _recipe(load_recipe(name, overrides or (), backend=backend, registry=registry))
    if json:
        emit(content)
    else:
        print(_recipe_text(content))


def _listed(kind: str) -> str:
    """The plural that ``kind`` stands for."""
    by_kind = next((each.plural for name, each in KINDS.items() if name == kind), "")
    plural = by_kind or (kind if kind in LISTED or kind.endswith("s") else f"{kind}s")
    if plural not in LISTED:
        raise UnknownNameError("kind", kind, LISTED)
    return plural


def _entries(listed: str, registry: Registry) -> list[dict[str, Any]]:
    if listed == "recipes":
        return [{"name": name, "summary": summary} for name, summary in shipped_recipes().items()]
    if listed == "zoo":
        return [{"name": name, "summary": summary} for name, summary in shipped_models().items()]
    if listed == "plugins":
        return plugin_rows(registry)
    kind = KINDS_LISTED[listed]
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "summary": each.summary,
            "owner": registry.owner(kind, name),
            **({"exact": each.exact, "native": each.native} if kind == "neuron" else {}),
            "missing": registry.missing(kind, name),
        }
        for name, each in registry.components(kind).items()
    ]
    if kind == "data":
        from neurozoo.data.locations import installed

        found += [
            {"name": name, "summary": f"installed in {path}", "owner": "", "missing": []}
            for name, path in installed().items()
        ]
    return found


def _block(listed: str, rows: list[dict[str, Any]], *, titled: bool) -> str:
    indent = "  " if titled else ""
    if listed == "plugins":
        body = plugin_text(rows, indent)
    elif rows:
        body = columns([[row["name"], row["summary"] + _notes(row)] for row in rows], indent)
    else:
        body = f"{indent}none"
    return f"{listed}\n{body}\n" if titled else body


def _notes(row: Mapping[str, Any]) -> str:
    notes = f" (not installed: {', '.join(row['missing'])})" if row.get("missing") else ""
    if row.get("native"):
        return f"{notes} (native: not held against the oracle)"
    return notes if row.get("exact", True) else f"{notes} (inexact: may differ within rounding of the threshold)"


def _component(kind: Kind, name: str, registry: Registry) -> dict[str, Any]:
    from neurozoo.recipe.params import REQUIRED, component_params

    component = registry.get(kind, name)
    told: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "summary": component.summary,
        "owner": registry.owner(kind, name),
        "target": component.target,
        "params": {},
        "doc": "",
        "error": "",
    }
    if kind == "neuron":
        told |= {"exact": component.exact, "native": component.native}
    try:
        target = registry.resolve(kind, name)
        params = component_params(target)
    except NeurozooError as error:
        return told | {"error": str(error)}
    told["doc"] = inspect.getdoc(target) or ""
    told["slots"] = {slot: _slot_text(fits) for slot, fits in getattr(target, "slots", {}).items()}
    told["optional"] = list(getattr(target, "optional", ()))
    told["params"] = {
        param.name: {"type": param.type, "required": True}
        if param.default is REQUIRED
        else {"type": param.type, "required": False, "default": param.default}
        for param in params.values()
    }
    return told


def _slot_text(slot: Any) -> str:
    kind, base = slot_kind(slot)
    return kind if base is None else f"{kind}, a subclass of {base.__module__}.{base.__name__}"


def _component_text(told: Mapping[str, Any]) -> str:
    lines = [f"{told['kind']} {told['name']}: {told['summary']}", f"from {told['owner']}, {told['target']}"]
    if told.get("native"):
        lines.append("another model: what its library gives by itself")
    elif "exact" in told:
        lines.append("exact: every spike equals the oracle's" if told["exact"] else "inexact: within rounding")
    if told["error"]:
        lines.append(f"cannot be used: {told['error']}")
    for title, rows in (
        (
            "slots",
            [[slot, kind, "optional" * (slot in told["optional"])] for slot, kind in told.get("slots", {}).items()],
        ),
        (
            "params",
            [
                [name, "required" if each["required"] else f"= {leaf_text(each['default'])}", each["type"]]
                for name, each in told["params"].items()
            ],
        ),
    ):
        if rows:
            lines += ["", title, columns(rows, "  ")]
    return "\n".join([*lines, "", told["doc"]]).rstrip()


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """A resolved recipe, where each value comes from, and its parameters by component."""
    from neurozoo.models.build import describe

    told: dict[str, Any] = {
        "name": recipe.name,
        "digest": recipe.digest,
        "recipe": recipe.content,
        "origins": {path: recipe.origin_of(path) for path, _ in leaves(recipe.content)},
    }
    try:
        return told | {"assembled": describe(recipe), "not_assembled": ""}
    except NeurozooError as error:
        return told | {"assembled": None, "not_assembled": str(error)}


def _recipe_text(told: Mapping[str, Any]) -> str:
    rows = [[path, leaf_text(value), told["origins"][path]] for path, value in leaves(told["recipe"])]
    lines = [columns(rows), "", f"digest {told['digest']}"]
    assembled = told["assembled"]
    if assembled is None:
        return "\n".join([*lines, f"parameters: unknown, since {told['not_assembled']}"])
    counts = [[name, f"{count:,}"] for name, count in assembled["parameters"].items()]
    return "\n".join([*lines, "", "parameters", columns([*counts, ["total", f"{assembled['total']:,}"]], "  ")])
