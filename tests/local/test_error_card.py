"""A failed run leaves a page that says what failed, where the log is and what to do."""

import json
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.local.error_card import EARLIER, write_error_card

FINISHED = {"event": "finished", "step": "prepare"}
LAUNCHED = {"event": "launched", "step": "train"}
FAILED = {"event": "failed", "step": "train", "message": "no"}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs & more"
    folder.mkdir()
    (folder / "train.log").touch()
    return folder


def card(results: Path, logs: Path, *events: dict[str, object], message: str = "step 'train': no") -> str:
    (logs / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events) + '{"cut')
    page = write_error_card(results, RegrowError(*message.splitlines()), logs=logs)
    assert page == results / "report" / "report.html"
    return page.read_text("utf-8")


def test_it_says_what_failed_where_the_log_is_and_what_to_do(tmp_path: Path, logs: Path) -> None:
    text = card(
        tmp_path / "results", logs, FINISHED, LAUNCHED, FAILED, message="step 'train': <b>no</b>\nand so on"
    )
    assert "<h1>Step &#x27;train&#x27; failed</h1>" in text
    assert "&lt;b&gt;no&lt;/b&gt;</p>\n<p>and so on" in text and "<b>no" not in text
    assert "logs &amp; more/train.log" in text
    assert "not repeated: prepare." in text and "params.yaml" in text and "defect" not in text
    assert EARLIER not in text


def test_credentials_and_control_characters_do_not_reach_it(tmp_path: Path, logs: Path) -> None:
    text = card(tmp_path, logs, FAILED, message="https://me:hunter2@mlflow.example: \x1b[2J no")
    assert "hunter2" not in text and "\x1b" not in text and "mlflow.example" in text


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (
            [LAUNCHED, {**FAILED, "defect": True}],
            "This is a defect of Regrow. Please report it, with the log.",
        ),
        ([FINISHED, LAUNCHED], "died without saying why, as the system does where memory runs out"),
        ([], "The run failed"),
    ],
)
def test_a_defect_and_a_sudden_death_get_other_advice(
    tmp_path: Path, logs: Path, events: list[dict[str, object]], says: str
) -> None:
    text = card(tmp_path, logs, *events)
    assert says in text
    assert ("train.log" in text) == bool(events)


def test_the_report_of_the_last_run_that_finished_is_kept(tmp_path: Path, logs: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report/report.html").write_text("<p>all well</p>")
    for _ in range(2):  # a second failure does not put the first one's card aside
        assert f'<a href="{EARLIER}">' in card(tmp_path, logs, FAILED)
        assert (tmp_path / "report" / EARLIER).read_text() == "<p>all well</p>"
