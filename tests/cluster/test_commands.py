"""``regrow submit`` and ``regrow schedule`` against a server that speaks Kubeflow's API, with the real pipeline."""

import datetime
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kfp_server_api import models

from regrow.cli.main import cli
from regrow.errors import RegrowError
from regrow_pipelines import connection

from .kfp_server import KubeflowServer

START = datetime.datetime(2027, 1, 10, 12, tzinfo=datetime.UTC)
Run = Callable[..., Result]


@pytest.fixture
def run(server: KubeflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in a folder of its own, whose configuration names the server."""
    monkeypatch.chdir(tmp_path)
    text = (
        f"prune: {{target: {{macs: 0.5}}}}\ncluster: {{endpoint: '{server.url}', service_account: robot}}\n"
    )
    (tmp_path / "params.yaml").write_text(text)
    quick = connection.Policy(connect_s=0.5, answer_s=1, attempts=3, pause_s=0.02, longest_s=0.1)
    monkeypatch.setattr(connection, "DEFAULT_POLICY", quick)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    return invoke


def task(
    name: str, state: str, *, order: int, error: str | None = None, took: int = 0, children: Any = ()
) -> models.V2beta1PipelineTaskDetail:
    """A task as Kubeflow's API server lists it."""
    begun = START + datetime.timedelta(seconds=order)
    return models.V2beta1PipelineTaskDetail(
        task_id=f"{name}-{order}",
        display_name=name,
        state=state,
        create_time=begun,
        start_time=begun,
        end_time=begun + datetime.timedelta(seconds=took) if took else None,
        error=models.GoogleRpcStatus(code=13, message=error) if error else None,
        child_tasks=[models.PipelineTaskDetailChildTask(task_id=child) for child in children],
    )


def story(*chapters: tuple[str, list[models.V2beta1PipelineTaskDetail]]) -> Callable[[Any], None]:
    """A run that goes on a chapter each time it is looked at: its state and its tasks."""
    left = list(chapters)

    def go_on(run: Any) -> None:
        run.state, tasks = left.pop(0) if len(left) > 1 else left[0]
        run.run_details = models.V2beta1RunDetails(task_details=tasks)

    return go_on


GOES_WELL = (
    ("PENDING", []),
    (
        "RUNNING",
        [
            task("root-driver", "SUCCEEDED", order=0),
            task("root", "RUNNING", order=1),
            task("resolve", "SUCCEEDED", order=2, took=4),
            task("prepare", "RUNNING", order=3),
        ],
    ),
    (
        "RUNNING",
        [task("resolve", "SUCCEEDED", order=2, took=4), task("prepare", "SUCCEEDED", order=3, took=9)],
    ),
    (
        "SUCCEEDED",
        [
            task("resolve", "SUCCEEDED", order=2, took=4),
            task("prepare", "SUCCEEDED", order=3, took=9),
            task("work-to-do", "SKIPPED", order=4),
            task("register", "SUCCEEDED", order=5, took=2),
        ],
    ),
)


def run_id_in(output: str) -> str:
    found = re.search(r"started as run (\S+)", output)
    assert found, output
    return found[1]


def test_submit_follows_to_the_end(server: KubeflowServer, run: Run) -> None:
    server.progress = story(*GOES_WELL)
    done = run("submit", "--every", "0.05")
    assert done.exit_code == 0, done.output
    run_id = run_id_in(done.output)
    name = server.runs[run_id].display_name
    assert done.stdout.splitlines() == [
        f"{name}: started as run {run_id} in experiment 'regrow'",
        "resolve: succeeded after 4 s",
        "prepare: running",
        "prepare: succeeded after 9 s",
        "register: succeeded after 2 s",
        f"{name}: succeeded",
    ]


def test_submit_uploads_once_and_sends_the_parameters(server: KubeflowServer, run: Run) -> None:
    for more in ((), (), ("--set", "prune.target.macs=0.4")):
        assert run("submit", "--no-wait", *more).exit_code == 0
    first, second, third = server.runs.values()
    versions = [item.pipeline_version_reference.pipeline_version_id for item in (first, second, third)]
    assert versions[0] == versions[1] != versions[2]
    assert len(server.pipelines) == 1
    assert len(server.experiments) == 1
    assert first.display_name != second.display_name
    assert first.service_account == "robot"
    assert json.loads(third.runtime_config.parameters["prune_params"])["target"]["macs"] == 0.4
    # What was uploaded is the pipeline, whole.
    documents = server.packages[versions[0]]
    assert set(first.runtime_config.parameters) == set(documents[0]["root"]["inputDefinitions"]["parameters"])
    assert "register" in json.dumps(documents[0])


def test_images_that_no_registry_holds_are_said_before_the_start(
    server: KubeflowServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_TAG", "7")
    done = run("submit", "--no-wait", "--set", "prepare.source.kind=digits")
    (note,) = done.stderr.splitlines()
    assert note.startswith("note: image regrow-augment:7 has no registry")
    assert "set REGROW_REGISTRY" in note and "cluster.images" in note
    assert len(server.runs) == 1
    monkeypatch.setenv("REGROW_REGISTRY", "registry.example.com/team")
    assert run("submit", "--no-wait", "--set", "prepare.source.kind=digits").stderr == ""


def test_a_sweep_is_submitted_too(server: KubeflowServer, run: Run, tmp_path: Path) -> None:
    assert "sweep" in str(run("submit", "--no-wait", "--sweep").exception)
    with (tmp_path / "params.yaml").open("a") as file:
        file.write("sweep: {targets: [{macs: 0.5}, {macs: 0.3}], methods: [channels]}\n")
    done = run("submit", "--no-wait", "--sweep")
    assert done.exit_code == 0, done.exception
    (started,) = server.runs.values()
    assert len(started.runtime_config.parameters["candidates"]) == 2
    assert "sweep" in next(iter(server.pipelines.values())).display_name


def test_a_failed_run_names_the_step(server: KubeflowServer, run: Run) -> None:
    tasks = [
        task("root", "FAILED", order=1, took=60, error="child failed"),
        task("resolve", "SUCCEEDED", order=2, took=4),
        task("train", "FAILED", order=5, took=40, children=["executor-6"]),
        task("executor", "FAILED", order=6, took=39, error="OOMKilled (exit code 137)"),
        task("outcome", "SUCCEEDED", order=9, took=3),
    ]
    server.progress = story(("RUNNING", tasks[:2]), ("FAILED", tasks))
    done = run("submit", "--every", "0.05")
    assert done.exit_code == 1
    assert isinstance(done.exception, RegrowError)
    assert re.search(r"failed in step 'train': OOMKilled \(exit code 137\)", str(done.exception))
    assert "train: failed after 40 s" in done.output


def test_a_step_that_could_not_start_is_named_too(server: KubeflowServer, run: Run) -> None:
    driver = task("prepare-driver", "FAILED", order=3, took=1, error="no such ConfigMap")
    server.progress = story(("FAILED", [task("root", "FAILED", order=1, took=5), driver]))
    done = run("submit", "--every", "0.05")
    assert "failed in step 'prepare': no such ConfigMap" in str(done.exception)


def test_a_cancelled_run_is_no_success(server: KubeflowServer, run: Run) -> None:
    server.progress = story(("RUNNING", []), ("CANCELING", []), ("CANCELED", []))
    done = run("submit", "--every", "0.05")
    assert done.exit_code == 1
    assert "was cancelled" in str(done.exception)


def test_a_loop_s_steps_are_numbered(server: KubeflowServer, run: Run) -> None:
    tasks = [task("prune", "SUCCEEDED", order=order, took=order) for order in (2, 3)]
    server.progress = story(("SUCCEEDED", tasks))
    output = run("submit", "--every", "0.05").output
    assert "prune (1): succeeded after 2 s\nprune (2): succeeded after 3 s" in output


def test_following_waits_for_a_server_that_is_away(server: KubeflowServer, run: Run) -> None:
    run_id = run_id_in(run("submit", "--no-wait").output)
    server.progress = story(*GOES_WELL)
    server.fail("GET", f"/runs/{run_id}$", 503, times=5)  # more than one call's attempts
    done = run("submit", "--follow", run_id, "--every", "0.05")
    assert done.exit_code == 0, done.output
    assert done.output.count("does not answer; still waiting") == 1
    assert "register: succeeded" in done.output
    assert len(server.runs) == 1


def test_a_token_that_runs_out_is_no_end_of_the_run(server: KubeflowServer, run: Run) -> None:
    run_id = run_id_in(run("submit", "--no-wait").output)
    server.progress = story(*GOES_WELL[1:2])
    server.fail("GET", f"/runs/{run_id}$", 401)
    said = str(run("submit", "--follow", run_id, "--every", "0.05").exception)
    assert "no valid credentials (401" in said
    assert said.endswith(f"the run itself continues: follow it again with `regrow submit --follow {run_id}`")


def test_an_unknown_run_is_named(run: Run) -> None:
    done = run("submit", "--follow", "no-such-run")
    assert "cannot get the run no-such-run: it does not exist" in str(done.exception)


@pytest.mark.parametrize("words", [("x", "--sweep"), ("x", "--no-wait"), ("",)])
def test_following_starts_nothing(server: KubeflowServer, run: Run, words: tuple[str, ...]) -> None:
    assert str(run("submit", "--follow", *words).exception).startswith("--follow: ")
    assert server.requests == []


def test_ctrl_c_leaves_the_run_and_says_how_to_go_on(
    server: KubeflowServer, run: Run, tmp_path: Path
) -> None:
    server.progress = story(*GOES_WELL[1:2])  # never ends
    command = [sys.executable, "-m", "regrow.cli", "submit", "--every", "0.1"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # Where the tests themselves run in the background, they ignore Ctrl-C, and what they start would, too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    run_id = run_id_in(lines[0])
    assert process.returncode == 130
    assert f"the run continues; follow it again with `regrow submit --follow {run_id}`" in errors
    assert "Traceback" not in errors
    assert server.runs[run_id].state == "RUNNING"


def test_no_server_is_said_in_a_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("cluster: {endpoint: 'http://127.0.0.1:9'}\n")
    for command in (("submit",), ("schedule", "list")):
        done = run(*command)
        assert isinstance(done.exception, RegrowError)
        assert "http://127.0.0.1:9: cannot check its health: it cannot be reached" in str(done.exception)
    (tmp_path / "params.yaml").write_text("cluster: {}\n")
    assert "cluster.endpoint: the address" in str(run("submit").exception)


@pytest.fixture(params=[b'{"a": 1}', b"{}"], ids=["others' words", "no words"])
def stranger(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that has the same answer to everything, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(self.command)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(request.param)))
            self.end_headers()
            self.wfile.write(request.param)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "words", [("submit",), ("schedule", "apply", "schedules.yaml"), ("schedule", "list")], ids=" ".join
)
def test_another_server_is_told_from_kubeflow(
    run: Run, tmp_path: Path, stranger: tuple[str, list[str]], words: tuple[str, ...]
) -> None:
    address, asked = stranger
    (tmp_path / "params.yaml").write_text(f"cluster: {{endpoint: '{address}'}}\n")
    (tmp_path / "schedules.yaml").write_text(SCHEDULES)
    done = run(*words)
    silent = len(asked) > 1  # an empty list is `{}`, too: only what was made without an id gives it away
    if silent and words[-1] == "list":
        return
    assert isinstance(done.exception, RegrowError), done.exception
    (line,) = str(done.exception).splitlines()
    assert line.startswith(f"{address}: cannot ")
    assert "the server there is a login page or another server" in line
    assert asked.count("POST") == silent


SCHEDULES = """
schedules:
  - {name: nightly, cron: "30 2 * * *", params: params.yaml}
  - {name: weekly, cron: "0 4 * * sun", enabled: false, set: {prune.target.macs: 0.3}}
"""


def test_schedules_from_nothing_to_nothing(server: KubeflowServer, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text(SCHEDULES)

    dry = run("schedule", "apply", "--dry-run", "schedules.yaml")
    assert re.search(r"\+ nightly: create \(0 30 2 \* \* \*, next at .*\)", dry.output), dry.output
    assert "2 of 2 to change" in dry.output
    assert not server.recurring
    assert not server.pipelines

    assert run("schedule", "diff", "--exit-code", "schedules.yaml").exit_code == 2
    assert "+ weekly: created" in run("schedule", "apply", "schedules.yaml").output
    again = run("schedule", "apply", "schedules.yaml")
    assert again.output.splitlines()[-1] == "nothing to do", again.output
    assert run("schedule", "diff", "--exit-code", "schedules.yaml").exit_code == 0
    states = {item.display_name: item.mode for item in server.recurring.values()}
    assert states == {"regrow-nightly": "ENABLE", "regrow-weekly": "DISABLE"}

    file.write_text(SCHEDULES.replace("0.3", "0.25"))
    assert "~ weekly: replace (parameters of prune" in run("schedule", "diff", "schedules.yaml").output
    assert "~ weekly: replaced" in run("schedule", "apply", "schedules.yaml").output

    listed = run("schedule", "list").output
    assert re.search(
        r"nightly +regrow +0 30 2 \* \* \* +enabled +\d{4}-\d\d-\d\d 02:30 UTC +1 +\S+", listed
    ), listed
    assert re.search(r"weekly +regrow +0 0 4 \* \* 0 +disabled", listed)

    file.write_text(SCHEDULES.rsplit("  - {name: weekly", 1)[0])
    assert "? weekly: kept" in run("schedule", "apply", "schedules.yaml").output
    assert "- weekly: deleted" in run("schedule", "apply", "--delete-missing", "schedules.yaml").output
    assert "would be deleted" in run("schedule", "delete", "--dry-run", "schedules.yaml").output
    assert len(server.recurring) == 1
    assert "no schedule 'nigtly'; did you mean 'nightly'" in str(
        run("schedule", "delete", "schedules.yaml", "nigtly").exception
    )
    assert "- nightly: deleted" in run("schedule", "delete", "schedules.yaml").output
    assert not server.recurring
    assert "nothing to delete" in run("schedule", "delete", "schedules.yaml").output
    assert run("schedule", "list").output == "no schedules\n"


def test_a_broken_schedule_keeps_neither_itself_nor_another(
    server: KubeflowServer, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text(SCHEDULES)
    assert run("schedule", "apply", "schedules.yaml").exit_code == 0
    file.write_text(SCHEDULES.replace("params: params.yaml", "params: gone.yaml"))
    assert "'nightly': " in str(run("schedule", "apply", "schedules.yaml").exception)
    assert run("schedule", "delete", "schedules.yaml", "weekly").output == "- weekly: deleted\n"
    assert run("schedule", "delete", "schedules.yaml", "nightly").output == "- nightly: deleted\n"
    assert not server.recurring
    # Where no configuration can be read, the server is not known.
    file.write_text(
        SCHEDULES.replace("params: params.yaml", "params: gone.yaml").replace("target.macs", "no")
    )
    assert "'nightly': " in str(run("schedule", "delete", "schedules.yaml").exception)


def test_a_wrong_file_changes_nothing(server: KubeflowServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "schedules.yaml").write_text(SCHEDULES.replace("0 4 * * sun", "0 4 * * someday"))
    done = run("schedule", "apply", "schedules.yaml")
    assert "schedules.1.cron: cron '0 4 * * someday' is not accepted" in str(done.exception)
    assert server.requests == []


@pytest.mark.parametrize("command", [(), ("apply",), ("diff",), ("list",), ("delete",)])
def test_help_helps(command: tuple[str, ...]) -> None:
    text = CliRunner().invoke(cli, ["schedule", *command, "--help"]).output
    assert "Usage:" in text
    if not command:
        assert all(
            word in text
            for word in ("cron:", "time_zone:", "scheduler_time_zone", "regrow schedule diff FILE")
        )
