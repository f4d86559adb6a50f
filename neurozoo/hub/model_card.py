"""The model card: what a packed model is, how to use it, and what was measured, as the Hugging Face hub reads it.

Form: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.evaluation.health import DEAD, SATURATED, WEAK_LESION
from neurozoo.hub.metadata import front_matter, hub_licence
from neurozoo.models.build import make_problem
from neurozoo.operations.result import OperationsProfile
from neurozoo.recipe.recipe import Recipe
from neurozoo.reporting.operations import energy_table, operations_tables
from neurozoo.reporting.summaries import HEALTH, health_cells, loss_definition
from neurozoo.reporting.tables import Table, escaped, markdown, number, synthetic_mark
from neurozoo.runs.packed import MANIFEST, Packed

__all__ = ["model_card"]


@dataclass(frozen=True)
class _HubTask:
    """A task in the hub's words."""

    type: str
    title: str
    metrics: Mapping[str, tuple[str, str]]  # type and name of each
    says: str  # what the model predicts, given the number k of outputs


_TASKS = {
    "multilabel": _HubTask(
        "multi-label-classification",
        "multi-label classification",
        {
            # The hub's own accuracy is another measure, so this one has another name.
            "accuracy": ("jaccard", "accuracy (mean Jaccard index)"),
            "micro_f1": ("f1", "micro F1"),
            "macro_f1": ("f1", "macro F1"),
            "precision": ("precision", "micro precision"),
            "recall": ("recall", "micro recall"),
            "hamming_loss": ("hamming_loss", "Hamming loss"),
            "map": ("mean_average_precision", "mean average precision"),
        },
        "says how probable each of {k} labels is, independently of the others",
    ),
    "multiclass": _HubTask(
        "other",
        "multi-class classification",
        {
            "accuracy": ("accuracy", "accuracy"),
            "balanced_accuracy": ("accuracy", "balanced accuracy"),
            "macro_f1": ("f1", "macro F1"),
        },
        "says which of {k} classes applies, and how probable each is",
    ),
    "regression": _HubTask(
        "other",
        "regression",
        {
            "mae": ("mae", "mean absolute error"),
            "rmse": ("rmse", "root mean squared error"),
            "r2": ("r_squared", "R²"),
            "pearson": ("pearsonr", "Pearson correlation"),
        },
        "predicts {k} quantities, in their own units",
    ),
}
"""The tasks that the hub has words for. A card of another task lists its metrics for readers alone."""

_NAMED = 50
"""So many outputs are named."""


def model_card(packed: Packed, recipe: Recipe, notes: str = "") -> str:
    """The text of ``README.md``; ``notes`` is Markdown by the model's author, shown unchanged."""
    card = _Card(packed, recipe)
    if "imported" in packed.summary:
        sections = [card.introduction(), card.imported(), card.use()]
        return front_matter(card.front()) + "\n" + "\n\n".join(sections) + "\n"
    sections = [
        card.introduction(),
        *([f"## Notes\n\n{notes.strip()}"] if notes.strip() else []),
        card.use(),
        card.data(),
        card.metrics(),
        card.seeds(),
        *card.decision(),
        card.health(),
        card.lesions(),
        card.operations(),
        _section("Warnings", notes=packed.summary.get("warnings") or ["None."]),
        card.environment(),
    ]
    return front_matter(card.front()) + "\n" + "\n\n".join(sections) + "\n"


class _Card:
    """The sections of a card, each of which returns Markdown."""

    def __init__(self, packed: Packed, recipe: Recipe) -> None:
        self.packed, self.recipe, self.summary = packed, recipe, packed.summary
        self.task = make_problem(recipe, {}, packed.outputs).task
        self.origin: Mapping[str, Any] = packed.data.get("origin", {})
        # Follows every heading of numbers, so that none can be quoted without.
        self.mark = synthetic_mark(packed.synthetic)

    def front(self) -> dict[str, object]:
        """The hub's metadata: test scores, but none on made-up data, which must not get onto a leaderboard."""
        packed, task = self.packed, self.task
        known = _TASKS.get(task.name, _HubTask("other", task.name, {}, ""))
        tag = known.type if known.type != "other" else re.sub(r"[^a-z0-9]+", "-", known.title.lower())
        tags = ["neurozoo", "spiking-neural-network", tag, self.recipe.model.name]
        front: dict[str, object] = {**hub_licence(packed.licence), "library_name": "neurozoo"}
        if packed.synthetic:
            return front | {"tags": [*tags, "synthetic-data"]}
        dataset = self.recipe.data.name or "unknown"
        front |= {"tags": tags, "datasets": [dataset]}
        if known.metrics:
            front["metrics"] = list(dict.fromkeys(kind for kind, _ in known.metrics.values()))
        measured = self.summary["metrics"].get("test", {})
        values = [
            {"type": kind, "name": name, "value": round(measured[key], 4)}
            for key, (kind, name) in known.metrics.items()
            if measured.get(key) is not None
        ]
        if values:
            source = str(self.origin.get("source", dataset))
            result = {
                "task": {"type": known.type, "name": known.title},
                "dataset": {"type": dataset, "name": source, "split": "test"},
                "metrics": values,
            }
            front["model-index"] = [{"name": packed.name, "results": [result]}]
        return front

    def introduction(self) -> str:
        packed, task, k = self.packed, self.task, len(self.task.outputs)
        inputs = ", ".join(f"`{name}` ({_position(shape)})" for name, shape in packed.shapes.items())
        known = _TASKS.get(task.name)
        says = f"gives {k} x {task.noun} of the task `{task.name}`" if known is None else known.says.format(k=k)
        named = ", ".join(map(_text, task.outputs[:_NAMED])) + (", ..." if k > _NAMED else "")
        return "\n\n".join(
            [
                f"# {_text(packed.name)}{self.mark}",
                *([f"**{SYNTHETIC_NOTICE}.**"] if packed.synthetic else []),
                f"{_text(packed.description or packed.name)}.",
                f"A spiking model with {self.summary['parameters']:,} learnable parameters: neurozoo's "
                f"`{self.summary['model']}`, {self._trained()}. From {inputs} it "
                f"{says}{', at each step' if task.per_step else ''}: {named}.",
                f"Licence of the weights: {packed.licence or 'none was named; ask the authors before you use them'}.",
            ]
        )

    def _trained(self) -> str:
        if "imported" in self.summary:
            return "with weights that its authors trained"
        return f"trained on the backend `{self.summary['backend']}`"

    def imported(self) -> str:
        """Where imported weights come from, and what of them is not here."""
        origin = self.summary["imported"]
        notes = [
            f"File: {origin['file']}, SHA-256 {origin['sha256']}",
            f"Form of the model: {origin['form']}; `neurozoo show {self.packed.name}` says what that is",
            f"Tensors: {origin['tensors']}",
            "Nothing was trained or measured here: scores are whatever `neurozoo evaluate` finds on data of your own.",
        ]
        rows = [[_text(name), _text(why)] for name, why in origin["left"].items()]
        left = [_section("Not loaded", ["tensor of theirs", "why"], rows)] if rows else []
        return "\n\n".join([_section("Origin of the weights", notes=notes), *left])

    def use(self) -> str:
        version = self.summary["environment"]["versions"].get("neurozoo", "")
        signals = ", ".join(f'"{name}": {self._example(name)}' for name in self.packed.shapes)
        represented = "as `data.represent` of recipe.yaml gives them"
        units = represented if self.recipe.data.represent else "in the data's own units"
        return f"""\
## Use

With neurozoo {version} or newer, in this folder:

```python
import torch

import neurozoo

model = neurozoo.load(".")  # backend="norse" and others: the same weights on another spiking library
# Made up here; [B, L, ...] each, {units}.
signals = {{{signals}}}
predicted = model.predict(signals)  # [B, {"L, " if self.task.per_step else ""}{len(self.packed.outputs)}]
print(model.task.answer(predicted[0].numpy(), model.decision))
```

The data is not here. Where it is installed under the name `{self.recipe.data.name}` (`neurozoo data import`), these
commands measure the model again, compare with the numbers below, and train it again:

```
neurozoo evaluate .
neurozoo verify .
neurozoo train recipe.yaml --out ../trained-again
```

For a store elsewhere, the first two take `--data-root STORE`, the last `data.root=STORE`. `neurozoo predict . INPUT`
takes samples without targets.

Before anything is read, each file is compared with its SHA-256 in `{MANIFEST}`. A changed, missing or additional file
is refused, so write nothing into this folder; of this card a change is only said."""

    def _example(self, name: str) -> str:
        """Python that makes a signal of one sample, as long as the data's; a joined signal is as long as its parts."""
        stored = self._stored()
        parts = (name,) if name in stored else self.recipe.data.join.get(name, ())
        length = sum(stored[part][1] for part in parts if part in stored) or 1
        sizes = ", ".join(map(str, (1, length, *self.packed.shapes[name])))
        dtype = str((self.packed.signals or {}).get(name, {}).get("dtype", "float32"))
        return f"torch.randn({sizes})" if dtype.startswith("float") else f"torch.randint(0, 2, ({sizes}))"

    def _stored(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Axes of a position and positions L of each signal of the data, as the run noted them."""
        data = self.packed.data
        if "signals" in data:
            return {name: (tuple(each["shape"]), int(each["length"])) for name, each in data["signals"].items()}
        return {name: ((int(each["dim"]),), int(each["length"])) for name, each in data["modalities"].items()}

    def data(self) -> str:
        data, origin, valid = self.packed.data, self.origin, self.recipe.data.valid
        samples = ", ".join(f"{size:,} {name}" for name, size in data["splits"].items())
        if valid is not None:
            samples += f"; valid is {valid.fraction:.0%} of train, drawn with seed {valid.seed}"
        stored = self._stored().items()
        shapes = ", ".join(f"{name} [{', '.join(map(str, (length, *shape)))}]" for name, (shape, length) in stored)
        notes = [
            f"Name in the recipe: {self.recipe.data.name}",
            f"Origin: {origin.get('source', 'unknown')}" + (f" ({origin['format']})" if "format" in origin else ""),
            f"Licence: {origin.get('licence', 'unknown')}",
            f"Citation: {origin.get('citation', 'unknown')}",
            f"Samples: {samples}",
            f"Signals [positions, ...]: {shapes}",
            f"SHA-256 of the store: {data['checksum']}",
        ]
        for name, refs in self.recipe.data.representations.items():
            how = ", then ".join(f"{ref.name} ({_params(ref.params)})" for ref in refs)
            notes.append(f"Signal {name} is represented by {how}")
        if self.recipe.data.standardise:
            notes.append("The weights hold mean and deviation of each feature over train as well as what was learnt.")
        return _section(f"Data{self.mark}", notes=notes)

    def metrics(self) -> str:
        metrics, definitions = self.summary["metrics"], self.summary["metric_definitions"]
        there = dict.fromkeys(name for by_name in metrics.values() for name in by_name)
        names = [name for name in dict.fromkeys(["loss", *definitions, *there]) if name in there]
        meanings = {"loss": loss_definition(self.task)} | definitions
        rows = [[name, *(number(by.get(name)) for by in metrics.values()), meanings.get(name, "")] for name in names]
        notes = [
            f"Of the weights in this folder, which are those of epoch {self.summary['best_epoch']} of "
            f"{self.summary['epochs']}.",
            f"The epoch was chosen on valid, by {self.recipe.training.best}; nothing was chosen on test.",
        ]
        return _section(f"Metrics{self.mark}", ["metric", *metrics, "definition"], rows, notes)

    def seeds(self) -> str:
        seed, seeds, title = self.summary["seed"], self.packed.seeds, f"Seeds{self.mark}"
        if seeds is None:
            note = f"One seed was trained, {seed}, so there is no interval: another one gives other numbers."
            return _section(title, notes=[note])
        splits = {name: each for name, each in seeds["metrics"].items() if each}
        head = ["", *(f"{split}: {what}" for split in splits for what in ("mean", "deviation", "95 % interval"))]
        rows = [
            [name, *(cell for each in splits.values() for cell in _spread(each.get(name)))]
            for name in dict.fromkeys(name for each in splits.values() for name in each)
        ]
        rows += [
            [f"lesion effect, {kind}", *(cell for split in splits for cell in _spread(by_split.get(split)))]
            for kind, by_split in (seeds.get("lesion") or {}).items()
        ]
        notes = [
            f"Over the seeds {', '.join(map(str, seeds['seeds']))}: mean, the sample's deviation, Student's t "
            "interval.",
            "The intervals are over seeds alone: another test split would give other numbers.",
            f"The weights in this folder are of seed {seed}{self._choice(seeds)}.",
        ]
        return _section(title, head, rows, notes)

    def _choice(self, seeds: Mapping[str, Any]) -> str:
        """Whether the packed seed is the best one on valid, as far as the numbers tell."""
        best = self.recipe.training.best
        values = seeds.get("metrics", {}).get("valid", {}).get(best, {}).get("values", [])
        known = [value for value in values if value is not None]
        if not known or len(values) != len(seeds["seeds"]):
            return ""
        own = values[seeds["seeds"].index(self.summary["seed"])]
        if own != (min(known) if self.task.better(best) == "lower" else max(known)):
            return f", which is not the best of them on valid by {best}"
        return f", the best of them on valid by {best}; that choice makes its scores on valid look better than they are"

    def decision(self) -> list[str]:
        """How predictions become answers, if the task decides anything."""
        decided = self.summary.get("decision", self.summary.get("decision_threshold"))
        if decided is None:
            return []
        if self.task.name != "multilabel":
            return [_section("Decision", notes=[f"Predictions become answers by: {decided}"])]
        by_label = decided if isinstance(decided, list) else [decided] * len(self.task.outputs)
        rows = [[label, f"{value:g}"] for label, value in zip(self.task.outputs, by_label, strict=True)]
        how = {
            "fixed": "As the recipe says; it was not chosen for these weights.",
            "valid": "Chosen on valid, for the largest micro F1.",
            "valid-per-label": "Chosen on valid, each label's for its largest F1.",
        }[self.recipe.task.params.get("decision", "fixed")]
        return [_section("Decision thresholds", ["label", "predicted where its probability is above"], rows, [how])]

    def health(self) -> str:
        rows = [
            [name, split, *health_cells(layer)]
            for split, layers in self.summary["health"].items()
            for name, layer in layers.items()
        ]
        notes = [
            "The rate is in spikes a step, as a share; dead are neurons that fire in fewer than "
            f"{DEAD:.1%} of the steps, saturated in more than {SATURATED:.0%}.",
        ]
        if threshold := self.summary.get("threshold"):
            values = ", ".join(f"{name} {value:.4g}" for name, value in threshold.items() if value is not None)
            notes.append(f"Firing threshold on valid: {values}.")
        return _section(f"Spiking health{self.mark}", ["spiking layer", "split", *HEALTH], rows, notes)

    def lesions(self) -> str:
        lesion: Mapping[str, Mapping[str, float | None]] = self.summary.get("lesion", {})
        meanings = {"permuted": "each sample gets the spikes of another", "silent": "no spike at all"}
        splits = list(dict.fromkeys(split for by_split in lesion.values() for split in by_split))
        rows = [
            [f"{kind} ({meanings.get(kind, kind)})", *(number(by_split.get(split)) for split in splits)]
            for kind, by_split in lesion.items()
        ]
        effects = [effect for by_split in lesion.values() for effect in by_split.values() if effect is not None]
        if not lesion:
            verdict = "Without its spikes nothing is left of the model, so that there is no lesion to measure."
        elif not effects:
            verdict = "Whether the spikes matter was not measured."
        elif max(effects) < WEAK_LESION:
            verdict = f"All effects are below {WEAK_LESION}: the spikes hardly matter to the predictions."
        elif min(effects) < WEAK_LESION:
            verdict = f"Some effects are below {WEAK_LESION}: the predictions use little of the spikes."
        else:
            verdict = (
                f"The predictions use the spikes: they move by {min(effects):.1%} to {max(effects):.1%} of their "
                "standard deviation when the spikes are exchanged or silenced."
            )
        notes = [
            "Mean absolute change of the predictions in units of their standard deviation.",
            verdict,
            "That predictions move does not say that scores gain by the spikes; neurozoo ablate compares with models "
            "that have none.",
        ]
        return _section(f"What the spikes do{self.mark}", ["lesion", *splits], rows, notes)

    def operations(self) -> str:
        """Operations of a sample, and an estimate of their energy next to that of a network without spikes."""
        content, title = self.summary.get("operations"), f"Operations and energy{self.mark}"
        if content is None:
            note = "Not counted; where the data is installed, neurozoo profile . counts them."
            return _section(title, notes=[note])
        profile = OperationsProfile.from_dict(content, f"{self.packed.name}, its operations")
        counted, *products = operations_tables(profile)
        energy = energy_table(profile)
        sections = [_section(title, counted.head, counted.rows, [counted.title, *counted.notes])]
        sections += [_section(f"Products of attention{self.mark}", t.head, t.rows, t.notes) for t in products]
        sections += [_section(f"Energy, an estimate{self.mark}", energy.head, energy.rows, energy.notes)]
        return "\n\n".join(sections)

    def environment(self) -> str:
        environment, seconds = self.summary["environment"], self.summary["duration_seconds"]
        threads = environment.get("threads", "unknown")
        rows = [
            ["python", str(environment.get("python", "unknown"))],
            *([name, str(v)] for name, v in environment["versions"].items()),
        ]
        note = (
            f"Trained on {environment.get('platform', 'unknown')}, device {environment.get('device', 'unknown')}, "
            f"{threads} thread{'' if threads == 1 else 's'}, in {seconds:.0f} seconds."
        )
        notes, latency = [note], self.summary.get("latency")
        if latency is not None:
            notes.append(
                f"A sample alone takes {latency['milliseconds']:.3g} ms (median of {latency['samples']} of valid, one "
                f"thread of {latency['processor']}, backend {latency['backend']})."
            )
        return _section("Environment", ["", "version"], rows, notes)


def _params(params: Mapping[str, Any]) -> str:
    """Return the parameters that are set."""
    return ", ".join(f"{name} {value}" for name, value in params.items() if value is not None)


def _position(shape: tuple[int, ...]) -> str:
    """The contents of one position of a signal, in words."""
    if not shape:
        return "a number a position"
    if len(shape) == 1:
        return f"{shape[0]} features a position"
    return f"{' x '.join(map(str, shape))} a position"


def _section(
    title: str, head: Sequence[str] = (), rows: Sequence[Sequence[str]] = (), notes: Sequence[object] = ()
) -> str:
    return markdown([Table(title, head, rows, list(map(_line, notes)))]).strip()


def _spread(estimate: Mapping[str, Any] | None) -> Iterator[str]:
    """Mean, deviation and interval of one metric over seeds."""
    known = estimate or {}
    yield number(known.get("mean"))
    yield number(known.get("deviation"))
    low, high = known.get("low"), known.get("high")
    yield "-" if low is None or high is None else f"{number(low)} to {number(high)}"


def _line(text: object) -> str:
    """Text on one line, as a break would end a table or a list."""
    return " ".join(str(text).split())


def _text(text: object) -> str:
    return escaped(_line(text))
