"""Which channels go: the default of section `prune.channels` beside what else it could be.

command: python benchmarks/channel_defaults.py --work DIRECTORY [--data DIRECTORY]
time: about two hours on two idle cores; interrupted, it goes on where it was. `--report` makes the table.

Three models that are deployed on small machines (the digits' LeNet, a DS-CNN for spoken digits, MLPerf Tiny's
ResNet-8 for CIFAR-10) are taken to a half and a quarter of their MACs by each variant of `VARIANTS`. Accuracy on the
validation split, for three seeds: after removal, after reconstruction on 1,024 training examples, and after two epochs
of training. LeNet and DS-CNN have a parent a seed; ResNet-8 has one parent, and a seed draws the 3,000 training and
2,000 validation examples that it is recovered on and measured with. That parent has seen CIFAR-10's whole training
split, of which the validation split is a part. One thread, so that it may run beside other work.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from channel_grid.subjects import SUBJECTS, Subject, parent_graph, part, train

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset, open_dataset
from regrow.errors import RegrowError
from regrow.graph.graph import Graph
from regrow.progress import Progress
from regrow.showing.chatter import without_chatter
from regrow.storage.artifacts import read_json, write_json

RESULTS = Path(__file__).resolve().parent / "results" / "channel_defaults"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TARGETS = {"quarter": 0.25, "half": 0.5}
STAGES = ("removed", "reconstructed", "recovered")
CALIBRATION = 1024
OLD = {"criterion": "l2", "normalise": "mean", "scope": "global", "rank": "score", "min_channels": 1}
NEW = {"criterion": "relative_l2", "scope": "global", "rank": "score_per_cost", "min_channels": 4}
VARIANTS: dict[str, dict[str, Any]] = {
    "old default": OLD,
    "new default": NEW,
    "relative l2": {**NEW, "rank": "score"},
    "lamp": {**NEW, "criterion": "lamp", "rank": "score"},
    "lamp, per cost": {**NEW, "criterion": "lamp"},
    "taylor": {**NEW, "criterion": "taylor", "normalise": "mean", "rank": "score"},
    "taylor, per cost": {**NEW, "criterion": "taylor", "normalise": "none"},
    "new default, round to 8": {**NEW, "round_to": 8},
    "lamp, round to 8": {**NEW, "criterion": "lamp", "rank": "score", "round_to": 8},
    "l2, per cost": {**NEW, "criterion": "l2", "normalise": "mean"},
    "l2, per layer": {"criterion": "l2", "scope": "per_layer", "min_channels": 4},
}


def main() -> int:
    options = arguments()
    if options.report:
        return report(options.results)
    os.environ.setdefault("REGROW_TRACKING", "off")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with without_chatter():
        for seed in options.seeds:
            for name in options.models:
                run(SUBJECTS[name], seed, options)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="where datasets and parents lie")
    parser.add_argument("--data", type=Path, default=DATA, help="where cifar10.zip and the others lie")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2]
    )
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(SUBJECTS))
    parser.add_argument("--variants", type=lambda text: text.split(";"), default=list(VARIANTS))
    parser.add_argument("--report", action="store_true", help="the table from what is there")
    options = parser.parse_args()
    if options.work is None and not options.report:
        parser.error("--work is needed: the directory in which datasets and parents lie")
    return options


def run(subject: Subject, seed: int, options: argparse.Namespace) -> None:
    """Make what is missing of one model and seed."""
    file = options.results / f"{subject.name}-seed{seed}.json"
    found: dict[str, Any] = read_json(file) if file.is_file() else {}
    missing = [
        (target, variant)
        for target in TARGETS
        for variant in options.variants
        if found.get(target, {}).get(variant, {}).get("channels") != VARIANTS[variant]
    ]
    if not missing:
        return
    options.work.mkdir(parents=True, exist_ok=True)
    place = options.work / f"{subject.name}-dataset"
    dataset = open_dataset(place) if place.is_dir() else subject.dataset(place, options.data)
    parent = parent_graph(subject, dataset, options.data, options.work, seed)
    with tempfile.TemporaryDirectory() as scratch:
        if subject.examples is not None:
            dataset = part(dataset, Path(scratch) / "part", examples=subject.examples, seed=seed)
        if "parent" not in found:
            found["parent"] = {"val_accuracy": accuracy(parent.to_model(), dataset)}
        for target, variant in missing:
            section = {"target": {"macs": TARGETS[target]}, "channels": VARIANTS[variant], "seed": seed}
            started = time.monotonic()
            row = cell(subject, parent, dataset, section)
            row["seconds"] = round(time.monotonic() - started, 1)
            found.setdefault(target, {})[variant] = {"channels": VARIANTS[variant], **row}
            write_json(file, found)
            shown = {name: value for name, value in row.items() if name != "layers"}
            print(
                subject.name,
                seed,
                target,
                variant,
                json.dumps(shown),
                row.get("layers"),
                sep=" | ",
                flush=True,
            )


def cell(subject: Subject, parent: Graph, dataset: Dataset, section: dict[str, Any]) -> dict[str, Any]:
    """Accuracy after each of `STAGES`, and what the model has become."""
    import tf_keras

    from regrow.pruning.methods import Task, prune
    from regrow.pruning.parameters import PruneParams

    tf_keras.backend.clear_session()
    params = PruneParams.model_validate(section)
    task = Task(
        params=params,
        dataset=dataset,
        overlay=None,
        step="benchmark",
        progress=lambda total: Progress("benchmark", total=total),
    )
    whole = parent.to_model()
    try:
        outcome = prune(whole, task)
    except RegrowError as error:
        return {"refused": str(error)}
    assert outcome.channels is not None
    model, channels = outcome.model, outcome.channels
    row: dict[str, Any] = {
        "layers": {layer["name"]: f"{layer['before']}→{layer['after']}" for layer in channels["layers"]},
        **{
            f"{name}_kept": round(channels["after"][name] / channels["before"][name], 4)
            for name in ("macs", "parameters")
        },
        "removed": accuracy(model, dataset),
    }
    row["reconstructed"] = _reconstructed(
        model, whole, outcome.pruning, dataset, before=row["removed"], seed=params.seed
    )
    train(model, dataset, subject.fit, seed=params.seed)
    row["recovered"] = accuracy(model, dataset)
    return row


def _reconstructed(
    model: Any, parent: Any, pruning: Any, dataset: Dataset, *, before: float, seed: int
) -> float:
    """The accuracy after reconstruction, which is undone, as in `recover`, where it is lower than ``before``."""
    from regrow.recovery.reconstruction import reconstruct
    from regrow.training.recalibration import recalibrate

    examples = dataset.calibration(CALIBRATION, seed)
    pruned = model.get_weights()
    reconstruct(model, parent, pruning, examples, ridge=1e-3, batch_size=128, seed=seed)
    recalibrate(model, examples, batch_size=128)
    if (found := accuracy(model, dataset)) >= before:
        return found
    model.set_weights(pruned)
    return before


def accuracy(model: Any, dataset: Dataset) -> float:
    """On the validation split."""
    from regrow.training.fitting import validation_metrics

    return round(validation_metrics(model, AugmentedDataset(dataset))["val_accuracy"], 4)


def report(results: Path) -> int:
    """A Markdown table a target: mean of the seeds that are there."""
    for target in TARGETS:
        print(f"\n{target} of the MACs\n")
        names = [name for name in SUBJECTS if any(results.glob(f"{name}-seed*.json"))]
        print("| |", " | ".join(names), "|")
        print("|---|" + "---|" * len(names))
        for variant in VARIANTS:
            print(f"| {variant} |", " | ".join(_shown(results, name, target, variant) for name in names), "|")
    return 0


def _shown(results: Path, name: str, target: str, variant: str) -> str:
    rows = [
        row
        for file in sorted(results.glob(f"{name}-seed*.json"))
        if (row := read_json(file).get(target, {}).get(variant)) is not None
    ]
    if not rows or any("refused" in row for row in rows):
        return "refused" if rows else ""
    told = []
    for stage in STAGES[1:]:
        values = [100 * row[stage] for row in rows if stage in row]
        told.append(f"{statistics.mean(values):.1f}" if values else "–")
    kept = statistics.mean(100 * row["parameters_kept"] for row in rows)
    return f"{' → '.join(told)} ({kept:.0f}% of the parameters, {len(rows)})"


if __name__ == "__main__":
    sys.exit(main())
