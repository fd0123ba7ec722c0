"""Hostile model files: each is refused in one sentence, and none runs."""

from pathlib import Path

import pytest

from tests.hostile.conftest import Command
from tests.hostile.models import MODELS, archive, members
from tests.hostile.refusals import refused


@pytest.mark.parametrize("name", MODELS)
def test_a_hostile_model_file_is_refused(name: str, command: Command, tmp_path: Path) -> None:
    refused(MODELS[name], command, tmp_path)


def test_the_unspoilt_file_is_read(command: Command, tmp_path: Path) -> None:
    archive(tmp_path / "model.keras", members())
    done = command(["inspect", "model.keras"], tmp_path)
    assert done.status == 0, done.errors
    assert "dense" in done.output
