"""Finding and checking MLflow, and a client that fails quickly instead of retrying for minutes."""

import contextlib
import functools
import ipaddress
import logging
import os
import re
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.registry.database import check_database, create_database
from regrow.showing.redaction import bare_address, redacted
from regrow.storage.addresses import ARTIFACTS, DATABASE, SERVERS, address_fault, sqlite_file, sqlite_uri

EXPERIMENT = "regrow"
WHERE = "MLFLOW_TRACKING_URI or tracking.uri"
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
CONNECT_S = 3.0
REQUEST_S = 5


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or the SQLite file ``mlflow.db`` in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(Path(DATABASE))


def experiment_name() -> str:
    """``MLFLOW_EXPERIMENT_NAME``, or ``regrow``."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def without_credentials(uri: str) -> str:
    """``uri`` as it may be shown and stored: no user, no password, no query."""
    shown = bare_address(uri)
    return shown if uri.startswith("sqlite") else re.sub(r"(?<=[^?])\?[^#]*", "", shown)


@functools.cache
def tell_what_can_be_read(uri: str) -> None:
    """One notice for this process where a login would go over a network without encryption."""
    parts = urllib.parse.urlsplit(uri)
    host = parts.hostname or ""
    if parts.scheme != "http" or _stays_inside(host):
        return
    sent = next((name for name in SECRETS if os.environ.get(name)), "")
    if not sent and parts.password:
        sent = "the password in MLFLOW_TRACKING_URI"
    if sent:
        emit(
            "notice",
            message=(
                f"{without_credentials(uri)} is not encrypted: {sent} can be intercepted on the way to "
                f"{host}; use https://"
            ),
            once=True,
        )


def _stays_inside(host: str) -> bool:
    """Whether what is sent to ``host`` stays on this machine, or on the network of a Kubernetes cluster."""
    if host == "localhost" or host.endswith((".localhost", ".svc")) or ".svc." in host:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def waiting_for(uri: str) -> str:
    """What a progress line says while MLflow at ``uri`` does not answer."""
    return f"waiting for MLflow at {without_credentials(uri)} …"


def check_reachable(uri: str) -> None:
    """Open a connection to the server or database at ``uri``; at most a few seconds.

    Raises:
        RegrowError: the address is of no known kind, the host does not answer, or SQLite's file cannot be used.
    """
    shown = without_credentials(uri)
    fault = address_fault(uri)
    if fault is not None:
        raise RegrowError(f"{WHERE}: {shown!r} {fault}")
    file = sqlite_file(uri)
    if file is not None:
        _check_sqlite(file, uri)
        return
    host, port = _endpoint(uri)
    if host is None:  # a database's own socket on this machine
        return
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        raise UnreachableError(
            f"{WHERE}: MLflow at {shown} cannot be reached ({error}); start it, correct the address, or "
            f"remove the address to use {DATABASE} in this folder"
        ) from None


def _endpoint(uri: str) -> tuple[str | None, int]:
    """Host and port of a server's address, or of a database's as SQLAlchemy reads it; None where it names no host."""
    kind = uri.partition(":")[0].partition("+")[0].lower()
    if kind in SERVERS:
        parts = urllib.parse.urlsplit(uri)
        return parts.hostname, parts.port or PORTS[kind]
    url = _database_url(uri)
    return url.host or None, url.port or PORTS[kind]


def _database_url(uri: str) -> Any:
    """``uri`` as SQLAlchemy reads it.

    Raises:
        RegrowError: it cannot, or is not installed.
    """
    try:
        from sqlalchemy.engine import make_url

        return make_url(uri)
    except ImportError as error:
        raise RegrowError(f"MLflow is not installed here ({error}); `pip install regrow[register]`") from None
    except Exception:  # SQLAlchemy's own, ValueError for a port: its text may hold the password
        raise RegrowError(
            f"{WHERE}: {without_credentials(uri)!r} is not a database address that SQLAlchemy can read"
        ) from None


def _check_sqlite(file: Path, uri: str) -> None:
    require_file(_database_url(uri), file)
    if not file.parent.is_dir():
        raise RegrowError(f"{WHERE}: the folder {file.parent} of SQLite's file does not exist")
    target = file if file.exists() else file.parent
    if not os.access(target, os.W_OK):
        raise RegrowError(f"{WHERE}: {target} cannot be written")
    check_database(file, experiment=experiment_name())


def require_file(url: Any, file: Path) -> None:
    """Check that SQLAlchemy's ``url`` leads to ``file``: before version 2.1 it did not unquote paths.

    Raises:
        RegrowError: it leads to another file.
    """
    if Path(url.database).absolute() != file:
        raise RegrowError(
            f"{WHERE}: SQLAlchemy does not accept the path {str(file)!r}; use a path without '%', '?' and "
            "bytes that are not UTF-8, or move this folder"
        )


class UnreachableError(RegrowError):
    """Nobody answers at MLflow's address; that may be over in a minute."""


@contextlib.contextmanager
def short_patience(*, seconds: int = REQUEST_S, retries: int = 0) -> Iterator[None]:
    """Within the block, MLflow's HTTP requests end after ``seconds`` and are tried ``retries`` times again.

    What the user set in the environment is left alone.
    """
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    }
    added = [name for name in wanted if name not in os.environ]
    os.environ.update({name: wanted[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def connect(uri: str) -> Any:
    """An ``MlflowClient`` for ``uri``, tracking and registry both; MLflow's start-up chatter is silenced.

    An SQLite file that is not there yet is made. A login that can be read on the way is told of.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in ("alembic", "alembic.runtime.migration", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    tell_what_can_be_read(uri)
    file = sqlite_file(uri)
    if file is not None:
        create_database(file)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_id(client: Any, name: str) -> str:
    """The id of the experiment ``name``; made when it is not there.

    With SQLite, artifacts go to ``mlruns`` beside the database, wherever the process was started.

    Raises:
        RegrowError: the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        file = sqlite_file(client.tracking_uri)
        location = (file.parent / ARTIFACTS).as_uri() if file is not None else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise RegrowError(
            f"MLFLOW_EXPERIMENT_NAME: experiment '{name}' was deleted in MLflow; restore it or choose another"
        )
    return str(found.experiment_id)


@contextlib.contextmanager
def connection(uri: str, *, seconds: int = REQUEST_S, retries: int = 0) -> Iterator[Any]:
    """A client for the block; what MLflow cannot do within it is said in one sentence.

    Raises:
        RegrowError: MLflow is away, refuses the request or answers with an error.
    """
    check_reachable(uri)
    with short_patience(seconds=seconds, retries=retries):
        try:
            client = connect(uri)
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise RegrowError(
                f"MLflow is not installed here ({error}); `pip install regrow[register]`"
            ) from None
        except Exception as error:
            raise RegrowError(f"MLflow at {without_credentials(uri)}: {first_line(error)}") from error
        try:
            yield client
        except MlflowException as error:
            raise RegrowError(
                f"MLflow at {without_credentials(uri)}: {_refusal(error) or first_line(error)}"
            ) from error
        except OSError as error:
            if error.errno is not None:  # the disk's, not the one that `requests` derives its errors from
                raise
            raise RegrowError(f"MLflow at {without_credentials(uri)}: {first_line(error)}") from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("boto3", "botocore"):
                raise
            # Only where artifacts do not go through the server.
            raise RegrowError(
                f"MLflow's artifact store behind {without_credentials(uri)}: {first_line(error)}; "
                "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must give this process read "
                "and write access"
            ) from error


def _refusal(error: Exception) -> str:
    """For an ``MlflowException`` of a server with login that knows or lets this user not: what to do; else empty."""
    code, user = getattr(error, "error_code", ""), os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    if code == "UNAUTHENTICATED" and not user:
        return "requires a login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if code == "UNAUTHENTICATED":
        return (
            f"rejects user '{user}' with this password; correct MLFLOW_TRACKING_USERNAME or "
            "MLFLOW_TRACKING_PASSWORD"
        )
    if code == "PERMISSION_DENIED":
        asked = re.search(r"endpoint (\S+)", str(error))
        what = asked[1].partition("/mlflow/")[2] if asked else first_line(error)
        return (
            f"user '{user}' lacks permissions ({what}); an administrator must grant EDIT on the experiment, "
            "and MANAGE on the registered model and on its log NAME.decisions"
        )
    return ""


def first_line(error: Exception) -> str:
    """What ``error`` says, for people: its first line, at most 300 characters, without credentials."""
    text = redacted(str(error).strip())
    if "timed out" in text:
        return "no answer in time"
    return text.partition("\n")[0][:300] or type(error).__name__
