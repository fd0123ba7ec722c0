"""Data sets that are no data: tables, arrays, images and archives."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tests.hostile.cases import Cases
from tests.hostile.models import PICKLE, listen

DATA = Cases()


def prepare(source: str) -> list[str]:
    return ["prepare", "--set", f"prepare.source={{{source}}}"]


def table(name: str, content: bytes, *, more: str = "label: label") -> None:
    def case(folder: Path) -> list[str]:
        (folder / "data.csv").write_bytes(content)
        return prepare(f"kind: csv, path: data.csv, {more}")

    DATA.add(f"csv: {name}")(case)


table("empty", b"")
table("a header alone", b"a,label\n")
table("no label", b"a,b\n1,2\n")
table("noise", bytes(range(256)) * 4)
table("UTF-16", "a,label\n1,x\n2,y\n".encode("utf-16"))
table("a pickle", PICKLE)
table("zeros", b"\0" * 10_000)
table("one line of a megabyte", b"a" * (1 << 20))
table("a quote that never closes", b'a,label\n"1,x\n' + b"2,y\n" * 1000)
table("rows of other lengths", b"a,label\n1,x\n1,2,3,4,5\n2,y\n")
table("words among numbers", b"a,label\n1,x\ntwo,y\n3,x\n4,y\n")
table("infinity", b"a,label\ninf,x\n1,y\n2,x\n3,y\n")
table("numbers of 5,000 digits", b"a,label\n" + b"9" * 5000 + b",x\n1,y\n2,x\n")
table("one class", b"a,label\n" + b"1,x\n" * 50)
table("steering letters in a column", "a\x1b[2J\u202e,label\nz,x\n1,y\n".encode())
table("steering letters in a label", "a,label\n1,\x1b[2J\n2,\u202eb\nz,c\n".encode())
table("gzip called csv", gzip.compress(b"a,label\n1,x\n"))
table("formulas", b"a,label\n=cmd|'/c calc'!A1,x\n1,y\n")


def arrays(name: str, content: bytes) -> None:
    def case(folder: Path) -> list[str]:
        (folder / "data.npz").write_bytes(content)
        return prepare("kind: npz, path: data.npz")

    DATA.add(f"npz: {name}")(case)


def packed(**found: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **found)  # type: ignore[arg-type]
    return stream.getvalue()


def header(shape: str, kind: str = "|u1") -> bytes:
    """An archive whose array ``x`` declares ``shape`` and holds ten bytes."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + b"\0" * 10
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("x.npy", member)
        file.writestr("y.npy", member)
    return stream.getvalue()


arrays("empty", b"")
arrays("noise", bytes(range(256)))
arrays("a pickle", PICKLE)
arrays("cut off", packed(x=np.zeros((9, 8, 8), np.uint8), y=np.arange(9))[:300])
arrays("no arrays", packed())
arrays("other names", packed(a=np.zeros(3), b=np.zeros(3)))
arrays("objects", packed(x=np.array([{"a": 1}, None], object), y=np.array([0, 1])))
arrays("other lengths", packed(x=np.zeros((9, 8, 8), np.uint8), y=np.arange(5)))
arrays("no examples", packed(x=np.zeros((0, 8, 8), np.uint8), y=np.zeros(0, int)))
arrays("NaN", packed(x=np.full((9, 8, 8), np.nan), y=np.arange(9) % 2))
arrays("dates", packed(x=np.zeros((9, 8, 8), "M8[s]"), y=np.arange(9) % 2))
arrays("terabytes, declared", header("(1000000, 1000, 1000)"))
arrays("a negative size", header("(-3, 8)"))
arrays("a shape of 5,000 digits", header(f"({'9' * 5000},)"))
arrays("a shape that is code", header("(__import__('os').mkdir('ran'),)"))
arrays("a type that is an object", header("(3,)", "|O"))


def image(name: str, content: bytes, suffix: str = "png") -> None:
    def case(folder: Path) -> list[str]:
        for kind in ("cat", "dog"):
            (folder / "data" / kind).mkdir(parents=True)
            for number in range(3):
                (folder / "data" / kind / f"{number}.{suffix}").write_bytes(content)
        return prepare("kind: folder, path: data")

    DATA.add(f"images: {name}")(case)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *parts: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(parts)


image("empty", b"")
image("text", b"hello")
image("noise", bytes(range(256)))
image("a signature alone", b"\x89PNG\r\n\x1a\n")
image("no pixels", png(8, 8, chunk(b"IDAT", b""), chunk(b"IEND", b"")))
image(
    "gigapixels, declared",
    png(60_000, 60_000, chunk(b"IDAT", zlib.compress(b"\0" * 100)), chunk(b"IEND", b"")),
)
image("no size", png(0, 0, chunk(b"IEND", b"")))
image("a page called png", b"<html><script>1</script></html>")
image("PostScript called png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EOF\n")
image("a pickle called jpg", PICKLE, "jpg")
image("a GIF of no frame", b"GIF89a\x08\0\x08\0\0\0\0;", "gif")


def place(name: str, make: object) -> None:
    def case(folder: Path) -> list[str]:
        assert callable(make)
        make(folder / "data")
        return prepare("kind: folder, path: data")

    DATA.add(f"folder: {name}")(case)


place("missing", lambda path: None)
place("empty", Path.mkdir)
place("a named pipe", os.mkfifo)
place("a socket", listen)
place("a device", lambda path: path.symlink_to("/dev/zero"))
place("a link to itself", lambda path: path.symlink_to(path.name))
DATA.add("folder: a name of 300 letters")(lambda folder: prepare(f"kind: folder, path: {'d' * 300}"))
DATA.add("folder: steering letters")(lambda folder: prepare('kind: folder, path: "a\\e[2J\\nerror: fine"'))


def archive(name: str, content: bytes, path: str = "data.zip") -> None:
    def case(folder: Path) -> list[str]:
        (folder / path).write_bytes(content)
        return prepare(f"kind: archive, path: {path}")

    DATA.add(f"archive: {name}")(case)


def zipped(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return stream.getvalue()


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for item, content in members:
            item.size = len(content)
            file.addfile(item, io.BytesIO(content))
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.linkname = kind, target
    return item


archive("empty", b"")
archive("noise", bytes(range(256)))
archive("no members", zipped())
archive("cut off", zipped(("a/1.png", b"x" * 1000))[:60])
archive("no images", zipped(("a/1.txt", b"x"), ("b/1.txt", b"x")))
archive("a path out of it", zipped(("../ran/1.png", b"x"), ("a/1.png", b"x")))
archive("an absolute path", zipped(("/ran/1.png", b"x"), ("a/1.png", b"x")))
archive("far larger than it is", zipped(("a/1.png", b"\0" * (64 << 20)), ("b/1.png", b"x")))
archive("tar: a path out of it", tar((member("../ran/1.png"), b"x")), "data.tar")
archive("tar: a link out of it", tar((member("a/1.png", tarfile.SYMTYPE, "/etc/hostname"), b"")), "data.tar")
archive("tar: a device", tar((member("a/1.png", tarfile.CHRTYPE), b"")), "data.tar")
archive("tar: a named pipe", tar((member("a/1.png", tarfile.FIFOTYPE), b"")), "data.tar")
archive("tar.gz: noise", gzip.compress(bytes(range(256))), "data.tar.gz")


def idx(name: str, content: bytes) -> None:
    def case(folder: Path) -> list[str]:
        (folder / "data").mkdir()
        for part in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
            (folder / "data" / part).write_bytes(content)
        return prepare("kind: idx, path: data")

    DATA.add(f"idx: {name}")(case)


idx("empty", b"")
idx("noise", bytes(range(256)))
idx("terabytes, declared", struct.pack(">IIII", 0x803, 1 << 30, 1 << 10, 1 << 10) + b"\0" * 10)
idx("a signature alone", struct.pack(">I", 0x803))
