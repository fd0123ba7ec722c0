from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.graph.kernels import prunable_kernels, sparsity
from regrow.graph.removal import Surgery
from regrow.pruning.pruning import Pruning


@pytest.fixture
def model() -> Any:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(6, name="a")])


def half() -> np.ndarray:
    return (np.arange(24).reshape(4, 6) % 2).astype(np.uint8)


def test_written_and_read_again_it_is_the_same_and_so_are_its_bytes(tmp_path: Path) -> None:
    cut = Surgery(kept={"a/kernel": {1: np.array([0, 2]), 0: np.array([3])}}, scales={"b/query": 0.5})
    pruning = Pruning(masks={"outer/b/kernel": half(), "a/kernel": half()}, surgery=cut)
    pruning.write(tmp_path / "one")
    pruning.write(tmp_path / "two")
    found = Pruning.read(tmp_path / "one")
    assert (
        found.surgery.to_json()
        == cut.to_json()
        == {
            "a/kernel": {"0": [3], "1": [0, 2]},
            "b/query": {"scale": 0.5},
        }
    )
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


@pytest.mark.parametrize("kept", ["[2, 0]", "[0, 0]", "[-1, 2]", "3", '["a"]'])
def test_surgery_that_is_no_list_of_ascending_indices_is_named(tmp_path: Path, kept: str) -> None:
    Pruning(masks={}).write(tmp_path)
    text = f'{{"schema_version": 1, "axes": {{"a/kernel": {{"1": {kept}}}}}}}'
    (tmp_path / "surgery.json").write_text(text)
    with pytest.raises(RegrowError, match=r"surgery\.json: axes\.a/kernel\.1: must be a list of ascending"):
        Pruning.read(tmp_path)


def test_rounds_compose_to_one_pruning_of_the_parent() -> None:
    """Cut, mask, cut again, mask again: each array axis is the parent's, each mask as large as its kernel."""
    first = Pruning(
        masks={"a/kernel": half()[:, [0, 1, 3, 5]]},
        surgery=Surgery(kept={"a/kernel": {1: np.array([0, 1, 3, 5])}}),
    )
    mask = np.ones((3, 2), np.uint8)
    mask[0, 1] = 0
    later = Surgery(
        kept={"a/kernel": {1: np.array([1, 3]), 0: np.array([0, 1, 2])}, "a/bias": {0: np.array([2])}}
    )
    both = first.then(Pruning(masks={"a/kernel": mask, "b/kernel": mask}, surgery=later))
    parent = np.arange(24).reshape(4, 6)
    np.testing.assert_array_equal(both.surgery.apply("a/kernel", parent), parent[:3, [1, 5]])
    assert both.surgery.kept["a/bias"][0].tolist() == [2]
    expected = half()[:3, [1, 5]].copy()
    expected[0, 1] = 0
    np.testing.assert_array_equal(both.masks["a/kernel"], expected)
    np.testing.assert_array_equal(both.masks["b/kernel"], mask)


def test_arrays_of_another_size_than_surgery_left_are_named(model: Any) -> None:
    Pruning(masks={}, surgery=Surgery(kept={"a/kernel": {1: np.arange(6)}})).verify(model)
    with pytest.raises(RegrowError, match=r"a/kernel: axis 1 has 6, but surgery left 3"):
        Pruning(masks={}, surgery=Surgery(kept={"a/kernel": {1: np.arange(3)}})).verify(model)
    with pytest.raises(RegrowError, match=r"no array 'z/kernel', which the surgery names"):
        Pruning(masks={}, surgery=Surgery(kept={"z/kernel": {1: np.arange(3)}})).verify(model)
