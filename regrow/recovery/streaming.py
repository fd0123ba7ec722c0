"""A model run from one of its tensors to the next, over many examples, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from regrow.graph.computing import PASSING, by_path, filled
from regrow.graph.view import Call, View

Array = np.ndarray[Any, np.dtype[Any]]


class Stream:
    """The tensors ``targets`` of ``model`` for ``features``, one target after the other, batch by batch.

    Between two targets what later ones need is kept, if it fits into ``memory`` bytes; else the next target is
    computed from the last place that was kept, at worst the features. Layers may change behind a target: what
    is computed later takes them as they are.

    Args:
        model: with one input; batch normalisation and dropout in inference mode, unless layers say otherwise.
        view: the model's.
        targets: the tensor numbers of each; computed no earlier than the layers that changed before it need.
        features: ``(examples, …)``, as the model takes them.
        batch_size: examples at a time.
        memory: bytes that may be kept.
    """

    def __init__(
        self,
        model: Any,
        view: View,
        targets: Sequence[Sequence[int]],
        features: Array,
        *,
        batch_size: int,
        memory: float,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self._layers = by_path(model)
        self._plans = _plans(view, targets)
        self._targets = targets
        self._input = view.inputs[0]
        self._features, self._size, self._memory = features, batch_size, memory
        self._base = -1
        self._kept: list[dict[int, Array]] = []
        self._on_batch = on_batch

    def batches(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The tensors of target ``number`` (counted from 0, ascending from call to call) for each batch of examples."""
        calls = [call for plan in self._plans[self._base + 1 : number + 1] for call in plan]
        later = {n for plan in self._plans[number + 1 :] for call in plan for n in call.inputs}
        later |= {n for target in self._targets[number + 1 :] for n in target}
        kept: list[dict[int, Array]] | None = []
        starts = range(0, len(self._features), self._size)
        for place, start in enumerate(starts):
            if self._on_batch is not None:
                self._on_batch(place)
            values = self._before(place, start)
            self._run(calls, values, {*later, *self._targets[number]})
            yield tuple(values[n] for n in self._targets[number])
            if kept is not None:
                alive = {n: np.asarray(values[n]) for n in later if n in values and n != self._input}
                needed = sum(array.nbytes for array in alive.values()) / len(values[self._targets[number][0]])
                if place == 0 and needed * len(self._features) > self._memory:
                    kept = None
                else:
                    kept.append(alive)
        if kept is not None:
            self._kept, self._base = kept, number

    def _before(self, place: int, start: int) -> dict[int, Any]:
        values: dict[int, Any] = dict(self._kept[place]) if self._kept else {}
        values[self._input] = np.asarray(self._features[start : start + self._size], np.float32)
        return values

    def _run(self, calls: Sequence[Call], values: dict[int, Any], wanted: set[int]) -> None:
        last = {number: place for place, call in enumerate(calls) for number in call.inputs}
        for place, call in enumerate(calls):
            passed = PASSING.get(call.class_name)
            given = passed(call, values) if passed else self._called(call, values)
            values.update(zip(call.outputs, given, strict=True))
            for number in call.inputs:
                if last[number] == place and number not in wanted:
                    values.pop(number, None)

    def _called(self, call: Call, values: dict[int, Any]) -> list[Any]:
        import tensorflow as tf

        arguments, keywords = filled(call.arguments, values), filled(call.keywords, values)
        return list(tf.nest.flatten(self._layers[call.layer](*arguments, **keywords)))


def _plans(view: View, targets: Sequence[Sequence[int]]) -> list[list[Call]]:
    """For each target the calls that it needs and none before it did, in order."""
    maker = {number: place for place, call in enumerate(view.calls) for number in call.outputs}
    done: set[int] = set()
    plans = []
    for target in targets:
        needed: set[int] = set()
        waiting = [maker[number] for number in target if number in maker]
        while waiting:
            place = waiting.pop()
            if place not in done and place not in needed:
                needed.add(place)
                waiting += [maker[number] for number in view.calls[place].inputs if number in maker]
        done |= needed
        plans.append([view.calls[place] for place in sorted(needed)])
    return plans
