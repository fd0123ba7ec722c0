from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regrow.augmentation.contact_sheet import write_contact_sheet
from regrow.augmentation.operations import Flip, Mixup, Rotation
from regrow.augmentation.policy import Policy

pytestmark = pytest.mark.tensorflow
POLICY = Policy(mode="online", operations=(Flip(), Rotation(), Mixup()), value_range=(0, 16), classes=3)


def pictures(count: int, *shape: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(0).integers(0, 17, (count, *shape)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(8, 8, 1), (100, 50, 3), (6, 9, 4), (6, 9, 5)])
def test_rows_of_originals_and_variants(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = pictures(3, *shape)
    write_contact_sheet(tmp_path / "sheet.png", images, POLICY, variants=2)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    scale = max(1, 64 // max(shape)) if max(shape) <= 64 else 64 / max(shape)
    height, width = round(shape[0] * scale), round(shape[1] * scale)
    assert sheet.shape == (2 + 3 * (height + 2), 2 + 3 * (width + 2) + 10, 3)
    if shape[-1] == 1:
        top_left = sheet[2 : 2 + height : 8, 2 : 2 + width : 8, 0]
        np.testing.assert_array_equal(top_left, np.rint(images[0, ..., 0] * (255 / 16)))


def test_equal_policies_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_contact_sheet(tmp_path / f"{name}.png", pictures(2, 8, 8, 1), POLICY)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    other = POLICY.model_copy(update={"seed": 1})
    write_contact_sheet(tmp_path / "three.png", pictures(2, 8, 8, 1), other)
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "three.png").read_bytes()


def test_without_operations_only_originals_are_shown(tmp_path: Path) -> None:
    write_contact_sheet(tmp_path / "sheet.png", pictures(2, 8, 8, 1), Policy(value_range=(0, 16)))
    assert size_of(tmp_path / "sheet.png") == (2 + 66, 2 + 2 * 66)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as sheet:
        return sheet.size
