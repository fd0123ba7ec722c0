"""A model that TensorFlow's optimiser would break is predicted and trained by what Regrow loads."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.deferred import deferred

tf_keras = deferred("tf_keras")

# In a process of its own: what TensorFlow's optimiser may do is settled for a whole process.
CODE = """
import sys, numpy as np
from pathlib import Path
from regrow.model_files.files import load_file
model = load_file(Path(sys.argv[1]))
x = np.load(sys.argv[2])
np.testing.assert_allclose(model.predict(x, verbose=0), np.asarray(model(x)), rtol=1e-5, atol=1e-5)
model.compile("sgd", "mse")
model.fit(x, np.zeros((len(x), 2)), validation_data=(x, np.zeros((len(x), 2))), verbose=0)
"""


def test_layer_normalisation_over_two_axes_is_predicted_and_trained(tmp_path: Path) -> None:
    entry = tf_keras.Input((4, 6))
    inner = tf_keras.Sequential([tf_keras.Input((4, 6)), tf_keras.layers.LayerNormalization(axis=[1, 2])])
    x = tf_keras.layers.Dense(6, activation="relu")(inner(entry))
    model = tf_keras.Model(entry, tf_keras.layers.Dense(2)(tf_keras.layers.Flatten()(x)))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(8, 4, 6)).astype(np.float32))
    done = subprocess.run(
        [sys.executable, "-c", CODE, "model.keras", "x.npy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
