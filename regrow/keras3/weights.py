"""Weights between ``model.weights.h5`` of a Keras 3 archive, `tf_keras` layers and Keras 3 layers."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.configs import Config
from regrow.keras3.layers import LAYERS
from regrow.keras3.reading import MODELS, Reader, contained

Array = np.ndarray[Any, np.dtype[Any]]


def file_names(kinds: Iterable[str]) -> Iterator[str]:
    """Names of layers of these classes in a list: ``conv2d``, ``conv2d_1``, ``p_re_lu``… as Keras 3 counts them."""
    counts: dict[str, int] = {}
    for kind in kinds:
        spaced = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
        name = re.sub("([a-z])([A-Z])", r"\1_\2", spaced).lower()
        counts[name] = counts.get(name, -1) + 1
        yield f"{name}_{counts[name]}" if counts[name] else name


class FileWeights:
    """Loads the weights of a model that a `Reader` built, from an open HDF5 file."""

    def __init__(self, h5: Any, reader: Reader) -> None:
        self._h5, self._reader = h5, reader
        self._by_name: dict[tuple[str, str], Any] = {}

    def load(self, model: Config, path: str = "") -> None:
        """Weights of all layers of the model config ``model``, whose group is ``path``.

        Raises:
            RegrowError: a layer's weights are missing, or have other shapes.
        """
        parts = list(contained(model))
        for part, name in zip(parts, file_names(part["class_name"] for part in parts), strict=True):
            self._part(part, f"{path}layers/{name}")

    def _part(self, part: Config, path: str) -> None:
        if part["class_name"] in MODELS:
            self.load(part, f"{path}/")
            return
        inner = part["config"].get("layer")
        if isinstance(inner, dict) and id(inner) in self._reader.made:
            self._part(inner, f"{path}/layer")
            return
        self._layer(self._reader.made[id(part)].layer, path)

    def _layer(self, layer: Any, path: str) -> None:
        # A layer that stands in a model and in one inside it is in the file where it was met first, and Keras 3 keeps
        # nothing but the name to say so.
        first = self._by_name.setdefault((type(layer).__name__, layer.name), layer)
        if first is not layer and path not in self._h5 and layer.weights:
            layer.set_weights(first.get_weights())
            return
        expected = own_weights(layer)
        if expected:
            found = self._group(f"{path}/vars")
            if set(found) != set(expected):
                raise RegrowError(
                    f"layer '{layer.name}' has {len(expected)} arrays of weights, but the file has {len(found)} at"
                    f" '{path}'"
                )
            layer.load_own_variables(
                {key: _array(found[key], array, layer) for key, array in expected.items()}
            )
        for names, inner in parts(layer):
            place = next((f"{path}/{name}" for name in names if f"{path}/{name}" in self._h5), None)
            self._layer(inner, place or f"{path}/{names[0]}")

    def _group(self, path: str) -> Any:
        import h5py

        group = self._h5.get(path)
        return group if isinstance(group, h5py.Group) else {}


def _array(dataset: Any, expected: Array, layer: Any) -> Array:
    """The values of ``dataset``, read only when it has the expected shape: a file may declare any."""
    if getattr(dataset, "shape", None) != expected.shape or dataset.dtype.kind not in "fiub":
        raise RegrowError(
            f"layer '{layer.name}' has weights of shape {expected.shape}, but the file's are"
            f" {getattr(dataset, 'shape', 'no array')}"
        )
    return np.asarray(dataset[()], expected.dtype)


def own_weights(layer: Any) -> dict[str, Array]:
    """The arrays of a `tf_keras` layer itself, without those of layers inside it, by their index."""
    found: dict[str, Array] = {}
    layer.save_own_variables(found)
    return {key: np.asarray(value) for key, value in found.items()}


def parts(layer: Any) -> Iterator[tuple[list[str], Any]]:
    """Layers inside the `tf_keras` layer that hold weights, with the names they may have in a file."""
    entry = LAYERS.get(type(layer).__name__)
    for ours, theirs in (entry.parts if entry else {}).items():
        inner = getattr(layer, theirs)
        if isinstance(inner, list | tuple):
            names = file_names(type(one).__name__ for one in inner)
            yield from (([f"{ours}/{name}"], one) for name, one in zip(names, inner, strict=True))
        else:
            # Keras before 3.6 has no public attribute for the projections of attention.
            yield [ours, f"_{ours}"], inner


def transfer(source: Any, target: Any) -> None:
    """Copy the weights of a `tf_keras` layer to the Keras 3 layer it became.

    Raises:
        RegrowError: Keras 3 built arrays of other shapes.
    """
    arrays = own_weights(source)
    if arrays:
        try:
            target.load_own_variables(arrays)
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise RegrowError(
                f"layer '{source.name}': Keras 3 does not take its weights ({reason})"
            ) from None
    entry = LAYERS.get(type(source).__name__)
    for ours, theirs in (entry.parts if entry else {}).items():
        inner = getattr(source, theirs)
        if isinstance(inner, list | tuple):
            for one, other in zip(inner, getattr(target, ours), strict=True):
                transfer(one, other)
        else:
            transfer(inner, getattr(target, ours, None) or getattr(target, f"_{ours}"))
