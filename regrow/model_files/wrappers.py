"""Models as tfmot (TensorFlow Model Optimization) leaves them while it trains them: their layers are wrapped.

What wraps for pruning is taken off: it holds a mask and a counter, which the zeros no longer need. What wraps for
quantisation changes what the layers compute, and is named.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError

PRUNING = "PruneLowMagnitude"
SCHEDULES = frozenset({"ConstantSparsity", "PolynomialDecay"})
CLUSTERING = frozenset({"ClusterWeights", "ClusterWeightsMHA"})
QUANTISING = frozenset(
    {"QuantizeAnnotate", "QuantizeLayer", "QuantizeWrapper", "QuantizeWrapperV2", "QuantizeAwareActivation"}
)


def refuse_wrapped(config: Any, file: Path | str) -> None:
    """Refuse the architecture ``config`` of ``file`` where its layers are wrapped for what pruning cannot go on from.

    Raises:
        RegrowError: for quantisation-aware training, or for clustering; the sentence says what to do.
    """
    for kind, fields in layers_in(config):
        named = f"{file}: layer '{fields.get('name')}' is a {kind} of tfmot"
        if kind in QUANTISING:
            raise RegrowError(
                f"{named}, from quantisation-aware training; prune the model from before that training "
                "instead, and quantise the result or export it as tflite_int8"
            )
        if kind in CLUSTERING:
            raise RegrowError(
                f"{named}; strip it first: tfmot.clustering.keras.strip_clustering(model) is the model without it"
            )


def is_wrapped(config: Any) -> bool:
    """Whether layers in the architecture ``config`` are wrapped for pruning."""
    return any(_wraps_for_pruning(kind, fields) for kind, fields in layers_in(config))


def unwrapped(config: Any) -> Any:
    """A copy of ``config`` to look at: what wraps for pruning is replaced by an object that holds the layer inside."""
    if isinstance(config, dict):
        kind, fields = _kind(config), config.get("config")
        if isinstance(fields, dict) and _wraps_for_pruning(kind, fields):
            rest = {key: config[key] for key in ("name", "inbound_nodes", "build_config") if key in config}
            return {**unwrapped(rest), "layer": unwrapped(fields.get("layer"))}
        return {key: unwrapped(value) for key, value in config.items()}
    return [unwrapped(value) for value in config] if isinstance(config, list) else config


def pruning_classes(file: Path) -> dict[str, type]:
    """What Keras needs by name to load a model that is wrapped for pruning.

    Raises:
        RegrowError: tfmot is not installed.
    """
    try:
        from tensorflow_model_optimization.python.core.sparsity.keras import pruning_schedule, pruning_wrapper
    except ImportError:
        raise RegrowError(
            f"{file}: its layers are wrapped by tfmot for pruning; strip it first, where tfmot is installed:"
            " tfmot.sparsity.keras.strip_pruning(model) is the model without"
        ) from None
    return {
        PRUNING: pruning_wrapper.PruneLowMagnitude,
        **{name: getattr(pruning_schedule, name) for name in SCHEDULES},
    }


def stripped(model: Any) -> Any:
    """``model`` without what wraps its layers for pruning."""
    from tensorflow_model_optimization.python.core.sparsity.keras.prune import strip_pruning

    return strip_pruning(model)


def _wraps_for_pruning(kind: str, fields: dict[str, Any]) -> bool:
    schedule = fields.get("pruning_schedule")
    return kind == PRUNING and isinstance(schedule, dict) and _kind(schedule) in SCHEDULES


def _kind(config: dict[str, Any]) -> str:
    """The name of a class without the package that it may be registered for."""
    return str(config.get("class_name")).rsplit(">", 1)[-1]


def layers_in(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The class and the config of whatever ``config`` describes by a class, layers inside layers too."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("config"), dict):
                yield _kind(value), value["config"]
            value = list(value.values())
        if isinstance(value, list):
            waiting += reversed(value)
