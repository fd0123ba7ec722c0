"""Every architecture that Keras ships, random weights, half of its removable units gone at random."""

import importlib.machinery
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.graph.graph import Graph
from regrow.graph.removal import remove
from regrow.graph.tracing import trace

from .checking import agree, halved, inputs_of, outputs_of
from .oracle import expected

SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71, "NASNetMobile": 32, "NASNetLarge": 32}
QUICK = ("MobileNetV2", "MobileNetV3Small", "RegNetY002")


def architectures() -> list[str]:
    """Read from the file that lists them: importing it takes seconds."""
    spec = importlib.machinery.PathFinder.find_spec("tf_keras")
    assert spec is not None and spec.origin is not None
    text = (Path(spec.origin).parent / "applications" / "__init__.py").read_text("utf-8")
    found = re.findall(r"^from [\w.]+ import ([A-Z]\w+)$", text, re.MULTILINE)
    assert set(QUICK) < {*found}
    return sorted(found)


def application(name: str) -> Any:
    """At a small input size; the last activation is left out, because a softmax would hide differences."""
    import tf_keras

    size = SMALLEST.get(name, 32)
    model = getattr(tf_keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    random = np.random.default_rng(0)
    for weight in model.weights:  # kernels as initialised; all else is a constant that would hide mistakes
        if len(weight.shape) == 1:
            scale = 1 if "variance" in weight.name or "gamma" in weight.name else 0
            weight.assign(scale + random.uniform(-0.3, 0.3, weight.shape))
    return model


def check(name: str) -> None:
    model = application(name)
    graph, inputs = Graph.of(model), inputs_of(model)
    before = outputs_of(model, inputs)
    del model
    channels = trace(graph)
    assert channels.removable.mean() > 0.9, set(channels.reasons.values())
    gone = halved(channels)
    smaller, _ = remove(channels, gone)
    wanted = expected(channels, gone, inputs)
    built = smaller.to_model()
    agree(outputs_of(built, inputs), wanted)
    assert np.abs(wanted[0] - before[0]).max() > 1e-3 * np.abs(before[0]).max()
    assert channels.parameters(gone) == built.count_params()
    assert channels.macs(gone) == trace(Graph.of(built)).macs()


@pytest.mark.parametrize("name", QUICK)
def test_small_architecture(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", architectures())
def test_architecture(name: str) -> None:
    check(name)
