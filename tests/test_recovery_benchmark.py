"""The recovery benchmark's grid: which cells there are, which are made again, what the bars say of them."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from regrow.steps import get_spec

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def cells(importable: None) -> Any:
    from recovery_grid.cells import grid
    from recovery_grid.recipe import Recipe

    return grid(Recipe.read(), SEEDS)


def curve(parent: float, *accuracies: float) -> dict[str, Any]:
    points = [{"stage": "pruned", "val_accuracy": 0.1}]
    points += [{"stage": "fine_tuning", "epoch": n, "val_accuracy": a} for n, a in enumerate(accuracies, 1)]
    return {"parent": {"val_accuracy": parent}, "points": points}


def benchmark(*options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "recovery.py"), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200, check=False)


def test_what_there_is_is_shown_without_data_and_without_a_directory(tmp_path: Path) -> None:
    shown = benchmark("--report", "--source", "nowhere.zip", folder=tmp_path)
    assert "Traceback" not in shown.stderr
    assert "### Structured" in shown.stdout and "| Regrow |" in shown.stdout
    listed = benchmark("--list", "--only", "parent", folder=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "parent" in listed.stdout.splitlines()[0]
    assert not list(tmp_path.iterdir())
    refused = benchmark("--smoke", "--list", folder=tmp_path)
    assert refused.returncode == 2 and "--work is needed" in refused.stderr


def test_every_cell_comes_after_those_that_it_needs(cells: Any) -> None:
    seen: set[tuple[str, int]] = set()
    for cell in cells.values():
        assert all((name, cell.seed) in seen for name in cell.needs), cell.name
        seen.add((cell.name, cell.seed))
    assert len({cell.file(Path("w")) for cell in cells.values()}) == len(cells)


def test_the_recipe_and_every_pruning_are_what_the_steps_accept(cells: Any) -> None:
    for cell in cells.values():
        if cell.name.startswith("ours/"):
            get_spec("prune").params.model_validate(cell.params["prune"])
            get_spec("recover").params.model_validate(cell.params["recover"])
            pruned = cells[f"pruned/{cell.target}", cell.seed]
            assert pruned.epochs + cell.epochs == 6


def test_a_budget_of_pruning_counts() -> None:
    from recovery_grid.recipe import epochs

    assert epochs({"fit": {"epochs": 6}}) == 6
    assert epochs({"fine_tune": False, "fit": {"epochs": 6}}) == 0
    assert epochs({"schedule": "gradual", "gradual": {"fit": {"epochs": 3}}}) == 3
    assert epochs({"rounds": 3, "between": {"epochs": 2}, "sparse_training": {}}) == 2 * 2 + 3 * 6


def test_only_what_the_recipe_has_is_taken_from_it(importable: None) -> None:
    from recovery_grid.cells import grid
    from recovery_grid.recipe import Recipe

    recipe = Recipe.read()
    techniques = {
        "there": {"with": {"fit": {"label_smoothing": 0.1}}, "without": {"fit": {"label_smoothing": 0.0}}},
        "not there": {"with": {"magic": {}}, "without": {"magic": None}},
        "last of its section": {
            "with": {"recalibrate": {"enabled": True}},
            "without": {"recalibrate": {"enabled": False}},
        },
    }
    target = recipe.grid["targets"]["macs-0.5"]
    changed = dataclasses.replace(
        recipe,
        grid={
            **recipe.grid,
            "targets": {
                **recipe.grid["targets"],
                "macs-0.5": {**target, "recover": {"fit": {"label_smoothing": 0.1}}},
            },
            "ablation": {"targets": ["macs-0.5"], "techniques": techniques},
        },
    )
    names = [name for name, _ in grid(changed, (0,)) if name.startswith("ablation/")]
    short = [name.removeprefix("ablation/macs-0.5/") for name in names]
    assert short == [
        "plain",
        "plain + there",
        "recipe − there",
        "plain + not there",
        "plain + last of its section",
        "recipe − last of its section",
    ]


def test_an_empty_section_becomes_null_and_a_null_setting_stays() -> None:
    from recovery_grid.cells import _collapsed

    assert _collapsed({"distill": {"logits": None}, "fit": {"warmup": None, "epochs": 6}, "ema": {}}) == {
        "distill": None,
        "fit": {"warmup": None, "epochs": 6},
        "ema": {},
    }


def test_a_result_of_other_parameters_is_not_taken(cells: Any, tmp_path: Path) -> None:
    cell = cells["ours/macs-0.5", 0]
    assert cell.result(tmp_path) is None
    cell.write(tmp_path, {"test_accuracy": 0.7})
    assert cell.result(tmp_path)["test_accuracy"] == 0.7
    other = dataclasses.replace(cell, params={**cell.params, "recover": {"fit": {"epochs": 7}}})
    assert other.result(tmp_path) is None


def test_a_result_of_the_same_parameters_written_otherwise_is_taken(cells: Any, tmp_path: Path) -> None:
    cell = cells["pruned/macs-0.5", 0]
    section = cell.params["prune"]
    cell.write(tmp_path, {"test_accuracy": 0.1})
    said = dataclasses.replace(cell, params={**cell.params, "prune": {**section, "rounds": 1, "seed": 0}})
    assert said.result(tmp_path) is not None
    changed = dataclasses.replace(cell, params={**cell.params, "prune": {**section, "skip": ["conv"]}})
    assert changed.result(tmp_path) is None


def test_pruning_to_half_is_the_examples(cells: Any) -> None:
    from recovery_grid.recipe import Recipe

    assert cells["pruned/macs-0.5", 0].params["prune"] == Recipe.read().example["prune"]


def test_bars_are_means_over_the_seeds(cells: Any, tmp_path: Path) -> None:
    from recovery_grid.bars import BARS, Results

    for seed, (parent, ours) in enumerate([(0.80, 0.79), (0.78, 0.79)]):
        cells["parent", seed].write(tmp_path, {"test_accuracy": parent})
        cells["ours/macs-0.5", seed].write(tmp_path, {"test_accuracy": ours})
    results = Results.read(cells, tmp_path)
    bar = BARS[0]
    assert results.series(bar.value) == pytest.approx([-1.0, 1.0])
    assert bar.missed_by([-1.0, 1.0]) == pytest.approx(0.0)
    assert bar.missed_by([-1.0, 0.5]) == pytest.approx(0.25)
    assert results.series(BARS[1].value) == []


def test_epochs_are_counted_to_the_margin_and_to_the_budget_where_it_is_not_reached(
    cells: Any, tmp_path: Path
) -> None:
    from recovery_grid.bars import BARS, Epochs, Results, plain_epochs, recipe_epochs
    from recovery_grid.report import counted

    cells["epochs/recipe-3", 0].write(tmp_path, {"curve": curve(0.80, 0.6, 0.70, 0.795)})
    cells["ours/macs-0.5", 0].write(tmp_path, {"curve": curve(0.80, 0.6, 0.7, 0.78, 0.79, 0.8, 0.8)})
    cells["epochs/plain-0.01", 0].write(tmp_path, {"curve": curve(0.80, *[0.7] * 18)})
    cells["epochs/plain-0.01", 1].write(tmp_path, {"curve": curve(0.80, *[0.7] * 8, 0.79)})
    cells["epochs/plain-0.001", 0].write(tmp_path, {"curve": curve(0.80, *[0.6] * 18)})
    assert ("epochs/plain-0.001", 1) not in cells
    results = Results.read(cells, tmp_path)
    assert [recipe_epochs(results, seed) for seed in SEEDS] == [Epochs(3, True), None]
    assert [plain_epochs(results, seed) for seed in SEEDS] == [Epochs(18, False), Epochs(9, True)]
    assert "| plain fine-tuning | not in 18 | 9 |" in counted(results)
    assert results.series(BARS[-1].value) == [3 / 18]
    # A recipe that does not come there is no good one, however little it was given.
    cells["epochs/recipe-5", 1].write(tmp_path, {"curve": curve(0.80, *[0.7] * 5)})
    assert Results.read(cells, tmp_path).series(BARS[-1].value) == [3 / 18, math.inf]


def test_the_report_is_made_of_what_is_there(cells: Any, tmp_path: Path) -> None:
    from recovery_grid import report
    from recovery_grid.bars import Results
    from recovery_grid.picture import draw

    for seed in SEEDS:
        cells["parent", seed].write(tmp_path, {"test_accuracy": 0.78, "macs": 100, "gzip_h5": 3000})
        for target, macs in (("macs-0.5", 50), ("macs-0.25", 25), ("zeros-0.9", 100)):
            ours = {"test_accuracy": 0.77 + seed / 100, "val_accuracy": 0.76, "macs": macs, "gzip_h5": 700}
            cells[f"ours/{target}", seed].write(tmp_path, ours)
    cells["ablation/macs-0.5/plain", 0].write(tmp_path, {"val_accuracy": 0.70})
    cells["ablation/macs-0.5/plain + label smoothing", 0].write(tmp_path, {"val_accuracy": 0.72})
    results = Results.read(cells, tmp_path)
    assert "| Regrow | 78.00 (78.00 to 78.00) | 77.50 (77.00 to 78.00) [-0.50] |" in report.structured(
        results
    )
    assert "90% zeros" in report.unstructured(results)
    from recovery_grid.recipe import Recipe

    table = report.ablation(results, Recipe.read().grid["ablation"])
    (row,) = (line for line in table.splitlines() if line.startswith("| label smoothing"))
    assert row.split(" | ")[1] == "+2.00"
    draw(results, tmp_path / "recovery.png")
    assert (tmp_path / "recovery.png").read_bytes().startswith(b"\x89PNG")
