"""``import regrow``: what it offers, what it loads, and its docstrings' examples."""

import ast
import doctest
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import regrow
from regrow import library

HEAVY = {
    "tensorflow",
    "tf_keras",
    "keras",
    "numpy",
    "pandas",
    "pydantic",
    "rich",
    "click",
    "mlflow",
    "kfp",
    "dvc",
}


def loaded_by(code: str) -> set[str]:
    """The outermost modules that are loaded after ``code``."""
    code += "\nimport sys, json; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_it_loads_nothing_heavy() -> None:
    assert not loaded_by("import regrow; dir(regrow)") & HEAVY


def test_taking_its_names_loads_no_tensorflow() -> None:
    assert not loaded_by("from regrow import *") & (HEAVY - {"numpy", "pydantic", "rich"})


def test_what_is_public_is_there_and_is_what_type_checkers_see() -> None:
    assert dir(regrow) == sorted([*regrow.__all__, "__version__"])
    for name in regrow.__all__:
        assert callable(getattr(regrow, name)), name
    tree = ast.parse(Path(inspect.getfile(regrow)).read_text("utf-8"))
    (checking,) = (node for node in tree.body if isinstance(node, ast.If))
    (node,) = checking.body
    assert isinstance(node, ast.ImportFrom) and node.module == "regrow.library"
    assert sorted(alias.name for alias in node.names) == sorted(regrow.__all__) == sorted(library.__all__)


def test_a_misspelt_name_is_told_the_nearest() -> None:
    with pytest.raises(AttributeError, match="no attribute 'purne'"):
        regrow.purne  # noqa: B018
    code = "import regrow\nregrow.purne"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Did you mean: 'prune'?" in done.stderr


FUNCTIONS = [name for name in regrow.__all__ if getattr(regrow, name).__module__ == "regrow.library"]


@pytest.mark.parametrize("name", [*FUNCTIONS, "KeepZeros"])
def test_the_example_of_each_function_is_true(
    name: str,
    digits_file: Path,
    digit_arrays: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(digits_file, tmp_path)
    monkeypatch.chdir(tmp_path)
    function = getattr(regrow, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(
        function, name=name, globs={"regrow": regrow, **digit_arrays}
    )
    assert example.examples, f"{name} has no example"
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert result.failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_argument_is_described_and_typed(name: str) -> None:
    function = getattr(regrow, name)
    text = inspect.getdoc(function) or ""
    for argument in inspect.signature(function).parameters:
        assert f"    {argument}: " in text or f"    **{argument}: " in text, argument
        assert argument in function.__annotations__
    assert "Raises:" in text
    assert "return" in function.__annotations__
