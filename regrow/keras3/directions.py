"""Bidirectional layers that Keras 3 has no one layer for: it takes the width of both directions from the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regrow.keras3.building import Converted, build


@dataclass
class Directions:
    """Two recurrent layers of Keras 3 and how they are joined, under the names that `Bidirectional` gives its own."""

    forward_layer: Any
    backward_layer: Any
    joined: Any

    def __call__(self, x: Any, initial_state: Sequence[Any] = (), **kwargs: Any) -> Any:
        """What `Bidirectional` answers: both in the order of steps, joined if they are, and then the states."""
        count = len(initial_state) // 2
        halves = (initial_state[:count], initial_state[count:])
        found = []
        for layer, states in zip((self.forward_layer, self.backward_layer), halves, strict=True):
            given = {**kwargs, "initial_state": list(states)} if states else kwargs
            made = layer(x, **given)
            found.append(list(made) if isinstance(made, list | tuple) else [made])
        (ahead, *first), (back, *last) = found
        if self.forward_layer.return_sequences:
            back = back[:, ::-1]
        answers = [ahead, back] if self.joined is None else [self.joined([ahead, back])]
        answers += [*first, *last]
        return answers if len(answers) > 1 else answers[0]


class _Apart(Converted):
    """What a `Bidirectional` became, as a part of a model; a Sequential model cannot hold it."""

    @property
    def chained(self) -> bool:
        return False


def uneven(layer: Any) -> bool:
    """Whether the directions of the `tf_keras` ``layer`` are of different width, as they are after pruning."""
    return bool(_width(layer.forward_layer) != _width(layer.backward_layer))


def _width(layer: Any) -> Any:
    cell = layer.cell
    return cell.filters if hasattr(cell, "filters") else cell.output_size


def two_directions(layer: Any, *, where: str) -> Converted:
    """The `tf_keras` ``Bidirectional`` as two layers of Keras 3 and, where their answers are joined, a third.

    Raises:
        RegrowError: a layer in it has no counterpart.
    """
    import keras

    # Both masks are one: what is lost where the steps are turned round is on the other side.
    ahead, back = (
        build(
            keras,
            type(inner).__name__,
            {**inner.get_config(), "name": f"{layer.name}_{inner.name}"},
            source="tf_keras",
            where=where,
        ).layer
        for inner in (layer.forward_layer, layer.backward_layer)
    )
    joined = keras.layers.Concatenate(name=layer.name) if layer.merge_mode else None
    return _Apart(Directions(ahead, back, joined))
