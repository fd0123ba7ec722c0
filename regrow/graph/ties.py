"""Union-find over many integers at once."""

from typing import Any

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int64]]


def classes(size: int, left: Ids, right: Ids) -> Ids:
    """The smallest member of the class of each of ``0 … size − 1``, where ``left[i]`` is tied to ``right[i]``.

    Labels fall to the smaller end of each tie, then to their label's label, until nothing changes; the number
    of passes grows with the logarithm of the longest chain of ties.
    """
    label = np.arange(size, dtype=np.int64)
    while left.size:
        low = np.minimum(label[left], label[right])
        np.minimum.at(label, label[left], low)
        np.minimum.at(label, label[right], low)
        label = label[label]
        open_ties = label[left] != label[right]
        left, right = left[open_ties], right[open_ties]
    while not np.array_equal(label, label[label]):
        label = label[label]
    return label
