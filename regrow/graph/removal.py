"""Removing units from a graph: arrays are sliced, and sizes in the config are adjusted."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.graph.channels import Channels, Removed
from regrow.graph.graph import Array, Graph, entry
from regrow.graph.ties import Ids
from regrow.graph.view import Shape, View, view_of

Kept = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Surgery:
    """What was cut out of the parent's arrays.

    ``kept`` holds, by array name and axis, the parent's indices that are left; axes not named are whole.
    ``scales`` are factors on arrays that make up for a division by the root of a removed number of channels, as
    attention's by the root of its key size.
    """

    kept: Mapping[str, Mapping[int, Kept]] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)

    def apply(self, name: str, array: Array) -> Array:
        """``array``, shaped as the parent's array ``name``, cut as that one was."""
        for axis, indices in self.kept.get(name, {}).items():
            array = np.take(array, indices, axis=axis)
        if name in self.scales:
            array = (array * self.scales[name]).astype(array.dtype)
        return array

    def then(self, later: "Surgery") -> "Surgery":
        """This surgery and a later one on its result, as one on the parent."""
        kept = {name: dict(axes) for name, axes in self.kept.items()}
        for name, axes in later.kept.items():
            own = kept.setdefault(name, {})
            for axis, indices in axes.items():
                own[axis] = own[axis][indices] if axis in own else indices
        scales = dict(self.scales)
        for name, scale in later.scales.items():
            scales[name] = scales.get(name, 1.0) * scale
        return Surgery(kept=kept, scales=scales)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """The form of ``surgery.json``: by array, the kept indices of each axis and the ``scale`` if there is one."""
        found: dict[str, dict[str, Any]] = {
            name: {str(axis): indices.tolist() for axis, indices in sorted(axes.items())}
            for name, axes in sorted(self.kept.items())
        }
        for name, scale in self.scales.items():
            found.setdefault(name, {})["scale"] = scale
        return found

    @classmethod
    def from_json(cls, axes: Mapping[str, Mapping[str, Any]]) -> "Surgery":
        """Read what `to_json` gave."""
        return cls(
            kept={
                name: {
                    int(axis): np.asarray(indices, np.int64)
                    for axis, indices in by_axis.items()
                    if axis != "scale"
                }
                for name, by_axis in axes.items()
            },
            scales={name: by_axis["scale"] for name, by_axis in axes.items() if "scale" in by_axis},
        )


def remove(channels: Channels, removed: Removed) -> tuple[Graph, Surgery]:
    """The graph without the units ``removed`` (their numbers, or a mask), and what that did to each array.

    Arrays that lose nothing are the same objects as before.

    Raises:
        ValueError: a unit must stay, or an axis would lose all its indices.
    """
    kept = ~channels.mask(removed)
    _check(channels, kept)
    graph = channels.graph
    indices: dict[str, dict[int, Kept]] = {}
    for slot in channels.slots:
        if not kept[slot.units].all():
            indices.setdefault(slot.array, {})[slot.axis] = np.flatnonzero(kept[slot.units])
    scales = {
        name: float(np.sqrt(kept[units].mean()))
        for name, units in channels.scales.items()
        if not kept[units].all()
    }
    surgery = Surgery(kept=indices, scales=scales)
    arrays = {name: surgery.apply(name, array) for name, array in graph.arrays.items()}
    config = _resized(channels, kept)
    _forget_initial_values(config)
    return Graph(config=config, arrays=arrays, sequential=graph.sequential, classes=graph.classes), surgery


def built(parent: Graph, smaller: Graph) -> Any:
    """The model of ``smaller``, compared with ``parent``, which it was cut out of.

    Raises:
        RegrowError: the model cannot be built, or it has other calls or outputs than ``parent``.
    """
    try:
        model = smaller.to_model()
    except RegrowError as error:
        if not parent.classes:
            raise
        raise RegrowError(
            f"{error}; a rule of your own must name each array axis and, by call.sized, each config key that follows"
            " the channels"
        ) from None
    except (
        Exception
    ) as error:  # Keras and TensorFlow raise many kinds when sizes do not meet; they name the layer
        reason = " ".join(str(error).split())[:300]
        raise RegrowError(f"the model cannot be built without the channels removed: {reason}") from error
    before, after = parent.view, view_of(model)
    for old, new in zip(before.calls, after.calls, strict=False):
        if replace(old, arguments=(), keywords={}) != replace(new, arguments=(), keywords={}):
            raise RegrowError(
                f"layer '{old.layer}': without the channels removed, it is called as layer '{new.layer}' is"
            )
    if len(before.calls) != len(after.calls) or _outputs(before) != _outputs(after):
        raise RegrowError(
            f"the model without the channels removed gives {_outputs(after)}, not {_outputs(before)} as before"
        )
    return model


def _outputs(view: View) -> list[tuple[Shape, str]]:
    return [(view.shapes[number], view.dtypes[number]) for number in view.outputs]


def _check(channels: Channels, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    for unit in np.flatnonzero(~kept & ~channels.removable).tolist():
        raise ValueError(f"unit {unit} must stay: {channels.reasons[unit]}")
    for units in channels.axes:
        if len(units) and not kept[units].any():  # what is before the start of x[0:5] are no channels
            raise ValueError(f"an axis of {len(units)} channels would lose all of them")


def _resized(channels: Channels, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:
    graph = channels.graph
    config = copy.deepcopy(graph.config)
    changed = {path for (path, _), units in channels.config_sizes.items() if not kept[units].all()}
    for (path, key), units in channels.config_sizes.items():
        if path in changed:
            for location in graph.locations[path]:
                _set(entry(config, location)["config"], key, _count(kept, units))
    for (path, number, key), units in channels.argument_sizes.items():
        if not kept[units].all():
            for location in graph.locations[path]:
                for keywords in _keywords(entry(config, location)["inbound_nodes"][number]):
                    _set(keywords, key, _count(kept, units))
    return config


def _forget_initial_values(config: Any) -> None:
    """Constant initial values of a given shape no longer fit; what a variable starts as is overwritten anyway."""
    if isinstance(config, dict):
        for key, value in config.items():
            if (
                key.endswith("_initializer")
                and isinstance(value, dict)
                and value.get("class_name") == "Constant"
            ):
                if not isinstance(value["config"].get("value"), int | float):
                    config[key] = {**value, "class_name": "Zeros", "config": {}}
            else:
                _forget_initial_values(value)
    elif isinstance(config, list):
        for value in config:
            _forget_initial_values(value)


def _count(kept: np.ndarray[Any, np.dtype[np.bool_]], units: Ids) -> int:
    return int(np.count_nonzero(kept[units]))


def _set(config: Any, key: tuple[Any, ...], value: int) -> None:
    *path, last = key
    inner = entry(config, path)
    if not isinstance(inner, list | dict):  # a tuple may be replaced by a list, as JSON does
        inner = list(inner)
        entry(config, path[:-1])[path[-1]] = inner
    inner[last] = value


def _keywords(node: Any) -> Iterator[dict[str, Any]]:
    """The keyword dictionaries in one entry of ``inbound_nodes``; each tensor of the first argument has one."""
    if isinstance(node, list | tuple):
        if len(node) == 4 and isinstance(node[0], str) and isinstance(node[3], dict):
            yield node[3]
        else:
            for inner in node:
                yield from _keywords(inner)
    elif isinstance(node, dict):
        for inner in node.values():
            yield from _keywords(inner)
