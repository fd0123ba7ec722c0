"""Live models of Keras 3: in as `tf_keras` models, out as live models of Keras 3 again, with no file between.

Only what is described by a config can cross: the layers and operations that docs/keras3.md lists, joined in a
Functional or Sequential model. Either crossing ends with both models answering the same random inputs alike.
"""

import sys
from dataclasses import dataclass, field
from typing import Any

from regrow.errors import RegrowError
from regrow.graph.graph import without_build_shapes
from regrow.graph.layer_normalisation import keep_operations_apart
from regrow.keras3.agreement import has_masks, refuse_lost_masks, refuse_other_answers
from regrow.keras3.compiled import Compiled, compile_state
from regrow.keras3.configs import Config
from regrow.keras3.kept import Kept
from regrow.keras3.twins import as_json, copy_weights, is_a_model, paired, twin_of, walk
from regrow.keras3.weights import transfer
from regrow.keras3.writing import Writer

LORA = ("lora_rank", "lora_alpha")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a live model of Keras 3 was, for the model that comes back; nothing of it is the model itself.

    Attributes:
        config: the model as Keras 3 describes it, and ``twin`` as `tf_keras` described what it became.
        compiled: the arguments of ``compile``; None where the model was not compiled.
        trainable: the flag of each layer and each model by path, ``""`` for the outermost.
        policies: names of the dtype policies of the models, by path.
    """

    config: Config
    twin: Config
    compiled: Compiled | None
    trainable: dict[str, bool] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)


def is_live(model: Any) -> bool:
    """Whether ``model`` is a model of Keras 3; Keras is not imported to find out."""
    keras = sys.modules.get("keras")
    known = getattr(keras, "Model", None)
    return known is not None and known.__module__.startswith("keras.src.") and isinstance(model, known)


def from_live(model: Any) -> tuple[Any, Origin]:
    """The `tf_keras` model that answers as the live Keras 3 ``model``, not compiled, and what ``model`` was.

    ``model`` is not changed, and shares no array with the result. It may run on TensorFlow, JAX or PyTorch.

    Raises:
        RegrowError: ``model`` is a subclassed one or not built; it holds a layer, an operation or an argument that
            `tf_keras` lacks; it answers otherwise there.
    """
    try:
        twin, config = twin_of(model)
        for ours, theirs in paired(twin, model):
            copy_weights(theirs, ours)
        keep_operations_apart(twin)
        if has_masks(twin):
            refuse_lost_masks(twin)
        refuse_other_answers(twin, model)
        origin = Origin(
            config=_without_lora(config),
            twin=described(twin),
            compiled=compile_state(model),
            trainable={path: layer.trainable for path, layer in walk(model)},
            policies={path: one.dtype_policy.name for path, one in walk(model) if is_a_model(one)},
        )
    except RegrowError as error:
        text, named = str(error), f"model '{model.name}'"
        raise RegrowError(text if text.startswith(named) else f"{named}: {text}") from None
    return twin, origin


def to_live(model: Any, origin: Origin) -> Any:
    """The live Keras 3 model that answers as the `tf_keras` ``model``, which was made of one that ``origin`` describes.

    It is compiled as that one was, with a new optimizer and new metrics; names, dtype policies and what is trainable
    are as they were. Where the architecture has not changed, its config is that of the original.

    Raises:
        RegrowError: a layer, an operation or an argument that Keras 3 lacks, or other answers of the Keras 3 model.
    """
    refuse_lost_masks(model)
    if described(model) == origin.twin:
        live = _rebuilt(origin.config)
        made = list(paired(model, live))
        for ours, theirs in made:
            transfer(ours, theirs)
    else:
        writer = Writer(Kept.of(origin.config))
        live, made = writer.model(model), writer.pairs
    refuse_other_answers(model, live, made)
    for path, layer in walk(live):
        if path in origin.policies:
            layer.dtype_policy = origin.policies[path]
        if path in origin.trainable:
            layer.trainable = origin.trainable[path]
    if origin.compiled is not None:
        origin.compiled.apply(live)
    return live


def _rebuilt(config: Config) -> Any:
    import keras

    return keras.saving.deserialize_keras_object(config)


def described(model: Any) -> Config:
    """The config of a `tf_keras` model, the shapes that its layers were built with left out."""
    found: Config = as_json(without_build_shapes(model.get_config()))
    return found


def _without_lora(config: Any) -> Any:
    """``config`` with adapted layers as plain ones: their weights are read with both parts joined."""
    if isinstance(config, dict):
        return {key: _without_lora(value) for key, value in config.items() if key not in LORA}
    if isinstance(config, list | tuple):
        return [_without_lora(value) for value in config]
    return config
