"""The arrows of the architecture point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from regrow.steps import NAMES, SWEEP_NAMES

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "regrow").rglob("*.py"))


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_library_knows_neither_kubeflow_nor_its_own_pipelines(path: Path) -> None:
    assert not {
        name
        for name in imports(path)
        if name.split(".")[0] in ("kfp", "regrow_components", "regrow_pipelines")
    }


@pytest.mark.parametrize("step", (*NAMES, *SWEEP_NAMES))
def test_no_step_imports_a_step(step: str) -> None:
    found = imports(ROOT / "regrow" / "steps" / f"{step}.py")
    assert not {
        name for name in found for other in (*NAMES, *SWEEP_NAMES) if name.startswith(f"regrow.steps.{other}")
    }


FOUNDATIONS = ("graph", "dataset", "tasks")


@pytest.mark.parametrize(
    "path",
    [path for path in LIBRARY if path.parent.name in FOUNDATIONS],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_foundations_import_no_capability(path: Path) -> None:
    above = (
        "augmentation",
        "training",
        "pruning",
        "recovery",
        "conversion",
        "evaluation",
        "registry",
        "steps",
    )
    assert not {name for name in imports(path) for other in above if name.startswith(f"regrow.{other}")}


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_capabilities_import_no_step(path: Path) -> None:
    if path.parent.name in ("steps", "regrow"):
        return
    assert not {name for name in imports(path) if name.startswith("regrow.steps")}


def test_specifications_and_command_line_load_without_heavy_libraries() -> None:
    code = (
        "import sys, regrow.cli; from regrow.steps import all_specs; all_specs();"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'tensorflow', 'tf_keras', 'keras', 'mlflow', 'kfp', 'dvc', 'pandas', 'sklearn', 'matplotlib'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
