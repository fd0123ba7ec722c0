"""What is logged as a parameter is what was used."""

from pathlib import Path
from typing import Any

import pytest

from regrow.registry.tested_rate import with_tested_rate
from regrow.steps.train import TrainParams


@pytest.mark.parametrize(
    ("document", "logged"),
    [({"architecture": "mlp"}, True), ({"import": {"path": "mine.keras"}}, False)],
)
def test_a_parent_that_is_imported_has_no_settings_of_training(
    document: dict[str, Any], logged: bool, tmp_path: Path
) -> None:
    parameters = TrainParams.model_validate(document).model_dump(mode="json")
    assert parameters["fit"]["epochs"] == 30
    found = with_tested_rate(parameters, {})
    assert ("fit" in found, "architecture" in found) == (logged, logged)
    assert "import_model" in found


def test_a_new_head_on_an_imported_trunk_is_trained() -> None:
    parameters = {"import_model": {"path": "mine.keras", "head": "replace"}, "fit": {"epochs": 3}}
    assert with_tested_rate(parameters, {}) == parameters
