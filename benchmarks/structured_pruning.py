"""Structured pruning: time and memory on ResNets, and how much of the MACs saved is saved in milliseconds.

command: python benchmarks/structured_pruning.py [resnet8_cifar10.h5]; about two minutes on two idle cores.

ResNet50, 101 and 152 (random weights) are written to a file once; then a new process loads each, removes channels
until half the MACs are left (`GROUP_L2`), and saves the result. Seconds are from after the
imports to the saved file, ``cpu_s`` those of all cores together, which other work on the machine disturbs less;
memory is the process' peak, TensorFlow included.
With a model file as argument, that model is pruned to half its MACs: by channels, with and without counts that suit
vector units, and by a residual block and channels. All are exported to TFLite, and their latencies are measured in
turns, one example, one thread.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import recorded

NAMES = ("ResNet50", "ResNet101", "ResNet152")
# One threshold for the L2 norms of all groups, each relative to its group's mean, whatever a channel saves.
GROUP_L2: dict[str, Any] = {"criterion": "l2", "rank": "score", "min_channels": 1}
# Sections `prune` of params.yaml, each with target macs 0.5.
CHOICES: list[dict[str, object]] = [
    {"method": "channels", "channels": {}},
    {"method": "channels", "channels": {"round_to": 8}},
    {"method": "channels", "channels": GROUP_L2},
    {"method": "channels", "channels": {**GROUP_L2, "round_to": 8}},
    {"method": "channels", "channels": {"criterion": "lamp", "rank": "score", "round_to": 8}},
    {
        "method": ["layers", "channels"],
        "layers": {"blocks": 1},
        "channels": {**GROUP_L2, "round_to": 8},
    },
]
ROUNDS, WARMUP = 2000, 200


def prune_file(source: Path, target: Path) -> dict[str, float]:
    """Load, prune, save; what it took, and what is left."""
    import tf_keras

    from regrow.model_files.files import import_model, save_model
    from regrow.pruning.channels import prune_channels
    from regrow.pruning.targets import ChannelOptions, Target

    tf_keras.backend.clear_session()  # so that TensorFlow's own start is not counted
    start, cpu = time.perf_counter(), time.process_time()
    model = import_model(source)
    loaded = time.perf_counter()
    done = prune_channels(model, ChannelOptions(**GROUP_L2), target=Target(macs=0.5))
    pruned = time.perf_counter()
    save_model(done.model, target)
    done.pruning.write(target / "pruning")
    saved = time.perf_counter()
    before, after = done.report["before"], done.report["after"]
    return {
        "layers": len(model.layers),
        "parameters": before["parameters"],
        "macs_kept": after["macs"] / before["macs"],
        "parameters_kept": after["parameters"] / before["parameters"],
        "load_s": loaded - start,
        "prune_s": pruned - loaded,
        "save_s": saved - pruned,
        "seconds": saved - start,
        "cpu_s": time.process_time() - cpu,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def resnets(folder: Path) -> dict[str, Any]:
    """Print a line for each ResNet; their figures."""
    models = {}
    for name in NAMES:
        source = folder / f"{name}.keras"
        make = f"import tf_keras; tf_keras.applications.{name}(weights=None).save({str(source)!r})"
        subprocess.run([sys.executable, "-c", make], check=True, stderr=subprocess.DEVNULL)
        command = [sys.executable, __file__, "--prune", str(source), str(folder / name)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{name}: " + "  ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)
        models[name] = found
    print("bars: ResNet50 at most 15 seconds and 2 GB; seconds per layer do not grow")
    return {"models": models}


def speed(file: Path, folder: Path) -> dict[str, Any]:
    """Print what half the MACs are worth in latency, for each of `CHOICES`; the figures."""
    import numpy as np

    from regrow.conversion.converters import to_tflite_fp32
    from regrow.conversion.formats import single_runner
    from regrow.evaluation.latency import interleaved, ratio
    from regrow.graph.costs import count_macs
    from regrow.model_files.files import import_model
    from regrow.progress import Progress
    from regrow.pruning.methods import Task, prune
    from regrow.pruning.parameters import PruneParams

    parent = import_model(file)
    models, fewer = {"parent": parent}, {}
    for choice in CHOICES:
        name = json.dumps(choice).translate({ord(mark): None for mark in '"{}'})
        task = Task(
            params=PruneParams.model_validate({**choice, "target": {"macs": 0.5}}),
            dataset=None,
            overlay=None,
            step="prune",
            progress=lambda total: Progress("prune", total=total),
        )
        models[name] = prune(import_model(file), task).model
        fewer[name] = count_macs(parent) / count_macs(models[name])
    example = np.random.default_rng(0).integers(0, 256, parent.input_shape[1:]).astype(np.float32)
    runners = {}
    for number, (name, model) in enumerate(models.items()):
        place = folder / f"exported-{number}"
        place.mkdir()
        to_tflite_fp32(model, place, example[None])
        runners[name] = single_runner(place, "tflite_fp32", example)
    times = interleaved(runners, rounds=ROUNDS, warmup=WARMUP)
    macs, choices = count_macs(parent), {}
    medians = {name: 1000 * float(np.median(values)) for name, values in times.items()}
    for name, reduction in fewer.items():
        faster = ratio(times["parent"], times[name])
        choices[name] = {"macs": round(macs / reduction), "us": medians[name], "faster": faster}
        print(
            f"{file.name}, {name}: {medians['parent']:.0f} → {medians[name]:.0f} µs, "
            f"{faster:.3f} times as fast with {reduction:.3f} times"
            f" fewer MACs: {faster / reduction:.3f}",
            flush=True,
        )
    print("bar: at least 0.8")
    return {"model": file.name, "parent": {"macs": macs, "us": medians["parent"]}, "choices": choices}


def main() -> None:
    if sys.argv[1:2] == ["--prune"]:
        print(json.dumps(prune_file(Path(sys.argv[2]), Path(sys.argv[3]))))
        return
    record, found = recorded.wanted(), {}
    with tempfile.TemporaryDirectory() as scratch:
        if len(sys.argv) > 1:
            found["latency"] = speed(Path(sys.argv[1]), Path(scratch))
        found["resnets"] = resnets(Path(scratch))
    if record:
        recorded.update("structured_pruning", found)


if __name__ == "__main__":
    main()
