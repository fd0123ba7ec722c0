"""Symbols of TensorFlow for images and other grids, as Keras 3 has them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from regrow.keras3.symbols import SYMBOLS, Written, plain_numbers, refuse, symbol

__all__ = ["SYMBOLS"]


def _pool(kind: str) -> Callable[..., Written]:
    def write(
        input: Any,
        ksize: Any,
        strides: Any,
        padding: str,
        data_format: Any = None,
        name: Any = None,
    ) -> Written:
        spatial = len(input.shape) - 2
        first = str(data_format or "NHWC").startswith("NC")
        sizes = [_spatial(value, spatial, first=first) for value in (ksize, strides)]
        refuse(padding=padding if not isinstance(padding, str) else None)
        settings = {"pool_size": sizes[0], "strides": sizes[1], "padding": padding.lower()}
        return kind, [input], {**settings, "data_format": "channels_first" if first else "channels_last"}

    return write


def _spatial(value: Any, count: int, *, first: bool = False) -> list[int]:
    """Sizes along space alone, of which TensorFlow also takes one for all, and ones for examples and channels."""
    sizes = [int(one) for one in np.atleast_1d(np.asarray(plain_numbers(value)))]
    if len(sizes) == count + 2:
        sizes = sizes[2:] if first else sizes[1:-1]
    return sizes * count if len(sizes) == 1 else sizes


for _name, _kind in {"max_pool": "nn.MaxPool", "avg_pool": "nn.AveragePool"}.items():
    SYMBOLS |= {f"nn.{_name}{dim}": _pool(_kind) for dim in ("", "1d", "2d", "3d")}


def _blocks(kind: str) -> Callable[..., Written]:
    def write(input: Any, block_size: Any, data_format: str = "NHWC", name: Any = None) -> Written:
        refuse(data_format=data_format.removeprefix("NHWC"))
        return kind, [input], {"block_size": block_size, "data_format": "channels_last"}

    return write


SYMBOLS |= {"nn.depth_to_space": _blocks("nn.DepthToSpace"), "nn.space_to_depth": _blocks("nn.SpaceToDepth")}


@symbol("image.resize")
def resize(
    images: Any,
    size: Any,
    method: Any = "bilinear",
    preserve_aspect_ratio: Any = False,
    antialias: Any = False,
    name: Any = None,
) -> Written:
    """The same."""
    refuse(preserve_aspect_ratio=preserve_aspect_ratio)
    settings = {"size": plain_numbers(size), "interpolation": str(method), "antialias": bool(antialias)}
    return "image.Resize", [images], {**settings, "data_format": "channels_last"}


@symbol("image.extract_patches")
def extract_patches(
    images: Any, sizes: Any, strides: Any, rates: Any, padding: str, name: Any = None
) -> Written:
    """The same."""
    size, steps, rate = (_spatial(value, 2) for value in (sizes, strides, rates))
    settings = {"size": size, "strides": steps, "dilation_rate": rate, "padding": padding.lower()}
    return "image.ExtractPatches", [images], {**settings, "data_format": "channels_last"}
