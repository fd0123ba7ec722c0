"""``.keras`` archives, written so that equal models give equal bytes."""

import json
import tempfile
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.keras3.reading import contained
from regrow.keras3.weights import file_names

WEIGHTS = "model.weights.h5"
EPOCH = (1980, 1, 1, 0, 0, 0)


def normalise_archive(path: Path, plain: Mapping[str, Callable[[bytes], bytes]] | None = None) -> None:
    """Rewrite the ``.keras`` archive ``path`` with fixed dates and order, and no date in its metadata.

    Args:
        plain: for members by name, what frees their content of what differs between equal models.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if "metadata.json" in members:
        metadata = json.loads(members["metadata.json"])
        metadata["date_saved"] = "1980-01-01@00:00:00"
        members["metadata.json"] = json.dumps(metadata).encode()
    for name, change in (plain or {}).items():
        members[name] = change(members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), members[name])


def refuse_bfloat16(model: Any) -> None:
    """Refuse a ``model`` whose weights no file of `tf_keras` keeps.

    Raises:
        RegrowError: some are bfloat16.
    """
    for variable in model.weights:
        if getattr(variable, "dtype", None) == "bfloat16":
            raise RegrowError(
                f"its weights '{variable.name}' are bfloat16, which tf_keras writes into files that it cannot read;"
                " keep its weights in float32, as policy mixed_bfloat16 does"
            )


def refuse_other_layers(config: dict[str, Any], stored: Collection[str]) -> None:
    """Hold the groups of outermost layers that an archive has ``stored`` weights for against its ``config``.

    Raises:
        RegrowError: the config has not all of these layers, so that weights would be left unread; the sentence lacks
            the name of the file.
    """
    if not isinstance(config["config"].get("layers"), list):
        return
    kinds = [str(layer["class_name"]).rsplit(">", 1)[-1] for layer in contained(config)]
    if other := sorted(set(stored) - set(file_names(kinds))):
        raise RegrowError(
            f"weights are stored for {', '.join(other[:5])}, which its architecture lacks, so they belong "
            "to different models"
        )


def read_archive(path: Path, *, safe_mode: bool, custom_objects: Mapping[str, type]) -> Any:
    """The `tf_keras` model in the ``.keras`` archive ``path``, not compiled.

    Keras reads the weights inside the archive, and each of HDF5's steps back makes `zipfile` read it again from
    its start: time grows with the square of the size, 11 s of CPU time for ResNet50. From a file of their own it
    takes 1 s. An archive with assets, such as vocabularies, is left to Keras.
    """
    import tf_keras
    from tf_keras.src.saving.serialization_lib import ObjectSharingScope

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if WEIGHTS not in names or any(name.startswith("assets/") for name in names):
            return tf_keras.models.load_model(
                path, compile=False, safe_mode=safe_mode, custom_objects=dict(custom_objects)
            )
        config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)
        with ObjectSharingScope():
            model = tf_keras.saving.deserialize_keras_object(
                config, safe_mode=safe_mode, custom_objects=dict(custom_objects)
            )
        with tempfile.TemporaryDirectory() as folder:
            model.load_weights(archive.extract(WEIGHTS, folder))
    return model


def application_layers() -> dict[str, type]:
    """Layers of `tf_keras` and of its applications that Keras itself does not find by name when it loads a model."""
    from tf_keras.layers import SpectralNormalization
    from tf_keras.layers.experimental import RandomFourierFeatures
    from tf_keras.src.applications.convnext import LayerScale, StochasticDepth
    from tf_keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    kinds = (LayerScale, StochasticDepth, CustomScaleLayer, SpectralNormalization, RandomFourierFeatures)
    return {kind.__name__: kind for kind in kinds}
