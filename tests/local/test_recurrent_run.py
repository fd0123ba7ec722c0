"""`regrow run` on a trained LSTM that reads scikit-learn's digits row by row."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from regrow.storage.artifacts import read_json

FORMATS = ["tflite_fp32", "tflite_fp16", "tflite_int8", "onnx"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LSTM trained on four fifths of the digits."""
    import tf_keras
    from sklearn.datasets import load_digits

    digits, layers = load_digits(), tf_keras.layers
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            layers.Reshape((8, 8)),
            layers.LSTM(32),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(tf_keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    images = digits.images[..., None].astype(np.float32)
    model.fit(images[:1400], digits.target[:1400], epochs=15, batch_size=64, verbose=0)
    file: Path = tmp_path_factory.mktemp("trained") / "rows.keras"
    model.save(file)
    return file


@pytest.mark.slow
def test_a_trained_lstm_passes_parity_and_the_gates_accuracy(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump(
            {
                "prepare": {"source": {"kind": "digits"}},
                "train": {"import": {"path": str(trained)}},
                "prune": {"method": "magnitude", "sparsity": 0.3},
                "recover": {"fit": {"epochs": 3, "batch_size": 64}},
                "export": {"formats": FORMATS},
                "register": {"model_name": "rows", "gate": {"max_accuracy_drop": 0.05}},
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "regrow.cli", "run"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "REGROW_"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "work/results"
    for of in read_json(results / "parity/parity.json")["exports"].values():
        assert set(of) == {"keras", "mlflow", *FORMATS}
        assert all(found["passed"] for found in of.values())
    metrics = read_json(results / "metrics/metrics.json")
    assert metrics["parent.accuracy"] > 0.85
    for name in FORMATS:
        assert abs(metrics[f"recovered.accuracy.{name}"] - metrics["recovered.accuracy"]) <= 0.02
    checks = read_json(results / "registration/registration.json")["gate"]["checks"]
    accuracy = {check["name"]: check["passed"] for check in checks if check["name"].startswith("accuracy")}
    assert accuracy and all(accuracy.values()), checks
    files = read_json(results / "recovered_exports/signature.json")["files"]
    assert {file for file, facts in files.items() if facts["keeps_state"]} == {
        "model_fp32.tflite",
        "model_fp16.tflite",
        "model_int8.tflite",
    }
