"""A local server that speaks the part of Kubeflow Pipelines' API v2beta1 that Regrow uses.

What it takes and gives goes through the models of `kfp_server_api`: a request with a field that the API does not
have, or with a value that a model refuses, is answered as the real server does (400, code 3), and no answer can hold
what a client would not understand. Rules kept from the real one: names of experiments and pipelines are unique in a
namespace and those of versions in a pipeline (409, code 6), those of runs and recurring runs are not; ids are given by
the server; lists come in pages; a namespace that the account may not use is 403 in a multi-user installation; errors
of uploads have a body of their own.

Faults are set by `KubeflowServer.fail`: a status, no answer for a while, a connection dropped before or after the work.
"""

import base64
import datetime
import email.parser
import email.policy
import json
import re
import ssl
import threading
import time
import types
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api
import yaml
from croniter import croniter
from kfp_server_api import models

PREFIX = "/apis/v2beta1"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14, 504: 4}
CLIENT = kfp_server_api.ApiClient(kfp_server_api.Configuration(host="http://unused"))


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """What happens to the next ``times`` requests that match."""

    method: str
    path: str
    kind: int | str
    times: int
    seconds: float = 0
    message: str = "upstream connect error"


@dataclass
class KubeflowServer:
    """The state of one installation."""

    multi_user: bool = True
    namespaces: tuple[str, ...] = ("regrow",)
    token: str | None = None
    url: str = ""
    experiments: dict[str, Any] = field(default_factory=dict)
    pipelines: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, list[Any]] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    recurring: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    #: called with each run before it is given out: how it goes on
    progress: Any = None
    #: called after each request that was answered
    watch: Any = None
    lock: Any = field(default_factory=threading.RLock)
    clock: int = 0

    def fail(self, method: str, path: str, kind: int | str, *, times: int = 1, seconds: float = 0) -> None:
        """Set a fault.

        ``kind`` is a status, or what happens to the connection: ``drop`` and ``hang`` before the work is done,
        ``lose`` and ``late`` after it; ``hang`` and ``late`` keep the client waiting for ``seconds`` first.
        """
        self.faults.append(Fault(method, path, kind, times, seconds))

    def count(self, method: str, path: str) -> int:
        """How often ``path`` (a regular expression) has been asked."""
        return sum(verb == method and re.search(path, asked) is not None for verb, asked in self.requests)

    def now(self) -> datetime.datetime:
        """Each thing is made a second after the one before."""
        self.clock += 1
        return datetime.datetime(2027, 1, 10, 12, tzinfo=datetime.UTC) + datetime.timedelta(
            seconds=self.clock
        )

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None


def model_of(data: Any, name: str) -> Any:
    """``data`` as the model ``name``.

    Raises:
        RefusedError: a field that the model does not have, or a value that it does not take.
    """
    check_fields(data, name)
    try:
        return CLIENT.deserialize(types.SimpleNamespace(data=json.dumps(data)), name)
    except (ValueError, TypeError, kfp_server_api.ApiException) as error:
        raise RefusedError(400, f"invalid value: {error}") from None


def check_fields(data: Any, name: str) -> None:
    if name.startswith("list["):
        for item in data:
            check_fields(item, name[5:-1])
        return
    kind = getattr(models, name, None)
    if kind is None or not isinstance(data, dict):
        if kind is not None and hasattr(kind, "allowable_values") and data not in kind.allowable_values:
            raise RefusedError(400, f"invalid value for enum type: {data!r}")
        return
    known = {kind.attribute_map[key]: inner for key, inner in kind.openapi_types.items()}
    for key, value in data.items():
        if key not in known:
            raise RefusedError(400, f'proto: (line 1:1): unknown field "{key}"')
        check_fields(value, known[key])


def plain(item: Any) -> Any:
    """A model as JSON, checked by reading it again."""
    data = CLIENT.sanitize_for_serialization(item)
    if type(item).__name__ in dir(models):
        model_of(data, type(item).__name__)
    return data


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: else each answer waits for an acknowledgement
    state: KubeflowServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.handle_request("GET")

    def do_POST(self) -> None:
        self.handle_request("POST")

    def do_DELETE(self) -> None:
        self.handle_request("DELETE")

    def handle_request(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        with self.state.lock:
            self.state.requests.append((method, parts.path))
        fault = self.state.fault_for(method, parts.path)
        if fault is not None and isinstance(fault.kind, int):
            return self.error(fault.kind, fault.message)
        if fault is not None and fault.kind in ("drop", "hang"):
            time.sleep(fault.seconds)
            return self.drop()
        upload = parts.path.startswith(f"{PREFIX}/pipelines/upload")
        try:
            self.authenticate()
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            with self.state.lock:
                answer = Answers(self.state).answer(method, parts.path, query, body, self.headers)
                if self.state.watch is not None:
                    self.state.watch()
            status, data = 200, json.dumps(answer).encode()
        except RefusedError as refusal:
            if upload:
                said = {"error_message": str(refusal), "error_details": str(refusal)}
                return self.send(refusal.status, json.dumps(said).encode())
            return self.error(refusal.status, str(refusal))
        if fault is not None and fault.kind in ("lose", "late"):
            time.sleep(fault.seconds)
            return self.drop()
        return self.send(status, data)

    def authenticate(self) -> None:
        if self.state.token is not None and self.headers.get("authorization") != f"Bearer {self.state.token}":
            raise RefusedError(401, "Unauthenticated: Request header error: there is no user identity header")

    def error(self, status: int, message: str) -> None:
        data = {"error": message, "code": CODES.get(status, 2), "message": message, "details": []}
        self.send(status, json.dumps(data).encode())

    def send(self, status: int, data: bytes) -> None:
        try:
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/dex/auth")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # the client is gone

    def drop(self) -> None:
        self.close_connection = True
        self.connection.close()


class Answers:
    """The work behind each address."""

    def __init__(self, state: KubeflowServer) -> None:
        self.state = state

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, headers: Any) -> Any:  # noqa: PLR0912 - a table of addresses
        if not path.startswith(PREFIX):
            raise RefusedError(404, "Not Found")
        parts = [unquote(part) for part in path[len(PREFIX) :].strip("/").split("/")]
        match (method, *parts):
            case ("GET", "healthz"):
                return plain(models.V2beta1GetHealthzResponse(multi_user=self.state.multi_user))
            case ("GET", "experiments"):
                return self.listed(self.in_namespace(self.state.experiments, query), query, "experiments")
            case ("POST", "experiments"):
                return self.create_experiment(json.loads(body))
            case ("GET", "pipelines"):
                return self.listed(self.in_namespace(self.state.pipelines, query), query, "pipelines")
            case ("GET", "pipelines", pipeline, "versions"):
                self.there(self.state.pipelines, pipeline, "Pipeline")
                found = [item for item in self.state.versions.values() if item.pipeline_id == pipeline]
                return self.listed(found, query, "pipeline_versions")
            case ("POST", "pipelines", "upload"):
                return self.upload(query, body, headers)
            case ("POST", "pipelines", "upload_version"):
                return self.upload_version(query, body, headers)
            case ("POST", "runs"):
                return self.create_run(json.loads(body))
            case ("GET", "runs"):
                runs = list(self.state.runs.values())
                if "experiment_id" in query:
                    runs = [run for run in runs if run.experiment_id == query["experiment_id"]]
                return self.listed(runs, query, "runs")
            case ("GET", "runs", run):
                return self.get_run(run)
            case ("POST", "runs", action):
                return self.terminate(*action.split(":"))
            case ("GET", "recurringruns"):
                found = self.in_namespace(self.state.recurring, query)
                return self.listed(found, query, "recurring_runs")
            case ("POST", "recurringruns"):
                return self.create_recurring_run(json.loads(body))
            case ("GET", "recurringruns", number):
                return plain(self.there(self.state.recurring, number, "Recurring run"))
            case ("POST", "recurringruns", action):
                return self.switch(*action.split(":"))
            case ("DELETE", "recurringruns", number):
                return self.delete_recurring_run(number, query)
        raise RefusedError(404, "Not Found")

    # -- what all have in common -----------------------------------------------------------------------------

    def there(self, items: dict[str, Any], number: str, kind: str) -> Any:
        if number not in items:
            raise RefusedError(404, f"ResourceNotFoundError: {kind} {number} not found")
        return items[number]

    def namespace(self, name: str | None) -> str:
        if not self.state.multi_user:
            return ""
        if not name:
            raise RefusedError(400, "Invalid input error: namespace cannot be empty in multi-user mode")
        if name not in self.state.namespaces:
            raise RefusedError(
                403, f"PermissionDenied: User 'robot' is not authorized (Namespace: {name}, Verb: list)"
            )
        return name

    def in_namespace(self, items: dict[str, Any], query: dict[str, str]) -> list[Any]:
        name = self.namespace(query.get("namespace"))
        return [item for item in items.values() if (item.namespace or "") == name]

    def listed(self, items: list[Any], query: dict[str, str], what: str) -> Any:
        """One page; its token holds the filter, as the real one's does."""
        if token := query.get("page_token"):
            start, chosen = json.loads(base64.b64decode(token))
        else:
            start, chosen = 0, query.get("filter", "")
        items = [item for item in items if passes(item, chosen)]
        size = min(int(query.get("page_size") or 20), 200)
        end = start + size
        kind = {
            "experiments": models.V2beta1ListExperimentsResponse,
            "pipelines": models.V2beta1ListPipelinesResponse,
            "pipeline_versions": models.V2beta1ListPipelineVersionsResponse,
            "runs": models.V2beta1ListRunsResponse,
            "recurring_runs": models.V2beta1ListRecurringRunsResponse,
        }[what]
        more = base64.b64encode(json.dumps([end, chosen]).encode()).decode() if end < len(items) else None
        return plain(kind(**{what: items[start:end] or None}, total_size=len(items), next_page_token=more))

    def reference(self, body: Any) -> Any:
        """The version that a run names."""
        wanted = body.pipeline_version_reference
        if wanted is None or not wanted.pipeline_version_id:
            raise RefusedError(400, "Invalid input error: pipeline version reference is empty")
        version = self.there(self.state.versions, wanted.pipeline_version_id, "PipelineVersion")
        if wanted.pipeline_id != version.pipeline_id:
            raise RefusedError(400, "Invalid input error: the version is not of this pipeline")
        inputs = self.state.packages[version.pipeline_version_id][0]["root"].get("inputDefinitions", {})
        known = inputs.get("parameters", {})
        for name in (body.runtime_config and body.runtime_config.parameters) or {}:
            if name not in known:
                raise RefusedError(
                    400, f"Invalid input error: parameter {name} is not defined in the pipeline"
                )
        return version

    # -- experiments, pipelines ------------------------------------------------------------------------------

    def create_experiment(self, data: Any) -> Any:
        item = model_of(data, "V2beta1Experiment")
        item.namespace = self.namespace(item.namespace) or None
        if not item.display_name:
            raise RefusedError(400, "Invalid input error: Experiment name is empty")
        self.unique(self.state.experiments.values(), item, "experiment")
        item.experiment_id, item.created_at = str(uuid.uuid4()), self.state.now()
        item.storage_state = "AVAILABLE"
        self.state.experiments[item.experiment_id] = item
        return plain(item)

    def unique(self, items: Any, item: Any, kind: str) -> None:
        for other in items:
            if other.display_name == item.display_name and getattr(other, "namespace", None) == getattr(
                item, "namespace", None
            ):
                raise RefusedError(
                    409,
                    f"AlreadyExistError: Failed to create a new {kind}. The name {item.display_name} already exists",
                )

    def upload(self, query: dict[str, str], body: bytes, headers: Any) -> Any:
        package = package_of(body, headers)
        namespace = self.namespace(query.get("namespace")) or None
        item = models.V2beta1Pipeline(
            display_name=query["name"],
            name=query["name"],
            namespace=namespace,
            description=query.get("description"),
        )
        self.unique(self.state.pipelines.values(), item, "pipeline")
        item.pipeline_id, item.created_at = str(uuid.uuid4()), self.state.now()
        self.state.pipelines[item.pipeline_id] = item
        self.add_version(item.pipeline_id, query, package)
        return plain(item)

    def upload_version(self, query: dict[str, str], body: bytes, headers: Any) -> Any:
        package = package_of(body, headers)
        pipeline = query.get("pipelineid", "")
        if pipeline not in self.state.pipelines:
            raise RefusedError(400, "Failed to create a pipeline version due to error reading namespace")
        return plain(self.add_version(pipeline, query, package))

    def add_version(self, pipeline: str, query: dict[str, str], package: list[Any]) -> Any:
        item = models.V2beta1PipelineVersion(
            pipeline_id=pipeline,
            display_name=query["name"],
            name=query["name"],
            description=query.get("description"),
        )
        same = [other for other in self.state.versions.values() if other.pipeline_id == pipeline]
        self.unique(same, item, "pipeline version")
        item.pipeline_version_id, item.created_at = str(uuid.uuid4()), self.state.now()
        self.state.versions[item.pipeline_version_id] = item
        self.state.packages[item.pipeline_version_id] = package
        return item

    # -- runs ------------------------------------------------------------------------------------------------

    def create_run(self, data: Any) -> Any:
        item = model_of(data, "V2beta1Run")
        if not item.display_name:
            raise RefusedError(400, "Invalid input error: The run name is empty. Please specify a valid name")
        self.there(self.state.experiments, item.experiment_id, "Experiment")
        self.reference(item)
        item.run_id, item.created_at, item.state = str(uuid.uuid4()), self.state.now(), "PENDING"
        item.storage_state = "AVAILABLE"
        self.state.runs[item.run_id] = item
        return plain(item)

    def get_run(self, number: str) -> Any:
        run = self.there(self.state.runs, number, "Run")
        if self.state.progress is not None:
            self.state.progress(run)
        return plain(run)

    def terminate(self, number: str, action: str) -> Any:
        if action != "terminate":
            raise RefusedError(404, "Not Found")
        self.there(self.state.runs, number, "Run").state = "CANCELED"
        return {}

    # -- recurring runs --------------------------------------------------------------------------------------

    def create_recurring_run(self, data: Any) -> Any:
        item = model_of(data, "V2beta1RecurringRun")
        if not item.display_name:
            raise RefusedError(
                400, "Invalid input error: Recurring run name is empty. Please specify a valid name"
            )
        experiment = self.there(self.state.experiments, item.experiment_id, "Experiment")
        self.reference(item)
        cron = item.trigger and item.trigger.cron_schedule and item.trigger.cron_schedule.cron
        # The scheduler's parser: seconds first, no names of zones, no day 7.
        if not cron or len(cron.split()) != 6 or not croniter.is_valid(cron, second_at_beginning=True):
            raise RefusedError(400, f"Invalid input error: Schedule cron is not supported(cron: {cron})")
        if not 1 <= int(item.max_concurrency or 0) <= 10:
            raise RefusedError(400, "Invalid input error: max concurrency must be between 1 and 10")
        if item.mode not in ("ENABLE", "DISABLE"):
            raise RefusedError(400, "Invalid input error: mode is not specified")
        item.recurring_run_id, item.created_at = str(uuid.uuid4()), self.state.now()
        item.updated_at, item.namespace = item.created_at, experiment.namespace
        item.status = f"{item.mode}D"
        self.state.recurring[item.recurring_run_id] = item
        return plain(item)

    def delete_recurring_run(self, number: str, query: dict[str, str]) -> Any:
        self.there(self.state.recurring, number, "Recurring run")
        del self.state.recurring[number]
        if query.get("propagation_policy") != "ORPHAN":
            for run in self.state.runs.values():
                if run.recurring_run_id == number and run.state in ("PENDING", "RUNNING"):
                    run.state = "FAILED"  # Kubernetes collects what the deleted one owned
        return {}

    def switch(self, number: str, action: str) -> Any:
        item = self.there(self.state.recurring, number, "Recurring run")
        if action not in ("enable", "disable"):
            raise RefusedError(404, "Not Found")
        item.mode, item.updated_at = action.upper(), self.state.now()
        item.status = f"{item.mode}D"
        return {}


def passes(item: Any, chosen: str) -> bool:
    if not chosen:
        return True
    for predicate in json.loads(chosen)["predicates"]:
        wanted = predicate.get("string_value", predicate.get("stringValue"))
        value = str(getattr(item, predicate["key"]) or "")
        match predicate["operation"]:
            case 1 | "EQUALS":
                if value != wanted:
                    return False
            case 9 | "IS_SUBSTRING":
                if wanted not in value:
                    return False
            case other:
                raise RefusedError(400, f"Invalid input error: operation {other} is not supported here")
    return True


def package_of(body: bytes, headers: Any) -> list[Any]:
    """The YAML documents in the form's file."""
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    for part in form.iter_parts():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            text = part.get_payload(decode=True)
            documents = list(yaml.load_all(text, Loader=LOADER))
            if documents and "pipelineInfo" in documents[0]:
                return documents
    raise RefusedError(400, "Failed to read a pipeline spec file")


@contextmanager
def serving(state: KubeflowServer, *, certificate: Path | None = None) -> Iterator[KubeflowServer]:
    """``state`` behind an address of its own within the block; over TLS with ``certificate``, a file with its key."""
    handler = type("BoundHandler", (Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if certificate else "http"
    state.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
