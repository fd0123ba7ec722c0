"""`regrow run` on the digits, each seed from an empty workspace: seconds, and the bars.

command: python benchmarks/run_digits.py [SEEDS] [--record]; about two minutes a seed on two cores (default: 3 seeds).
A seed draws the split, the first weights and the order of examples, so the test split differs between seeds.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import recorded

ROOT = Path(__file__).resolve().parent.parent


def run(seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures of one run, and all its metrics."""
    settings = [f"prepare.splits.seed={seed}", f"train.seed={seed}", f"recover.fit.seed={seed}"]
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Path(scratch) / "work"
        command = [sys.executable, "-m", "regrow.cli", "run", "--workspace", str(workspace)]
        command += [part for setting in settings for part in ("--set", setting)]
        start = time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        metrics = json.loads((workspace / "results/metrics/metrics.json").read_text())
    figures = {
        "seconds": seconds,
        "MACs": metrics["recovered.macs"] / metrics["parent.macs"],
        "parent": 100 * metrics["parent.accuracy"],
        "pruned": 100 * metrics["pruned.accuracy"],
        "recovered": 100 * metrics["recovered.accuracy"],
        "difference": 100 * metrics["recovered_vs_parent.accuracy_difference"],
        **{
            f"{kind} {name}": metrics[f"recovered_vs_parent.{kind}_ratio.{name}"]
            for kind in ("size", "latency")
            for name in ("tflite_fp32", "tflite_int8")
        },
    }
    return figures, metrics


def table(metrics: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What the docs show of a run, by row and model."""
    found: dict[str, dict[str, str]] = {}

    def show(row: str, role: str, key: str, form: str, factor: float = 1) -> None:
        if (value := metrics.get(f"{role}.{key}")) is not None:
            found.setdefault(row, {})[role] = format(factor * value, form)

    for role in ("parent", "pruned", "recovered"):
        ends = [100 * metrics[f"{role}.accuracy_{end}"] for end in ("low", "high")]
        accuracy = f"{100 * metrics[f'{role}.accuracy']:.2f}"
        found.setdefault("accuracy", {})[role] = f"{accuracy} ({ends[0]:.1f}–{ends[1]:.1f})"
        show("macs", role, "macs", ",.0f")
        show("parameters_nonzero", role, "parameters_nonzero", ",.0f")
        for name in ("tflite_fp32", "tflite_int8"):
            show(name, role, f"size_bytes.{name}", ",.0f")
        show("latency", role, "latency_ms_p50.tflite_fp32", ".1f", 1000)
    return found


def main() -> int:
    """Print each seed, the means, and whether they meet the bars; 1 where one is missed."""
    record, first = recorded.wanted(), {}
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    found = []
    for seed in seeds:
        figures, metrics = run(seed)
        found.append(figures)
        if not first:
            first = {"examples": metrics["test_examples"], "table": table(metrics)}
        print(
            f"seed {seed}: " + "  ".join(f"{key} {value:.3f}" for key, value in found[-1].items()), flush=True
        )
    mean = {key: statistics.mean(item[key] for item in found) for key in found[0]}
    print("mean:   " + "  ".join(f"{key} {value:.3f}" for key, value in mean.items()))
    if record:
        differences = [round(item["difference"], 2) for item in found]
        ratios = {key: round(value, 3) for key, value in mean.items() if "tflite" in key}
        seconds = round(mean["seconds"])
        recorded.update("digits", {**first, "differences": differences, "ratios": ratios, "seconds": seconds})
    met = {
        "at most 180 seconds": mean["seconds"] <= 180,
        "difference at least -0.5 points": mean["difference"] >= -0.5,
        "fp32 TFLite at most 0.5 of the parent's bytes": mean["size tflite_fp32"] <= 0.5,
        "fp32 TFLite at most 0.7 of the parent's latency": mean["latency tflite_fp32"] <= 0.7,
    }
    for bar, is_met in met.items():
        print(f"{'met' if is_met else 'MISSED'}: {bar}")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
