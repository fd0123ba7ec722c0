"""What a model file declares is bounded by what it holds, before anything of that size is made."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError

# Variables that are not stored, such as the states of random generators; and what is stored in fewer bytes, or built in
# both libraries, as a model of Keras 3 with masks is.
UNSTORED = 1 << 16
WIDENED = 4
# Values of one example in one tensor: 64 frames of 1920 × 1080 × 3 are 4e8.
LARGEST_TENSOR = 1 << 29
LONGEST_AXIS = 1 << 24
# Sizes that Keras or TensorFlow turn into as many objects or numbers while a model is built and its weights are read.
REPEATED = {
    ("UpSampling1D", "size"): 1 << 12,
    ("UpSampling3D", "size"): 1 << 12,
    ("Discretization", "num_bins"): 1 << 20,
    ("IntegerLookup", "num_oov_indices"): 1 << 20,
    ("StringLookup", "num_oov_indices"): 1 << 20,
    ("HashedCrossing", "num_bins"): 1 << 24,
    ("LocallyConnected1D", "filters"): 1 << 14,
    ("LocallyConnected2D", "filters"): 1 << 14,
}
LONGEST_UNROLLED = 1 << 12
REPEATED_ARGUMENTS = {"num_or_size_splits": 1 << 14, "num": 1 << 14, "num_split": 1 << 14}


@dataclass
class Budget:
    """How many bytes of variables a model may have; ``fault`` says what went beyond."""

    stored: int
    declared: int = 0
    fault: str | None = None

    def take(self, name: str, shape: tuple[int, ...], itemsize: int) -> None:
        """Count a variable.

        Raises:
            RegrowError: all variables together are larger than the file allows; the sentence lacks its name.
        """
        self.declared += math.prod(shape) * itemsize
        if self.declared > WIDENED * self.stored + UNSTORED:
            self.fault = (
                f"declares weights of {self.declared:,} bytes up to '{name}' of shape {shape}, and holds"
                f" {self.stored:,} bytes of them"
            )
            raise RegrowError(self.fault)


@contextlib.contextmanager
def bounded(budget: Budget) -> Iterator[None]:
    """Within, no variable of `tf_keras` is made that ``budget`` does not allow: Keras is stopped before it is.

    Raises:
        RegrowError: one would have been; whatever Keras makes of that on its way.
    """
    import tensorflow as tf

    def creator(following: Any, **arguments: Any) -> Any:
        shape, value = arguments.get("shape"), arguments.get("initial_value")
        shape = getattr(value, "shape", ()) if shape is None and not callable(value) else shape
        dtype = arguments.get("dtype") or getattr(value, "dtype", None) or tf.float32
        scope = tf.get_current_name_scope()
        name = "/".join(part for part in (scope, str(arguments.get("name"))) if part)
        sizes = tuple(int(size or 1) for size in tf.TensorShape(shape if shape is not None else ()).as_list())
        budget.take(name, sizes, tf.as_dtype(dtype).size or 8)
        return following(**arguments)

    try:
        with tf.variable_creator_scope(creator):
            yield
    except Exception:
        if budget.fault is not None:
            raise RegrowError(budget.fault) from None
        raise


def refuse_excess(config: Any, file: Path) -> None:
    """Refuse sizes in the ``config`` of ``file`` that would become objects by the million while a model is built.

    Raises:
        RegrowError: there is one.
    """
    longest, unrolled, waiting = 0, None, [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            excess = _excess(value)
            if excess is not None:
                raise RegrowError(f"{file}: {excess}")
            longest = max(longest, *_input_shape(value), 0)
            unrolled = value if value.get("unroll") is True else unrolled
            value = list(value.values())
        if isinstance(value, list):
            waiting += value
    if unrolled is not None and longest > LONGEST_UNROLLED:
        raise RegrowError(
            f"{file}: layer '{unrolled.get('name')}' is unrolled, and an input has an axis of length {longest:,};"
            f" accepted beside unroll: at most {LONGEST_UNROLLED:,}"
        )


def _input_shape(config: dict[str, Any]) -> list[int]:
    """The lengths that an input layer states, the batch among them; empty for other layers."""
    inner = config.get("config")
    if config.get("class_name") != "InputLayer" or not isinstance(inner, dict):
        return []
    shape = inner.get("batch_input_shape", inner.get("batch_shape"))
    shape = shape.get("items") if isinstance(shape, dict) else shape
    return [size for size in shape if type(size) is int] if isinstance(shape, list) else []


def _excess(config: dict[str, Any]) -> str | None:
    inner = config.get("config")
    if not isinstance(inner, dict):
        return None
    kind, named, sizes = str(config.get("class_name")), f"layer '{inner.get('name')}'", _input_shape(config)
    if math.prod(sizes) > LARGEST_TENSOR:
        return f"{named} takes {math.prod(sizes):,} values; accepted: at most {LARGEST_TENSOR:,}"
    if max(sizes, default=0) > LONGEST_AXIS:
        return f"{named} has an axis of length {max(sizes):,}; accepted: at most {LONGEST_AXIS:,}"
    for key, value in inner.items():
        limit, largest = REPEATED.get((kind, key)), _largest(value)
        if limit is not None and largest > limit:
            return f"{named} ({kind}) has {key} {largest:,}; accepted: at most {limit:,}"
    return _excess_in_calls(config.get("inbound_nodes"), named) if kind == "TFOpLambda" else None


def _excess_in_calls(calls: Any, named: str) -> str | None:
    if isinstance(calls, dict):
        for key, value in calls.items():
            limit = REPEATED_ARGUMENTS.get(key)
            if limit is not None and type(value) is int and value > limit:
                return f"{named} is called with {key} {value:,}; accepted: at most {limit:,}"
        calls = list(calls.values())
    if isinstance(calls, list):
        return next((found for inner in calls if (found := _excess_in_calls(inner, named))), None)
    return None


def _largest(value: Any) -> int:
    if isinstance(value, dict):
        value = value.get("items", value.get("config"))
    if isinstance(value, list):
        return max(map(_largest, value), default=0)
    return value if type(value) is int else 0


def check_tensors(model: Any) -> None:
    """Look at the shapes of all tensors of ``model``, inside nested models too.

    Raises:
        RegrowError: one has more than `LARGEST_TENSOR` values per example; the sentence lacks the file's name.
    """
    import tensorflow as tf

    for layer in model._flatten_layers(recursive=True, include_self=False):
        for node in getattr(layer, "_inbound_nodes", ()):
            for tensor in tf.nest.flatten(node.outputs):
                shape = getattr(tensor, "shape", None)
                sizes = shape.as_list()[1:] if shape is not None and shape.rank else []
                if (count := math.prod(size or 1 for size in sizes)) > LARGEST_TENSOR:
                    raise RegrowError(
                        f"layer '{layer.name}' gives {count:,} values for one example; accepted: at most"
                        f" {LARGEST_TENSOR:,}"
                    )


def check_taken(model: Any, weights: int) -> None:
    """Hold the variables of ``model`` against the number of real ``weights`` that its file has for layers.

    Raises:
        RegrowError: the file has more, so that some were not read; the sentence lacks the file's name.
    """
    taken = sum(math.prod(variable.shape) for variable in model.variables if variable.dtype.is_floating)
    if weights > taken:
        raise RegrowError(
            f"its architecture has {taken:,} weights, and {weights:,} are stored: they are not of the same model"
        )
