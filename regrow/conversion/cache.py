"""Exports that were made before, by all that decides their bytes: an unchanged model is not converted again.

An entry is one file or folder with its digest, which is verified before it is used, and what the comparison with Keras
gave. It is kept only where it agreed.
"""

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.config.sections import canonical_json
from regrow.conversion.formats import FORMATS, Tolerance
from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.provenance.code import code_digest
from regrow.provenance.digest import text_digest, tree_digest
from regrow.storage.artifacts import copy_tree, new_directory, read_json, write_json

ENTRY, SCHEMA = "entry.json", 1
PARITY = ("max_abs_difference", "agreement")


class ExportCache:
    """The entries in ``root`` for one set of calibration and held-out examples.

    Args:
        root: a directory, which need not exist.
        data: digests of the examples that set int8's ranges, and of those on which exports are compared.
    """

    def __init__(self, root: Path, *, data: Mapping[str, str]) -> None:
        self._root = root
        self._data = dict(data)

    def take(self, model: str, name: str, directory: Path, tolerance: Tolerance) -> dict[str, Any] | None:
        """Put the export ``name`` of the model with digest ``model`` into ``directory``; its parity with Keras.

        None where there is none that was held against this ``tolerance``; one that is damaged is thrown away.
        """
        entry = self._entry(model, name, tolerance)
        if not (entry / ENTRY).is_file():
            return None
        file = FORMATS[name].file
        try:
            found = read_json(entry / ENTRY)
            if tree_digest(entry / "export" / file) != found["sha256"]:
                raise RegrowError(f"{entry / 'export' / file}: is not what its entry says")
            parity: dict[str, Any] = {key: float(found["parity"][key]) for key in PARITY}
        except (RegrowError, OSError, KeyError, TypeError, ValueError) as error:
            emit("notice", message=f"a kept export is damaged and is made again: {error}")
            shutil.rmtree(entry, ignore_errors=True)
            return None
        copy_tree(entry / "export", directory)
        return {**parity, "passed": True}

    def keep(
        self, model: str, name: str, directory: Path, tolerance: Tolerance, parity: Mapping[str, Any]
    ) -> None:
        """Keep the export ``name`` that lies in ``directory``, and agrees with the model with digest ``model``."""
        path = directory / FORMATS[name].file
        with new_directory(self._entry(model, name, tolerance)) as place:
            kept = place / "export" / path.name
            if path.is_dir():
                copy_tree(path, kept)
            else:
                kept.parent.mkdir()
                shutil.copy2(path, kept)
            told = {key: parity[key] for key in PARITY}
            write_json(
                place / ENTRY,
                {"schema_version": SCHEMA, "format": name, "sha256": tree_digest(kept), "parity": told},
            )

    def _entry(self, model: str, name: str, tolerance: Tolerance) -> Path:
        versions = {package: importlib.metadata.version(package) for package in FORMATS[name].packages}
        key = {
            "schema": SCHEMA,
            "model": model,
            "format": name,
            "data": self._data,
            "tolerance": tolerance.model_dump(mode="json"),
            "code": code_digest(__name__),
            "packages": {**versions, "python": platform.python_version()},
        }
        return self._root / name / text_digest(canonical_json(key))
