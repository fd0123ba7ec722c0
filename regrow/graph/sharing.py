"""Sharing of weights that a model's config cannot hold, and that a model built from it would lose."""

from typing import Any

from regrow.errors import RegrowError
from regrow.graph.kernels import layers, walk
from regrow.graph.variables import variables
from regrow.graph.view import repeated_model


def refuse_sharing_across_wrappers(model: Any) -> None:
    """Refuse ``model`` where something inside a layer, such as ``TimeDistributed``, is used outside it as well.

    The config of such a wrapper describes what is inside by itself, so that a model built from it has two of it.

    Raises:
        RegrowError: two layers have a variable in common, or run the same model.
    """
    owners: dict[int, str] = {}
    for path, layer in sorted(layers(model), key=lambda found: repeated_model(found[1]) is not None):
        for part in _parts(layer):
            owner = owners.setdefault(id(part), path)
            if owner != path:
                raise RegrowError(
                    f"layer '{path}': shares weights or layers with layer '{owner}', which a rebuilt model "
                    "would lose; give each its own"
                )


def refuse_sharing_that_files_lose(model: Any) -> None:
    """Refuse ``model`` where Keras would write a file that cannot be loaded.

    Raises:
        RegrowError: a layer with weights is used at several levels of nesting, or inside a wrapper and outside.
    """
    refuse_sharing_across_wrappers(model)
    paths: dict[int, str] = {}
    for path, layer in walk(model):
        if paths.setdefault(id(layer), path) != path and variables(layer):
            raise RegrowError(
                f"layer '{path}': is also layer '{paths[id(layer)]}', and a .keras file cannot hold a layer that is"
                f" shared across nested models; share within one model, or give each its own"
            )


def _parts(layer: Any) -> list[Any]:
    """The variables of a leaf layer, the layer itself, and the layers of a model that it runs at each step."""
    inner = repeated_model(layer)
    inside = [] if inner is None else inner._flatten_layers(recursive=True, include_self=True)
    return [layer, *variables(layer).values(), *inside]
