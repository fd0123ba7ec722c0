"""Structured pruning to half the MACs beside Torch-Pruning, on architectures that both libraries' model zoos have.

command: python benchmarks/compare_torch_pruning.py --peer-python PEER/bin/python [MODEL ...]; about 15 minutes on two
cores for all. The peer's environment, made once (torchvision's models need several GB):
    python -m venv PEER && PEER/bin/pip install torch torchvision torch-pruning==1.6.1

Both take turns in one run, each in a process of its own, threads as they come; weights are random, the criterion is
the group's L2 norm with one global threshold. Timed is the way from a model in memory to the pruned model in memory.
A model counts as handled when the pruned one answers, and has at most half of the MACs (3% tolerance).
"""

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

WORKER = Path(__file__).with_name("torch_pruning_worker.py")
# Names in tf_keras.applications and in torchvision.models.
MODELS = {
    "ResNet50": "resnet50",
    "ResNet101": "resnet101",
    "ResNet152": "resnet152",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "DenseNet121": "densenet121",
    "DenseNet169": "densenet169",
    "DenseNet201": "densenet201",
    "InceptionV3": "inception_v3",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3_small",
    "MobileNetV3Large": "mobilenet_v3_large",
    "EfficientNetB0": "efficientnet_b0",
    "EfficientNetB3": "efficientnet_b3",
    "EfficientNetV2S": "efficientnet_v2_s",
    "RegNetY008": "regnet_y_800mf",
    "RegNetX008": "regnet_x_800mf",
    "ConvNeXtTiny": "convnext_tiny",
}


def half(name: str) -> dict[str, Any]:
    """Regrow's half of the comparison."""
    import tf_keras

    from regrow.graph.costs import count_macs
    from regrow.pruning.structured import prune_channels
    from regrow.pruning.targets import ChannelOptions, Target

    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(0)
    model = getattr(tf_keras.applications, name)(weights=None)
    start = time.perf_counter()
    done = prune_channels(model, ChannelOptions(criterion="l2"), target=Target(macs=0.5))
    seconds = time.perf_counter() - start
    answer = done.model(np.zeros((1, *model.input_shape[1:]), np.float32))
    if tuple(answer.shape) != (1, 1000):
        raise RuntimeError(f"outputs {tuple(answer.shape)}")
    before, after = done.report["before"], done.report["after"]
    if after["macs"] != count_macs(done.model):
        raise RuntimeError("the report's MACs are not the model's")
    return {
        "seconds": seconds,
        "macs": before["macs"],
        "macs_kept": after["macs"] / before["macs"],
        "parameters": before["parameters"],
        "parameters_kept": after["parameters"] / before["parameters"],
    }


def main() -> None:
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
    ratios, handled = [], {"regrow": 0, "torch-pruning": 0}
    print(f"{'model':18s} {'':15s} {'seconds':>8s} {'MACs kept':>10s} {'parameters kept':>16s}")
    for name in options.models:
        found = {}
        try:
            found["regrow"] = half(name)
        except Exception as error:
            found["regrow"] = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        peer.stdin.write(MODELS[name] + "\n")
        peer.stdin.flush()
        found["torch-pruning"] = json.loads(peer.stdout.readline())
        for side, result in found.items():
            if "error" in result:
                print(f"{name:18s} {side:15s} {result['error']}", flush=True)
                continue
            handled[side] += 1
            kept = f"{result['macs_kept']:10.3f} {result['parameters_kept']:16.3f}"
            print(f"{name:18s} {side:15s} {result['seconds']:8.1f} {kept}", flush=True)
        if all("error" not in result for result in found.values()):
            ratios.append(found["torch-pruning"]["seconds"] / found["regrow"]["seconds"])
    peer.stdin.close()
    peer.wait()
    count = len(options.models)
    print("handled: " + ", ".join(f"{side} {number} of {count}" for side, number in handled.items()))
    if ratios:
        print(f"time, torch-pruning ÷ regrow, median over models that both handled: {np.median(ratios):.2f}")


if __name__ == "__main__":
    main()
