"""What people are shown passes one place: no module prints by itself, or makes a console of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each with why it may.
ALLOWED = {
    "regrow/showing/output.py": "is the place",
    "regrow/showing/console.py": "is the place",
    "regrow/cli/dvc_command.py": "prints dvc.yaml, a document",
    "regrow/cli/configuration_commands.py": "prints a schema as JSON",
    "regrow/cli/main.py": "prints click's own words once they are escaped",
    "regrow/progress.py": "prints events, whose texts it has escaped",
    "regrow/steps/component.py": "prints a RegrowError to a log",
    "regrow/registry/outcome.py": "prints JSON, redacted, for programs",
}
LIBRARY = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "regrow").rglob("*.py"))


def printing(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in (
                "print",
                "click.echo",
                "click.secho",
                "Console",
                "sys.stdout.write",
                "sys.stderr.write",
            ):
                yield called


def test_no_other_module_prints() -> None:
    assert {name for name in LIBRARY if any(printing(ROOT / name))} <= ALLOWED.keys()


@pytest.mark.parametrize("name", ["RegrowError", "say"])
def test_sentences_pass_the_one_place(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from regrow.errors import RegrowError
    from regrow.showing.output import say

    text = "a\x1b[2J 'postgresql://me:S3CRETxyz@db/x'"
    say(text if name == "say" else str(RegrowError(text)))
    assert capsys.readouterr().out == "a\\x1b[2J 'postgresql://***@db/x'\n"
