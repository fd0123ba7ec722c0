"""What the documents show runs as it stands there."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.config.document import load_config
from regrow.dataset.directory import Dataset

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.tensorflow
def test_the_example_of_rules_runs(tmp_path: Path) -> None:
    found = re.findall(r"```python\n(.*?)```", (ROOT / "docs/rules.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text("\n".join(found))
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after = map(int, re.findall(r"\d+", done.stdout))
    assert 0.485 <= after / before <= 0.515


@pytest.mark.tensorflow
def test_recovery_with_data_of_ones_own_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/recovery.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "reconstruction" in done.stdout
    assert (tmp_path / "recovered/model.keras").is_file()
    gains = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert sum(gains.values()) > 0.02


@pytest.fixture
def own_model_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Dataset) -> dict[str, Any]:
    """``mine.keras`` in the current folder, trained a little, and the arrays that the pages call by name."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    names = {
        f"{letter}_{short}": np.asarray(array)
        for split, short in (("train", "train"), ("validation", "val"), ("test", "test"))
        for letter, array in (("x", digits.features(split)), ("y", digits.labels(split)))
    }
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            *[layers.Conv2D(16, 3, activation="relu") for _ in range(2)],
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(names["x_train"], names["y_train"], epochs=3, verbose=0)
    model.save(tmp_path / "mine.keras")
    monkeypatch.chdir(tmp_path)
    return names


@pytest.mark.tensorflow
def test_the_lines_of_python_in_readme_and_tutorial_run(own_model_and_data: dict[str, Any]) -> None:
    names = own_model_and_data
    (readme,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    page = (ROOT / "docs/tutorial/three-lines.md").read_text("utf-8")
    first, *others = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    statements = [ast.unparse(node) for node in ast.parse(readme).body]
    assert [ast.unparse(node) for node in ast.parse(first).body] == statements[:-1]
    assert len(others) == 3
    for code in (readme, *others):
        exec(code, names)
    assert list(Path("out").glob("*int8.tflite"))
    regrow = names["regrow"]
    assert regrow.inspect(names["pruned"]).macs <= 0.515 * regrow.inspect(names["parent"]).macs
    assert len(names["recovered"].frame()) > 6


def test_every_command_of_the_readme_exists() -> None:
    from regrow.cli.commands import NAMES

    text = (ROOT / "README.md").read_text("utf-8")
    named = set(re.findall(r"(?:^|`|\bbin/)regrow ([a-z][a-z-]+)", text, re.MULTILINE))
    assert {"run", "keys", "schema", "prune", "inspect", "compile", "dvc-yaml"} <= named
    assert named <= set(NAMES)


PAGES = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of ``page``, as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_of_the_pages_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            file, _, anchor = link.partition("#")
            if "://" in link or file.startswith("reference/") or file.startswith("../reference/"):
                continue  # the reference is made with the site, which checks links to it
            target = (page.parent / file).resolve() if file else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken


def test_every_page_that_a_message_names_is_there() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    missing = set()
    for name in tracked.stdout.split("\0"):
        if name.endswith((".py", ".yaml", ".md", ".mk", ".toml")) and (ROOT / name).is_file():
            for page in re.findall(r"\bdocs/[\w/-]+\.md\b", (ROOT / name).read_text("utf-8")):
                if not (ROOT / page).is_file():
                    missing.add(f"{name}: {page}")
    assert not missing


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


SECTIONS = "resolve|prepare|augment|train|prune|recover|export|evaluate|register|sweep|tracking|cluster"


def test_configurations_that_the_pages_show_are_accepted(tmp_path: Path) -> None:
    seen = []
    for page in PAGES:
        for text in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            if re.match(rf"(?:{SECTIONS}):", text):  # else Kubernetes', or a part of a section
                (tmp_path / "params.yaml").write_text(text)
                load_config(tmp_path / "params.yaml")
                seen.append(page.name)
    assert seen.count("recovery.md") == 2
    assert {"README.md", "own-model-and-data.md", "channels.md", "zeros.md", "tables.md", "sweeps.md"} <= {
        *seen
    }


def test_numbers_in_the_pages_are_those_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "tables.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_number_that_was_edited_by_hand_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("tables")
    page = tmp_path / "page.md"
    page.write_text("It takes <!-- numbers: bytecode -->1 second<!-- /numbers -->.\n")
    monkeypatch.setattr(tables, "PAGES", (page,))
    assert list(tables.renew(check=True)) == [(page, "bytecode")]
    assert "1 second" in page.read_text()
    assert list(tables.renew()) == [(page, "bytecode")]
    assert re.fullmatch(
        r"It takes <!-- .* -->[\d.]+ seconds of CPU instead of [\d.]+<!-- .* -->\.\n", page.read_text()
    )
    assert list(tables.renew(check=True)) == []
