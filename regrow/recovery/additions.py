"""Which layer closes an addition, such as a residual block's: it is fitted last and compensates the others' errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regrow.graph.view import Call, View
from regrow.recovery.regularisation import DROPOUTS


@dataclass(frozen=True, kw_only=True)
class Addition:
    """The addition behind a layer.

    ``total`` is its tensor, ``others`` are the tensors that it adds to the layer's, ``normalisation`` is the path of
    the batch normalisation between layer and addition, if there is one.
    """

    layer: str
    total: int
    others: tuple[int, ...]
    normalisation: str | None


def addition_behind(view: View, call: Call) -> Addition | None:
    """The addition that alone reads the output of ``call``, directly or after normalisation; None if there is none.

    Dropout on the way passes what it is given, as it does outside training. Tensors that are broadcast while they are
    added are none of one layer's rows: None, too.
    """
    following, normalisation = _follower(view, call), None
    while following is not None and following.class_name != "Add":
        if following.class_name == "BatchNormalization" and following.keras and normalisation is None:
            normalisation = following.layer
        elif not _passes(following):
            return None
        call, following = following, _follower(view, following)
    if following is None or not following.keras:
        return None
    others = tuple(number for number in following.inputs if number != call.outputs[0])
    shapes = {view.shapes[number] for number in (*following.inputs, *following.outputs)}
    if len(others) != len(following.inputs) - 1 or len(shapes) > 1:
        return None
    return Addition(
        layer=following.layer, total=following.outputs[0], others=others, normalisation=normalisation
    )


def _passes(call: Call) -> bool:
    """Whether ``call`` is the identity outside training; a call fixed to training mode is not."""
    always = len(call.arguments) > 1 or call.keywords.get("training")
    return call.keras and call.class_name in DROPOUTS and not always


def _follower(view: View, call: Call) -> Call | None:
    """The only call that reads the output of ``call``; None if there are several, it is a model output or a layer is
    shared.
    """
    (made,) = call.outputs
    takers = [other for other in view.calls if made in other.inputs]
    if len(takers) != 1 or made in view.outputs:
        return None
    return takers[0] if sum(other.layer == takers[0].layer for other in view.calls) == 1 else None


def closing_places(widths: Sequence[int], paths: Mapping[int, str]) -> dict[str, int]:
    """For each addition, the index of the layer that closes it: the widest, which can compensate most.

    Args:
        widths: how many inputs an output of each layer to fit has.
        paths: by place in ``widths``, the addition behind the layer, where it could close it.
    """
    closing: dict[str, int] = {}
    for place, path in paths.items():
        if path not in closing or widths[place] > widths[closing[path]]:
            closing[path] = place
    return closing


def closing_order(view: View, calls: Sequence[Call], closing: Mapping[str, int]) -> list[int]:
    """The order in which ``calls`` are fitted: the model's, except that closing layers follow all other inputs of the
    sum.

    Args:
        view: the model's.
        calls: those to fit, in the model's order.
        closing: what `closing_places` gave, places in ``calls`` by addition.

    Returns:
        places in ``calls``.
    """
    makers = {number: call for call in view.calls for number in call.outputs}
    place_of = {id(call): place for place, call in enumerate(calls)}
    order = list(range(len(calls)))
    for path, place in closing.items():
        addition = next(call for call in view.calls if call.layer == path)
        before = {place_of[found] for found in _made_before(addition, makers) if found in place_of} - {place}
        order.remove(place)
        order.insert(max((order.index(other) for other in before), default=-1) + 1, place)
    return order


def _made_before(call: Call, makers: Mapping[int, Call]) -> set[int]:
    """The ids of the calls that ``call`` depends on."""
    found: set[int] = set()
    waiting: list[Call] = [call]
    while waiting:
        for number in waiting.pop().inputs:
            maker = makers.get(number)
            if maker is not None and id(maker) not in found:
                found.add(id(maker))
                waiting.append(maker)
    return found
