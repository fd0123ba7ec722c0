"""Addresses of MLflow: which are accepted, and how the path of an SQLite file becomes one and is found in one."""

import contextlib
import re
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

DATABASE = "mlflow.db"
ARTIFACTS = "mlruns"
SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SCHEMES = (*SERVERS, *DATABASES)
# As SQLAlchemy reads it: everything up to the query is the path, '#' included, and is unquoted.
SQLITE = re.compile(
    r"sqlite(?:\+\w+)?://(?P<host>[^/?]*)(?:/(?P<path>[^?]*))?(?:\?(?P<query>.*))?", re.DOTALL
)
MEMORY = (None, "", ":memory:")


@contextlib.contextmanager
def readable_by_mlflow(path: Path) -> Iterator[str]:
    """Within the block: a path to ``path`` that MLflow's loaders can take.

    They take a path for a URI and unquote it: in a folder called ``100%20 sure`` they find nothing. There, the path
    leads over a link in a temporary folder.
    """
    if urllib.parse.unquote(str(path)) == str(path):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        link = Path(scratch) / "folder"
        link.symlink_to(path.absolute().parent, target_is_directory=True)
        yield str(link / path.name)


def sqlite_uri(file: Path) -> str:
    """The address of the SQLite database ``file``, made absolute.

    >>> sqlite_uri(Path("/data/C# project/mlflow.db"))
    'sqlite:////data/C# project/mlflow.db'
    >>> sqlite_uri(Path("/data/why?/mlflow.db"))
    'sqlite+pysqlite:////data/why%3F/mlflow.db'
    """
    path = str(file.absolute())
    quoted = path.replace("%", "%25").replace("?", "%3F")
    # Of 'sqlite:///' MLflow takes the rest for a path as it stands, and would make the folder `why%3F`.
    return f"sqlite:///{path}" if quoted == path else f"sqlite+pysqlite:///{quoted}"


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite address, absolute; None for other addresses, and where there is no file."""
    parts = SQLITE.fullmatch(uri)
    if parts is None or parts["host"] or parts["path"] in MEMORY:
        return None
    return Path(urllib.parse.unquote(parts["path"])).absolute()


def absolute_address(uri: str, folder: Path) -> str:
    """``uri`` with a relative SQLite path taken from ``folder``, quoted as by `sqlite_uri`; others as they are."""
    parts = SQLITE.fullmatch(uri)
    if parts is None or sqlite_file(uri) is None:
        return uri
    path = Path(urllib.parse.unquote(parts["path"]))
    if path.is_absolute() and "%" not in parts["path"]:
        return uri
    query = f"?{parts['query']}" if parts["query"] else ""
    return sqlite_uri(folder / path) + query


def address_fault(uri: str) -> str | None:
    """Why MLflow cannot be at ``uri``, which may hold a password and is not repeated; None where it may be."""
    scheme, colon, rest = uri.partition(":")
    accepted = f"accepted: {', '.join(f'{name}://…' for name in SCHEMES)}"
    kind = scheme.lower() if scheme.lower() in SERVERS else scheme.partition("+")[0]
    if not colon or kind not in SCHEMES:
        return f"is not an address that Regrow can use; {accepted}"
    if any(letter < " " for letter in uri):
        return "holds a control character"
    if any("\ud800" <= letter <= "\udfff" for letter in uri):
        return "holds bytes that are no UTF-8"
    if kind == "sqlite":
        return _sqlite_fault(uri)
    if not rest.startswith("//"):
        return f"lacks '//' after '{scheme}:'; accepted: {kind}://HOST"
    if kind in SERVERS:
        return _server_fault(uri, kind)
    return None


def _server_fault(uri: str, kind: str) -> str | None:
    form = f"accepted: {kind}://HOST or {kind}://HOST:PORT"
    try:
        parts = urllib.parse.urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"has no host and port that can be read; {form}"
    if not host:
        return f"names no host; {form}"
    # A page's address in a browser: MLflow would put its own path behind the '#', and ask for the page.
    mark = next((mark for mark in "#?" if mark in uri), None)
    return f"holds '{mark}', which no server's address has; {form}" if mark else None


def _sqlite_fault(uri: str) -> str | None:
    parts = SQLITE.fullmatch(uri)
    form = "accepted: sqlite:///relative/file.db or sqlite:////absolute/file.db"
    if parts is None:
        return f"is no address of an SQLite file; {form}"
    if parts["host"]:
        return f"names a host, which SQLite does not have; {form}"
    if parts["path"] in MEMORY:
        return f"names no file, and a database in memory would be gone with each step; {form}"
    if any(letter < " " for letter in urllib.parse.unquote(parts["path"])):
        return "holds a control character"
    if parts["path"].startswith("file:") or "uri=" in (parts["query"] or "").lower():
        return f"holds a URI of SQLite's own; {form}"
    return None
