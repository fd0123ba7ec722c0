"""The weights from which fine-tuning starts: as pruned, the parent's early ones, or new ones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field

from regrow.config.sections import Parameters
from regrow.dataset.data import Data
from regrow.errors import RegrowError, nearest
from regrow.graph.kernels import layers
from regrow.graph.variables import variables
from regrow.pruning.pruning import Pruning
from regrow.training.parent import ParentTraining, is_imported


class Pruned(Parameters):
    """The weights as pruning left them."""

    name: Literal["pruned"] = "pruned"


class Rewind(Parameters):
    """The parent's weights after epoch ``train.rewind_epoch``, pruned alike."""

    name: Literal["rewind"] = "rewind"


class Reinitialise(Parameters):
    """New weights from the layers' own initialisers: the same-budget control from scratch."""

    name: Literal["reinitialise"] = "reinitialise"
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**31,
        description=(
            "seed of the new weights; default: recover.seed; guaranteed to differ from the parent's "
            "initial weights even with equal seeds"
        ),
    )
    data_dependent: bool = Field(
        False,
        description="scale each layer so that its pre-activations have mean 0 and variance 1 on one batch",
    )
    examples: int = Field(256, ge=2, description="number of training examples in that batch")


OPTIONS: dict[str, type[Parameters]] = {
    str(model.model_fields["name"].default): model for model in (Pruned, Rewind, Reinitialise)
}
Name = Literal["pruned", "rewind", "reinitialise"]
Options = Pruned | Rewind | Reinitialise
# Sets the draw of new weights apart from whatever else is drawn from the same seed.
NEW_WEIGHTS = 1
Tagged = Annotated[Options, Field(discriminator="name")]


def _named(value: Any) -> Any:
    """Turn a bare name into the long form; suggest the nearest name for an unknown one."""
    if isinstance(value, BaseModel):
        return value
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str):
        raise ValueError(f"needs a name{nearest('', OPTIONS)}")
    if name not in OPTIONS:
        raise ValueError(f"unknown initialisation '{name}'{nearest(name, OPTIONS)}")
    return value if isinstance(value, dict) else {"name": value}


Initialisation = Annotated[Tagged, BeforeValidator(_named, json_schema_input_type=Name | Tagged)]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What an initialisation may draw on: ``training`` is the directory that `train` gave, None where nothing is known
    of the parent's training, ``seed`` recovery's own."""

    pruning: Pruning
    training: Path | None
    data: Data
    seed: int


def initialise(model: Any, options: Options, source: Source) -> None:
    """Set the starting weights of the pruned ``model``, in place; architecture and masks stay.

    Statistics of batch normalisation go with the weights: those of the early model, or those of a new layer.

    Raises:
        RegrowError: `rewind` without early weights, or with those of another model.
    """
    INITIALISATIONS[options.name](model, options, source)


def keep(model: Any, options: Any, source: Source) -> None:
    """Leave ``model`` as it is."""


def rewind(model: Any, options: Any, source: Source) -> None:
    """Give ``model`` the parent's early weights, cut as the parent was and masked: weight rewinding (Frankle et al.
    2019, Renda et al. 2020).

    Raises:
        RegrowError: there are no early weights, or they do not fit.
    """
    from regrow.model_files.files import MODEL, load_model

    early = source.training / "early" if source.training is not None else None
    if early is None or not early.exists():
        raise RegrowError(_no_early_weights(source.training))
    arrays = {
        f"{path}/{name}": variable.numpy()
        for path, layer in layers(load_model(early))
        for name, variable in variables(layer).items()
    }
    for path, layer in layers(model):
        own = variables(layer)
        for name, variable in own.items():
            key = f"{path}/{name}"
            if key not in arrays:
                raise RegrowError(f"{early / MODEL}: lacks array '{key}' of the pruned model")
            array = source.pruning.surgery.apply(key, arrays[key])
            if array.shape != tuple(variable.shape):
                raise RegrowError(
                    f"{early / MODEL}: '{key}' has shape {array.shape} after surgery, but the pruned model's has"
                    f" {tuple(variable.shape)}"
                )
            variable.assign(array)
        _finalise(layer, own)
    source.pruning.apply(model)


def _no_early_weights(training: Path | None) -> str:
    accepted = "accepted: pruned, reinitialise"
    if training is None or is_imported(training):
        return (
            "recover.initialise: 'rewind' needs the parent's early weights, but an imported parent has "
            f"none; {accepted}"
        )
    epochs = ParentTraining.read(training).epochs
    return (
        "recover.initialise: 'rewind' needs the parent's early weights, but training stopped after epoch "
        f"{epochs}, before train.rewind_epoch, so none were saved; {accepted}, or a smaller "
        "train.rewind_epoch"
    )


def reinitialise(model: Any, options: Any, source: Source) -> None:
    """Give ``model`` new weights, drawn by each layer's own initialisers: training from scratch (Liu et al. 2019).

    Only what training changes is drawn: variables of layers that are not frozen, and the statistics of batch
    normalisation. Frozen layers and those with learned constants (``Normalization``) keep what they have. An
    initialiser with a seed of its own gives what it always gives. A constant array that a layer started from has been
    lost in surgery; such a weight starts at zero.
    """
    import tf_keras

    from regrow.recovery.data_dependent import standardise_preactivations

    seed = options.seed if options.seed is not None else source.seed
    tf_keras.utils.set_random_seed(draw_seed(seed))
    fresh = dict(layers(tf_keras.models.clone_model(model)))
    for path, layer in layers(model):
        if not layer.trainable:
            continue
        drawn = variables(fresh[path])
        kept = set() if _is_normalisation(layer) else {id(item) for item in layer.non_trainable_weights}
        for name, variable in variables(layer).items():
            if id(variable) not in kept:
                variable.assign(drawn[name])
    source.pruning.apply(model)
    if options.data_dependent:
        standardise_preactivations(model, source.data.calibration(options.examples, seed))


def draw_seed(seed: int) -> int:
    """The seed of TensorFlow's generators for new weights, between 2**31 and 2**32.

    With ``seed`` itself, the parent's first weights would come again where `train.seed` is the same, as by default:
    weights that are masked by what became of them are a winning ticket (Frankle & Carbin 2019) and no new ones. No
    step has a seed as high, so none has drawn these before.
    """
    (word,) = np.random.SeedSequence(seed, spawn_key=(NEW_WEIGHTS,)).generate_state(1)
    return int(word) | 2**31


def _is_normalisation(layer: Any) -> bool:
    from regrow.training.recalibration import KINDS

    return type(layer).__name__ in KINDS


def _finalise(layer: Any, own: dict[str, Any]) -> None:
    if own and hasattr(layer, "finalize_state"):
        layer.finalize_state()  # Normalization keeps tensors that are derived from its variables


INITIALISATIONS: dict[str, Callable[[Any, Any, Source], None]] = {
    "pruned": keep,
    "rewind": rewind,
    "reinitialise": reinitialise,
}
