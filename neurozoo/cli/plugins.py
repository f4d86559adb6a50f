"""``plugins`` and ``doctor``: what is installed, whether it works and conforms, and the start of a new plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import DIFFERENT, FAILED, Json, answer, emit, key_values
from neurozoo.cli.streams import say
from neurozoo.errors import PluginError, UnknownNameError, UserError
from neurozoo.registry.discovery import canonical
from neurozoo.registry.hookspecs import KINDS, Kind
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.reporting.tables import columns

if TYPE_CHECKING:
    from neurozoo.testing.doctor import Finding

__all__ = ["app", "check", "doctor", "plugin_rows", "plugin_text"]

app = typer.Typer(help="List plugins, check what they offer, and start a new one.", rich_markup_mode=None)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the plugins installed, and why one is not loaded or a part of it cannot be used."""
    rows = plugin_rows(default_registry())
    answer(json, {"plugins": rows}, plugin_text(rows))


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
    document = {
        "path": written.path,
        "distribution": written.distribution,
        "package": written.package,
        "component": {"kind": written.kind, "name": written.name},
        "files": written.files,
    }
    head = f"wrote {written.path}, with the {written.kind} {written.name!r} in {written.part}; next:"
    answer(json, document, "\n".join([head, *(f"  {command}" for command in written.next_commands)]))


@app.command("check")
def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A component, a plugin or its distribution.", autocompletion=completion.components
        ),
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="The component's params, if it needs some."),
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help=f"One of: {', '.join(KINDS)}.")] = None,
    case: Annotated[list[str] | None, typer.Option("--case", metavar="CASE", help="Only this one; repeatable.")] = None,
    json: Json = False,
) -> None:
    """Hold a component against its conformance kit. The exit status is 3 if it does not conform."""
    registry = default_registry()
    chosen = _chosen(name, kind, registry)
    params = _params(chosen, values or (), registry)

    from neurozoo.testing import kit_of

    kits = [kit for which, _ in chosen if (kit := kit_of(which)) is not None]
    cases = {each for kit in kits for each in kit.cases}
    for each in case or ():
        if each not in cases:
            raise UnknownNameError("case", each, cases)
    checked = []
    for which, called in chosen:
        result = _check(which, called, params, case, registry)
        text = result.pop("text")
        checked.append(result)
        if not json:
            say(text)
    if json:
        emit({"checked": checked})
    outcomes = {each["outcome"] for each in checked}
    if outcomes & {"failed", "unusable"}:
        raise typer.Exit(DIFFERENT if "failed" in outcomes else FAILED)


def _chosen(name: str, kind: str | None, registry: Registry) -> list[tuple[Kind, str]]:
    """The components that a name stands for: all of a plugin's, or the one that is called so.

    Raises:
        UserError: Nothing has that name, or several components do.
        PluginError: It is the name of a plugin that could not be loaded.
    """
    kinds: list[Kind] = [each for each in KINDS if kind in (None, each)]
    if not kinds:
        raise UnknownNameError("kind", kind or "", KINDS)
    if kind is not None and name in registry.components(kinds[0]):
        return [(kinds[0], name)]
    for plugin in registry.plugins:
        distribution = canonical(plugin.distribution.partition(" ")[0])
        if name == plugin.name or canonical(name) == distribution:
            if plugin.error:
                raise PluginError(f"plugin {plugin.name} of {plugin.distribution} is not loaded: {plugin.error}")
            if offered := [(each.kind, each.name) for each in plugin.components if each.kind in kinds]:
                return offered
    if kind is not None:
        registry.get(kinds[0], name)  # raises with the names there are
    kinds = [each for each in kinds if name in registry.components(each)]
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
    params = key_values(given, known, f"{kind} {name!r}")
    for key, problem in component_problems(kind, name, params, registry):
        raise UserError(f"{key}: {problem}" if key else problem)
    return params


_NO_REPORT = {
    "another model": "it declares to be its library's own neuron, another model; "
    "`neurozoo compare` shows how far off it is",
    "interface": "it can be imported and has the interface of its kind; there is no kit that asks for more",
}
"""Outcomes without a report, in words."""


def _check(
    kind: Kind, name: str, params: Mapping[str, Any], cases: Sequence[str] | None, registry: Registry
) -> dict[str, Any]:
    """The result of one component, for programs; under ``text`` the same for people."""
    from neurozoo.cli.bars import progress_bar
    from neurozoo.recipe.params import component_problems
    from neurozoo.testing import CaseResult, Report, kit_of, registered
    from neurozoo.testing import check as run

    def result(outcome: str, problem: str = "", report: Report | None = None) -> dict[str, Any]:
        text = str(report) if report is not None else f"{kind} {name}: {outcome}: {problem or _NO_REPORT[outcome]}"
        document = None if report is None else report.to_dict()
        known = {"kind": kind, "name": name, "owner": registry.owner(kind, name), "report": document}
        return {**known, "outcome": outcome, "problem": problem, "text": text}

    if kind == "importer":  # a function, which gets its parameters when it is called
        try:
            registry.resolve(kind, name)
            problem = ""
        except PluginError as error:
            problem = str(error)
    else:
        found = (f"{key} {text}".strip() for key, text in component_problems(kind, name, params, registry))
        problem = next(found, "")
    if problem:
        return result("unusable" if registry.missing(kind, name) else "failed", problem)
    if registry.get(kind, name).native:
        return result("another model")
    kit = kit_of(kind)
    if kit is None:
        return result("interface")
    chosen = [each for each in kit.cases if not cases or each in cases]
    candidate, results = registered(kind, name, params, registry), list[CaseResult]()
    with progress_bar() as on_progress:
        for done, case in enumerate(chosen):
            on_progress(f"{kind} {name}: {case}", done, len(chosen))
            results += run(candidate, [case]).results
    report = Report(kind, name, tuple(results))
    if report.passed or report.failures:
        return result("passed" if report.passed else "failed", report=report)
    return result("unusable", "no case could be run", report)


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Print the commands that mend what is wrong, and run none.")
    ] = False,
    json: Json = False,
) -> None:
    """Examine the installation: versions, devices, plugins, data, recipes and backends. Exit status 1 on failure."""
    from neurozoo.testing.doctor import examine

    findings: list[Finding] = []
    marks = {"ok": "ok", "warning": "WARNING", "failed": "FAILED"}
    for section, group in groupby(examine(), key=lambda each: each.section):
        new = list(group)
        findings += new
        if not json and not fix:
            rows = [[each.name, marks[each.status], each.said] for each in new]
            say(f"{section}\n{columns(rows, '  ')}\n")
    failed = [each for each in findings if each.status == "failed"]
    warned = sum(each.status == "warning" for each in findings)
    warnings = f"{warned} warning{'s' if warned != 1 else ''}"
    text = f"nothing failed, {warnings}" if warned else "all is well"
    if failed:  # what is wrong comes last, where it is read
        lines = [f"  {each.section}, {each.name}: {each.said}" for each in failed]
        text = "\n".join([f"{len(failed)} failed, {warnings}", *lines])
    status = "failed" if failed else "warning" if warned else "ok"
    document: dict[str, Any] = {"status": status, "findings": findings, "failures": failed}
    if fix:
        commands = list(dict.fromkeys(each.fix for each in findings if each.fix))
        others = [each for each in findings if each.status != "ok" and not each.fix]
        document["fixes"] = commands
        notes = [f"# {each.section}, {each.name}: {' '.join(each.said.split())}" for each in others]
        text = "\n".join([*commands, *notes] or ["# nothing to mend"])
    answer(json, document, text)
    if failed:
        raise typer.Exit(FAILED)
