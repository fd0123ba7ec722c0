"""Hostile data: each is refused in one sentence, and nothing of it is kept."""

from pathlib import Path

import pytest

from tests.hostile.conftest import Command
from tests.hostile.data import DATA
from tests.hostile.refusals import refused


@pytest.mark.parametrize("name", DATA)
def test_hostile_data_is_refused(name: str, command: Command, tmp_path: Path) -> None:
    refused(DATA[name], command, tmp_path)
