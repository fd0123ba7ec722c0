"""Raw data in S3 or on a web server: identifying and downloading it."""

import contextlib
import hashlib
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from regrow.dataset.dvc_access import REMOTE, reason
from regrow.errors import RegrowError
from regrow.provenance.digest import file_digest, text_digest
from regrow.storage.artifacts import is_full

SCHEMES = ("s3", "https", "http")
TOKEN = "REGROW_DATA_TOKEN"
CONNECT_S, SILENCE_S = 15, 60
CHUNK = 2**20
MAX_FILES = 10_000_000
AT_ONCE = 32
PLAIN_QUERY = re.compile(r"(download|dl|raw)(=(1|0|true|false))?")


@dataclass(frozen=True)
class Found:
    """What lies at an address: ``digest`` by algorithm, empty where the server states nothing; ``size`` in bytes.

    ``files`` are the sizes of a folder's files by path, None of a single file. ``annotations`` are for the record.
    """

    digest: Mapping[str, str]
    size: int | None
    files: Mapping[str, int] | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)


def check_address(url: str) -> str:
    """``url``, which will be recorded and shown.

    Raises:
        ValueError: another scheme than s3, https or http; no host or bucket; something in it that may be a secret.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"has scheme '{parts.scheme}'; accepted: s3://BUCKET/PATH, https://HOST/PATH")
    if not parts.netloc or not parts.path.strip("/") or not url.isprintable() or " " in url:
        raise ValueError("is not a complete address; accepted: s3://BUCKET/PATH, https://HOST/PATH")
    if "@" in parts.netloc:
        raise ValueError(
            f"contains credentials, which would be recorded; pass them by {_credentials(parts.scheme)}"
        )
    if parts.fragment or (parts.query and not PLAIN_QUERY.fullmatch(parts.query)):
        raise ValueError(
            "contains a query or fragment, which may be a secret and would be recorded; remove it"
        )
    if ".." in PurePosixPath(urllib.parse.unquote(parts.path)).parts:
        raise ValueError("contains '..'; give the direct address")
    return url


def _credentials(scheme: str) -> str:
    names = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" if scheme == "s3" else TOKEN
    return f"the environment, {names}"


def look(url: str) -> Found:
    """What lies at ``url``, without downloading it.

    Raises:
        RegrowError: nothing is there, or the server cannot be reached or refuses; one sentence.
    """
    with _faults(url, "cannot be reached"):
        return _look_s3(url) if url.startswith("s3:") else _look_web(url)


def download(url: str, target: Path, *, found: Found, max_bytes: int, verified: bool = False) -> None:
    """Write what lies at ``url``, and was ``found`` there, to the file or folder ``target``.

    ``verified``: the caller compares its SHA-256, so it is not asked whether the server still states the same; servers
    that share an address state different entity tags of equal files.

    Raises:
        RegrowError: it is more than ``max_bytes``, is no longer what was found, or the server fails.
    """
    if found.size is not None and found.size > max_bytes:
        raise _too_large(url, max_bytes)
    with _faults(url, "cannot be downloaded"):
        if url.startswith("s3:"):
            _get_s3(url, target, found)
        else:
            _get_web(url, target, max_bytes)
    if not verified and look(url).digest != found.digest:
        raise RegrowError(f"prepare.source: {url}: changed during the download; run again")


def content_digest(url: str, *, max_bytes: int) -> str:
    """The SHA-256 of the file at ``url``, which is read for it and not kept.

    Raises:
        RegrowError: as `download` does.
    """
    digest = hashlib.sha256()
    with _faults(url, "cannot be reached"), _web_stream(url) as stream:
        for piece in _bounded(url, stream, max_bytes):
            digest.update(piece)
    return digest.hexdigest()


def require_digest(url: str, path: Path, expected: str) -> None:
    """Raises `RegrowError` where the file ``path``, fetched from ``url``, has another SHA-256 than ``expected``."""
    if path.is_dir() or (got := file_digest(path)) != expected:
        shown = "is a folder, which" if path.is_dir() else f"the download has SHA-256 {got}, which"
        raise RegrowError(f"prepare.source: {url}: {shown} does not match prepare.source.sha256, {expected}")


def _too_large(url: str, max_bytes: int) -> RegrowError:
    return RegrowError(
        f"prepare.source: {url}: has more than {max_bytes} bytes, the limit of prepare.source.max_bytes"
    )


@contextlib.contextmanager
def _faults(url: str, what: str) -> Iterator[None]:
    """Turn what a server or its library says into one sentence; a full disk is left to the caller."""
    try:
        yield
    except RegrowError:
        raise
    except ImportError as error:
        raise RegrowError(f"prepare.source: kind 'remote' needs s3fs and aiohttp ({error})") from None
    except Exception as error:  # each library has errors of its own
        if is_full(error):
            raise
        error.add_note(f"{REMOTE}bucket {urllib.parse.urlsplit(url).netloc}")
        raise RegrowError(f"prepare.source: {url}: {what} ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    status = getattr(error, "status", None)
    if status in (401, 403):
        return f"the server refuses with status {status}; if it needs a token, set {TOKEN}"
    if isinstance(status, int):
        return f"the server answers with status {status}"
    if isinstance(error, FileNotFoundError):
        return "nothing is there"
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    return reason(error)


# --- S3 ---------------------------------------------------------------------------------------------------------------


def _s3() -> Any:
    import s3fs

    return s3fs.S3FileSystem(
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={
            "connect_timeout": CONNECT_S,
            "read_timeout": SILENCE_S,
            "retries": {"max_attempts": 2},
        },
    )


def _look_s3(url: str) -> Found:
    files = _s3()
    place = url.removeprefix("s3://").rstrip("/")
    info = files.info(place)
    if info["type"] == "file":
        version = info.get("VersionId")
        return Found(
            {"etag": _etag(info)},
            int(info["size"]),
            annotations={"version_id": version} if version and version != "null" else {},
        )
    found = {
        _inside(url, name.removeprefix(place)): item
        for name, item in files.find(place, detail=True).items()
        if item["type"] == "file" and not name.endswith("/")
    }
    if not found or len(found) > MAX_FILES:
        raise RegrowError(f"prepare.source: {url}: has {len(found)} files; accepted: 1 to {MAX_FILES}")
    sizes = {name: int(found[name]["size"]) for name in sorted(found)}
    lines = "".join(f"{_etag(found[name])} {size} {name}\n" for name, size in sizes.items())
    total = sum(sizes.values())
    return Found({"etags_sha256": text_digest(lines)}, total, sizes, {"files": len(sizes), "bytes": total})


def _etag(info: Mapping[str, Any]) -> str:
    return str(info["ETag"]).strip('"')


def _inside(url: str, key: str) -> str:
    """``key`` as a path below a folder; a store takes any text for one.

    Raises:
        RegrowError: it would lead elsewhere.
    """
    name = key.removeprefix("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise RegrowError(f"prepare.source: {url}: its key '{key}' is not a valid file path")
    return name


def _get_s3(url: str, target: Path, found: Found) -> None:
    files, place = _s3(), url.removeprefix("s3://").rstrip("/")
    if found.files is None:
        files.get_file(place, str(target))
        return
    for name in found.files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
    names = list(found.files)
    files.get(
        [f"{place}/{name}" for name in names], [str(target / name) for name in names], batch_size=AT_ONCE
    )


# --- the web ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _web_stream(url: str) -> Iterator[Any]:
    """The body of the answer to a GET, not read yet; ``.r`` is the answer.

    Raises:
        RegrowError: an address that is encrypted leads to one that is not.
    """
    from aiohttp import ClientTimeout
    from fsspec.implementations.http import HTTPFileSystem

    headers = {"Accept-Encoding": "identity"}
    token = os.environ.get(TOKEN)
    if token and url.startswith("https:"):  # aiohttp leaves it out where it is led to another host
        headers["Authorization"] = f"Bearer {token}"
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    files = HTTPFileSystem(
        skip_instance_cache=True, client_kwargs={"timeout": timeout, "headers": headers, "trust_env": True}
    )
    # A size that is given, whatever it is, spares a request for it; no blocks: one answer is read from end to end.
    with files.open(url, "rb", block_size=0, size=1) as stream:
        if url.startswith("https:") and stream.r.url.scheme != "https":
            raise RegrowError(f"prepare.source: {url}: redirects to an unencrypted address; accepted: https")
        yield stream


def _look_web(url: str) -> Found:
    with _web_stream(url) as stream:
        headers = stream.r.headers
        size = headers.get("Content-Length")
        stated = {
            name: headers[header]
            for name, header in (("etag", "ETag"), ("last_modified", "Last-Modified"))
            if headers.get(header)
        }
    size = int(size) if size is not None and size.isdecimal() else None
    digest = {"etag": stated["etag"].strip('"')} if "etag" in stated else {}
    if not digest and "last_modified" in stated and size is not None:
        digest = {"last_modified_and_size": f"{stated['last_modified']}, {size}"}
    return Found(digest, size, annotations={} if size is None else {"bytes": size})


def _get_web(url: str, target: Path, max_bytes: int) -> None:
    with _web_stream(url) as stream, target.open("wb") as file:
        for piece in _bounded(url, stream, max_bytes):
            file.write(piece)


def _bounded(url: str, stream: Any, max_bytes: int) -> Iterator[bytes]:
    total = 0
    while piece := stream.read(CHUNK):
        total += len(piece)
        if total > max_bytes:
            raise _too_large(url, max_bytes)
        yield piece
