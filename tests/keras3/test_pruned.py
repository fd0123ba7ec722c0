"""Files of Keras 3 come in, lose half of their channels, are trained, and go back, for every layer class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.graph.graph import Graph
from regrow.graph.removal import built, remove
from regrow.graph.tracing import trace
from regrow.model_files.files import import_model
from regrow.model_files.keras3_files import write_keras3
from tests.deferred import deferred
from tests.graph.checking import agree, halved, inputs_of, outputs_of
from tests.graph.oracle import expected
from tests.keras3.cases import CASES, answers, examples, randomise

keras = deferred("keras")
tf = deferred("tensorflow")
tf_keras = deferred("tf_keras")

# Channels that enter these stay, for the reason that the report gives; what is around them is pruned.
LEFT_WHOLE = {
    "Rescaling": "has a factor for each in its config",
    "Normalization, given": "has statistics of each in its config",
    "RNN": "runs a StackedRNNCells, which no rule knows",
    "CategoryEncoding": "they are the model's outputs",
}
QUICK = ("Conv2D", "DepthwiseConv2D", "BatchNormalization", "PReLU", "Add", "GRU", "Normalization")


# TensorFlow has no gradient of it: it can only stand at the input.
WITHOUT_GRADIENT = ("RandomContrast",)
# Keras 3 states another shape of the scores than they have, so nothing can take them in.
OUTPUTS_AS_THEY_ARE = {"attention with heads": (1,)}


def between_dense_layers(name: str) -> Any:
    """A Keras 3 model with the model of case ``name`` inside it.

    A dense layer makes the channels that enter and others take in those that leave, so that layers without weights
    have channels to lose too.
    """
    core, layers = CASES[name](keras), keras.layers
    entries, made = {}, {}
    for tensor in core.inputs:
        key = tensor.name
        entries[key] = made[key] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
        if tensor.dtype.startswith("float") and name not in WITHOUT_GRADIENT:
            made[key] = layers.Dense(tensor.shape[-1], name=f"before_{key}")(entries[key])
    if len(made) == 1:
        left = core(next(iter(made.values())))
    else:
        left = core(made if isinstance(core.input, dict) else list(made.values()))
    answers = []
    for number, x in enumerate(tf.nest.flatten(left)):
        if number in OUTPUTS_AS_THEY_ARE.get(name, ()):
            answers.append(x)
            continue
        x = x if None in x.shape[1:] else layers.Flatten()(x)
        x = layers.Dense(4, name=f"after{number}_hidden")(x)
        answers.append(layers.Dense(3, name=f"after{number}")(x))
    return keras.Model(entries if isinstance(core.input, dict) else list(entries.values()), answers)


def assert_same(model: Any, other: Any) -> None:
    given = examples(model)
    for one, another in zip(answers(model, given), answers(other, given), strict=True):
        np.testing.assert_allclose(another, one, rtol=1e-5, atol=1e-5)


def check(name: str, folder: Path) -> None:
    model = randomise(between_dense_layers(name))
    model.save(folder / "in.keras")
    found = import_model(folder / "in.keras")
    assert_same(model, found)

    graph = Graph.of(found)
    channels = trace(graph)
    inside = np.zeros(channels.count, np.bool_)
    for slot in channels.slots:
        inside[slot.units] |= not slot.layer.startswith("after")
    assert (inside & channels.removable).any() != (name in (*LEFT_WHOLE, *WITHOUT_GRADIENT)), channels.reasons
    draws = (halved(channels, seed=seed) for seed in range(20))
    gone = next(gone for gone in draws if (gone & inside).any() or not (inside & channels.removable).any())
    if name in LEFT_WHOLE:
        assert any(why.endswith(LEFT_WHOLE[name]) for why in channels.reasons.values()), channels.reasons
    smaller, _ = remove(channels, gone)
    pruned = built(graph, smaller)
    assert pruned.count_params() == channels.parameters(gone) < found.count_params()
    inputs = inputs_of(found)
    agree(outputs_of(pruned, inputs), expected(channels, gone, inputs))

    pruned.compile(tf_keras.optimizers.SGD(1e-3), "mse")
    given = examples(pruned)
    wanted = [np.zeros_like(answer) for answer in answers(pruned, given)]
    before = pruned.get_weights()
    pruned.train_on_batch(given, wanted if len(wanted) > 1 else wanted[0])
    assert any((one != other).any() for one, other in zip(before, pruned.get_weights(), strict=True))

    write_keras3(pruned, folder / "out.keras")
    last = keras.saving.load_model(folder / "out.keras")
    assert last.count_params() == pruned.count_params()
    assert_same(pruned, last)
    assert_same(last, import_model(folder / "out.keras"))


@pytest.mark.parametrize("name", QUICK)
def test_a_layer_of_keras3_is_pruned_and_trained_and_goes_back(tmp_path: Path, name: str) -> None:
    check(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_layer_of_keras3_is_pruned_and_trained_and_goes_back(tmp_path: Path, name: str) -> None:
    check(name, tmp_path)
