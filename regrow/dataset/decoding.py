"""From the bytes of one image file to an array, or to the reason why it cannot be used."""

import io
import warnings
from typing import Any, Literal

import numpy as np
from pydantic import Field

from regrow.dataset.listing import Array
from regrow.parameters import Parameters

MODES = {
    "L": "grayscale",
    "RGB": "rgb",
    "P": "palette",
    "RGBA": "rgba",
    "LA": "grayscale with alpha",
    "CMYK": "cmyk",
}
DEEP = "16-bit grayscale"
KEPT = ("grayscale", "rgb", DEEP)


class ImageOptions(Parameters):
    """``size`` (height, width) resizes every image; ``mode`` converts it. Without them all must be alike."""

    size: tuple[int, int] | None = Field(None, description="height, width; bilinear with antialiasing")
    mode: Literal["grayscale", "rgb"] | None = Field(None, description="to which images are converted")
    max_pixels: int = Field(50_000_000, gt=0, description="an image with more pixels is refused")


class UnusableError(Exception):
    """One example cannot be used; the message continues a sentence that begins with its name."""


def decode_image(data: bytes, options: ImageOptions) -> tuple[Array, str]:
    """The pixels ``(height, width, channels)``, uint8 (uint16 for 16-bit grayscale), and their mode.

    Turned upright where EXIF says how the camera was held; the first frame of an animation.

    Raises:
        UnusableError: broken, truncated or too large, or of a mode that is not converted.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Any = Image.open(io.BytesIO(data))
            pixels = image.width * image.height
            if pixels > options.max_pixels:
                raise UnusableError(f"has {pixels} pixels; prepare.image.max_pixels is {options.max_pixels}")
            image.load()
            if "exif" in image.info:
                image = ImageOps.exif_transpose(image)
    except UnusableError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        reason = _reason(error) if data else "no bytes could be read"
        raise UnusableError(f"cannot be read as an image ({reason})") from None
    mode = _mode(image)
    if options.mode is not None:
        if mode != options.mode and mode not in MODES.values():
            raise UnusableError(f"has mode {mode}, which loses its values when converted to {options.mode}")
        image, mode = image.convert("L" if options.mode == "grayscale" else "RGB"), options.mode
    elif image.mode == "1":
        image = image.convert("L")
    if mode not in KEPT:
        raise UnusableError(f"has mode {mode}; accepted: grayscale, rgb (prepare.image.mode converts)")
    if options.size is not None and image.size != options.size[::-1]:
        image = image.resize(options.size[::-1], Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return (array[..., None] if array.ndim == 2 else array), mode


def _mode(image: Any) -> str:
    if image.mode == "1":
        return "grayscale"
    return DEEP if image.mode.startswith("I;16") else MODES.get(image.mode, str(image.mode))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return "not an image file that is known" if "cannot identify" in text else text or type(error).__name__


def check_array(value: Any) -> tuple[Array, str]:
    """An example that is an array already.

    Raises:
        UnusableError: it holds NaN or infinite values.
    """
    array = np.asarray(value)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UnusableError("holds a value that is NaN, infinite or no number")
    return array, "values"
