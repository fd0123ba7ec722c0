"""The code digest covers what a step can reach, and no more."""

import tomllib
from pathlib import Path

import pytest

from regrow.provenance.code import DATA, PACKAGE, import_closure, source_files
from regrow.steps import NAMES, SWEEP_NAMES, get_spec

PROJECT = PACKAGE.parent / "pyproject.toml"
ENTRIES = ("regrow.cli.__main__", "regrow.steps.component")
COMPONENTS = ("regrow.registry.outcome",)  # what components call besides


def test_the_report_depends_on_its_template() -> None:
    assert "regrow/evaluation/report.html.j2" in source_files(get_spec("evaluate").module)
    for step in ("train", "prune"):  # `prune` measures latency with a module that lies beside the template
        assert "regrow/evaluation/report.html.j2" not in source_files(get_spec(step).module)
    assert "regrow/evaluation/latency.py" in source_files(get_spec("prune").module)


def test_no_data_goes_unseen() -> None:
    every = {
        path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.suffix in DATA
    }
    assert every
    assert every <= {name for step in NAMES for name in source_files(get_spec(step).module)}


@pytest.mark.parametrize("step", (*NAMES, *SWEEP_NAMES))
def test_files_are_sources_and_data_beside_them(step: str) -> None:
    module = get_spec(step).module
    files, sources = set(source_files(module)), set(import_closure(module))
    assert sources <= files
    assert all((PACKAGE.parent / name).is_file() for name in files)
    assert {Path(name).suffix for name in files - sources} <= DATA


def test_all_data_that_is_installed_counts() -> None:
    options = tomllib.loads(PROJECT.read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    assert {Path(pattern).suffix for pattern in options["regrow"] if "*" in pattern} == DATA


def test_every_module_of_the_package_is_seen_from_some_entry() -> None:
    """A module that no import names, loaded by its name alone, could be edited without any step being run again."""
    reached = {name for step in (*NAMES, *SWEEP_NAMES) for name in import_closure(get_spec(step).module)}
    reached |= {name for entry in (*ENTRIES, *COMPONENTS) for name in import_closure(entry)}
    reached |= set(import_closure("regrow.library"))
    every = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py")}
    assert every == reached
    assert "regrow/graph/rules/dense.py" in import_closure(get_spec("prune").module)
