"""Candidates that register at the same instant, each by the real step `register` in a process of its own.

    python tests/registry/registering.py URI FOLDER COUNT [SHARED]

registers COUNT candidates with the MLflow at URI, of which the last SHARED have the same model, and prints a summary.

The processes are forked from one that has imported MLflow, which takes each of them seconds; nothing that talks to a
server is opened before the fork.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "regrow"
WAIT_S = 300.0  # for imports
FINISH_S = 900.0


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
    roots = [folder / f"candidate-{number}" for number in range(count)]
    with _launched(roots, folder / "go", uri, environment) as launcher:
        _wait(lambda: all((root / "ready").exists() for root in roots), launcher)
        (folder / "go").touch()
        output, _ = launcher.communicate(timeout=FINISH_S)
        assert launcher.returncode == 0, _told(roots) or output[-3000:]
    return [json.loads((root / "registration/registration.json").read_text()) for root in roots]


def seconds(folder: Path) -> float:
    """From the start of the registrations in ``folder`` to the end of the last."""
    ends = [file.stat().st_mtime for file in folder.glob("candidate-*/registration/registration.json")]
    return max(ends) - (folder / "go").stat().st_mtime


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


@contextlib.contextmanager
def _launched(
    roots: list[Path], go: Path, uri: str, environment: dict[str, str]
) -> Iterator["subprocess.Popen[str]"]:
    variables = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    variables |= {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT), **environment}
    with subprocess.Popen(
        [sys.executable, __file__, "--candidates", str(go), *map(str, roots)],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as launcher:
        try:
            yield launcher
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)


def _told(roots: list[Path]) -> str:
    """The end of what the first candidate that failed has printed."""
    for root in roots:
        if not (root / "registration/registration.json").exists() and (root / "output.txt").exists():
            return f"{root.name}: {(root / 'output.txt').read_text()[-3000:]}"
    return ""


def _wait(done: Callable[[], bool], launcher: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert launcher.poll() is None, launcher.stdout.read()[-3000:] if launcher.stdout else ""
        assert time.monotonic() < deadline, "the processes are not ready"
        time.sleep(0.05)


def launch(go: Path, roots: list[Path]) -> bool:
    """Fork a process for each of ``roots`` and wait for all; whether all have succeeded."""
    import mlflow  # noqa: F401

    import regrow.registry.evidence
    import regrow.steps.register  # noqa: F401

    children = []
    for root in roots:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _become(root)
                candidate(root, go)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    return not any(statuses)


def _become(root: Path) -> None:
    """What a process of its own has: working folder, events, output."""
    output = os.open(root / "output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(root)
    os.environ["REGROW_EVENTS"] = str(root / "events.jsonl")
    random.seed()


def candidate(root: Path, go: Path) -> None:
    """One process: ready when it is there, at work when ``go`` appears."""
    from regrow.steps.execution import execute
    from regrow.steps.register import SPEC, RegisterParams

    (root / "ready").touch()
    while not go.exists():
        time.sleep(0.01)
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
    results = register_at_once(uri, place, count=int(count), shared=int(shared))
    print(json.dumps({**check(uri, results), "seconds": round(seconds(place), 1)}))


if __name__ == "__main__":
    if sys.argv[1] == "--candidates":
        sys.exit(0 if launch(Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]]) else 1)
    else:
        sys.path.insert(0, str(ROOT))
        main(*sys.argv[1:])
