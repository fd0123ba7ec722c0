"""Sending a run's outcome to a webhook, as JSON over HTTPS."""

import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from regrow.errors import RegrowError

WEBHOOK = "REGROW_WEBHOOK_URL"
TIMEOUT_S = 10.0
PAUSES_S = (0.0, 1.0, 4.0)
LOCAL = ("localhost", "127.0.0.1", "::1")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What is sent goes to the address that was given: a redirect could lead out of HTTPS."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


def check_address(url: str) -> None:
    """Refuse an address that is not HTTPS, or HTTP to this machine.

    Raises:
        RegrowError: it is neither. The address is not shown: what follows the host is often a secret.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        known = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # its message shows what stands where the port should
        known = False
    if not known or re.search(r"\s", url.strip()):
        raise RegrowError(f"{WEBHOOK}: is not a web address; accepted: https://HOST/…")
    if parts.username is not None or parts.password is not None:
        raise RegrowError(f"{WEBHOOK}: contains a user name or password before the host; remove them")
    if parts.scheme == "http" and parts.hostname not in LOCAL:
        raise RegrowError(
            f"{WEBHOOK}: the address of {parts.hostname} is not encrypted; accepted: https://…, and http://… for"
            " localhost"
        )


def notify(url: str, payload: Mapping[str, Any]) -> None:
    """POST ``payload`` to ``url``; three attempts where the other side does not answer or says 429 or 5xx.

    Raises:
        RegrowError: it could not be delivered; the host is named, the address is not.
    """
    check_address(url)
    body = json.dumps(payload, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "regrow"}
    # What is not encrypted stays on this machine: it goes past a proxy.
    direct = [urllib.request.ProxyHandler({})] if urllib.parse.urlsplit(url).scheme == "http" else []
    opener = urllib.request.build_opener(_NoRedirects, *direct)
    reason = ""
    for pause in PAUSES_S:
        time.sleep(pause)
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        try:
            with opener.open(request, timeout=TIMEOUT_S):
                return
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code}"
            if error.code != 429 and error.code < 500:
                break
        except (http.client.InvalidURL, UnicodeError) as error:  # their messages show the address
            reason = type(error).__name__
            break
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", None) or error
            reason = " ".join(str(cause).split())[:200] or type(error).__name__
    host = urllib.parse.urlsplit(url).hostname
    raise RegrowError(f"{WEBHOOK}: {host} did not accept the message ({reason})")
