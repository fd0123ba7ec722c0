"""Where a model is trained: in place on one device, or as a copy on several GPUs and in mixed precision."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from regrow.errors import RegrowError
from regrow.training.settings import Accelerator

HALF = "mixed_float16"
WRAPPED = ("layer", "backward_layer", "cell", "cells")
FULL_PRECISION = ("InputLayer", "Rescaling", "Normalization", "Softmax")


def strategy_for(accelerator: Accelerator) -> Any:
    """What distributes training: over all GPUs there are, over all logical CPUs if asked for; None for one device."""
    import tensorflow as tf

    if accelerator == "single":
        return None
    kind = "CPU" if accelerator == "cpus" else "GPU"
    devices = tuple(device.name for device in tf.config.list_logical_devices(kind))
    return _mirrored(devices) if len(devices) > 1 else None


@cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    """The process's one strategy for ``devices``: each numbers its reductions from the same number on, and the runtime
    takes equal numbers for the same reduction, so a second strategy fails where shapes differ."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(list(devices))


def mixed_precision(accelerator: Accelerator) -> bool:
    """Whether to compute in float16: on GPUs whose tensor cores make it worth it (compute capability 7.0 and up)."""
    import tensorflow as tf

    if accelerator != "auto":
        return False
    found = [
        tf.config.experimental.get_device_details(device).get("compute_capability", (0, 0))
        for device in tf.config.list_physical_devices("GPU")
    ]
    return bool(found) and min(found) >= (7, 0)


def in_float16(model: Any) -> bool:
    """Whether a layer computes in float16, in which small gradients are zero unless the loss is scaled."""
    return any(layer.compute_dtype == "float16" for layer in model._flatten_layers(include_self=False))


@contextlib.contextmanager
def working_model(model: Any, *, strategy: Any, half: bool) -> Iterator[Any]:
    """The model to train: ``model`` itself, or a copy in the strategy's scope, computing in float16 if ``half``.

    A copy's variables are float32 and in the same order, so ``model.set_weights(copy.get_weights())`` takes them back.
    """
    if strategy is None and not half:
        yield model
        return
    with strategy.scope() if strategy is not None else contextlib.nullcontext():
        yield copied(model, half=half)


def copied(model: Any, *, half: bool = False) -> Any:
    """A copy of ``model``, its layers computing in float16 but for scaling and what gives the output.

    Raises:
        RegrowError: the model cannot be written down as a graph.
    """
    from regrow.graph.graph import Graph

    graph = Graph.of(model)
    if half:
        config = copy.deepcopy(dict(graph.config))
        _set_policies(config, gives_output=True)
        graph = replace(graph, config=config)
    made = graph.to_model()
    if [tuple(item.shape) for item in made.weights] != [tuple(item.shape) for item in model.weights]:
        raise RegrowError(
            f"model '{model.name}': its copy for several devices has its weights in another order"
        )
    return made


def _set_policies(config: Any, *, gives_output: bool) -> None:
    """Let the layers of a model's config compute in float16, but for those that give the outermost model's output."""
    last = _last_layers(config) if gives_output else set()
    for entry in config["layers"]:
        inner = entry["config"]
        if "layers" in inner:
            _set_policies(inner, gives_output=inner["name"] in last)
        elif entry["class_name"] not in FULL_PRECISION and inner["name"] not in last:
            _set_policy(inner)


def _set_policy(config: Any) -> None:
    """Of a layer, and of the layers that it wraps."""
    if "layers" in config:
        _set_policies(config, gives_output=False)
        return
    config["dtype"] = HALF
    for wrapped in WRAPPED:
        inside = config.get(wrapped)
        for entry in inside if isinstance(inside, list) else [inside]:
            if isinstance(entry, dict):
                _set_policy(entry["config"])


def _last_layers(config: Any) -> set[str]:
    """Names of the layers that give the output of a Functional or Sequential model's config."""
    import tensorflow as tf

    if "output_layers" not in config:
        return {config["layers"][-1]["config"]["name"]}
    return {item for item in tf.nest.flatten(config["output_layers"]) if isinstance(item, str)}
