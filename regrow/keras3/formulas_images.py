"""Formulas of Keras 3's operations on images and other grids. TensorFlow computes with channels last on any CPU."""

from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.keras3.formulas import (
    GETITEM,
    Formula,
    Operate,
    axes_of,
    cast,
    dtype_of,
    floating,
    formula,
    rank,
)

FIRST = "channels_first"
WHOLE = {"start": None, "stop": None, "step": None}


def _to_last(op: Operate, x: Any) -> Any:
    return op("transpose", x, perm=[0, *range(2, rank(x)), 1])


def _to_first(op: Operate, x: Any) -> Any:
    return op("transpose", x, perm=[0, rank(x) - 1, *range(1, rank(x) - 1)])


def _channels_last(compute: Formula, op: Operate, x: Any, data_format: str | None) -> Any:
    """``compute`` of ``x`` with channels last, and its answer with channels where they were."""
    if data_format != FIRST:
        return compute(x)
    return _to_first(op, compute(_to_last(op, x)))


def _pool(symbol: str) -> Formula:
    def compute(
        op: Operate,
        inputs: Any,
        *,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: Any = None,
    ) -> Any:
        spatial = rank(inputs) - 2
        size = [pool_size] * spatial if isinstance(pool_size, int) else list(pool_size)
        steps = (
            size if strides is None else [strides] * spatial if isinstance(strides, int) else list(strides)
        )
        return _channels_last(
            lambda x: op(symbol, x, ksize=size, strides=steps, padding=padding.upper()),
            op,
            inputs,
            data_format,
        )

    return compute


formula("nn.MaxPool")(_pool("nn.max_pool"))
formula("nn.AveragePool")(_pool("nn.avg_pool"))


def _blocks(symbol: str) -> Formula:
    def compute(op: Operate, x: Any, *, block_size: int, data_format: Any = None) -> Any:
        return _channels_last(lambda y: op(symbol, y, block_size=block_size), op, x, data_format)

    return compute


formula("nn.DepthToSpace")(_blocks("nn.depth_to_space"))
formula("nn.SpaceToDepth")(_blocks("nn.space_to_depth"))


@formula("image.Resize")
def resize(
    op: Operate,
    images: Any,
    *,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: Any = None,
) -> Any:
    """To another height and width."""
    if crop_to_aspect_ratio or pad_to_aspect_ratio:
        raise RegrowError(
            "keeps the aspect ratio; crop or pad with keras.ops.image.crop_images or pad_images first"
        )
    single = rank(images) == 3 and data_format == FIRST
    if single:
        raise RegrowError("works on one image with channels first; give it a batch")
    return _channels_last(
        lambda x: op("image.resize", x, size=list(size), method=interpolation, antialias=antialias),
        op,
        images,
        data_format,
    )


@formula("image.RGBToGrayscale")
def rgb_to_grayscale(op: Operate, images: Any, *, data_format: Any = None) -> Any:
    """Weights of the three colours, as in TensorFlow."""
    axis = -3 if data_format == FIRST else -1
    if images.shape[axis] == 1:
        return op("identity", images)
    weights = np.asarray([0.2989, 0.5870, 0.1140], "float32").reshape([3] + [1] * (-1 - axis))
    found = op("math.multiply", floating(op, images), weights)
    return cast(op, op("math.reduce_sum", found, axis=axes_of(images, axis), keepdims=True), dtype_of(images))


def _sides(length: Any, before: Any, after: Any, target: Any, *, grows: bool) -> tuple[int, int]:
    """What is added or taken at both ends of an axis, of which two and the new length one may be left out."""
    if None not in (before, after):
        return int(before), int(after)
    if length is None or target is None:
        raise RegrowError("works out its ends from an open height or width; state both in keras.Input")
    total = target - length if grows else length - target
    before = total - after if before is None and after is not None else before or 0
    return int(before), int(total - before if after is None else after)


def _ends(images: Any, settings: dict[str, Any], what: str, data_format: Any) -> list[tuple[int, int, int]]:
    """For height and width: the axis, and what is added to or taken from its ends."""
    first = -2 if data_format == FIRST else -3
    found = []
    for axis, (start, stop, target) in zip(
        (first, first + 1),
        (("top", "bottom", "target_height"), ("left", "right", "target_width")),
        strict=True,
    ):
        before, after = settings[f"{start}_{what}"], settings[f"{stop}_{what}"]
        ends = _sides(images.shape[axis], before, after, settings[target], grows=what == "padding")
        found.append((axes_of(images, axis)[0], *ends))
    return found


@formula("image.PadImages")
def pad_images(
    op: Operate,
    images: Any,
    *,
    top_padding: Any = None,
    left_padding: Any = None,
    bottom_padding: Any = None,
    right_padding: Any = None,
    target_height: Any = None,
    target_width: Any = None,
    data_format: Any = None,
) -> Any:
    """Zeros around images."""
    settings = {
        key: value for key, value in locals().items() if key.endswith(("_padding", "height", "width"))
    }
    width = [[0, 0] for _ in range(rank(images))]
    for axis, before, after in _ends(images, settings, "padding", data_format):
        width[axis] = [before, after]
    return op("pad", images, paddings=width)


@formula("image.CropImages")
def crop_images(
    op: Operate,
    images: Any,
    *,
    top_cropping: Any = None,
    left_cropping: Any = None,
    bottom_cropping: Any = None,
    right_cropping: Any = None,
    target_height: Any = None,
    target_width: Any = None,
    data_format: Any = None,
) -> Any:
    """A part of images."""
    settings = {
        key: value for key, value in locals().items() if key.endswith(("_cropping", "height", "width"))
    }
    key: list[Any] = [dict(WHOLE) for _ in range(rank(images))]
    for axis, before, after in _ends(images, settings, "cropping", data_format):
        key[axis] = {"start": before, "stop": -after or None, "step": None}
    return op(GETITEM, images, tuple(key))


@formula("image.ExtractPatches")
def extract_patches(
    op: Operate,
    images: Any,
    *,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
) -> Any:
    """Patches side by side, each as channels."""
    pair = [size, size] if isinstance(size, int) else list(size)
    if len(pair) != 2:
        raise RegrowError(f"takes patches of size {pair}; accepted: height and width")
    steps = pair if strides is None else [strides] * 2 if isinstance(strides, int) else list(strides)
    rates = [dilation_rate] * 2 if isinstance(dilation_rate, int) else list(dilation_rate)
    sizes, steps, rates = ([1, *values, 1] for values in (pair, steps, rates))

    def compute(x: Any) -> Any:
        return op(
            "image.extract_patches", x, sizes=sizes, strides=steps, rates=rates, padding=padding.upper()
        )

    return _channels_last(compute, op, images, data_format)
