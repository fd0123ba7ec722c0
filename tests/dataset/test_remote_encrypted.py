"""Raw data over https: the token, where it goes and where not, and certificates."""

import datetime
import http.server
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from regrow.dataset.remote import TOKEN

pytestmark = pytest.mark.timeout(120)
SECRET = "s3cr3t-t0ken"
LOOK = """
import json, sys
from regrow.dataset.remote import look
for url in sys.argv[1:]:
    try:
        print(json.dumps(dict(look(url).digest)))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def certificate(folder: Path) -> Path:
    """A file of a new key and its certificate for 127.0.0.1, which vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


class Servers:
    """Two servers, of which the first is led by ``redirects``; ``seen`` are the paths and authorizations asked with."""

    def __init__(self, pem: Path) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self.redirects: dict[str, str] = {}
        self._servers: list[http.server.ThreadingHTTPServer] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self.first, self.second = self._start(context), self._start(context)
        self.plain = self._start(None)

    def _start(self, context: ssl.SSLContext | None) -> str:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, self.headers.get("Authorization")))
                target = outer.redirects.get(self.path)
                self.send_response(302 if target else 200)
                self.send_header("Location", target) if target else self.send_header("ETag", '"v1"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._servers.append(server)
        return f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    made = Servers(certificate(tmp_path))
    yield made
    made.stop()


def look(*urls: str, **environment: str) -> list[Any]:
    """Of each address what is found, or the error; in a process of its own, as certificates are read once."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *urls],
        env={**kept, TOKEN: SECRET, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert SECRET not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_token_goes_to_the_host_that_is_named_and_stays_encrypted(
    servers: Servers, tmp_path: Path
) -> None:
    servers.redirects = {"/elsewhere": f"{servers.second}/b", "/down": f"{servers.plain}/c"}
    found = look(
        *(f"{servers.first}/{path}" for path in ("a", "elsewhere", "down")),
        SSL_CERT_FILE=str(tmp_path / "certificate.pem"),
    )
    assert found[:2] == [{"etag": "v1"}, {"etag": "v1"}]
    assert found[2] == (
        f"RegrowError: prepare.source: {servers.first}/down: redirects to an unencrypted address; accepted: "
        "https"
    )
    given = dict(servers.seen)
    assert given["/a"] == given["/elsewhere"] == f"Bearer {SECRET}"
    assert given["/b"] is given["/c"] is None


def test_a_certificate_that_nobody_vouches_for_is_refused(servers: Servers) -> None:
    (found,) = look(f"{servers.first}/a")
    assert found.startswith(f"RegrowError: prepare.source: {servers.first}/a: cannot be reached (")
    assert "certificate" in found
    assert not servers.seen
