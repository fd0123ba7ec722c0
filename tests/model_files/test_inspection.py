from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from regrow.graph.costs import count_macs
from regrow.model_files.files import MODEL, save_model
from regrow.model_files.inspection import inspect_model, render, render_file


def test_a_model_artifact_and_its_file_are_inspected_alike(small: Any, tmp_path: Path) -> None:
    save_model(small, tmp_path)
    found = inspect_model(tmp_path)
    assert found == inspect_model(tmp_path / MODEL)
    assert (found.macs, found.parameters) == (count_macs(small), small.count_params())
    assert found.sparsity == 0.0
    assert [cost.name for cost in found.layers] == ["scale", "conv", "norm", "relu", "flat", "head"]


def test_the_table_shows_layers_and_sums(
    small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(small, tmp_path)
    for table in (render(small, title="small"), render_file(tmp_path)):
        Console(width=120).print(table)
        text = capsys.readouterr().out
        assert "8×8×4" in text
        assert "4,608" in text  # MACs of conv
        assert f"{small.count_params():,}" in text
        assert "0.0%" in text
