"""`regrow run` on the digits, from an empty workspace: seconds in all, per step, and the bars.

command: python benchmarks/run_digits.py [WORKSPACE]; about two minutes on two cores.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "work"
        command = [sys.executable, "-m", "regrow.cli", "run", "--workspace", str(workspace)]
        start = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, check=False)
        seconds = time.monotonic() - start
        if done.returncode:
            return done.returncode
        metrics = json.loads((workspace / "results/metrics/metrics.json").read_text())
    difference = 100 * (metrics["recovered.accuracy"] - metrics["parent.accuracy"])
    ratio = metrics["recovered.size_bytes.tflite_int8"] / metrics["parent.size_bytes.tflite_fp32"]
    print(f"seconds {seconds:.0f} (bar: at most 180)")
    print(f"sparsity {metrics['recovered.sparsity']:.3f}")
    print(f"recovered - parent {difference:+.2f} points (bar: at least -0.5)")
    print(f"int8 TFLite / parent's fp32 TFLite {ratio:.3f} (bar: at most 0.34)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
