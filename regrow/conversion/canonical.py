"""Takes out of what converters write what is not the model's: counters of the process, times, random identifiers.

TensorFlow numbers functions over the life of a process and puts the numbers into a SavedModel; so the same model had
other bytes where another was converted before it, and a file taken from a cache would not be the one that a conversion
gives.
"""

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

NUMBERED = re.compile(r"(.+?)_(\d+)")
COUNTED = re.compile(r"(?<=__)\d+(?=$|:|_)")  # in the names that tf2onnx makes
ARGUMENT = "_user_specified_name"


def canonical_saved_model(folder: Path) -> None:
    """Give the functions of the SavedModel in ``folder`` names without the process's counter, and sort them."""
    from tensorflow.core.protobuf import saved_model_pb2

    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for graph in saved.meta_graphs:
        library = graph.graph_def.library
        names = plain_names(function.signature.name for function in library.function)
        _rename(graph, names)
        for function in library.function:
            for argument in function.arg_attr.values():
                # Of a variable that was captured, the identifier that it had in the process.
                if ARGUMENT in argument.attr and argument.attr[ARGUMENT].s.isdigit():
                    del argument.attr[ARGUMENT]
        ordered = sorted(library.function, key=lambda function: str(function.signature.name))
        copies = [type(function).FromString(function.SerializeToString()) for function in ordered]
        del library.function[:]
        library.function.extend(copies)
    file.write_bytes(saved.SerializeToString(deterministic=True))
    objects = saved.meta_graphs[0].object_graph_def.SerializeToString(deterministic=True)
    _write_fingerprint(folder, objects=int.from_bytes(hashlib.sha256(objects).digest()[:8]))


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """What each numbered name becomes: its stem with its place among those of the same stem.

    TensorFlow's fingerprint needs names that end in a number.

    >>> plain_names(["__inference_serve_217", "while_9", "while_12", "main"])
    {'__inference_serve_217': '__inference_serve_0', 'while_9': 'while_0', 'while_12': 'while_1'}
    """
    stems: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if found := NUMBERED.fullmatch(name):
            stems.setdefault(found[1], []).append((int(found[2]), name))
    return {
        name: f"{stem}_{place}"
        for stem, members in stems.items()
        for place, (_, name) in enumerate(sorted(members))
    }


def _is_repeated(field: Any) -> bool:
    known = getattr(field, "is_repeated", None)  # protobuf before 6 has no such attribute
    return bool(field.label == field.LABEL_REPEATED if known is None else known)


def _texts(message: Any) -> Iterator[str]:
    """All texts in ``message``, a kind that has no maps."""
    for field, value in message.ListFields():
        values = value if _is_repeated(field) else (value,)
        if field.message_type is not None:
            for item in values:
                yield from _texts(item)
        elif field.type == field.TYPE_STRING:
            yield from values


def _rename(message: Any, names: Mapping[str, str]) -> None:
    """Replace each text in ``message`` that is one of ``names``, keys of maps too."""
    for field, value in message.ListFields():
        repeated = _is_repeated(field)
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            _rename_map(value, entry.fields_by_name["value"], names)
        elif entry is not None:
            for item in value if repeated else (value,):
                _rename(item, names)
        elif field.type == field.TYPE_STRING and repeated:
            value[:] = [names.get(text, text) for text in value]
        elif field.type == field.TYPE_STRING and value in names:
            setattr(message, field.name, names[value])


def _rename_map(values: Any, kind: Any, names: Mapping[str, str]) -> None:
    for key in list(values):
        if kind.message_type is not None:
            _rename(values[key], names)
            if key in names:
                values[names[key]].CopyFrom(values[key])
                del values[key]
        elif kind.type == kind.TYPE_STRING:
            values[key] = names.get(values[key], values[key])


def canonical_onnx(model: Any) -> None:
    """Number the values of the ONNX ``model`` by their order, not by how many the process made before."""
    model.graph.doc_string = ""
    texts = {text for text in _texts(model.graph) if COUNTED.search(text)}
    counts = sorted({int(number) for text in texts for number in COUNTED.findall(text)})
    places = {str(number): str(place) for place, number in enumerate(counts)}
    _rename(model.graph, {text: COUNTED.sub(lambda found: places[found[0]], text) for text in texts})


def _write_fingerprint(folder: Path, *, objects: int) -> None:
    """A SavedModel's fingerprint as it is now, without the random identifier.

    ``objects`` stands for TensorFlow's hash of the objects, which takes them in an order that is another each time.
    """
    from tensorflow.core.protobuf import fingerprint_pb2
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    path = folder / "fingerprint.pb"
    if path.is_file():
        found = fingerprint_pb2.FingerprintDef.FromString(fingerprinting.CreateFingerprintDef(str(folder)))
        found.saved_object_graph_hash = objects
        found.uuid = str(uuid.UUID(int=found.saved_model_checksum))
        path.write_bytes(found.SerializeToString(deterministic=True))
