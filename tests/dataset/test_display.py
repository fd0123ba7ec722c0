"""Arrays of any number of channels as pictures for people."""

import numpy as np

from regrow.dataset.display import visible


def test_alpha_is_laid_over_white() -> None:
    pixels = np.array([[[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]]], np.uint8)
    assert visible(pixels, (0, 255))[0, 0].tolist() == [[255] * 3, [10, 20, 30], [204] * 3]


def test_one_channel_three_and_others() -> None:
    assert visible(np.array([[[0.0], [1.0]]]), (0, 1)).tolist() == [[[0] * 3, [255] * 3]]
    assert visible(np.array([[[1, 2, 3]]], np.uint8), (0, 255)).tolist() == [[[1, 2, 3]]]
    assert visible(np.array([[[0, 10, 20, 30, 40]]], np.uint8), (0, 255)).tolist() == [[[20] * 3]]
    assert visible(np.array([[[-5.0, 1e9]]]), (0, 1)).tolist() == [[[128] * 3]]
