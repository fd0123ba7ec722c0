"""A model as data: the tree of Keras configs, arrays by name, and the calls that connect the layers."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.ellipses import spell_out_ellipses
from regrow.graph.kernels import layers, shortest
from regrow.graph.recording import refuse_unrecorded
from regrow.graph.sharing import refuse_sharing_across_wrappers
from regrow.graph.squeezing import spell_out_squeezes
from regrow.graph.variables import variables
from regrow.graph.view import View, is_model, view_of

Array = np.ndarray[Any, np.dtype[Any]]
Location = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A Functional or Sequential `tf_keras` model without its variables, losses and optimizer.

    ``config`` is Keras' own config, nested models nested, so that names, sharing and call arguments survive.
    ``arrays`` holds every variable's value by layer path and attribute name: ``backbone/conv1/kernel``.
    ``sequential`` tells the two model classes apart; ``classes`` are the layer classes that Keras cannot find by
    their names.
    """

    config: Mapping[str, Any]
    arrays: Mapping[str, Array]
    sequential: bool
    classes: Mapping[str, type]

    @classmethod
    def of(cls, model: Any) -> "Graph":
        """Read ``model``; its arrays are copied.

        Raises:
            RegrowError: the model is subclassed, or not built yet, or a layer in it cannot describe itself, or shares
                weights in a way that a config cannot say.
        """
        refuse_opaque(model)
        refuse_sharing_across_wrappers(model)
        spell_out_ellipses(model)
        spell_out_squeezes(model)
        try:
            config = without_build_shapes(model.get_config())
        except (NotImplementedError, TypeError, ValueError) as error:
            raise RegrowError(f"model '{model.name}': {' '.join(str(error).split())[:300]}") from None
        _refuse_nameless(config)
        shared = _mark_shared(model, config)
        graph = cls(
            config=config,
            arrays={
                f"{path}/{name}": variable.numpy()
                for path, layer in layers(model)
                for name, variable in variables(layer).items()
            },
            sequential=_is_sequential(model),
            classes={**_classes(model), **shared},
        )
        graph.__dict__["view"] = view_of(model)
        return graph

    def to_model(self) -> Any:
        """Build the model anew, not compiled; its outputs are bit-identical to those of the model read.

        Raises:
            RegrowError: an array does not fit the layer that was built for it, or the config lacks what a call needs.
        """
        model = self._built()
        for path, layer in layers(model):
            own = variables(layer)
            for name, variable in own.items():
                array = self.arrays.get(f"{path}/{name}")
                if array is None or array.shape != tuple(variable.shape):
                    raise RegrowError(
                        f"layer '{path}': array '{name}' has shape {tuple(variable.shape)} in the rebuilt "
                        f"model, but {'no values' if array is None else array.shape} in the graph"
                    )
                variable.assign(array)
            if own and hasattr(layer, "finalize_state"):
                layer.finalize_state()  # Normalization keeps tensors that are derived from its variables
        return model

    @cached_property
    def view(self) -> View:
        """The calls, flattened: nested models are looked into."""
        return view_of(self._built())

    @cached_property
    def locations(self) -> dict[str, tuple[Location, ...]]:
        """Where in ``config`` the entry of each layer is; a layer shared across nesting has several entries."""
        found: dict[int | str, list[tuple[str, Location]]] = {}
        _locate(self.config, (), "", found)
        return {
            shortest(name for name, _ in places): tuple(place for _, place in places)
            for places in found.values()
        }

    def layer_config(self, path: str) -> Mapping[str, Any]:
        """The config of the layer at ``path``."""
        config: Mapping[str, Any] = entry(self.config, self.locations[path][0])["config"]
        return config

    def _built(self) -> Any:
        import tf_keras
        from tf_keras.src.saving.serialization_lib import ObjectSharingScope, SafeModeScope

        refuse_unrecorded(self.config)
        kind = tf_keras.Sequential if self.sequential else tf_keras.Model
        # Code in it comes from a model that is already running in this process.
        with ObjectSharingScope(), SafeModeScope(False):
            return kind.from_config(copy.deepcopy(self.config), custom_objects=dict(self.classes))


def entry(config: Any, location: Iterable[str | int]) -> Any:
    """The part of ``config`` at ``location``."""
    for key in location:
        config = config[key]
    return config


def _locate(
    config: Mapping[str, Any],
    location: Location,
    prefix: str,
    found: dict[int | str, list[tuple[str, Location]]],
) -> None:
    for index, item in enumerate(config["layers"]):
        place, name = (*location, "layers", index), item["config"]["name"]
        if "layers" in item["config"]:
            _locate(item["config"], (*place, "config"), f"{prefix}{name}/", found)
            continue
        repeated = item["config"].get("layer")
        if item["class_name"] == "TimeDistributed" and "layers" in repeated["config"]:
            _locate(
                repeated["config"], (*place, "config", "layer", "config"), f"{prefix}{name}/layer/", found
            )
        key = item.get("shared_object_id", f"{prefix}{name}")
        found.setdefault(key, []).append((f"{prefix}{name}", place))


def _refuse_nameless(config: Any) -> None:
    """Keras describes a class without `get_config` by the arguments it was made with, which leaves its name out."""
    for item in config["layers"]:
        if "name" not in item["config"]:
            raise RegrowError(
                f"layer '{item.get('name', item['class_name'])}': class {item['class_name']} has no usable "
                "get_config; it needs one that adds its own arguments to super().get_config()"
            )
        if "layers" in item["config"]:
            _refuse_nameless(item["config"])


def _mark_shared(model: Any, config: Any) -> dict[str, type]:
    """Give the entries of a layer that is used inside and outside a nested model a common ``shared_object_id``.

    Keras has this field, but loses it when a nested model describes itself, and reads it only for classes that it
    is given by name: these are returned.
    """
    entries: dict[int, list[tuple[Any, dict[str, Any]]]] = {}
    _collect_entries(model, config, entries)
    for (layer, item), *_ in entries.values():
        _keep_vocabulary(layer, item["config"])
    shared = [same for same in entries.values() if len(same) > 1]
    for number, same in enumerate(shared):
        for _, item in same:
            item["shared_object_id"] = number
    return {same[0][1]["class_name"]: type(same[0][0]) for same in shared}


def _keep_vocabulary(layer: Any, config: dict[str, Any]) -> None:
    """A vocabulary that a layer has learned by ``adapt`` is neither in its config nor in its variables."""
    if not config.get("vocabulary") and hasattr(layer, "get_vocabulary"):
        if config.get("output_mode") == "tf_idf":
            raise RegrowError(
                f"layer '{layer.name}': its learned tf-idf weights cannot be read; pass them to the layer "
                "as an argument"
            )
        config["vocabulary"] = layer.get_vocabulary(include_special_tokens=False)


def _collect_entries(model: Any, config: Any, entries: dict[int, list[tuple[Any, dict[str, Any]]]]) -> None:
    own = {layer.name: layer for layer in model._flatten_layers(recursive=False, include_self=False)}
    for item in config["layers"]:
        layer = own.get(item["config"]["name"])
        if layer is not None:
            entries.setdefault(id(layer), []).append((layer, item))
            if is_model(layer):
                _collect_entries(layer, item["config"], entries)


def refuse_opaque(model: Any) -> None:
    """Refuse a ``model`` whose calls cannot be read.

    Raises:
        RegrowError: it is a subclassed one, or a Sequential one that has not been built.
    """
    import tf_keras

    named = f"model '{getattr(model, 'name', model)}'"
    if type(model).__module__.startswith("keras.src."):
        raise RegrowError(
            f"{named}: is a live Keras 3 model, which regrow.prune and the library's other functions accept "
            "directly; accepted here: a tf_keras model, such as one made by regrow.keras3.live.from_live"
        )
    if isinstance(model, tf_keras.Sequential) and not model.built:
        raise RegrowError(f"{named}: has not been built; give it an input shape first")
    if not is_model(model) or not getattr(model, "_is_graph_network", False):
        raise RegrowError(
            f"{named}: is a {type(model).__name__}, a subclassed model whose calls cannot be read;"
            f" accepted: Functional and Sequential models"
        )
    for layer in model.layers:
        if isinstance(layer, tf_keras.Model):
            refuse_opaque(layer)


def without_build_shapes(config: Any) -> Any:
    """``config`` without the shapes that layers were built with; being called builds them."""
    if isinstance(config, dict):
        return {
            key: without_build_shapes(value)
            for key, value in config.items()
            if not (key == "build_config" and "class_name" in config)
        }
    if isinstance(config, list):
        return [without_build_shapes(value) for value in config]
    return config


def _is_sequential(model: Any) -> bool:
    import tf_keras

    return isinstance(model, tf_keras.Sequential)


def _classes(model: Any) -> dict[str, type]:
    """Classes of layers that Keras does not find by name: users', and some of its own (``SpectralNormalization``)."""
    import tf_keras
    from tf_keras.src.layers import serialization

    serialization.populate_deserializable_objects()
    known = serialization.LOCAL.ALL_OBJECTS
    kinds = {type(layer) for layer in model._flatten_layers(recursive=True, include_self=False)}
    return {
        kind.__name__: kind
        for kind in kinds
        if known.get(kind.__name__) is not kind and not issubclass(kind, tf_keras.Model)
    }
