"""Where a model is trained: in place on one device, or as a copy on several GPUs and in mixed precision."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from regrow.errors import RegrowError
from regrow.training.settings import Accelerator

FULL_PRECISION = ("InputLayer", "Rescaling", "Normalization", "Softmax")


def strategy_for(accelerator: Accelerator) -> Any:
    """What distributes training: over all GPUs there are, over all logical CPUs if asked for; None for one device."""
    import tensorflow as tf

    if accelerator == "single":
        return None
    kind = "CPU" if accelerator == "cpus" else "GPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else None


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
        _set_policies(config, _output_layers(model))
        graph = replace(graph, config=config)
    made = graph.to_model()
    if [tuple(item.shape) for item in made.weights] != [tuple(item.shape) for item in model.weights]:
        raise RegrowError(
            f"model '{model.name}': its copy for several devices has its weights in another order"
        )
    return made


def _output_layers(model: Any) -> set[str]:
    return {tensor._keras_history.layer.name for tensor in model.outputs}


def _set_policies(config: Any, last: set[str]) -> None:
    for entry in config["layers"]:
        inner = entry["config"]
        if "layers" in inner:
            _set_policies(inner, last)
        elif entry["class_name"] not in FULL_PRECISION and inner.get("name") not in last:
            inner["dtype"] = "mixed_float16"
        if "layer" in inner and isinstance(inner["layer"], dict):
            inner["layer"]["config"]["dtype"] = inner["dtype"]
