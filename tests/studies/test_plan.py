"""Plans: studies in one go, skipped where data is missing, resumed where they stopped, shown on pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli import main
from neurozoo.errors import NeurozooError, UserError
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.shipped import shipped_recipes
from neurozoo.studies import plan as plans
from neurozoo.studies.plan import FILE, read_plan, run_plan

PLAN = """\
[[page]]
file = "first.md"
studies = [
    {{ recipe = "{compared}", seeds = 1, overrides = ["training.epochs=1"] }},
    {{ recipe = "sparch_shd", seeds = 1 }},
]

[[page]]
file = "second.md"
studies = [{{ recipe = "{alone}", seeds = 2, overrides = ["training.epochs=1"], name = "two-seeds" }}]
"""


@pytest.fixture
def plan(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    """A plan of a recipe with an ablation, one without, and one whose data is not here."""
    recipe()
    alone = tmp_path / "small.yaml"
    compared = tmp_path / "compared.yaml"
    compared.write_text(alone.read_text() + "ablations:\n  no spikes: [model.parts.scaling=none]\n")
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.format(compared=compared, alone=alone))
    return path


@pytest.mark.usefixtures("trained_here")
def test_a_plan_trains_what_it_can_and_writes_its_pages(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command = ["reproduce", str(plan), "--out", str(out), "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["finished"]) == {"compared", "two-seeds"}
    assert found["again"] == []
    assert found["failed"] == {}
    assert found["skipped"] == {"sparch_shd": "its data, shd, is not installed"}
    assert found["pages"] == [str(plan.parent / "first.md"), str(plan.parent / "second.md")]
    first, second = ((plan.parent / name).read_text() for name in ("first.md", "second.md"))
    assert "## compared\n" in first
    assert "| no spikes |" in first
    assert "## Not trained here\n\n- sparch_shd: its data, shd, is not installed" in first
    minutes = json.loads((out / "two-seeds" / "seeds.json").read_text())["minutes"]
    assert f"All trainings of this page together took {minutes:.0f} minutes" in second
    assert "`neurozoo train small training.epochs=1 --seeds 2`" in second
    spread = json.loads((out / "two-seeds" / "seeds.json").read_text())["metrics"]["test"]["map"]
    assert f"{spread['mean']:.3f} ({spread['low']:.3f} to {spread['high']:.3f}) |" in second
    assert "Not trained here" not in second

    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("nothing is trained again")

    with monkeypatch.context() as patch:
        patch.setattr(plans, "_train", refuse)
        assert main(command[:-1]) == 0
    text = capsys.readouterr().out
    assert "2 finished, 1 skipped, 0 failed" in text
    assert text.count("before this call") == 2
    assert (plan.parent / "second.md").read_text() == second


def test_what_changed_is_trained_and_a_failure_stops_no_other(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []

    def train(study: Any, recipe: Recipe, folder: Path, *options: Any) -> float:
        trained.append(study.called)
        if study.called == "compared":
            raise NeurozooError("it broke")
        folder.mkdir(parents=True, exist_ok=True)
        return 2.5

    monkeypatch.setattr(plans, "_train", train)
    out, pages = tmp_path / "out", []
    outcome = run_plan(read_plan(plan), out, on_page=lambda page, so_far: pages.append((page.file, *so_far.minutes)))
    assert pages == [("first.md",), ("second.md", "two-seeds")]
    assert (trained, outcome.failed, outcome.minutes) == (
        ["compared", "two-seeds"], {"compared": "it broke"}, {"two-seeds": 2.5},
    )  # fmt: skip
    assert run_plan(read_plan(plan), out, only=["two-seeds"]).again == ["two-seeds"]
    plan.write_text(plan.read_text().replace("seeds = 2", "seeds = 3"))
    assert run_plan(read_plan(plan), out, only=["two-seeds"]).again == []
    assert json.loads((out / "two-seeds" / FILE).read_text())["study"]["seeds"] == 3
    assert main(["reproduce", str(plan), "--out", str(out), "--only", "compared"]) == 1
    assert "failed: it broke" in capsys.readouterr().out


def test_an_interruption_leaves_the_pages_that_are_finished(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(study: Any, recipe: Recipe, folder: Path, *options: Any) -> float:
        if study.called == "two-seeds":
            raise KeyboardInterrupt
        return 2.5

    monkeypatch.setattr(plans, "_train", train)
    monkeypatch.setattr("neurozoo.reporting.results_page.results_page", lambda folders, lacks: "a page")
    assert main(["reproduce", str(plan), "--out", str(tmp_path / "out")]) == 130
    assert f"written: {plan.parent / 'first.md'}" in capsys.readouterr().err
    assert (plan.parent / "first.md").read_text() == "a page"
    assert not (plan.parent / "second.md").exists()


def test_missing_data_is_imported_as_the_plan_says(plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(plans.LocalJobs, "run", lambda self, name, arguments: ran.append(arguments))
    (tmp_path / "sources" / "shd").mkdir(parents=True)
    for name in ("b.npz", "a.npz"):
        (tmp_path / "sources" / name).write_text("")
    text = '[[data]]\nname = "shd"\nimport = ["h5", "shd", "--name", "shd", "--vectors", "*.npz"]\n' + plan.read_text()
    plan.write_text(text)
    run_plan(read_plan(plan), tmp_path / "out", sources=tmp_path / "sources", only=["sparch_shd"])
    ((data, import_, form, source, dest, *options),) = ran
    assert (data, import_, form, source) == ("data", "import", "h5", str(tmp_path / "sources" / "shd"))
    assert dest.endswith("/shd")
    vectors = [str(tmp_path / "sources" / name) for name in ("a.npz", "b.npz")]
    assert options == ["--name", "shd", "--vectors", *vectors]  # the name of a folder there is still a name
    run_plan(read_plan(plan), tmp_path / "out", sources=tmp_path, only=["sparch_shd"])  # without that source
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[page", "is not TOML"),
        ("[[page]]\nfile = 'a.md'\nstudies = [{ recipe = 'x', seed = 1 }]", "seed"),
        ("[[page]]\nfile = '../a.md'\nstudies = []", "file"),
        ("[[page]]\nfile = 'a.md'\nstudies = [{ recipe = 'x' }, { recipe = 'x' }]", "several studies are called x"),
    ],
)
def test_a_plan_that_is_none_says_so(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(UserError, match=said):
        read_plan(tmp_path / "plan.toml")


def test_the_plan_of_make_results_names_shipped_recipes() -> None:
    plan = read_plan(Path(__file__).parents[2] / "docs" / "results.toml")
    assert {study.recipe for study in plan.studies} <= set(shipped_recipes())
    names = {load_recipe(study.recipe).data.name for study in plan.studies}
    assert {each.name for each in plan.data} <= names
    with pytest.raises(UserError, match="the plan has no study x; it has: smile_emotions"):
        run_plan(plan, Path("nowhere"), only=["x"])
