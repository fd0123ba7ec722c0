"""Executes the notebooks and keeps their outputs: ``python notebooks/execute.py`` (``make notebooks``)."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
LIMIT_S = 600


def executed(path: Path) -> Any:
    """The notebook ``path`` with the outputs of a fresh kernel, which works in an empty folder.

    Libraries' chatter on standard error is left out.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_chatter(output)]
    return notebook


def _is_chatter(output: Any) -> bool:
    return output.get("name") == "stderr" or str(output.get("text", "")).startswith("WARNING:tensorflow")


def main() -> None:
    """Execute each notebook, or those that are named, in place."""
    for path in [HERE / name for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        nbformat.write(executed(path), path)
        print(f"{path.name}: written")


if __name__ == "__main__":
    main()
