"""Where features of parent and pruned model are compared: at layers that both still have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from regrow.errors import RegrowError, nearest
from regrow.graph.blocks import ADDITIONS
from regrow.graph.view import is_model
from regrow.pruning.selection import matches

NOISY = ("Dropout", "Noise")  # in the names of layers that change what they are given while training


@dataclass(frozen=True, kw_only=True)
class Point:
    """A layer's output, the last where it is called several times.

    ``tensor`` is the model's symbolic tensor, ``size`` its shape between batch and channels. ``narrow`` says that all
    of what the model computes later depends on nothing else computed before.
    """

    layer: Any
    tensor: Any
    addition: bool
    narrow: bool

    @property
    def size(self) -> tuple[int | None, ...]:
        """The lengths of the spatial axes; empty for features without any."""
        return tuple(self.tensor.shape[1:-1])

    @property
    def spatial(self) -> bool:
        """Whether there is more than one position."""
        return any(length != 1 for length in self.size)


def points(model: Any) -> dict[str, Point]:
    """The points of a Functional or Sequential model by layer name, in an order in which they can be computed.

    Nested models are points as a whole: tensors inside them do not belong to ``model``.
    """
    nodes = [
        node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]
    ]
    last_use = {id(tensor): place for place, node in enumerate(nodes) for tensor in node.keras_inputs}
    last_use |= {id(tensor): len(nodes) for tensor in model.outputs}
    found: dict[str, Point] = {}
    busy_until = -1
    for place, node in enumerate(nodes):
        outputs = _tensors(node)
        if not node.is_input and len(outputs) == 1 and _comparable(outputs[0]):
            found.pop(node.layer.name, None)
            found[node.layer.name] = Point(
                layer=node.layer,
                tensor=outputs[0],
                addition=_is_addition(node),
                narrow=busy_until <= place,
            )
        busy_until = max(busy_until, *(last_use.get(id(tensor), -1) for tensor in outputs))
    return found


def chosen_points(student: Any, parent: Any, *, patterns: Sequence[str] | None, field: str) -> list[str]:
    """Names of the layers to compare, in the model's order.

    Unless ``patterns`` name them, these are for each spatial size the last residual addition, as stages of a network
    end, or in a model without additions the last layer on which all later ones depend. A model without spatial axes
    is compared at the input of its last layer with weights.

    Args:
        student: the pruned model.
        parent: the model that it was made from.
        patterns: shell-style patterns of layers.
        field: what holds ``patterns``, for messages.

    Raises:
        RegrowError: a pattern matches no layer that both models have with equal spatial sizes, or there is none.
    """
    theirs = points(parent)
    own = {
        name: point
        for name, point in points(student).items()
        if name in theirs and theirs[name].size == point.size
    }
    if patterns is not None:
        return _matching(own, patterns, field)
    found = list(_ends_of_stages(own)) or list(_last_hidden(own))
    if not found:
        raise RegrowError(
            f"{field}: finds no comparable layer that both models have; name layers under layers"
        )
    return found


def _matching(own: dict[str, Point], patterns: Sequence[str], field: str) -> list[str]:
    for pattern in patterns:
        if not any(matches(name, pattern) for name in own):
            raise RegrowError(
                f"{field}.layers: '{pattern}' matches no layer outside nested models that both parent and "
                f"pruned model have{nearest(pattern, own)}"
            )
    return [name for name in own if any(matches(name, pattern) for pattern in patterns)]


def _ends_of_stages(own: dict[str, Point]) -> Iterator[str]:
    spatial = {name: point for name, point in own.items() if point.spatial}
    additions = {name: point for name, point in spatial.items() if point.addition}
    learned = {point.size for point in spatial.values() if point.layer.weights}
    plain = {
        name: point
        for name, point in spatial.items()
        if point.narrow
        and point.size in learned
        and not any(word in type(point.layer).__name__ for word in NOISY)
    }
    ends = {point.size: name for name, point in (additions or plain).items()}
    return (name for name in own if name in ends.values())


def _last_hidden(own: dict[str, Point]) -> Iterator[str]:
    """The last layer before the last one with weights, skipping noise layers."""
    names = list(own)
    weighted = [name for name in names if own[name].layer.weights]
    if len(weighted) > 1:
        before = names[: names.index(weighted[-1])]
        yield next(
            name
            for name in reversed(before)
            if not any(word in type(own[name].layer).__name__ for word in NOISY)
        )


def _tensors(node: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(node.outputs))


def _comparable(tensor: Any) -> bool:
    shape = tensor.shape
    return bool(tensor.dtype.is_floating and shape.rank is not None and shape.rank > 1 and shape[-1])


def _is_addition(node: Any) -> bool:
    """Whether features are added that are computed: neither constants nor weights."""
    if len(node.keras_inputs) < 2 or is_model(node.layer):
        return False
    kind = type(node.layer).__name__
    if kind == "TFOpLambda":
        return node.layer.get_config().get("function") in ADDITIONS
    return kind == "Add"
