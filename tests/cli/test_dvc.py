"""`dvc repro` and what DVC makes of it, for real: a git and DVC repository with Regrow's sources and digits."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARAMS = """\
prepare: {source: {kind: digits}}
augment: {mode: online}
train: {architecture: mlp, rewind_epoch: 1, fit: {epochs: 2}}
prune: {sparsity: 0.5}
recover: {fit: {epochs: 1}}
export: {formats: [tflite_fp32]}
evaluate: {latency: {rounds: 10, warmup: 0, formats: [tflite_fp32]}}
"""
METRICS = "work/evaluate/metrics/metrics.json"
CURVE = "work/recover/recovery/curve.csv"
PREDICTIONS = "work/evaluate/metrics/predictions.csv"


class Repository:
    """A working copy in which commands run as a user runs them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        dropped = ("MLFLOW_TRACKING_URI", "REGROW_CACHE", "REGROW_EVENTS")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in dropped},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root),
            "REGROW_TRACKING": "off",
            "DVC_NO_ANALYTICS": "1",
            **{f"GIT_{who}_NAME": "test" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "test@example.org" for who in ("AUTHOR", "COMMITTER")},
        }

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command, "--json"))

    def configure(self, before: str, after: str) -> None:
        text = (self.root / "params.yaml").read_text()
        assert before in text
        (self.root / "params.yaml").write_text(text.replace(before, after))

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = json.loads((self.root / METRICS).read_text())
        return found


def stages_run(output: str) -> list[str]:
    """The stages that `dvc repro` ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def make_repository(root: Path, params: str = PARAMS) -> Repository:
    """The project's sources, small settings, the generated ``dvc.yaml``."""
    shutil.copytree(ROOT / "regrow", root / "regrow", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", root)
    shutil.copy(ROOT / "requirements.lock", root)
    (root / "params.yaml").write_text(params)
    made = Repository(root)
    made.run("git", "init", "-q")
    made.run("dvc", "init", "-q")
    made.run("regrow", "dvc-yaml")
    made.commit("first")
    return made


def test_only_the_changed_stage_is_run_again(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    assert stages_run(repository.run("dvc", "repro", "augment")) == ["prepare", "augment"]
    repository.configure("augment: {mode: online}", "augment: {mode: online, seed: 1}")
    assert stages_run(repository.run("dvc", "repro", "augment")) == ["augment"]
    source = tmp_path / "regrow/dataset/splitting.py"
    source.write_text(source.read_text() + "\n# another comment\n")
    assert list(repository.json("dvc", "status", "--with-deps", "augment")) == ["prepare"]


def test_what_resolve_left_in_the_workspace_is_not_used(tmp_path: Path) -> None:
    """After a legitimate change of the data, `prepare` must not be held to what `resolve` saw before it."""
    (tmp_path / "raw").mkdir()
    repository = make_repository(
        tmp_path, PARAMS.replace("{kind: digits}", "{kind: csv, path: raw/table.csv, label: label}")
    )
    rows = ["a,b,label", *(f"{n},{n % 7},{'xy'[n % 2]}" for n in range(60))]
    (tmp_path / "raw/table.csv").write_text("\n".join(rows) + "\n")
    repository.run("dvc", "repro", "prepare")
    described = {"source": {}, "resources": [{"name": "raw_data", "digest": {"sha256": "0" * 64}}]}
    (tmp_path / "work/resolve/data").mkdir(parents=True)
    (tmp_path / "work/resolve/data/data.json").write_text(json.dumps(described))
    (tmp_path / "raw/table.csv").write_text("\n".join([*rows, "61,3,x"]) + "\n")
    assert stages_run(repository.run("dvc", "repro", "prepare")) == ["prepare"]


def test_another_lock_file_concerns_every_stage(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    repository.run("dvc", "repro", "augment")
    (tmp_path / "requirements.lock").write_text("numpy==3\n")
    assert set(repository.json("dvc", "status", "--with-deps", "augment")) == {"prepare", "augment"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with one `dvc repro` behind it, committed."""
    repository = make_repository(tmp_path_factory.mktemp("repository"))
    output = repository.run("dvc", "repro")
    assert stages_run(output) == ["prepare", "augment", "train", "prune", "recover", "export", "evaluate"]
    repository.commit("one epoch")
    return repository


@pytest.mark.slow
def test_a_changed_template_concerns_the_report_only(finished: Repository) -> None:
    template = finished.root / "regrow/evaluation/report.html.j2"
    text = template.read_text()
    template.write_text(text + "{# changed #}")
    found = finished.json("dvc", "status")
    assert list(found) == ["evaluate"], found
    template.write_text(text)
    assert finished.json("dvc", "status") == {}


@pytest.mark.slow
def test_a_changed_recovery_is_run_and_compared(finished: Repository) -> None:
    before = finished.metrics()
    finished.configure("recover: {fit: {epochs: 1}}", "recover: {fit: {epochs: 3}}")
    assert stages_run(finished.run("dvc", "repro")) == ["recover", "export", "evaluate"]
    after = finished.metrics()
    assert after["recovered.accuracy"] > before["recovered.accuracy"], "three epochs give more than one"
    changed = finished.json("dvc", "metrics", "diff")[METRICS]
    assert changed["recovered.accuracy"]["old"] == before["recovered.accuracy"]
    assert changed["recovered.accuracy"]["new"] == after["recovered.accuracy"]
    assert "parent.accuracy" not in changed, "the parent is the same model"
    (asked,) = finished.json("dvc", "params", "diff")["params.yaml"].items()
    assert (asked[0], asked[1]["old"], asked[1]["new"]) == ("recover.fit.epochs", 1, 3)


def plotted(repository: Repository, *command: str) -> dict[str, list[dict[str, str]]]:
    """The values that DVC's plots show, by file."""
    found = repository.json("dvc", "plots", *command)
    assert not found.get("errors"), found
    values: dict[str, list[dict[str, str]]] = {}
    for name, plots in found["data"].items():
        (plot,) = plots
        content = json.loads(plot["content"]) if isinstance(plot["content"], str) else plot["content"]
        values[name] = content["data"]["values"]
    return values


@pytest.mark.slow
def test_plots_show_curve_and_confusion(finished: Repository) -> None:
    shown = plotted(finished, "show")
    assert set(shown) == {CURVE, PREDICTIONS}
    with (finished.root / CURVE).open() as file:
        points = list(csv.DictReader(file))
    assert [(item["point"], item["val_accuracy"]) for item in shown[CURVE]] == [
        (item["point"], item["val_accuracy"]) for item in points
    ]
    right = sum(item["actual"] == item["predicted"] for item in shown[PREDICTIONS])
    metrics = finished.metrics()
    assert len(shown[PREDICTIONS]) == metrics["test_examples"]
    assert right / len(shown[PREDICTIONS]) == pytest.approx(metrics["recovered.accuracy"])
    finished.run("dvc", "plots", "show", "-q", "--out", "plots")
    assert (finished.root / "plots/index.html").stat().st_size > 1000
    shutil.rmtree(finished.root / "plots")
    finished.commit("another number of epochs")
    compared = plotted(finished, "diff", "HEAD~1")
    assert {item["rev"] for item in compared[CURVE]} == {"HEAD~1", "workspace"}


@pytest.mark.slow
def test_an_experiment_changes_one_value_and_can_be_compared(finished: Repository) -> None:
    output = finished.run("dvc", "exp", "run", "-n", "two", "-S", "recover.fit.epochs=2")
    assert stages_run(output) == ["recover", "export", "evaluate"]
    difference = finished.json("dvc", "exp", "diff", "HEAD", "two")
    assert difference["params"]["params.yaml"]["recover.fit.epochs"]["new"] == 2
    assert (
        difference["metrics"][METRICS]["recovered.accuracy"]["new"]
        == (finished.metrics()["recovered.accuracy"])
    )
    with (finished.root / CURVE).open() as file:
        assert [item["epoch"] for item in csv.DictReader(file) if item["stage"] == "fine_tuning"] == [
            "1",
            "2",
        ]
