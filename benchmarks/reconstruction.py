"""Least-squares reconstruction: time and memory on ResNet50, and what it gives before any gradient step.

command: python benchmarks/reconstruction.py [--examples 1024] [--memory BYTES]
         python benchmarks/reconstruction.py --parent PARENT --dataset DATASET [--criteria l2,taylor]

Without a parent, ResNet50 (random weights, 224×224) loses half its MACs by channels (group L2) and is reconstructed
with random images; memory is the process' peak, TensorFlow included.
With a trained parent and its dataset, as ``train`` and ``prepare`` leave them, each criterion prunes to half the
MACs, and validation accuracies are printed as a table: pruned, recalibrated alone, reconstructed, and reconstructed
and recalibrated. No gradient step is taken; the test split is not read.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from regrow.augmentation.dataset import AugmentedDataset

# One threshold for the L2 norms of all groups, whatever a channel saves.
GROUP_L2: dict[str, Any] = {"criterion": "l2", "rank": "score", "min_channels": 1}


def large(examples: int, batch_size: int, memory: float) -> None:
    """Print what ResNet50 takes."""
    import tf_keras

    from regrow.progress import Progress
    from regrow.pruning.channels import prune_channels
    from regrow.pruning.targets import ChannelOptions, Target
    from regrow.recovery.reconstruction import reconstruct

    parent = tf_keras.applications.ResNet50(weights=None)
    done = prune_channels(parent, ChannelOptions(**GROUP_L2), target=Target(macs=0.5))
    images = np.random.default_rng(0).integers(0, 256, (examples, 224, 224, 3), np.uint8)
    start, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        report = reconstruct(
            done.model,
            parent,
            done.pruning,
            images,
            ridge=1e-3,
            batch_size=batch_size,
            memory=memory,
            scratch=Path(scratch),
            progress=Progress("reconstruct"),
        )
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    fitted = [row for row in report if "left" not in row]
    gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"ResNet50, {examples} images: {seconds:.0f} s, {cpu:.0f} s of all cores, peak {gb:.2f} GB;"
        f" {len(fitted)} of {len(report)} layers fitted; bar: at most 6 GB"
    )


def accuracies(parent_path: Path, dataset_path: Path, criteria: list[str], examples: int) -> None:
    """Print the table of validation accuracies."""
    from regrow.dataset.directory import open_dataset
    from regrow.model_files.files import load_model
    from regrow.pruning.channels import prune_channels
    from regrow.pruning.criteria.evidence import Calibration
    from regrow.pruning.targets import ChannelOptions, Target
    from regrow.recovery.reconstruction import reconstruct
    from regrow.training.fitting import validation_metrics
    from regrow.training.recalibration import BATCH, EXAMPLES, recalibrate

    dataset, parent = open_dataset(dataset_path), load_model(parent_path)

    def accuracy(model: Any) -> float:
        return validation_metrics(model, AugmentedDataset(dataset))["val_accuracy"]

    whole = accuracy(parent)
    features, labels = dataset.labelled_calibration(512)
    many, some = dataset.calibration(EXAMPLES), dataset.calibration(examples)
    print(f"parent {whole:.4f}; bar: 85% of it, {0.85 * whole:.4f}")
    print(
        f"{'criterion':18}{'pruned':>10}{'recal.':>10}{'recon.':>10}{'both':>10}{'of parent':>11}{'seconds':>9}"
    )
    for criterion in criteria:
        done = prune_channels(
            parent,
            ChannelOptions(criterion=criterion, rank="score", min_channels=1),
            target=Target(macs=0.5),
            calibration=Calibration(features=features, labels=labels),
        )
        model, weights = done.model, done.model.get_weights()
        found = [accuracy(model)]
        recalibrate(model, many, batch_size=BATCH)
        found.append(accuracy(model))
        model.set_weights(weights)
        start = time.perf_counter()
        reconstruct(model, parent, done.pruning, some, ridge=1e-3, batch_size=BATCH)
        seconds = time.perf_counter() - start
        found.append(accuracy(model))
        recalibrate(model, many, batch_size=BATCH)
        found.append(accuracy(model))
        columns = "".join(f"{value:10.4f}" for value in found)
        print(f"{criterion:18}{columns}{found[-1] / whole:11.1%}{seconds:9.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=32, help="of ResNet50")
    parser.add_argument(
        "--memory", type=float, default=1.5e9, help="bytes of feature maps kept, for ResNet50"
    )
    parser.add_argument("--parent", type=Path)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument(
        "--criteria", default="l1,l2,batch_norm_scale,taylor,lamp,geometric_median,apoz,random"
    )
    given = parser.parse_args()
    if given.parent is None:
        large(given.examples, given.batch_size, given.memory)
    else:
        accuracies(given.parent, given.dataset, given.criteria.split(","), given.examples)


if __name__ == "__main__":
    main()
