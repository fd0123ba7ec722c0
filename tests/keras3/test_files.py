"""Files of Keras 3: whole, reproducible, and pruned on their way."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from regrow.cli.main import cli
from regrow.graph.graph import Graph
from regrow.graph.tracing import trace
from regrow.keras3.activations import FORMULAS
from regrow.model_files.files import import_model, load_model, save_model
from regrow.model_files.inspection import render_file
from regrow.model_files.keras3_files import write_keras3
from tests.deferred import deferred
from tests.keras3.cases import CASES, answers, examples, randomise

keras = deferred("keras")
tf_keras = deferred("tf_keras")

PLAIN = """
import sys
sys.modules["regrow"] = sys.modules["tf_keras"] = None
import numpy, keras
assert keras.__version__.startswith("3.")
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    given = numpy.load(path + ".in.npy")
    numpy.save(path + ".out.npy", model.predict(given, verbose=0))
"""


def test_keras3_loads_them_in_a_process_of_its_own(tmp_path: Path) -> None:
    names = ["sequential", "model over time", "Bidirectional", "many layers of a class"]
    expected = {}
    for number, name in enumerate(names):
        path = tmp_path / f"{number}.keras"
        model = randomise(CASES[name](tf_keras))
        write_keras3(model, path)
        np.save(f"{path}.in.npy", examples(model))
        expected[str(path)] = answers(model, examples(model))[0]
    subprocess.run([sys.executable, "-c", PLAIN, *expected], check=True, capture_output=True, timeout=300)
    for path, answer in expected.items():
        np.testing.assert_allclose(np.load(f"{path}.out.npy"), answer, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["nested and shared", "attention with heads", "Dropout", "Bidirectional"])
def test_equal_models_give_equal_bytes(tmp_path: Path, name: str) -> None:
    model = randomise(CASES[name](tf_keras))
    for target in ("a.keras", "b.keras"):
        write_keras3(model, tmp_path / target)
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    write_keras3(import_model(tmp_path / "a.keras"), tmp_path / "c.keras")
    if name != "nested and shared":  # there Keras 3's file holds what was shared between models twice
        assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "c.keras").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_names_and_frozen_layers_stay(tmp_path: Path) -> None:
    model = CASES["frozen layers"](keras)
    model.save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    write_keras3(found, tmp_path / "out.keras")
    for other in (found, keras.saving.load_model(tmp_path / "out.keras")):
        assert [layer.name for layer in other.layers] == [layer.name for layer in model.layers]
        assert [layer.trainable for layer in other.layers] == [layer.trainable for layer in model.layers]
        assert other.name == model.name


def test_what_came_in_can_be_trained_and_saved(tmp_path: Path) -> None:
    CASES["sequential"](keras).save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    found.compile("adam", "mse")
    found.train_on_batch(examples(found), np.zeros((3, 3)))
    save_model(found, tmp_path / "saved")
    np.testing.assert_allclose(
        answers(load_model(tmp_path / "saved"), examples(found))[0],
        answers(found, examples(found))[0],
        atol=1e-6,
    )


def test_a_legacy_file_that_keras3_refuses_goes_out(tmp_path: Path) -> None:
    model = randomise(CASES["DepthwiseConv2D"](tf_keras))
    model.save(tmp_path / "legacy.h5")
    with pytest.raises(TypeError, match="groups"):
        keras.saving.load_model(tmp_path / "legacy.h5", compile=False)
    write_keras3(import_model(tmp_path / "legacy.h5"), tmp_path / "out.keras")
    found = keras.saving.load_model(tmp_path / "out.keras")
    np.testing.assert_allclose(
        answers(found, examples(model))[0], answers(model, examples(model))[0], atol=1e-5
    )


ONLY_IN_KERAS3 = ["hard_silu", "hard_sigmoid", "relu6", "leaky_relu", *FORMULAS]


@pytest.mark.parametrize("activation", ONLY_IN_KERAS3)
@pytest.mark.parametrize("sequential", [True, False])
def test_activations_of_keras3_alone_become_layers(tmp_path: Path, activation: str, sequential: bool) -> None:
    layers = [keras.layers.Conv2D(3, 2, activation=activation), keras.layers.Flatten(), keras.layers.Dense(2)]
    entry = keras.Input((5, 5, 2))
    x = entry
    for layer in layers:
        x = layer(x)
    model = randomise(keras.Sequential([entry, *layers]) if sequential else keras.Model(entry, x))
    model.save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    write_keras3(found, tmp_path / "out.keras")
    for other in (found, keras.saving.load_model(tmp_path / "out.keras")):
        np.testing.assert_allclose(
            answers(other, examples(model))[0], answers(model, examples(model))[0], rtol=1e-5, atol=1e-5
        )
    assert trace(Graph.of(found)).removable.sum() == 3  # the convolution's


def test_a_class_of_tf_keras_alone_becomes_another(tmp_path: Path) -> None:
    model = tf_keras.Sequential([tf_keras.Input((6,)), tf_keras.layers.ThresholdedReLU(0.4)])
    write_keras3(model, tmp_path / "out.keras")
    found = keras.saving.load_model(tmp_path / "out.keras")
    np.testing.assert_allclose(answers(found, examples(model))[0], answers(model, examples(model))[0])


def test_inspect_takes_a_file_of_keras3(tmp_path: Path) -> None:
    from rich.console import Console

    model = CASES["sequential"](keras)
    model.save(tmp_path / "in.keras")
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_file(tmp_path / "in.keras"))
    text = console.export_text()
    assert "first" in text
    assert f"{model.count_params():,}" in text


def test_a_model_of_keras3_is_pruned_and_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = keras.layers
    entry = keras.Input((8, 8, 2), name="entry")
    x = first = layers.Conv2D(16, 3, padding="same", activation="hard_sigmoid")(layers.Rescaling(0.5)(entry))
    x = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
    x = layers.Conv2D(24, 3, padding="same", activation="gelu")(x)
    x = layers.Conv2D(16, 3, padding="same")(x) + first
    x = layers.Dense(12, activation="silu")(keras.ops.mean(x, axis=[1, 2]))
    model = randomise(keras.Model(entry, layers.Dense(3, activation="softmax")(x)))
    model.save(tmp_path / "mine.keras")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["prune", "mine.keras", "--set", "prune.target.macs=0.5"])
    assert result.exception is None, result.output
    pruned = load_model(tmp_path / "mine-pruned")
    write_keras3(pruned, tmp_path / "out.keras")
    found = keras.saving.load_model(tmp_path / "out.keras")
    assert found.count_params() == pruned.count_params() < 0.7 * model.count_params()
    np.testing.assert_allclose(
        answers(found, examples(model))[0], answers(pruned, examples(model))[0], atol=1e-5
    )


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["Dense", "Dense tanh", "BatchNormalization", "Add", "Concatenate", "PReLU", "shared", "inner"]
        ),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    min_size=2,
    max_size=8,
)


def graph(library: Any, steps: list[tuple[str, int, int]]) -> Any:
    """A random graph of tensors with 4 features: each step takes one or two of those made so far."""
    layers = library.layers
    entries = [library.Input((4,), name="a"), library.Input((4,), name="b")]
    found, shared = list(entries), layers.Dense(4, name="shared")
    core = library.Sequential(
        [library.Input((4,)), layers.Dense(4), layers.BatchNormalization()], name="core"
    )
    for kind, first, second in steps:
        x, y = found[first % len(found)], found[second % len(found)]
        match kind:
            case "Dense":
                found.append(layers.Dense(4)(x))
            case "Dense tanh":
                found.append(layers.Dense(4, activation="hard_sigmoid")(x))
            case "Add":
                found.append(layers.Add()([x, y]))
            case "Concatenate":
                found.append(layers.Dense(4)(layers.Concatenate()([x, y])))
            case "shared":
                found.append(shared(x))
            case "inner":
                found.append(core(x))
            case _:
                found.append(getattr(layers, kind)()(x))
    return library.Model(entries, [found[-1], layers.Average()(found)])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
# The shared layer is called on an input only after a call on what comes later in the file.
@example(steps=[("Dense", 0, 0), ("shared", 2, 0), ("shared", 0, 0), ("Dense", 4, 0)])
def test_random_graphs_come_in_and_go_out(tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    model = randomise(graph(keras, steps))
    model.save(tmp_path / "in.keras")
    found = import_model(tmp_path / "in.keras")
    write_keras3(found, tmp_path / "out.keras")
    inputs = examples(model)
    for other in (found, keras.saving.load_model(tmp_path / "out.keras")):
        for one, another in zip(answers(model, inputs), answers(other, inputs), strict=True):
            np.testing.assert_allclose(another, one, rtol=1e-4, atol=1e-5)


APPLICATIONS = [
    "MobileNetV3Small",
    "EfficientNetB0",
    "DenseNet121",
    "ResNet50V2",
    "NASNetMobile",
    "ConvNeXtTiny",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*APPLICATIONS, "Xception", "InceptionResNetV2", "VGG16", "EfficientNetV2B0"]
)
def test_applications_come_in_and_go_out(tmp_path: Path, name: str) -> None:
    options = {"weights": None, "input_shape": (75, 75, 3), "classes": 10}
    model = getattr(keras.applications, name)(**options)
    model.save(tmp_path / "model.keras")
    found = import_model(tmp_path / "model.keras")
    inputs = np.random.default_rng(0).uniform(0, 255, (2, 75, 75, 3)).astype("float32")
    np.testing.assert_allclose(answers(found, inputs)[0], answers(model, inputs)[0], rtol=1e-4, atol=1e-5)
    model = getattr(tf_keras.applications, name)(**options)
    write_keras3(model, tmp_path / "out.keras")
    found = keras.saving.load_model(tmp_path / "out.keras")
    np.testing.assert_allclose(answers(found, inputs)[0], answers(model, inputs)[0], rtol=1e-4, atol=1e-5)
