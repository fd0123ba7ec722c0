"""``pip install 'regrow[library]'`` brings no Kubeflow, DVC or MLflow, and the library works without them."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
# What a pipeline, a cluster or a registry needs. The process that converts models obeys too.
BLOCKED = """
import sys

class Blocked:
    names = {"kfp", "kfp_kubernetes", "dvc", "dvc_s3", "mlflow", "boto3", "sqlalchemy", "alembic", "croniter"}
    names |= {"s3fs", "pyarrow"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""
SCRIPT = """
import sys
import numpy as np
import regrow

x = np.random.default_rng(0).uniform(0, 16, (300, 8, 8, 1)).astype("float32")
parent = regrow.load(sys.argv[1])
y = parent.predict(x, verbose=0).argmax(1)
assert regrow.inspect(parent).frame().shape[0] == 6
pruned = regrow.prune(parent, macs=0.7)
recovered = regrow.recover(pruned, (x, y), epochs=1)
assert len(recovered.curve.frame()) == 2
recovered.save("recovered")
done = regrow.export(pruned, "out", ["keras", "saved_model", "tflite_int8", "onnx", "keras3"], calibration=x)
assert len(done.files) == 5
found = regrow.compare(parent, pruned, (x, y))
assert found.metrics["parent"]["accuracy"] == 1.0
pruned.save("saved")
print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[2:])))
"""


def test_each_function_works_without_them(digits_file: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(digits_file), "kfp", "dvc", "mlflow", "click"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_extra_names_none_of_them_and_everything_has_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]

    def names(extra: str) -> set[str]:
        found = set()
        for text in extras[extra]:
            requirement = Requirement(text)
            if requirement.name == "regrow":
                found |= {name for inner in requirement.extras for name in names(inner)}
            else:
                found.add(requirement.name)
        return found

    assert not names("library") & {
        "kfp",
        "kfp-kubernetes",
        "dvc",
        "dvc-s3",
        "mlflow",
        "mlflow-skinny",
        "boto3",
    }
    assert names("library") <= names("all")
    for needed in ("tf_keras", "ai-edge-litert", "onnxruntime", "pandas", "scikit-learn"):
        assert needed in names("library")
