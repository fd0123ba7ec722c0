from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.kernels import prunable_kernels, sparsity
from regrow.pruning.pruning import Pruning


@pytest.fixture
def model() -> Any:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(6, name="a")])


def half() -> np.ndarray:
    return (np.arange(24).reshape(4, 6) % 2).astype(np.uint8)


def test_written_and_read_again_it_is_the_same_and_so_are_its_bytes(tmp_path: Path) -> None:
    pruning = Pruning(masks={"outer/b/kernel": half(), "a/kernel": half()}, surgery={"a/kernel:1": [0, 2]})
    pruning.write(tmp_path / "one")
    pruning.write(tmp_path / "two")
    found = Pruning.read(tmp_path / "one")
    assert found.surgery == pruning.surgery
    assert {name: mask.tolist() for name, mask in found.masks.items()} == {
        name: mask.tolist() for name, mask in pruning.masks.items()
    }
    for name in ("surgery.json", "masks.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_apply_leaves_positive_zero_even_of_negative_and_broken_weights(model: Any) -> None:
    kernel = model.layers[0].kernel
    weights = -np.abs(kernel.numpy()) - 1
    weights[0, 0] = np.nan  # masked
    kernel.assign(weights)
    pruning = Pruning(masks={"a/kernel": half()})
    pruning.apply(model)
    pruning.verify(model)
    assert not kernel.numpy()[half() == 0].view(np.uint32).any()
    np.testing.assert_array_equal(kernel.numpy()[half() == 1], weights[half() == 1])
    assert sparsity(model) == 0.5


def test_verify_names_the_kernel_whose_weights_came_back(model: Any) -> None:
    with pytest.raises(RegrowError, match="a/kernel: 12 pruned weights are no longer zero"):
        Pruning(masks={"a/kernel": half()}).verify(model)


def test_masks_of_another_model_are_refused(model: Any) -> None:
    with pytest.raises(RegrowError, match="no kernel 'c/kernel'"):
        Pruning(masks={"c/kernel": half()}).apply(model)
    with pytest.raises(RegrowError, match=r"a/kernel: has shape \(4, 6\), but its mask has \(6, 4\)"):
        Pruning(masks={"a/kernel": half().T}).verify(model)
    assert list(prunable_kernels(model)) == ["a/kernel"]


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match=r"surgery\.json: no such file"):
        Pruning.read(tmp_path)
    Pruning(masks={"a/kernel": half()}).write(tmp_path)
    whole = (tmp_path / "masks.npz").read_bytes()
    (tmp_path / "masks.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RegrowError, match=r"masks\.npz: cannot be read"):
        Pruning.read(tmp_path)
    np.savez(tmp_path / "masks.npz", **{"a/kernel": half() * 7})
    with pytest.raises(RegrowError, match="'a/kernel' is not a uint8 array of 0 and 1"):
        Pruning.read(tmp_path)
    (tmp_path / "surgery.json").write_text("[]")
    with pytest.raises(RegrowError, match="'axes' must be an object"):
        Pruning.read(tmp_path)
