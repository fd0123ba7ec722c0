"""Images as their formats mean them: transparency, depth, several pictures in one file; and what is never opened."""

import ast
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from regrow.dataset.decoding import Decoded, ImageOptions, UnusableError, decode_image

CLEAR, HALF, SOLID = 0, 128, 255


def saved(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(shape: tuple[int, int], depth: int, colour: int, row: bytes, *, clear: tuple[int, ...] = ()) -> bytes:
    """A PNG of one row of pixels, as Pillow does not write them."""
    head = struct.pack(">IIBBBBB", shape[1], shape[0], depth, colour, 0, 0, 0)
    transparent = chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)) if clear else b""
    body = chunk(b"IHDR", head) + transparent + chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def decode(data: bytes, **options: Any) -> Decoded:
    return decode_image(data, ImageOptions(**options))


RGBA = np.zeros((1, 3, 4), np.uint8)
RGBA[0] = [(10, 20, 30, CLEAR), (200, 100, 50, HALF), (1, 2, 3, SOLID)]
# 200·α + 255·(1 − α) with α = 128 / 255, and so on.
ON_WHITE = [(255, 255, 255), (227, 177, 152), (1, 2, 3)]


def grey_alpha() -> Any:
    return Image.merge("LA", [Image.fromarray(RGBA[..., 0]), Image.fromarray(RGBA[..., 3])])


def palette(**options: Any) -> bytes:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    return saved(image, **options)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(Image.fromarray(RGBA)), ON_WHITE),
        (saved(Image.fromarray(RGBA), "TIFF"), ON_WHITE),
        (saved(Image.fromarray(RGBA), "WEBP", lossless=True, exact=True), ON_WHITE),
        (saved(grey_alpha()), [(255,) * 3, (227,) * 3, (1,) * 3]),
        (palette(transparency=bytes([CLEAR, HALF, SOLID])), ON_WHITE),
        (palette(transparency=0), [ON_WHITE[0], (200, 100, 50), (1, 2, 3)]),
        (palette(kind="GIF", transparency=0), [ON_WHITE[0], (200, 100, 50), (1, 2, 3)]),
        (
            saved(Image.fromarray(RGBA[..., :3]), transparency=(200, 100, 50)),
            [(10, 20, 30), (255,) * 3, (1, 2, 3)],
        ),
        (saved(Image.fromarray(RGBA[..., 0]), transparency=200), [(10,) * 3, (255,) * 3, (1,) * 3]),
    ],
    ids=["RGBA", "TIFF", "WebP", "LA", "P-alphas", "P-one", "GIF", "RGB-colour", "L-value"],
)
def test_transparent_pixels_are_laid_over_the_background(data: bytes, expected: Any) -> None:
    values, mode, remarks = decode(data, mode="rgb")
    assert mode == "rgb"
    assert remarks == {"transparent"}
    np.testing.assert_allclose(values[0].astype(int), expected, atol=1)
    black = decode(data, mode="rgb", background=(0, 0, 0)).values[0]
    assert (black[np.all(np.array(expected) == 255, axis=1)] == 0).all()
    grey = decode(data, mode="grayscale").values[0, :, 0]
    np.testing.assert_allclose(grey.astype(int), np.array(expected) @ [0.299, 0.587, 0.114], atol=1)


def test_transparency_can_be_kept() -> None:
    np.testing.assert_array_equal(decode(saved(Image.fromarray(RGBA)), mode="rgba").values, RGBA)
    kept = decode(palette(transparency=bytes([CLEAR, HALF, SOLID])), mode="rgba")
    np.testing.assert_array_equal(kept.values, RGBA)
    assert (kept.mode, kept.remarks) == ("rgba", {"transparent"})
    solid = decode(saved(Image.fromarray(RGBA[..., :3])), mode="rgba")
    np.testing.assert_array_equal(solid.values[..., 3], [[SOLID] * 3])
    assert not solid.remarks
    # Of a pixel that is half another's, colour is weighed by alpha: nothing of the clear one's bleeds in.
    wide = np.repeat(RGBA[:, [0, 2]], 2, axis=0)
    assert (decode(saved(Image.fromarray(wide)), mode="rgba", size=(1, 1)).values[0, 0, :3] <= 3).all()


def test_without_a_mode_transparency_is_refused_and_opaque_pictures_are_not() -> None:
    for data in (saved(Image.fromarray(RGBA)), saved(Image.fromarray(RGBA[..., :3]), transparency=(1, 2, 3))):
        with pytest.raises(
            UnusableError, match=r"has mode rgba; accepted: grayscale, rgb .*background, rgba keeps"
        ):
            decode(data)
    unused = decode(saved(Image.fromarray(RGBA[..., :3]), transparency=(9, 9, 9)))
    assert (unused.mode, unused.remarks) == ("rgb", frozenset())
    np.testing.assert_array_equal(unused.values, RGBA[..., :3])


@pytest.mark.parametrize(
    ("depth", "row", "clear", "expected"),
    [
        (1, [0b01000000], 1, [0, None]),
        (2, [0b00011011], 1, [0, None, 170, 255]),
        (4, [0x01, 0x2F], 15, [0, 17, 34, None]),
        (8, [0, 7], 7, [0, None]),
    ],
)
def test_the_transparent_value_of_a_grey_png_is_found_at_every_depth(
    depth: int, row: list[int], clear: int, expected: list[int | None]
) -> None:
    data = png((1, len(expected)), depth, 0, bytes(row), clear=(clear,))
    found = decode(data, mode="grayscale", background=(99, 99, 99))
    assert found.values[0, :, 0].tolist() == [99 if value is None else value for value in expected]
    assert found.remarks == {"transparent"}


def test_sixteen_bits_per_channel() -> None:
    """Of grey they are kept, of colour eight are, which is said; a transparent colour among them cannot be found."""
    grey = png((1, 2), 16, 0, struct.pack(">2H", 65535, 500))
    assert decode(grey).values[0, :, 0].tolist() == [65535, 500]
    assert decode(png((1, 1), 16, 0, b"\1\1", clear=(7,))).values.tolist() == [[[257]]]
    colour = decode(png((1, 1), 16, 2, struct.pack(">3H", 65535, 512, 0)))
    assert colour.values[0, 0].tolist() == [255, 2, 0]
    assert colour.remarks == {"reduced_to_8_bits"}
    alpha = decode(png((1, 1), 16, 6, struct.pack(">4H", 65535, 512, 0, 0)), mode="rgb")
    assert alpha.values[0, 0].tolist() == [255, 255, 255]
    assert alpha.remarks == {"reduced_to_8_bits", "transparent"}
    for data in (
        png((1, 1), 16, 0, b"\0\7", clear=(7,)),
        png((1, 1), 16, 2, bytes(6), clear=(1, 2, 3)),
    ):
        with pytest.raises(UnusableError, match="16 bits per channel and a transparent colour"):
            decode(data, mode="rgb")
    portable = decode(b"P5 2 1 65535\n" + struct.pack(">2H", 65535, 500))
    assert (portable.values.dtype, portable.values[0, :, 0].tolist()) == (np.uint16, [65535, 500])
    deep = decode(b"P6 1 1 65535\n" + struct.pack(">3H", 65535, 0, 32768))
    assert deep.values[0, 0].tolist() == [255, 0, 128]
    assert deep.remarks == {"reduced_to_8_bits"}


def tiff(values: Any, *, order: str = "<", **tags: int) -> bytes:
    """An uncompressed TIFF of one strip, as Pillow does not write them."""
    data = np.asarray(values)
    kind = {"u": 1, "i": 2, "f": 3}[data.dtype.kind]
    known = {
        256: data.shape[1],
        257: data.shape[0],
        258: data.itemsize * 8,
        259: 1,
        262: tags.get("photometric", 1),
        273: 8,
        277: 1,
        278: data.shape[0],
        279: data.nbytes,
        339: kind,
    }
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in known.items())
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + data.nbytes)
    pixels = data.astype(data.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    return head + pixels + struct.pack(f"{order}H", len(known)) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_tiffs_have_their_values_or_a_sentence(order: str) -> None:
    deep = np.array([[0, 500, 65535]], np.uint16)
    found = decode(tiff(deep, order=order))
    assert found.values.dtype == np.dtype(np.uint16)  # in the machine's own byte order
    np.testing.assert_array_equal(found.values[..., 0], deep)
    for values, words in (
        (deep.astype(np.float32), "32-bit floating point"),
        (deep.astype(np.int32), "32-bit whole numbers"),
        (deep.astype(np.int16), "32-bit whole numbers"),
    ):
        with pytest.raises(UnusableError, match=f"has mode {words}; accepted: grayscale, rgb"):
            decode(tiff(values, order=order))
        with pytest.raises(UnusableError, match=f"{words}, which prepare.image.mode does not convert"):
            decode(tiff(values, order=order), mode="grayscale")


def test_where_zero_is_white_it_becomes_white() -> None:
    for kind, white in ((np.uint8, 255), (np.uint16, 65535)):
        found = decode(tiff(np.array([[0, 5]], kind), photometric=0))
        assert found.values[0, :, 0].tolist() == [white, white - 5]


def test_cmyk_is_converted_on_request() -> None:
    for kind in ("JPEG", "TIFF"):
        data = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), kind)
        with pytest.raises(UnusableError, match=r"has mode cmyk; .*prepare\.image\.mode converts"):
            decode(data)
        np.testing.assert_allclose(decode(data, mode="rgb").values[0, 0].astype(int), (255, 0, 0), atol=3)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_pictures_the_first_is_used_and_that_is_said(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options), mode="rgb")
    assert found.values[0, 0].tolist() == [255, 0, 0]
    assert found.remarks == {"first_of_several"}
    assert not decode(saved(frames[0], kind, **options), mode="rgb").remarks


def test_a_camera_s_jpeg_with_a_preview_is_one_picture() -> None:
    frames = [Image.new("RGB", (8, 8), "red"), Image.new("RGB", (4, 4), "red")]
    data = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    found = decode(data)
    assert found.values.shape == (8, 8, 3)
    assert not found.remarks


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once something has run a program called ``gs``."""
    from PIL import EpsImagePlugin

    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho 10.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow looks for it once
    return tmp_path / "ran"


def test_no_format_is_opened_that_runs_a_program(canary: Path) -> None:
    with pytest.raises(UnusableError, match="not an image file of an accepted format: BMP, GIF, JPEG"):
        decode(EPS)
    binary = struct.pack("<IIIIIIIH", 0xC6D3D0C5, 30, len(EPS), 0, 0, 0, 0, 0xFFFF) + EPS
    for data in (binary, b"\n" + EPS, b"%PDF-1.4\n" + EPS):
        with pytest.raises(UnusableError, match="accepted format"):
            decode(data, mode="rgb", size=(4, 4))
    assert not canary.exists()


def test_the_canary_sings(canary: Path) -> None:
    """Without a list of formats the same bytes start the program, so the test above can fail."""
    with Image.open(io.BytesIO(EPS)) as image, pytest.raises(OSError):
        image.load()
    assert canary.exists()


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "SGI", "PDF"])
def test_other_formats_are_named_as_such(kind: str) -> None:
    with pytest.raises(UnusableError, match="not an image file of an accepted format"):
        decode(saved(Image.new("RGB", (8, 8)), kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_truncated_files_of_every_format_are_refused(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = saved(Image.fromarray(pixels), kind)
    for kept in (len(data) // 2, len(data) * 3 // 4):
        with pytest.raises(UnusableError, match="cannot be read as an image"):
            decode(data[:kept], mode="rgb")


def header(kind: str, width: int, height: int) -> bytes:
    match kind:
        case "PNG":
            return png((height, width), 8, 2, b"")
        case "BMP":
            size = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
            return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + size
    return f"P6 {width} {height} 255\n".encode()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM"])
@pytest.mark.parametrize("size", [(9_000, 9_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_stated_sizes_are_bounded_before_memory_is_taken(kind: str, size: tuple[int, int]) -> None:
    with pytest.raises(UnusableError, match=r"pixels.*prepare\.image\.max_pixels"):
        decode(header(kind, *size))


def test_options_are_checked() -> None:
    for options in (
        {"mode": "cmyk"},
        {"background": (0, 0, 256)},
        {"background": (0, 0)},
        {"max_pixels": 10**9},
    ):
        with pytest.raises(ValidationError):
            ImageOptions.model_validate(options)


def test_wherever_pillow_opens_an_image_the_formats_are_listed() -> None:
    root = Path(__file__).resolve().parents[2]
    opened = [
        (path.relative_to(root).as_posix(), [keyword.arg for keyword in node.keywords])
        for folder in ("regrow", "components", "pipelines")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Image.open", "imread"))
    ]
    assert sorted(opened) == [
        ("regrow/dataset/decoding.py", ["formats"]),
        ("regrow/dataset/glimpse.py", ["formats"]),
    ]
