"""Residual blocks: branches into an addition that can go as a whole, and a graph without them.

All is done on Keras' own config; dropping a branch means that the addition's consumers read the other side.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from regrow.graph.graph import Graph, Location, entry
from regrow.graph.removal import Surgery
from regrow.graph.wiring import Node, Tensor, Wiring, first_call, rewritten

ADDITIONS = frozenset({"__operators__.add", "math.add"})


@dataclass(frozen=True, kw_only=True)
class Block:
    """One side of an addition, with the layers that serve nothing else.

    ``name`` is the addition's path with the number of the side, ``layers`` are the paths of the layers that go with
    it, in the model's order. ``location`` is that of the model's config in the graph's, ``sides`` how many the
    addition has.
    """

    name: str
    layers: tuple[str, ...]
    location: Location
    addition: Node
    side: int
    sides: int


def residual_blocks(graph: Graph) -> tuple[Block, ...]:
    """All blocks of ``graph`` that can be dropped, each alone, in the model's order.

    A side can go when another side has the sum's shape, when layers with weights go with it, when some are left behind
    the addition, and when no model input hangs on it alone. Where several sides could go it is the one with most
    layers: a projection is the shortcut, not the block.
    """
    found: list[Block] = []
    for prefix, location in _models(graph.config, "", ()):
        config = entry(graph.config, location)
        wired = Wiring(config)
        for layer in config["layers"]:
            if not _is_addition(layer):
                continue
            for number in range(len(layer["inbound_nodes"])):
                if not _weights_behind(graph, location, (layer["name"], number)):
                    continue  # it would take the output layer along
                sides = list(_sides(graph, wired, prefix, location, (layer["name"], number)))
                longest = max((len(block.layers) for block in sides), default=0)
                found += [block for block in sides if len(block.layers) == longest]
    return tuple(found)


def without_blocks(graph: Graph, blocks: Iterable[Block]) -> tuple[Graph, Surgery]:
    """The graph without ``blocks``, and what that did to its arrays: those of dropped layers keep no index.

    Raises:
        ValueError: nothing would be left of an addition.
    """
    config = copy.deepcopy(graph.config)
    cuts: dict[Location, set[tuple[Node, int]]] = {}
    for block in blocks:
        cuts.setdefault(block.location, set()).add((block.addition, block.side))
    # Inner models first: dropping layers of an outer one moves what lies behind them.
    for location in sorted(cuts, key=len, reverse=True):
        _cut(entry(config, location), cuts[location])
    left = replace(graph, config=config)
    gone = frozenset(graph.locations) - frozenset(left.locations)
    arrays = {name: array for name, array in graph.arrays.items() if gone.isdisjoint(_parents(name))}
    surgery = {
        name: {0: np.zeros(0, np.int64)}
        for name, array in graph.arrays.items()
        if name not in arrays and array.ndim
    }
    return replace(left, arrays=arrays), Surgery(kept=surgery)


def _parents(array: str) -> list[str]:
    parts = array.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _weights_behind(graph: Graph, location: Location, node: Node) -> bool:
    """Whether a layer with weights reads, directly or not, what ``node`` of the model at ``location`` gives."""
    config = entry(graph.config, location)
    if "input_layers" in config:
        names = {name for name, _ in Wiring(config).readers(node)}
    else:
        order = [layer["config"]["name"] for layer in config["layers"]]
        names = set(order[order.index(node[0]) + 1 :])
    path = _path(graph.config, location)
    if any(array.startswith(f"{path}{name}/") for name in names for array in graph.arrays):
        return True
    if not location:
        return False
    layer = entry(graph.config, location[:-1])
    calls = range(len(layer.get("inbound_nodes", [0])))
    first = first_call(layer)
    return any(
        _weights_behind(graph, location[:-3], (layer["config"]["name"], first + number)) for number in calls
    )


def _path(config: Mapping[str, Any], location: Location) -> str:
    """The path of the model at ``location``, with a slash behind; empty for the outermost."""
    places = [location[:end] for end in range(3, len(location) + 1, 3)]
    return "".join(f"{entry(config, place)['name']}/" for place in places)


def _models(config: Mapping[str, Any], prefix: str, location: Location) -> Iterator[tuple[str, Location]]:
    """Path and location of each functional config in ``config``."""
    if "input_layers" in config:
        yield prefix, location
    for index, layer in enumerate(config["layers"]):
        if "layers" in layer["config"]:
            name = layer["config"]["name"]
            yield from _models(layer["config"], f"{prefix}{name}/", (*location, "layers", index, "config"))


def _is_addition(layer: Mapping[str, Any]) -> bool:
    return layer["class_name"] == "Add" or layer["config"].get("function") in ADDITIONS


def _sides(graph: Graph, wired: Wiring, prefix: str, location: Location, addition: Node) -> Iterator[Block]:
    path = f"{prefix}{addition[0]}"
    calls = [call for call in graph.view.calls if (call.layer, call.number) == (path, addition[1])]
    shapes = graph.view.shapes
    tensors = wired.inputs[addition]
    if len(tensors) < 2 or any(len(call.inputs) != len(tensors) for call in calls) or not calls:
        return
    for side in range(len(tensors)):
        others = [other for other in range(len(tensors)) if other != side]
        if not all(
            any(shapes[call.inputs[other]] == shapes[call.outputs[0]] for other in others) for call in calls
        ):
            continue
        left = {name for name, _ in wired.living({(addition, side)})}
        before = {name for name, _ in wired.living(set())}
        names = [name for name in wired.order if name in before - left and name != addition[0]]
        if any(wired.entries[name]["class_name"] == "InputLayer" for name in names):
            continue
        layers = [leaf for name in names for leaf in _leaves(wired.entries[name], prefix)]
        if any(array.startswith(f"{layer}/") for layer in layers for array in graph.arrays):
            number = f"[{side}]" if addition[1] == 0 else f"[{addition[1]}, {side}]"
            yield Block(
                name=f"{path}{number}",
                layers=tuple(layers),
                location=location,
                addition=addition,
                side=side,
                sides=len(tensors),
            )


def _leaves(layer: Mapping[str, Any], prefix: str) -> list[str]:
    path = f"{prefix}{layer['config']['name']}"
    if "layers" not in layer["config"]:
        return [path]
    return [leaf for inner in layer["config"]["layers"] for leaf in _leaves(inner, f"{path}/")]


def _cut(config: dict[str, Any], cuts: set[tuple[Node, int]]) -> None:
    """Rewrite ``config`` in place; a cut at an addition that an outer cut has removed does nothing."""
    wired = Wiring(config)
    living = wired.living(cuts)
    # Inputs of the model stay, whether read or not, so that its signature does.
    living |= {node for node in wired.inputs if wired.entries[node[0]]["class_name"] == "InputLayer"}
    numbers: dict[Node, int] = {}
    for name in wired.order:
        calls = sorted(number for layer, number in living if layer == name)
        first = first_call(wired.entries[name])
        numbers.update({(name, number): place for place, number in enumerate(calls, first)})

    def renamed(tensor: Tensor) -> Tensor:
        layer, number, output = wired.read(tensor, cuts)
        return layer, numbers[layer, number], output

    kept = []
    for layer in config["layers"]:
        name, nodes, first = layer["name"], layer["inbound_nodes"], first_call(layer)
        if not any(node[0] == name for node in living):
            continue
        layer["inbound_nodes"] = [
            rewritten(wired, _without_sides(node, (name, number), cuts), renamed)
            for number, node in enumerate(nodes, first)
            if (name, number) in living
        ]
        kept.append(layer)
    config["layers"] = kept
    config["output_layers"] = rewritten(wired, config["output_layers"], renamed)


def _without_sides(node: Any, name: Node, cuts: set[tuple[Node, int]]) -> Any:
    """An addition's entry without the sides that are cut; only `Add`, with a list of tensors, has more than two."""
    sides = {side for addition, side in cuts if addition == name}
    return [tensor for side, tensor in enumerate(node) if side not in sides] if sides else node
