"""What lies beside the exports and explains them: ``labels.txt``, ``signature.json`` and ``README.md``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.conversion.formats import FORMATS, ExportFormat
from regrow.dataset.info import DatasetInfo
from regrow.storage.artifacts import write_json

LABELS, SIGNATURE, README = "labels.txt", "signature.json", "README.md"
BESIDE = (LABELS, SIGNATURE, README)
STATE = (
    "The interpreter keeps the state of recurrent layers from one call to the next. Reset it before every"
    " example that does not go on from the one before: reset_all_variables() in Python, ResetVariableTensors() in C++,"
    " resetVariableTensors() in Java and Kotlin."
)


def describe_exports(folder: Path, info: DatasetInfo, *, role: str) -> None:
    """Write `BESIDE` for the exports that lie in ``folder``.

    Args:
        folder: a directory of exports.
        info: of the dataset that the model was made for: what it takes, and its classes in order.
        role: ``parent`` or ``recovered``.
    """
    signature = signature_of(folder, info)
    write_json(folder / SIGNATURE, signature)
    (folder / LABELS).write_text(label_lines(signature["output"]["classes"]), "utf-8")
    (folder / README).write_text(readme(signature, role=role), "utf-8")


def signature_of(folder: Path, info: DatasetInfo) -> dict[str, Any]:
    """The content of ``signature.json``.

    ``input`` and ``output`` hold for all files: what the values mean, and the classes in the order of the output's.
    ``files`` says of each file which dtype and shape it takes and gives (null: any number of examples), by which scale
    and zero point int8 codes stand for values (value = (code − zero point) · scale), and whether it keeps a state.
    """
    (feature,) = info.features.values()
    (target,) = [item for name, item in info.targets.items() if name == next(iter(info.targets))]
    made = [record for record in FORMATS.values() if (folder / record.file).exists()]
    shape, classes = list(feature.shape), list(target.classes)
    return {
        "schema_version": 1,
        "task": info.task,
        "input": {
            "name": "features",
            "shape": shape,
            "range": list(feature.range),
            "data_dtype": feature.dtype,
        },
        "output": {"name": "probabilities", "classes": classes},
        "files": {
            record.file: {"format": record.name, **_facts(record, folder, shape, len(classes))}
            for record in made
        },
    }


def _facts(record: ExportFormat, folder: Path, shape: Sequence[int], classes: int) -> dict[str, Any]:
    if record.facts is not None:
        found = record.facts(folder / record.file)
        return {**found, "reset": STATE} if found["keeps_state"] else found
    return {
        "input": {"dtype": "float32", "shape": [None, *shape]},
        "output": {"dtype": "float32", "shape": [None, classes]},
        "keeps_state": False,
    }


def label_lines(classes: Sequence[str]) -> str:
    """One class a line, in the order of the output; a name that has line breaks is put on one."""
    return "".join(f"{' '.join(name.splitlines())}\n" for name in classes)


def readme(signature: Mapping[str, Any], *, role: str) -> str:
    """The README: what goes in, what comes out, and Python for each file."""
    values, files = signature["input"], signature["files"]
    low, high = values["range"]
    shape = " × ".join(str(size) for size in values["shape"])
    kinds = {"parent": "The model before pruning", "recovered": "The pruned and recovered model"}
    text = [
        f"# {kinds[role]}, as exported by Regrow",
        "",
        f"Input: {shape} values from {low:g} to {high:g}, as they are in the data: the model itself scales them."
        f" Output: {len(signature['output']['classes'])} probabilities, in the order of the classes in `{LABELS}`."
        f" `{SIGNATURE}` says the same to programs, and the dtype, shape and quantisation of each file.",
        "",
        "In this folder:",
        "",
        *_code(
            "import numpy as np",
            f'labels = open("{LABELS}", encoding="utf-8").read().splitlines()',
            f'x = np.zeros({(1, *values["shape"])}, "{values["data_dtype"]}")  # your example, as a batch of one',
        ),
        "then one of the following, then",
        "",
        *_code("print([labels[index] for index in answer.argmax(-1)])"),
    ]
    for file, facts in files.items():
        batch = "one example at a time" if facts["input"]["shape"][0] == 1 else "any number of examples"
        text += [f"## {file}", "", f"Takes {facts['input']['dtype']}, {batch}.", ""]
        if facts["keeps_state"]:
            text += [STATE, ""]
        usage = FORMATS[facts["format"]].usage.strip()
        text += _code(*usage.format(file=file, quantisation=_quantisation(facts)).split("\n"))
    return "\n".join(text)


def _code(*lines: str) -> list[str]:
    return ["```python", *lines, "```", ""]


def _quantisation(facts: Mapping[str, Any]) -> str:
    """Scale and zero point of input and output, as Python; empty where there are none."""
    sides = [facts[side] for side in ("input", "output") if "scale" in facts[side]]
    return ", ".join(f"({side['scale']!r}, {side['zero_point']})" for side in sides)
