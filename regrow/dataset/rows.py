"""The examples of a split as one array, whose shards stay on disk until needed."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Rows:
    """Memory-mapped shards laid end to end; ``rows[5]``, ``rows[10:20]`` and ``rows[indices]`` read what they name.

    ``shape``, ``dtype`` and ``nbytes`` are those of the whole; ``numpy.asarray`` reads all of it.
    """

    def __init__(self, parts: Sequence[Array]) -> None:
        self.parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    @property
    def shape(self) -> tuple[int, ...]:
        """Examples, then the shape of one."""
        return (int(self._ends[-1]), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type as it is on disk."""
        return self.parts[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all examples."""
        return sum(part.nbytes for part in self.parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        for part in self.parts:
            yield from part

    def __getitem__(self, index: Any) -> Array:
        if isinstance(index, slice):
            return self._take(np.arange(len(self))[index])
        chosen = np.asarray(index)
        if chosen.dtype == np.bool_:
            chosen = np.flatnonzero(chosen)
        rows = self._take(np.atleast_1d(chosen))
        return rows if chosen.ndim else np.asarray(rows[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if len(self.parts) == 1:
            return np.array(self.parts[0], dtype) if copy else np.asarray(self.parts[0], dtype)
        return np.concatenate(self.parts, dtype=dtype, casting="unsafe")

    def _take(self, wanted: Array) -> Array:
        """Rows in the order asked for, read in the order of the file."""
        size = len(self)
        if len(wanted) and not (-size <= wanted.min() and wanted.max() < size):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {size}")
        wanted = np.where(wanted < 0, wanted + size, wanted)
        found = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for end, part in zip(self._ends, self.parts, strict=True):
            start = end - len(part)
            (mine,) = np.nonzero((wanted >= start) & (wanted < end))
            mine = mine[np.argsort(wanted[mine], kind="stable")]
            found[mine] = part[wanted[mine] - start]
        return found
