"""``plugins``: what is installed and what is wrong with it, a check, and the beginning of a new one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from neurozoo.cli.options import Json, parsed
from neurozoo.cli.output import emit
from neurozoo.errors import PluginError, UnknownNameError, UserError
from neurozoo.registry.discovery import canonical
from neurozoo.registry.hookspecs import KINDS, Kind
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.reporting.tables import columns

__all__ = ["app", "check", "plugin_rows", "plugin_text"]

app = typer.Typer(help="List plugins, check what they offer, and begin a new one.", rich_markup_mode=None)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the plugins installed, and why one is not loaded or a part of it cannot be used."""
    rows = plugin_rows(default_registry())
    if json:
        emit({"plugins": rows})
    else:
        print(plugin_text(rows))


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called; it becomes neurozoo-NAME.")],
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="neuron, fusion, label-head, model or data.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder that it is written into.")] = Path(),
    json: Json = False,
) -> None:
    """Write a new plugin that works: a distribution with one part, its conformance test and a README."""
    from neurozoo.registry.scaffold import write_plugin

    written = write_plugin(name, kind, out)
    if json:
        emit(
            {
                "path": written.path,
                "distribution": written.distribution,
                "package": written.package,
                "component": {"kind": written.kind, "name": written.name},
                "files": written.files,
            }
        )
        return
    print(f"wrote {written.path}, with the {written.kind} {written.name!r} in {written.part}; next:")
    for command in written.next_commands:
        print(f"  {command}")


def plugin_rows(registry: Registry) -> list[dict[str, Any]]:
    """Each plugin: where it is from, what it offers, what of that cannot be used, and why."""
    return [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "api": plugin.api,
            "components": [f"{each.kind} {each.name}" for each in plugin.components],
            "unusable": [
                {"component": f"{each.kind} {each.name}", "missing": missing, "install": each.install}
                for each in plugin.components
                if (missing := registry.missing(each.kind, each.name))
            ],
            "note": plugin.note,
            "error": plugin.error,
        }
        for plugin in registry.plugins
    ]


def plugin_text(rows: Sequence[Mapping[str, Any]], indent: str = "") -> str:
    """The plugins for people, a broken one with its reason."""
    if not rows:
        return f"{indent}none"
    table = [
        [row["name"], row["distribution"], f"BROKEN: {row['error']}" if row["error"] else _offered(row["components"])]
        for row in rows
    ]
    lines = []
    for line, row in zip(columns(table, indent).splitlines(), rows, strict=True):
        lines.append(line)
        for part in row["unusable"]:
            remedy = f"; install it with: {part['install']}" if part["install"] else ""
            lines.append(f"{indent}  {part['component']} cannot be used: no {', '.join(part['missing'])}{remedy}")
        lines += [f"{indent}  note: {row['note']}"] if row["note"] else []
    return "\n".join(lines)


def _offered(components: Sequence[str]) -> str:
    """The components with each kind named once, such as ``backend a, b; fusion c``."""
    names: dict[str, list[str]] = {}
    for each in components:
        kind, _, name = each.partition(" ")
        names.setdefault(kind, []).append(name)
    return "; ".join(f"{kind} {', '.join(each)}" for kind, each in names.items())


FAILED, NOT_CONFORMANT = 1, 3


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A component, a plugin or its distribution.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="The component's params, where it needs some."),
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help=f"One of: {', '.join(KINDS)}.")] = None,
    case: Annotated[list[str] | None, typer.Option("--case", metavar="CASE", help="This alone; repeatable.")] = None,
    json: Json = False,
) -> None:
    """Hold a component against its conformance kit. The exit status is 3 where it does not conform."""
    registry = default_registry()
    chosen = _chosen(name, _kind(kind), registry)
    params = _params(chosen, values or (), registry)

    from neurozoo.testing import kit_of

    kits = [kit for which, _ in chosen if (kit := kit_of(which)) is not None]
    cases = {each for kit in kits for each in kit.cases}
    for each in case or ():
        if each not in cases:
            raise UnknownNameError("case", each, cases)
    told = []
    for which, called in chosen:
        found, text = _checked(which, called, params, case, registry)
        told.append(found)
        if not json:
            print(text, flush=True)
    if json:
        emit({"checked": told})
    outcomes = {each["outcome"] for each in told}
    if outcomes & {"failed", "unusable"}:
        raise typer.Exit(NOT_CONFORMANT if "failed" in outcomes else FAILED)


def _kind(given: str | None) -> Kind | None:
    named: dict[str, Kind] = {each: each for each in KINDS}
    if given is not None and given not in named:
        raise UnknownNameError("kind", given, KINDS)
    return None if given is None else named[given]


def _chosen(name: str, kind: Kind | None, registry: Registry) -> list[tuple[Kind, str]]:
    """The components that a name stands for: all of a plugin's, or the one that is called so.

    Raises:
        UserError: Nothing has that name, or several components do.
        PluginError: It is a plugin's, and that could not be loaded.
    """
    if kind is not None and name in registry.components(kind):
        return [(kind, name)]
    for plugin in registry.plugins:
        distribution = canonical(plugin.distribution.partition(" ")[0])
        if name == plugin.name or canonical(name) == distribution:
            if plugin.error:
                raise PluginError(f"plugin {plugin.name} of {plugin.distribution} is not loaded: {plugin.error}")
            found = [(each.kind, each.name) for each in plugin.components if kind in (None, each.kind)]
            if found:
                return found
    if kind is not None:
        registry.get(kind, name)  # says what there is
    kinds = [each for each in KINDS if name in registry.components(each)]
    if len(kinds) > 1:
        raise UserError(f"{name!r} is the name of a {' and of a '.join(kinds)}; say which with --kind")
    if not kinds:
        known = {each for which in KINDS for each in registry.components(which)}
        raise UnknownNameError("component or plugin", name, known | {plugin.name for plugin in registry.plugins})
    return [(kinds[0], name)]


def _params(chosen: Sequence[tuple[Kind, str]], given: Sequence[str], registry: Registry) -> dict[str, Any]:
    """The params of the one component chosen, as a recipe would give them.

    Raises:
        UserError: They are for several components, are not ``KEY=VALUE``, or are not what it takes.
    """
    if not given:
        return {}
    if len(chosen) > 1:
        names = ", ".join(f"{kind} {name}" for kind, name in chosen)
        raise UserError(f"KEY=VALUE is for one component, and these are {len(chosen)}: {names}; name one of them")
    from neurozoo.recipe.params import component_params, component_problems

    ((kind, name),) = chosen
    known = component_params(registry.resolve(kind, name))
    params: dict[str, Any] = {}
    for each in given:
        key, equals, text = each.partition("=")
        if not equals:
            raise UserError(f"{each!r} is not KEY=VALUE; {kind} {name!r} has: {', '.join(known) or 'none'}")
        params[key] = parsed(text, known[key].annotation) if key in known else text
    for key, problem in component_problems(kind, name, params, registry):
        raise UserError(f"{key}: {problem}" if key else problem)
    return params


def _checked(
    kind: Kind, name: str, params: Mapping[str, Any], cases: Sequence[str] | None, registry: Registry
) -> tuple[dict[str, Any], str]:
    """What came of one component, for programs and for people."""
    from neurozoo.recipe.params import component_problems
    from neurozoo.testing import Report, kit_of

    told: dict[str, Any] = {"kind": kind, "name": name, "owner": registry.owner(kind, name), "report": None}

    def without_report(outcome: str, problem: str = "") -> tuple[dict[str, Any], str]:
        said = f"{kind} {name}: {outcome}: {problem or _SAID[outcome]}"
        return told | {"outcome": outcome, "problem": problem}, said

    def wrong() -> Iterator[tuple[str, str]]:
        if kind != "importer":  # a function, which is given its parameters when it is called
            yield from component_problems(kind, name, params, registry)
            return
        try:
            registry.resolve(kind, name)
        except PluginError as error:
            yield "", str(error)

    for key, problem in wrong():
        return without_report("unusable" if registry.missing(kind, name) else "failed", f"{key} {problem}".strip())
    if registry.get(kind, name).native:
        return without_report("another model")
    kit = kit_of(kind)
    if kit is None:
        return without_report("interface")
    chosen = [each for each in kit.cases if not cases or each in cases]
    report = Report(kind, name, tuple(_results(kind, name, params, chosen, registry)))
    outcome = "passed" if report.passed else "failed" if report.failures else "unusable"
    problem = "no case could be run" if outcome == "unusable" else ""
    return told | {"outcome": outcome, "problem": problem, "report": report.to_dict()}, str(report)


def _results(
    kind: Kind, name: str, params: Mapping[str, Any], cases: Sequence[str], registry: Registry
) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import Progress

    from neurozoo.testing import check as run
    from neurozoo.testing import registered

    candidate = registered(kind, name, params, registry)
    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{kind} {name}", total=len(cases))
        for case in cases:
            progress.update(task, description=f"{kind} {name}: {case}")
            yield from run(candidate, [case]).results
            progress.advance(task)


_SAID = {
    "another model": "it declares to be what its library gives by itself, another model; "
    "`neurozoo compare` shows how far off it is",
    "interface": "it can be imported and has the interface of its kind; there is no kit that asks for more",
}
