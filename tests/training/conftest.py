from pathlib import Path

import numpy as np
import pytest

from regrow.dataset.directory import Dataset, write_dataset
from regrow.dataset.info import Normalisation


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = found.images[order, :, :, None].astype(np.uint8)
    labels = found.target[order].astype(np.int32)
    path: Path = tmp_path_factory.mktemp("digits")
    parts = {"train": slice(0, 1200), "validation": slice(1200, 1500), "test": slice(1500, None)}
    return write_dataset(
        path,
        task="image_classification",
        splits={name: (images[part], labels[part]) for name, part in parts.items()},
        classes=[str(digit) for digit in range(10)],
        value_range=(0, 16),
        normalisation=Normalisation(scale=(1 / 16,), offset=(0.0,)),
    )
