"""Model files: written the same for the same weights, read without running anything that came with them."""

import json
import zipfile
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError

MODEL = "model.keras"
EPOCH = (1980, 1, 1, 0, 0, 0)


def load_model(directory: Path) -> Any:
    """The `tf_keras` model in ``directory/model.keras``, not compiled.

    Raises:
        RegrowError: the file is missing, broken, or carries code.
    """
    return import_model(directory / MODEL)


def save_model(model: Any, directory: Path) -> None:
    """Write ``directory/model.keras``: architecture and weights, no optimizer, no dates.

    The archive is normalised after saving, so equal weights give equal bytes, and plain `tf_keras` loads it.
    """
    import tf_keras

    directory.mkdir(parents=True, exist_ok=True)
    clean = tf_keras.models.clone_model(model) if getattr(model, "optimizer", None) is not None else model
    if clean is not model:
        clean.set_weights(model.get_weights())
    clean.save(directory / MODEL, save_format="keras")
    normalise_archive(directory / MODEL)


def normalise_archive(path: Path) -> None:
    """Rewrite the ``.keras`` archive ``path`` with fixed dates and order, and no date in its metadata."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if "metadata.json" in members:
        metadata = json.loads(members["metadata.json"])
        metadata["date_saved"] = "1980-01-01@00:00:00"
        members["metadata.json"] = json.dumps(metadata).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), members[name])


def import_model(file: Path, trust: bool = False) -> Any:
    """Load a trained model: a ``.keras`` file, a legacy ``.h5`` file, or a SavedModel written by Keras.

    The architecture is read as data first: a layer that carries code is refused before anything is built.

    Raises:
        RegrowError: no such file, another kind of file, a broken one, or code inside while ``trust`` is false.
    """
    if not file.exists():
        raise RegrowError(f"{file}: no such model file")
    config = _config(file)
    if not trust:
        _refuse_code(file, config)
    import tf_keras

    try:
        if not trust and file.suffix == ".keras":
            return tf_keras.models.load_model(file, compile=False, safe_mode=True)
        return tf_keras.models.load_model(file, compile=False)
    except (OSError, ValueError, TypeError, KeyError, ImportError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RegrowError(f"{file}: cannot be loaded as a tf_keras model ({reason})") from None


def _config(file: Path) -> Any:
    """The architecture in ``file`` as JSON, without loading it."""
    try:
        if file.is_dir():
            return _saved_model_config(file)
        if file.suffix == ".keras":
            with zipfile.ZipFile(file) as archive:
                return json.loads(archive.read("config.json"))
        if file.suffix in (".h5", ".hdf5"):
            import h5py

            with h5py.File(file) as h5:
                text = h5.attrs.get("model_config")
            if text is None:
                raise RegrowError(f"{file}: holds weights but no architecture; save the whole model")
            return json.loads(text)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise RegrowError(
            f"{file}: is not a readable Keras model ({' '.join(str(error).split())[:200]})"
        ) from None
    raise RegrowError(f"{file}: is not a model file; accepted: .keras, .h5, a SavedModel directory")


def _saved_model_config(folder: Path) -> Any:
    """Configs of all layers in ``keras_metadata.pb`` of a SavedModel."""
    metadata = folder / "keras_metadata.pb"
    if not (folder / "saved_model.pb").is_file():
        raise RegrowError(f"{folder}: is a directory without saved_model.pb; a Keras SavedModel has one")
    if not metadata.is_file():
        raise RegrowError(f"{folder}: is a SavedModel that Keras did not write (no keras_metadata.pb)")
    from tf_keras.protobuf import saved_metadata_pb2

    parsed = saved_metadata_pb2.SavedMetadata.FromString(metadata.read_bytes())
    return [json.loads(node.metadata) for node in parsed.nodes if node.metadata]


def _refuse_code(file: Path, config: Any) -> None:
    name = code_in(config)
    if name is not None:
        raise RegrowError(
            f"{file}: layer '{name}' carries Python code, which is not run from a model file;"
            " set trust to load a file whose origin you know"
        )


def code_in(config: Any) -> str | None:
    """The name of a ``Lambda`` layer or marshalled function in an architecture, or None."""
    if isinstance(config, dict):
        kind = config.get("class_name")
        inner = config.get("config")
        if kind in ("Lambda", "__lambda__", "function") or config.get("function_type") == "lambda":
            named = inner.get("name") if isinstance(inner, dict) else None
            return str(named or config.get("name") or kind)
        values = list(config.values())
    elif isinstance(config, list):
        values = config
    else:
        return None
    for value in values:
        found = code_in(value)
        if found is not None:
            return found
    return None
