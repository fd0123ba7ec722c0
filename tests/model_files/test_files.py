"""Model files are reproducible, load without Regrow, and run no code of their own."""

import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.costs import count_macs, layer_costs
from regrow.graph.graph import Graph
from regrow.graph.kernels import prunable_kernels, sparsity
from regrow.model_files.files import import_model, load_model, save_model
from regrow.model_files.inspection import render_file
from regrow.provenance.digest import tree_digest
from tests.deferred import deferred

keras = deferred("tf_keras")

RESNET8 = Path(__file__).resolve().parents[3] / "shared/data/mlperf-tiny/resnet8_cifar10.h5"


def with_lambda(*, nested: bool) -> Any:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2, name="evil")])
    if not nested:
        return inner
    return keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(2)])


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_model_file_is_refused_and_trust_loads_it(
    tmp_path: Path, suffix: str, nested: bool
) -> None:
    path = tmp_path / f"model{suffix}"
    with_lambda(nested=nested).save(path)
    with pytest.raises(RegrowError, match="layer 'evil' carries Python code"):
        import_model(path)
    if suffix == ".h5":
        assert import_model(path, trust=True).predict(np.ones((1, 4)), verbose=0).shape[0] == 1


def test_code_in_a_saved_model_is_refused(tmp_path: Path) -> None:
    with_lambda(nested=False).save(tmp_path / "saved", save_format="tf")
    with pytest.raises(RegrowError, match="carries Python code"):
        import_model(tmp_path / "saved")


def test_equal_weights_give_equal_bytes(small_model: Any, tmp_path: Path) -> None:
    save_model(small_model, tmp_path / "a")
    time.sleep(1.1)
    small_model.compile("adam", "mse")
    save_model(load_model(tmp_path / "a"), tmp_path / "b")
    assert tree_digest(tmp_path / "a") == tree_digest(tmp_path / "b")


def test_an_ellipsis_is_written_as_the_slices_it_stands_for(tmp_path: Path) -> None:
    frame = keras.Input((4, 6))
    inner = keras.Model(frame, frame[..., :3] * frame[..., None, 3:][:, :, 0], name="inner")
    inputs = keras.Input((4, 6))
    x = keras.layers.Dense(5)(inner(inputs))
    model = keras.Model(inputs, [x[...], x[:, 0, ...], x[..., -1]])
    model.save(tmp_path / "model.h5")  # a format that has an ellipsis
    given = np.random.default_rng(0).normal(size=(2, 4, 6))
    wanted = [np.asarray(answer) for answer in model(given)]
    for found in (Graph.of(import_model(tmp_path / "model.h5")).to_model(), model):
        save_model(found, tmp_path)
        for one, other in zip(keras.models.load_model(tmp_path / "model.keras")(given), wanted, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("compiled", [False, True])
def test_sharing_across_nesting_is_refused_for_keras_cannot_load_it(tmp_path: Path, compiled: bool) -> None:
    shared, inputs = keras.layers.Dense(6, name="shared"), keras.Input((6,))
    inner = keras.Model(inputs, keras.layers.Dense(6)(shared(inputs)), name="inner")
    outer = keras.Input((6,))
    model = keras.Model(outer, keras.layers.Dense(2)(inner(shared(outer))))
    if compiled:
        model.compile("sgd", "mse")
    with pytest.raises(RegrowError, match=r"layer '(inner/)?shared': is also layer"):
        save_model(model, tmp_path)
    model.save(tmp_path / "plain.keras", save_format="keras")
    with pytest.raises(ValueError, match="variables"):
        keras.models.load_model(tmp_path / "plain.keras", compile=False)


def test_a_compiled_model_is_saved_without_its_optimizer(small_model: Any, tmp_path: Path) -> None:
    small_model.compile("adam", "sparse_categorical_crossentropy")
    small_model.fit(np.zeros((4, 8, 8, 1)), np.zeros(4), verbose=0)
    save_model(small_model, tmp_path)
    assert load_model(tmp_path).optimizer is None
    x = np.random.default_rng(0).uniform(0, 16, (3, 8, 8, 1)).astype("float32")
    assert np.array_equal(load_model(tmp_path).predict(x, verbose=0), small_model.predict(x, verbose=0))


def test_loads_where_regrow_cannot_be_imported(small_model: Any, tmp_path: Path) -> None:
    save_model(small_model, tmp_path)
    code = (
        "import os, sys; os.environ['TF_USE_LEGACY_KERAS'] = '1'; sys.modules['regrow'] = None\n"
        f"import tf_keras; print(tf_keras.models.load_model({str(tmp_path / 'model.keras')!r}).count_params())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) == small_model.count_params()


@pytest.mark.parametrize("suffix", [".h5", ".keras", ""])
def test_imports_what_keras_saves(small_model: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    small_model.save(path, **({} if suffix else {"save_format": "tf"}))
    x = np.ones((2, 8, 8, 1), "float32")
    assert np.allclose(import_model(path).predict(x, verbose=0), small_model.predict(x, verbose=0), atol=1e-6)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    for name, content in (("a.keras", b"no zip"), ("b.h5", b"no hdf5"), ("c.onnx", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RegrowError, match=name):
            import_model(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RegrowError, match=r"without saved_model\.pb"):
        import_model(tmp_path / "folder")
    with pytest.raises(RegrowError, match="no such model file"):
        import_model(tmp_path / "nowhere.keras")


def test_costs_by_hand() -> None:
    inner = keras.Sequential([keras.Input((4, 4, 6)), keras.layers.Conv2D(3, 1, name="point")], name="inner")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(4, 3, padding="same", name="conv"),
            keras.layers.DepthwiseConv2D(3, strides=2, padding="same", name="depth"),
            keras.layers.SeparableConv2D(6, 3, padding="same", name="separable"),
            inner,
            keras.layers.Conv2DTranspose(2, 2, strides=2, name="up"),
            keras.layers.Flatten(),
            keras.layers.Dense(5, name="head"),
        ]
    )
    macs = {cost.name: cost.macs for cost in layer_costs(model)}
    assert macs["conv"] == 8 * 8 * 9 * 2 * 4
    assert macs["depth"] == 4 * 4 * 9 * 4
    assert macs["separable"] == 4 * 4 * (9 * 4 + 4 * 6)
    assert macs["inner/point"] == 4 * 4 * 6 * 3
    assert macs["up"] == 4 * 4 * 2 * 2 * 3 * 2
    assert macs["head"] == 8 * 8 * 2 * 5
    assert count_macs(model) == sum(macs.values())
    assert {"conv/kernel", "depth/depthwise_kernel", "inner/point/kernel"} <= set(prunable_kernels(model))


def test_grouped_convolution_and_shared_layers() -> None:
    shared = keras.layers.Dense(3, name="shared")
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], keras.layers.Add()([shared(a), shared(b)]))
    assert count_macs(model) == 2 * 12
    assert list(prunable_kernels(model)) == ["shared/kernel"]
    grouped = keras.Sequential([keras.Input((6, 6, 8)), keras.layers.Conv2D(8, 3, groups=4, padding="same")])
    assert count_macs(grouped) == 36 * 9 * 2 * 8


def test_sparsity_counts_kernels_only(small_model: Any) -> None:
    kernels = prunable_kernels(small_model)
    total = sum(kernel.numpy().size for kernel in kernels.values())
    before = sparsity(small_model)
    kernels["conv1/kernel"].assign(np.zeros(kernels["conv1/kernel"].shape))
    assert sparsity(small_model) - before == pytest.approx(72 / total)


def test_inspection_names_layers_and_totals(small_model: Any, tmp_path: Path) -> None:
    from rich.console import Console

    save_model(small_model, tmp_path)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_file(tmp_path))
    text = console.export_text()
    assert "conv2" in text
    assert f"{small_model.count_params():,}" in text


@pytest.mark.skipif(not RESNET8.is_file(), reason="needs MLPerf Tiny's reference file")
def test_the_mlperf_tiny_reference_is_imported() -> None:
    model = import_model(RESNET8)
    assert model.count_params() == 78_666
    assert count_macs(model) == 12_501_632


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_of_keras_applications_are_found(tmp_path: Path, suffix: str) -> None:
    import tf_keras
    from tf_keras.src.applications.convnext import LayerScale

    model = tf_keras.Sequential([tf_keras.layers.Input((3,)), tf_keras.layers.Dense(4), LayerScale(0.5, 4)])
    model.save(tmp_path / f"model{suffix}")
    loaded = import_model(tmp_path / f"model{suffix}")
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_assets_of_an_archive_are_read(tmp_path: Path) -> None:
    import tf_keras

    words = tf_keras.layers.StringLookup(vocabulary=["red", "green"], name="words")
    inputs = tf_keras.Input((1,), dtype="string")
    x = tf_keras.layers.Embedding(3, 2)(words(inputs))
    model = tf_keras.Model(inputs, x)
    model.save(tmp_path / "model.keras")
    loaded = import_model(tmp_path / "model.keras")
    examples = np.array([["green"], ["blue"]])
    np.testing.assert_array_equal(loaded(examples), model(examples))
