"""Candidates that register at the same instant, each by the real step `register` in a process of its own.

    python tests/registry/registering.py URI FOLDER COUNT [SHARED]

registers COUNT candidates with the MLflow at URI, of which the last SHARED have the same model, and prints a summary.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "regrow"
WAIT_S = 300.0


def register_at_once(
    uri: str, folder: Path, *, count: int, shared: int = 0, compared: str | None = None, **environment: str
) -> list[dict[str, Any]]:
    """Register ``count`` candidates at once; what each step wrote in ``registration.json``, in order.

    Args:
        uri: MLflow's address.
        folder: an empty directory.
        count: how many, a process each.
        shared: so many of them, the last, have one model between them.
        compared: the champion that all were compared with, and are better than; None: there was none.
        environment: further variables of the processes.
    """
    from tests.steps.test_register import METRICS, Tenfold, write, write_artifacts, write_statements

    servable = folder / "servable"
    _save(Tenfold(), servable)
    workers = []
    for number in range(count):
        root = folder / f"candidate-{number}"
        write_artifacts(root, servable)
        weights = min(number, count - shared) if shared else number
        write(root / "recovered_exports/model.keras", f"weights {folder.name} {weights}")
        if compared is not None:
            write(root / "champion/champion.json", {"version": compared})
            write(
                root / "metrics/metrics.json",
                METRICS | {"recovered_vs_champion.accuracy_difference_low": 0.1},
            )
        write_statements(root)
        workers.append(_start(root, folder / "go", uri, environment))
    try:
        _wait(lambda: all((folder / f"candidate-{n}/ready").exists() for n in range(count)), workers)
        (folder / "go").touch()
        for number, worker in enumerate(workers):
            output, _ = worker.communicate(timeout=WAIT_S)
            assert worker.returncode == 0, f"candidate {number}: {output[-3000:]}"
    finally:
        for worker in workers:
            worker.kill()
    files = [folder / f"candidate-{number}/registration/registration.json" for number in range(count)]
    return [json.loads(file.read_text()) for file in files]


def check(uri: str, results: list[dict[str, Any]], *, before: str | None = None) -> dict[str, Any]:
    """Assert what must hold after ``results`` have been registered at once; numbers to report.

    ``before`` is the champion that all were compared with.
    """
    from regrow.registry.client import connect
    from regrow.registry.ledger import Ledger, replay

    client = connect(uri)
    versions = {item["version"] for item in results}
    found = {str(item.version): item for item in client.search_model_versions(f"name='{NAME}'")}
    digests = [item.tags["regrow.model"] for item in found.values()]
    assert len(digests) == len(set(digests)), "a model has two versions"
    assert versions <= set(found)
    runs = [item["run_id"] for item in results]
    assert len(set(runs)) == len(runs), "two runs of the pipeline share an MLflow run"
    for run in runs:
        assert client.get_run(run).info.status == "FINISHED"
    entries = Ledger(client, NAME).entries()
    decided = {entry.run for entry in entries if entry.kind != "by hand"}
    assert set(runs) <= decided, "a decision is lost"
    standing = replay(entries)
    champion = str(client.get_model_version_by_alias(NAME, "champion").version)
    assert champion == standing.champion
    assert champion in versions
    own = [entry for entry in entries if entry.number in standing.winners and entry.version != entry.over]
    took = [entry.version for entry in own if entry.over == (before or "") and entry.version in versions]
    assert took == [champion], "one decision on the champion that was compared, and no other, replaces it"
    holders = [item["version"] for item in results if "champion" in item["aliases"]]
    assert set(holders) <= {champion}
    return {"versions": len(versions), "decisions": len(decided), "champion": champion}


def _save(model: Any, target: Path) -> None:
    import mlflow
    import numpy as np
    from mlflow.models import infer_signature

    example = np.ones((2, 4), np.float32)
    mlflow.pyfunc.save_model(
        target,
        python_model=model,
        signature=infer_signature(example, example),
        input_example=example,
        pip_requirements=[],
    )


def _start(root: Path, go: Path, uri: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    variables = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    variables |= {
        "MLFLOW_TRACKING_URI": uri,
        "PYTHONPATH": str(ROOT),
        "REGROW_EVENTS": str(root / "events.jsonl"),
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, __file__, "--candidate", str(root), str(go)],
        cwd=root,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait(done: Any, workers: list[Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        for worker in workers:
            assert worker.poll() is None, worker.stdout.read()[-3000:]
        assert time.monotonic() < deadline, "the processes are not ready"
        time.sleep(0.05)


def candidate(root: Path, go: Path) -> None:
    """One process: ready when all is imported, at work when ``go`` appears."""
    import mlflow  # noqa: F401

    from regrow.steps.execution import execute
    from regrow.steps.register import SPEC, RegisterParams

    (root / "ready").touch()
    while not go.exists():
        time.sleep(0.001)
    execute(
        SPEC,
        RegisterParams(),
        inputs={item.name: root / item.name for item in SPEC.inputs},
        outputs={"registration": root / "registration"},
        statement=root / "register_statement",
    )


def main(uri: str, folder: str, count: str, shared: str = "0") -> None:
    """Register ``count`` candidates, ``shared`` of them with one model, and check."""
    place = Path(folder).absolute()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    clock = time.monotonic()
    results = register_at_once(uri, place, count=int(count), shared=int(shared))
    print(json.dumps({**check(uri, results), "seconds": round(time.monotonic() - clock, 1)}))


if __name__ == "__main__":
    if sys.argv[1] == "--candidate":
        candidate(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.path.insert(0, str(ROOT))
        main(*sys.argv[1:])
