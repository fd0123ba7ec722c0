"""What a model file declares is bounded by what it holds, before anything of that size is made."""

import contextlib
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError

# Variables that are not stored, such as the states of random generators; those without a name, in which a stateful
# layer keeps a batch of maps from one call to the next; and what is
# stored in fewer bytes, as int4 is, or built in both libraries, as a model of Keras 3 with masks is.
UNSTORED = 1 << 16
STATES = 1 << 28
WIDENED = 8
# Values of one example in one tensor: 64 maps of 4096 × 4096, 12 heads of attention over 8,192 tokens.
LARGEST_TENSOR = 1 << 30
LONGEST_AXIS = 1 << 26
LARGEST_BATCH = 1 << 16  # of a batch that is stated, for which stateful layers make their states at once
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
# Only of operations that give as many tensors: ``num`` of linspace is a length.
MOST_TENSORS = 1 << 14
REPEATED_ARGUMENTS = ("num_or_size_splits", "num", "num_split", "num_partitions")
REPEATING = ("split", "unstack", "dynamic_partition")


@dataclass
class Budget:
    """How many bytes of variables a model may have; ``fault`` says what went beyond."""

    stored: int
    declared: int = 0
    states: int = 0
    fault: str | None = None

    def take(self, name: str | None, shape: tuple[int, ...], itemsize: int) -> None:
        """Count a variable; one without a ``name`` is a state.

        Raises:
            RegrowError: all variables together are larger than the file allows; the sentence lacks its name.
        """
        if name is None:
            self.states += math.prod(shape) * itemsize
        else:
            self.declared += math.prod(shape) * itemsize
        if self.states > STATES:
            self.fault = f"has layers that keep states of {self.states:,} bytes; accepted: at most {STATES:,}"
            raise RegrowError(self.fault)
        if self.declared > WIDENED * self.stored + UNSTORED:
            self.fault = (
                f"declares weights of {self.declared:,} bytes up to '{name}' of shape {shape}, but contains "
                f"only {self.stored:,} bytes"
            )
            raise RegrowError(self.fault)


@contextlib.contextmanager
def bounded(budget: Budget) -> Iterator[None]:
    """Within, Keras is stopped before it makes a variable that ``budget`` does not allow, unrolls a recurrent layer
    over more than `LONGEST_UNROLLED` steps, or unstacks a tensor into more than `MOST_TENSORS`.

    Raises:
        RegrowError: one would have been; whatever Keras makes of that on its way.
    """
    import tensorflow as tf

    def creator(following: Any, **arguments: Any) -> Any:
        shape, value = arguments.get("shape"), arguments.get("initial_value")
        shape = getattr(value, "shape", ()) if shape is None and not callable(value) else shape
        dtype = arguments.get("dtype") or getattr(value, "dtype", None) or tf.float32
        scope = tf.get_current_name_scope()
        name = arguments.get("name")
        name = None if name is None else "/".join(part for part in (scope, str(name)) if part)
        sizes = tuple(int(size or 1) for size in tf.TensorShape(shape if shape is not None else ()).as_list())
        budget.take(name, sizes, tf.as_dtype(dtype).size or 8)
        return following(**arguments)

    try:
        with tf.variable_creator_scope(creator), _unrolling_bounded(budget), _unstacking_bounded(budget):
            yield
    except Exception:
        if budget.fault is not None:
            raise RegrowError(budget.fault) from None
        raise


@contextlib.contextmanager
def _unrolling_bounded(budget: Budget) -> Iterator[None]:
    # Only the tensor that reaches a layer tells how many steps there are; all recurrent layers call this function.
    import tensorflow as tf
    from tf_keras.src import backend

    original = backend.rnn
    signature = inspect.signature(original)

    def rnn(*positional: Any, **named: Any) -> Any:
        call = signature.bind(*positional, **named).arguments
        steps = tf.nest.flatten(call["inputs"])[0].shape[0 if call.get("time_major") else 1]
        if call.get("unroll") and (steps or 0) > LONGEST_UNROLLED:
            budget.fault = (
                f"a recurrent layer is unrolled over {steps:,} steps; accepted: at most {LONGEST_UNROLLED:,}"
            )
            raise RegrowError(budget.fault)
        return original(*positional, **named)

    backend.rnn = rnn
    try:
        yield
    finally:
        backend.rnn = original


@contextlib.contextmanager
def _unstacking_bounded(budget: Budget) -> Iterator[None]:
    from tf_keras.src.layers.core.tf_op_layer import TFOpLambda

    original = TFOpLambda._call_wrapper

    def call(layer: Any, *positional: Any, **named: Any) -> Any:
        if layer.symbol.endswith("unstack"):
            value = positional[0] if positional else named["value"]
            axis = positional[2] if len(positional) > 2 else named.get("axis", 0)
            parts = getattr(value, "shape", ())[axis]
            if (parts or 0) > MOST_TENSORS:
                budget.fault = (
                    f"layer '{layer.name}' gives {parts:,} tensors; accepted: at most {MOST_TENSORS:,}"
                )
                raise RegrowError(budget.fault)
        return original(layer, *positional, **named)

    TFOpLambda._call_wrapper = call
    try:
        yield
    finally:
        TFOpLambda._call_wrapper = original


def refuse_excess(config: Any, file: Path) -> None:
    """Refuse sizes in the ``config`` of ``file`` that would become objects by the million while a model is built.

    Raises:
        RegrowError: there is one.
    """
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            excess = _excess(value)
            if excess is not None:
                raise RegrowError(f"{file}: {excess}")
            value = list(value.values())
        if isinstance(value, list):
            waiting += value


def _input_shape(config: dict[str, Any]) -> list[int]:
    """The lengths that an input layer states, the batch first (1 where it does not); empty for other layers."""
    inner = config.get("config")
    if config.get("class_name") != "InputLayer" or not isinstance(inner, dict):
        return []
    shape = inner.get("batch_input_shape", inner.get("batch_shape"))
    shape = shape.get("items") if isinstance(shape, dict) else shape
    return [size if type(size) is int else 1 for size in shape] if isinstance(shape, list) else []


def _excess(config: dict[str, Any]) -> str | None:
    inner = config.get("config")
    if not isinstance(inner, dict):
        return None
    kind, named = str(config.get("class_name")), f"layer '{inner.get('name')}'"
    batch, *sizes = _input_shape(config) or [1]
    if batch > LARGEST_BATCH:
        return f"{named} takes batches of {batch:,}; accepted: at most {LARGEST_BATCH:,}"
    if math.prod(sizes) > LARGEST_TENSOR:
        return (
            f"{named} takes {math.prod(sizes):,} values for one example; accepted: at most {LARGEST_TENSOR:,}"
        )
    if max(sizes, default=0) > LONGEST_AXIS:
        return f"{named} has an axis of length {max(sizes):,}; accepted: at most {LONGEST_AXIS:,}"
    for key, value in inner.items():
        limit, largest = REPEATED.get((kind, key)), _largest(value)
        if limit is not None and largest > limit:
            return f"{named} ({kind}) has {key} {largest:,}; accepted: at most {limit:,}"
    repeats = kind == "TFOpLambda" and str(inner.get("function")).rsplit(".", 1)[-1].endswith(REPEATING)
    return _excess_in_calls(config.get("inbound_nodes"), named) if repeats else None


def _excess_in_calls(calls: Any, named: str) -> str | None:
    if isinstance(calls, dict):
        for key, value in calls.items():
            if key in REPEATED_ARGUMENTS and type(value) is int and value > MOST_TENSORS:
                return f"{named} is called with {key} {value:,}; accepted: at most {MOST_TENSORS:,}"
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
    """Hold the variables of ``model`` against the number of real ``weights`` that its checkpoint has for layers.

    Raises:
        RegrowError: the file has more, so that some were not read; the sentence lacks the file's name.
    """
    # Vocabularies stand among the variables, and are none.
    variables = [variable for variable in model.variables if hasattr(variable, "numpy")]
    taken = sum(_size(variable) for variable in variables if variable.dtype.is_floating)
    if weights > taken:
        raise RegrowError(
            f"its architecture has {taken:,} weights, but {weights:,} are stored, so they belong to "
            "different models"
        )


def _size(variable: Any) -> int:
    """Some of Keras' variables, such as the summary of a Discretization, have a length that may change."""
    shape = variable.shape
    return math.prod(shape) if shape.is_fully_defined() else int(variable.numpy().size)
