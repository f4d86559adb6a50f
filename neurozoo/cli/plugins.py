"""``plugins``: what is installed and what is wrong with it, a check, and the beginning of a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from neurozoo.cli.options import Json
from neurozoo.cli.output import columns, emit
from neurozoo.cli.plugin_check import check
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["app", "plugin_rows", "plugin_text"]

app = typer.Typer(help="List plugins, check what they offer, and begin a new one.", rich_markup_mode=None)
app.command("check")(check)


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
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="neuron, fusion, label-head, model or dataset.")],
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
