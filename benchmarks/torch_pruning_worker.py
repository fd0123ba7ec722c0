"""The other half of `compare_torch_pruning.py`: runs in an environment with torch, torchvision and torch-pruning.

Reads names of torchvision models, one a line, and prints a JSON line for each: seconds to reach half of the MACs from
a model in memory, MACs and parameters before and after, or the error.
"""

import json
import sys
import time
from typing import Any

import torch
import torch_pruning as tp
import torchvision

STEPS = 50
KEPT = 0.5


def half(name: str) -> dict[str, Any]:
    """Torch-Pruning has no target: it removes in small steps until the MACs are low enough, as its examples do."""
    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    side = 299 if name == "inception_v3" else 224
    example = torch.randn(1, 3, side, side)
    macs, parameters = tp.utils.count_ops_and_params(model, example)
    ignored = [layer for layer in model.modules() if getattr(layer, "out_features", None) == 1000]
    ignored += [layer for layer in model.modules() if getattr(layer, "out_channels", None) == 1000]
    start, cpu = time.perf_counter(), time.process_time()
    pruner = tp.pruner.GroupNormPruner(
        model,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        iterative_steps=STEPS,
        pruning_ratio=1.0,
        max_pruning_ratio=0.9,
        global_pruning=True,
        ignored_layers=ignored,
    )
    graph_cpu = time.process_time() - cpu
    left = macs
    for _ in range(STEPS):
        if left <= KEPT * macs:
            break
        pruner.step()
        left, parameters_left = tp.utils.count_ops_and_params(model, example)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    with torch.no_grad():
        outputs = model(example)
    if tuple(outputs.shape) != (1, 1000) or left > KEPT * macs * 1.03:
        raise RuntimeError(f"reached {left / macs:.2f} of the MACs, outputs {tuple(outputs.shape)}")
    return {
        "seconds": seconds,
        "cpu_s": cpu,
        "graph_cpu_s": graph_cpu,
        "macs": macs,
        "macs_kept": left / macs,
        "parameters": parameters,
        "parameters_kept": parameters_left / parameters,
    }


def main() -> None:
    torch.set_num_threads(2)
    for line in sys.stdin:
        try:
            found = half(line.strip())
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
