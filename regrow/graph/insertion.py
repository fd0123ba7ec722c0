"""A graph with further layers in it."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from regrow.graph.graph import Graph, Location, entry
from regrow.graph.view import Call
from regrow.graph.wiring import Node, Wiring, first_call, rewritten


@dataclass(frozen=True, kw_only=True)
class Insertion:
    """A layer without weights between ``reader``, a call in the model at ``location``, and its input ``side``.

    ``layer`` is an entry of Keras' config without name and inbound nodes: ``module``, ``class_name``, ``config``.
    ``name`` is what the layer is called, with a number behind where that name is taken.
    """

    name: str
    layer: Mapping[str, Any]
    location: Location
    reader: Node
    side: int = 0


def with_layers(graph: Graph, insertions: Iterable[Insertion]) -> Graph:
    """``graph`` with layers inserted; paths and arrays of those that it has stay."""
    config = copy.deepcopy(graph.config)
    for insertion in insertions:
        inner = entry(config, insertion.location)
        name = _free(insertion.name, {item["config"]["name"] for item in inner["layers"]})
        layer = copy.deepcopy(dict(insertion.layer))
        layer["config"]["name"] = name
        if "input_layers" in inner:
            _insert(inner, insertion, {**layer, "name": name, "registered_name": None})
        else:
            inner["layers"].insert(_position(inner, insertion.reader[0]), layer)
    return replace(graph, config=config)


def source(config: Mapping[str, Any], reader: Node, side: int) -> Mapping[str, Any]:
    """The entry of the layer that computes input ``side`` of ``reader`` in a functional config."""
    wired = Wiring(config)
    return wired.entries[wired.inputs[reader][side][0]]


def place(graph: Graph, call: Call) -> tuple[Location, Node]:
    """Where in the config ``call`` stands: the location of its model, and its node there."""
    layer = graph.locations[call.layer][0]
    return layer[:-2], (call.layer.rpartition("/")[2], call.number)


def _insert(config: dict[str, Any], insertion: Insertion, layer: dict[str, Any]) -> None:
    wired = Wiring(config)
    name, number = insertion.reader
    layer["inbound_nodes"] = [[[*wired.inputs[insertion.reader][insertion.side], {}]]]
    reader, visited = wired.entries[name], count()
    reader["inbound_nodes"][number - first_call(reader)] = rewritten(
        wired,
        reader["inbound_nodes"][number - first_call(reader)],
        lambda tensor: (layer["name"], 0, 0) if next(visited) == insertion.side else tensor,
    )
    config["layers"].insert(_position(config, name), layer)


def _position(config: Mapping[str, Any], name: str) -> int:
    return [item["config"]["name"] for item in config["layers"]].index(name)


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else next(f"{name}_{i}" for i in count(1) if f"{name}_{i}" not in taken)
