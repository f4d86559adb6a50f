"""Print the table of ``docs/events.md`` that has how the models of the zoo run on the engine ``events``.

A trained model's row is that of ``neurozoo show NAME --engine events --json``; a published size has new weights, which
change nothing here. ``python docs/examples/events_table.py --write`` puts the table into the page.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import neurozoo
from neurozoo.core.engine import Plan
from neurozoo.errors import SpikingError
from neurozoo.models.engines import use_engine
from neurozoo.registry.registry import default_registry
from neurozoo.runs.shipped_models import shipped_models

PAGE = Path(__file__).parents[1] / "events.md"
BEGIN, END = "<!-- models: docs/examples/events_table.py -->\n", "<!-- end of models -->\n"
SMALLER = {"spikegpt-18-768": {"depth": 2, "width": 64}}
OTHERS = {
    "recurrent": {"inputs": (40,), "outputs": 4, "length": 20},
    "cuba-mlp": {"inputs": (40,), "outputs": 4, "length": 20},
    "spiking-convnet": {"inputs": (2, 16, 16), "outputs": 4, "length": 4},
    "spiking-sequence": {"inputs": (40,), "outputs": 4, "length": 20},
    "spiking-transformer": {"inputs": (2, 16, 16), "outputs": 4, "length": 4},
    "gru": {"inputs": (40,), "outputs": 4, "length": 20},
}
"""Models without a published size."""


def table() -> str:
    """Return the table in Markdown."""
    rows = [f"| {' | '.join(row)} |\n" for row in _rows()]
    head = "| Model | By events | Neurons alone, after a dense | Dense |\n|---|---|---|---|\n"
    return "\n" + head + "".join(rows) + "\n"


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for name in sorted(shipped_models()):
        plan = neurozoo.load(name, engine="events").plan
        assert plan is not None
        yield _row(name, plan)
    registry = default_registry()
    for model in sorted(registry.components("model")):
        variants = getattr(registry.resolve("model", model), "variants", {})
        if not variants and model not in OTHERS:
            continue  # SMILE has rows as trained models, and a graph is what it was made of
        name = min(variants, key=lambda each: variants[each].parameters, default=model)
        net = neurozoo.create_model(name, **(OTHERS.get(name) or SMALLER.get(name) or {})).eval()
        try:
            yield _row(name, use_engine(net, "events"))
        except SpikingError:
            yield f"`{name}`", "refused: no layer of neurons", "", ""


def _row(name: str, plan: Plan) -> tuple[str, str, str, str]:
    runs = Counter(layer.runs for layer in plan.layers)
    synapses = Counter(
        found[1] for layer in plan.layers if layer.runs == "neurons" and (found := re.search(r"\((.*?)\)", layer.words))
    )
    dense = Counter(layer.module for layer in plan.layers if layer.runs == "dense")
    by_events = "all" if runs["events"] == len(plan.layers) else f"{runs['events']} of {len(plan.layers)}"
    return f"`{name}`", by_events, _list(synapses), _list(dense)


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(counts.items()))


if __name__ == "__main__":
    made = table()
    if sys.argv[1:] == ["--write"]:
        text = PAGE.read_text(encoding="utf-8")
        start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        PAGE.write_text(text[:start] + made + text[end:], encoding="utf-8")
    else:
        print(made)
