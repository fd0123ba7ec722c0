"""Random examples for a model of which no data is there, in the range of values that its layers tell."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def random_examples(model: Any, count: int) -> tuple[Array, str]:
    """``count`` random examples of a `tf_keras` ``model`` with one input of known size, float32 (count, …).

    Returns:
        them, and their range in words, with what tells it.
    """
    low, high, why = _range(model)
    random = np.random.default_rng(0)
    examples = random.uniform(low, high, (count, *model.inputs[0].shape[1:])).astype(np.float32)
    return examples, f"from {low:g} to {high:g} ({why})"


def _range(model: Any) -> tuple[float, float, str]:
    """The lowest and highest raw value, and what tells: the layer that takes the input, where it scales it."""
    from regrow.graph.graph import Graph

    graph = Graph.of(model)
    raw = set(graph.view.inputs)
    taking = []
    for call in graph.view.calls:
        if raw.intersection(call.inputs) and call.class_name == "InputLayer":
            raw.update(call.outputs)  # of a nested model
        elif raw.intersection(call.inputs):
            taking.append(call)
    # TFLite reads no number beyond the smallest vocabulary.
    tables = [call for call in taking if call.class_name == "Embedding"]
    tables.sort(key=lambda call: graph.layer_config(call.layer)["input_dim"])
    takes = next(iter(tables or taking), None)
    low, high = 0.0, 1.0
    kind = None if takes is None else takes.class_name
    if takes is None or kind not in ("Rescaling", "Normalization", "Embedding"):
        return low, high, "no layer tells the model's own range"
    config = graph.layer_config(takes.layer)
    if kind == "Embedding":
        high = float(config["input_dim"] - 1)
    elif kind == "Normalization":
        mean, variance = (
            graph.arrays.get(f"{takes.layer}/{name}", config[name]) for name in ("mean", "variance")
        )
        low, high = (float(np.mean(mean + side * np.sqrt(variance))) for side in (-3, 3))
    elif scale := float(np.mean(config["scale"])):
        offset = float(np.mean(config["offset"]))
        # Adding zero makes a negative zero a plain one.
        low, high = sorted((y - offset) / scale + 0.0 for y in (-1.0 if offset else 0.0, 1.0))
    return low, high, f"as its layer '{takes.layer}' tells"
