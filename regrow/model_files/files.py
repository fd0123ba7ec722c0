"""Model files: written the same for the same weights, read without running anything that came with them."""

import os
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.graph.ellipses import spell_out_ellipses
from regrow.graph.layer_normalisation import keep_operations_apart
from regrow.graph.sharing import refuse_sharing_that_files_lose
from regrow.model_files.adapted import settle_adapted
from regrow.model_files.architecture import ModelFile, read_model_file
from regrow.model_files.archives import (
    application_layers,
    normalise_archive,
    read_archive,
    refuse_bfloat16,
    refuse_other_layers,
)
from regrow.model_files.channels_first import switch_on_onednn
from regrow.model_files.declared_sizes import Budget, bounded, check_tensors, refuse_excess
from regrow.model_files.keras3_files import read_keras3
from regrow.model_files.saved_models import load_saved_model
from regrow.model_files.trust import refuse_code
from regrow.model_files.wrappers import is_wrapped, pruning_classes, refuse_wrapped, stripped
from regrow.storage.regular_files import irregular

MODEL = "model.keras"


def load_model(directory: Path) -> Any:
    """The `tf_keras` model in ``directory/model.keras``, not compiled.

    Raises:
        RegrowError: the file is missing, broken, or carries code.
    """
    return import_model(directory / MODEL)


def save_model(model: Any, directory: Path) -> None:
    """Write ``directory/model.keras``: architecture and weights, no optimizer, no dates.

    The archive is normalised after saving, so equal weights give equal bytes, and plain `tf_keras` loads it.

    Raises:
        RegrowError: the model shares weights in a way that the file cannot hold, or has weights of bfloat16.
    """
    import tf_keras

    refuse_sharing_that_files_lose(model)
    refuse_bfloat16(model)
    spell_out_ellipses(model)
    directory.mkdir(parents=True, exist_ok=True)
    clean = tf_keras.models.clone_model(model) if getattr(model, "optimizer", None) is not None else model
    if clean is not model:
        clean.set_weights(model.get_weights())
    clean.save(directory / MODEL, save_format="keras")
    normalise_archive(directory / MODEL)


def import_model(file: Path, trust: bool = False) -> Any:
    """Load a trained model: a ``.keras`` file, a legacy ``.h5`` file, or a SavedModel written by Keras.

    A ``.keras`` file may be one of `tf_keras` or of Keras 3, whose layers become those of `tf_keras`.

    The architecture is read as data first: what carries code is refused before anything is built.

    Raises:
        RegrowError: no such file, another kind of file, a broken one, code inside while ``trust`` is false, or
            something of Keras 3 that `tf_keras` lacks.
    """
    folder = os.path.isdir(file)  # noqa: PTH112 - Path.is_dir fails on names that are too long
    if folder:
        switch_on_onednn([file])  # before what looks into a SavedModel imports TensorFlow
    found = read_model_file(file)
    if not folder:
        switch_on_onednn([file])
    refuse_excess(found.config, file)
    refuse_wrapped(found.config, file)
    if not trust:
        refuse_code(found, file)
    try:
        with bounded(Budget(found.stored)):
            refuse_other_layers(found.config, found.stored_layers)
            model = _loaded(file, found, trust=trust)
        check_tensors(model)
        refuse_bfloat16(model)
        keep_operations_apart(model)
    except RegrowError as error:
        text = str(error)
        raise RegrowError(text if text.startswith(str(file)) else f"{file}: {text}") from None
    except Exception as error:  # a damaged file can fail anywhere in h5py, zipfile, Keras or TensorFlow
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise RegrowError(f"{file}: cannot be loaded as a tf_keras model ({reason})") from None
    return model


def _loaded(file: Path, found: ModelFile, *, trust: bool) -> Any:
    import tf_keras

    wrapped = is_wrapped(found.config)
    named = {**application_layers(), **(pruning_classes(file) if wrapped else {})}
    if file.is_dir():
        model = load_saved_model(file, found.config, trust=trust, custom_objects=named)
    elif file.suffix != ".keras":
        model = tf_keras.models.load_model(file, compile=False, custom_objects=named)
    elif found.from_keras3:
        model = read_keras3(file)
    else:
        model = read_archive(file, safe_mode=not trust, custom_objects=named)
    if wrapped:  # what wraps is stored beside its layer, and holds the weights once more
        return stripped(model)
    settle_adapted(model)
    return model


def load_file(path: Path, *, trust: bool = False) -> Any:
    """`import_model` of a model file, or of a model artifact (a directory with ``model.keras``)."""
    return import_model(path if irregular(path / MODEL) else path / MODEL, trust=trust)
