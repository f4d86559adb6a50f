"""``list`` and ``show``: what there is, and what one of them is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import Backend, Engine, Json, Overrides, answer
from neurozoo.cli.completion import LISTED
from neurozoo.cli.plugins import plugin_rows, plugin_text
from neurozoo.core.leaves import leaf_text, leaves
from neurozoo.errors import NeurozooError, UnknownNameError, UserError
from neurozoo.files.text import read_text
from neurozoo.recipe.shipped import shipped_arenas, shipped_path, shipped_recipes
from neurozoo.registry.hookspecs import KINDS, Kind
from neurozoo.registry.registry import Registry, default_registry, slot_kind
from neurozoo.reporting.tables import columns
from neurozoo.runs.shipped_models import shipped_model, shipped_models

if TYPE_CHECKING:
    from neurozoo.hub.publishing import RemoteModel
    from neurozoo.recipe.recipe import Recipe
    from neurozoo.runs.packed import Packed

__all__ = ["list_", "show"]

KINDS_LISTED: Mapping[str, Kind] = {each.plural: kind for kind, each in KINDS.items()}


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="[KIND]", help=f"One of: {', '.join(LISTED)}.", autocompletion=completion.kinds),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--hub", metavar="USER", help="Models of a user of the Hugging Face hub instead.")
    ] = None,
    json: Json = False,
) -> None:
    """List what there is: components, recipes, trained models (zoo) and plugins."""
    if user is not None:
        if kind not in (None, "zoo"):
            raise UserError(f"--hub lists models of a hub, and no {kind}; leave {kind!r} or --hub out")
        from neurozoo.hub.publishing import remote_models

        found = remote_models(user)
        lines = [[each.name, each.summary, _access(each)] for each in found]
        answer(json, {"hub": found}, columns(lines) if lines else f"{user} has no models of neurozoo that you can see")
        return
    # Sizes need torch, so that they are listed only when asked for.
    wanted = tuple(each for each in LISTED if each != "sizes") if kind is None else (_plural(kind),)
    registry = default_registry()
    entries = {name: _entries(name, registry) for name in wanted}
    answer(json, entries, "\n".join(_block(name, rows, titled=kind is None) for name, rows in entries.items()))


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|RECIPE",
            help="A component, a recipe's file or name, or a model.",
            autocompletion=completion.names,
        ),
    ],
    overrides: Overrides = None,
    backend: Backend = None,
    engine: Engine = None,
    json: Json = False,
) -> None:
    """Show a recipe, resolved, with where each value comes from; a component; or a trained model's card.

    With --engine: how the layers of a trained model run on it.
    """
    if engine is not None:
        answer(json, *_planned(name, engine, overrides, backend))
        return
    registry = default_registry()
    kinds = [kind for kind in KINDS if name in registry.components(kind)]
    model = None
    if name.startswith("hf:/"):
        from neurozoo.runs.trained_folder import open_trained

        model = open_trained(name).folder
    elif not Path(name).exists():
        model = shipped_model(name)
    if (kinds or model is not None) and (overrides or backend is not None):
        what = "component" if kinds else "trained model"
        raise UserError(f"{name!r} is a {what}; overrides and --backend are for recipes")
    if kinds:
        components = [_component(kind, name, registry) for kind in kinds]
        texts = [*map(_component_text, components)]
        content: dict[str, Any] = {"components": components}
        if model is not None:  # of the same name as its data or their importer
            content["model"], card = _packed(model)
            texts.append(card)
        answer(json, content, "\n\n".join(texts))
    elif model is not None:
        answer(json, *_packed(model, any_card=name.startswith("hf:/")))
    else:
        if not Path(name).exists() and not name.endswith((".yaml", ".yml")) and shipped_path(name) is None:
            if (overrides or backend is not None) and any(name == each["name"] for each in _sizes(registry)):
                raise UserError(f"{name!r} is a published size; overrides and --backend are for recipes")
            if not (size := _size(name, registry)):
                known = {each for kind in KINDS for each in registry.components(kind)}
                everything = {*known, *shipped_recipes(), *shipped_models()}
                raise UnknownNameError("component, recipe or model", name, everything)
            answer(json, size, _size_text(size))
            return

        from neurozoo.recipe.recipe import load_recipe

        resolved = _recipe(load_recipe(name, overrides or (), backend=backend, registry=registry))
        answer(json, resolved, _recipe_text(resolved))


def _planned(name: str, engine: str, overrides: list[str] | None, backend: str | None) -> tuple[dict[str, Any], str]:
    """Return how the layers of a trained model run on an engine."""
    if overrides:
        raise UserError(f"--engine is for trained models, which have no overrides; leave out {' '.join(overrides)}")
    from neurozoo.runs.loading import load

    plan = load(name, backend=backend, engine=engine).plan
    assert plan is not None
    rows = [[each.name, each.module, each.runs, each.words] for each in plan.layers]
    return {"model": name, **asdict(plan)}, columns([["layer", "", "runs", "how"], *rows])


def _packed(folder: Path, any_card: bool = False) -> tuple[Packed, str]:
    """Return a trained model's manifest and card; ``any_card`` if that may be another or missing, as on a hub."""
    from neurozoo.runs.packed import CARD, read_packed

    packed, card = read_packed(folder, any_card=any_card), folder / CARD
    return packed, read_text(card) if card.is_file() else f"{folder.name} has no card"


def _plural(kind: str) -> str:
    """The listed plural that ``kind``, a plural or a singular, stands for."""
    kinds: Mapping[str, str] = {name: each.plural for name, each in KINDS.items()}
    plural = kinds.get(kind, kind if kind in LISTED else f"{kind}s")
    if plural not in LISTED:
        raise UnknownNameError("kind", kind, LISTED)
    return plural


def _entries(listed: str, registry: Registry) -> list[dict[str, Any]]:
    if listed == "plugins":
        return plugin_rows(registry)
    if listed == "sizes":
        return _sizes(registry)
    if listed == "arenas":
        return [{"name": name, "summary": summary} for name, summary in shipped_arenas().items()]
    if listed == "recipes":
        return [{"name": name, "summary": summary} for name, summary in shipped_recipes().items()]
    if listed == "zoo":
        from neurozoo.hub.zoo_entries import shipped_entries

        return [each.to_dict() for each in shipped_entries()]
    kind = KINDS_LISTED[listed]
    entries: list[dict[str, Any]] = [
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

        entries += [
            {"name": name, "summary": f"installed in {path}", "owner": "", "missing": []}
            for name, path in installed().items()
        ]
    return entries


def _block(listed: str, rows: list[dict[str, Any]], *, titled: bool) -> str:
    indent = "  " if titled else ""
    if listed == "plugins":
        body = plugin_text(rows, indent)
    elif listed == "zoo" and not titled:
        body = _zoo_text(rows)
    elif rows:
        body = columns([[row["name"], row["summary"] + _notes(row)] for row in rows], indent)
    else:
        body = f"{indent}none"
    return f"{listed}\n{body}\n" if titled else body


def _zoo_text(rows: list[dict[str, Any]]) -> str:
    from neurozoo.hub.zoo_entries import HEAD, NOTES, ZooEntry

    table = columns([HEAD, *(ZooEntry(**row).cells() for row in rows)], right={4, 5, 6})
    processors = ", ".join(sorted({row["processor"] for row in rows if row["processor"]}))
    notes = [*NOTES, *([f"measured on: {processors}"] if processors else [])]
    return "\n".join([table, "", *notes])


def _access(model: RemoteModel) -> str:
    return ", ".join(word for word, holds in (("private", model.private), ("gated", model.gated)) if holds)


def _notes(row: Mapping[str, Any]) -> str:
    notes = f" (not installed: {', '.join(row['missing'])})" if row.get("missing") else ""
    if row.get("native"):
        return f"{notes} (native: not held against the oracle)"
    return notes if row.get("exact", True) else f"{notes} (inexact: may differ within rounding of the threshold)"


def _component(kind: Kind, name: str, registry: Registry) -> dict[str, Any]:
    from neurozoo.recipe.params import REQUIRED, component_params

    component = registry.get(kind, name)
    content: dict[str, Any] = {
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
        content |= {"exact": component.exact, "native": component.native}
    try:
        target = registry.resolve(kind, name)
        params = component_params(target)
    except NeurozooError as error:
        return content | {"error": str(error)}
    return content | {
        "doc": inspect.getdoc(target) or "",
        "slots": {slot: _slot_text(fits) for slot, fits in getattr(target, "slots", {}).items()},
        "sizes": {size: asdict(each) for size, each in getattr(target, "variants", {}).items()},
        "quirks": {parameter: asdict(each) for parameter, each in getattr(target, "quirks", {}).items()},
        "optional": list(getattr(target, "optional", ())),
        "params": {
            param.name: {"type": param.type, "required": True}
            if param.default is REQUIRED
            else {"type": param.type, "required": False, "default": param.default}
            for param in params.values()
        },
    }


def _slot_text(slot: Any) -> str:
    kind, base = slot_kind(slot)
    return kind if base is None else f"{kind}, a subclass of {base.__module__}.{base.__name__}"


def _component_text(content: Mapping[str, Any]) -> str:
    lines = [f"{content['kind']} {content['name']}: {content['summary']}"]
    lines.append(f"from {content['owner']}, {content['target']}")
    if content.get("native"):
        lines.append("another model: its library's own neuron, unchanged")
    elif "exact" in content:
        lines.append("exact: every spike equals the oracle's" if content["exact"] else "inexact: within rounding")
    if content["error"]:
        lines.append(f"cannot be used: {content['error']}")
    if slots := content.get("slots"):
        rows = [[slot, kind, "optional" if slot in content["optional"] else ""] for slot, kind in slots.items()]
        lines += ["", "slots", columns(rows, "  ")]
    if params := content["params"]:
        rows = [
            [name, "required" if each["required"] else f"= {leaf_text(each['default'])}", each["type"]]
            for name, each in params.items()
        ]
        lines += ["", "params", columns(rows, "  ")]
    if sizes := content.get("sizes"):
        rows = [[size, f"{each['parameters']:,} parameters", each["source"]] for size, each in sizes.items()]
        lines += ["", "published sizes", columns(rows, "  ")]
    if quirks := content.get("quirks"):
        lines += ["", "what the published form does, and the corrected one does not", _quirks_text(quirks)]
    return "\n".join([*lines, "", content["doc"]]).rstrip()


def _quirks_text(quirks: Mapping[str, Any]) -> str:
    rows = [
        [f"{name}: {leaf_text(each['published'])}", f"and not {leaf_text(each['corrected'])}", each["effect"]]
        for name, each in quirks.items()
    ]
    return columns(rows, "  ")


def _sizes(registry: Registry) -> list[dict[str, Any]]:
    from neurozoo.models.by_name import variants

    return [
        {
            "name": name,
            "summary": f"{model}, {each.parameters:,} parameters, {[each.length, *each.shape]}, {each.task}",
            "model": model,
            **asdict(each),
        }
        for name, model, each in variants(registry)
    ]


def _size(name: str, registry: Registry) -> dict[str, Any] | None:
    """Return a published size with the layers of its corrected form; None if there is none of that name."""
    found = next((each for each in _sizes(registry) if each["name"] == name), None)
    if found is None:
        return None
    from neurozoo.operations.model_summary import summarise
    from neurozoo.runs.by_name import create_model

    quirks = registry.resolve("model", found["model"]).quirks
    model = create_model(name, registry=registry)
    return {
        **found,
        "quirks": {parameter: asdict(each) for parameter, each in quirks.items()},
        "corrected": summarise(model).to_dict(),
    }


def _size_text(size: Mapping[str, Any]) -> str:
    corrected = size["corrected"]
    rows = [["layer", "", "input", "output", "parameters", "operations"]]
    rows += [
        [
            layer["name"], layer["module"], layer["fed"] or "",
            "" if layer["shape"] is None else str(list(layer["shape"])),
            f"{layer['parameters']:,}", f"{layer['operations']:,}",
        ]
        for layer in corrected["layers"]
    ]  # fmt: skip
    rows.append(["total", "", "", "", f"{corrected['parameters']:,}", f"{corrected['operations']:,}"])
    lines = [f"{size['name']}: {size['summary']}", f"from {size['source']}"]
    if size["unused"]:
        lines.append(f"its authors' code has {size['unused']:,} more parameters, which have no effect")
    lines += ["", "the corrected form, on one sample; operations are multiplications with accumulation if nothing is"]
    lines += ["skipped, of all steps, and of neurons their updates; T is the first axis of outputs of neurons"]
    lines += ["input: bits (spikes), whole numbers (sums of spikes) or real ones", ""]
    lines.append(columns(rows, right=(4, 5)))
    if corrected["uncounted"]:
        lines.append(f"products that are not counted, in: {', '.join(corrected['uncounted'])}")
    if size["quirks"]:
        lines += ["", "what the published form does, and the corrected one does not", _quirks_text(size["quirks"])]
    return "\n".join(lines)


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """A resolved recipe, where each value comes from, and its parameters by component."""
    from neurozoo.models.build import describe

    content: dict[str, Any] = {
        "name": recipe.name,
        "digest": recipe.digest,
        "recipe": recipe.content,
        "origins": {path: recipe.origin_of(path) for path, _ in leaves(recipe.content)},
    }
    try:
        return content | {"assembled": describe(recipe), "not_assembled": ""}
    except NeurozooError as error:
        return content | {"assembled": None, "not_assembled": str(error)}


def _recipe_text(content: Mapping[str, Any]) -> str:
    rows = [[path, leaf_text(value), content["origins"][path]] for path, value in leaves(content["recipe"])]
    lines = [columns(rows), "", f"digest {content['digest']}"]
    assembled = content["assembled"]
    if assembled is None:
        return "\n".join([*lines, f"parameters: unknown, since {content['not_assembled']}"])
    counts = [[name, f"{count:,}"] for name, count in assembled["parameters"].items()]
    return "\n".join([*lines, "", "parameters", columns([*counts, ["total", f"{assembled['total']:,}"]], "  ")])
