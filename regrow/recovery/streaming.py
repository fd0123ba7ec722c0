"""Run a model from one of its tensors to the next, over many examples, in bounded memory."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.graph.computing import PASSING, by_path, filled
from regrow.graph.view import Call, View
from regrow.progress import emit
from regrow.storage.scratch import scratch_beside, signs_of_life, sweep

Array = np.ndarray[Any, np.dtype[Any]]
# Of what is free where files are kept, the share of one stream; there are two, and others write there, too.
SHARE_OF_DISK = 0.25
MAPS = "feature_maps"


@contextlib.contextmanager
def folder_for_maps(scratch: Path | None) -> Iterator[Path | None]:
    """A directory in ``scratch`` for this process alone, gone after the block; what killed ones left goes before."""
    if scratch is None:
        yield None
        return
    sweep(scratch, name=MAPS)
    folder = scratch_beside(scratch / MAPS)
    folder.mkdir(parents=True)
    try:
        with signs_of_life(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Stream:
    """The tensors ``targets`` of ``model`` for ``features``, one target after the other, batch by batch.

    Between two targets what later ones need is kept, in memory if it fits into ``memory`` bytes, else in files; where
    there is no place for files, the next target is computed from the last place that was kept, at worst the features.
    Layers may change behind a target: what is computed later takes them as they are.

    Args:
        model: with one input; batch normalisation and dropout in inference mode, unless layers say otherwise.
        view: the model's.
        targets: the tensor numbers of each; computed no earlier than the layers that changed before it need.
        features: ``(examples, …)``, as the model takes them.
        batch_size: examples at a time.
        memory: bytes that may be kept in memory.
        folder: where files may be kept, up to a quarter of the free disk space; None for nowhere.
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
        folder: Path | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self._layers = by_path(model)
        self._plans = _plans(view, targets)
        self._targets = targets
        self._input = view.inputs[0]
        self._features, self._size, self._memory = features, batch_size, memory
        self._base = -1
        self._kept = _Batches(None)
        self._folder = folder
        self._on_batch = on_batch

    def batches(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The tensors of target ``number`` (counted from 0, ascending from call to call) for each batch of examples."""
        calls = [call for plan in self._plans[self._base + 1 : number + 1] for call in plan]
        later = {n for plan in self._plans[number + 1 :] for call in plan for n in call.inputs}
        later |= {n for target in self._targets[number + 1 :] for n in target}
        kept: _Batches | None = None
        starts = range(0, len(self._features), self._size)
        for place, start in enumerate(starts):
            if self._on_batch is not None:
                self._on_batch(place)
            values = self._before(place, start)
            self._run(calls, values, {*later, *self._targets[number]})
            yield tuple(values[n] for n in self._targets[number])
            alive = {n: np.asarray(values[n]) for n in later if n in values and n != self._input}
            if place == 0:
                needed = sum(array.nbytes for array in alive.values()) / len(values[self._targets[number][0]])
                kept = self._room(number, needed * len(self._features))
            if kept is not None:
                kept = kept.added(alive)
        if kept is not None:
            self._kept.remove()
            self._kept, self._base = kept, number

    def _room(self, number: int, needed: float) -> "_Batches | None":
        """Where so many bytes can be kept, if anywhere."""
        if needed <= self._memory:
            return _Batches(None)
        if self._folder is None:
            return None
        self._folder.mkdir(parents=True, exist_ok=True)
        held = self._kept.bytes_in_files  # until the new ones are whole
        left = shutil.disk_usage(self._folder).free + held
        return _Batches(self._folder / str(number)) if needed + held <= SHARE_OF_DISK * left else None

    def _before(self, place: int, start: int) -> dict[int, Any]:
        values: dict[int, Any] = self._kept[place] if self._kept else {}
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


class _Batches:
    """Tensors of one batch after the other, by number; in memory, or in files in the directory ``folder``."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: list[dict[int, Any]] = []
        self.bytes_in_files = 0

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, place: int) -> dict[int, Any]:
        if self._folder is None:
            return dict(self._held[place])
        return {
            number: np.frombuffer(file.read_bytes(), np.uint8).view(kind).reshape(shape)
            for number, (file, kind, shape) in self._held[place].items()
        }

    def added(self, tensors: dict[int, Array]) -> "_Batches | None":
        """This with another batch; None, and nothing is kept, where the disk has no room."""
        if self._folder is None:
            self._held.append(tensors)
            return self
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            files = {number: self._saved(number, array) for number, array in tensors.items()}
        except OSError as error:
            self.remove()
            emit(
                "notice",
                message=(
                    f"feature maps are not stored but recomputed, which takes longer: {self._folder}: "
                    f"{error.strerror or error}"
                ),
            )
            return None
        self._held.append(files)
        return self

    def _saved(self, number: int, array: Array) -> tuple[Path, Any, tuple[int, ...]]:
        """File, type and shape. NumPy's own format knows no bfloat16, and its end may fail to be written in silence."""
        file = Path(f"{self._folder}/{len(self)}-{number}")
        self.bytes_in_files += file.write_bytes(array.tobytes())
        return file, array.dtype, array.shape

    def remove(self) -> None:
        """Forget all."""
        self._held.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


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
