"""From a graph to its channels: which array indices must go together, and which must stay."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np

from regrow.errors import RegrowError, nearest
from regrow.graph.channels import Channels, Cost, Group, Slot
from regrow.graph.computing import filled
from regrow.graph.graph import Graph
from regrow.graph.rules import families  # noqa: F401
from regrow.graph.rules.call import Axes, LayerCall
from regrow.graph.rules.record import Record
from regrow.graph.rules.rule import AxisIds, Outputs, listed, rule_for
from regrow.graph.ties import Ids, classes
from regrow.graph.view import Call, Shape, View


def trace(graph: Graph, *, protect: Sequence[str] = ()) -> Channels:
    """Follow the channels of ``graph`` through all its calls.

    Each index of each array axis that makes channels gets a number, its id. Ids travel with the tensors; what
    must be removed together is tied. A class of tied ids is a *unit*.

    Args:
        graph: the model.
        protect: shell-style patterns of layer paths, or of nested models'; these layers keep all their channels.

    Raises:
        RegrowError: a pattern matches no layer, or a rule fails on a layer.
    """
    view = graph.view
    protected = _protected(view, protect)
    record = Record(array_shapes={name: array.shape for name, array in graph.arrays.items()})
    tensors: list[Axes] = [Axes(shape, (None,) * len(shape)) for shape in view.shapes]
    uses: dict[int, list[Call]] = {}
    for call in view.calls:
        for number in call.inputs:
            uses.setdefault(number, []).append(call)
    for call in view.calls:
        given = _outputs(graph, call, record, tensors, [use for n in call.outputs for use in uses.get(n, ())])
        for tensor, axis_ids in zip(call.outputs, given, strict=True):
            tensors[tensor] = axes = Axes(view.shapes[tensor], axis_ids)
            if call.layer in protected:
                _pin_all(record, axes, f"'{call.layer}' is protected")
    for number in view.outputs:
        _pin_all(record, tensors[number], "they are the model's outputs")
    for (array, axis), (ids, role) in record.axes.items():
        if role != "input" and record.owners[array] in protected:
            record.pin(ids, f"'{record.owners[array]}' is protected")
        if (array, axis) in record.untraced:
            record.pin(ids, f"'{array}' is also used on channels that are not traced")
    return _channels(graph, record, tensors)


def _outputs(
    graph: Graph, call: Call, record: Record, tensors: Sequence[Axes], uses: Sequence[Call]
) -> list[AxisIds]:
    axes_of = {number: tensors[number] for number in call.inputs}
    seen = LayerCall(
        record=record,
        path=call.layer,
        class_name=call.class_name,
        number=call.number,
        config=graph.layer_config(call.layer),
        arguments=filled(call.arguments, axes_of),
        keywords=filled(call.keywords, axes_of),
        inputs=[tensors[number] for number in call.inputs],
        shapes=[graph.view.shapes[number] for number in call.outputs],
        uses=uses,
        times=tuple(tensors[number].extent(1) for number in call.repeated),
    )
    known = rule_for(call.class_name, keras=call.keras)
    record.mentioned.clear()
    try:
        found = known(seen) if known is not None else seen.left_whole("is of a class that no rule knows")
        several = _checked(found, seen.shapes)
    except Exception as error:  # a rule may fail anywhere on what it was not written for
        reason = " ".join(str(error).split())[:300]
        raise RegrowError(
            f"layer '{call.layer}': the rule for class {call.class_name} fails ({type(error).__name__}: "
            f"{reason})"
        ) from error
    _pin_unmentioned(seen, several)
    return several


def _checked(found: Outputs, shapes: Sequence[Shape]) -> list[AxisIds]:
    """What a rule returned, one entry per output tensor; each axis as long as the tensor's."""
    if found is None:
        raise ValueError("it returns None, not the channels of the output axis by axis")
    several = listed(found)
    if len(several) != len(shapes):
        raise ValueError(f"it returns channels of {len(several)} outputs, and the layer has {len(shapes)}")
    for ids, shape in zip(several, shapes, strict=True):
        lengths = [None if axis is None else len(axis) for axis in ids]
        if len(ids) != len(shape) or any(a != b for a, b in zip(lengths, shape, strict=True) if a and b):
            raise ValueError(f"it returns axes of {lengths} channels for an output of shape {shape}")
    return several


def _pin_unmentioned(call: LayerCall, outputs: Sequence[AxisIds]) -> None:
    """What flows in and the rule did not speak of stays, such as a mask that the rule does not expect."""
    returned = [ids for output in outputs for ids in output if ids is not None]
    known = np.concatenate([np.ravel(ids) for ids in (*call.record.mentioned, *returned)] or [np.zeros(0)])
    for tensor in call.inputs:
        for _, ids in tensor.traced():
            if not np.isin(ids, known).any():
                call.pinned(ids, "uses them in a way that no rule knows")


def _pin_all(record: Record, tensor: Axes, why: str) -> None:
    for _, ids in tensor.traced():
        record.pin(ids, why)


def _protected(view: View, patterns: Sequence[str]) -> set[str]:
    paths = {call.layer for call in view.calls}
    found = set()
    for pattern in patterns:
        matching = {path for path in paths if any(fnmatchcase(part, pattern) for part in _parents(path))}
        if not matching:
            raise RegrowError(f"protect: '{pattern}' matches no layer{nearest(pattern, paths)}")
        found |= matching
    return found


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _channels(graph: Graph, record: Record, tensors: Sequence[Axes]) -> Channels:
    label = _labels(record)
    distinct, unit_of = np.unique(label, return_inverse=True)
    reasons: dict[int, str] = {}
    for ids, why in [*record.pins, *_only_channels(record, tensors, label)]:
        for unit in np.unique(unit_of[ids]).tolist():
            reasons.setdefault(unit, why)
    vectors = _Vectors(unit_of)
    slots = tuple(
        Slot(array=array, axis=axis, role=role, units=vectors.units(ids), layer=record.owners[array])
        for (array, axis), (ids, role) in record.axes.items()
    )
    units_of_tensors = tuple(
        tuple(None if ids is None else vectors.units(ids) for ids in tensor.ids) for tensor in tensors
    )
    return Channels(
        graph=graph,
        count=len(distinct),
        slots=slots,
        reasons=reasons,
        groups=_groups(record, unit_of, slots),
        config_sizes={key: vectors.units(ids) for key, ids in record.config_sizes.items()},
        argument_sizes={key: vectors.units(ids) for key, ids in record.argument_sizes.items()},
        scales={array: vectors.units(ids) for array, ids in record.scales.items()},
        whole=record.whole,
        axes=tuple(vectors.found.values()),
        tensors=units_of_tensors,
        costs=tuple(_costs(record, vectors)),
    )


def _labels(record: Record) -> Ids:
    pairs = [(left, right) for left, right in record.ties if len(left)]
    empty = np.zeros(0, np.int64)
    left = np.concatenate([pair[0].ravel() for pair in pairs]) if pairs else empty
    right = np.concatenate([pair[1].ravel() for pair in pairs]) if pairs else empty
    return classes(record.size, left, right)


def _only_channels(record: Record, tensors: Sequence[Axes], label: Ids) -> list[tuple[Ids, str]]:
    """Axes that hold one class only: it cannot go, because the axis would be empty."""
    named = [
        (ids, f"it is all that '{array}' has on axis {axis}")
        for (array, axis), (ids, _) in record.axes.items()
    ]
    named += [(ids, "it is a tensor's only channel") for tensor in tensors for _, ids in tensor.traced()]
    return [(ids, why) for ids, why in named if len(ids) and (label[ids] == label[ids[0]]).all()]


class _Vectors:
    """Units of id vectors, each vector object converted once."""

    def __init__(self, unit_of: Ids) -> None:
        self._unit_of = unit_of
        self.found: dict[int, Ids] = {}
        self._alive: list[Ids] = []

    def units(self, ids: Ids) -> Ids:
        if id(ids) not in self.found:
            self._alive.append(ids)
            self.found[id(ids)] = self._unit_of[ids]
        return self.found[id(ids)]


def _costs(record: Record, vectors: _Vectors) -> list[Cost]:
    costs = []
    for path, factors in record.macs:
        number, units = 1, []
        for factor in factors:
            if isinstance(factor, int):
                number *= factor
            elif isinstance(factor, str):
                for axis, length in enumerate(record.array_shapes[factor]):
                    known = record.axes.get((factor, axis))
                    if known is None:
                        number *= length
                    else:
                        units.append(vectors.units(known[0]))
            else:
                units.append(vectors.units(factor))
        costs.append(Cost(layer=path, number=number, units=tuple(units)))
    return costs


def _groups(record: Record, unit_of: Ids, slots: Sequence[Slot]) -> tuple[Group, ...]:
    """Blocks of ids whose units are tied across blocks form one group."""
    starts = np.array([start for start, _ in record.blocks], np.int64)
    block_of = np.searchsorted(starts, np.arange(record.size), side="right") - 1
    # The first id of each unit stands for it.
    first = np.full(int(unit_of.max(initial=-1)) + 1, record.size, np.int64)
    np.minimum.at(first, unit_of, np.arange(record.size))
    block_label = classes(len(starts), block_of, block_of[first[unit_of]])
    group_of_unit = block_label[block_of[first]]
    members: dict[int, list[Slot]] = {}
    for slot in slots:
        for block in np.unique(group_of_unit[slot.units]).tolist():
            members.setdefault(block, []).append(slot)
    groups = []
    for block in np.unique(block_label).tolist():
        makers = [path for (_, path), label in zip(record.blocks, block_label, strict=True) if label == block]
        paths = tuple(dict.fromkeys(path for path in makers if path is not None))
        if paths:  # ids that stand for untraced channels belong to no group
            units = np.flatnonzero(group_of_unit == block)
            groups.append(Group(name=paths[0], layers=paths, units=units, slots=tuple(members[block])))
    return tuple(groups)
