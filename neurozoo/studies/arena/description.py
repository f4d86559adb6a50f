"""The YAML file that describes an arena: one store, the rows to compare, and the protocol for all of them.

schema: 1
description: fusions on emotions
recipe: smile_emotions               # data, task and training of every row that names no recipe of its own
metric: map                          # chooses the epoch on valid
seeds: 5
corruptions: {noise: [0.5], dropped_frames: [0.2], dropped_signals: true, without_one: [0.2, 0.4, 0.6, 0.8]}
rows:
  - {name: SMILE, family: spiking, threshold: 0.35}
  - name: SMILE with ReLU
    family: without spikes
    overrides: [model.parts.activation=relu]
    control_of: SMILE
    without: spikes
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from neurozoo.errors import RecipeError, UserError, suggestion
from neurozoo.recipe.overrides import override
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.schema import Name, Searched, Section
from neurozoo.recipe.shipped import arena_path, shipped_arenas
from neurozoo.recipe.validation import validated
from neurozoo.recipe.yaml_text import parse, read_text
from neurozoo.registry.registry import default_registry

__all__ = ["KEEP_EPOCHS", "Arena", "ArenaFile", "Corruptions", "Family", "RowEntry", "read_arena"]

Family = Literal["spiking", "without spikes", "floor"]
"""What a row is: a model that spikes, one that does not, or a floor, which reads no order in time."""

KEEP_EPOCHS = "training.loggers=[epochs]"
"""Override of every training: the weights of each epoch are kept, since the arena chooses among them afterwards."""

_Share = Annotated[float, Field(gt=0, lt=1)]
_Noise = Annotated[float, Field(gt=0, le=100)]
_RowName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .,:+()_-]{0,79}$")]


class Corruptions(Section):
    """What happens to the test samples, and to nothing else.

    Attributes:
        noise: Standard deviations of normal noise that is added to every number of a valid position, in units of that
            number's deviation in the training split.
        dropped_frames: Shares of positions that are lost, drawn one by one: its numbers become 0 and it is marked as
            padding.
        dropped_signals: Whether to lose each signal in turn, in all samples.
        without_one: Shares of samples that lose one signal, drawn for each sample.
    """

    noise: tuple[_Noise, ...] = ()
    dropped_frames: tuple[_Share, ...] = ()
    dropped_signals: bool = False
    without_one: tuple[_Share, ...] = ()


class RowEntry(Section):
    """A row that is trained.

    Attributes:
        name: In tables; its folder is named after it.
        family: See :data:`Family`.
        recipe: Its recipe, a file next to the arena's or a shipped one; by default the arena's.
        model: A whole section ``model`` in place of the recipe's.
        overrides: Changes to the recipe, after those of the arena.
        threshold: The threshold as published, which gets a column of its own; None if none is stated.
        control_of: Name of the row that this one is compared with in pairs, seed by seed.
        without: What this row lacks of that one, such as ``spikes``; used in sentences.
    """

    name: _RowName
    family: Family
    recipe: str | None = None
    model: Mapping[str, Any] | None = None
    overrides: tuple[str, ...] = ()
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    control_of: str | None = None
    without: Annotated[str, Field(min_length=1, max_length=60)] | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        if (self.control_of is None) != (self.without is None):
            yield "control_of", "a control needs both keys, control_of: ROW and without: WHAT, such as spikes"

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def lines(self) -> tuple[str, ...]:
        """What it changes in its recipe, as overrides."""
        model = () if self.model is None else (override("model", dict(self.model)),)
        return (*model, *self.overrides)


class ArenaFile(Section):
    """An arena's file.

    Attributes:
        schema_version: Version of this layout, ``schema`` in YAML.
        description: One line.
        recipe: The recipe that rows begin with.
        metric: What chooses the epoch on valid: ``loss`` or a metric of the task, at the threshold that is best for it
            on valid if it depends on one.
        overrides: Changes to every row's recipe.
        seeds: How many; they are 1, 2, ...
        trials: Settings to try for each row; 1 is the one that its recipe gives, which is always one of them.
        space: Where further settings come from, as in the section ``tune`` of a recipe; the same for all rows.
        groups: A regular expression whose first group names what a test sample belongs to by its id, such as a speaker;
            groups are resampled whole. By default segments of a video, ``VIDEO[SEGMENT]``, belong together.
        corruptions: See :class:`Corruptions`.
        rows: The models.
    """

    schema_version: Literal[1] = Field(alias="schema")
    description: str = ""
    recipe: str
    metric: Name
    overrides: tuple[str, ...] = ()
    seeds: Annotated[int, Field(ge=1, le=100)] = 5
    trials: Annotated[int, Field(ge=1, le=1000)] = 1
    space: Mapping[Name, Searched] = Field(default_factory=dict)
    groups: str | None = None
    corruptions: Corruptions = Field(default_factory=Corruptions)
    rows: Annotated[tuple[RowEntry, ...], Field(min_length=1)]

    def problems(self) -> Iterator[tuple[str, str]]:
        if (self.trials > 1) != bool(self.space):
            yield "trials", "more than one trial needs a space to choose from, and a space more than one trial"
        slugs = [row.slug for row in self.rows]
        if twice := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
            yield "rows", f"several rows would have the folder {', '.join(twice)}; give each a name of its own"
        names = [row.name for row in self.rows]
        for row in self.rows:
            if row.control_of is not None and (row.control_of not in names or row.control_of == row.name):
                yield "rows", f"{row.name} is a control of {row.control_of!r}, and there are: {', '.join(names)}"
        if self.groups is not None:
            try:
                some = re.compile(self.groups).groups
            except re.error as error:
                yield "groups", f"is no regular expression ({error})"
                return
            if not some:
                yield "groups", "has no group in parentheses, which names what a sample belongs to"


class Arena:
    """An arena's file with its recipes checked.

    Args:
        path: The file.
        name: Of the arena.
        file: Its content.
        overrides: Changes to every row's recipe, after the rows' own.
        only: Names of the rows to use; all by default.

    Raises:
        RecipeError: A row's recipe is not valid; holds every problem.
        UserError: ``only`` names no row.
    """

    def __init__(
        self, path: Path, name: str, file: ArenaFile, overrides: Sequence[str] = (), only: Sequence[str] = ()
    ) -> None:
        self.path, self.name, self.file, self.overrides = path, name, file, tuple(overrides)
        names = [row.name for row in file.rows]
        for wanted in only:
            if wanted not in names:
                raise UserError(
                    f"{name} has no row {wanted!r}; there are: {', '.join(names)}{suggestion(wanted, names)}"
                )
        self.rows = tuple(row for row in file.rows if not only or row.name in only)
        self.recipes: dict[str, Recipe] = {}
        problems = []
        for row in self.rows:
            try:
                self.recipes[row.name] = self._recipe(row)
            except RecipeError as error:
                problems += [f"{row.name}: {problem}" for problem in error.problems]
        if problems:
            raise RecipeError(*problems)

    def source(self, row: RowEntry) -> str:
        """Return the recipe that a row begins with: a file next to the arena's, or what it is called elsewhere."""
        named = row.recipe or self.file.recipe
        beside = self.path.parent / named
        return str(beside) if os.path.isfile(beside) else named

    def lines(self, row: RowEntry) -> tuple[str, ...]:
        """Return all changes to a row's recipe, without the seed."""
        protocol = (f"training.best={self.file.metric}", KEEP_EPOCHS, "tune=null", "ablations={}")
        return (*self.file.overrides, *row.lines(), *self.overrides, *protocol)

    def _recipe(self, row: RowEntry) -> Recipe:
        return load_recipe(self.source(row), self.lines(row), registry=default_registry())

    @property
    def base(self) -> Recipe:
        """The arena's recipe without any row's changes, whose data and task are those of all rows."""
        source = self.source(RowEntry(name="base", family="floor"))
        return load_recipe(source, (*self.file.overrides, *self.overrides), registry=default_registry())

    def group_of(self, sample: str) -> str:
        """Return what a sample belongs to by its id."""
        if self.file.groups is None:
            return sample.partition("[")[0]
        found = re.search(self.file.groups, sample)
        return sample if found is None or found[1] is None else found[1]


def read_arena(source: str | Path, overrides: Sequence[str] = (), only: Sequence[str] = ()) -> Arena:
    """Read an arena's file and check the recipe of every row.

    Args:
        source: A file, or the name of an arena that comes with neurozoo.
        overrides: ``key.sub=value``, for the recipes of all rows.
        only: Names of the rows to use; all by default.

    Raises:
        RecipeError: It cannot be read, or something in it is wrong; holds every problem.
        UserError: ``only`` names no row.
    """
    path = Path(source)
    if not os.path.lexists(path):
        shipped, known = arena_path(str(source)), shipped_arenas()
        if shipped is None:
            there = f"{', '.join(known)}{suggestion(str(source), known)}"
            raise RecipeError(f"{source}: there is no such file; give an arena's file or a shipped arena: {there}")
        path = shipped
    content, origins, problems = parse(read_text(path, path.name), path.name)
    file, found = validated(ArenaFile, content)
    problems += [origins.line(where, problem) for where, problem in found]
    if problems or file is None:
        raise RecipeError(*(text.replace("the recipe", "the arena") for _, text in sorted(problems)))
    return Arena(path, path.stem, file, overrides, only)
