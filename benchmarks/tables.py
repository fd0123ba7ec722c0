"""Put the numbers of benchmarks/results into README and docs.

command: python benchmarks/tables.py [--check]; takes a second

Writes each block between `<!-- numbers: NAME -->` and `<!-- /numbers -->`: a table, or a part of a sentence. With
`--check` it writes nothing, names the blocks that are out of date, and ends with status 1 if there are any.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from quoted import files, recovery

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"(<!-- numbers: ([a-z0-9-]+) -->)(.*?)(<!-- /numbers -->)", re.DOTALL)
BLOCKS: dict[str, Callable[[], str]] = {
    "ablation": recovery.ablation,
    "bytecode": files.bytecode,
    "criteria-half": lambda: files.criteria("half"),
    "criteria-quarter": lambda: files.criteria("quarter"),
    "digits": files.digits,
    "epoch-ends": files.epoch_ends,
    "epochs": recovery.epochs,
    "export-time": files.export_time,
    "exports": recovery.exports,
    "images": files.images,
    "int8-accuracy": recovery.int8_accuracy,
    "latency": files.latency,
    "peer-ratio": files.peer_ratio,
    "peer-speed": files.peer_speed,
    "reconstruction-cost": files.reconstruction_cost,
    "resnets": files.resnets,
    "sparse-training": files.sparse_training,
    "structured": recovery.structured,
    "structured-read": recovery.structured_read,
    "summary": recovery.summary,
    "zeros": recovery.zeros,
}


def main() -> int:
    """Write the blocks, or with ``--check`` name those that are out of date."""
    check = sys.argv[1:] == ["--check"]
    stale = list(renew(check=check))
    for page, name in stale:
        print(f"{page.relative_to(ROOT)}: {name} {'is out of date' if check else 'written'}")
    if check and stale:
        print("run: python benchmarks/tables.py")
    return 1 if check and stale else 0


def renew(*, check: bool = False) -> Iterator[tuple[Path, str]]:
    """Page and name of each block whose text differs from its numbers; written unless ``check``."""
    for page in PAGES:
        text = page.read_text("utf-8")
        new = BLOCK.sub(_block, text)
        for (_, name, before, _), (_, _, after, _) in zip(
            BLOCK.findall(text), BLOCK.findall(new), strict=True
        ):
            if before != after:
                yield page, name
        if new != text and not check:
            page.write_text(new, "utf-8")


def _block(found: re.Match[str]) -> str:
    start, name, before, end = found.groups()
    if name not in BLOCKS:
        raise SystemExit(f"there are no numbers '{name}'; BLOCKS has {', '.join(sorted(BLOCKS))}")
    space = "\n" if before.startswith("\n") else ""  # a table stands on lines of its own
    return f"{start}{space}{BLOCKS[name]()}{space}{end}"


if __name__ == "__main__":
    sys.exit(main())
