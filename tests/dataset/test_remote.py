"""Raw data on a web server: identified without a download, bounded, verified, and faults are sentences.

S3 is tested in tests/services.
"""

import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from regrow.dataset import remote
from regrow.dataset.readers import list_examples
from regrow.dataset.remote import check_address
from regrow.dataset.sources import Remote, Source, fetch_remote, identify
from regrow.errors import RegrowError
from tests.dataset.test_folders import png

pytestmark = pytest.mark.timeout(60)
TOKEN = "s3cr3t-token"


@dataclass
class Web:
    """A server on this machine; ``files`` by path, ``seen`` are the headers of each request."""

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", remote.TOKEN):
        monkeypatch.delenv(name, raising=False)
    made = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.seen.append(dict(self.headers))
            if self.path in made.redirects:
                self.send_response(302)
                self.send_header("Location", made.redirects[self.path])
                self.end_headers()
                return
            if self.path.startswith("/status/"):
                self.send_error(int(self.path.rpartition("/")[2]))
                return
            body = made.files.get(self.path)
            if body is None and self.path != "/endless":
                self.send_error(404)
                return
            self.send_response(200)
            for name, value in made.headers.get(self.path, {}).items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body or b"")
                while self.path == "/endless":
                    self.wfile.write(bytes(2**20))
            except OSError:
                pass  # the client has seen enough

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def pets(tmp_path: Path) -> bytes:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for number, name in enumerate(("cat", "dog")):
            archive.writestr(f"{name}/1.png", png(number))
    return (tmp_path / "pets.zip").read_bytes()


def source(url: str, **options: Any) -> Remote:
    options = {"format": "archive", **options}
    found: Remote = TypeAdapter(Source).validate_python({"kind": "remote", "url": url, **options})
    return found


def plain(web: Web, path: str, **options: Any) -> Remote:
    """A source on ``web``, which is not encrypted, so that its digest has to be stated."""
    return source(web.address + path, **{"sha256": sha256(web.files.get(path, b"")), **options})


def test_an_archive_comes_from_a_web_server(web: Web, pets: bytes, tmp_path: Path) -> None:
    web.files["/data/pets.zip"] = pets
    asked = plain(web, "/data/pets.zip")
    (found,) = identify(asked)
    assert (found.name, found.uri) == ("raw_data", f"{web.address}/data/pets.zip")
    assert found.digest == {"sha256": sha256(pets)}
    place = fetch_remote(asked, tmp_path / "raw", digest=found.digest)
    assert place.read_bytes() == pets
    assert list_examples(asked.at(place)).labels == ["cat", "dog"]


def test_what_the_server_states_identifies_the_data(web: Web, pets: bytes, tmp_path: Path) -> None:
    """As it would be over https, where no digest need be stated."""
    web.files["/pets.zip"] = pets
    url = f"{web.address}/pets.zip"
    web.headers["/pets.zip"] = {"ETag": '"v1"', "Content-Length": str(len(pets))}
    found = remote.look(url)
    assert (found.digest, found.size) == ({"etag": "v1"}, len(pets))
    remote.download(url, tmp_path / "a", found=found, max_bytes=10**6)
    assert (tmp_path / "a").read_bytes() == pets
    web.headers["/pets.zip"]["ETag"] = '"v2"'
    with pytest.raises(RegrowError, match=r"pets\.zip: changed during the download; run again"):
        remote.download(url, tmp_path / "b", found=found, max_bytes=10**6)
    dated = {"Last-Modified": "Tue, 01 Dec 2026 10:00:00 GMT", "Content-Length": str(len(pets))}
    web.headers["/pets.zip"] = dated
    assert remote.look(url).digest == {
        "last_modified_and_size": f"Tue, 01 Dec 2026 10:00:00 GMT, {len(pets)}"
    }
    web.headers["/pets.zip"] = {}
    assert remote.look(url).digest == {}
    assert remote.content_digest(url, max_bytes=10**6) == sha256(pets)


def test_a_stated_digest_is_enough_where_servers_that_share_an_address_state_different_tags(
    web: Web, pets: bytes, tmp_path: Path
) -> None:
    class Changing(dict[str, str]):
        def items(self) -> Any:
            return {"ETag": f'"{len(web.seen)}"'}.items()

    web.files["/pets.zip"] = pets
    web.headers["/pets.zip"] = Changing()
    asked = plain(web, "/pets.zip")
    assert remote.look(asked.url).digest != remote.look(asked.url).digest
    (found,) = identify(asked)
    assert fetch_remote(asked, tmp_path / "raw", digest=found.digest).read_bytes() == pets


def test_other_bytes_than_stated_are_refused(web: Web, pets: bytes, tmp_path: Path) -> None:
    web.files["/pets.zip"] = pets
    asked = plain(web, "/pets.zip", sha256=sha256(b"other"))
    (found,) = identify(asked)
    with pytest.raises(
        RegrowError,
        match=rf"SHA-256 {sha256(pets)}, which does not match prepare\.source\.sha256, {sha256(b'other')}",
    ):
        fetch_remote(asked, tmp_path / "raw", digest=found.digest)


def test_sizes_are_bounded_whether_they_are_stated_or_not(web: Web, tmp_path: Path) -> None:
    words = r"has more than 1000 bytes, the limit of prepare\.source\.max_bytes"
    web.files |= {"/stated": bytes(2000), "/silent": bytes(2000)}
    web.headers["/stated"] = {"Content-Length": "2000"}
    for path in ("/stated", "/silent", "/endless"):
        asked = plain(web, path, max_bytes=1000)
        with pytest.raises(RegrowError, match=words):
            fetch_remote(asked, tmp_path / "raw", digest={"sha256": asked.sha256 or ""})
    with pytest.raises(RegrowError, match=words):
        remote.content_digest(f"{web.address}/endless", max_bytes=1000)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/gone", "nothing is there"),
        ("/status/403", "refuses with status 403; if it needs a token, set REGROW_DATA_TOKEN"),
        ("/status/500", "answers with status 500"),
        ("/status/429", "answers with status 429"),
        ("/circle", "cannot be reached"),
    ],
)
def test_what_a_server_answers_is_one_sentence(web: Web, path: str, words: str) -> None:
    web.redirects["/circle"] = "/circle"
    with pytest.raises(RegrowError, match=words) as error:
        identify(plain(web, path))
    assert str(error.value).startswith(f"prepare.source: {web.address}{path}: cannot be reached (")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/pets.zip", "http://nowhere.invalid/pets.zip"])
def test_offline_is_one_sentence(address: str) -> None:
    with pytest.raises(RegrowError, match=r"^prepare\.source: http://\S+: cannot be reached \(") as error:
        identify(source(address, sha256=sha256(b"")))
    assert "\n" not in str(error.value)


def test_a_body_that_ends_early_is_refused(web: Web, tmp_path: Path) -> None:
    web.files["/short"] = b"x" * 100
    web.headers["/short"] = {"Content-Length": "200"}
    asked = plain(web, "/short")
    with pytest.raises(RegrowError, match="cannot be downloaded"):
        fetch_remote(asked, tmp_path / "raw", digest={"sha256": asked.sha256 or ""})


def test_the_token_goes_where_it_is_encrypted_and_nowhere_else(
    web: Web, pets: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files["/pets.zip"] = pets
    monkeypatch.setenv(remote.TOKEN, TOKEN)
    identify(plain(web, "/pets.zip"))
    assert web.seen
    assert not [headers for headers in web.seen if TOKEN in str(headers)]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://user:SECRET@host/a.zip", "contains credentials"),
        ("s3://KEY:SECRET@bucket/a.zip", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("https://host/a.zip?token=SECRET", "may be a secret"),
        ("https://host/a.zip?X-Amz-Signature=SECRET", "may be a secret"),
        ("https://host/a.zip#SECRET", "may be a secret"),
        ("file:///etc/passwd", "has scheme 'file'"),
        ("ftp://host/a.zip", "has scheme 'ftp'"),
        ("simplecache::s3://bucket/a.zip", "has scheme"),
        ("/data/a.zip", "has scheme ''"),
        ("https://host", "is not a complete address"),
        ("s3://bucket", "is not a complete address"),
        ("https://host/a b.zip", "is not a complete address"),
        ("https://host/../a.zip", "contains '..'"),
        ("s3://bucket/%2e%2e/a.zip", "contains '..'"),
    ],
)
def test_addresses_are_checked_and_secrets_are_not_repeated(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        check_address(url)
    assert "SECRET" not in str(error.value).replace("AWS_SECRET_ACCESS_KEY", "")


def test_addresses_that_are_fine() -> None:
    for url in ("s3://bucket/a/b/", "https://host:8443/a.zip", "https://host/files/a.zip?download=1"):
        assert check_address(url) == url


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://host/a.zip"}, "is not encrypted; .*sha256"),
        ({"url": "https://host/a", "format": "folder"}, "format folder .*s3://"),
        ({"url": "https://host/a", "format": "idx"}, "format idx .*s3://"),
        ({"url": "s3://bucket/a", "format": "folder", "sha256": "0" * 64}, "sha256 applies to a file"),
        ({"url": "https://host/a.zip", "sha256": "abc"}, "sha256"),
        ({"url": "https://host/a.csv", "format": "csv"}, "needs 'label'"),
    ],
)
def test_sources_are_checked(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        source(**{"format": "archive", **options})


@pytest.mark.parametrize("key", ["/../x", "/a/../../x", "//x", "/a//b", "/.", "/a/./b", ""])
def test_keys_that_lead_out_of_the_folder_are_refused(key: str) -> None:
    with pytest.raises(RegrowError, match="is not a valid file path"):
        remote._inside("s3://bucket/set", key)
    assert remote._inside("s3://bucket/set", "/cat/1.png") == "cat/1.png"
