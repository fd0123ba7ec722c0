"""Structured pruning to half the MACs beside Torch-Pruning, on architectures that both libraries' model zoos have.

command: python benchmarks/compare_torch_pruning.py --peer-python PEER/bin/python [MODEL ...]; about 15 minutes on two
idle cores for all. The peer's environment, made once (torch and torchvision need several GB):
    python -m venv PEER && PEER/bin/pip install torch torchvision torch-pruning==1.6.1

Both take turns in one run, each in a process of its own; weights are random, the criterion is the group's L2 norm with
one global threshold. Timed is the way from a model in memory to the pruned model in memory. ``cpu_s`` are the seconds
of all cores together, which other work on the machine disturbs less than ``seconds``; ``graph_cpu_s`` is the part of
them that finds what goes together, without scores, target or removal.
A model counts as handled when the pruned one answers, and has at most half of the MACs (3% tolerance). MACs and
parameters before are each library's count of its own zoo's model.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import recorded

WORKER = Path(__file__).with_name("torch_pruning_worker.py")
# Names in tf_keras.applications and in torchvision.models; what takes long comes last.
MODELS = {
    "MobileNetV3Small": "mobilenet_v3_small",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Large": "mobilenet_v3_large",
    "RegNetX008": "regnet_x_800mf",
    "RegNetY008": "regnet_y_800mf",
    "EfficientNetB0": "efficientnet_b0",
    "ResNet50": "resnet50",
    "VGG16": "vgg16",
    "ConvNeXtTiny": "convnext_tiny",
    "InceptionV3": "inception_v3",
    "DenseNet121": "densenet121",
    "EfficientNetV2S": "efficientnet_v2_s",
    "EfficientNetB3": "efficientnet_b3",
    "VGG19": "vgg19",
    "ResNet101": "resnet101",
    "DenseNet169": "densenet169",
    "ResNet152": "resnet152",
    "DenseNet201": "densenet201",
}
SIDES = {"InceptionV3": 299}  # of the picture; both libraries are given the same


def half(name: str) -> dict[str, Any]:
    """Regrow's half of the comparison."""
    import tf_keras

    from regrow.graph.costs import count_macs
    from regrow.graph.graph import Graph
    from regrow.graph.tracing import trace
    from regrow.pruning.channels import prune_channels
    from regrow.pruning.targets import ChannelOptions, Target

    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(0)
    side = SIDES.get(name, 224)
    model = getattr(tf_keras.applications, name)(weights=None, input_shape=(side, side, 3))
    cpu = time.process_time()
    trace(Graph.of(model))
    graph_cpu = time.process_time() - cpu
    start, cpu = time.perf_counter(), time.process_time()
    options = ChannelOptions(criterion="l2", rank="score", min_channels=1)
    done = prune_channels(model, options, target=Target(macs=0.5))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    answer = done.model(np.zeros((1, *model.input_shape[1:]), np.float32))
    if tuple(answer.shape) != (1, 1000):
        raise RuntimeError(f"outputs {tuple(answer.shape)}")
    before, after = done.report["before"], done.report["after"]
    if after["macs"] != count_macs(done.model):
        raise RuntimeError("the report's MACs are not the model's")
    return {
        "seconds": seconds,
        "cpu_s": cpu,
        "graph_cpu_s": graph_cpu,
        "macs": before["macs"],
        "macs_kept": after["macs"] / before["macs"],
        "parameters": before["parameters"],
        "parameters_kept": after["parameters"] / before["parameters"],
    }


def main() -> None:
    record = recorded.wanted()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    options = parser.parse_args()
    peer = subprocess.Popen(
        [str(options.peer_python), str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert peer.stdin is not None and peer.stdout is not None
    sides = ("regrow", "torch-pruning")
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    columns = ("seconds", "cpu_s", "graph_cpu_s", "GMACs", "kept", "Mparams", "kept")
    print(f"{'model':17s} {'':13s} " + " ".join(f"{column:>11s}" for column in columns), flush=True)
    for name in options.models:
        results["regrow"].append(attempt(name))
        peer.stdin.write(MODELS[name] + "\n")
        peer.stdin.flush()
        results["torch-pruning"].append(json.loads(peer.stdout.readline()))
        for side in sides:
            print(f"{name:17s} {side:13s} {line(results[side][-1])}", flush=True)
    peer.stdin.close()
    peer.wait()
    for side in sides:
        done = [result for result in results[side] if "error" not in result]
        print(f"handled by {side}: {len(done)} of {len(options.models)}")
    if record:
        recorded.update("torch_pruning_speed", {"models": measured(options.models, results)})
    both = [pair for pair in zip(*results.values(), strict=True) if not any("error" in side for side in pair)]
    for key in ("seconds", "cpu_s", "graph_cpu_s") if both else ():
        ratios = [theirs[key] / ours[key] for ours, theirs in both]
        print(
            f"{key}, torch-pruning ÷ regrow, {len(both)} models that both handled:"
            f" median {np.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}"
        )


def measured(names: list[str], results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """By model, what `benchmarks/tables.py` shows; models that both handled."""
    keys = ("cpu_s", "macs_kept", "parameters_kept")
    found = {}
    for name, *sides in zip(names, *results.values(), strict=True):
        if any("error" in side for side in sides):
            continue
        ours, theirs = sides
        found[name] = {
            **{side: {key: row[key] for key in keys} for side, row in zip(results, sides, strict=True)},
            "ratio": theirs["cpu_s"] / ours["cpu_s"],
            "graph_ratio": theirs["graph_cpu_s"] / ours["graph_cpu_s"],
        }
    return found


def attempt(name: str) -> dict[str, Any]:
    """`half`, or why it failed."""
    try:
        return half(name)
    except Exception as error:  # what a library cannot do is a result here
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}


def line(result: dict[str, Any]) -> str:
    """A row of the table without its first columns."""
    if "error" in result:
        return str(result["error"])
    times = " ".join(f"{result[key]:11.2f}" for key in ("seconds", "cpu_s", "graph_cpu_s"))
    return (
        f"{times} {result['macs'] / 1e9:11.3f} {result['macs_kept']:11.3f}"
        f" {result['parameters'] / 1e6:11.2f} {result['parameters_kept']:11.3f}"
    )


if __name__ == "__main__":
    main()
