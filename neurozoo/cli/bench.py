"""``bench``: what neurons, a recipe's training and a store cost on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import MOST, Html, Json, Overrides, answer, check_writable, write
from neurozoo.cli.streams import say
from neurozoo.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["app"]

app = typer.Typer(
    help="Measure what neurons, training and data cost here, as ratios side by side.", rich_markup_mode=None
)


_MOST = 10**9

Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, help="Threads of torch; by default as many as it chooses.")
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=MOST, help="How often each is timed; medians are shown.")]


@app.command("neurons")
def neurons(
    backends: Annotated[
        str | None, typer.Option("--backends", metavar="A,B", help="By default all that are installed and run there.")
    ] = None,
    kind: Annotated[str, typer.Option("--kind", help="Of neuron: lif, if, plif, adlif, alif, cuba, li, relu.")] = "lif",
    steps: Annotated[str, typer.Option("--steps", metavar="T,T", help="Numbers of time steps.")] = "5,50",
    shape: Annotated[str, typer.Option("--shape", metavar="B,L,N", help="Neurons at a time.")] = "256,60,128",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    threads: Threads = None,
    rounds: Rounds = 15,
    repeated: Annotated[bool, typer.Option("--repeated", help="Give all steps one current, as SMILE does.")] = False,
    html: Html = None,
    json: Json = False,
) -> None:
    """Time the backends' neurons, forward and backward, in a plain loop too, and their memory, next to copies."""
    from neurozoo.bench.neurons import measure_neurons
    from neurozoo.reporting.bench import loop_table, neurons_page, neurons_table
    from neurozoo.reporting.tables import plain_text
    from neurozoo.runs.device import choose_device

    check_writable(html)
    sizes, numbers = _whole_numbers("--shape", shape), _whole_numbers("--steps", steps)
    place = choose_device(device)
    names = backends.split(",") if backends is not None else _backends(place, kind)
    _set_threads(threads)
    costs = [
        measure_neurons(
            names, number, kind=kind, shape=sizes, rounds=rounds, repeated=repeated, device=place,
            on_progress=lambda name, number=number: say(f"T = {number}: {name}", error=True),  # type: ignore[misc]
        )
        for number in numbers
    ]  # fmt: skip
    if html is not None:
        write(html, neurons_page(costs))
    answer(json, {"neurons": costs}, plain_text(table(each) for each in costs for table in (neurons_table, loop_table)))


@app.command("events")
def events(
    neurons: Annotated[
        str | None, typer.Option("--neurons", metavar="N,N", help="Recurrent neurons, in place of the whole sweep.")
    ] = None,
    rates: Annotated[
        str | None, typer.Option("--rates", metavar="R,R", help="Spikes a step, of inputs and neurons; likewise.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, max=MOST, help="Samples at a time; likewise.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure fewer sizes of the sweep.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="A page in Markdown: its marked part, and a figure next to it."),
    ] = None,
    threads: Threads = 1,
    rounds: Rounds = 7,
    json: Json = False,
) -> None:
    """Time recurrent neurons, frames and trained models on engines, next to libraries, backends and gated nets."""
    from neurozoo.bench.engine_sweep import AT, measure_sweep
    from neurozoo.bench.engines import MOST as HIGHEST
    from neurozoo.bench.engines import measure_engines
    from neurozoo.reporting.engine_costs import engines_table, sweep_figure, sweep_page, sweep_tables, with_part
    from neurozoo.reporting.tables import plain_text

    chosen = neurons is not None or rates is not None or batch is not None
    if chosen and (quick or out is not None):
        raise UserError("--quick and --out are of the whole sweep; leave out --neurons, --rates and --batch")
    _set_threads(threads)
    if chosen:
        try:
            wanted = [float(each) for each in rates.split(",")] if rates is not None else [AT.rate]
        except ValueError:
            raise UserError(
                f"--rates is {rates!r}; give numbers above 0 and at most {HIGHEST}, separated by commas"
            ) from None
        costs = []
        for size in _whole_numbers("--neurons", neurons) if neurons is not None else [AT.neurons]:
            for rate in wanted:
                say(f"{size:,} neurons at {rate:g}", error=True)
                costs.append(measure_engines(size, rate, batch=batch or AT.batch, rounds=rounds))
        answer(json, {"engines": costs}, plain_text([engines_table(costs)]))
        return
    picture = None if out is None else out.with_suffix(".svg")
    check_writable(out)
    check_writable(picture)
    if out is not None:
        with_part(_page(out), "", str(out))  # refuses a page without its marks before all the work
    sweep = measure_sweep(quick=quick, rounds=rounds, on_progress=lambda text: say(text, error=True))
    if out is not None and picture is not None:
        command = f"neurozoo bench events{' --quick' if quick else ''} --out {out} --rounds {rounds}"
        write(picture, sweep_figure(sweep))
        write(out, with_part(_page(out), sweep_page(sweep, command, picture.name), str(out)))
    answer(json, {"events": sweep}, plain_text(sweep_tables(sweep)))


@app.command("train")
def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's file or name.", autocompletion=completion.recipes)
    ],
    overrides: Overrides = None,
    threads: Threads = None,
    rounds: Rounds = 15,
    start: Annotated[bool, typer.Option("--start", help="Also measure the time to the first step.")] = False,
    busy: Annotated[
        int, typer.Option("--busy", min=0, max=64, metavar="N", help="Also time a step while N processes spin.")
    ] = 0,
    json: Json = False,
) -> None:
    """Time a recipe's training: feeding, steps, evaluation, metrics; SMILE's step next to its plain form."""
    from neurozoo.bench.busy import measure_busy
    from neurozoo.bench.training import measure_first_step, measure_training
    from neurozoo.recipe.recipe import load_recipe
    from neurozoo.registry.registry import default_registry
    from neurozoo.reporting.bench import busy_table, training_table
    from neurozoo.reporting.tables import plain_text

    checked = load_recipe(recipe, overrides or (), registry=default_registry())
    _set_threads(threads)
    cost = measure_training(checked, rounds=rounds)
    first = measure_first_step(recipe, overrides or ()) if start else None
    shared = measure_busy(checked, busy, rounds=rounds) if busy else None
    tables = [training_table(cost, first), *([busy_table(shared)] if shared is not None else [])]
    answer(json, {"training": cost, "first_step": first, "busy": shared}, plain_text(tables))


@app.command("data")
def data(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store's folder.")],
    split: Annotated[str, typer.Option("--split", help="What to read of it.")] = "train",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=MOST, help="Samples a batch.")] = 256,
    rounds: Rounds = 15,
    json: Json = False,
) -> None:
    """Time the reading of batches of a store, next to a copy of as many bytes."""
    from neurozoo.bench.data import measure_data
    from neurozoo.data.store import Store
    from neurozoo.reporting.bench import data_table
    from neurozoo.reporting.tables import plain_text

    cost = measure_data(Store(store), split=split, batch_size=batch_size, rounds=rounds)
    answer(json, {"data": cost}, plain_text([data_table(cost)]))


@app.command("page")
def page(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The page, in Markdown.")],
    threads: Threads = None,
    rounds: Rounds = 15,
) -> None:
    """Write docs/performance.md: neurons at T = 5 and 50, SMILE's recipes, and a step while other processes compute."""
    from neurozoo.bench.busy import BUSY, measure_busy
    from neurozoo.bench.neurons import SETTINGS, measure_neurons
    from neurozoo.bench.training import measure_first_step, measure_training
    from neurozoo.recipe.recipe import load_recipe
    from neurozoo.registry.registry import default_registry
    from neurozoo.reporting.bench import as_page

    check_writable(out)
    _set_threads(threads)
    names = _backends("cpu")
    costs = [
        measure_neurons(names, number, shape=shape, rounds=rounds, repeated=repeated)
        for number, shape, repeated in SETTINGS
    ]
    busy = measure_busy(load_recipe("smile_mosei", registry=default_registry()), BUSY, rounds=rounds)
    training = []
    for name in ("smile_mosei", "smile_mosei_corrected"):
        for overrides in (["backend=torch"], ["backend=fastest"], *_parts(name)):
            recipe = load_recipe(name, overrides, registry=default_registry())
            training.append((measure_training(recipe, rounds=rounds), measure_first_step(name, overrides)))
    chosen = f" --threads {threads}" if threads is not None else ""
    write(out, as_page(costs, training, busy, f"neurozoo bench page docs/performance.md --rounds {rounds}{chosen}"))
    say(f"written: {out}")


@app.command("published")
def published(
    sizes: Annotated[
        list[str] | None, typer.Argument(metavar="[SIZE]...", help="By default the smallest size of each model.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="A page in Markdown.")] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure what published models do that corrected ones do not: neighbours, padding, luck, silence."""
    from neurozoo.bench.published import measure_published
    from neurozoo.registry.registry import default_registry
    from neurozoo.reporting.published import published_page, published_tables
    from neurozoo.reporting.tables import plain_text

    check_writable(out)
    _set_threads(threads)
    measured = measure_published(sizes, on_progress=lambda text: say(text, error=True))
    registry = default_registry()
    quirks = {model: registry.resolve("model", model).quirks for model in dict.fromkeys(m.model for m in measured)}
    if out is not None:
        write(out, published_page(measured, quirks, f"neurozoo bench published --out {out}"))
    answer(json, {"published": measured}, plain_text(published_tables(measured, quirks)))


@app.command("zoo")
def zoo(
    sizes: Annotated[
        list[str] | None, typer.Argument(metavar="[SIZE]...", help="By default all that have a plain writing.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, max=4096, metavar="T", help="Time steps.")] = 16,
    backend: Annotated[str, typer.Option("--backend", help="What runs neurozoo's neurons.")] = "fastest",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="A page in Markdown.")] = None,
    threads: Threads = None,
    rounds: Rounds = 15,
    json: Json = False,
) -> None:
    """Time published models' training steps next to plain writings on other libraries' neurons, and their memory."""
    from neurozoo.bench.zoo import measure_zoo
    from neurozoo.reporting.bench import zoo_page, zoo_tables
    from neurozoo.reporting.tables import plain_text

    check_writable(out)
    _set_threads(threads)
    costs = measure_zoo(
        sizes, steps=steps, backend=backend, rounds=rounds, on_progress=lambda text: say(text, error=True)
    )
    if out is not None:
        chosen = f" --threads {threads}" if threads is not None else ""
        named = "".join(f" {size}" for size in sizes or ())
        command = f"neurozoo bench zoo{named} --steps {steps} --out {out} --rounds {rounds}{chosen}"
        write(out, zoo_page(costs, command))
    answer(json, {"zoo": costs}, plain_text(zoo_tables(costs)))


def _page(path: Path) -> str | None:
    """Return a page as it is; None if there is none."""
    try:
        return path.read_text(encoding="utf-8") if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; give another file") from error


def _parts(recipe: str) -> list[list[str]]:
    """Return overrides that name each plugin's part that fits an optional slot, with the fastest neurons."""
    from neurozoo.recipe.recipe import load_recipe
    from neurozoo.registry.registry import CORE, default_registry, slot_kind

    registry = default_registry()
    model = registry.resolve("model", load_recipe(recipe, registry=registry).model.name)
    return [
        ["backend=fastest", f"model.parts.{slot}={name}"]
        for slot in model.optional
        for kind, base in [slot_kind(model.slots[slot])]
        for name in registry.fitting(kind, base)
        if registry.owner(kind, name).partition(" ")[0] != CORE
    ]


def _backends(device: torch.device | str, kind: str = "lif") -> list[str]:
    """Return the installed backends that run a kind of neuron on a device; all of them if the kind is unknown."""
    from neurozoo.core.kinds import KINDS
    from neurozoo.registry.registry import default_registry
    from neurozoo.testing.doctor import refuses_device

    registry = default_registry()
    names = registry.usable_backends()
    if kind not in KINDS:
        return names
    spec = KINDS[kind]()
    made = {name: registry.resolve("neuron", name) for name in names}
    return [name for name, cls in made.items() if cls.supports(spec) and not refuses_device(cls(spec), device)]


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def _whole_numbers(option: str, text: str) -> list[int]:
    numbers = [int(part) if part.strip().isdecimal() and len(part) < 12 else 0 for part in text.split(",")]
    if not all(0 < number <= _MOST for number in numbers):
        raise UserError(f"{option} is {text!r}; give whole numbers above 0 and at most {_MOST:,}, separated by commas")
    return numbers
