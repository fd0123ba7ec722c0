"""What goes wrong between us and Kubeflow Pipelines ends in one sentence, or is put right."""

import socket
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest

from regrow.errors import RegrowError
from regrow_pipelines.connection import ApiError, Connection

from .kfp_server import KubeflowServer, serving

HEALTH, EXPERIMENTS, RUNS = "/healthz$", "/experiments$", "/runs$"
Connect = Callable[..., Any]

SPEC = "pipelineInfo: {name: tiny}\nroot: {inputDefinitions: {parameters: {code_version: {parameterType: STRING}}}}\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC)
    return path


def run_body(api: Any, package: Path, name: str = "tiny-1") -> kfp_server_api.V2beta1Run:
    pipeline, version = api.upload(package, name="tiny", version="v1", description="")
    reference = kfp_server_api.V2beta1PipelineVersionReference(
        pipeline_id=pipeline, pipeline_version_id=version
    )
    return kfp_server_api.V2beta1Run(
        display_name=name, experiment_id=api.experiment("trials"), pipeline_version_reference=reference
    )


@pytest.mark.parametrize("kind", [500, 502, 503, 504, 429, "drop", "hang"])
def test_a_question_is_asked_again(server: KubeflowServer, connect: Connect, kind: int | str) -> None:
    server.fail("GET", HEALTH, kind, times=2, seconds=0.4 if kind == "hang" else 0)
    assert connect().namespace == "regrow"
    assert server.count("GET", HEALTH) == 3


def test_questions_end(server: KubeflowServer, connect: Connect) -> None:
    server.fail("GET", HEALTH, 503, times=99)
    with pytest.raises(ApiError, match=r"cannot check its health: upstream connect error \(503\)"):
        _ = connect().namespace
    assert server.count("GET", HEALTH) == 4


@pytest.mark.parametrize("body", [b"404 page not found\n", b'{"code": 5, "message": "Not Found"}', b""])
def test_a_path_that_is_not_there_is_about_the_address(body: bytes, connect: Connect) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    other = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        with pytest.raises(
            ApiError, match=r"404.*check that cluster\.endpoint .* is the address of the service ml-pipeline"
        ):
            _ = connect(endpoint=f"http://127.0.0.1:{other.server_port}").namespace
    finally:
        other.shutdown()
        other.server_close()


def test_a_thing_that_is_not_there_is_not_about_the_address(server: KubeflowServer, connect: Connect) -> None:
    with pytest.raises(ApiError, match=r"it does not exist \(404: [^)]*\)$"):
        connect().run("no-such-run")


def test_no_answer_in_time_says_so(server: KubeflowServer, connect: Connect) -> None:
    server.fail("GET", HEALTH, "hang", times=99, seconds=0.5)
    with pytest.raises(ApiError, match=r"no answer in 0\.3 s, after 4 attempts.*port-forward"):
        _ = connect().namespace


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "REGROW_KFP_TOKEN"),
        (403, "check that 'regrow' is the right namespace"),
        (404, "does not exist"),
        (302, "login page"),
        (400, r"\(400\)"),
    ],
)
def test_a_refusal_is_final_and_says_what_to_do(
    server: KubeflowServer, connect: Connect, status: int, said: str
) -> None:
    server.fail("GET", HEALTH, status, times=99)
    with pytest.raises(ApiError, match=said):
        _ = connect().namespace
    assert server.count("GET", HEALTH) == 1


def test_nobody_there(connect: Connect) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ApiError, match=r"cannot be reached \(.*[Cc]onnection refused.*cluster\.endpoint"):
        _ = connect(endpoint=f"http://127.0.0.1:{port}").namespace


def test_a_name_that_no_machine_has(connect: Connect) -> None:
    with pytest.raises(ApiError, match="cannot be reached"):
        _ = connect(endpoint="http://nowhere.invalid:8888").namespace


def test_a_wrong_namespace_is_named(connect: Connect) -> None:
    with pytest.raises(ApiError, match="check that 'mine' is the right namespace"):
        connect(namespace="mine").experiment("trials")


@pytest.mark.parametrize("body", ["<html>Sign in</html>", "[]"])
def test_a_page_is_no_answer(body: str, connect: Connect) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Page) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        with pytest.raises(ApiError, match=r"not Kubeflow Pipelines.*cluster\.endpoint"):
            _ = connect(endpoint=f"http://127.0.0.1:{pages.server_port}").namespace
        pages.shutdown()


@pytest.mark.parametrize("name", ["REGROW_KFP_TOKEN", "REGROW_KFP_COOKIE", "KF_PIPELINES_SA_TOKEN_PATH"])
@pytest.mark.parametrize("secret", ["s3cret\nline", "s3cret\u20ac"])
def test_a_broken_credential_is_named_and_not_shown(
    name: str, secret: str, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(secret, "utf-8")
    monkeypatch.setenv(name, str(file) if name.endswith("PATH") else secret)
    with pytest.raises(
        RegrowError, match="contains characters that are not allowed in a credential"
    ) as caught:
        _ = connect().namespace
    assert "s3cret" not in str(caught.value)


def test_a_token_s_last_line_may_end(
    server: KubeflowServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "let me in"
    monkeypatch.setenv("REGROW_KFP_TOKEN", "let me in\n")
    assert connect().experiment("trials") in server.experiments


def test_a_token_s_file_that_is_named_is_needed(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(RegrowError, match="KF_PIPELINES_SA_TOKEN_PATH: there is no file /nowhere/token"):
        connect()


def test_one_user_has_no_namespaces(server: KubeflowServer, connect: Connect) -> None:
    server.multi_user = False
    api = connect(namespace="mine")
    assert api.namespace is None
    assert api.experiment("trials") in server.experiments


def test_the_token_is_sent(
    server: KubeflowServer, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.token = "let me in"
    with pytest.raises(ApiError, match="no valid credentials"):
        connect().experiment("trials")
    monkeypatch.setenv("REGROW_KFP_TOKEN", "let me in")
    assert connect().experiment("trials") in server.experiments
    monkeypatch.delenv("REGROW_KFP_TOKEN")
    mounted = tmp_path / "token"
    mounted.write_text("old")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(mounted))
    api = connect()
    mounted.write_text("let me in")  # Kubernetes renews it
    assert api.experiment("trials") in server.experiments


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    files = {name: tmp_path / f"{name}.pem" for name in ("key", "certificate", "both")}
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(files["key"])]
    subprocess.run([*command, "-out", str(files["certificate"])], check=True, capture_output=True)
    files["both"].write_text(files["key"].read_text() + files["certificate"].read_text())
    return files["both"]


def test_a_certificate_is_checked(
    connect: Connect, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(KubeflowServer(), certificate=certificate) as secure:
        with pytest.raises(ApiError, match=r"certificate is not trusted.*SSL_CERT_FILE"):
            _ = connect(endpoint=secure.url).namespace
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("certificate.pem")))
        assert connect(endpoint=secure.url).namespace == "regrow"


def test_the_endpoint_is_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RegrowError, match=r"cluster\.endpoint: the address .* is not set"):
        Connection(None, namespace="regrow")
    with pytest.raises(RegrowError, match="begins with http"):
        Connection("kubeflow:8888", namespace="regrow")
    for address in ("http://[::1", "http://host:port", "http://a b", "http:///x"):
        with pytest.raises(RegrowError, match="has no host"):
            Connection(address, namespace="regrow")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "ml-pipeline.kubeflow.svc" in Connection(None, namespace="regrow").endpoint
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://here:1/")
    assert Connection(None, namespace="regrow").endpoint == "http://here:1"


def test_an_experiment_is_made_once(server: KubeflowServer, connect: Connect) -> None:
    server.fail("POST", EXPERIMENTS, "lose")
    api = connect()
    first = api.experiment("trials")
    assert api.experiment("trials") == first
    assert list(server.experiments) == [first]


@pytest.mark.parametrize("address", ["/upload$", "/upload_version$"])
@pytest.mark.parametrize("kind", [503, "drop", "lose"])
def test_an_upload_is_made_once(
    server: KubeflowServer, connect: Connect, package: Path, address: str, kind: int | str
) -> None:
    server.fail("POST", address, kind)
    api = connect()
    first = api.upload(package, name="tiny", version="v1", description="")
    assert api.upload(package, name="tiny", version="v1", description="") == first
    assert len(server.pipelines) == 1
    assert sorted(item.display_name for item in server.versions.values()) == ["tiny", "v1"]


def test_another_client_s_upload_is_taken(server: KubeflowServer, connect: Connect, package: Path) -> None:
    api = connect()
    found: list[str | None] = [None]  # it comes between our look and our upload
    api.pipeline, look = lambda name: found.pop() if found else look(name), api.pipeline
    connect().upload(package, name="tiny", version="v1", description="")
    pipeline, _ = api.upload(package, name="tiny", version="v2", description="")
    assert list(server.pipelines) == [pipeline]


@pytest.mark.parametrize("kind", ["lose", "late", "drop", "hang", 503])
def test_a_run_starts_once(server: KubeflowServer, connect: Connect, package: Path, kind: int | str) -> None:
    api = connect()
    body = run_body(api, package)
    server.fail("POST", RUNS, kind, seconds=0.4 if kind in ("late", "hang") else 0)
    run = api.start_run(body)
    assert list(server.runs) == [run.run_id]


def test_a_run_whose_every_answer_is_lost_is_found(
    server: KubeflowServer, connect: Connect, package: Path
) -> None:
    api = connect()
    body = run_body(api, package)
    server.fail("POST", RUNS, "lose", times=99)
    assert api.start_run(body).run_id in server.runs
    assert len(server.runs) == 1


def test_a_first_try_that_is_finished_late_leaves_one_run(
    server: KubeflowServer, connect: Connect, package: Path
) -> None:
    """The answer is lost, the look finds nothing yet, the second try makes a second run: the younger one ends."""
    api = connect()
    body = run_body(api, package)
    server.fail("POST", RUNS, "lose")
    api._runs.run_service_list_runs, there = _blind_once(api._runs.run_service_list_runs), None
    run = api.start_run(body)
    there = sorted(server.runs.values(), key=lambda item: item.created_at)
    assert len(there) == 2
    assert run.run_id == there[0].run_id
    assert [item.state for item in there] == ["PENDING", "CANCELED"]


def _blind_once(function: Callable[..., Any]) -> Callable[..., Any]:
    calls = []

    def look(**options: Any) -> Any:
        calls.append(options)
        return function(**options) if len(calls) > 1 else kfp_server_api.V2beta1ListRunsResponse()

    return look


def test_a_refused_run_is_not_tried_again(server: KubeflowServer, connect: Connect, package: Path) -> None:
    api = connect()
    body = run_body(api, package)
    body.runtime_config = kfp_server_api.V2beta1RuntimeConfig(parameters={"unknown": 1})
    with pytest.raises(ApiError, match="parameter unknown is not defined"):
        api.start_run(body)
    assert server.count("POST", RUNS) == 1


def test_lists_are_read_to_the_end(
    server: KubeflowServer, connect: Connect, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regrow_pipelines.api.PAGE", 2)
    api = connect()
    for number in range(5):
        api.upload(package, name="tiny", version=f"v{number}", description="")
    pipeline = api.pipeline("tiny")
    there = api._listed(
        "", api._pipelines.pipeline_service_list_pipeline_versions, "pipeline_versions", pipeline
    )
    assert [item.display_name for item in there] == ["tiny", "v0", "v1", "v2", "v3", "v4"]
