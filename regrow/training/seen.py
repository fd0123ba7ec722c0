"""Which examples a model was trained on, by content, to detect held-out examples that it has already seen.

A split that `prepare` draws follows each example's content, so that examples hardly change sides when data are added;
but few do, and a source may move some itself. A model that goes on from an earlier one's weights has then learned
what it is measured on. It is counted and said.
"""

from pathlib import Path
from typing import Any

import numpy as np

from regrow.dataset.directory import Dataset

FILE = "seen.npy"
BYTES = 8
HELD_OUT = ("validation", "test")


def digests(dataset: Dataset, split: str) -> Any:
    """The examples of ``split`` by content: sorted, unique ``uint64`` of a BLAKE2b over the values."""
    import hashlib

    features = dataset.features(split)
    found = bytearray()
    for row in features:
        found += hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=BYTES).digest()
    return np.unique(np.frombuffer(bytes(found), "<u8"))


def count_seen(dataset: Dataset, seen: Any) -> dict[str, dict[str, int]]:
    """How many different examples of each split that is held out are among ``seen``."""
    counts = {}
    for split in HELD_OUT:
        own = digests(dataset, split)
        counts[split] = {"examples": len(own), "seen": int(np.isin(own, seen, assume_unique=True).sum())}
    return counts


def write_seen(directory: Path, dataset: Dataset, *, before: Any = None) -> None:
    """Write what a model has seen that was trained on ``dataset``, and ``before`` that on the examples ``before``."""
    own = digests(dataset, "train")
    np.save(directory / FILE, own if before is None else np.union1d(own, before))


def read_seen(file: Path) -> Any:
    """The digests in ``file``, as `write_seen` wrote them."""
    return np.load(file, allow_pickle=False)
