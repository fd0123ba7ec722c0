"""Hostile parameters and documents: each is refused in one sentence."""

from pathlib import Path

import pytest

from tests.hostile.conftest import Command
from tests.hostile.documents import DOCUMENTS
from tests.hostile.refusals import refused


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_hostile_document_is_refused(name: str, command: Command, tmp_path: Path) -> None:
    refused(DOCUMENTS[name], command, tmp_path)
