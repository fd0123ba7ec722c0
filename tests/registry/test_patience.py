"""What may be gone when it is tried again is tried again; a mistake is said at once."""

import time
from typing import Any

import botocore.exceptions
import pytest
import requests

from regrow.errors import RegrowError
from regrow.registry.client import connection
from regrow.registry.patience import is_transient, patience_s, patiently


def test_what_comes_back_is_waited_for() -> None:
    answers = [ConnectionError("reset"), ConnectionError("reset")]

    def work() -> str:
        if answers:
            raise answers.pop()
        return "done"

    assert patiently(work, what="step 'register'", seconds=20) == "done"


def test_a_server_that_stays_away_is_said_in_one_sentence() -> None:
    def work() -> None:
        with connection("http://127.0.0.1:9"):
            raise AssertionError("nobody is there")

    clock = time.monotonic()
    with pytest.raises(RegrowError, match="cannot be reached"):
        patiently(work, what="step 'register'", seconds=1.0)
    assert 0.2 < time.monotonic() - clock < 10


def test_a_mistake_is_not_repeated() -> None:
    calls = []

    def work() -> None:
        calls.append(1)
        raise RegrowError("the model has no signature")

    with pytest.raises(RegrowError, match="no signature"):
        patiently(work, what="step 'register'", seconds=60)
    assert len(calls) == 1


def refusal(status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return requests.exceptions.HTTPError(response=response)


def refused_by_store(status: int) -> Exception:
    metadata: Any = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(metadata, "PutObject")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (requests.exceptions.ConnectionError(), True),
        (requests.exceptions.ReadTimeout(), True),
        (refusal(503), True),
        (refusal(403), False),
        (requests.exceptions.MissingSchema(), False),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"), True),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"), True),
        (refused_by_store(503), True),
        (refused_by_store(403), False),
        (botocore.exceptions.NoCredentialsError(), False),
        (ValueError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_is_not_waited_out(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected
    assert is_transient(RegrowError("wrapped")) is False
    wrapped = RegrowError("wrapped")
    wrapped.__cause__ = error
    assert is_transient(wrapped) is expected


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_patience_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("REGROW_PATIENCE_S", text)
    with pytest.raises(RegrowError, match=r"REGROW_PATIENCE_S: is .*; accepted: a number of seconds"):
        patience_s()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('(psycopg2.errors.UniqueViolation) duplicate key violates "registered_model_alias_pk"', True),
        ("(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.name", True),
        ("QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00", True),
        ("Invalid alias name", False),
    ],
)
def test_who_writes_the_same_row_second_or_meets_a_crowd_tries_again(message: str, expected: bool) -> None:
    from mlflow.exceptions import RestException

    assert is_transient(RestException({"error_code": "BAD_REQUEST", "message": message})) is expected
