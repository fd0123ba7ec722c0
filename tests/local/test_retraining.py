"""`regrow run` with nothing to do, and with something that fails: the exit handler records which, and tells it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from regrow.config.document import load_config
from regrow.registry.client import connect, tracking_uri
from tests.registry.test_outcome import Listener
from tests.steps.test_resolve import make_champion, provenance, resolve


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "REGROW_CACHE", "REGROW_EVENTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(listener: Listener, *settings: str) -> Any:
    options = [part for setting in settings for part in ("--set", setting)]
    (Path.cwd() / "params.yaml").touch()
    return subprocess.run(
        [sys.executable, "-m", "regrow.cli", "run", "--params", "params.yaml", *options],
        env={**os.environ, "REGROW_WEBHOOK_URL": listener.url},
        capture_output=True,
        text=True,
        check=False,
    )


def outcomes() -> list[str]:
    client = connect(tracking_uri())
    place = client.get_experiment_by_name("regrow").experiment_id
    found = client.search_runs([place], "tags.`regrow.step` = 'outcome'", order_by=["start_time ASC"])
    return [item.data.tags["regrow.outcome"] for item in found]


@pytest.mark.slow
def test_a_run_that_would_repeat_the_champion_and_one_that_fails(here: Path) -> None:
    listener = Listener([])
    params = load_config(None).resolve.model_dump()
    data, _, _ = resolve(here, **params)
    make_champion(here, provenance(here, data, fingerprint=params["fingerprint"]))
    done = run(listener, "resolve.when_unchanged=stop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "there is nothing to do" in done.stdout
    assert "outcome   unchanged, sent to the webhook" in done.stdout
    failed = run(listener, "prepare.source={kind: npz, path: nowhere.npz}")
    assert failed.returncode == 1
    assert "step 'resolve': prepare.source.path: nowhere.npz: no such file" in failed.stderr
    assert [item["outcome"] for item in listener.got] == ["unchanged", "failed"]
    assert listener.got[1]["step"] == "resolve"
    assert "nowhere.npz" in listener.got[1]["message"]
    assert outcomes() == ["unchanged", "failed"]
    listener.server.shutdown()
    listener.server.server_close()
