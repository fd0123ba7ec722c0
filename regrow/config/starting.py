"""A first ``params.yaml`` from what lies in a folder: data, a trained model, and how the two fit."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.config.sections import Parameters
from regrow.dataset.decoding import ImageOptions
from regrow.dataset.glimpse import CHANNELS, Glimpse, glimpse
from regrow.dataset.layout import IMAGES, names_a_split
from regrow.dataset.sources import FORMATS
from regrow.dataset.tables import IDX_NAME
from regrow.errors import RegrowError
from regrow.model_files.declared import Declared, declared
from regrow.model_files.saved_models import GRAPH

MODELS = (".keras", ".h5", ".hdf5")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
TABLES = (".csv", ".csv.gz", ".csv.bz2", ".csv.xz")
PLACES = ("", "data", "dataset", "datasets", "models", "model")
LABELS = ("label", "labels", "class", "target", "species", "category", "y")
DEEPEST = 3  # folders: split, class, image
LOOKED_AT = 50  # entries of a folder
MODES = {channels: mode for mode, channels in CHANNELS.items()}
DEFAULT_SIZE = (64, 64)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a first ``params.yaml`` is made of: ``source`` is ``prepare.source``, ``data`` what it says of itself."""

    source: dict[str, Any]
    data: Glimpse
    image: dict[str, Any]
    model: Path | None
    declared: Declared
    name: str

    @property
    def replaces_head(self) -> bool:
        """Whether the model's outputs are other classes."""
        units, classes = self.declared.units, self.data.classes
        return None not in (units, classes) and units != len(classes or ())


def find_data(folder: Path) -> list[Path]:
    """What in ``folder``, or in its folder ``data``, looks like data; paths as they lie below ``folder``."""
    found = [path for path in _entries(folder) if _kind(folder / path) is not None]
    # A folder of data sets is none itself, and a split is a part of one.
    sets = [path for path in found if not names_a_split(path.name)]
    return [path for path in sets if not any(path in other.parents for other in sets)]


def find_models(folder: Path) -> list[Path]:
    """What in ``folder``, or in its folder ``models``, looks like a trained model."""
    entries = [(path, folder / path) for path in _entries(folder)]
    return [
        path
        for path, place in entries
        if (place.is_file() and place.suffix in MODELS) or (place / GRAPH).is_file()
    ]


def _entries(folder: Path) -> Iterator[Path]:
    for place in PLACES:
        if (folder / place).is_dir():
            for path in sorted((folder / place).iterdir()):
                if not path.name.startswith("."):
                    yield path.relative_to(folder)


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    if path.is_file():
        for kind, endings in (("npz", (".npz",)), ("csv", TABLES), ("archive", ARCHIVES)):
            if name.endswith(endings):
                return kind
        return None
    if not path.is_dir() or (path / GRAPH).is_file():
        return None
    if any(IDX_NAME.fullmatch(entry.name) for entry in path.iterdir()):
        return "idx"
    return "folder" if _holds_class_folders(path, DEEPEST) else None


def _holds_class_folders(path: Path, deepest: int) -> bool:
    """Whether two folders of images lie side by side somewhere in ``path``."""
    folders = [entry for entry in sorted(path.iterdir())[:LOOKED_AT] if entry.is_dir()]
    with_images = [
        entry for entry in folders if any(file.suffix.lower() in IMAGES for file in entry.iterdir())
    ]
    if len(with_images) > 1:
        return True
    return deepest > 1 and any(_holds_class_folders(entry, deepest - 1) for entry in folders)


def source_of(path: Path, *, label: str | None = None) -> dict[str, Any]:
    """``prepare.source`` for ``path``; a table's ``label`` is guessed unless given.

    Raises:
        RegrowError: it is missing, or no data that is read.
    """
    kind = _kind(path)
    if kind is None:
        raise RegrowError(
            f"{path}: {'no such file or folder' if not path.exists() else 'is no data that is read'}; accepted: a"
            " folder of class folders of images, a zip or tar of one, an .npz, a .csv, a folder of idx files"
        )
    source: dict[str, Any] = {"kind": kind, "path": str(path)}
    if kind == "csv":
        source["label"] = label or _label(path)
    return source


def _label(path: Path) -> str:
    """The column of a table that is named as labels are, or else the last one."""
    import csv

    from regrow.dataset.unpacking import unpacked

    with unpacked(path) as file:
        line = file.readline(1 << 16).decode("utf-8-sig", "replace")
    names = [name.strip() for name in next(csv.reader([line]), [])]
    if not any(names):
        raise RegrowError(f"{path}: cannot be read as CSV (its first line names no column)")
    return next((name for name in names if name.lower() in LABELS), names[-1])


def look(data: Path, model: Path | None, *, label: str | None, folder: Path) -> Found:
    """What ``data`` and ``model`` say of themselves, and how images are to be made alike for the model.

    Raises:
        RegrowError: one is missing or cannot be used.
    """
    source = source_of(data, label=label)
    says = Declared() if model is None else declared(model)
    parsed: Parameters = FORMATS[source["kind"]].model_validate(source)
    image: dict[str, Any] = {}
    if source["kind"] in ("folder", "archive"):
        shape = says.shape if says.shape is not None and len(says.shape) == 3 else None
        if shape is None and not _alike(parsed):
            shape = (*DEFAULT_SIZE, 3)
        if shape is not None:
            sizes = None if None in shape[:2] else list(shape[:2])
            image = {"size": sizes, "mode": MODES.get(shape[2] or 0)}
            image = {key: value for key, value in image.items() if value is not None}
    found = glimpse(parsed, image=ImageOptions.model_validate(image), skip=False)
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-") or "model"
    return Found(source=source, data=found, image=image, model=model, declared=says, name=name)


def _alike(source: Parameters) -> bool:
    """Whether images have one form as they are."""
    try:
        return None not in (glimpse(source, image=ImageOptions(), skip=False).shape or ())
    except RegrowError:
        return False  # what else is wrong is said where the data is looked at with its options


def written(found: Found) -> str:
    """The text of ``params.yaml``: what differs from the defaults, with a comment on each part."""
    table = found.source["kind"] == "csv"
    classes = found.data.classes
    known = "" if classes is None else f"  # {len(classes)} classes"
    lines = [
        "# What differs from the defaults; `regrow keys` lists all keys, `regrow run` runs this.",
        "prepare:",
        f"  source: {_flow(found.source)}{known}",
    ]
    if found.image:
        why = "as the model takes them" if found.model else "the images differ; choose a size"
        lines.append(f"  image: {_flow(found.image)}  # {why}")
    lines += ["  # on_error: skip   # leave out broken examples, and list them in the report"]
    if table:
        lines += ["augment:", "  mode: none  # augmentations are of images"]
    lines.append("train:")
    if found.model is None:
        lines += [
            f"  architecture: {'mlp' if _is_table(found) else 'resnet8'}  # or `import: {{path: mine.keras}}`",
            "  fit: {epochs: 30}",
        ]
    else:
        lines += ["  architecture: null", "  import:", f"    path: {json.dumps(str(found.model))}"]
        if found.replaces_head:
            lines += [
                f"    head: replace  # the model gives {found.declared.units} outputs; a new softmax head is trained",
                "    frozen_epochs: 2  # of the new head alone",
                "  fit: {epochs: 10}",
            ]
    lines += [
        "prune:",
        "  method: channels  # removes channels, so that the files are smaller and faster",
        "  target: {macs: 0.5}  # the share of multiply-accumulates that is kept",
        "recover:",
        "  reconstruct: {enabled: true}  # least squares, before fine-tuning",
        "  fit: {epochs: 6, schedule: one_cycle}",
        "register:",
        f"  model_name: {json.dumps(found.name)}  # the gate compares versions of this name",
    ]
    return "\n".join(lines) + "\n"


def _is_table(found: Found) -> bool:
    shape = found.data.shape
    return found.source["kind"] == "csv" or (shape is not None and len(shape) == 1)


def _flow(section: dict[str, Any]) -> str:
    """A section on one line, as YAML and JSON both read it."""
    return "{" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in section.items()) + "}"
