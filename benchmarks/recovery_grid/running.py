"""How each kind of cell is made: by the pipeline's own steps, whose results are kept beside the cells."""

import gzip
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recovery_grid.cells import Cell
from recovery_grid.recipe import Recipe, merged, validated
from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset, open_dataset, write_dataset
from regrow.errors import RegrowError
from regrow.steps import get_spec
from regrow.steps.execution import execute
from regrow.storage.artifacts import read_json

SMOKE_EXAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where the grid lies and what it is made of.

    ``results`` holds the cells; ``work`` may hold ``dataset``, ``overlay``, ``parentSEED`` and ``trainingSEED`` from
    elsewhere: they are used.
    """

    work: Path
    results: Path
    recipe: Recipe
    source: Path
    peer_python: Path | None

    @cached_property
    def dataset(self) -> Dataset:
        """CIFAR-10 as `prepare` makes it, once; a part of it for a smoke run."""
        place = self.work / "dataset"
        if place.is_dir():
            return open_dataset(place)
        if self.recipe.smoke:
            return _part(Bench(**{**vars_of(self), "work": self.work.parent, "recipe": Recipe.read()}), place)
        section = merged(self.recipe.example["prepare"], {"source": {"path": str(self.source)}})
        self.step("prepare", section, inputs={}, places={"": self.work})
        return open_dataset(place)

    @cached_property
    def overlay(self) -> Path:
        """The example's augmentation, online."""
        place = self.work / "overlay"
        if not place.is_dir():
            inputs = {"dataset": self.dataset.path}
            self.step("augment", self.recipe.example["augment"], inputs=inputs, places={"": self.work})
        return place

    @property
    def data(self) -> dict[str, Path]:
        """The inputs that most steps have."""
        return {"dataset": self.dataset.path, "overlay": self.overlay}

    def parent(self, seed: int) -> dict[str, Path]:
        """What `train` made."""
        return {"parent": self.work / f"parent{seed}", "training": self.work / f"training{seed}"}

    def step(self, name: str, section: Any, *, inputs: dict[str, Path], places: dict[str, Path]) -> None:
        """Run step ``name``; ``places`` gives an output's directory, under "" that of all others."""
        spec = get_spec(name)
        outputs = {item.name: places.get(item.name, places[""] / item.name) for item in spec.outputs}
        execute(
            spec,
            validated(spec.params, section),
            inputs=inputs,
            outputs=outputs,
            statement=places[""] / f"statement-{name}",
        )


def vars_of(bench: Bench) -> dict[str, Any]:
    """The fields, without what was computed from them."""
    return {name: getattr(bench, name) for name in ("work", "results", "recipe", "source", "peer_python")}


def _part(full: Bench, place: Path) -> Dataset:
    """The first examples of each split of the whole dataset, which is in the file order of `prepare`."""
    data = full.dataset
    rows = {
        split: np.sort(np.random.default_rng(0).permutation(data.size(split))[:SMOKE_EXAMPLES])
        for split in ("train", "validation", "test")
    }
    return write_dataset(
        place,
        task=data.task,
        splits={
            split: (np.asarray(data.features(split)[taken]), data.labels(split)[taken])
            for split, taken in rows.items()
        },
        classes=data.classes,
        value_range=data.value_range,
        normalisation=data.normalisation,
    )


def has_models(bench: Bench, cell: Cell) -> bool:
    """Whether what other cells take from ``cell`` lies in ``bench.work``."""
    if cell.kind == "parent":
        return all(place.is_dir() for place in bench.parent(cell.seed).values())
    if cell.side != "ours":
        return any((bench.work / "models" / cell.side).glob(f"parent-seed{cell.seed}.*"))
    return (cell.folder(bench.work) / {"prune": "pruned", "recover": "recovered"}[cell.kind]).is_dir()


def parent(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Train the parent, or take the one that is there if it was trained so."""
    from regrow.model_files.files import load_model

    places = bench.parent(cell.seed)
    section = {**cell.params["train"], "seed": cell.seed}
    if all(place.is_dir() for place in places.values()):
        wanted = validated(get_spec("train").params, section).fit.model_dump(mode="json")  # type: ignore[attr-defined]
        found = read_json(places["training"] / "settings.json")
        # Settings that a later version added had no effect before.
        if any(wanted.get(name) != value for name, value in found.items()):
            raise RegrowError(f"{places['training']}: was trained with other settings; move it away")
    else:
        target = bench.work / "models" / "parent" / f"seed{cell.seed}"
        bench.step("train", section, inputs=bench.data, places={"": target, **places})
    model = load_model(places["parent"])
    return {**measured(bench, model), "val_accuracy": validation_accuracy(bench, model)}


def recalibrated_parent(bench: Bench, cell: Cell) -> dict[str, Any]:
    """The parent with batch statistics of plain examples, as recovered models have them."""
    from regrow.model_files.files import load_model
    from regrow.recovery.parameters import Recalibrate
    from regrow.training.recalibration import recalibrate

    model, options = load_model(bench.parent(cell.seed)["parent"]), Recalibrate()
    images = bench.dataset.calibration(options.batches * options.batch_size, cell.seed)
    recalibrate(model, images, batch_size=options.batch_size)
    return {**measured(bench, model), "val_accuracy": validation_accuracy(bench, model)}


def prune(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Prune the parent; what is measured is the model before any recovery."""
    from regrow.model_files.files import load_model

    folder = cell.folder(bench.work)
    section = {**cell.params["prune"], "seed": cell.seed}
    bench.step("prune", section, inputs={**bench.data, **bench.parent(cell.seed)}, places={"": folder})
    model = load_model(folder / "pruned")
    return {**measured(bench, model), "val_accuracy": validation_accuracy(bench, model)}


def recover(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Recover what ``pruned/TARGET`` left; what is tested meets the test split once, as the step chose it."""
    from regrow.model_files.files import load_model

    folder = cell.folder(bench.work)
    before = bench.work / "models" / "pruned" / cell.target / f"seed{cell.seed}"
    section = {**cell.params["recover"], "seed": cell.seed}
    inputs = {
        **bench.data,
        **bench.parent(cell.seed),
        "pruned": before / "pruned",
        "pruning": before / "pruning",
    }
    bench.step("recover", section, inputs=inputs, places={"": folder})
    curve = read_json(folder / "recovery" / "curve.json")
    model = load_model(folder / "recovered")
    found = measured(bench, model) if cell.tested else {}
    return {**found, "val_accuracy": curve["best"]["val_accuracy"], "curve": curve}


def measured(bench: Bench, model: Any) -> dict[str, Any]:
    """Accuracy on the test split, and what the model costs."""
    from regrow.dataset.batches import evaluation_batches
    from regrow.graph.costs import count_macs
    from regrow.graph.kernels import sparsity

    data = evaluation_batches(bench.dataset, "test", batch_size=256).map(lambda features, labels: features)
    right = model.predict(data, verbose=0).argmax(1) == bench.dataset.labels("test")
    return {
        "test_accuracy": float(right.mean()),
        "macs": count_macs(model),
        "parameters": int(model.count_params()),
        "sparsity": sparsity(model),
        "gzip_h5": gzip_h5(model),
    }


def validation_accuracy(bench: Bench, model: Any) -> float:
    from regrow.training.fitting import validation_metrics

    return validation_metrics(model, AugmentedDataset(bench.dataset))["val_accuracy"]


def gzip_h5(model: Any) -> int:
    """Bytes of the legacy Keras file after gzip: the size that sparse models are compared by."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.h5"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are saving your model as an HDF5 file")
            model.save(file, include_optimizer=False, save_format="h5")
        return len(gzip.compress(file.read_bytes(), 9, mtime=0))


def timed(make: Callable[[Bench, Cell], dict[str, Any]], bench: Bench, cell: Cell) -> dict[str, Any]:
    """The result of ``make`` with its seconds: of the clock, and of this process' and its children's CPUs."""
    clock, before = time.monotonic(), os.times()
    found = make(bench, cell)
    after = os.times()
    return {
        **found,
        "epochs": cell.epochs,
        "seconds": round(time.monotonic() - clock, 1),
        "cpu_seconds": round(sum(after[:4]) - sum(before[:4]), 1),
    }
