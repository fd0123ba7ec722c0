"""No form of address shows its password; what only looks like one stays as it is."""

import time

import pytest

from regrow.errors import RegrowError
from regrow.showing.redaction import bare_address, redacted, redacted_deep
from tests.showing.addresses import FORMS, HARMLESS, SECRET


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "frame", ["{}", "cannot open '{}': no route", 'see "{}", or ({})', "MLFLOW_TRACKING_URI={} failed"]
)
def test_no_form_shows_its_secret(form: str, frame: str) -> None:
    text = frame.format(form, form)
    assert SECRET not in redacted(text)
    assert SECRET not in str(RegrowError(text))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_credentials_stays(text: str) -> None:
    for framed in (text, f"'{text}' is not accepted; accepted: x", f"see {text}."):
        assert redacted(framed) == framed


@pytest.mark.parametrize("form", FORMS)
def test_redacting_twice_changes_nothing(form: str) -> None:
    assert redacted(redacted(form)) == redacted(form)


def test_what_surrounds_a_secret_stays() -> None:
    assert redacted(f"no 'https://me:{SECRET}@git.example.org:8443/a/b.git' here") == (
        "no 'https://***@git.example.org:8443/a/b.git' here"
    )
    assert redacted(f"password={SECRET} host=db port=5432") == "password=*** host=db port=5432"
    assert (
        redacted(f'{{"repo":"https://u:{SECRET}@h","to":"me@x.org"}}')
        == '{"repo":"https://***@h","to":"me@x.org"}'
    )
    assert redacted(f"Port could not be cast to integer value as '{SECRET}'").endswith("integer value as ***")
    assert bare_address(f"https://me:{SECRET}@host/x.git") == "https://host/x.git"


def test_values_inside_lists_and_mappings_are_redacted() -> None:
    found = redacted_deep({"a": [f"x:{SECRET}@h", 3, None], "b": (f"https://{SECRET}@h",), "c": 0.5})
    assert found == {"a": ["x:***@h", 3, None], "b": ("https://***@h",), "c": 0.5}


def test_the_environments_own_secrets_are_left_out_wherever_they_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:pa%23ss%2Fword@db/x")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")
    assert redacted("login 'correct horse' refused") == "login '***' refused"
    assert redacted("invalid port: 'pa#ss/word'") == "invalid port: '***'"
    assert redacted("/var/run/token: no such file") == "/var/run/token: no such file"


@pytest.mark.parametrize(
    "unit", ["a:", "@", "x://", "token=", "a_", "'", "%3A%2F%2F", "9", "a:b@", "http://u:p"]
)
def test_long_texts_take_no_longer_than_they_are(unit: str) -> None:
    begun = time.monotonic()
    redacted(unit * (200_000 // len(unit)) + "=@")
    assert time.monotonic() - begun < 5
