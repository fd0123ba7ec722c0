"""Rules, criteria, techniques and architectures from outside the package: the guides as they stand, and a package."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from regrow.config.sections import Parameters
from regrow.errors import RegrowError
from regrow.pruning.criteria.criterion import criterion
from regrow.recovery.technique import technique
from regrow.training.architecture import architecture

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = """
from typing import Literal

from regrow import architecture, criterion, technique
from regrow.config.sections import Parameters

@criterion("inverse_order")
def inverse_order(evidence):
    return -evidence.over_weights(abs)

class Narrow(Parameters):
    name: Literal["narrow"] = "narrow"
    units: int = 8

@architecture(options=Narrow)
def narrow(options, signature):
    raise NotImplementedError

class Shrink(Parameters):
    name: Literal["shrink"] = "shrink"
    factor: float = 0.99

@technique(section=Shrink)
def shrink(options, job):
    raise NotImplementedError
"""


def block(page: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL))


def test_the_guides_run_as_they_stand(tmp_path: Path) -> None:
    """All in one process, which imports TensorFlow once."""
    pages = ("extend-criterion.md", "extend-architecture.md", "extend-technique.md", "extend-format.md")
    (tmp_path / "example.py").write_text("\n".join(map(block, pages)))
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1,210 parameters" in done.stdout or "1210 parameters" in done.stdout  # 64·16 + 16 + 16·10 + 10
    assert "'shrink'" in done.stdout
    assert "h5 agrees: True" in done.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with an entry point, as an installation leaves it."""
    place = tmp_path / "site"
    (place / "strangers").mkdir(parents=True)
    (place / "strangers/__init__.py").write_text("")
    (place / "strangers/parts.py").write_text(PACKAGE)
    (place / "strangers-1.0.dist-info").mkdir()
    (place / "strangers-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n"
    )
    (place / "strangers-1.0.dist-info/entry_points.txt").write_text(
        "[regrow.extensions]\nstrangers = strangers.parts\n"
    )
    return place


def command(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "regrow.cli", *words],
        env={**os.environ, "PYTHONPATH": str(package), "COLUMNS": "200"},
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_package_adds_to_keys_and_schema(package: Path) -> None:
    keys = command(package, "keys").stdout
    assert "train.architecture (name: narrow).units" in keys
    assert "recover.custom[].factor" in keys
    assert "inverse_order" in keys
    schema = command(package, "schema").stdout
    assert all(word in schema for word in ('"inverse_order"', '"narrow"', '"shrink"'))
    plain = command(package.parent, "schema").stdout
    assert not any(word in plain for word in ('"inverse_order"', '"narrow"', '"shrink"'))


def test_what_is_wrong_with_their_options_is_said(package: Path) -> None:
    for given, sentence in (
        ("train.architecture={name: narrow, unit: 3}", "did you mean 'units'"),
        ("train.architecture=narow", "did you mean 'narrow'"),
        ("prune.channels.criterion=inverse_oder", "did you mean 'inverse_order'"),
        ("recover.custom=[shrnk]", "did you mean 'shrink'"),
    ):
        done = command(package, "compile", "--set", given, "-o", "x.yaml")
        assert done.returncode == 1
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    done = command(package.parent, "compile", "--set", "recover.custom=shrink", "-o", "x.yaml")
    assert "unknown technique 'shrink'; no technique has been added" in done.stderr


def test_their_code_counts_in_the_code_version(package: Path) -> None:
    digest = "from regrow.provenance.code import code_digest; print(code_digest('regrow.steps.prune'))"

    def found(place: Path) -> str:
        environment = {**os.environ, "PYTHONPATH": str(place)}
        return subprocess.run(
            [sys.executable, "-c", digest], env=environment, capture_output=True, text=True, check=True
        ).stdout

    before, without = found(package), found(package.parent)
    (package / "strangers/parts.py").write_text(PACKAGE + "# edited\n")
    assert len({before, without, found(package)}) == 3


def test_a_package_that_cannot_be_imported_is_named(package: Path) -> None:
    (package / "strangers/parts.py").write_text("import nothing_of_this_name\n")
    done = command(package, "keys")
    assert done.returncode == 1
    assert "extension 'strangers' of the package strangers: strangers.parts cannot be imported" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_are_checked_where_something_is_added() -> None:
    class Nameless(Parameters):
        units: int = 3

    class Mlp(Parameters):
        name: Literal["mlp"] = "mlp"

    def nothing(*_: Any) -> None: ...

    for add in (lambda: technique(section=Nameless), lambda: architecture(options=Nameless)):
        with pytest.raises(RegrowError, match="Nameless has no name"):
            add()
    with pytest.raises(RegrowError, match="technique: 3 has no name"):
        technique(section=3)  # type: ignore[arg-type]
    with pytest.raises(RegrowError, match="needs is 'data'; accepted"):
        criterion("mine", needs="data")  # type: ignore[arg-type]

    import regrow.pruning.criteria.scoring
    import regrow.training.architectures  # noqa: F401

    with pytest.raises(
        RegrowError, match=r"'l1': the name is taken by regrow\.pruning\.criteria\.magnitude\.group_l1"
    ):
        criterion("l1")(nothing)
    with pytest.raises(RegrowError, match="'mlp': the name is taken"):
        architecture(options=Mlp)(nothing)


def test_what_is_no_name_or_no_function_is_refused() -> None:
    def nothing(*_: Any) -> None: ...

    for name in (None, 3, "", "a b", "a/b"):
        with pytest.raises(RegrowError, match=f"criterion: its name is {name!r}; accepted: letters"):
            criterion(name)  # type: ignore[arg-type]
    with pytest.raises(RegrowError, match="criterion: its name is a function"):
        criterion(nothing)  # type: ignore[arg-type]
    with pytest.raises(RegrowError, match="criterion 'mine': is a int; accepted: a function"):
        criterion("mine")(3)  # type: ignore[arg-type]


def test_objects_that_can_be_called_are_added_and_defined_anew() -> None:
    from functools import partial

    from regrow.pruning.criteria.criterion import REGISTERED

    class Constant:
        def __call__(self, evidence: Any) -> Any: ...

    try:
        for made in (Constant(), Constant(), partial(print)):
            if isinstance(made, partial):
                with pytest.raises(RegrowError, match="'of_an_object': the name is taken by"):
                    criterion("of_an_object")(made)
            else:
                criterion("of_an_object")(made)
                assert REGISTERED["of_an_object"].score is made
    finally:
        REGISTERED.pop("of_an_object", None)


def test_own_names_are_held_before_anything_else_is_loaded() -> None:
    """In a process where nothing of Regrow's was used before; a cell's function may be renamed."""
    code = """
import regrow
from regrow.graph.rules.rule import RULES
try:
    regrow.criterion("l1")(lambda evidence: None)
except regrow.RegrowError as error:
    print(error)
@regrow.rule("Dense")
def of_dense(call): ...
@regrow.criterion("mine")
def first(evidence): ...
@regrow.criterion("mine")
def second(evidence): ...
from regrow.pruning.criteria.scoring import criteria
from regrow.graph import tracing
print(criteria()["mine"].score is second, RULES["Dense"] is of_dense)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "criterion 'l1': the name is taken by regrow.pruning.criteria.magnitude.group_l1",
        "True True",
    ], done.stderr
