"""Model files that lie about what they hold, or are none. What would run if it were believed makes a folder ``ran``."""

import base64
import io
import json
import marshal
import os
import pickle
import socket
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.hostile.cases import Cases

MODELS = Cases()
UNITS = 2


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}


def dense(**changes: Any) -> dict[str, Any]:
    return layer(
        "Dense", **{"name": "dense", "dtype": "float32", "units": UNITS, "activation": "softmax", **changes}
    )


def sequential(*layers: Any) -> dict[str, Any]:
    entry = layer(
        "InputLayer", batch_input_shape=[None, 4], dtype="float32", sparse=False, ragged=False, name="entry"
    )
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "layers": [entry, *layers]},
        "registered_name": None,
        "build_config": {"input_shape": [None, 4]},
    }


def weights(*, kernel: Any = None, name: str = "dense") -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_group("vars")  # of the model itself: none
        place = file.create_group(f"layers/{name}/vars")
        place["0"] = np.zeros((4, UNITS), np.float32) if kernel is None else kernel
        place["1"] = np.zeros(UNITS, np.float32)
    return stream.getvalue()


def members(**changes: Any) -> dict[str, Any]:
    """The members of a good archive, but for ``changes`` by a name's first word; None leaves one out."""
    found = {
        "metadata.json": {"keras_version": "2.21.0", "date_saved": "2026-01-01@00:00:00"},
        "config.json": sequential(dense()),
        "model.weights.h5": weights(),
    }
    return {name: changes.get(name.partition(".")[0], content) for name, content in found.items()}


def archive(path: Path, content: dict[str, Any]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, item in content.items():
            if item is not None:
                file.writestr(name, item if isinstance(item, bytes | str) else json.dumps(item))


def keras(name: str, **changes: Any) -> None:
    """A ``.keras`` archive with ``changes``, to be inspected."""

    def case(folder: Path) -> list[str]:
        archive(folder / "model.keras", members(**changes))
        return ["inspect", "model.keras"]

    MODELS.add(name)(case)


keras("config: missing", config=None)
keras("config: empty", config="")
keras("config: no JSON", config="{")
keras("config: a list", config="[]")
keras("config: null", config="null")
keras("config: a number", config="7")
keras("config: an integer of 5,000 digits", config='{"class_name": ' + "9" * 5000 + "}")
keras("config: 3,000 brackets", config="[" * 3000 + "]" * 3000)
keras("config: 900 nested lists as units", config=json.dumps(sequential(dense())).replace(
    f'"units": {UNITS}', '"units": ' + "[" * 900 + "]" * 900))  # fmt: skip
keras("config: UTF-16", config=json.dumps(sequential(dense())).encode("utf-16")[:-1])
keras("config: no class", config={"config": {}})
keras("config: a class that is a list", config={**sequential(dense()), "class_name": ["Sequential"]})
keras("config: a class that is a number", config={**sequential(dense()), "class_name": 3})
keras("config: layers that are a text", config={**sequential(), "config": {"name": "a", "layers": "dense"}})
keras("config: a layer that is null", config=sequential(None))
keras("config: a layer's class is a mapping", config=sequential({**dense(), "class_name": {"a": 1}}))
keras("config: a layer's config is a list", config=sequential({**dense(), "config": [1]}))
keras("config: an unknown layer", config=sequential(layer("Frobnicate", name="a")))
keras("config: a class of another module", config=sequential({**layer("mkdir", path="ran"), "module": "os"}))
keras("config: units as text", config=sequential(dense(units="many")))
keras("config: negative units", config=sequential(dense(units=-3)))
keras("config: units of 5,000 digits", config=json.dumps(sequential(dense())).replace(
    f'"units": {UNITS}', '"units": ' + "9" * 5000))  # fmt: skip
keras("config: terabytes of units", config=sequential(dense(units=10**12)))
keras("config: gigabytes of units", config=sequential(dense(units=10**9)))
keras("config: an activation from elsewhere", config=sequential(dense(activation="os>mkdir")))
keras("config: steering letters in a class", config=sequential(layer("A\x1b[2J\u202eb", name="a")))
keras("metadata: no JSON", metadata="{")
keras("metadata: a list", metadata="[1]")
keras("metadata: a text", metadata='"2.21.0"')
keras("metadata: 3,000 brackets", metadata="[" * 3000)
keras("metadata: an integer of 5,000 digits", metadata="9" * 5000)
keras("metadata: a version that is a list", metadata={"keras_version": ["2", "21"]}, config="{}")
keras("weights: missing", model=None)
keras("weights: no HDF5", model=b"nothing")
keras("weights: cut off", model=weights()[:700])
keras("weights: of other shapes", model=weights(kernel=np.zeros((9, 9), np.float32)))
keras("weights: texts", model=weights(kernel=np.array([b"a", b"b"])))


def _lambda(code: bytes) -> dict[str, Any]:
    written = [base64.b64encode(code).decode(), None, None]
    function = {"class_name": "__lambda__", "config": {"code": written[0], "defaults": None, "closure": None}}
    return layer("Lambda", name="code", function=function, function_type="lambda")


CODE = marshal.dumps(compile("__import__('os').mkdir('ran')", "x", "eval"))
keras("a Lambda layer", config=sequential(_lambda(CODE)))
keras(
    "a Lambda layer in a wrapper", config=sequential(layer("TimeDistributed", name="a", layer=_lambda(CODE)))
)
keras("a Lambda layer in a model in a model", config=sequential(sequential(sequential(_lambda(CODE)))))


@MODELS.add("weights: an array of terabytes, declared")
def declared(folder: Path) -> list[str]:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_group("vars")
        place = file.create_group("layers/dense/vars")
        place.create_dataset("0", (1 << 40, UNITS), "f4", chunks=(1 << 10, UNITS))
        place["1"] = np.zeros(UNITS, np.float32)
    archive(folder / "model.keras", members(model=stream.getvalue()))
    return ["inspect", "model.keras"]


@MODELS.add("weights: an array in another file")
def elsewhere(folder: Path) -> list[str]:
    with h5py.File(folder / "weights.h5", "w") as file:
        file.create_group("vars")
        place = file.create_group("layers/dense/vars")
        place.create_dataset("0", (4, UNITS), "f4", external=[(str(folder / "canary"), 0, 4 * UNITS * 4)])
        place["1"] = np.zeros(UNITS, np.float32)
    archive(folder / "model.keras", members(model=(folder / "weights.h5").read_bytes()))
    return ["inspect", "model.keras"]


def file(name: str, path: str, content: bytes) -> None:
    """A file ``path`` that holds ``content``, to be inspected."""

    def case(folder: Path) -> list[str]:
        (folder / path).write_bytes(content)
        return ["inspect", path]

    MODELS.add(name)(case)


class Payload:
    """What makes the folder ``ran`` if it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("ran",)


PICKLE = pickle.dumps(Payload())
file("an empty archive", "model.keras", b"")
file("a text called .keras", "model.keras", b"hello")
file("an archive that is cut off", "model.keras", b"PK\x03\x04" + b"\0" * 40)
file("an archive without members", "model.keras", b"PK\x05\x06" + b"\0" * 18)
file("a pickle called .keras", "model.keras", PICKLE)
file("an empty .h5", "model.h5", b"")
file("a text called .h5", "model.h5", b"hello")
file("a pickle called .h5", "model.h5", PICKLE)
file("a signature of HDF5 and nothing", "model.h5", b"\x89HDF\r\n\x1a\n")
file("a pickle", "model.pkl", PICKLE)
file("a file of another kind", "model.pt", PICKLE)


def legacy(name: str, config: Any) -> None:
    """A ``.h5`` whose attribute ``model_config`` is ``config``."""

    def case(folder: Path) -> list[str]:
        with h5py.File(folder / "model.h5", "w") as file:
            file.attrs["keras_version"] = "2.21.0"
            if config is not None:
                file.attrs["model_config"] = config
            file.create_group("model_weights")
        return ["inspect", "model.h5"]

    MODELS.add(name)(case)


legacy("h5: no config", None)
legacy("h5: a config that is no JSON", "{")
legacy("h5: a config that is a number", 5)
legacy("h5: a config that is an array", np.zeros((3, 3)))
legacy("h5: 3,000 brackets", "[" * 3000)
legacy("h5: an integer of 5,000 digits", "9" * 5000)
legacy("h5: a Lambda layer", json.dumps(sequential(_lambda(CODE))))
legacy("h5: a class that is a list", json.dumps({"class_name": ["a"], "config": {}}))


def saved(name: str, content: bytes) -> None:
    """A SavedModel whose ``saved_model.pb`` holds ``content``."""

    def case(folder: Path) -> list[str]:
        (folder / "model").mkdir()
        (folder / "model" / "saved_model.pb").write_bytes(content)
        return ["inspect", "model"]

    MODELS.add(name)(case)


saved("SavedModel: empty", b"")
saved("SavedModel: noise", bytes(range(256)))
saved("SavedModel: a length beyond the end", b"\x12\xff\xff\xff\xff\x07")


@MODELS.add("a path out of the archive")
def outside(folder: Path) -> list[str]:
    archive(folder / "model.keras", {**members(), "../ran": "x", "/tmp/../ran": "x"})
    return ["inspect", "model.keras"]


@MODELS.add("a member twice")
def twice(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "model.keras", "w") as file:
        for name in ("config.json", "config.json", "metadata.json"):
            file.writestr(name, "{}")
    return ["inspect", "model.keras"]


@MODELS.add("a member that is far larger than the archive")
def bomb(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "model.keras", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "2.21.0"}))
        with file.open("config.json", "w") as member:
            for _ in range(300):
                member.write(b" " * (1 << 20))
    return ["inspect", "model.keras"]


def place(name: str, path: str, make: Any) -> None:
    def case(folder: Path) -> list[str]:
        make(folder / path)
        return ["inspect", path]

    MODELS.add(name)(case)


def listen(path: Path) -> None:
    """A socket called ``path``: its whole path may be too long for one."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


place("a named pipe as a model", "model.keras", os.mkfifo)
place("a named pipe as .h5", "model.h5", os.mkfifo)
place("a socket as a model", "model.keras", listen)
place("an endless device as a model", "model.keras", lambda path: path.symlink_to("/dev/zero"))
place("an endless device as .h5", "model.h5", lambda path: path.symlink_to("/dev/zero"))
place("a link to itself", "model.keras", lambda path: path.symlink_to(path.name))
place("a link to nothing", "model.keras", lambda path: path.symlink_to("nowhere"))
place("an empty folder called .keras", "model.keras", Path.mkdir)
place("no model", "model.keras", lambda path: None)


@MODELS.add("a name of 300 letters")
def long_name(folder: Path) -> list[str]:
    return ["inspect", "a" * 300 + ".keras"]


@MODELS.add("a name that steers the terminal")
def steering(folder: Path) -> list[str]:
    (folder / "a\x1b[2J\nerror: fine\u202e.keras").write_bytes(b"x")
    return ["prune", "a\x1b[2J\nerror: fine\u202e.keras", "--set", "prune.sparsity=0.5"]


@MODELS.add("to be pruned: a Lambda layer")
def pruned_code(folder: Path) -> list[str]:
    archive(folder / "model.keras", members(config=sequential(_lambda(CODE))))
    return ["prune", "model.keras", "--set", "prune.sparsity=0.5"]


@MODELS.add("to be pruned: noise")
def pruned_noise(folder: Path) -> list[str]:
    (folder / "model.keras").write_bytes(bytes(range(256)))
    return ["prune", "model.keras", "--set", "prune.target.macs=0.5"]


@MODELS.add("to be pruned: a named pipe")
def pruned_pipe(folder: Path) -> list[str]:
    os.mkfifo(folder / "model.keras")
    return ["prune", "model.keras", "--set", "prune.sparsity=0.5"]
