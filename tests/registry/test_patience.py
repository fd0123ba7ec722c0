"""What may be gone when it is tried again is tried again; a mistake is said at once."""

import time

import pytest

from regrow.errors import RegrowError
from regrow.registry.client import connection
from regrow.registry.patience import patience_s, patiently


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


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_patience_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("REGROW_PATIENCE_S", text)
    with pytest.raises(RegrowError, match=r"REGROW_PATIENCE_S: is .*; accepted: seconds"):
        patience_s()
