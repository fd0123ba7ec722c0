"""Model files: written the same for the same weights, read without running anything that came with them."""

import json
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.graph.archives import application_layers, normalise_archive, read_archive
from regrow.graph.channels_first import switch_on_onednn
from regrow.graph.ellipses import spell_out_ellipses
from regrow.graph.keras3 import read_keras3, saved_by_keras3
from regrow.graph.sharing import refuse_sharing_that_files_lose
from regrow.graph.trust import architecture, refuse_code

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
        RegrowError: the model shares weights in a way that the file cannot hold.
    """
    import tf_keras

    refuse_sharing_that_files_lose(model)
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
    if not file.exists():
        raise RegrowError(f"{file}: no such model file")
    switch_on_onednn([file])  # before what looks into the file imports TensorFlow
    if trust:
        architecture(file)
    else:
        refuse_code(file)
    import tf_keras

    try:
        if file.is_dir():
            return _from_saved_model(file)
        if saved_by_keras3(file):
            return read_keras3(file)
        if file.suffix == ".keras":
            return read_archive(file, safe_mode=not trust)
        return tf_keras.models.load_model(file, compile=False, custom_objects=application_layers())
    except RegrowError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in h5py, zipfile, Keras or TensorFlow
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise RegrowError(f"{file}: cannot be loaded as a tf_keras model ({reason})") from None


def load_file(path: Path, *, trust: bool = False) -> Any:
    """`import_model` of a model file, or of a model artifact (a directory with ``model.keras``)."""
    return import_model(path / MODEL if (path / MODEL).is_file() else path, trust=trust)


def _from_saved_model(folder: Path) -> Any:
    """The model that a SavedModel's metadata describes, with the weights in its checkpoint.

    Its graph is not loaded: operations in it write and read files, some as soon as it is loaded.
    """
    import tensorflow as tf
    import tf_keras

    model = tf_keras.models.model_from_json(json.dumps(architecture(folder)))
    stored = tf.train.Checkpoint(model).read(str(folder / "variables" / "variables"))
    stored.assert_existing_objects_matched().expect_partial()
    return model
