#!/usr/bin/env bash
# Pillow 10.4.0 and 13.0.0: the transparent grey of a PNG with 2 or 4 bits per pixel is not found.
#
# tRNS names one grey value, in the file's own depth: 0-3 or 0-15. Pillow spreads the pixels to 0-255, but leaves the
# value as it is, so `convert("RGBA")` looks for 1 where the pixels are 85. With 8 bits it is found, with 1 bit since a
# version after 10.4. Optimisers of PNG write grey icons and scanned pages with these depths. Nothing is raised; every
# pixel comes out opaque, or another grey is made transparent.
#
# Output seen, for the pixels 0 and 1, of which 1 is transparent:
#   2 bits: alpha [255, 255]     4 bits: alpha [255, 255]     8 bits: alpha [255, 0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for package in pillow==10.4.0 pillow==13.0.0; do
  python3 -m venv "$folder/$package"
  "$folder/$package/bin/pip" install --quiet --disable-pip-version-check "$package"
  "$folder/$package/bin/python" - <<'PYTHON'
import io, struct, zlib
import PIL
from PIL import Image


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def alpha(depth):
    """Alpha of two grey pixels, 0 and 1, of ``depth`` bits; 1 is transparent."""
    row = (1 << (16 - 2 * depth)).to_bytes(2, "big")[: max(1, 2 * depth // 8)]
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, depth, 0, 0, 0, 0))
    file += chunk(b"tRNS", struct.pack(">H", 1)) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return list(Image.open(io.BytesIO(file)).convert("RGBA").tobytes()[3::4])


found = {depth: alpha(depth) for depth in (2, 4, 8)}
print(f"Pillow {PIL.__version__}:", ", ".join(f"{depth} bits: alpha {value}" for depth, value in found.items()))
assert found == {2: [255, 255], 4: [255, 255], 8: [255, 0]}, "the behaviour has changed"
PYTHON
done
