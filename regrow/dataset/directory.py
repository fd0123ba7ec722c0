"""The dataset directory: ``dataset.json``, shards as ``.npy``, ``examples.parquet``. No TensorFlow here."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from regrow.dataset.info import SPLITS, DatasetInfo, Examples, Feature, Normalisation, Shard, Target
from regrow.dataset.rows import Array, Rows
from regrow.errors import RegrowError
from regrow.provenance.digest import file_digest
from regrow.storage.artifacts import read_json, write_json
from regrow.storage.regular_files import irregular
from regrow.tasks import Task, get_task

FILE_NAME = "dataset.json"
SHARD_BYTES = 2**32
BLOCK_BYTES = 2**24


@dataclass(frozen=True)
class Dataset:
    """An opened dataset; arrays are memory-mapped."""

    path: Path
    info: DatasetInfo

    @property
    def task(self) -> str:
        """The task's name, such as ``image_classification``."""
        return self.info.task

    @property
    def feature(self) -> str:
        """The name of the input array."""
        return get_task(self.task).feature

    @property
    def target(self) -> str:
        """The name of the target array."""
        return get_task(self.task).target

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label."""
        return self.info.targets[self.target].classes

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.info.features[self.feature].shape

    @property
    def value_range(self) -> tuple[float, float]:
        """Smallest and largest value that a feature can take."""
        return self.info.features[self.feature].range

    @property
    def normalisation(self) -> Normalisation:
        """What a model's first layer applies to raw features."""
        return self.info.normalisation

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ``dataset.json``, which holds the digest of every shard."""
        return file_digest(self.path / FILE_NAME)

    def size(self, split: str) -> int:
        """Number of examples in ``split``."""
        return self.info.examples[split].total

    def features(self, split: str) -> Rows:
        """Raw features of ``split``, ``(examples, *feature_shape)``; read from disk where they are asked for."""
        parts = self._shards(split, self.feature)
        if parts[0].shape[1:] != self.feature_shape:
            raise RegrowError(
                f"{self.path}: {split}: features have shape {parts[0].shape[1:]}, but {FILE_NAME} says"
                f" {self.feature_shape}"
            )
        return Rows(parts)

    @property
    def further_targets(self) -> dict[str, Target]:
        """Auxiliary labels by name, which are not what the model predicts."""
        return {name: target for name, target in self.info.targets.items() if name != self.target}

    def labels(self, split: str, target: str | None = None) -> Array:
        """Integer labels of ``split``, int32, ``(examples,)``; of a further ``target`` −1 where there is none."""
        return np.concatenate(self._shards(split, target or self.target))

    def calibration(self, n: int, seed: int = 0) -> Array:
        """``n`` unaugmented training examples (all if there are fewer), drawn without replacement, in file order."""
        return np.asarray(self.features("train")[self._drawn(n, seed)])

    def labelled_calibration(self, n: int, seed: int = 0) -> tuple[Array, Array]:
        """The examples of `calibration` and their labels."""
        return self.calibration(n, seed), np.asarray(self.labels("train")[self._drawn(n, seed)])

    def _drawn(self, n: int, seed: int) -> Array:
        total = self.size("train")
        return np.sort(np.random.default_rng(seed).permutation(total)[: min(n, total)])

    def _shards(self, split: str, name: str) -> list[Array]:
        if split not in self.info.shards:
            raise RegrowError(f"{self.path}: has no split '{split}'; it has {', '.join(self.info.shards)}")
        return [self._shard(shard) for shard in self.info.shards[split][name]]

    def _shard(self, shard: Shard) -> Array:
        path = self.path / shard.file
        fault = irregular(path)  # np.load would wait for a pipe
        if fault:
            raise RegrowError(f"{path}: cannot be read as a NumPy array ({fault})")
        try:
            array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise RegrowError(f"{path}: cannot be read as a NumPy array ({error})") from None
        if len(array) != shard.rows:
            raise RegrowError(f"{path}: has {len(array)} rows, but {FILE_NAME} says {shard.rows}")
        return array


def open_dataset(path: Path) -> Dataset:
    """Open the dataset directory ``path``.

    Raises:
        RegrowError: ``dataset.json`` is missing or is not what this version writes.
    """
    document = read_json(path / FILE_NAME)
    try:
        info = DatasetInfo.model_validate(document)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"])
        raise RegrowError(f"{path / FILE_NAME}: {field}: {fault['msg'].lower()}") from None
    _check_arrays(path / FILE_NAME, info)
    return Dataset(path, info)


def _check_arrays(file: Path, info: DatasetInfo) -> None:
    task = get_task(info.task)
    held: list[tuple[str, str, Collection[str]]] = [
        ("features", task.feature, info.features.keys()),
        ("targets", task.target, info.targets.keys()),
    ]
    for split, shards in info.shards.items():
        held += [(f"shards.{split}", name, shards.keys()) for name in (task.feature, *info.targets)]
    for field, wanted, names in held:
        if wanted not in names:
            raise RegrowError(f"{file}: {field}: lacks '{wanted}', which task '{info.task}' needs")


def write_dataset(
    directory: Path,
    *,
    task: str,
    splits: Mapping[str, tuple[Array, Array]],
    classes: Sequence[str],
    value_range: tuple[float, float],
    normalisation: Normalisation,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Dataset:
    """Write arrays that are in memory: ``splits`` gives features and labels by split name.

    ``names`` gives the examples' names by split, for ``examples.parquet``, which is not written without them.
    """
    for split, (features, labels) in splits.items():
        array = np.asanyarray(features)
        write_shards(
            directory / split,
            get_task(task),
            read=lambda start, stop, array=array: array[start:stop],  # type: ignore[misc]
            labels=np.asarray(labels, np.int32),
        )
    if names is not None:
        order = [name for name in SPLITS if name in splits]
        rows = [np.ascontiguousarray(row) for name in order for row in splits[name][0]]
        write_examples(
            directory / "examples.parquet",
            names=[name for split in order for name in names[split]],
            digests=[hashlib.sha256(row.data).hexdigest() for row in rows],
            labels=[classes[int(label)] for name in order for label in splits[name][1]],
            splits={name: len(splits[name][1]) for name in order},
        )
    return index_dataset(
        directory, task=task, classes=classes, value_range=value_range, normalisation=normalisation
    )


def write_shards(folder: Path, task: Task, *, read: Callable[[int, int], Array], labels: Array) -> None:
    """Write one split: shards of at most `SHARD_BYTES`, piece by piece, so that memory does not grow with it.

    Args:
        folder: the split's directory.
        task: gives the names of the arrays.
        read: the features of examples ``start`` to ``stop``.
        labels: int32, ``(examples,)``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    example = read(0, 1)
    per_shard, per_block = (max(1, limit // max(1, example.nbytes)) for limit in (SHARD_BYTES, BLOCK_BYTES))
    for shard, start in enumerate(range(0, len(labels), per_shard)):
        stop = min(start + per_shard, len(labels))
        write_array(folder / f"{task.target}-{shard:05d}.npy", [labels[start:stop]], rows=stop - start)
        blocks = (read(begin, min(begin + per_block, stop)) for begin in range(start, stop, per_block))
        write_array(folder / f"{task.feature}-{shard:05d}.npy", blocks, rows=stop - start)


def write_array(path: Path, blocks: Iterable[Array], *, rows: int) -> None:
    """Write ``blocks``, one below the other, ``rows`` in all, as the ``.npy`` file ``path``.

    `numpy.save` does not say why a disk refuses, and a full disk kills the process that writes to a memory map.
    """
    with path.open("wb") as file:
        for number, block in enumerate(blocks):
            if number == 0:
                header = {
                    "descr": np.lib.format.dtype_to_descr(block.dtype),
                    "fortran_order": False,
                    "shape": (rows, *block.shape[1:]),
                }
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(block).tobytes())


def write_examples(
    path: Path,
    *,
    names: Sequence[str],
    digests: Sequence[str],
    labels: Sequence[str],
    splits: Mapping[str, int],
    further: Mapping[str, Sequence[str | None]] | None = None,
) -> None:
    """Write ``examples.parquet``: one row per example, split after split in the order of the shards.

    Columns: ``name`` in the source, ``sha256`` of its bytes there, ``label``, ``split``, ``row`` in the split, and
    ``label_NAME`` for each further target.
    """
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(
        {
            "name": list(names),
            "sha256": list(digests),
            "label": list(labels),
            "split": [split for split, count in splits.items() for _ in range(count)],
            "row": pyarrow.array([row for count in splits.values() for row in range(count)], pyarrow.int64()),
            **{
                f"label_{name}": pyarrow.array(known, pyarrow.string())
                for name, known in (further or {}).items()
            },
        }
    )
    pyarrow.parquet.write_table(table, path, compression="zstd")


def index_dataset(
    directory: Path,
    *,
    task: str,
    classes: Sequence[str],
    value_range: tuple[float, float],
    normalisation: Normalisation,
    further: Mapping[str, Sequence[str]] | None = None,
) -> Dataset:
    """Write ``dataset.json`` over the shards that lie in ``directory`` and open the dataset.

    ``further`` gives the classes of further targets by name.
    """
    kind = get_task(task)
    shards: dict[str, dict[str, tuple[Shard, ...]]] = {}
    examples: dict[str, Examples] = {}
    for split in (name for name in SPLITS if (directory / name).is_dir()):
        held = (kind.feature, kind.target, *(further or {}))
        shards[split] = {name: _shards(directory, split, name) for name in held}
        labels = np.concatenate([np.load(directory / shard.file) for shard in shards[split][kind.target]])
        counts = np.bincount(labels, minlength=len(classes))
        examples[split] = Examples(
            total=len(labels),
            per_class={name: int(count) for name, count in zip(classes, counts, strict=True)},
        )
    first = np.load(directory / shards["train"][kind.feature][0].file, mmap_mode="r")
    info = DatasetInfo(
        task=task,
        features={
            kind.feature: Feature(dtype=str(first.dtype), shape=tuple(first.shape[1:]), range=value_range)
        },
        targets={
            name: Target(classes=tuple(names))
            for name, names in {kind.target: classes, **(further or {})}.items()
        },
        normalisation=normalisation,
        examples=examples,
        shards=shards,
    )
    write_json(directory / FILE_NAME, info.model_dump(mode="json"))
    return open_dataset(directory)


def _shards(directory: Path, split: str, name: str) -> tuple[Shard, ...]:
    files = sorted((directory / split).glob(f"{name}-{'[0-9]' * 5}.npy"))
    return tuple(
        Shard(
            file=path.relative_to(directory).as_posix(),
            rows=int(np.load(path, mmap_mode="r").shape[0]),
            sha256=file_digest(path),
        )
        for path in files
    )
