"""Zeros in every layer of Keras that has a kernel, counted in the saved file by plain `tf_keras`."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.augmentation.dataset import AugmentedDataset
from regrow.dataset.directory import Dataset
from regrow.errors import RegrowError
from regrow.evaluation.comparison import model_metrics
from regrow.graph.kernels import kernels, prunable_kernels, sparsity
from regrow.model_files.files import load_model, save_model
from regrow.model_files.inspection import inspection
from regrow.progress import Progress
from regrow.pruning.magnitude import allocate, gradual
from regrow.pruning.methods import Outcome, Task, prune
from regrow.pruning.parameters import PruneParams
from regrow.pruning.pruning import Pruning
from regrow.pruning.report import pruning_report
from regrow.pruning.selection import chosen_kernels
from regrow.recovery.initialisation import Reinitialise, Rewind, Source, initialise
from regrow.training.fitting import Fit
from regrow.training.settings import FitSettings
from tests.deferred import deferred
from tests.pruning.every_layer import LEFT_DENSE, SUMMED, UNBLOCKED, every_layer, few_layers, plain_kernels

tf = deferred("tensorflow")
tf_keras = deferred("tf_keras")

pytestmark = pytest.mark.tensorflow

Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def one() -> tuple[Any, list[Array]]:
    model = every_layer()
    return model, model.get_weights()


@pytest.fixture
def model(one: tuple[Any, list[Array]]) -> Iterator[Any]:
    yield one[0]
    one[0].set_weights(one[1])


def pruned(model: Any, **params: Any) -> Outcome:
    task = Task(
        params=PruneParams(**params),
        dataset=None,
        overlay=None,
        step="prune",
        progress=lambda total: Progress("prune", total=total),
    )
    return prune(model, task)


def in_the_file(model: Any, folder: Path) -> dict[str, Array]:
    save_model(model, folder)
    return plain_kernels(tf_keras.models.load_model(folder / "model.keras", compile=False))


def share(arrays: dict[str, Array]) -> float:
    return sum(int((a == 0).sum()) for a in arrays.values()) / sum(a.size for a in arrays.values())


def test_the_list_of_kernels_is_whole(model: Any) -> None:
    found = plain_kernels(model)
    assert set(found) == {*SUMMED, *UNBLOCKED, LEFT_DENSE}
    assert sum(array.size for array in found.values()) == sum(
        kernel.variable.numpy().size for kernel in kernels(model).values()
    )
    assert len(prunable_kernels(model)) == len(found) - 1


@pytest.mark.parametrize("allocation", ["uniform", "global", "lamp", "erk"])
def test_half_of_what_can_be_zeroed_is_zero(
    model: Any, tmp_path: Path, allocation: str, capfd: pytest.CaptureFixture[str]
) -> None:
    done = pruned(model, method="magnitude", sparsity=0.5, allocation=allocation)
    found = in_the_file(done.model, tmp_path)
    dense = found[LEFT_DENSE]
    assert not (dense == 0).any()
    assert share({name: array for name, array in found.items() if name != LEFT_DENSE}) == pytest.approx(
        0.5, abs=0.003
    )
    if allocation == "uniform":
        for name, array in found.items():
            assert name == LEFT_DENSE or abs((array == 0).sum() - array.size / 2) <= 1, name
    part = dense.size / sum(array.size for array in found.values())
    message = capfd.readouterr().err
    assert f"{share(found):.1%} of all kernel weights are zero, not 50.0%" in message
    assert f"local1_whole/kernel ({part:.1%} of the weights)" in message


def test_there_is_one_count(model: Any, tmp_path: Path) -> None:
    done = pruned(model, method="magnitude", sparsity=0.7)
    found = in_the_file(done.model, tmp_path)
    right = share(found)
    report = pruning_report(
        done.model, method="magnitude", allocation="lamp", target=0.7, left_dense=done.left_dense
    )
    probabilities, labels = np.full((4, 10), 0.1), np.arange(4)
    metrics = model_metrics(load_model(tmp_path), probabilities, labels, bins=5)
    counts = [report["sparsity"], inspection(done.model).sparsity, sparsity(done.model), metrics["sparsity"]]
    assert counts == pytest.approx([right] * 4, abs=1e-12)
    zeros = sum(int((array == 0).sum()) for array in found.values())
    assert metrics["parameters"] - metrics["parameters_nonzero"] == zeros
    assert sum(row["zeros"] for row in report["layers"]) == zeros
    assert sum(row["weights"] for row in report["layers"]) == sum(array.size for array in found.values())
    (spared,) = [row for row in report["layers"] if "left_dense" in row]
    assert spared["name"] == LEFT_DENSE
    assert report["left_dense_share"] == pytest.approx(
        found[LEFT_DENSE].size / sum(array.size for array in found.values())
    )


def test_n_of_m_goes_along_what_is_summed_over(model: Any, tmp_path: Path) -> None:
    before = plain_kernels(model)
    done = pruned(model, method="n_m", n=1, m=4)
    found = in_the_file(done.model, tmp_path)
    for name, axes in SUMMED.items():
        axes = axes if isinstance(axes, tuple) else (axes,)
        kept, all_of_them = (
            np.moveaxis(array, axes, range(-len(axes), 0)).reshape(-1, 4)
            for array in (found[name], before[name])
        )
        largest = np.abs(all_of_them).argmax(axis=1)
        assert (np.count_nonzero(kept, axis=1) == 1).all(), name
        assert (kept.argmax(axis=1) == largest).all() or (np.abs(kept).argmax(axis=1) == largest).all(), name
    for name in (*UNBLOCKED, LEFT_DENSE):
        np.testing.assert_array_equal(found[name], before[name])
    assert len(done.left_dense) == len(UNBLOCKED) + 1


def test_erk_goes_by_inputs_and_outputs(model: Any) -> None:
    """A kernel of heads is a matrix, and positions with weights of their own are so many matrices."""
    chosen = {
        name: kernel
        for name, kernel in chosen_kernels(model).items()
        if name in ("attention/query_dense/kernel", "attention/output_dense/kernel", "local1/kernel")
    }
    shares = allocate(model, chosen, sparsity=0.6, allocation="erk")
    right = {
        "attention/query_dense/kernel": ((8 + 2 * 4) / (8 * 2 * 4), 64),
        "attention/output_dense/kernel": ((2 * 6 + 8) / (2 * 6 * 8), 96),
        "local1/kernel": ((24 + 4) / (24 * 4), 576),
    }
    factor = 0.4 * (64 + 96 + 576) / sum(raw * size for raw, size in right.values())
    assert shares == pytest.approx({name: 1 - factor * raw for name, (raw, _) in right.items()})


def test_what_is_skipped_may_lie_inside_a_layer(model: Any, capfd: pytest.CaptureFixture[str]) -> None:
    done = pruned(
        model, method="magnitude", sparsity=0.5, skip=("words", "attention/query_dense", "lstm", "both/*")
    )
    dense = {name for name, array in plain_kernels(done.model).items() if not (array == 0).any()}
    assert {name for name in dense if name != LEFT_DENSE} == {
        "words/embeddings",
        "attention/query/kernel",
        *(name for name in SUMMED if name.startswith(("lstm/", "both/"))),
    }
    assert "both/forward_layer/cell/kernel" in done.left_dense
    assert "skipped" in capfd.readouterr().err
    with pytest.raises(RegrowError, match="'attention/qery_dense' matches no prunable layer"):
        pruned(model, method="magnitude", sparsity=0.5, skip=("attention/qery_dense",))


def zeros_of(model: Any) -> dict[str, Array]:
    return {name: array == 0 for name, array in plain_kernels(model).items()}


TRAINED = [few_layers, pytest.param(every_layer, marks=pytest.mark.slow)]


@pytest.mark.parametrize("build", TRAINED)
def test_zeros_stay_through_recovery(build: Callable[[], Any], digits: Dataset, tmp_path: Path) -> None:
    """New weights, early weights, and training with decay, averages and normalised weights."""
    model = build()
    save_model(model, tmp_path / "early")
    done = pruned(model, method="magnitude", sparsity=0.8, allocation="uniform")
    done.pruning.write(tmp_path / "pruning")
    pruning, wanted = Pruning.read(tmp_path / "pruning"), zeros_of(done.model)
    source = Source(pruning=pruning, training=tmp_path, data=AugmentedDataset(digits), seed=0)
    for option in (Reinitialise(), Rewind()):
        initialise(model, option, source)
        assert all(not plain_kernels(model)[name][zero].any() for name, zero in wanted.items())
    before = plain_kernels(model)
    settings = FitSettings(epochs=1, batch_size=256, ema=0.9, weight_normalisation=True)
    Fit(
        settings=settings,
        step="recover",
        progress=Progress("recover", total=1),
        masks=pruning.masks,
        settle=lambda averaged: None,
    ).run(model, AugmentedDataset(digits))
    after = in_the_file(model, tmp_path / "recovered")
    for name, zero in wanted.items():
        assert not after[name][zero].view(np.uint32).any(), name
        assert not np.array_equal(before[name], after[name]), f"{name} has not learned"


@pytest.mark.parametrize("build", TRAINED)
def test_a_gradual_schedule_reaches_every_layer(
    build: Callable[[], Any], digits: Dataset, tmp_path: Path
) -> None:
    model = build()
    chosen = chosen_kernels(model)
    pruning = gradual(
        model,
        chosen,
        allocate(model, chosen, sparsity=0.75, allocation="uniform"),
        data=AugmentedDataset(digits),
        settings=FitSettings(epochs=1, batch_size=256, early_stopping=None),
        initial_share=0.2,
        begin=0.0,
        end=0.9,
        frequency=1,
        step="prune",
        progress=Progress("prune", total=1),
    )
    pruning.verify(model)
    for name, array in in_the_file(model, tmp_path).items():
        zeros = 0 if name == LEFT_DENSE else array.size * 0.75
        assert abs((array == 0).sum() - zeros) <= 1, name


def custom() -> tuple[Any, type]:
    layers = tf_keras.layers

    class Mixing(layers.Layer):  # type: ignore[misc]
        """Weights of two axes in attributes, in lists, and inside a layer; others that are no kernels."""

        def build(self, shape: Any) -> None:
            self.layers = [layers.Dense(8, name="inside")]
            self.table = self.add_weight("table", (8, 8))
            self.lists = [self.add_weight(f"w{number}", (8, 8)) for number in range(2)]
            self.loose = [tf.Variable(tf.ones((8, 8)), name="loose")]
            self.position_bias = self.add_weight("position_bias", (4, 8))
            self.fixed = self.add_weight("fixed", (8, 8), trainable=False)
            self.factors = self.add_weight("factors", (8,))
            super().build(shape)

        def call(self, x: Any) -> Any:
            return (
                self.layers[0](x @ self.table @ self.lists[0] @ self.lists[1] @ self.loose[0]) * self.factors
            )

    class Wide(layers.Dense):  # type: ignore[misc]
        """Has the kernel of the layer that it is derived from."""

    class Dense(layers.Layer):  # type: ignore[misc]
        """A namesake."""

        def build(self, shape: Any) -> None:
            self.matrix = self.add_weight("matrix", (8, 8))

        def call(self, x: Any) -> Any:
            return x @ self.matrix

    inputs = tf_keras.Input((8,))
    x = Dense(name="namesake")(Wide(8, name="wide")(Mixing(name="mixing")(inputs)))
    x = layers.Flatten()(layers.LayerNormalization(axis=[1, 2])(layers.Reshape((2, 4))(x)))
    return tf_keras.Model(inputs, layers.Dense(4, name="head")(x)), Mixing


def test_layers_that_nobody_knows_count_and_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    model, _ = custom()
    done = pruned(model, method="magnitude", sparsity=0.5, allocation="uniform")
    total, zeros = 7 * 64 + 32, (2 * 64 + 32) // 2
    assert sparsity(model) == pytest.approx(zeros / total)
    assert set(done.left_dense) == {
        "mixing/table",
        "mixing/w0",
        "mixing/w1",
        "mixing/loose",
        "namesake/matrix",
    }
    message = capfd.readouterr().err
    assert f"{zeros / total:.1%} of all kernel weights are zero, not 50.0%" in message
    assert "mixing/table (13.3% of the weights): how class Mixing uses its weights is unknown" in (message)
    assert set(prunable_kernels(model)) == {
        "mixing/inside/kernel",
        "wide/kernel",
        "head/kernel",
    }


def test_a_model_of_unknown_layers_alone_is_refused() -> None:
    class Table(tf_keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.table = self.add_weight("table", (8, 8))

        def call(self, x: Any) -> Any:
            return x @ self.table

    model = tf_keras.Sequential([tf_keras.Input((8,)), Table(name="only")])
    with pytest.raises(
        RegrowError, match=r"no layer that can be pruned.*only/table: how class Table uses its weights"
    ):
        pruned(model, method="magnitude", sparsity=0.5)


def test_equal_magnitudes_stay_and_that_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """tfmot keeps all weights as large as the smallest that it keeps, as in a model with two values."""
    model = tf_keras.Sequential([tf_keras.Input((8,)), tf_keras.layers.Dense(8, name="signs")])
    signs = np.where(np.arange(64) % 2, 0.5, -0.5).reshape(8, 8)
    model.set_weights([signs, np.zeros(8)])
    pruned(model, method="magnitude", sparsity=0.5)
    assert not (model.get_weights()[0] == 0).any()
    message = capfd.readouterr().err
    assert (
        "0.0% of all kernel weights are zero, not 50.0%; weights of equal magnitude stay together" in message
    )


def test_rounding_is_no_reason_and_equal_magnitudes_are_one_beside_others(
    capfd: pytest.CaptureFixture[str],
) -> None:
    layers = tf_keras.layers
    inputs = tf_keras.Input((3,))
    x = layers.Dense(3, name="first")(inputs)
    model = tf_keras.Model(inputs, layers.Dense(5, name="signs")(x))
    # One of 9 and two of 15.
    pruned(model, method="magnitude", sparsity=0.15, allocation="uniform")
    assert sparsity(model) == 3 / 24
    assert "kernel weights are zero" not in capfd.readouterr().err
    model.set_weights([np.arange(1.0, 10).reshape(3, 3), np.zeros(3), np.ones((3, 5)), np.zeros(5)])
    pruned(model, method="magnitude", sparsity=0.5, skip="first")
    message = capfd.readouterr().err
    assert (
        "0.0% of all kernel weights are zero, not 50.0%; stayed dense: first/kernel (37.5% of the" in message
    )
    assert "skipped; weights of equal magnitude stay together" in message


def test_cells_of_the_user_s_own(capfd: pytest.CaptureFixture[str]) -> None:
    """One derived from a cell of Keras has its kernels; of another it is not known what they do."""
    layers = tf_keras.layers

    class Gated(layers.GRUCell):  # type: ignore[misc]
        """As its parent."""

    class Leaky(layers.Layer):  # type: ignore[misc]
        """Its state forgets at a rate of its own."""

        state_size = output_size = 8

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight("kernel", (shape[-1], 8))
            super().build(shape)

        def call(self, x: Any, states: Any, training: Any = None) -> Any:
            state = 0.9 * states[0] + x @ self.kernel
            return state, [state]

    inputs = tf_keras.Input((6, 8))
    x = layers.RNN(Gated(8), return_sequences=True, stateful=False, name="gated")(inputs)
    x = layers.Bidirectional(layers.RNN(Leaky(), return_sequences=True), name="leaky")(x)
    x = layers.RNN([layers.LSTMCell(8, name="low"), Leaky(name="high")], name="stacked")(x)
    model = tf_keras.Model(inputs, x)
    done = pruned(model, method="n_m", n=2, m=4)
    unknown = {
        "leaky/forward_layer/cell/kernel",
        "leaky/backward_layer/cell/kernel",
        "stacked/cell/high/kernel",
    }
    assert set(done.left_dense) == unknown
    counts = {name: array.variable.numpy() for name, array in kernels(model).items()}
    assert all((array == 0).mean() == (0 if name in unknown else 0.5) for name, array in counts.items())
    assert "how class Leaky uses its weights is unknown" in capfd.readouterr().err


@pytest.mark.parametrize("method", ["magnitude", "n_m"])
def test_channels_and_then_zeros_inside_layers(tmp_path: Path, method: str) -> None:
    layers = tf_keras.layers
    inputs = tf_keras.Input((6, 8))
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True), name="both")(inputs)
    x = layers.TimeDistributed(layers.Dense(32, activation="relu"), name="each")(x)
    x = layers.MultiHeadAttention(4, 8, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D()(x)
    model = tf_keras.Model(inputs, layers.Dense(4, name="head")(x))
    done = pruned(
        model,
        method=("channels", method),
        target={"macs": 0.5},
        channels={"round_to": 4},
        sparsity=0.5,
        allocation="uniform",
    )
    done.pruning.write(tmp_path / "pruning")
    Pruning.read(tmp_path / "pruning").verify(done.model)
    found = in_the_file(done.model, tmp_path)
    assert sum(a.size for a in found.values()) < 0.7 * sum(a.size for a in plain_kernels(model).values())
    assert all(abs((array == 0).mean() - 0.5) <= 0.5 / array.size for array in found.values())


def test_names_do_not_depend_on_what_was_built_before() -> None:
    """Masks of one session fit the model that another session loads."""
    first, second = (sorted(kernels(every_layer())) for _ in range(2))
    assert first == second
    assert not any(one.endswith(tuple("0123456789")) for one in itertools.chain(first, second))


def test_a_kernel_that_two_layers_hold_counts_once_and_is_the_inner_one_s() -> None:
    """Spectral normalisation keeps the kernel of the layer inside as its own."""
    layers = tf_keras.layers
    inputs = tf_keras.Input((6, 6, 4))
    x = layers.SpectralNormalization(layers.Conv2D(8, 3, name="inside"), name="outside")(inputs)
    model = tf_keras.Model(inputs, layers.Conv2D(4, 1, name="head")(x))
    done = pruned(model, method="n_m", n=2, m=4)
    assert done.left_dense == {}
    conv = model.get_layer("outside").layer.kernel.numpy()
    assert (np.count_nonzero(np.moveaxis(conv, 2, -1), axis=-1) == 2).all()
    assert sum(kernel.variable.numpy().size for kernel in kernels(model).values()) == 9 * 4 * 8 + 8 * 4
