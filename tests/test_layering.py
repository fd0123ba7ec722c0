"""The arrows of the architecture point one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from regrow.steps import NAMES, SWEEP_NAMES

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"regrow": "regrow", "components": "regrow_components", "pipelines": "regrow_pipelines"}
# From the ground up. A module belongs to the longest name that it begins with, and imports from its own level or below.
LEVELS = (
    ("regrow.errors", "regrow.extensions", "regrow.progress", "regrow.showing"),
    ("regrow.storage",),
    ("regrow.config.choices", "regrow.config.sections", "regrow.config.validation"),
    ("regrow.provenance",),
    ("regrow.tasks", "regrow.graph"),
    ("regrow.dataset", "regrow.keras3"),
    ("regrow.model_files",),
    ("regrow.registry", "regrow.augmentation", "regrow.conversion", "regrow.cluster"),
    ("regrow.training", "regrow.evaluation"),
    ("regrow.pruning",),
    ("regrow.recovery",),
    ("regrow.library",),
    ("regrow.steps",),
    ("regrow.config",),
    ("regrow_components",),
    ("regrow_pipelines",),
    ("regrow.local",),
    ("regrow.cli",),
)
KFP = ("regrow_components", "regrow_pipelines", "regrow.cli")  # who may import Kubeflow's SDK
BY_NAME = {"regrow.steps"}  # its docstring says why


def module_names() -> Iterator[tuple[str, Path]]:
    for folder, package in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([package, *parts]).removesuffix(".__init__"), path


MODULES = dict(module_names())


def imports(path: Path) -> set[str]:
    """What ``path`` imports, in functions too; of what is Regrow's, modules only."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in MODULES else node.module)
    return names


IMPORTS = {name: imports(path) - {name} for name, path in MODULES.items()}


def level(module: str) -> int:
    found = [
        (len(prefix), number)
        for number, prefixes in enumerate(LEVELS)
        for prefix in prefixes
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    assert found, f"{module} is in no level"
    return max(found)[1]


def test_no_module_imports_from_above() -> None:
    upward = [
        f"{module} → {other}"
        for module, others in IMPORTS.items()
        for other in others & set(MODULES)
        if module != "regrow" and other not in ("regrow", "regrow.cli") and level(other) > level(module)
    ]
    assert upward == []


def test_no_circles() -> None:
    """Every module can be put after all that it imports."""
    waiting = {name: others & set(MODULES) for name, others in IMPORTS.items()}
    while free := [name for name, others in waiting.items() if not others & set(waiting)]:
        for name in free:
            del waiting[name]
    assert sorted(waiting) == []


def test_only_who_speaks_to_kubeflow_imports_its_library() -> None:
    found = {
        module
        for module, others in IMPORTS.items()
        if any(other == "kfp" or other.startswith(("kfp.", "kfp_")) for other in others)
    }
    assert {module for module in found if not module.startswith(KFP)} == set()
    assert found


def test_no_step_imports_a_step() -> None:
    steps = {f"regrow.steps.{name}" for name in (*NAMES, *SWEEP_NAMES)}
    assert {step: IMPORTS[step] & steps for step in steps if IMPORTS[step] & steps} == {}


def test_no_module_of_regrow_is_imported_by_a_string() -> None:
    """Neither written out nor put together: nobody who reads the imports would see it, nor would the code digest."""
    found = set()
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("import_module", "__import__")
            ):
                words = [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
                if any(str(word).startswith("regrow") for word in words):
                    found.add(module)
    assert found == BY_NAME


def test_no_module_goes_through_the_front_door() -> None:
    """The code digest of a step leaves out what ``import regrow`` offers: whoever used that would not be seen."""
    through = [
        f"{module}: {alias.name}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "regrow" and module != "regrow"
        for alias in node.names
        if f"regrow.{alias.name}" not in MODULES and alias.name != "__version__"
    ]
    through += [module for module, others in IMPORTS.items() if "regrow.library" in others - {module}]
    assert through == ["regrow"]


def test_every_module_says_what_is_in_it() -> None:
    silent = [
        name for name, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_specifications_and_command_line_load_without_heavy_libraries() -> None:
    code = (
        "import sys, regrow.cli.main; from regrow.steps import all_specs; all_specs();"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'tensorflow', 'tf_keras', 'keras', 'mlflow', 'kfp', 'dvc', 'pandas', 'sklearn', 'matplotlib'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
