"""Who reads whom in one functional config of Keras.

In ``inbound_nodes`` a tensor is named by its layer, the number of the layer's call and the number of that call's
output.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Node = tuple[str, int]
Tensor = tuple[str, int, int]


class Wiring:
    """Who reads whom in one functional config."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.entries: dict[str, Mapping[str, Any]] = {layer["name"]: layer for layer in config["layers"]}
        self.order = list(self.entries)
        self.inputs: dict[Node, list[Tensor]] = {}
        for name, layer in self.entries.items():
            first = first_call(layer)
            self.inputs[name, first] = []
            for number, node in enumerate(layer["inbound_nodes"], first):
                self.inputs[name, number] = list(self.tensors(node))
        self.outputs = list(self.tensors(config["output_layers"]))

    def tensors(self, structure: Any) -> Iterator[Tensor]:
        """The tensors named anywhere in ``structure``."""
        if self.is_tensor(structure):
            yield (structure[0], structure[1], structure[2])
            structure = structure[3] if len(structure) == 4 else {}
        if isinstance(structure, Mapping):
            structure = list(structure.values())
        if isinstance(structure, list | tuple):
            for inner in structure:
                yield from self.tensors(inner)

    def is_tensor(self, structure: Any) -> bool:
        """Whether ``structure`` is ``[layer, call, output]``, perhaps with the call's keywords behind."""
        return (
            isinstance(structure, list | tuple)
            and len(structure) in (3, 4)
            and isinstance(structure[0], str)
            and structure[0] in self.entries
            and all(isinstance(number, int) for number in structure[1:3])
        )

    def read(self, tensor: Tensor, cuts: set[tuple[Node, int]]) -> Tensor:
        """What is read in place of ``tensor``: of a cut addition that has one side left, that side."""
        while True:
            node = tensor[:2]
            left = self.left(node, cuts)
            if len(left) == len(self.inputs[node]) or len(left) > 1:
                return tensor
            if not left:
                raise ValueError(f"nothing would be left of the addition '{node[0]}'")
            tensor = left[0]

    def left(self, node: Node, cuts: set[tuple[Node, int]]) -> list[Tensor]:
        """The tensors that ``node`` still reads."""
        return [tensor for side, tensor in enumerate(self.inputs[node]) if (node, side) not in cuts]

    def readers(self, node: Node) -> set[Node]:
        """The calls that depend on ``node``."""
        found: set[Node] = set()
        pending = [node]
        while pending:
            last = pending.pop()
            new = {
                reader for reader, tensors in self.inputs.items() if last in {item[:2] for item in tensors}
            }
            pending += new - found
            found |= new
        return found

    def living(self, cuts: set[tuple[Node, int]]) -> set[Node]:
        """The calls on which the model's outputs depend."""
        seen: set[Node] = set()
        pending = [self.read(tensor, cuts) for tensor in self.outputs]
        while pending:
            node = pending.pop()[:2]
            if node not in seen:
                seen.add(node)
                pending += [self.read(tensor, cuts) for tensor in self.left(node, cuts)]
        return seen


def first_call(layer: Mapping[str, Any]) -> int:
    """The number of a layer's first call; a model that begins with an input layer has been called by itself before."""
    inner = layer["config"].get("layers")
    return 1 if inner and inner[0]["class_name"] == "InputLayer" else 0


def rewritten(wired: Wiring, structure: Any, renamed: Callable[[Tensor], Tensor]) -> Any:
    """``structure`` with each tensor in it exchanged; they are visited in the order of `Wiring.tensors`."""
    if wired.is_tensor(structure):
        tensor = renamed((structure[0], structure[1], structure[2]))
        return [*tensor, *(rewritten(wired, inner, renamed) for inner in structure[3:])]
    if isinstance(structure, Mapping):
        return {key: rewritten(wired, value, renamed) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(rewritten(wired, inner, renamed) for inner in structure)
    return structure
