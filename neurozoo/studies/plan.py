"""Plans: many studies in one go, resumed where they stopped, and the pages that show them.

A plan is a TOML file with any number of

    [[data]]                     # imported from SOURCES/source if no data set of that name is installed
    name = "emotions"
    import = ["mulan", "emotions"]     # format, source, options of `neurozoo data import`; one with / or * names files

    [[page]]
    file = "results.md"          # next to the plan
    studies = [{recipe = "smile_emotions", seeds = 5}]     # and overrides = ["key=value"], name = "..."
    time = true                  # measures with time shuffled and counts costs, for the page on time and spikes

    [[arena]]
    arena = "emotions"           # a shipped one, or a file next to the plan; and overrides, seeds, leak = false
    file = "arena-emotions.md"

A recipe with ``ablations`` is compared with them, another one is trained with its seeds alone.
"""

from __future__ import annotations

import json
import os
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from neurozoo.data.locations import data_home, installed
from neurozoo.errors import NeurozooError, NotInstalledError, RunError, UserError
from neurozoo.files.json_text import read_json
from neurozoo.files.text import read_text
from neurozoo.models.build import open_data
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.json_files import write_json
from neurozoo.studies.ablation import ablate
from neurozoo.studies.arena.arena import run_arena
from neurozoo.studies.arena.description import read_arena
from neurozoo.studies.arena.result import ArenaResult
from neurozoo.studies.launchers.launcher import Launcher
from neurozoo.studies.launchers.local import LocalJobs
from neurozoo.studies.parallel_runs import Progress
from neurozoo.studies.seeds import train_seeds

__all__ = ["FILE", "ArenaPage", "Outcome", "Page", "Plan", "Source", "Study", "read_plan", "run_plan"]

FILE = "study.json"
"""Name of the file in a finished study's folder that says what it was made of, and how long it took."""

_STRICT = ConfigDict(extra="forbid")
_Name = Annotated[str, Field(pattern=r"^[\w][\w.-]*$")]


@checked(frozen=True, config=_STRICT)
class Source:
    """A data set that is imported if it is not installed: its name, and format, source and options of the import."""

    name: _Name
    import_: Annotated[tuple[str, ...], Field(alias="import", min_length=2)]


@checked(frozen=True, config=_STRICT)
class Study:
    """A recipe that is trained with several seeds: 1, 2, ... with its ablations, else its own seed and those after.

    ``name`` is the study's folder, by default the recipe's name.
    """

    recipe: str
    seeds: Annotated[int, Field(ge=1, le=1000)] = 5
    overrides: tuple[str, ...] = ()
    name: _Name | None = None

    @property
    def called(self) -> str:
        """The folder's name."""
        return self.name or Path(self.recipe).stem


@checked(frozen=True, config=_STRICT)
class Page:
    """A page of results, a file's name, and the studies that it shows; whether it is on time and spikes."""

    file: _Name
    studies: tuple[Study, ...]
    time: bool = False


@checked(frozen=True, config=_STRICT)
class ArenaPage:
    """An arena, a shipped one or a file next to the plan, and the name of the page that shows it."""

    arena: str
    file: _Name
    seeds: Annotated[int, Field(ge=1, le=100)] | None = None
    only: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    leak: bool = True

    @property
    def called(self) -> str:
        """The folder's name."""
        return f"arena-{Path(self.arena).stem}"


@checked(frozen=True, config=_STRICT)
class Plan:
    """Pages with their studies, arenas, and the data that can be imported for them."""

    page: tuple[Page, ...] = ()
    arena: tuple[ArenaPage, ...] = ()
    data: tuple[Source, ...] = ()

    @property
    def pages(self) -> tuple[Page | ArenaPage, ...]:
        """All of them, in order, arenas last."""
        return (*self.page, *self.arena)

    @property
    def work(self) -> tuple[Study | ArenaPage, ...]:
        """All studies and arenas, in order."""
        return (*self.studies, *self.arena)

    @property
    def studies(self) -> tuple[Study, ...]:
        """All of them, in order."""
        return tuple(study for page in self.page for study in page.studies)

    def timed(self, study: Study) -> bool:
        """Whether a study is for a page on time and spikes."""
        return any(page.time for page in self.page if study in page.studies)


@dataclass
class Outcome:
    """What became of a plan.

    Attributes:
        finished: Folder of each finished study by its name.
        skipped: Why a study was not trained, by its name: its data is not here.
        failed: What went wrong in a study, by its name.
        minutes: Training time of each finished study, the sum over its trainings.
        again: Names of the studies that were finished before this call.
        arenas: Result of each finished arena by its name.
        seconds: Wall time of this call.
    """

    finished: dict[str, Path] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    minutes: dict[str, float] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    arenas: dict[str, ArenaResult] = field(default_factory=dict)
    seconds: float = 0.0


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        UserError: It is not TOML or not of this form, or two studies have one name.
    """
    try:
        content = tomllib.loads(read_text(path))
        plan = TypeAdapter(Plan).validate_python(content)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: is not TOML: {error}") from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3]]
        raise UserError(f"{path}: is no plan: {'; '.join(problems)}") from error
    plan = replace(plan, arena=tuple(_beside(path, each) for each in plan.arena))
    names = [each.called for each in plan.work]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: several studies are called {', '.join(twice)}; give each a name of its own")
    return plan


def run_plan(
    plan: Plan,
    out: Path,
    *,
    sources: Path | None = None,
    jobs: int | None = None,
    only: Sequence[str] = (),
    on_progress: Progress | None = None,
    on_study: Callable[[str], None] = lambda text: None,
    on_page: Callable[[Page | ArenaPage, Outcome], None] = lambda page, outcome: None,
    launcher: str | Launcher = "local",
) -> Outcome:
    """Train every study and arena of a plan whose data is here; finished ones are used again, others resumed.

    A study that fails does not stop the others.

    Args:
        plan: What to train.
        out: Each study has the folder ``out/NAME``.
        sources: Folder of the files that missing data sets are imported from, into the folder of named data sets.
        jobs: Trainings at a time, one thread each; by default one, on a cluster all of a study.
        only: Names of studies and arenas; all by default.
        on_progress: Called after each training.
        on_study: Called with a line when a study begins, is skipped, fails or ends.
        on_page: Called when the last study of a page has ended, with what became of all so far; not with ``only``.
        launcher: Where they are trained, see :func:`neurozoo.studies.seeds.train_seeds`.

    Raises:
        UserError: ``only`` names no study of the plan.
    """
    names = [each.called for each in plan.work]
    if unknown := sorted(set(only) - set(names)):
        raise UserError(f"the plan has no study {', '.join(unknown)}; it has: {', '.join(names)}")
    outcome, started, where = Outcome(), time.monotonic(), Launcher.of(launcher)

    def work(study: Study | ArenaPage) -> None:
        folder = out / study.called
        recipe: Recipe | None = None
        try:
            if isinstance(study, ArenaPage):
                recipe = read_arena(study.arena, study.overrides).base
                _import_missing(plan, recipe, sources, on_study)
                on_study(f"{study.called}: every row")
                minutes = _run_arena(study, outcome, folder, jobs, on_progress, where)
            else:
                recipe = load_recipe(study.recipe, study.overrides, registry=default_registry())
                _import_missing(plan, recipe, sources, on_study)
                content = _content(study, recipe) | ({"time": True} if plan.timed(study) else {})
                if (known := _minutes_of(folder, content)) is not None:
                    minutes = known
                    outcome.again.append(study.called)
                else:
                    several = f"{study.seeds} seed{'s' if study.seeds > 1 else ''}"
                    on_study(f"{study.called}: {several}{' of each variant' if recipe.ablations else ''}")
                    minutes = _train(study, recipe, folder, jobs, plan.timed(study), on_progress, where)
                    write_json(folder / FILE, {**content, "minutes": minutes})
        except NotInstalledError:  # whose text names folders of this machine, and this one gets onto a page
            data = "" if recipe is None else f", {recipe.data.name},"
            outcome.skipped[study.called] = f"its data{data} is not installed"
            on_study(f"{study.called}: skipped: {outcome.skipped[study.called]}")
            return
        except NeurozooError as error:
            outcome.failed[study.called] = str(error)
            on_study(f"{study.called}: failed: {error}")
            return
        outcome.finished[study.called], outcome.minutes[study.called] = folder, minutes
        on_study(f"{study.called}: finished, {minutes:.1f} minutes of training")

    for page in plan.pages:
        for study in page.studies if isinstance(page, Page) else (page,):
            if not only or study.called in only:
                work(study)
        if not only:
            on_page(page, outcome)
    outcome.seconds = time.monotonic() - started
    return outcome


def _beside(plan: Path, page: ArenaPage) -> ArenaPage:
    """Return the page with its arena's file next to the plan, if there is one."""
    beside = plan.parent / page.arena
    return replace(page, arena=str(beside)) if beside.is_file() else page


def _run_arena(
    page: ArenaPage,
    outcome: Outcome,
    folder: Path,
    jobs: int | None,
    on_progress: Progress | None,
    launcher: Launcher,
) -> float:
    found = run_arena(
        page.arena, *page.overrides,
        seeds=page.seeds, only=page.only, out=folder, jobs=jobs, leak=page.leak, on_progress=on_progress,
        launcher=launcher,
    )  # fmt: skip
    outcome.arenas[page.called] = found
    return found.minutes


def _import_missing(plan: Plan, recipe: Recipe, sources: Path | None, on_study: Callable[[str], None]) -> None:
    """Import the recipe's data if the plan says how, its source is here, and it is not installed."""
    name = recipe.data.name
    how = next((each.import_ for each in plan.data if each.name == name), None)
    if how is None or sources is None or recipe.data.root is not None or name in installed():
        return
    form, source, *options = how
    # Options may name files among the sources as well, such as word vectors; a plain word is a word.
    named = [each for each in options if not each.startswith(("-", "/")) and set(each) & set("/*?")]
    files = {each: sorted(map(str, sources.glob(each))) for each in named}
    options = [given for each in options for given in files.get(each) or [each]]
    if os.path.exists(sources / source):
        on_study(f"importing {name} from {sources / source}")
        with LocalJobs(1) as commands:
            arguments = ["data", "import", form, str(sources / source), str(data_home() / str(name)), *options]
            commands.run(f"importing {name}", arguments)


def _content(study: Study, recipe: Recipe) -> dict[str, Any]:
    """What a study's numbers follow from.

    Raises:
        NotInstalledError: The recipe's data is not here.
    """
    return {
        "schema": 1,
        "study": asdict(study),
        "recipe": recipe.digest,
        "ablations": {name: list(lines) for name, lines in recipe.ablations.items()},
        "data": open_data(recipe).description.checksum,
    }


def _minutes_of(folder: Path, content: Mapping[str, Any]) -> float | None:
    """The minutes of a study that is finished with the same content; None if it has to be trained."""
    path = folder / FILE
    if not path.is_file():
        return None
    found = read_json(path, error=RunError)
    if isinstance(found, dict) and {**json.loads(json.dumps(content)), "minutes": found.get("minutes")} == found:
        return float(found["minutes"])
    return None


def _train(
    study: Study,
    recipe: Recipe,
    folder: Path,
    jobs: int | None,
    time: bool,
    on_progress: Progress | None,
    launcher: Launcher,
) -> float:
    shared: dict[str, Any] = {
        "seeds": study.seeds, "out": folder, "on_progress": on_progress, "launcher": launcher,
    }  # fmt: skip
    if recipe.ablations:
        return ablate(study.recipe, study.overrides, jobs=jobs, time=time, **shared).minutes
    return train_seeds(study.recipe, *study.overrides, jobs=launcher.at_a_time(jobs, study.seeds), **shared).minutes
