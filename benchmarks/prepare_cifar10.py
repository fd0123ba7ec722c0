"""`prepare` on CIFAR-10's 60,000 JPEGs: seconds and peak memory.

    python benchmarks/prepare_cifar10.py [cifar10.zip]

Bar: at most 60 s and 1 GB on two cores; 15 s and 0.47 GB measured while other work ran beside it.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from regrow.steps.execution import execute
from regrow.steps.prepare import SPEC, PrepareParams

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10.zip"


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    params = PrepareParams.model_validate({"source": {"kind": "archive", "path": path}})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clock = time.perf_counter()
        result = execute(
            SPEC,
            params,
            inputs={},
            outputs={"dataset": root / "dataset", "data_report": root / "data_report"},
            statement=root / "statement",
        )
        seconds = time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    passed = seconds <= 60 and peak <= 1e9
    print(f"{result.statement.figures}")
    print(f"prepare CIFAR-10: {seconds:.1f} s (bar 60), peak {peak / 1e9:.2f} GB (bar 1.00)")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
