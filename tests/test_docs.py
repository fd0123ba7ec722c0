"""What the documents show runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from regrow.config.document import load_config

ROOT = Path(__file__).resolve().parent.parent


def test_the_example_of_rules_runs(tmp_path: Path) -> None:
    found = re.findall(r"```python\n(.*?)```", (ROOT / "docs/rules.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text("\n".join(found))
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after = map(int, re.findall(r"\d+", done.stdout))
    assert 0.485 <= after / before <= 0.515


def test_the_sections_of_recovery_are_accepted(tmp_path: Path) -> None:
    found = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/recovery.md").read_text("utf-8"), re.DOTALL)
    assert len(found) == 2
    for text in found:
        (tmp_path / "params.yaml").write_text(text)
        load_config(tmp_path / "params.yaml")


def test_the_section_of_tables_is_accepted(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/tables.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "params.yaml").write_text(text)
    load_config(tmp_path / "params.yaml")


def test_every_command_of_the_readme_exists() -> None:
    from regrow.cli.commands import NAMES

    text = (ROOT / "README.md").read_text("utf-8")
    named = set(re.findall(r"(?:^|`|\bbin/)regrow ([a-z][a-z-]+)", text, re.MULTILINE))
    assert {"run", "keys", "schema", "prune", "inspect", "compile", "dvc-yaml"} <= named
    assert named <= set(NAMES)
