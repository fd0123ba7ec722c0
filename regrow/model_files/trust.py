"""A model file from outside is data: code in its architecture is refused before anything is built."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.graph.recording import added_in
from regrow.model_files.architecture import ModelFile
from regrow.model_files.pure_classes import keras_objects, pure_layers
from regrow.model_files.pure_operations import MEMBERS, computes_only, member_computes_only
from regrow.model_files.wrappers import unwrapped

ACTIVATIONS = re.compile(
    "elu|exponential|gelu|hard_sigmoid|leaky_relu|linear|mish|relu|relu6|selu|sigmoid|silu|softmax|softplus|softsign"
    "|swish|tanh"
)
CODE = frozenset({"Lambda", "__lambda__", "TensorFlowOpLayer"})
OPERATIONS = frozenset({"TFOpLambda", "SlicingOpLambda", *MEMBERS})
# Keras' own applications name TensorFlow's initializers, which compute only, as Keras' of the same names do.
INITIALIZERS = "tensorflow.python.ops.init_ops_v2"
TYPE_SPECS = frozenset({"TensorSpec", "RaggedTensorSpec", "SparseTensorSpec"})
WAY_OUT = (
    "and save the model again; if you trust the file's source, use --trust with `regrow inspect` and "
    "`regrow prune` (train.import does not: each later step would have to run the code again)"
)
IN_PYTHON = (
    "and save the model again; if you trust the file's source, load it with regrow.load(…, trust=True)"
)


def refuse_code(found: ModelFile, file: Path) -> None:
    """Look at what was read of the model ``file``.

    Raises:
        RegrowError: a ``Lambda`` layer, marshalled or pickled code, a class that is not one of Keras' pure ones, a
            TensorFlow symbol that does more than compute, or a file that a layer would read.
    """
    config = unwrapped(found.config)
    checks = [_first(config, _unknown_operation), code_in(config)]
    reasons = [
        " is a TensorFlow operation that may do more than compute; replace it by Keras' own layers "
        f"{WAY_OUT}",
        " carries Python code, which is not run from a model file; replace it by Keras' own layers (such "
        f"as Rescaling or Activation) {WAY_OUT}",
    ]
    # What is of Keras 3 is not built by its names, but converted by a table of those that are known.
    subclassed = None if found.from_keras3 else _subclassed(config)
    if subclassed is not None:
        raise RegrowError(f"{file}: {subclassed}")
    for what, reason in zip(checks, reasons, strict=True):
        if what is not None:
            raise RegrowError(f"{file}: {what}{reason}")
    foreign = None if found.from_keras3 else foreign_in(config)
    if foreign is not None:
        raise RegrowError(f"{file}: {foreign}")


def code_in(config: Any) -> str | None:
    """What in an architecture is code, such as ``layer 'scale'``, or None."""
    return _first(config, _code)


def foreign_in(config: Any) -> str | None:
    """What in an architecture of `tf_keras` is not known to compute only, as a sentence without its file, or None."""
    return _first(config, _foreign)


def _subclassed(config: Any) -> str | None:
    """That the whole is a model of a class of its own, or None."""
    kind = config.get("class_name") if isinstance(config, dict) else None
    if kind is None or kind in pure_layers() or kind in keras_objects():
        return None
    return f"is a model of class '{kind}', a subclassed one; accepted: Functional and Sequential models"


def _first(config: Any, check: Callable[[dict[str, Any]], str | None]) -> str | None:
    """The first thing that ``check`` finds in ``config`` and the objects within it."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found = check(value)
            if found is not None:
                return found
            value = list(value.values())
        if isinstance(value, list):
            waiting += reversed(value)
    return None


def _named(config: dict[str, Any]) -> str:
    inner = config.get("config")
    fields = inner if isinstance(inner, dict) else {}
    return f"layer '{fields.get('name') or config.get('name') or config.get('class_name')}'"


def _foreign(config: dict[str, Any]) -> str | None:
    kind, inner = config.get("class_name"), config.get("config")
    fields = inner if isinstance(inner, dict) else {}
    added = added_in(str(fields.get("name")), str(kind))
    if added is not None:
        return added
    if isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
        return (
            f"{_named(config)} takes its vocabulary from the file '{inner['vocabulary']}', which is not "
            "allowed; save the model with the words themselves"
        )
    if not isinstance(kind, str) or kind in pure_layers() or kind in keras_objects():
        return None
    return (
        f"{_named(config)} is of class '{kind}'; accepted: the layers of tf_keras that only compute;"
        " a model with layers of your own is pruned from Python (docs/rules.md)"
    )


def _code(config: dict[str, Any]) -> str | None:
    kind, module, inner = config.get("class_name"), config.get("module"), config.get("config")
    fields = inner if isinstance(inner, dict) else {}
    named = _named(config)
    if not isinstance(kind, str):
        return "a function" if config.get("function_type") == "lambda" or _marshalled(config) else None
    if kind.rsplit(">", 1)[-1] in CODE or fields.get("function_type") == "lambda":
        return named
    if kind == "function":
        known = module in (None, "builtins") and ACTIVATIONS.fullmatch(str(inner))
        return None if known else f"function '{inner}'"
    if kind in OPERATIONS:
        return _unknown_operation(config)
    if kind == "__typespec__" and config.get("spec_name") in TYPE_SPECS:
        return None
    if module is None or str(module).split(".", 1)[0] in ("keras", "tf_keras"):
        return None
    if module == INITIALIZERS and kind in keras_objects():
        return None
    return f"{named} of '{module}'"


def _marshalled(config: dict[str, Any]) -> bool:
    """Whether this is how `tf_keras` writes a lambda in an .h5 file: its code, its defaults and what it closes over."""
    value = config.get("value")
    return (
        set(config) == {"value"}
        and isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(isinstance(part, list | None) for part in value[1:])
    )


def _unknown_operation(config: dict[str, Any]) -> str | None:
    kind, inner = config.get("class_name"), config.get("config")
    if kind not in OPERATIONS:
        return None
    fields = inner if isinstance(inner, dict) else {}
    if kind not in MEMBERS:
        symbol = str(fields.get("function"))
        known, shown = computes_only(symbol), f"tf.{symbol}"
    else:
        owner = str(fields.get("cls_symbol", ""))
        name = str(fields.get("method_name" if kind == "ClassMethod" else "attr_name"))
        known = member_computes_only(str(kind), name, owner=owner)
        shown = f"tf.{owner}.{name}" if owner else f"'{name}' of a tensor"
    return None if known else f"layer '{fields.get('name')}' ({shown})"
