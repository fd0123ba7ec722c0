"""Calls to Kubeflow Pipelines with time-outs, safe retries, and errors that say what to do.

What `kfp_server_api` raises becomes an `ApiError`: one sentence. A request that reads, or that does the same when
done twice, is repeated after no answer, 429 and 5xx. One that creates is repeated only after a look whether
the first try has created it after all.
"""

import json
import os
import random
import ssl
import string
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api
import urllib3

from regrow.errors import RegrowError

ENDPOINT = "KF_PIPELINES_ENDPOINT"
TOKEN = "REGROW_KFP_TOKEN"
COOKIE = "REGROW_KFP_COOKIE"
CERTIFICATES = "SSL_CERT_FILE"
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
MOUNTED_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
PASSING = frozenset({429, 500, 502, 503, 504})
UNANSWERED = 0


@dataclass(frozen=True)
class Policy:
    """How long to wait for an answer, and how often to ask again.

    Args:
        connect_s: for the connection.
        answer_s: for the answer; uploads get four times as long.
        attempts: how often a request is sent at most.
        pause_s: before the second attempt; each further pause is twice as long, at most ``longest_s``, and
            between half and all of it by chance, so that many clients do not come back at once.
        longest_s: the longest pause.
    """

    connect_s: float = 5
    answer_s: float = 30
    attempts: int = 6
    pause_s: float = 1
    longest_s: float = 15

    def pauses(self) -> Iterator[float | None]:
        """The pause after each attempt; None after the last."""
        for number in range(self.attempts - 1):
            yield min(self.pause_s * 2**number, self.longest_s) * random.uniform(0.5, 1)
        yield None


DEFAULT_POLICY = Policy()


class ApiError(RegrowError):
    """Kubeflow Pipelines did not do what was requested.

    Args:
        status: of HTTP; 0 if there was no answer.
        message: the sentence for the user.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(*message.splitlines())
        self.status = status

    @property
    def passes(self) -> bool:
        """Asking again may help."""
        return self.status in PASSING or self.status == UNANSWERED

    @property
    def exists(self) -> bool:
        """What was to be created is there."""
        return self.status == 409


class StrangerError(ApiError):
    """What answers is not Kubeflow Pipelines."""


class UnusableError(ApiError):
    """No attempt can help, as the connection cannot be made: a certificate, a name."""

    passes = False


class Connection:
    """One Kubeflow Pipelines server, and the namespace in which we work there.

    Args:
        endpoint: its address; None: ``KF_PIPELINES_ENDPOINT``, or the service's own address inside the cluster.
        namespace: the Kubernetes namespace of experiments and runs (in a multi-user installation).
        policy: time-outs and repetitions.

    Raises:
        RegrowError: no endpoint is known, or it is none.
    """

    def __init__(self, endpoint: str | None, *, namespace: str, policy: Policy | None = None) -> None:
        self.endpoint = _endpoint(endpoint)
        self.namespace = namespace
        self.policy = policy or DEFAULT_POLICY
        self.client = kfp_server_api.ApiClient(
            _configuration(self.endpoint), cookie=_credential(COOKIE, os.environ.get(COOKIE, "")) or None
        )

    def call(
        self,
        purpose: str,
        function: Callable[..., Any],
        *args: Any,
        found: Callable[[], Any] | None = None,
        patience: float = 1,
        **options: Any,
    ) -> Any:
        """What ``function``, a method of `kfp_server_api`, answers; repeated as the policy says.

        Args:
            purpose: what it is for, as in "cannot ...".
            function: the method.
            args: its arguments.
            found: for a request that creates: returns what an attempt of ours has created unknown to us, or None.
            patience: the time for an answer, as a multiple of the policy's.
            options: its options; those that are None are left out.

        Raises:
            ApiError: it was refused, no attempt was answered, or what answers is not Kubeflow Pipelines.
        """
        given = {name: value for name, value in options.items() if value is not None}
        limit = (self.policy.connect_s, self.policy.answer_s * patience)
        for pause in self.policy.pauses():
            self.client.last_response = None  # what is there is the answer to another request
            try:
                answer = function(*args, _request_timeout=limit, **given)
            except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
                fault = self._fault(purpose, error)
            except AttributeError as error:
                # kfp_server_api stumbles over its own error of TLS, which has no body to decode.
                if not isinstance(error.__context__, kfp_server_api.ApiException):
                    raise
                fault = self._fault(purpose, error.__context__)
            else:
                self._require_kubeflow(purpose, answer)
                return answer
            if not (fault.passes or (fault.exists and found is not None)):
                raise fault
            if pause is not None and not fault.exists:
                time.sleep(pause)
            if found is not None and (there := found()) is not None:
                return there
            if fault.exists:
                raise fault
        raise fault

    def _require_kubeflow(self, purpose: str, answer: Any) -> None:
        """Refuse a page with status 200, of a login or of another server, which `kfp_server_api` reads as nothing.

        An answer that says nothing leaves all keys out; a newer server's has keys that we do not know beside those
        that we do. One that has only keys we do not know is another server's.
        """
        answered = self.client.last_response
        try:
            found = json.loads(answered.data or "{}") if answered is not None else {}
        except ValueError:
            found = None
        known = set(getattr(answer, "attribute_map", {}).values())
        if not isinstance(found, dict) or (found and known and not known & set(found)):
            raise self.stranger(purpose, status=answered.status)

    def stranger(self, purpose: str, *, status: int) -> StrangerError:
        """The error for an answer that Kubeflow Pipelines does not give."""
        return StrangerError(
            f"{self.endpoint}: cannot {purpose}: the server there is a login page or another server, not "
            f"Kubeflow Pipelines; check cluster.endpoint (or {ENDPOINT}) and whether it needs {TOKEN} or "
            f"{COOKIE}",
            status=status,
        )

    def _fault(self, purpose: str, error: BaseException) -> ApiError:
        """The sentence for what `kfp_server_api` or `urllib3` has raised."""
        if isinstance(error, kfp_server_api.ApiException) and error.status:
            sentence = _refusal(error.status, self._said(error), namespace=self.namespace)
            if error.status == 404 and _is_elsewhere(error):
                sentence += (
                    f"; check that cluster.endpoint (or {ENDPOINT}) is the address of the service "
                    "ml-pipeline, not of the web page"
                )
            return ApiError(f"{self.endpoint}: cannot {purpose}: {sentence}", status=error.status)
        if _is_about_certificates(error):
            return UnusableError(
                f"{self.endpoint}: cannot {purpose}: the server's certificate is not trusted "
                f"({_short(error)}); set {CERTIFICATES} to the file of its certificate authority",
                status=UNANSWERED,
            )
        unmade = isinstance(
            error, urllib3.exceptions.NewConnectionError
        )  # which urllib3 counts as a time-out
        if isinstance(error, urllib3.exceptions.TimeoutError) and not unmade:
            reason = f"no answer in {self.policy.answer_s:g} s"
        else:
            reason = f"it cannot be reached ({_short(error)})"
        return ApiError(
            f"{self.endpoint}: cannot {purpose}: {reason}, after {self.policy.attempts} attempts; check "
            f"that it is the address of Kubeflow Pipelines (cluster.endpoint or {ENDPOINT}) and that any "
            "port-forward is still running",
            status=UNANSWERED,
        )

    def _said(self, error: kfp_server_api.ApiException) -> str:
        """The server's own words."""
        try:
            body = json.loads(error.body or "{}")
        except ValueError:
            body = {}
        said = ""
        if isinstance(body, dict):
            said = body.get("message") or body.get("error_message") or body.get("error") or ""
        return " ".join(str(said or error.reason or "no reason given").split())[:400]


def _refusal(status: int, said: str, *, namespace: str) -> str:
    if status == 401:
        return f"no valid credentials (401: {said}); set {TOKEN}, or {COOKIE} behind a login page"
    if status == 403:
        return (
            f"not allowed (403: {said}); check that '{namespace}' is the right namespace "
            "(cluster.namespace) and that this account has a role in it"
        )
    if 300 <= status < 400:
        return f"the address leads to a login page ({status}); set {TOKEN} or {COOKIE}"
    if status == 404:
        return f"it does not exist (404: {said})"
    return f"{said} ({status})"


def _is_elsewhere(error: kfp_server_api.ApiException) -> bool:
    """Whether a 404 is about the path: Kubeflow's about a thing have a code and name the thing."""
    try:
        body = json.loads(error.body or "{}")
    except ValueError:
        return True
    return not isinstance(body, dict) or "code" not in body or body.get("message") == "Not Found"


def _is_about_certificates(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError) or (
            isinstance(error, kfp_server_api.ApiException) and "SSL" in str(error.reason)
        ):
            return True
        error = getattr(error, "reason", None) if isinstance(error, urllib3.exceptions.HTTPError) else None
        error = error if isinstance(error, BaseException) else None
    return False


def _short(error: BaseException) -> str:
    """The last part of a chain of errors, which says what happened: ``Connection refused``."""
    text = str(getattr(error, "reason", None) or error)
    return " ".join(text.split())[-160:].split(": ")[-1].strip("()'\" ")


def _endpoint(given: str | None) -> str:
    found = given or os.environ.get(ENDPOINT)
    if not found and os.environ.get("KUBERNETES_SERVICE_HOST"):
        found = IN_CLUSTER
    if not found:
        raise RegrowError(
            f"cluster.endpoint: the address of Kubeflow Pipelines is not set; set it or {ENDPOINT}, for "
            "example to http://localhost:8888 after `kubectl -n kubeflow port-forward svc/ml-pipeline 8888`"
        )
    if not found.startswith(("http://", "https://")):
        raise RegrowError(
            f"cluster.endpoint: '{found}' is not an address; accepted: an address that begins with http:// "
            "or https://"
        )
    try:
        host = None if set(found) & set(string.whitespace) else urllib3.util.parse_url(found).host
    except urllib3.exceptions.LocationParseError:
        host = None
    if not host:
        raise RegrowError(
            f"cluster.endpoint: '{found}' has no host; accepted: an address such as http://localhost:8888"
        )
    return found.rstrip("/")


def _credential(source: str, text: str) -> str:
    """``text`` as a header can carry it; an error names the ``source``, not the value."""
    text = text.strip()
    if not (text.isascii() and text.isprintable()):
        raise RegrowError(
            f"{source}: contains characters that are not allowed in a credential; check that it was copied "
            "completely, on one line"
        )
    return text


def _configuration(endpoint: str) -> kfp_server_api.Configuration:
    configuration = kfp_server_api.Configuration(host=endpoint)
    configuration.retries = False  # ours are in `Connection.call`
    if authority := os.environ.get(CERTIFICATES):
        if not Path(authority).is_file():
            raise RegrowError(f"{CERTIFICATES}: there is no file {authority}")
        configuration.ssl_ca_cert = authority
    named = os.environ.get(TOKEN_FILE)
    mounted = Path(named or MOUNTED_TOKEN)
    if token := _credential(TOKEN, os.environ.get(TOKEN, "")):
        configuration.api_key["authorization"] = token
    elif mounted.is_file():

        def read(configuration: kfp_server_api.Configuration) -> None:
            """Kubernetes renews the file; it is read before each request."""
            configuration.api_key["authorization"] = _credential(str(mounted), mounted.read_text("utf-8"))

        configuration.refresh_api_key_hook = read
        read(configuration)
    elif named:
        raise RegrowError(f"{TOKEN_FILE}: there is no file {named}")
    if configuration.api_key:
        configuration.api_key_prefix["authorization"] = "Bearer"
    return configuration
