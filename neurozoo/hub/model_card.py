"""The model card: what a packed model is, how to use it, and what was measured, as the Hugging Face hub reads it.

Form: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neurozoo.core.task import Task
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.evaluation.health import DEAD, SATURATED, WEAK_LESION
from neurozoo.hub.licences import hub_licence
from neurozoo.models.build import make_problem
from neurozoo.operations.result import OperationsProfile
from neurozoo.recipe.recipe import Recipe
from neurozoo.reporting.front_matter import front_matter
from neurozoo.reporting.operations import energy_table, operations_tables
from neurozoo.reporting.summaries import loss_definition
from neurozoo.reporting.tables import Table, escaped, markdown, number, synthetic_mark
from neurozoo.runs.packed import MANIFEST, Packed

__all__ = ["model_card"]


@dataclass(frozen=True)
class _HubTask:
    """What the hub calls a task.

    Attributes:
        type: Type and tag of the task.
        title: Its name in words.
        metrics: Type and name of each metric on the hub.
        says: What the model says, given the number of outputs.
    """

    type: str
    title: str
    metrics: Mapping[str, tuple[str, str]]
    says: str


_TASKS = {
    "multilabel": _HubTask(
        "multi-label-classification",
        "multi-label classification",
        {
            # The hub's own accuracy is another measure, so this one is not called so.
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
    """The text of ``README.md``.

    Args:
        packed: The manifest; its hashes are not needed.
        recipe: The recipe that the folder holds.
        notes: Markdown by the model's author, shown as it is.
    """
    task = make_problem(recipe, {}, packed.outputs).task
    sections = [
        _introduction(packed, task),
        *([f"## Notes\n\n{notes.strip()}"] if notes.strip() else []),
        _use(packed, recipe),
        _data(packed, recipe),
        _metrics(packed, recipe, task),
        _seeds(packed, recipe, task),
        *_decision(packed, recipe, task),
        _health(packed),
        _spikes(packed),
        _operations(packed),
        _listed("Warnings", packed.summary.get("warnings") or ["None."]),
        _environment(packed),
    ]
    return front_matter(_front(packed, recipe, task)) + "\n" + "\n\n".join(sections) + "\n"


def _front(packed: Packed, recipe: Recipe, task: Task) -> dict[str, object]:
    """What the hub reads: test scores, and none on made-up data, as such must not get onto a leaderboard."""
    known = _TASKS.get(task.name, _HubTask("other", task.name, {}, ""))
    tag = known.type if known.type != "other" else re.sub(r"[^a-z0-9]+", "-", known.title.lower())
    tags = ["neurozoo", "spiking-neural-network", tag, recipe.model.name]
    front: dict[str, object] = {**hub_licence(packed.licence), "library_name": "neurozoo"}
    if packed.synthetic:
        return front | {"tags": [*tags, "synthetic-data"]}
    dataset = recipe.data.name or "unknown"
    results = [
        {
            "task": {"type": known.type, "name": known.title},
            "dataset": {"type": dataset, "name": str(_origin(packed).get("source", dataset)), "split": split},
            "metrics": found,
        }
        for split, metrics in packed.summary["metrics"].items()
        if split == "test"
        and (
            found := [
                {"type": kind, "name": name, "value": round(metrics[key], 4)}
                for key, (kind, name) in known.metrics.items()
                if metrics.get(key) is not None
            ]
        )
    ]
    kinds = list(dict.fromkeys(kind for kind, _ in known.metrics.values()))
    return front | {
        "tags": tags,
        "datasets": [dataset],
        **({"metrics": kinds} if kinds else {}),
        **({"model-index": [{"name": packed.name, "results": results}]} if results else {}),
    }


def _introduction(packed: Packed, task: Task) -> str:
    summary, k = packed.summary, len(task.outputs)
    inputs = ", ".join(f"`{name}` ({_position(shape)})" for name, shape in packed.shapes.items())
    known = _TASKS.get(task.name)
    says = f"gives {k} x {task.noun} of the task `{task.name}`" if known is None else known.says.format(k=k)
    named = ", ".join(map(_text, task.outputs[:_NAMED])) + (", ..." if k > _NAMED else "")
    lines = [f"# {_text(packed.name)}{_made_up(packed)}", ""]
    lines += [f"**{SYNTHETIC_NOTICE}.**", ""] if packed.synthetic else []
    lines += [
        f"{_text(packed.description or packed.name)}.",
        "",
        f"A spiking model with {summary['parameters']:,} learnable parameters: neurozoo's `{summary['model']}`, "
        f"trained on the backend `{summary['backend']}`. From {inputs} it {says}"
        f"{', at each step' if task.per_step else ''}: {named}.",
        "",
        f"Licence of the weights: {packed.licence or 'none was named; ask the authors before you use them'}.",
    ]
    return "\n".join(lines)


def _position(shape: tuple[int, ...]) -> str:
    """What one position of a signal is, in words."""
    if not shape:
        return "a number a position"
    if len(shape) == 1:
        return f"{shape[0]} features a position"
    return f"{' x '.join(map(str, shape))} a position"


def _use(packed: Packed, recipe: Recipe) -> str:
    version = packed.summary["environment"]["versions"].get("neurozoo", "")
    signals = ", ".join(f'"{name}": {_made_up_signal(packed, recipe, name)}' for name in packed.shapes)
    where = f"`{recipe.data.name}`"
    return f"""\
## Use

With neurozoo {version} or newer, in this folder:

```python
import torch

import neurozoo

model = neurozoo.load(".")  # backend="norse" and others: the same weights on another spiking library
# Made up here; [B, L, ...] each, in the data's own units.
signals = {{{signals}}}
predicted = model.predict(signals)  # [B, {"L, " if recipe.task.per_step else ""}{len(packed.outputs)}]
print(model.task.answer(predicted[0].numpy(), model.decision))
```

The data is not here. Where it is installed under the name {where} (`neurozoo data import`), these commands measure the
model again, compare with the numbers below, and train it again:

```
neurozoo evaluate .
neurozoo verify .
neurozoo train recipe.yaml --out ../trained-again
```

For a store elsewhere, the first two take `--data-root STORE`, the last `data.root=STORE`. `neurozoo predict . INPUT`
takes samples without targets.

Before anything is read, each file is compared with its SHA-256 in `{MANIFEST}`. A changed, missing or additional file
is refused, so write nothing into this folder."""


def _made_up_signal(packed: Packed, recipe: Recipe, name: str) -> str:
    """Python that makes a signal of one sample, as long as the data's."""
    sizes = ", ".join(map(str, (1, _length(packed, recipe, name), *packed.shapes[name])))
    dtype = str((packed.signals or {}).get(name, {}).get("dtype", "float32"))
    return f"torch.randn({sizes})" if dtype.startswith("float") else f"torch.randint(0, 2, ({sizes}))"


def _stored(packed: Packed) -> dict[str, tuple[tuple[int, ...], int]]:
    """Axes of a position and positions L of each signal of the data, as the run noted them."""
    data = packed.data
    if "signals" in data:
        return {name: (tuple(each["shape"]), int(each["length"])) for name, each in data["signals"].items()}
    return {name: ((int(each["dim"]),), int(each["length"])) for name, each in data["modalities"].items()}


def _length(packed: Packed, recipe: Recipe, name: str) -> int:
    """Positions L of a signal in the data, of a joined one all together."""
    known = _stored(packed)
    parts = (name,) if name in known else recipe.data.join.get(name, ())
    return sum(known[part][1] for part in parts if part in known) or 1


def _data(packed: Packed, recipe: Recipe) -> str:
    data, origin = packed.data, _origin(packed)
    splits = ", ".join(f"{size:,} {name}" for name, size in data["splits"].items())
    shapes = ", ".join(
        f"{name} [{', '.join(map(str, (length, *shape)))}]" for name, (shape, length) in _stored(packed).items()
    )
    valid = recipe.data.valid
    notes = [
        f"Name in the recipe: {recipe.data.name}",
        f"Origin: {origin.get('source', 'unknown')}" + (f" ({origin['format']})" if "format" in origin else ""),
        f"Licence: {origin.get('licence', 'unknown')}",
        f"Citation: {origin.get('citation', 'unknown')}",
        f"Samples: {splits}"
        + (f"; valid is {valid.fraction:.0%} of train, drawn with seed {valid.seed}" if valid is not None else ""),
        f"Signals [positions, ...]: {shapes}",
        f"SHA-256 of the store: {data['checksum']}",
    ]
    if recipe.data.standardise:
        notes.append("The weights hold mean and deviation of each feature over train as well as what was learnt.")
    return _listed("Data" + _made_up(packed), notes)


def _metrics(packed: Packed, recipe: Recipe, task: Task) -> str:
    summary = packed.summary
    metrics, definitions = summary["metrics"], summary["metric_definitions"]
    there = dict.fromkeys(name for by_name in metrics.values() for name in by_name)
    names = [name for name in dict.fromkeys(["loss", *definitions, *there]) if name in there]
    meanings = {"loss": loss_definition(task)} | definitions
    rows = [[name, *(number(by.get(name)) for by in metrics.values()), meanings.get(name, "")] for name in names]
    notes = [
        f"Of the weights in this folder, which are those of epoch {summary['best_epoch']} of {summary['epochs']}.",
        f"The epoch was chosen on valid, by {recipe.training.best}; nothing was chosen on test.",
    ]
    return markdown([Table("Metrics" + _made_up(packed), ["metric", *metrics, "definition"], rows, notes)]).strip()


def _seeds(packed: Packed, recipe: Recipe, task: Task) -> str:
    seed, seeds = packed.summary["seed"], packed.seeds
    title = "Seeds" + _made_up(packed)
    if seeds is None:
        return _listed(
            title, [f"One seed was trained, {seed}, so there is no interval: another one gives other numbers."]
        )
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
        f"Over the seeds {', '.join(map(str, seeds['seeds']))}: mean, the sample's deviation, Student's t interval.",
        "The intervals are over seeds alone: another test split would give other numbers.",
        f"The weights in this folder are of seed {seed}{_choice(packed, recipe, task)}.",
    ]
    return markdown([Table(title, head, rows, notes)]).strip()


def _choice(packed: Packed, recipe: Recipe, task: Task) -> str:
    """Whether the packed seed is the best one on valid, as far as the numbers tell."""
    seeds, best = packed.seeds or {}, recipe.training.best
    values = seeds.get("metrics", {}).get("valid", {}).get(best, {}).get("values", [])
    known = [value for value in values if value is not None]
    if not known or len(values) != len(seeds["seeds"]):
        return ""
    own = values[seeds["seeds"].index(packed.summary["seed"])]
    if own == (min(known) if task.better(best) == "lower" else max(known)):
        return f", the best of them on valid by {best}; that choice makes its scores on valid look better than they are"
    return f", which is not the best of them on valid by {best}"


def _decision(packed: Packed, recipe: Recipe, task: Task) -> list[str]:
    """How predictions become answers, where the task decides anything."""
    decided = packed.summary.get("decision", packed.summary.get("decision_threshold"))
    if decided is None:
        return []
    if task.name != "multilabel":
        return [_listed("Decision", [f"Predictions become answers by: {decided}"])]
    by_label = decided if isinstance(decided, list) else [decided] * len(task.outputs)
    rows = [[label, f"{value:g}"] for label, value in zip(task.outputs, by_label, strict=True)]
    how = {
        "fixed": "As the recipe says; it was not chosen for these weights.",
        "valid": "Chosen on valid, for the largest micro F1.",
        "valid-per-label": "Chosen on valid, each label's for its largest F1.",
    }[recipe.task.params.get("decision", "fixed")]
    head = ["label", "predicted where its probability is above"]
    return [markdown([Table("Decision thresholds", head, rows, [how])]).strip()]


def _health(packed: Packed) -> str:
    summary = packed.summary
    rows = [
        [name, split, *(f"{layer[key]:.1%}" for key in ("rate", "dead", "saturated"))]
        for split, layers in summary["health"].items()
        for name, layer in layers.items()
    ]
    notes = [
        "The rate is in spikes a step, as a share; dead are neurons that fire in fewer than "
        f"{DEAD:.1%} of the steps, saturated in more than {SATURATED:.0%}.",
    ]
    if threshold := summary.get("threshold"):
        said = ", ".join(f"{name} {value:.4g}" for name, value in threshold.items() if value is not None)
        notes.append(f"Firing threshold on valid: {said}.")
    head = ["spiking layer", "split", "rate", "dead", "saturated"]
    return markdown([Table("Spiking health" + _made_up(packed), head, rows, notes)]).strip()


def _spikes(packed: Packed) -> str:
    """What the lesions say, in words."""
    lesion: Mapping[str, Mapping[str, float | None]] = packed.summary.get("lesion", {})
    meanings = {"permuted": "each sample gets the spikes of another", "silent": "no spike at all"}
    splits = list(dict.fromkeys(split for by_split in lesion.values() for split in by_split))
    rows = [
        [f"{kind} ({meanings.get(kind, kind)})", *(number(by_split.get(split)) for split in splits)]
        for kind, by_split in lesion.items()
    ]
    known = [effect for by_split in lesion.values() for effect in by_split.values() if effect is not None]
    if not lesion:
        said = "Without its spikes nothing is left of the model, so that there is no lesion to measure."
    elif not known:
        said = "Whether the spikes matter was not measured."
    elif max(known) < WEAK_LESION:
        said = f"All effects are below {WEAK_LESION}: the spikes hardly matter to the predictions."
    elif min(known) < WEAK_LESION:
        said = f"Some effects are below {WEAK_LESION}: the predictions use little of the spikes."
    else:
        said = (
            f"The predictions use the spikes: they move by {min(known):.1%} to {max(known):.1%} of their standard "
            "deviation when the spikes are exchanged or silenced."
        )
    notes = [
        "Mean absolute change of the predictions in units of their standard deviation.",
        said,
        "That predictions move does not say that scores gain by the spikes; neurozoo ablate compares with models "
        "that have none.",
    ]
    return markdown([Table("What the spikes do" + _made_up(packed), ["lesion", *splits], rows, notes)]).strip()


def _operations(packed: Packed) -> str:
    """What the model computes for a sample, and an estimate of the energy next to that of a network without spikes."""
    content = packed.summary.get("operations")
    title = f"Operations and energy{_made_up(packed)}"
    if content is None:
        return _listed(title, ["Not counted; where the data is installed, neurozoo profile . counts them."])
    profile = OperationsProfile.from_dict(content, f"{packed.name}, its operations")
    counted, *others = operations_tables(profile)
    energy = energy_table(profile)
    shown = [
        Table(title, counted.head, counted.rows, [counted.title, *counted.notes]),
        *(Table(f"Products of attention{_made_up(packed)}", each.head, each.rows, each.notes) for each in others),
        Table(f"Energy, an estimate{_made_up(packed)}", energy.head, energy.rows, energy.notes),
    ]
    return markdown(shown).strip()


def _environment(packed: Packed) -> str:
    environment, seconds = packed.summary["environment"], packed.summary["duration_seconds"]
    rows = [["python", environment["python"]], *([name, str(v)] for name, v in environment["versions"].items())]
    notes = [
        f"Trained on {environment['platform']}, device {environment['device']}, {environment['threads']} "
        f"thread{'' if environment['threads'] == 1 else 's'}, in {seconds:.0f} seconds.",
    ]
    return markdown([Table("Environment", ["", "version"], rows, notes)]).strip()


def _origin(packed: Packed) -> Mapping[str, Any]:
    origin: Mapping[str, Any] = packed.data.get("origin", {})
    return origin


def _made_up(packed: Packed) -> str:
    """Next to every heading of numbers, so that none can be quoted without."""
    return synthetic_mark(packed.synthetic)


def _listed(title: str, notes: Sequence[object]) -> str:
    return markdown([Table(title, notes=[_line(note) for note in notes])]).strip()


def _spread(estimate: Mapping[str, Any] | None) -> Iterator[str]:
    """Mean, deviation and interval of one metric over seeds."""
    found = estimate or {}
    yield number(found.get("mean"))
    yield number(found.get("deviation"))
    low, high = found.get("low"), found.get("high")
    yield "-" if low is None or high is None else f"{number(low)} to {number(high)}"


def _line(text: object) -> str:
    """On one line, as a break would end a table or a list."""
    return " ".join(str(text).split())


def _text(text: object) -> str:
    return escaped(_line(text))
