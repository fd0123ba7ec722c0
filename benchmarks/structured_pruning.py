"""Structured pruning: time and memory on ResNets, and how much of the MACs saved is saved in milliseconds.

command: python benchmarks/structured_pruning.py [resnet8_cifar10.h5]; about two minutes on two idle cores.

ResNet50, 101 and 152 (random weights) are written to a file once; then a new process loads each, removes channels
until half the MACs are left (group L2, the step's defaults), and saves the result. Seconds are from after the
imports to the saved file; memory is the process' peak, TensorFlow included.
With a model file as argument, that model is pruned to half its MACs, both are exported to TFLite, and their
latencies are measured in turns, one example, one thread.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("ResNet50", "ResNet101", "ResNet152")
ROUNDS, WARMUP = 2000, 200


def prune_file(source: Path, target: Path) -> dict[str, float]:
    """Load, prune, save; what it took, and what is left."""
    import tf_keras

    from regrow.graph.files import import_model, save_model
    from regrow.pruning import structured
    from regrow.pruning.targets import ChannelOptions, Target

    tf_keras.backend.clear_session()  # so that TensorFlow's own start is not counted
    start = time.perf_counter()
    model = import_model(source)
    loaded = time.perf_counter()
    done = structured.prune_channels(model, ChannelOptions(), target=Target(macs=0.5))
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
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def resnets(folder: Path) -> None:
    """Print a line for each ResNet."""
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
    print("bars: ResNet50 at most 15 seconds and 2 GB; seconds per layer do not grow")


def speed(file: Path, folder: Path) -> None:
    """Print what half the MACs are worth in latency."""
    import numpy as np

    from regrow.conversion.converters import to_tflite_fp32
    from regrow.conversion.runtimes import single_runner
    from regrow.evaluation.latency import interleaved, ratio
    from regrow.graph.files import import_model, load_model

    reduction = 1 / prune_file(file, folder / "half")["macs_kept"]
    models = {"parent": import_model(file), "pruned": load_model(folder / "half")}
    example = np.random.default_rng(0).integers(0, 256, models["parent"].input_shape[1:]).astype(np.float32)
    runners = {}
    for name, model in models.items():
        place = folder / f"exported-{name}"
        place.mkdir()
        to_tflite_fp32(model, place, example[None])
        runners[name] = single_runner(place, "tflite_fp32", example)
    times = interleaved(runners, rounds=ROUNDS, warmup=WARMUP)
    faster = ratio(times["parent"], times["pruned"])
    medians = {name: 1000 * float(np.median(values)) for name, values in times.items()}
    print(
        f"{file.name}: parent {medians['parent']:.0f} µs, pruned {medians['pruned']:.0f} µs, {faster:.3f} times as"
        f" fast with {reduction:.3f} times fewer MACs: {faster / reduction:.3f}"
    )
    print("bar: at least 0.8")


def main() -> None:
    if sys.argv[1:2] == ["--prune"]:
        print(json.dumps(prune_file(Path(sys.argv[2]), Path(sys.argv[3]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        if len(sys.argv) > 1:
            speed(Path(sys.argv[1]), Path(scratch))
        resnets(Path(scratch))


if __name__ == "__main__":
    main()
