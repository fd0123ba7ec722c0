"""A model file from outside is data: its architecture is read, and code in it refused, before anything is built."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from regrow.errors import RegrowError

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
    r"(__operators__|math|nn|linalg|signal)\.\w+|image\.resize|reduce_\w+"
    r"|compat\.v1\.(gather|squeeze|transpose|nn\.\w+|math\.\w+)"
    "|argmax|boolean_mask|broadcast_to|cast|clip_by_value|concat|convert_to_tensor|expand_dims|gather|identity"
    "|meshgrid|one_hot|ones_like|pad|range|rank|repeat|reshape|reverse|roll|shape|size|slice|split|squeeze|stack"
    "|stop_gradient|strided_slice|tile|transpose|unstack|where|zeros_like"
)
CODE = frozenset({"Lambda", "__lambda__", "ClassMethod", "InstanceMethod", "TensorFlowOpLayer"})
CODE_OPERATIONS = frozenset(
    {"PyFunc", "PyFuncStateless", "EagerPyFunc", "WriteFile", "ReadFile", "MatchingFiles"}
)


def refuse_code(file: Path) -> None:
    """Look at the model ``file`` without loading it.

    Raises:
        RegrowError: a ``Lambda`` layer, marshalled or pickled code, a class from another package than Keras, a
            TensorFlow symbol that does more than compute, a link out of an ``.h5`` file, or an unsafe archive.
    """
    found = code_in(architecture(file))
    if found is None and file.is_dir():
        found = code_in_graph(file)
    if found is not None:
        raise RegrowError(
            f"{file}: {found} carries Python code, which is not run from a model file;"
            f" set trust to load a file whose origin you know"
        )


def architecture(file: Path) -> Any:
    """The architecture in a ``.keras`` file, an ``.h5`` file or a Keras SavedModel, as JSON.

    Raises:
        RegrowError: another kind of file, or a broken one.
    """
    readers = {".keras": _archive_config, ".h5": _h5_config, ".hdf5": _h5_config}
    if not file.is_dir() and file.suffix not in readers:
        raise RegrowError(f"{file}: is not a model file; accepted: .keras, .h5, a SavedModel directory")
    try:
        return _saved_model_config(file) if file.is_dir() else readers[file.suffix](file)
    except RegrowError:
        raise
    except Exception as error:  # h5py, zlib and protobuf have errors of their own for damaged files
        raise RegrowError(f"{file}: is not a readable Keras model ({_line(error)})") from None


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
        config = json.loads(archive.read("config.json"))
    # Loading with compile=False leaves the losses and metrics of the outermost model alone.
    return {key: value for key, value in config.items() if key != "compile_config"}


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
    """Configs of all layers in ``keras_metadata.pb`` of a SavedModel."""
    metadata = folder / "keras_metadata.pb"
    if not (folder / "saved_model.pb").is_file():
        raise RegrowError(f"{folder}: is a directory without saved_model.pb; a Keras SavedModel has one")
    if not metadata.is_file():
        raise RegrowError(f"{folder}: is a SavedModel that Keras did not write (no keras_metadata.pb)")
    from tf_keras.protobuf import saved_metadata_pb2

    parsed = saved_metadata_pb2.SavedMetadata.FromString(metadata.read_bytes())
    nodes = (
        json.loads(node.metadata)
        for node in parsed.nodes
        if node.metadata and node.identifier != "_tf_keras_metric"
    )
    return [{key: value for key, value in node.items() if key != "training_config"} for node in nodes]


def code_in_graph(folder: Path) -> str | None:
    """The operation in a SavedModel's graph that runs Python or touches files, or None."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for graph in (meta.graph_def for meta in saved.meta_graphs):
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            for node in nodes:
                if node.op in CODE_OPERATIONS:
                    return f"operation '{node.name}' ({node.op})"
    return None


def code_in(config: Any) -> str | None:
    """What in an architecture is code, such as ``layer 'scale'``, or None."""
    if isinstance(config, dict):
        found = _code(config)
        if found is not None:
            return found
        config = list(config.values())
    if isinstance(config, list):
        return next((found for found in map(code_in, config) if found is not None), None)
    return None


def _code(config: dict[str, Any]) -> str | None:
    kind, module, inner = config.get("class_name"), config.get("module"), config.get("config")
    fields = inner if isinstance(inner, dict) else {}
    named = f"layer '{fields.get('name') or config.get('name') or kind}'"
    if not isinstance(kind, str):
        return "a function" if config.get("function_type") == "lambda" else None
    if kind.rsplit(">", 1)[-1] in CODE or fields.get("function_type") == "lambda":
        return named
    if kind == "function":
        known = module in (None, "builtins") and ACTIVATIONS.fullmatch(str(inner))
        return None if known else f"function '{inner}'"
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        symbol = str(fields.get("function"))
        return None if OPERATIONS.fullmatch(symbol) else f"layer '{fields.get('name')}' ({symbol})"
    if module is None or (kind == "__typespec__" and str(module).startswith("tensorflow.")):
        return None
    root = str(module).split(".", 1)[0]
    return None if root in ("keras", "tf_keras") else f"{named} of '{module}'"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
