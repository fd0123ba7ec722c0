"""The whole default pipeline in containers, beside the same in processes; and with containers killed at random.

``REGROW_KILLED_RUNS=10`` kills one container in each of ten runs (2 minutes each); the default is one run.
"""

import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from regrow.cluster.engine import engine_command
from regrow.provenance.digest import tree_digest
from regrow.provenance.statement import read_statement
from regrow.steps import NAMES
from regrow.storage.artifacts import read_json
from regrow_components.images import CODE_LABEL
from regrow_pipelines.attempts import STEP_LABEL, WORKSPACE_LABEL, remove_containers

pytestmark = [pytest.mark.containers, pytest.mark.timeout(7200)]
TAG = "test"  # of the images that conftest.py builds
Start = Callable[..., "subprocess.Popen[str]"]
MEASURED = ("latency", "speedup", "seconds")  # what a clock says differs from run to run
STEPS = tuple(name for name in NAMES if name not in ("measure", "select"))
FAST = (
    "--set",
    "train.fit.epochs=6",
    "--set",
    "recover.fit.epochs=4",
    "--set",
    "export.formats=[keras,tflite_fp32,tflite_int8,mlflow]",
)


def finish(process: "subprocess.Popen[str]", seconds: float = 1800) -> str:
    text, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, text
    return text


def cached(place: Path, step: str, output: str) -> Path:
    (found,) = (place / "work" / "cache" / step).glob(f"*/{output}")
    return found


def metrics(place: Path) -> dict[str, Any]:
    found = read_json(place / "work" / "results" / "metrics" / "metrics.json")
    return {name: value for name, value in found.items() if not any(word in name for word in MEASURED)}


def versions(place: Path, name: str = "regrow-digits") -> list[Any]:
    from mlflow import MlflowClient

    uri = f"sqlite:///{place / 'mlflow.db'}"
    return list(MlflowClient(tracking_uri=uri, registry_uri=uri).search_model_versions(f"name = '{name}'"))


def test_containers_and_processes_give_the_same(start: Start, folder: Path) -> None:
    inside, outside = folder / "inside", folder / "outside"
    text = finish(start("--runner", "docker", place=inside))
    for number, step in enumerate(STEPS, 1):
        assert f"{number}/" in text and step in text
    finish(start(place=outside))
    assert tree_digest(cached(inside, "prepare", "dataset")) == tree_digest(
        cached(outside, "prepare", "dataset")
    )
    assert metrics(inside) == metrics(outside)
    assert metrics(inside)["recovered.accuracy"] > 0.9
    (version,) = versions(inside)
    assert version.status == "READY"
    statement = read_statement(cached(inside, "train", "statement"))
    text = json.dumps(statement.dependencies)
    assert "regrow-train:test@sha256:" in text


def kill_one(client: Any, process: "subprocess.Popen[str]", wanted: str, wait_s: float, how: str) -> str:
    """Kill the container of the step ``wanted``, ``wait_s`` into its work; the next one's, if it has ended by then.

    Gives the name of the step that was killed; an empty one if the run ended before any was.
    """
    while process.poll() is None:
        found = client.containers.list(filters={"label": f"{STEP_LABEL}={wanted}"}, ignore_removed=True)
        if found:
            time.sleep(min(wait_s, 1.0) if wanted in ("resolve", "augment") else wait_s)
            try:
                found[0].kill() if how == "kill" else found[0].remove(force=True)
            except Exception:  # it has ended by itself
                wanted = STEPS[min(STEPS.index(wanted) + 1, len(STEPS) - 1)]
                wait_s = 0.0
                continue
            return wanted
        time.sleep(0.05)
    return ""


@pytest.mark.parametrize("number", range(int(os.environ.get("REGROW_KILLED_RUNS", "1"))))
def test_a_killed_container_is_started_again(client: Any, start: Start, folder: Path, number: int) -> None:
    chance = random.Random(f"{os.environ.get('REGROW_KILLED_SEED', '')}{number}")
    wanted, wait_s, how = chance.choice(STEPS), chance.uniform(0.0, 6.0), chance.choice(["kill", "remove"])
    killed = ""
    for attempt in range(
        4
    ):  # nothing comes after `register`: where it was done sooner, another run, sooner killed
        place = folder / f"run{attempt}"
        process = start("--runner", "docker", *FAST, place=place)
        killed = kill_one(client, process, wanted, wait_s / 2**attempt, how)
        text = finish(process)
        if killed:
            break
    print(f"run {number}: {how} {killed}, attempt {attempt + 1}", flush=True)
    assert killed, text
    assert "restarting it" in text, killed
    (version,) = versions(place)
    assert version.status == "READY"


def test_an_interrupted_run_leaves_no_container(client: Any, start: Start, folder: Path) -> None:
    process = start("--runner", "docker", *FAST, place=folder / "run")
    deadline = time.monotonic() + 300
    while not client.containers.list(filters={"label": STEP_LABEL}, ignore_removed=True):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.wait()
    while client.containers.list(all=True, filters={"label": STEP_LABEL}, ignore_removed=True):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_containers_may_go_while_they_are_removed(client: Any, images: Callable[[str], Any]) -> None:
    """As when the watcher of an interrupted run removes what the engine, or a person, is removing too."""
    from docker.errors import APIError

    workspace = f"/absent/{os.getpid()}"
    wanted = {"label": f"{WORKSPACE_LABEL}={workspace}"}
    for _ in range(20):
        client.containers.create(images("resolve"), labels={WORKSPACE_LABEL: workspace})
    others = client.containers.list(all=True, filters=wanted)

    def remove_last_first() -> None:  # listed, but gone when it is looked at
        for container in reversed(others):
            with suppress(APIError):
                container.remove(force=True)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(remove_last_first)
        while not other.done():
            remove_containers(workspace)
        other.result()
    assert not client.containers.list(all=True, filters=wanted)


def test_a_mistake_is_one_sentence(start: Start, folder: Path) -> None:
    process = start(
        "--runner", "docker", "--set", "prepare.source={kind: npz, path: absent.npz}", place=folder / "run"
    )
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "absent.npz: no such file or folder" in text and "Traceback" not in text


def test_an_image_that_is_missing_or_of_other_code(start: Start, folder: Path) -> None:
    text = start("--runner", "docker", place=folder / "run", tag="absent").communicate(timeout=120)[0]
    assert "error: regrow-resolve:absent: no such image on this machine; build it with `make images`" in text
    recipe = f"FROM regrow-resolve:{TAG}\nLABEL {CODE_LABEL}=0123456789abcdef\n"
    engine = engine_command()
    subprocess.run(
        [*engine, "build", "--tag", "regrow-resolve:older", "-"], input=recipe, text=True, check=True
    )
    try:
        text = start("--runner", "docker", place=folder / "run", tag="older").communicate(timeout=120)[0]
    finally:
        subprocess.run([*engine, "image", "rm", "regrow-resolve:older"], check=True)
    assert (
        "error: regrow-resolve:older: has different code from that installed here (code version 0123456789ab"
        in text
    )
