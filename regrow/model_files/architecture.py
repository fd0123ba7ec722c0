"""What a model file says of itself, read as data: nothing in it is built or run, and nothing outside it is opened."""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from regrow.errors import RegrowError
from regrow.graph.recording import refuse_unrecorded
from regrow.model_files import h5_files, saved_models
from regrow.storage.regular_files import irregular

LARGEST_CONFIG = 1 << 26  # bytes of JSON, which as Python objects are ten times as many
DEEPEST = 200  # a model inside a model is 3 levels more
DIGITS = 20  # of the largest integers that TensorFlow knows
ACCEPTED = "accepted: .keras, .h5, a SavedModel directory"


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """The ``config`` of the outermost model, as JSON has it, and what was found beside it.

    ``keras_version`` is empty where the file does not state it; ``stored`` are the bytes of all arrays in it, and
    ``stored_layers`` the groups of an archive's outermost layers that hold real ones, empty where that is not known.
    """

    config: dict[str, Any]
    keras_version: str
    stored: int
    stored_layers: frozenset[str] = frozenset()

    @property
    def from_keras3(self) -> bool:
        """Whether Keras 3 wrote the file."""
        return self.keras_version.split(".", 1)[0] == "3"


def read_model_file(file: Path) -> ModelFile:
    """Read a ``.keras`` file, an ``.h5`` file or a Keras SavedModel, but not its weights.

    Raises:
        RegrowError: another kind of file, a broken one, one that reaches or expands beyond itself, or one that lacks
            what `tf_keras` does not write down.
    """
    reader = _reader(file)
    with _named(file):
        found = reader(file)
        if "class_name" not in found.config or not isinstance(found.config.get("config"), dict):
            raise RegrowError("its config describes no model (no class_name with a config)")
        _check_structure(found.config)
        refuse_unrecorded(found.config)
    return found


def architecture(file: Path) -> Any:
    """The config of `read_model_file`."""
    return read_model_file(file).config


def _reader(file: Path) -> Callable[[Path], ModelFile]:
    readers = {".keras": _read_archive, ".h5": _read_h5, ".hdf5": _read_h5}
    try:
        if file.is_dir():
            return _read_saved_model
    except (OSError, ValueError):
        pass  # `irregular` says why
    reason = irregular(file)
    if reason is not None:
        found = "no such model file" if reason == "no such file" else reason
        raise RegrowError(f"{file}: {found}")
    if file.suffix not in readers:
        raise RegrowError(f"{file}: is not a model file; {ACCEPTED}")
    return readers[file.suffix]


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Errors within become sentences that begin with the file's name."""
    try:
        yield
    except RegrowError as error:
        text = str(error)
        raise RegrowError(text if text.startswith(str(file)) else f"{file}: {text}") from None
    except Exception as error:  # h5py, zlib and protobuf have errors of their own for damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RegrowError(f"{file}: is not a readable Keras model ({reason})") from None


def _read_archive(file: Path) -> ModelFile:
    size = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_entries(entries, size)
        version = _version(archive)
        config = _parsed(_text(archive, "config.json"), "config.json")
        found = [
            _stored_in(archive, entry)
            for entry in entries
            if PurePosixPath(entry.filename).suffix in (".h5", ".hdf5")
        ]
    # Loading with compile=False leaves the losses and metrics of the outermost model alone.
    config = {key: value for key, value in config.items() if key != "compile_config"}
    return ModelFile(
        config=config,
        keras_version=version,
        stored=sum(one.bytes for one in found),
        stored_layers=frozenset().union(*(one.layers for one in found)),
    )


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    names: set[str] = set()
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(path).drive:
            raise RegrowError(f"its entry '{entry.filename}' would be written outside its folder")
        if entry.filename in names:
            raise RegrowError(
                f"has two entries '{entry.filename}', and programs differ in which one they read"
            )
        names.add(entry.filename)
    expanded = sum(entry.file_size for entry in entries)
    if expanded > max(h5_files.SMALL, h5_files.EXPANSION * size):
        raise RegrowError(
            f"would expand to {expanded:,} bytes, more than {h5_files.EXPANSION} times its size"
        )


def _text(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > LARGEST_CONFIG:
        raise RegrowError(f"its {name} is larger than {LARGEST_CONFIG:,} bytes")
    return archive.read(name)


def _version(archive: zipfile.ZipFile) -> str:
    if "metadata.json" not in archive.namelist():
        return ""
    version = _parsed(_text(archive, "metadata.json"), "metadata.json").get("keras_version")
    return version if isinstance(version, str) else ""


def _stored_in(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> h5_files.Stored:
    import h5py

    # HDF5 goes back and forth, and each step back in an archive is a read from its start.
    with tempfile.TemporaryFile() as copy:
        with archive.open(entry) as content:
            shutil.copyfileobj(content, copy)
        with h5py.File(copy) as h5:
            return h5_files.stored(h5, size=entry.file_size)


def _read_h5(file: Path) -> ModelFile:
    import h5py

    with h5py.File(file) as h5:
        stored = h5_files.stored(h5, size=file.stat().st_size).bytes
        text, version = h5.attrs.get("model_config"), h5.attrs.get("keras_version", "")
    version = version.decode() if isinstance(version, bytes) else str(version)
    if version.startswith("3."):
        raise RegrowError(f"is an .h5 file of Keras {version}, which is read from .keras files only")
    if text is None:
        raise RegrowError("holds weights but no architecture; save the whole model")
    return ModelFile(config=_parsed(text, "model_config"), keras_version=version, stored=stored)


def _read_saved_model(folder: Path) -> ModelFile:
    text = saved_models.model_metadata(folder)
    root = _parsed(text, "Keras metadata")
    config = {"class_name": root.get("class_name"), "config": root.get("config")}
    version = root.get("keras_version")
    return ModelFile(
        config=config,
        keras_version=version if isinstance(version, str) else "",
        stored=saved_models.stored_bytes(folder),
    )


def _parsed(text: Any, name: str) -> dict[str, Any]:
    """The JSON object in ``text``, which is called ``name`` in the file."""
    if not isinstance(text, str | bytes):
        raise RegrowError(f"its {name} is of type {type(text).__name__}; accepted: text")
    if len(text) > LARGEST_CONFIG:
        raise RegrowError(f"its {name} is larger than {LARGEST_CONFIG:,} bytes")
    try:
        found = json.loads(text, parse_int=_integer)
    except RecursionError:
        raise RegrowError(f"its {name} is nested too deep; {_DEPTH}") from None
    except ValueError as error:
        raise RegrowError(f"its {name} is not JSON ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(found, dict):
        raise RegrowError(f"its {name} is {_kind(found)}; accepted: a JSON object")
    return found


_DEPTH = f"accepted: at most {DEEPEST} levels"


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > DIGITS:
        raise RegrowError(f"holds an integer of {len(text):,} digits; accepted: at most {DIGITS}")
    return int(text)


def _check_structure(config: Any) -> None:
    """Refuse a config whose objects have no name where one is needed, or that is nested too deep to be walked."""
    waiting = [(config, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise RegrowError(f"its config is nested too deep; {_DEPTH}")
        if isinstance(value, dict):
            _check_names(value)
            waiting += [(inner, depth + 1) for inner in value.values() if isinstance(inner, dict | list)]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value if isinstance(inner, dict | list)]


def _check_names(value: dict[str, Any]) -> None:
    kind, inner = value.get("class_name"), value.get("config")
    if "class_name" in value and not isinstance(kind, str):
        raise RegrowError(f"a class_name in its config is {_kind(kind)}; accepted: the name of a class")
    for key in ("module", "registered_name"):
        if "class_name" in value and not isinstance(value.get(key), str | None):
            raise RegrowError(f"the {key} of a {kind} in its config is {_kind(value[key])}; accepted: a name")
    if isinstance(kind, str) and isinstance(inner, dict) and not isinstance(inner.get("name"), str | None):
        raise RegrowError(f"the name of a {kind} in its config is {_kind(inner['name'])}; accepted: text")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), f"the number {value}")
