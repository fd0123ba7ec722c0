"""SavedModels that Keras wrote: their architecture as data, and the weights in their checkpoint.

Their graph is never loaded: operations in it write and read files, some as soon as it is loaded.
"""

import json
import math
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.model_files.declared_sizes import check_taken
from regrow.model_files.wrappers import layers_in
from regrow.storage.regular_files import irregular, read_bytes

GRAPH, METADATA, VARIABLES = "saved_model.pb", "keras_metadata.pb", "variables"
LARGEST = (1 << 31) - 1  # of a protocol buffer
LOOKUPS = ("IntegerLookup", "StringLookup", "TextVectorization")
KERAS_NODES = "_tf_keras_"
# In the names of what an optimizer keeps for a variable, and a stateful layer from one call to the next.
NO_WEIGHTS = (".OPTIMIZER_SLOT", "/states/")


def model_metadata(folder: Path) -> str:
    """What Keras noted of the model in the SavedModel ``folder``, as JSON.

    Since TensorFlow 2.5 it lies in ``keras_metadata.pb``, before that with the objects in ``saved_model.pb``.

    Raises:
        RegrowError: it is no SavedModel, or one that Keras did not write.
    """
    graph, metadata = folder / GRAPH, folder / METADATA
    if not graph.exists():
        raise RegrowError(f"{folder}: is a directory without {GRAPH}; a Keras SavedModel has one")
    text = _metadata(metadata) if metadata.exists() else _metadata_in_graph(graph)
    if not text:
        raise RegrowError(
            f"{folder}: is a SavedModel that Keras did not write (neither {METADATA} nor {GRAPH} describes a model"
            " of Keras)"
        )
    return text


def _metadata(file: Path) -> str | None:
    from tf_keras.protobuf import saved_metadata_pb2

    parsed = saved_metadata_pb2.SavedMetadata.FromString(read_bytes(file, max_bytes=LARGEST))
    return next((str(node.metadata) for node in parsed.nodes if node.node_path == "root"), None)


def _metadata_in_graph(file: Path) -> str | None:
    """What Keras before TensorFlow 2.5 noted with the outermost object, the first of the object graph."""
    from tensorflow.core.protobuf import saved_model_pb2

    parsed = saved_model_pb2.SavedModel.FromString(read_bytes(file, max_bytes=LARGEST))
    for graph in parsed.meta_graphs:
        nodes = graph.object_graph_def.nodes
        if nodes and nodes[0].user_object.identifier.startswith(KERAS_NODES):
            return str(nodes[0].user_object.metadata)
    return None


def stored_bytes(folder: Path) -> int:
    """The bytes of the checkpoint in the SavedModel ``folder``.

    Raises:
        RegrowError: a file of it is missing, or not a regular one.
    """
    parts = sorted((folder / VARIABLES).glob("variables.*"))
    if not parts:
        raise RegrowError(f"{folder}: contains no weights (no {VARIABLES}/variables.index)")
    for part in parts:
        if reason := irregular(part):
            raise RegrowError(f"{part}: {reason}")
    return sum(part.stat().st_size for part in parts)


def load_saved_model(
    folder: Path, config: dict[str, Any], *, trust: bool, custom_objects: dict[str, type]
) -> Any:
    """The `tf_keras` model of ``config``, not compiled, with the weights in the checkpoint of ``folder``.

    Python code in ``config`` is made into functions only with ``trust``.

    Raises:
        RegrowError: the folder holds other weights, or a vocabulary in its graph alone.
    """
    import tensorflow as tf
    import tf_keras
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    _refuse_vocabularies_in_graphs(config)
    with SafeModeScope(not trust):
        model = tf_keras.models.model_from_json(json.dumps(config), custom_objects=custom_objects)
    stored = tf.train.Checkpoint(model).read(str(folder / VARIABLES / "variables"))
    stored.assert_existing_objects_matched().expect_partial()
    check_taken(model, _stored_weights(folder))
    return model


def _refuse_vocabularies_in_graphs(config: dict[str, Any]) -> None:
    for kind, fields in layers_in(config):
        if kind in LOOKUPS and not fields.get("vocabulary"):
            raise RegrowError(
                f"layer '{fields.get('name')}' ({kind}) learned its vocabulary from data, which a "
                "SavedModel stores only in its graph, and graphs are not run; save the model as .keras"
            )


def _stored_weights(folder: Path) -> int:
    """How many real weights of layers the checkpoint holds; states and what optimizers keep are none."""
    import tensorflow as tf

    checkpoint = tf.train.load_checkpoint(str(folder / VARIABLES / "variables"))
    kinds = checkpoint.get_variable_to_dtype_map()
    return sum(
        math.prod(shape)
        for name, shape in checkpoint.get_variable_to_shape_map().items()
        if name.startswith("layer_with_weights-")
        and kinds[name].is_floating
        and not any(part in name for part in NO_WEIGHTS)
    )
