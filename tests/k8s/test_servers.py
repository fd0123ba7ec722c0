"""The manifests' own command lines, environments and scripts, with real servers: what is written there is true."""

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.services.servers import (
    MissingError,
    Postgresql,
    Server,
    free_ports,
    mlflow_program,
    postgresql,
    postgresql_programs,
    weed_program,
)

from .rendering import K8S, ROOT, Document, containers, documents, find, pod_template, resolved

pytestmark = pytest.mark.services
NAMESPACE = "regrow"


class Cluster:
    """`dev` as it would run: its documents, the Secrets of `dev-secrets.sh`, and where each server really listens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = documents("dev")
        made = subprocess.run(["sh", str(K8S / "dev-secrets.sh")], capture_output=True, text=True, check=True)
        self.secrets: dict[str, dict[str, str]] = {
            each["metadata"]["name"]: each["stringData"] for each in yaml.safe_load_all(made.stdout)
        }
        self.moved: dict[str, str] = {}
        self.store: Server | None = None

    def container(self, kind: str, name: str, number: int = -1) -> Document:
        template = pod_template(find(self.found, kind, name))
        assert template is not None
        return containers(template)[number]

    def run(self, container: Document) -> tuple[list[str], dict[str, str]]:
        """Command line and whole environment, with addresses of the cluster replaced by those of this machine."""
        line, environment, secret = resolved(self.found, NAMESPACE, container)
        for one in secret:
            name, key = one.split(".", 1)
            environment[key] = self.secrets[name][key]
        environment = {key: self._moved(value) for key, value in environment.items()}
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return [self._moved(word) for word in line], environment

    def _moved(self, text: str) -> str:
        for there, here in self.moved.items():
            text = text.replace(there, here)
        return text

    def mounted(self, kind: str, name: str) -> Path:
        """The files of a ConfigMap, as a volume of it would show them."""
        (one,) = [
            each
            for each in self.found
            if each["kind"] == kind and re.fullmatch(rf"{name}(-\w{{10}})?", each["metadata"]["name"])
        ]
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for file, text in one["data"].items():
            (folder / file).write_text(text, "utf-8")
        return folder

    def once(self, container: Document, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a Job's container to its end."""
        line, environment = self.run(container)
        return subprocess.run(
            line,
            env=environment | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            cwd=self.folder,
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    scratch = cluster.folder / "scratch"
    scratch.mkdir()
    cluster.moved |= {
        "/scratch": str(scratch),
        "/etc/mlflow/user.py": str(cluster.mounted("ConfigMap", "mlflow-user") / "user.py"),
        "/etc/mlflow": str(cluster.mounted("ConfigMap", "mlflow-auth")),
        "/etc/buckets": str(cluster.mounted("ConfigMap", "seaweedfs-buckets")),
    }
    return cluster


@pytest.fixture(scope="module")
def store(cluster: Cluster) -> Iterator[str]:
    """SeaweedFS with the arguments of its StatefulSet, ports and folders apart."""
    names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    names += ("filer.port", "filer.port.grpc")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    data, identities, scratch = (cluster.folder / name for name in ("data", "identities", "store-scratch"))
    for folder in (data, identities, scratch):
        folder.mkdir()
    (identities / "s3.json").write_text(cluster.secrets["seaweedfs-identities"]["s3.json"], "utf-8")
    cluster.moved |= {
        "-dir=/data": f"-dir={data}",
        "/etc/seaweedfs": str(identities),
        "seaweedfs.regrow.svc:8333": f"127.0.0.1:{ports['s3.port']}",
        "-s3.port=8333": f"-s3.port={ports['s3.port']}",
    }
    line, environment = cluster.run(cluster.container("StatefulSet", "seaweedfs"))
    line += [f"-{name}={port}" for name, port in ports.items() if name != "s3.port"]
    address = f"http://127.0.0.1:{ports['s3.port']}"
    probe = cluster.container("StatefulSet", "seaweedfs")["readinessProbe"]["httpGet"]["path"]
    try:
        line[0] = weed_program()
    except MissingError as error:
        pytest.fail(str(error), pytrace=False)
    server = Server(
        "seaweedfs",
        line,
        logs=cluster.folder / "logs",
        folder=scratch,  # where it is started, as its workingDir
        ready=lambda: urllib.request.urlopen(address + probe, timeout=5).read(),
        environment=environment,
    )
    with server.running():
        # Master, volumes and filer know no identities: only S3 listens where others could reach it.
        listening = {
            (each.laddr.ip, each.laddr.port)
            for each in psutil.Process(server.pid).net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        }
        assert {port for ip, port in listening if ip != "127.0.0.1"} <= {
            ports["s3.port"],
            ports["s3.port.grpc"],
        }
        cluster.store = server
        yield address


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Postgresql]:
    """PostgreSQL with the user, password and databases that the image's entry point makes of the manifest."""
    try:
        with postgresql(cluster.folder / "logs") as server:
            variables = {each["name"]: each for each in cluster.container("StatefulSet", "postgresql")["env"]}
            user, name = variables["POSTGRES_USER"]["value"], variables["POSTGRES_DB"]["value"]
            reference = variables["POSTGRES_PASSWORD"]["valueFrom"]["secretKeyRef"]
            password = cluster.secrets[reference["name"]][reference["key"]]
            server.query(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'")
            server.query(f"CREATE DATABASE {name} OWNER {user}")
            statements = (cluster.mounted("ConfigMap", "postgresql-databases") / "databases.sql").read_text(
                "utf-8"
            )
            for statement in re.sub(r"--.*", "", statements).split(";"):
                if statement.strip():
                    server.query(statement)
            cluster.moved |= {"postgresql.regrow.svc": "127.0.0.1"}
            for document in cluster.found:
                if document["metadata"]["name"].startswith("mlflow-server-"):
                    assert document["data"]["PGPORT"] == "5432"
                    document["data"]["PGPORT"] = str(server.port)
            yield server
    except MissingError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def buckets(cluster: Cluster, store: str) -> str:
    for number in (0, 1):
        done = cluster.once(cluster.container("Job", "seaweedfs-buckets", number))
        assert done.returncode == 0, done.stderr
        assert ": made" in done.stdout
    return store


@pytest.fixture(scope="module")
def address(cluster: Cluster, database: Postgresql, buckets: str) -> Iterator[str]:
    """MLflow with the arguments and the environment of its Deployment, on another port."""
    (port,) = free_ports(1)
    container = cluster.container("Deployment", "mlflow")
    cluster.moved |= {
        "--port=5000": f"--port={port}",
        "--host=0.0.0.0": "--host=127.0.0.1",
        # The Host that clients send has the port in it; the manifest's list is otherwise as it is.
        ":5000": f":{port}",
        "mlflow.regrow.svc.cluster.local": "127.0.0.1",
    }
    line, environment = cluster.run(container)
    line = [*mlflow_program(), *line[1:]]
    here = f"http://127.0.0.1:{port}"

    def ready() -> None:
        with urllib.request.urlopen(here + container["startupProbe"]["httpGet"]["path"], timeout=5) as answer:
            assert answer.read() == b"OK"

    server = Server(
        "mlflow",
        line,
        logs=cluster.folder / "logs",
        folder=cluster.folder / "scratch",
        ready=ready,
        environment=environment,
    )
    with server.running():
        yield here


def ask(address: str, path: str, *, user: str = "", password: str = "", host: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"{address}{path}")
    if user:
        request.add_header(
            "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        )
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            return error.code, error.read().decode("utf-8", "replace")


EXPERIMENTS = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"


def test_each_identity_opens_its_own_bucket(cluster: Cluster, buckets: str) -> None:
    import boto3
    from botocore.exceptions import ClientError

    again = cluster.once(cluster.container("Job", "seaweedfs-buckets", 0))
    assert (again.returncode, ": is there" in again.stdout) == (0, True), again.stderr
    owners = {"regrow-mlflow": "mlflow-server", "regrow-data": "regrow-data-credentials"}
    for bucket, secret in owners.items():
        keys = cluster.secrets[secret]
        client = boto3.client(
            "s3",
            endpoint_url=buckets,
            region_name="us-east-1",
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        )
        client.put_object(Bucket=bucket, Key="mine", Body=b"1")
        assert client.get_object(Bucket=bucket, Key="mine")["Body"].read() == b"1"
        (other,) = set(owners) - {bucket}
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=other, Key="not-mine", Body=b"1")
    # A pod that comes back finds everything on its volume: nothing lay in its scratch.
    assert cluster.store
    cluster.store.pause()
    shutil.rmtree(cluster.folder / "store-scratch")
    (cluster.folder / "store-scratch").mkdir()
    cluster.store.start()
    assert client.get_object(Bucket=bucket, Key="mine")["Body"].read() == b"1"


def test_mlflow_knows_its_users_and_its_names(cluster: Cluster, address: str) -> None:
    admin = cluster.secrets["mlflow-server"]["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert ask(address, EXPERIMENTS)[0] == 401
    assert ask(address, EXPERIMENTS, user="admin", password="wrong")[0] == 401
    assert ask(address, EXPERIMENTS, user="admin", password=admin)[0] == 200
    port = address.rsplit(":", 1)[1]
    known = {"user": "admin", "password": admin}
    for host in ("mlflow.regrow.svc", "mlflow.regrow", "mlflow"):
        assert ask(address, EXPERIMENTS, **known, host=f"{host}:{port}")[0] == 200
    assert ask(address, EXPERIMENTS, **known, host="attacker.example.com")[0] == 403
    assert ask(address, "/health", host="10.1.2.3")[0] == 200  # as the kubelet asks


def test_the_users_job_and_a_run_of_that_user(cluster: Cluster, address: str, database: Postgresql) -> None:
    container = cluster.container("Job", "mlflow-user")
    for said in ("made", "is there"):
        done = cluster.once(container, MLFLOW_TRACKING_URI=address)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    refused = cluster.once(container, MLFLOW_TRACKING_URI=address, MLFLOW_TRACKING_USERNAME="admin")
    assert refused.returncode == 1
    assert "a user of their own" in refused.stderr
    assert "Traceback" not in refused.stderr
    user = cluster.secrets["regrow-mlflow-credentials"]
    script = """
import json, mlflow
mlflow.set_experiment("regrow")
with mlflow.start_run() as run:
    mlflow.log_metric("accuracy", 0.5)
    mlflow.log_text("through the server", "note.txt")
print(json.dumps([run.info.artifact_uri, mlflow.artifacts.load_text(run.info.artifact_uri + "/note.txt")]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**_bare(), **user, "MLFLOW_TRACKING_URI": address, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=cluster.folder,
    )
    assert done.returncode == 0, done.stderr
    place, text = json.loads(done.stdout.splitlines()[-1])
    assert place.startswith("mlflow-artifacts:")
    assert text == "through the server"
    assert database.query("SELECT count(*) FROM metrics", "mlflow") == [(1,)]
    assert database.query("SELECT username FROM users ORDER BY 1", "mlflow_auth") == [("admin",), ("regrow",)]


def test_the_upgrade_finds_both_databases(cluster: Cluster, address: str) -> None:
    for number in (0, 1):
        done = cluster.once(cluster.container("CronJob", "mlflow-upgrade", number))
        assert done.returncode == 0, done.stderr


def test_backup_and_restore_as_the_document_says(
    cluster: Cluster, address: str, database: Postgresql
) -> None:
    text = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    commands = re.findall(r"exec (?:-i )?postgresql-0 -- (\S+ [^<>\n]*) ([<>]) (\S+)", text)
    assert [words.split()[0] for words, _, _ in commands] == ["pg_dump"] * 2 + ["pg_restore"] * 2
    programs = postgresql_programs()
    password = cluster.secrets["mlflow-server"]["PGPASSWORD"]
    environment = {**_bare(), "PGHOST": "127.0.0.1", "PGPORT": str(database.port), "PGPASSWORD": password}
    before = database.query("SELECT username FROM users ORDER BY 1", "mlflow_auth")
    for words, direction, name in commands:
        program, *rest = words.split()
        with (cluster.folder / "scratch" / name).open("wb" if direction == ">" else "rb") as file:
            if direction == "<":
                database.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public", words.split()[-1])
            done = subprocess.run(
                [programs / program, *rest],
                env=environment,
                stdin=file if direction == "<" else None,
                stdout=file if direction == ">" else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 0, done.stderr
    assert database.query("SELECT username FROM users ORDER BY 1", "mlflow_auth") == before != []
    admin = cluster.secrets["mlflow-server"]["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert ask(address, EXPERIMENTS, user="admin", password=admin)[0] == 200


def test_nothing_is_written_but_to_scratch(cluster: Cluster, address: str) -> None:
    """The root file system is read-only there; here the server's folder is its scratch, and nothing else grew."""
    known = {
        "data",
        "identities",
        "scratch",
        "store-scratch",
        "logs",
        "mlflow-user",
        "mlflow-auth",
        "seaweedfs-buckets",
    }
    assert {each.name for each in cluster.folder.iterdir()} <= known | {"postgresql-databases"}


def _bare() -> dict[str, Any]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_", "REGROW_", "PG"))}
