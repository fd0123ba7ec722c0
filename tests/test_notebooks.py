"""The notebooks: each runs to its end in an empty folder, and its outputs are kept."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 100_000  # bytes


def module() -> Any:
    spec = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_outputs_are_kept_small_and_without_errors_or_places(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `make notebooks`"
    assert len(outputs) >= 5
    assert {output.output_type for output in outputs} <= {"execute_result", "display_data", "stream"}
    assert any("<table" in output.get("data", {}).get("text/html", "") for output in outputs)
    assert path.stat().st_size < LARGEST
    assert not re.search(r"/(home|tmp|root|work|Users)/", path.read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path) -> None:
    kept, found = nbformat.read(path, as_version=4), module().executed(path)
    assert [cell.source for cell in found.cells] == [cell.source for cell in kept.cells]
    kinds = [
        [[item.output_type for item in cell.get("outputs", [])] for cell in each.cells]
        for each in (kept, found)
    ]
    assert kinds[0] == kinds[1], "run `make notebooks`"
