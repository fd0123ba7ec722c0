"""Model files as users have them: SavedModels of old Keras, code that is let in, weights that are no numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from regrow.cli.main import cli
from regrow.errors import RegrowError
from regrow.graph.costs import count_macs
from regrow.graph.finite import not_finite, refuse_not_finite
from regrow.graph.kernels import sparsity
from regrow.model_files.files import import_model, load_file
from regrow.model_files.inspection import inspect_model

HALF = ("--set", "prune.target.macs=0.5")
KEYWORDS = Path(__file__).resolve().parents[3] / "shared" / "data" / "mlperf-tiny" / "kws_ref_model"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments))
    assert isinstance(result.exception, RegrowError), (result.output, result.exception)
    assert "\n" not in str(result.exception)
    return str(result.exception)


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments))
    assert result.exception is None, (result.output, result.exception)
    return result.output


def as_before_tensorflow_2_5(folder: Path) -> Path:
    """Move what Keras noted of each object from ``keras_metadata.pb`` into ``saved_model.pb``, where it was."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tf_keras.protobuf import saved_metadata_pb2

    metadata = saved_metadata_pb2.SavedMetadata.FromString((folder / "keras_metadata.pb").read_bytes())
    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    objects = graph.meta_graphs[0].object_graph_def.nodes
    for node in metadata.nodes:
        objects[node.node_id].user_object.identifier = node.identifier
        objects[node.node_id].user_object.metadata = node.metadata
    (folder / "saved_model.pb").write_bytes(graph.SerializeToString())
    (folder / "keras_metadata.pb").unlink()
    return folder


def separable() -> Any:
    import tf_keras

    layers = tf_keras.layers
    given = layers.Input((12, 6, 1))
    x = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(given))
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Activation("relu")(x))
    x = layers.Conv2D(24, 1)(layers.Dropout(0.2)(layers.BatchNormalization()(x)))
    inner = tf_keras.Sequential([layers.Input((24,)), layers.Dense(8, activation="relu")], name="inner")
    return tf_keras.Model(given, layers.Dense(3)(inner(layers.GlobalAveragePooling2D()(x))))


@pytest.mark.parametrize("kind", ["functional", "sequential", "compiled"])
def test_saved_models_of_keras_before_tensorflow_2_5(kind: str, tmp_path: Path) -> None:
    import tf_keras

    model = separable()
    if kind == "sequential":
        model = tf_keras.Sequential(
            [tf_keras.Input((12, 6, 1)), *tf_keras.Sequential(model.layers[1:7]).layers]
        )
    if kind == "compiled":
        model.compile("adam", "mse", metrics=["mae"])
        model.train_on_batch(np.ones((4, 12, 6, 1)), np.ones((4, 3)))
    model.save(tmp_path / "old", save_format="tf")
    as_before_tensorflow_2_5(tmp_path / "old")
    x = np.random.default_rng(0).normal(size=(5, 12, 6, 1)).astype(np.float32)
    plain = tf_keras.models.load_model(tmp_path / "old", compile=False)
    np.testing.assert_array_equal(
        import_model(tmp_path / "old").predict(x, verbose=0), plain.predict(x, verbose=0)
    )


def test_an_old_saved_model_is_inspected_and_pruned(tmp_path: Path) -> None:
    separable().save(tmp_path / "old", save_format="tf")
    as_before_tensorflow_2_5(tmp_path / "old")
    assert "depthwise_conv2d" in printed("inspect", "old")
    printed("prune", "old", *HALF)
    share = count_macs(load_file(tmp_path / "old-pruned")) / inspect_model(tmp_path / "old").macs
    assert share == pytest.approx(0.5, abs=0.06)


def test_code_in_an_old_saved_model_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Input((4,)), layers.Lambda(lambda x: x * 2, name="double"), layers.Dense(2)]
    )
    model.save(tmp_path / "old", save_format="tf")
    as_before_tensorflow_2_5(tmp_path / "old")
    assert "layer 'double' carries Python code" in refused("inspect", "old")
    assert "Lambda" in printed("inspect", "old", "--trust")


def test_a_saved_model_that_keras_did_not_write(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "plain"))
    assert "is a SavedModel that Keras did not write" in refused("inspect", "plain")
    separable().save(tmp_path / "new", save_format="tf")
    (tmp_path / "new" / "keras_metadata.pb").unlink()
    assert "is a SavedModel that Keras did not write" in refused("inspect", "new")
    model = as_before_tensorflow_2_5(_saved(tmp_path / "broken"))
    _edit_metadata(model, "{broken")
    assert "Keras metadata is not JSON" in refused("inspect", "broken")
    _edit_metadata(model, json.dumps({"class_name": ["Functional"], "config": {}}))
    assert "a class_name in its config is a list" in refused("inspect", "broken")


def _saved(folder: Path) -> Path:
    separable().save(folder, save_format="tf")
    return folder


def _edit_metadata(folder: Path, text: str) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graph.meta_graphs[0].object_graph_def.nodes[0].user_object.metadata = text
    (folder / "saved_model.pb").write_bytes(graph.SerializeToString())


@pytest.mark.slow
@pytest.mark.skipif(not KEYWORDS.is_dir(), reason="MLPerf Tiny's models are not there")
def test_the_keyword_spotting_reference_of_mlperf_tiny(tmp_path: Path) -> None:
    import tf_keras

    x = np.random.default_rng(0).normal(size=(64, 49, 10, 1)).astype(np.float32)
    plain = tf_keras.models.load_model(KEYWORDS, compile=False)
    np.testing.assert_array_equal(import_model(KEYWORDS).predict(x, verbose=0), plain.predict(x, verbose=0))
    found = inspect_model(KEYWORDS)
    assert (found.macs, found.parameters) == (2_656_768, 24_908)
    printed("prune", str(KEYWORDS), *HALF, "-o", "smaller")
    assert count_macs(load_file(tmp_path / "smaller")) / found.macs == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_prune_lets_code_run_with_trust_alone(tmp_path: Path, suffix: str) -> None:
    import tf_keras

    layers = tf_keras.layers
    given = layers.Input((8,))
    x = layers.Lambda(lambda x: x * 2, name="double")(layers.Dense(12)(given))
    model = tf_keras.Model(given, layers.Dense(3)(layers.Dense(32)(x)))
    model.save(tmp_path / f"mine{suffix}")
    zeros = ("--set", "prune.method=magnitude", "--set", "prune.sparsity=0.5")
    assert "use --trust" in refused("prune", f"mine{suffix}", *zeros)
    assert not (tmp_path / "mine-pruned").exists()
    printed("prune", f"mine{suffix}", *zeros, "--trust")
    assert "use --trust" in refused("inspect", "mine-pruned")
    pruned = load_file(tmp_path / "mine-pruned", trust=True)
    assert sparsity(pruned) == pytest.approx(0.5, abs=0.01)
    assert pruned.get_layer("double")(np.ones(1, np.float32)).numpy() == 2


def test_prune_goes_around_operations_that_are_not_known(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    layers = tf_keras.layers
    given = layers.Input((8,))
    x = tf.io.encode_base64(tf.strings.as_string(layers.Dense(12)(given)))
    x = tf.cast(tf.strings.length(x), tf.float32)
    model = tf_keras.Model(given, layers.Dense(3)(layers.Dense(32)(x)))
    model.save(tmp_path / "mine.keras")
    assert "use --trust" in refused("prune", "mine.keras", *HALF)
    shown = " ".join(printed("prune", "mine.keras", *HALF, "--trust").split())
    assert "is the operation strings.as_string, which no rule knows" in shown
    pruned = load_file(tmp_path / "mine-pruned", trust=True)
    assert count_macs(pruned) / count_macs(model) == pytest.approx(0.5, abs=0.1)


def test_help_says_what_trust_means() -> None:
    for command in ("prune", "inspect"):
        assert "let them run with your rights" in " ".join(printed(command, "--help").split())


def test_trust_is_of_a_model_file() -> None:
    assert "--trust: applies only to a MODEL file" in refused("prune", "--trust")


BAD = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf}


@pytest.mark.parametrize("name", BAD)
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, name: str) -> None:
    model = separable()
    kernel, *rest = model.layers[1].get_weights()
    kernel[0, 0, 0, :3] = BAD[name]
    model.layers[1].set_weights([kernel, *rest])
    norm = model.layers[2].get_weights()
    norm[3][1] = BAD[name]
    model.layers[2].set_weights(norm)
    conv, batch = model.layers[1].name, model.layers[2].name
    assert not_finite(model) == {f"{conv}/kernel": 3, f"{batch}/moving_variance": 1}
    model.save(tmp_path / "bad.keras")
    named = f"{conv}/kernel (3), {batch}/moving_variance (1)"
    assert f"weights that are NaN or infinite: {named}" in " ".join(printed("inspect", "bad.keras").split())
    for method in (HALF, ("--set", "prune.method=magnitude", "--set", "prune.sparsity=0.5")):
        text = refused("prune", "bad.keras", *method)
        assert text.startswith("bad.keras: has weights that are NaN or infinite")
        assert named in text
    assert not (tmp_path / "bad-pruned").exists()


def test_whole_numbers_and_nested_models_are_looked_at() -> None:
    import tf_keras

    layers = tf_keras.layers
    norm = layers.Normalization(mean=[0.0, 0.0], variance=[1.0, 1.0])
    inner = tf_keras.Sequential([layers.Input((2,)), layers.Dense(3, name="deep")], name="inner")
    model = tf_keras.Sequential([layers.Input((2,)), norm, inner])
    assert not_finite(model) == {}
    refuse_not_finite(model)
    inner.layers[0].bias.assign([0.0, np.nan, 1.0])
    with pytest.raises(RegrowError, match=r"the model: has weights .*: inner/deep/bias \(1\)"):
        refuse_not_finite(model)


def _small() -> Any:
    import tf_keras

    layers = tf_keras.layers
    given = layers.Input((8, 8, 2))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, name="conv")(given)))
    return tf_keras.Model(given, layers.Dense(3, name="head")(layers.Flatten()(x)))


def _format(suffix: str) -> dict[str, str]:
    return {"save_format": {".keras": "keras", ".h5": "h5", "": "tf"}[suffix]}


@pytest.mark.parametrize("schedule", ["constant", "polynomial"])
@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_what_tfmot_wrapped_for_pruning_is_stripped(tmp_path: Path, suffix: str, schedule: str) -> None:
    from tensorflow_model_optimization.sparsity import keras as sparsity_of

    when = (
        sparsity_of.ConstantSparsity(0.5, 0, frequency=1)
        if schedule == "constant"
        else sparsity_of.PolynomialDecay(0.25, 0.75, 0, 4, frequency=1)
    )
    model = sparsity_of.prune_low_magnitude(_small(), pruning_schedule=when)
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 2)).astype(np.float32)
    model.fit(x, np.ones((16, 3)), verbose=0, callbacks=[sparsity_of.UpdatePruningStep()])
    model.save(tmp_path / f"wrapped{suffix}", **_format(suffix))
    read = import_model(tmp_path / f"wrapped{suffix}")
    assert {type(layer).__module__.partition(".")[0] for layer in read.layers} == {"tf_keras"}
    assert [layer.name for layer in read.layers if layer.name in ("conv", "head")] == ["conv", "head"]
    assert sparsity(read) == pytest.approx(sparsity(sparsity_of.strip_pruning(model)), abs=1e-6)
    assert sparsity(read) > 0.2
    np.testing.assert_allclose(read.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_code_inside_a_wrapper_of_tfmot_is_refused(tmp_path: Path) -> None:
    import tf_keras
    from tensorflow_model_optimization.sparsity import keras as sparsity_of

    layers = tf_keras.layers
    inner = layers.Lambda(lambda x: x * 2, name="double")
    dense = sparsity_of.prune_low_magnitude(layers.Dense(3, activation=lambda x: x * 3))
    for name, layer in (("beside", inner), ("within", dense)):
        tf_keras.Sequential([layers.Input((4,)), layers.Dense(4), layer]).save(tmp_path / f"{name}.h5")
        with pytest.raises(RegrowError, match="is not run from a model file"):
            import_model(tmp_path / f"{name}.h5")


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_models_for_quantisation_aware_training_are_named_with_the_way_out(
    tmp_path: Path, suffix: str
) -> None:
    from tensorflow_model_optimization import clustering, quantization

    keras = quantization.keras
    start = clustering.keras.CentroidInitialization.LINEAR
    clustered = clustering.keras.cluster_weights(_small(), number_of_clusters=4, cluster_centroids_init=start)
    for model, said in (
        (keras.quantize_annotate_model(_small()), "prune the model from before that training"),
        (keras.quantize_model(_small()), "prune the model from before that training"),
        (clustered, "strip it first: tfmot.clustering.keras.strip_clustering"),
    ):
        model.save(tmp_path / f"mine{suffix}", **_format(suffix))
        for more in ((), ("--trust",)):
            assert said in refused("inspect", f"mine{suffix}", *more)
