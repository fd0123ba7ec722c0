"""Addresses with credentials, through the commands: neither what is printed nor what is written shows the secret."""

from pathlib import Path

import pytest

from tests.hostile.conftest import Command, Outcome
from tests.showing.addresses import FORMS, SECRET


def hidden(done: Outcome, folder: Path, form: str) -> None:
    said = f"{form}: {done}"
    assert done.ended, said
    assert SECRET not in done.output + done.errors, said
    assert "Traceback" not in done.errors, said
    assert not [
        path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
    ], said


def as_yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@pytest.mark.parametrize("form", FORMS)
def test_a_source_with_credentials_is_refused_and_they_are_not_repeated(
    form: str, command: Command, tmp_path: Path
) -> None:
    source = f"{{kind: dvc, repo: {as_yaml(form)}, path: data, format: folder}}"
    done = command(["resolve", "--set", f"prepare.source={source}"], tmp_path)
    hidden(done, tmp_path, form)
    assert done.status == 1
    assert done.errors.startswith("error: ")


@pytest.mark.parametrize("form", FORMS[::6])
def test_no_section_takes_credentials(form: str, command: Command, tmp_path: Path) -> None:
    done = command(["prepare", "--set", f"train.import={{path: {as_yaml(form)}}}"], tmp_path)
    hidden(done, tmp_path, form)
    assert "contains credentials" in done.errors


@pytest.mark.parametrize("form", FORMS)
def test_mlflows_address_is_not_repeated(form: str, command: Command, tmp_path: Path) -> None:
    for arguments, environment in (
        (["rollback", "model", "--set", f"tracking.uri={as_yaml(form)}"], {}),
        (["rollback", "model", "--to", "1"], {"MLFLOW_TRACKING_URI": form}),
    ):
        done = command(arguments, tmp_path, environment=environment)
        hidden(done, tmp_path, form)
        assert done.status == 1
        assert done.errors.startswith("error: ")
