#!/usr/bin/env bash
# Pillow 10.4.0 and 13.0.0: a TIFF in which 0 is white is turned round with 8 bits, and left a negative with 16.
#
# Baseline TIFF's PhotometricInterpretation 0 (WhiteIsZero), usual for X-rays and scanned film, says that larger values
# are darker. Pillow inverts such a file of 8 bits per pixel, so that arrays of both kinds of file mean the same. Of 16
# bits it returns the values as they are stored: in a folder of both depths, or of both interpretations, some images
# are negatives, and nothing says so.
#
# Output seen, for the stored values 0 and 5:
#   8 bits: [255, 250]     16 bits: [0, 5]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for package in pillow==10.4.0 pillow==13.0.0; do
  python3 -m venv "$folder/$package"
  "$folder/$package/bin/pip" install --quiet --disable-pip-version-check "$package"
  "$folder/$package/bin/python" - <<'PYTHON'
import io, struct
import PIL
from PIL import Image


def values(bits):
    """What Pillow reads of a TIFF of two pixels, 0 and 5, in which 0 is white."""
    data = struct.pack("<2B" if bits == 8 else "<2H", 0, 5)
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: 0, 273: 8, 277: 1, 278: 1, 279: len(data)}
    head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags))
    file = head + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()) + bytes(4)
    image = Image.open(io.BytesIO(file))
    return list(struct.unpack("<2B" if bits == 8 else "<2H", image.tobytes()))


found = {bits: values(bits) for bits in (8, 16)}
print(f"Pillow {PIL.__version__}:", ", ".join(f"{bits} bits: {value}" for bits, value in found.items()))
assert found == {8: [255, 250], 16: [0, 5]}, "the behaviour has changed"
PYTHON
done
