"""CPU time of `import tensorflow` and `import mlflow` with the bytecode that `make` compiles, and without any.

    python benchmarks/bytecode.py

Python is told to write no bytecode, as many container images tell it (``PYTHONDONTWRITEBYTECODE=1``). Without compiled
bytecode it then compiles every module anew in every process: in each step of a run, and in each test that starts one.
The two ways take turns, five times; an empty cache prefix hides what is compiled. Takes two minutes.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile

import recorded

MODULES = ("tensorflow", "mlflow")
ROUNDS = 5


def cpu_seconds(module: str, **environment: str) -> float:
    """User and system time of a process that imports ``module``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    print(f"{'':12} {'compiled':>9} {'not':>9} {'ratio':>6}   (seconds of CPU, medians of {ROUNDS})")
    record, found = recorded.wanted(), {}
    with tempfile.TemporaryDirectory() as empty:
        for module in MODULES:
            cpu_seconds(module)  # the disk's cache is warm for both
            pairs = [
                (cpu_seconds(module), cpu_seconds(module, PYTHONPYCACHEPREFIX=empty)) for _ in range(ROUNDS)
            ]
            compiled, anew = (statistics.median(times) for times in zip(*pairs, strict=True))
            found[module] = {"compiled_s": round(compiled, 1), "not_compiled_s": round(anew, 1)}
            print(f"{module:12} {compiled:9.2f} {anew:9.2f} {compiled / anew:6.2f}")

    if record:
        recorded.update("bytecode", found["tensorflow"])


if __name__ == "__main__":
    main()
