"""Bytes of exported files, raw and gzipped."""

import gzip
from pathlib import Path

from regrow.provenance.digest import tree_files


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a directory."""
    files = tree_files(path) if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def gzip_bytes(path: Path) -> int:
    """Bytes after gzip at level 9, file by file; what a sparse model's zeros save on the wire."""
    files = tree_files(path) if path.is_dir() else [path]
    return sum(len(gzip.compress(file.read_bytes(), 9, mtime=0)) for file in files)
