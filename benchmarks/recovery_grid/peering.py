"""The peers' cells: each recipe is a worker under benchmarks/peers, run in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from recovery_grid.cells import Cell
from recovery_grid.recipe import UnavailableError
from recovery_grid.running import Bench
from regrow.model_files.files import MODEL

WORKERS = Path(__file__).resolve().parents[1] / "peers"


def torch_pruning(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Torch-Pruning on PyTorch, in an environment of its own, on the same shards."""
    if bench.peer_python is None:
        raise UnavailableError("needs --peer-python")
    place = bench.work / "models" / "torch-pruning"
    parent = place / f"parent-seed{cell.seed}.pt"
    if not cell.target:
        place.mkdir(parents=True, exist_ok=True)
        command = ["parent", "--out", parent]
    else:
        command = ["prune", "--model", parent, "--kept", cell.target.removeprefix("macs-")]
    command += ["--epochs", cell.params["epochs"], "--seed", cell.seed]
    for split in ("train", "test"):
        shards = bench.dataset.info.shards[split]
        for name, array in (("images", bench.dataset.feature), ("labels", bench.dataset.target)):
            (shard,) = shards[array]
            command += [f"--{split}-{name}", bench.dataset.path / shard.file]
    return _answer(bench.peer_python, "torch_pruning_resnet8.py", command)


def tfmot(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Plain tfmot, in a process of its own; from its own parent, or from ours at our rate."""
    place = bench.work / "models" / "tfmot"
    own = place / f"parent-seed{cell.seed}.h5"
    if not cell.target:
        place.mkdir(parents=True, exist_ok=True)
        command: list[Any] = ["parent", "--out", own]
    else:
        ours = bench.parent(cell.seed)["parent"] / MODEL
        model = ours if cell.needs == ("parent",) else own
        command = ["prune", "--model", model, "--sparsity", cell.target.removeprefix("zeros-")]
        command += ["--rate", cell.params["rate"]] if "rate" in cell.params else []
    command += ["--epochs", cell.params["epochs"], "--seed", cell.seed]
    command += ["--dataset", bench.dataset.path, "--overlay", bench.overlay]
    return _answer(Path(sys.executable), "tfmot_resnet8.py", command)


def _answer(python: Path, worker: str, command: list[Any]) -> dict[str, Any]:
    """The last line that ``worker`` prints, which is JSON."""
    paths = (str(WORKERS.parent), os.environ.get("PYTHONPATH", ""))
    done = subprocess.run(
        [str(python), str(WORKERS / worker), *map(str, command)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
