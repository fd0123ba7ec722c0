"""Results that README and docs quote: JSON files in benchmarks/results.

A benchmark that is run with ``--record`` writes its file anew; `benchmarks/tables.py` puts the numbers into the pages.
"""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
OPTION = "--record"


def wanted() -> bool:
    """Whether the command line has ``--record``, which is taken out of it."""
    if OPTION not in sys.argv:
        return False
    sys.argv.remove(OPTION)
    return True


def read(name: str) -> Any:
    """The content of ``benchmarks/results/NAME.json``."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def update(name: str, found: dict[str, Any]) -> None:
    """Write ``found`` over the keys of ``benchmarks/results/NAME.json``."""
    file = RESULTS / f"{name}.json"
    before = read(name) if file.is_file() else {}
    file.write_text(json.dumps({**before, **found}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{file}: written; now run python benchmarks/tables.py", flush=True)
