"""Tables and sentences from the single files in benchmarks/results."""

import statistics
from collections.abc import Mapping
from typing import Any

from recorded import RESULTS, read
from recovery_grid.report import markdown

VARIANTS = {
    "old default": "`l2, rank: score, min_channels: 1`",
    "new default": "`relative_l2, rank: score_per_cost, min_channels: 4` (the default)",
    "lamp": "`lamp, rank: score`",
    "lamp, per cost": "`lamp`",
    "taylor, per cost": "`taylor, normalise: none`",
}
SUBJECTS = {"lenet": "LeNet, digits", "dscnn": "DS-CNN, spoken digits", "resnet": "ResNet-8, CIFAR-10"}


def criteria(target: str) -> str:
    """Validation accuracy and parameters kept, by criterion."""
    rows = []
    for variant, label in VARIANTS.items():
        row = [label]
        for subject in SUBJECTS:
            files = sorted((RESULTS / "channel_defaults").glob(f"{subject}-seed*.json"))
            found = [
                cell
                for file in files
                if (cell := read(f"channel_defaults/{file.stem}").get(target, {}).get(variant))
            ]
            row.append(_criterion(found) if found else "")
        rows.append(row)
    return markdown(("", *SUBJECTS.values()), rows)


def _criterion(found: list[Mapping[str, Any]]) -> str:
    accuracies = [
        f"{statistics.mean(100 * row[stage] for row in found):.1f}"
        for stage in ("reconstructed", "recovered")
    ]
    kept = statistics.mean(100 * row["parameters_kept"] for row in found)
    return f"{' → '.join(accuracies)}, {kept:.0f}%" + (f" ({len(found)})" if len(found) < 3 else "")


NORMS = "channels: criterion: l2, rank: score, min_channels: 1"
CHOICES = {  # as benchmarks/structured_pruning.py calls them, and as a reader does
    f"method: channels, {NORMS}": "channels, `criterion: l2, rank: score, min_channels: 1`",
    "method: channels, channels: criterion: lamp, rank: score, round_to: 8": (
        "channels, `criterion: lamp, rank: score, round_to: 8`"
    ),
    f"method: [layers, channels], layers: blocks: 1, {NORMS}, round_to: 8": (
        "a residual block, then channels with `round_to: 8`"
    ),
}


def latency() -> str:
    """What half of the MACs is worth in microseconds."""
    found = read("structured_pruning")["latency"]
    parent = found["parent"]
    rows = [("ResNet-8 as published", f"{parent['macs'] / 1e6:.1f} M", f"{parent['us']:.0f}", "")]
    for name, label in CHOICES.items():
        row = found["choices"][name]
        rows.append((label, f"{row['macs'] / 1e6:.1f} M", f"{row['us']:.0f}", f"{row['faster']:.2f}"))
    return markdown(("", "MACs", "µs per example", "times as fast"), rows)


def resnets() -> str:
    """Time and memory of structured pruning."""
    rows = [
        (name, str(row["layers"]), f"{row['seconds']:.1f}", f"{row['cpu_s']:.1f}",
         f"{row['cpu_s'] / row['layers']:.3f}", f"{row['peak_gb']:.2f}")
        for name, row in read("structured_pruning")["resnets"]["models"].items()
    ]  # fmt: skip
    return markdown(("", "layers", "seconds", "CPU s", "CPU s per layer", "GB"), rows)


def peer_speed() -> str:
    """Beside Torch-Pruning: CPU time for the same goal."""
    rows = []
    for name, row in read("torch_pruning_speed")["models"].items():
        sides = [row["regrow"], row["torch-pruning"]]
        rows.append(
            (
                name,
                *(f"{side['cpu_s']:.1f}" for side in sides),
                f"{row['ratio']:.1f}",
                f"{row['graph_ratio']:.1f}",
                *(f"{side['macs_kept']:.3f}" for side in sides),
                *(f"{side['parameters_kept']:.3f}" for side in sides),
            )
        )
    head = ("", "Regrow, CPU s", "T-P, CPU s", "ratio", "ratio, graph alone", "MACs kept, R", "T-P")
    return markdown((*head, "parameters kept, R", "T-P"), rows)


def peer_ratio() -> str:
    """The median of `peer_speed` and its range."""
    ratios = [row["ratio"] for row in read("torch_pruning_speed")["models"].values()]
    middle, ends = statistics.median(ratios), f"{min(ratios):.1f} to {max(ratios):.0f}"
    return f"The median ratio over {len(ratios)} architectures is {middle:.0f} ({ends})."


def sparse_training() -> str:
    """Accuracy with and without sparse training."""
    found = read("sparse_training")
    rows = [
        (
            f"`{name}`" if " " not in name else name,
            *(f"{mean_:.3f} ± {deviation:.3f}" for mean_, deviation in row),
        )
        for name, row in found["accuracy"].items()
    ]
    return markdown(("", *found["stages"]), rows)


def images() -> str:
    """Sizes of the component images."""
    rows = [
        (f"`regrow-{name}`", f"{row['mb']:,}", f"{row['shared_mb']:,}", row["note"])
        for name, row in read("images")["images"].items()
    ]
    base = read("images")["base_mb"]
    table = markdown(("image", "MB", "of these shared with others", ""), rows)
    source = f"Sizes are on a base of {base} MB that `components/make-base-image` made."
    return f"{table}\n\n{source} TensorFlow alone takes 1.5 GB."


DIGITS = {
    "accuracy": "test accuracy, % (95% interval)",
    "macs": "MACs",
    "parameters_nonzero": "weights that are not zero",
    "tflite_fp32": "TFLite fp32, bytes",
    "tflite_int8": "TFLite int8, bytes",
    "latency": "TFLite fp32, µs per example",
}


def digits() -> str:
    """The default run."""
    found = read("digits")
    roles = ("parent", "pruned", "recovered")
    rows = [
        (label, *(found["table"][key].get(role, "") for role in roles))
        for key, label in DIGITS.items()
        if found["table"].get(key)
    ]
    table = markdown((f"{found['examples']} test examples", *roles), rows)
    differences = ", ".join(f"{value:+.2f}" for value in found["differences"]).replace("-", "−")
    return (
        f"{table}\n\nOne test example is {100 / found['examples']:.2f} points. Over {len(found['differences'])} seeds,"
        f" each with its own split, recovered minus parent is\n{differences} points; the fp32 TFLite file has"
        f" {found['ratios']['size tflite_fp32']:.2f} of the parent's bytes and takes"
        f" {found['ratios']['latency tflite_fp32']:.2f} of its time.\nA run took {found['seconds']:.0f} seconds on two"
        " cores that other work kept busy (`python benchmarks/run_digits.py`)."
    )


def reconstruction_cost() -> str:
    """What reconstructing ResNet50 takes."""
    found = read("reconstruction")
    return (
        f"{found['minutes']} minutes on two idle cores, {found['memory_gb']} GB of memory and up to {found['files_gb']}"
        " GB of such files"
    )


def bytecode() -> str:
    """Seconds to import TensorFlow."""
    found = read("bytecode")
    return f"{found['not_compiled_s']} seconds of CPU instead of {found['compiled_s']}"


def epoch_ends() -> str:
    """Seconds of an epoch."""
    found = read("epoch_ends")
    return f"{found['plain_s']} instead of {found['tuned_s']} seconds"


def export_time() -> str:
    """CPU time of conversions in a process of their own."""
    return f"{read('export_time')['ratio']} of the CPU time on two small convolutional models"
