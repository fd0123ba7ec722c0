"""Recovery on CIFAR-10 with ResNet-8: what the recipe wins back, beside Torch-Pruning and plain tfmot.

command: python benchmarks/recovery.py --work DIRECTORY --source cifar10.zip --peer-python PEER/bin/python
time: about 14 hours at 50 seconds an epoch, 6 of them the ablation; `--list` counts those left.

Interrupted, it goes on where it was: each result ("cell") is a file in benchmarks/results/recovery, kept with the
code, and is made again only where its recipe has changed since. Models lie in DIRECTORY; where those that a missing
cell needs are gone, they are made again. `--only` and `--seeds` choose cells, `--report` makes the tables and the
picture from those that are there; it and `--list` need neither data nor DIRECTORY. Latency (`exports/*`) wants an idle
machine.

The grid is benchmarks/recipes/recovery.yaml over examples/cifar10.yaml. All sides train on the same training split and
are measured on the same test split, each final model once; epochs are chosen on the validation split (the peers keep
their last, as their recipes do), techniques are compared and epochs are counted there too. Once, for the peer:
    python -m venv PEER && PEER/bin/pip install torch torch-pruning==1.6.1
"""

import argparse
import fnmatch
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from recovery_grid import exporting, peering, running
from recovery_grid.cells import Cell, grid
from recovery_grid.recipe import RECIPE, Recipe, UnavailableError, validated
from recovery_grid.running import Bench

from regrow.showing.chatter import without_chatter
from regrow.steps import get_spec
from regrow.steps.execution import cache_at

KINDS: dict[str, Callable[[Bench, Cell], dict[str, Any]]] = {
    "parent": running.parent,
    "recalibrated_parent": running.recalibrated_parent,
    "prune": running.prune,
    "recover": running.recover,
    "export": exporting.export,
    "torch-pruning": peering.torch_pruning,
    "tfmot": peering.tfmot,
}
RESULTS = Path(__file__).resolve().parent / "results" / "recovery"
SOURCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10.zip"
FASTEST_EPOCH = 5.0  # seconds
SECONDS_PER_EPOCH = 50.0  # on two cores, where nothing has been measured yet
ACCURACIES = ("val_accuracy", "test_accuracy", "recovered.test_accuracy.tflite_int8")
Grid = Mapping[tuple[str, int], Cell]


def main() -> int:
    options = arguments()
    recipe = Recipe.read(options.recipe, smoke=options.smoke)
    given = options.work or Path()  # the tables need none
    work = (given / "smoke" if options.smoke else given).absolute()
    bench = Bench(
        work=work,
        results=work / "cells" if options.smoke else options.results,
        recipe=recipe,
        source=options.source,
        peer_python=options.peer_python,
    )
    cells = grid(recipe, options.seeds)
    chosen = [
        cell
        for cell in cells.values()
        if any(fnmatch.fnmatchcase(cell.name, pattern) for pattern in options.only)
    ]
    if options.list or options.report:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as `head` may have read enough
    if options.list:
        return show(bench, chosen)
    if options.report:
        from recovery_grid.report import report

        return report(bench, cells, picture=options.picture)
    os.environ.setdefault("REGROW_TRACKING", "off")
    os.environ.setdefault("REGROW_TENSORBOARD", str(work / ".regrow" / "tensorboard"))
    with without_chatter(), cache_at(work / ".regrow"):
        return run(bench, cells, chosen, again=options.again)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="where everything lies; it may be filled over days")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the cells lie")
    parser.add_argument("--source", type=Path, default=SOURCE, help="cifar10.zip")
    parser.add_argument("--peer-python", type=Path, help="Python with torch and torch-pruning")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument(
        "--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2]
    )
    parser.add_argument(
        "--only", action="append", metavar="PATTERN", help="cells by name, such as 'ours/*'; repeatable"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="measure the chosen cells again; steps whose code has changed are run again",
    )
    parser.add_argument(
        "--list", action="store_true", help="what is there, what is missing, and how long that takes"
    )
    parser.add_argument(
        "--report", action="store_true", help="tables and picture from the cells that are there"
    )
    parser.add_argument(
        "--picture", type=Path, help="where the report draws its picture, such as recovery.png"
    )
    parser.add_argument("--smoke", action="store_true", help="2,000 examples, one epoch each, in WORK/smoke")
    options = parser.parse_args()
    if options.work is None and (options.smoke or not (options.list or options.report)):
        parser.error("--work is needed: the directory in which everything lies")
    options.only = options.only or ["*"]
    return options


def run(bench: Bench, cells: Grid, chosen: list[Cell], *, again: bool) -> int:
    """Make the chosen cells and those that they need; a failure is shown and the others go on."""
    failed: dict[tuple[str, int], str] = {}
    done: set[tuple[str, int]] = set()
    for number, cell in enumerate(chosen, start=1):
        if cell.result(bench.results) is not None and not again:
            continue
        for each in (*_needed(cells, cell), cell):
            key = (each.name, each.seed)
            if key in done or key in failed:
                continue
            if (
                each is not cell
                and each.result(bench.results) is not None
                and running.has_models(bench, each)
            ):
                done.add(key)
                continue
            broken = next((name for name in each.needs if (name, each.seed) in failed), None)
            label = f"[{number}/{len(chosen)}] {each.name} seed {each.seed}"
            if broken:
                failed[key] = f"needs {broken}"
            else:
                failed_with = make(bench, each, label)
                if failed_with is None:
                    done.add(key)
                    continue
                failed[key] = failed_with
            print(f"{label}: not made: {failed[key]}", file=sys.stderr, flush=True)
    return 1 if failed else 0


def make(bench: Bench, cell: Cell, label: str) -> str | None:
    """Make one cell; why it could not be made, if it could not."""
    import tf_keras

    try:
        check(cell)
        print(f"{label}: {cell.epochs} epochs …", file=sys.stderr, flush=True)
        tf_keras.backend.clear_session()
        found = running.timed(KINDS[cell.kind], bench, cell)
    except UnavailableError as error:
        return str(error)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    cell.write(bench.results, found)
    shown = ", ".join(f"{name} {100 * found[name]:.2f}" for name in ACCURACIES if name in found)
    print(f"{label}: {shown}, {found['seconds']:.0f} s", file=sys.stderr, flush=True)
    return None


def check(cell: Cell) -> None:
    """Refuse what this version cannot do before anything is run.

    Raises:
        UnavailableError: a technique of the cell's recipe is not there.
    """
    for name in ("prune", "recover"):
        if name in cell.params:
            validated(get_spec(name).params, cell.params[name])


def _needed(cells: Grid, cell: Cell) -> list[Cell]:
    """What ``cell`` stands on, the deepest first."""
    found: list[Cell] = []
    for name in cell.needs:
        other = cells[name, cell.seed]
        found += [item for item in (*_needed(cells, other), other) if item not in found]
    return found


def show(bench: Bench, chosen: list[Cell]) -> int:
    """A line for each cell, then what the missing ones cost."""
    speeds: dict[str, list[float]] = {}
    missing: list[Cell] = []
    for cell in chosen:
        found = cell.result(bench.results)
        if found is not None:
            shown = (f"{name} {100 * found[name]:.2f}" for name in ACCURACIES if name in found)
            state = "  ".join(("done", *shown))
            if found["seconds"] > FASTEST_EPOCH * cell.epochs > 0:  # else it was taken from elsewhere
                speeds.setdefault(cell.side, []).append(found["seconds"] / cell.epochs)
        else:
            try:
                check(cell)
                state = "stale" if cell.file(bench.results).is_file() else "missing"
                missing.append(cell)
            except UnavailableError as error:
                state = f"unavailable: {error}"
            except ValidationError as error:
                state = f"refused: {error.errors()[0]['msg']}"
        print(f"{cell.name:56s} seed {cell.seed}  {cell.epochs:2d} epochs  {state}")
    seconds = 0.0
    for cell in missing:
        known = speeds.get(cell.side)
        seconds += cell.epochs * (sum(known) / len(known) if known else SECONDS_PER_EPOCH)
    epochs = sum(cell.epochs for cell in missing)
    print(f"{len(missing)} of {len(chosen)} cells to make: {epochs} epochs, about {seconds / 3600:.1f} hours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
