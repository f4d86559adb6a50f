"""The gallery of packed models: a Markdown page with cards, a table, and a section with pictures for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.files.text import read_text
from neurozoo.hub.zoo_entries import HEAD, NOTES, ZooEntry, read_entry, sorted_entries
from neurozoo.operations.result import LayerOperations, OperationsProfile, by_part
from neurozoo.reporting.small_pictures import DrawnPart, confusion_picture, network_picture, rates_picture
from neurozoo.reporting.tables import escaped, number, pipe_table
from neurozoo.runs.packed import CARD, MANIFEST, Packed

__all__ = ["ZooPage", "zoo_page"]

_INTRODUCTION = """\
# The zoo

This page is written by a command, `{command}`, from the packed models; nothing here is typed by hand.

Each is a self-contained folder with weights, recipe, model card and the hash of each file
([Packing](packing.md)). It loads on any backend, by its name:

```
neurozoo list zoo                     # the table below
neurozoo show {first}          # its model card; with --json its manifest
neurozoo predict {first} samples.npz
neurozoo verify {first}        # measures it again on the installed data
```

```python
model = neurozoo.load("{first}", backend="norse")
```

`neurozoo nir export {first} --dt 1e-3 --out FOLDER` writes spiking layers as [NIR](nir.md) graphs. A folder of
that name in the current folder takes precedence, as with recipes.
"""

_LEGENDS = (
    "squares: rows are the classes of test, columns what they are taken for, in the same order; blue is right, orange "
    "wrong, and the shade is the root of the row's share. Without classes, bars are firing rates on test",
    "parts: operations a sample, blue are additions that spikes cause, orange are multiplications; green are neurons, "
    "with their firing rate on test in percent of the steps",
)
"""How to read the pictures."""


@dataclass(frozen=True)
class ZooPage:
    """The page in Markdown, and its pictures: SVG by file name, which belong into a folder named as the page."""

    text: str
    pictures: dict[str, str]


def zoo_page(folders: Sequence[Path], page: Path, command: str) -> ZooPage:
    """Draw packed models as a page; their files are compared with their hashes.

    Args:
        folders: Packed models, at least one.
        page: Where the page will be, as links depend on its name.
        command: What wrote it.

    Raises:
        CheckpointError: One is no packed model, or differs from what was packed.
    """
    read = {(found := read_entry(folder))[0].name: (*found, folder) for folder in folders}
    entries = sorted_entries(entry for entry, _, _ in read.values())
    drawn = {name: _pictures(entry, packed) for name, (entry, packed, _) in read.items()}
    rows = [[f"[`{each.name}`](#{_anchor(each.name)})", *map(escaped, each.cells()[1:])] for each in entries]
    blocks = [
        _INTRODUCTION.format(command=command, first=entries[0].name),
        _cards(entries, page.stem),
        "\n".join(pipe_table(HEAD, rows)),
        "\n".join(f"- {note}" for note in (*NOTES, *_LEGENDS)),
        *(_section(*read[each.name], _shown(page.stem, drawn[each.name])) for each in entries),
    ]
    pictures = {name: svg for each in drawn.values() for name, (_, svg) in each.items()}
    return ZooPage("\n\n".join(block.strip("\n") for block in blocks) + "\n", pictures)


def _anchor(name: str) -> str:
    return re.sub(r"[^\w-]", "", name.lower())


def _cards(entries: Sequence[ZooEntry], folder: str) -> str:
    """All models at a glance; a list where a page knows no cards."""
    cards = [
        f"-   [![{each.name}]({folder}/{each.name}.svg)](#{_anchor(each.name)})\n\n"
        f"    **[{each.name}](#{_anchor(each.name)})**, {escaped(each.task_text)}: {escaped(each.score_text)}"
        for each in entries
    ]
    return "\n\n".join(['<div class="grid cards" markdown>', *cards, "</div>"])


def _pictures(entry: ZooEntry, packed: Packed) -> dict[str, tuple[str, str]]:
    """The pictures of a model by file name, each with its text alternative: results first, then the network."""
    layers = packed.summary.get("health", {}).get("test", {})
    rates = {name: layer.get("rate") for name, layer in layers.items()}
    confusion = packed.summary.get("confusion")
    if confusion is not None:
        label = f"{entry.name}: which class is taken for which on {confusion['split']}"
        svg = confusion_picture(packed.outputs, confusion["counts"], label)
    else:
        svg = rates_picture(rates, f"{entry.name}: firing rates of its layers on test")
    found = {f"{entry.name}.svg": (entry.name, svg)}
    if packed.summary.get("operations") is not None:
        label = f"{entry.name}: its parts, with their operations and rates"
        inputs = [f"{name} {[each['length'], *each['shape']]}" for name, each in (packed.signals or {}).items()]
        svg = network_picture(inputs, _parts(entry, packed, rates), entry.task_text, label)
        found[f"{entry.name}-network.svg"] = (f"{entry.name}, its parts", svg)
    return found


def _parts(entry: ZooEntry, packed: Packed, rates: Mapping[str, float | None]) -> list[DrawnPart]:
    """The parts of the model in the order of their definition; attention with the part that it belongs to."""
    counts = OperationsProfile.from_dict(packed.summary["operations"], f"{entry.name}, its operations").network
    parts: dict[str, list[LayerOperations]] = {}
    for (name, _), layers in by_part(counts.layers).items():
        parts.setdefault(name, []).extend(layers)
    return [
        DrawnPart(
            name,
            counts.a_sample(sum(each.acs for each in layers)),
            counts.a_sample(sum(each.macs for each in layers)),
            all(each.kind == "neurons" for each in layers),
            rates.get(name),
        )
        for name, layers in parts.items()
    ]


def _shown(folder: str, pictures: Mapping[str, tuple[str, str]]) -> str:
    return "\n".join(f"![{words}]({folder}/{name})" for name, (words, _) in pictures.items())


def _section(entry: ZooEntry, packed: Packed, folder: Path, picture: str) -> str:
    summary = packed.summary
    origin = summary.get("data", {}).get("origin", {})
    health = summary.get("health", {}).get("test", {})
    rates = [layer["rate"] for layer in health.values() if layer.get("rate") is not None]
    lesion = summary.get("lesion", {}).get("permuted", {}).get("test")
    facts = {
        "task": entry.task_text,
        "data": ", ".join(str(each) for each in (entry.data, origin.get("licence")) if each),
        "score on test": entry.score_text,
        "of these weights": f"seed {summary.get('seed', '-')}: {number(entry.own_score, 3)}",
        "size": f"{entry.cells()[HEAD.index('parameters')]} parameters, "
        f"{sum((folder / name).stat().st_size for name in (MANIFEST, *packed.files)) / 1e6:.2f} MB",
        "operations": _operations(entry),
        "one sample alone": "-"
        if entry.milliseconds is None
        else f"{entry.milliseconds:.3g} ms on one thread of {entry.processor}",
        "firing rates": f"{min(rates):.1%} to {max(rates):.1%} of the steps, by layer" if rates else "-",
        "lesion effect": number(lesion, 3),
        "training": f"{summary.get('duration_seconds', 0.0) / 60:.1f} minutes on "
        f"{summary.get('environment', {}).get('threads', '-')} thread(s)",
    }
    blocks = [
        f"## {entry.name}",
        f"**{SYNTHETIC_NOTICE}.**" if entry.synthetic else "",
        f"{escaped(entry.summary)}.",
        picture,
        "\n".join(pipe_table(["", ""], [[name, escaped(value)] for name, value in facts.items()])),
        _notes(folder),
    ]
    return "\n\n".join(filter(None, blocks))


def _operations(entry: ZooEntry) -> str:
    if entry.operations is None or entry.accumulations is None:
        return "-"
    return f"{entry.operations:,.0f} a sample, of which {entry.accumulations:,.0f} are additions that spikes cause"


def _notes(folder: Path) -> str:
    """The section of a model card that its author wrote; empty if there is none."""
    found = re.search(r"^## Notes\n+(.*?)(?=^## |\Z)", read_text(folder / CARD), re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""
