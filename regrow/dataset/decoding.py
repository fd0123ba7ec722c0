"""Decode one image file to an array, or say why it cannot be used."""

import io
import warnings
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from regrow.config.sections import Parameters
from regrow.dataset.listing import Array

# Pillow's names. It knows more formats than these, and some run other programs: of EPS, Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MODES = {
    "L": "grayscale",
    "RGB": "rgb",
    "P": "palette",
    "RGBA": "rgba",
    "LA": "grayscale with alpha",
    "PA": "palette with alpha",
    "CMYK": "cmyk",
    "YCbCr": "ycbcr",
}
DEEP = "16-bit grayscale"
NOT_CONVERTED = {"I": "32-bit whole numbers", "F": "32-bit floating point"}
KEPT = ("grayscale", "rgb", DEEP)
PILLOW_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
MAX_PIXELS = 178_956_970  # more are refused by Pillow itself
Byte = Annotated[int, Field(ge=0, le=255)]
Remark = Literal["transparent", "first_of_several", "reduced_to_8_bits"]


class ImageOptions(Parameters):
    """``size`` (height, width) resizes every image; ``mode`` converts it. Without them all must be alike."""

    size: tuple[int, int] | None = Field(
        None, description="height and width to which images are resized, bilinearly with antialiasing"
    )
    mode: Literal["grayscale", "rgb", "rgba"] | None = Field(
        None, description="mode to which images are converted; rgba keeps transparency as a fourth channel"
    )
    background: tuple[Byte, Byte, Byte] = Field(
        (255, 255, 255),
        description="colour (red, green, blue) behind transparent pixels, for modes rgb and grayscale",
    )
    max_pixels: int = Field(
        50_000_000, gt=0, le=MAX_PIXELS, description="images with more pixels are refused"
    )


class UnusableError(Exception):
    """One example cannot be used; the message continues a sentence that begins with its name."""


class Decoded(NamedTuple):
    """``values`` of an example, its ``mode``, and what deserves to be said of how it was read."""

    values: Array
    mode: str
    remarks: frozenset[Remark] = frozenset()


def decode_image(data: bytes, options: ImageOptions) -> Decoded:
    """The pixels ``(height, width, channels)``, uint8 (uint16 for 16-bit grayscale), and their mode.

    Turned upright where EXIF says how the camera was held; the first of several pictures in one file.

    Raises:
        UnusableError: broken, truncated or too large, of another format, or of a mode that is not converted.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image, remarks = _load(data, options)
    except UnusableError:
        raise
    except Image.DecompressionBombError:
        raise UnusableError(f"has more pixels than prepare.image.max_pixels, {options.max_pixels}") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        reason = _reason(error) if data else "no bytes could be read"
        raise UnusableError(f"cannot be read as an image ({reason})") from None
    if image.has_transparency_data:
        image, transparent = _with_alpha(image)
        remarks |= {"transparent"} if transparent else frozenset()
    mode = "grayscale" if image.mode == "1" else _mode(image)
    if options.mode is not None:
        if mode != options.mode and mode not in MODES.values():
            raise UnusableError(
                f"has mode {mode}, which prepare.image.mode does not convert to {options.mode}"
            )
        image, mode = _convert(image, options), options.mode
    elif mode not in KEPT:
        raise UnusableError(f"has mode {mode}; accepted: grayscale, rgb ({_converts(image, mode)})")
    elif image.mode == "1":
        image = image.convert("L")
    if options.size is not None and image.size != options.size[::-1]:
        image = image.resize(options.size[::-1], Image.Resampling.BILINEAR)
    array = np.asarray(image)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Decoded(array[..., None] if array.ndim == 2 else array, mode, remarks)


def _load(data: bytes, options: ImageOptions) -> tuple[Any, frozenset[Remark]]:
    """The image in ``data``, decoded and upright, with the values that its file means."""
    from PIL import Image, ImageOps

    image: Any = Image.open(io.BytesIO(data), formats=FORMATS)
    pixels = image.width * image.height
    if pixels > options.max_pixels:
        raise UnusableError(f"has {pixels} pixels; prepare.image.max_pixels is {options.max_pixels}")
    remarks = frozenset(_remarks(image))
    stored = _stored(image)
    image.load()
    image = _as_meant(image, stored)
    return (ImageOps.exif_transpose(image) if "exif" in image.info else image), remarks


def _stored(image: Any) -> str:
    """Pillow's name of how pixels lie in the file, as ``RGB;16B``; empty where the format has no such name."""
    arguments = image.tile[0][3] if image.tile else ""
    if isinstance(arguments, tuple):
        if image.format == "PPM" and len(arguments) == 2:  # its second argument is the largest value
            return f"{arguments[0]};16B" if int(arguments[1]) > 255 else str(arguments[0])
        arguments = arguments[0] if arguments else ""
    return arguments if isinstance(arguments, str) else ""


def _remarks(image: Any) -> Iterator[Remark]:
    # The pictures of an MPO, a camera's JPEG, are one: previews, and what makes it brighter on other screens.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        yield "first_of_several"
    if ";16" in _stored(image) and not image.mode.startswith(("I", "F")):
        yield "reduced_to_8_bits"


def _as_meant(image: Any, stored: str) -> Any:
    """``image`` where Pillow's reading of it, seen in Pillow 10.4 to 13, is not what its format says."""
    from PIL import Image

    if image.format == "PPM" and image.mode == "I":
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    if image.format == "TIFF" and image.mode.startswith("I;16") and image.tag_v2.get(262) == 0:
        return Image.fromarray(np.iinfo(np.uint16).max - np.asarray(image).astype(np.uint16))
    if image.format == "PNG" and "transparency" in image.info:
        if stored == "1":
            image.info["transparency"] = 255 if image.info["transparency"] else 0
        elif stored in ("L;2", "L;4"):  # the pixels are spread to 0–255, the transparent value is not
            image.info["transparency"] *= 255 // (2 ** int(stored[2:]) - 1)
        elif image.mode.startswith("I;16") and not (np.asarray(image) == image.info["transparency"]).any():
            del image.info["transparency"]
        elif ";16" in stored:
            raise UnusableError(
                "has 16 bits per channel and a transparent colour; accepted: an alpha channel"
            )
    return image


def _with_alpha(image: Any) -> tuple[Any, bool]:
    """``image`` and whether some pixel is transparent; with an alpha channel if so, or as it was."""
    rgba = _rgba(image)
    transparent = rgba.getchannel("A").getextrema()[0] < 255
    return (rgba if transparent else image), transparent


def _rgba(image: Any) -> Any:
    return image if image.mode == "RGBA" else image.convert("RGBA")  # which would copy it


def _convert(image: Any, options: ImageOptions) -> Any:
    """``image`` in the mode that is asked for; in one without alpha laid over the background."""
    from PIL import Image

    if options.mode != "rgba" and image.has_transparency_data:
        above, image = _rgba(image), Image.new("RGB", image.size, options.background)
        image.paste(above, mask=above)
    mode = PILLOW_MODES[str(options.mode)]
    return image if image.mode == mode else image.convert(mode)


def _mode(image: Any) -> str:
    if image.mode.startswith("I;16"):
        return DEEP
    return {**MODES, **NOT_CONVERTED}.get(image.mode, str(image.mode))


def _converts(image: Any, mode: str) -> str:
    if image.has_transparency_data:
        return (
            "prepare.image.mode: rgb and grayscale put it on prepare.image.background, rgba keeps its alpha"
        )
    return "prepare.image.mode converts" if mode in MODES.values() else "this mode cannot be converted"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "cannot identify" in text:
        return f"not an image file of an accepted format: {', '.join(FORMATS)}"
    return text or type(error).__name__


def check_array(value: Any) -> Decoded:
    """An example that is an array already.

    Raises:
        UnusableError: it holds NaN or infinite values.
    """
    array = np.asarray(value)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UnusableError("contains a value that is NaN, infinite or not a number")
    return Decoded(array, "values")
