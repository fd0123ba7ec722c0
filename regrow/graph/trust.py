"""A model file from outside is data: its architecture is read, and code in it refused, before anything is built."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from regrow.errors import RegrowError
from regrow.graph.pure_classes import keras_objects, pure_layers
from regrow.graph.recording import added_in, refuse_unrecorded

# An archive may expand to this many times its size, or to this many bytes; deflate alone could make 1,000 times.
EXPANSION = 100
SMALL = 1 << 28
LARGEST_CONFIG = 1 << 28

ACTIVATIONS = re.compile(
    "elu|exponential|gelu|hard_sigmoid|leaky_relu|linear|mish|relu|relu6|selu|sigmoid|silu|softmax|softplus|softsign"
    "|swish|tanh"
)
# TFOpLambda layers name a symbol of TensorFlow, which also holds file and Python functions. These compute only.
OPERATIONS = re.compile(
    r"(__operators__|math|nn|linalg|signal)\.\w+|image\.(central_crop|extract_patches|flip_\w+|resize\w*)|reduce_\w+"
    r"|compat\.v1\.(boolean_mask|gather|gather_nd|norm|pad|shape|size|squeeze|transpose|nn\.\w+|math\.\w+)"
    "|argmax|argmin|argsort|boolean_mask|broadcast_to|cast|clip_by_norm|clip_by_value|concat|convert_to_tensor"
    "|ensure_shape|expand_dims|gather|gather_nd|identity|linspace|meshgrid|norm|one_hot|ones_like|pad|range|rank|repeat"
    "|reshape|reverse|roll|sequence_mask|shape|size|slice|sort|space_to_batch|space_to_batch_nd|split|squeeze|stack"
    "|stop_gradient|strided_slice|tensordot|tile|transpose|unstack|where|zeros_like"
)
CODE = frozenset({"Lambda", "__lambda__", "ClassMethod", "InstanceMethod", "TensorFlowOpLayer"})
TYPE_SPECS = frozenset({"TensorSpec", "RaggedTensorSpec", "SparseTensorSpec"})


def refuse_code(file: Path) -> None:
    """Look at the model ``file`` without loading it.

    Raises:
        RegrowError: a ``Lambda`` layer, marshalled or pickled code, a class that is not one of Keras' pure ones, a
            TensorFlow symbol that does more than compute, a file that a layer would read, a link out of an HDF5
            file, or an unsafe archive.
    """
    config = architecture(file)
    from_keras3 = keras_version(file).startswith("3.")
    found = None if from_keras3 else _subclassed(config)
    if found is not None:
        raise RegrowError(f"{file}: {found}")
    found = _first(config, _unknown_operation)
    if found is not None:
        raise RegrowError(
            f"{file}: {found} is an operation of TensorFlow that is not known to compute only; express it with Keras'"
            " own layers and save the model again"
        )
    found = code_in(config)
    if found is not None:
        raise RegrowError(
            f"{file}: {found} carries Python code, which is not run from a model file; express it with Keras' own"
            " layers (such as Rescaling or Activation) and save the model again"
        )
    # What is of Keras 3 is not built by its names, but converted by a table of those that are known.
    found = None if from_keras3 else foreign_in(config)
    if found is not None:
        raise RegrowError(f"{file}: {found}")


def architecture(file: Path) -> Any:
    """The architecture in a ``.keras`` file, an ``.h5`` file or a Keras SavedModel, as JSON.

    Raises:
        RegrowError: another kind of file, a broken one, or one that lacks what `tf_keras` does not write down.
    """
    readers = {".keras": _archive_config, ".h5": _h5_config, ".hdf5": _h5_config}
    if not file.is_dir() and file.suffix not in readers:
        raise RegrowError(f"{file}: is not a model file; accepted: .keras, .h5, a SavedModel directory")
    try:
        config = _saved_model_config(file) if file.is_dir() else readers[file.suffix](file)
    except RegrowError:
        raise
    except Exception as error:  # h5py, zlib and protobuf have errors of their own for damaged files
        raise RegrowError(f"{file}: is not a readable Keras model ({_line(error)})") from None
    try:
        refuse_unrecorded(config)
    except RegrowError as error:
        raise RegrowError(f"{file}: {error}") from None
    return config


def _archive_config(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        for entry in entries:
            path = PurePosixPath(entry.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                raise RegrowError(f"{file}: its entry '{entry.filename}' would be written outside its folder")
        expanded = sum(entry.file_size for entry in entries)
        if expanded > max(SMALL, EXPANSION * file.stat().st_size):
            raise RegrowError(
                f"{file}: would expand to {expanded:,} bytes, more than {EXPANSION} times its size"
            )
        if archive.getinfo("config.json").file_size > LARGEST_CONFIG:
            raise RegrowError(f"{file}: its config.json is larger than {LARGEST_CONFIG:,} bytes")
        for entry in entries:
            if PurePosixPath(entry.filename).suffix in (".h5", ".hdf5"):
                _refuse_links_in(archive.read(entry), file)
        config = json.loads(archive.read("config.json"))
    # Loading with compile=False leaves the losses and metrics of the outermost model alone.
    return {key: value for key, value in config.items() if key != "compile_config"}


def _refuse_links_in(content: bytes, file: Path) -> None:
    import h5py

    with h5py.File(io.BytesIO(content)) as h5:
        refuse_links(h5, file)


def keras_version(file: Path) -> str:
    """The version of Keras that saved a ``.keras`` archive; empty for other files, and where it is not stated."""
    if file.suffix != ".keras" or not file.is_file():
        return ""
    with zipfile.ZipFile(file) as archive:
        found = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
    return str(found.get("keras_version", "")) if isinstance(found, dict) else ""


def refuse_links(h5: Any, file: Path) -> None:
    """Refuse an open HDF5 file, named ``file``, that takes data from another one.

    Raises:
        RegrowError: it has an external link, or external or virtual data.
    """
    import h5py

    outside = next(_links_outside(h5, h5py), None)
    if outside is not None:
        raise RegrowError(f"{file}: '{outside}' points to another file, which is not followed")


def _h5_config(file: Path) -> Any:
    import h5py

    with h5py.File(file) as h5:
        refuse_links(h5, file)
        text = h5.attrs.get("model_config")
        version = str(h5.attrs.get("keras_version", ""))
    if version.startswith("3."):
        raise RegrowError(f"{file}: is an .h5 file of Keras {version}, which is read from .keras files only")
    if text is None:
        raise RegrowError(f"{file}: holds weights but no architecture; save the whole model")
    return json.loads(text)


def _links_outside(group: Any, h5py: Any) -> Iterator[str]:
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            yield f"{group.name}/{name}"
            continue
        if isinstance(group.get(name, getlink=True), h5py.SoftLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _links_outside(item, h5py)
        elif item.external or item.is_virtual:
            yield str(item.name)


def _saved_model_config(folder: Path) -> Any:
    """The config of the model that ``keras_metadata.pb`` of a SavedModel describes; its graph is left alone."""
    metadata = folder / "keras_metadata.pb"
    if not (folder / "saved_model.pb").is_file():
        raise RegrowError(f"{folder}: is a directory without saved_model.pb; a Keras SavedModel has one")
    if not metadata.is_file():
        raise RegrowError(f"{folder}: is a SavedModel that Keras did not write (no keras_metadata.pb)")
    from tf_keras.protobuf import saved_metadata_pb2

    parsed = saved_metadata_pb2.SavedMetadata.FromString(metadata.read_bytes())
    root: dict[str, Any] = next(
        (json.loads(node.metadata) for node in parsed.nodes if node.node_path == "root"), {}
    )
    return {"class_name": root.get("class_name"), "config": root.get("config")}


def code_in(config: Any) -> str | None:
    """What in an architecture is code, such as ``layer 'scale'``, or None."""
    return _first(config, _code)


def foreign_in(config: Any) -> str | None:
    """What in an architecture of `tf_keras` is not known to compute only, as a sentence without its file, or None."""
    return _first(config, _foreign)


def _subclassed(config: Any) -> str | None:
    """That the whole is a model of a class of its own, or None."""
    kind = config.get("class_name") if isinstance(config, dict) else None
    if kind is None or kind in pure_layers() or kind in keras_objects():
        return None
    return f"is a model of class '{kind}', a subclassed one; accepted: Functional and Sequential models"


def _first(config: Any, check: Callable[[dict[str, Any]], str | None]) -> str | None:
    """The first thing that ``check`` finds in ``config`` and the objects within it."""
    if isinstance(config, dict):
        found = check(config)
        if found is not None:
            return found
        config = list(config.values())
    if isinstance(config, list):
        return next((found for item in config if (found := _first(item, check)) is not None), None)
    return None


def _named(config: dict[str, Any]) -> str:
    inner = config.get("config")
    fields = inner if isinstance(inner, dict) else {}
    return f"layer '{fields.get('name') or config.get('name') or config.get('class_name')}'"


def _foreign(config: dict[str, Any]) -> str | None:
    kind, inner = config.get("class_name"), config.get("config")
    fields = inner if isinstance(inner, dict) else {}
    added = added_in(str(fields.get("name")), str(kind))
    if added is not None:
        return added
    if isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
        return (
            f"{_named(config)} takes its vocabulary from the file '{inner['vocabulary']}', which is not read; save"
            " the model with the words themselves"
        )
    if kind is None or kind in pure_layers() or kind in keras_objects():
        return None
    return (
        f"{_named(config)} is of class '{kind}'; accepted: the layers of tf_keras that only compute;"
        " a model with layers of your own is pruned from Python (docs/rules.md)"
    )


def _code(config: dict[str, Any]) -> str | None:
    kind, module, inner = config.get("class_name"), config.get("module"), config.get("config")
    fields = inner if isinstance(inner, dict) else {}
    named = _named(config)
    if not isinstance(kind, str):
        return "a function" if config.get("function_type") == "lambda" else None
    if kind.rsplit(">", 1)[-1] in CODE or fields.get("function_type") == "lambda":
        return named
    if kind == "function":
        known = module in (None, "builtins") and ACTIVATIONS.fullmatch(str(inner))
        return None if known else f"function '{inner}'"
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        return _unknown_operation(config)
    if kind == "__typespec__" and config.get("spec_name") in TYPE_SPECS:
        return None
    if module is None or str(module).split(".", 1)[0] in ("keras", "tf_keras"):
        return None
    return f"{named} of '{module}'"


def _unknown_operation(config: dict[str, Any]) -> str | None:
    inner = config.get("config")
    if config.get("class_name") not in ("TFOpLambda", "SlicingOpLambda") or not isinstance(inner, dict):
        return None
    symbol = str(inner.get("function"))
    return None if OPERATIONS.fullmatch(symbol) else f"layer '{inner.get('name')}' (tf.{symbol})"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
