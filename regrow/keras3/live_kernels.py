"""The kernels of a live model of Keras 3: those that have names in Regrow, or all that it has."""

from collections.abc import Iterator
from typing import Any

from regrow.errors import RegrowError
from regrow.graph.kernels import prunable_kernels
from regrow.keras3.twins import live_parts, paired, twin_of
from regrow.keras3.weights import parts

KERNELS = ("kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel", "embeddings")


def live_kernels(model: Any) -> dict[str, Any]:
    """The variables of the live ``model`` that can be zeroed, by the names that its kernels have in `tf_keras`.

    Raises:
        RegrowError: as `twin_of`, or a layer adapted by LoRA.
    """
    try:
        refuse_adapted(model)
        twin, _ = twin_of(model)
        found = {id(ours): theirs for pair in paired(twin, model) for ours, theirs in _variables(*pair)}
    except RegrowError as error:
        raise RegrowError(f"model '{model.name}': {error}") from None
    return {name: found[id(kernel)] for name, kernel in prunable_kernels(twin).items()}


def live_zeros(model: Any) -> dict[str, Any]:
    """The kernels of any live ``model``, subclassed ones and layers of one's own too, by Keras' paths of variables.

    Raises:
        RegrowError: a layer adapted by LoRA.
    """
    refuse_adapted(model)
    found: dict[str, Any] = {}
    for weight in model.weights:
        if weight.path.rpartition("/")[2] in KERNELS:
            # Layers of one name, in models within, may have equal paths.
            found[weight.path if weight.path not in found else f"{weight.path} ({len(found)})"] = weight
    return found


def refuse_adapted(model: Any) -> None:
    """Refuse a live ``model`` with layers whose weights are the sum of zeros and something else.

    Raises:
        RegrowError: a layer is adapted by LoRA.
    """
    for layer in model._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            raise RegrowError(
                f"layer '{layer.name}' is adapted by LoRA, which adds to the weights that are zero; accepted: layers"
                " whose kernel is one array"
            )


def _variables(layer: Any, live: Any) -> Iterator[tuple[Any, Any]]:
    """The variables of a `tf_keras` layer, each with that of its live form, by the order in which both keep them."""
    ours = [*layer._trainable_weights, *layer._non_trainable_weights]
    theirs = [*live._trainable_variables, *live._non_trainable_variables]
    yield from zip(ours, theirs, strict=False)
    for (_, inner), other in zip(parts(layer), live_parts(live, layer), strict=True):
        yield from _variables(inner, other)
