"""Names for a layer's arrays: the attribute path in Keras' own source, such as ``forward_layer/cell/kernel``."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Owned:
    """A variable, the layer that made it, and the attribute under which that layer has it."""

    owner: Any
    attribute: str
    variable: Any


def variables(layer: Any) -> dict[str, Any]:
    """All variables of ``layer`` and of the layers inside it, by name; each once.

    Instance names (``lstm_cell_3``) change from session to session; attribute names do not, and they are the
    names in a layer's documentation. A layer inside a list has no attribute and goes by its own name.
    """
    return {name: found.variable for name, found in owned_variables(layer).items()}


def owned_variables(layer: Any) -> dict[str, Owned]:
    """As `variables`, with the layer that each belongs to: ``layer`` itself or one inside it."""
    found: dict[str, Owned] = {}
    names: dict[int, str] = {}
    _collect(layer, "", found, names)
    # Variables in lists, and those of modules that are no layers.
    for variable in layer.weights:
        if id(variable) not in names and hasattr(variable, "assign"):
            stem = _stem(variable)
            names[id(variable)] = name = _free(stem, found)
            found[name] = Owned(layer, stem, variable)
    return found


def _collect(layer: Any, prefix: str, found: dict[str, Owned], names: dict[int, str]) -> None:
    attributes = {
        id(value): name.lstrip("_")
        for name, value in reversed(vars(layer).items())
        if not name.startswith(("_self_", "_obj_"))
    }
    for variable in [*layer._trainable_weights, *layer._non_trainable_weights]:
        # A vocabulary stands among the weights without being a variable; the config holds it.
        if not hasattr(variable, "assign"):
            continue
        attribute = attributes.get(id(variable), _stem(variable))
        # What a wrapper keeps as its own too, as spectral normalisation does, was made by the layer inside.
        name = names.setdefault(id(variable), _free(prefix + attribute, found))
        found[name] = Owned(layer, attribute, variable)
    for inner in layer._flatten_layers(recursive=False, include_self=False):
        _collect(inner, f"{prefix}{attributes.get(id(inner), inner.name)}/", found, names)


def _stem(variable: Any) -> str:
    return str(variable.name).rpartition("/")[2].partition(":")[0]


def _free(name: str, taken: dict[str, Owned]) -> str:
    number = 1
    while name in taken:
        name, number = f"{name.rstrip('0123456789')}{number}", number + 1
    return name
