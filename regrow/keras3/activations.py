"""Activations that only Keras 3 has, as TensorFlow operations, which both libraries keep in a model."""

from collections.abc import Callable
from typing import Any

Operate = Callable[..., Any]  # a symbol of TensorFlow, without ``tf.``, and its arguments

# Keras 3's definitions, with the values that an activation has when it goes by its name alone.
FORMULAS: dict[str, Callable[[Operate, Any], Any]] = {
    "celu": lambda op, x: op("nn.elu", x),
    "hard_shrink": lambda op, x: op("where", op("math.greater", op("math.abs", x), 0.5), x, 0.0),
    "hard_tanh": lambda op, x: op("clip_by_value", x, -1.0, 1.0),
    "log_sigmoid": lambda op, x: op("math.log_sigmoid", x),
    "log_softmax": lambda op, x: op("nn.log_softmax", x),
    "soft_shrink": lambda op, x: op("math.subtract", x, op("clip_by_value", x, -0.5, 0.5)),
    # (x + 1)² ÷ 4 between −1 and 1; 0 below and x above
    "sparse_plus": lambda op, x: op(
        "math.add",
        op(
            "math.multiply",
            op("math.square", op("clip_by_value", op("math.add", x, 1.0), 0.0, 2.0)),
            0.25,
        ),
        op("nn.relu", op("math.subtract", x, 1.0)),
    ),
    "sparse_sigmoid": lambda op, x: op(
        "clip_by_value", op("math.multiply", op("math.add", x, 1.0), 0.5), 0.0, 1.0
    ),
    # (x + √(x² + 4)) ÷ 2
    "squareplus": lambda op, x: op(
        "math.multiply",
        op("math.add", x, op("math.sqrt", op("math.add", op("math.square", x), 4.0))),
        0.5,
    ),
    "tanh_shrink": lambda op, x: op("math.subtract", x, op("math.tanh", x)),
}


class Computed:
    """The activation ``kind`` of the layer ``name`` in `tf_keras`: a function of a tensor of a model.

    Its operations have names of their own, the same in every session, and are shared by all calls.
    """

    def __init__(self, kind: str, *, name: str) -> None:
        self._formula, self._name = FORMULAS[kind], f"{name}_{kind}"
        self._operations: list[Any] = []

    def __call__(self, x: Any) -> Any:
        """The activation of ``x``."""
        used = iter(list(self._operations))

        def operate(symbol: str, *arguments: Any) -> Any:
            operation = next(used, None) or self._new(symbol)
            return operation(*arguments)

        return self._formula(operate, x)

    def _new(self, symbol: str) -> Any:
        import tf_keras

        name = f"{self._name}_{len(self._operations)}" if self._operations else self._name
        config = {"name": name, "trainable": True, "dtype": "float32", "function": symbol}
        self._operations.append(tf_keras.layers.deserialize({"class_name": "TFOpLambda", "config": config}))
        return self._operations[-1]
