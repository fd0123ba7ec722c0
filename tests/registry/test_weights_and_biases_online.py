"""Online runs and `wandb sync` against a stand-in for W&B's server that keeps what it is sent."""

import gzip
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RUN = """
from regrow.registry.weights_and_biases import begin
run = begin(step="train", parameters={"fit": {"epochs": 2}}, mlflow_run_id="abc")
run.log({"loss": 1.0}, 1)
run.log({"loss": 0.5}, 2)
run.log_curve([{"stage": "pruned", "val_accuracy": 0.25}])
run.close(succeeded=True)
"""
VIEWER = {"id": "V", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
ME = {"id": "P", "name": "p", "entity": {"id": "E", "name": "me"}}


class Server(http.server.ThreadingHTTPServer):
    """``sent`` are the bodies of all requests, by path; ``takes_files`` false refuses each upload."""

    sent: list[tuple[str, dict[str, Any]]]
    takes_files = True

    def history(self) -> list[dict[str, Any]]:
        files = [body.get("files", {}) for path, body in self.sent if path.endswith("/file_stream")]
        lines = [line for found in files for line in found.get("wandb-history.jsonl", {}).get("content", [])]
        return [json.loads(line) for line in lines]

    def variables(self) -> dict[str, Any]:
        """Those of the request that makes the run."""
        return next(body["variables"] for _, body in self.sent if "upsertBucket" in body.get("query", ""))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        body = json.loads(data)
        self.server.sent.append((self.path, body))
        self._answer(200, {"data": self._data(body)})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(200 if self.server.takes_files else 503, {})

    def _data(self, body: dict[str, Any]) -> dict[str, Any]:
        query, variables = body.get("query", ""), body.get("variables") or {}
        if "upsertBucket" in query:
            bucket = {"id": "R", "name": variables.get("name"), "config": "{}", "historyLineCount": 0}
            return {"upsertBucket": {"bucket": {**bucket, "project": ME}, "inserted": True}}
        if "createRunFiles" in query:
            address = f"http://{self.headers['Host']}/upload"
            files = [{"name": name, "uploadUrl": address} for name in variables["files"]]
            return {"createRunFiles": {"runID": "R", "uploadHeaders": [], "files": files}}
        return {"viewer": VIEWER, "serverInfo": {"features": []}}

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as serving:
        serving.sent = []
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield serving
        serving.shutdown()


def work(folder: Path, server: Server, *command: str, **variables: str) -> tuple[str, str]:
    """What ``command`` printed, and its notices."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "REGROW_"))}
    own = {
        "HOME": str(folder / "home"),
        "REGROW_EVENTS": str(folder / "events.jsonl"),
        "WANDB_API_KEY": "0" * 40,
        "WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}",
        "WANDB_ERROR_REPORTING": "false",
    }
    done = subprocess.run(
        [sys.executable, *command],
        env={**kept, **own, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    events = folder / "events.jsonl"
    return done.stdout + done.stderr, events.read_text("utf-8") if events.exists() else ""


def test_an_online_run_arrives(tmp_path: Path, server: Server) -> None:
    printed, notices = work(tmp_path, server, "-c", RUN, REGROW_WANDB='{"project": "digits", "tags": ["a"]}')
    assert (printed, notices) == ("", "")
    asked = server.variables()
    assert (asked["project"], asked["displayName"], asked["tags"]) == ("digits", "train", ["a"])
    config = json.loads(asked["config"])
    assert config["fit"]["value"] == {"epochs": 2}
    assert config["mlflow"]["value"]["run_id"] == "abc"
    assert [(row["epoch"], row["loss"]) for row in server.history() if "loss" in row] == [(1, 1.0), (2, 0.5)]


def test_wandb_sync_sends_an_offline_run(tmp_path: Path, server: Server) -> None:
    work(tmp_path, server, "-c", RUN, REGROW_WANDB='{"mode": "offline"}')
    assert server.sent == []
    runs = [str(path) for path in tmp_path.glob(".regrow/wandb/offline-run-*")]
    work(tmp_path, server, "-m", "wandb", "sync", *runs)
    rows = server.history()
    assert [(row["epoch"], row["loss"]) for row in rows if "loss" in row] == [(1, 1.0), (2, 0.5)]
    assert [row["curve/val_accuracy"] for row in rows if "curve/stage" in row] == [0.25]
    assert server.variables()["displayName"] == "train"


def test_uploads_that_fail_hold_the_step_up_for_seconds_and_are_said(tmp_path: Path, server: Server) -> None:
    server.takes_files = False
    _, notices = work(tmp_path, server, "-c", RUN, REGROW_WANDB="{}")
    assert notices.count("the W&B run could not be closed") == 1
    assert "wandb sync --include-online" in notices
