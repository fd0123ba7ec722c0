"""How a run ended is recorded and told, whatever is away; it is never the reason for which a run fails."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from regrow.errors import RegrowError
from regrow.registry import webhook
from regrow.registry.client import connect, tracking_uri
from regrow.registry.outcome import conclude, note
from regrow.registry.webhook import check_address, notify

DONE = {"state": "SUCCEEDED", "message": None, "resource": "regrow-prune-and-recover-abc"}


class Listener:
    """A web server that keeps what it is sent and answers with the given statuses, then with 200."""

    def __init__(self, statuses: list[int]) -> None:
        listener, self.got = self, list[dict[str, Any]]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.got.append(json.loads(body))
                status = statuses.pop(0) if statuses else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/secret"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture
def statuses() -> list[int]:
    return []


@pytest.fixture
def listener(statuses: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr(webhook, "PAUSES_S", (0.0, 0.01, 0.01))
    made = Listener(statuses)
    monkeypatch.setenv("REGROW_WEBHOOK_URL", made.url)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "REGROW_EVENTS", "REGROW_WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs() -> list[Any]:
    client = connect(tracking_uri())
    place = client.get_experiment_by_name("regrow").experiment_id
    return list(client.search_runs([place], "tags.`regrow.step` = 'outcome'"))


def test_unchanged_is_told_from_done_and_from_failed(here: Path, listener: Listener) -> None:
    note("one", {"proceed": False, "work": "unchanged since the champion: none", "start": "{}"})
    assert conclude(DONE, job="one")["outcome"] == "unchanged"
    note("two", {"proceed": True})
    note("two", {"version": "regrow/3", "aliases": "challenger, champion", "gate": "passed"})
    told = conclude(DONE, job="two")
    assert (told["outcome"], told["recorded"], told["webhook"]) == ("succeeded", True, "sent")
    note("three", {"proceed": True})
    assert conclude({**DONE, "state": "FAILED", "message": "train"}, job="three")["outcome"] == "failed"
    found = {run.data.tags["regrow.pipeline_job"]: run for run in runs()}
    assert {job: (run.data.tags["regrow.outcome"], run.info.status) for job, run in found.items()} == {
        "one": ("unchanged", "FINISHED"),
        "two": ("succeeded", "FINISHED"),
        "three": ("failed", "FAILED"),
    }
    assert found["two"].data.tags["regrow.outcome.version"] == "regrow/3"
    assert [item["outcome"] for item in listener.got] == ["unchanged", "succeeded", "failed"]
    assert [item["proceed"] for item in listener.got] == [False, True, True]
    assert listener.got[1]["version"] == "regrow/3"
    assert listener.got[2]["kubeflow_message"] == "train"
    conclude(DONE, job="two")
    assert len(runs()) == 3, "an exit handler that is started again records once"


def test_local_failure_names_its_step(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        {"event": "finished", "step": "resolve", "figures": {"proceed": True}},
        {"event": "failed", "step": "prepare", "message": "table.csv: no such file"},
    ]
    (here / "events.jsonl").write_text("".join(json.dumps(item) + "\n" for item in events) + '{"event": "fin')
    monkeypatch.setenv("REGROW_EVENTS", str(here / "events.jsonl"))
    told = conclude({**DONE, "state": "FAILED"}, job="four")
    assert (told["step"], told["message"]) == ("prepare", "table.csv: no such file")
    last = json.loads((here / "events.jsonl").read_text().splitlines()[-1].removeprefix('{"event": "fin'))
    assert (last["event"], last["state"], last["recorded"]) == ("outcome", "failed", True)
    again = [*events, {"event": "finished", "step": "prepare", "figures": {}}]
    (here / "events.jsonl").write_text("".join(json.dumps(item) + "\n" for item in again))
    told = conclude(DONE, job="five")
    assert told["outcome"] == "succeeded"
    assert not {"step", "message"} & set(told), "a step that succeeded when it was tried again is no failure"


def test_an_mlflow_that_is_away_loses_nothing(
    here: Path,
    listener: Listener,
    statuses: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:word@127.0.0.1:9")
    monkeypatch.setenv("REGROW_PATIENCE_S", "0.5")
    statuses.append(503)
    note("five", {"proceed": True})
    told = conclude(DONE, job="five")
    assert (told["recorded"], told["webhook"]) == (False, "sent")
    assert [item["outcome"] for item in listener.got] == ["succeeded"] * 2, "sent again after 503"
    printed = capsys.readouterr().out
    (line,) = [item for item in printed.splitlines() if item.startswith("{")]
    found = json.loads(line)
    assert found["recorded"] is False
    assert found["regrow_outcome"]["pipeline_run"] == "five"
    assert "cannot be reached" in found["regrow_outcome"]["not_recorded"]
    assert "word" not in printed


def test_a_webhook_that_refuses_fails_nothing(
    here: Path, listener: Listener, statuses: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    statuses.append(404)
    told = conclude(DONE, job="six")
    assert (told["recorded"], told["webhook"], len(listener.got)) == (True, "failed", 1)
    shown = "".join(capsys.readouterr())
    assert "127.0.0.1 did not accept the message (HTTP 404)" in shown
    assert "secret" not in shown


def test_a_redirect_is_not_followed(listener: Listener, statuses: list[int]) -> None:
    statuses.append(302)
    with pytest.raises(RegrowError, match="HTTP 302"):
        notify(listener.url, {})
    assert len(listener.got) == 1


def test_what_is_not_encrypted_goes_past_a_proxy(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    notify(listener.url, {"outcome": "succeeded"})
    assert listener.got == [{"outcome": "succeeded"}]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org/hook", "the address of example.org is not encrypted"),
        ("ftp://example.org", "is not a web address"),
        ("hook", "is not a web address"),
        ("https://user:s3cret@example.org/", "contains a user name or password"),
        ("https://example.org:s3cret/", "is not a web address"),
        ("https://example.org/s3cret with a space", "is not a web address"),
        ("https://[s3cret", "is not a web address"),
        ("https://127.0.0.1:1/s3cret\x7f", "did not accept the message .InvalidURL"),
        ("https://127.0.0.1:1/s3crét", "did not accept the message .UnicodeEncodeError"),
    ],
)
def test_what_is_no_address_is_refused_and_not_shown(url: str, said: str) -> None:
    with pytest.raises(RegrowError, match=said) as caught:
        notify(url, {})
    assert "s3cr" not in str(caught.value)


def test_addresses_that_are_accepted() -> None:
    for accepted in ("https://example.org/hook", "http://localhost:8080/", "http://[::1]:1/"):
        check_address(accepted)
