"""Model files that are broken, odd or made to do harm: one sentence each, at once; nothing of their size is made."""

import copy
import json
import os
import shutil
import socket
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from regrow.errors import RegrowError
from regrow.model_files import declared_sizes
from regrow.model_files.files import import_model, load_file

Layer = dict[str, Any]
AT_ONCE = 5.0  # seconds; most are refused within hundredths of one


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small model as model.keras, model.h5 and the SavedModel ``saved``."""
    import tf_keras

    layers = tf_keras.layers
    folder = tmp_path_factory.mktemp("good")
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.Conv2D(4, 3, name="conv"),
            layers.Flatten(),
            layers.Dense(3, name="head"),
        ]
    )
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save(folder / "saved", save_format="tf")
    return folder


def _members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(target: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            archive.writestr(name, value)
    return target


def _refused(file: Path) -> str:
    """The one sentence with which ``file`` is refused, trusted or not."""
    sentences = set()
    for trust in (False, True):
        start = time.perf_counter()
        with pytest.raises(RegrowError) as caught:
            load_file(file, trust=trust)
        assert time.perf_counter() - start < AT_ONCE
        sentences.add(str(caught.value))
    (text,) = sentences
    assert text.startswith(f"{file}") and "\n" not in text, text
    return text


def _layer(kind: str, **config: Any) -> Layer:
    return {
        "module": "keras.layers",
        "class_name": kind,
        "registered_name": None,
        "config": {"name": "x", **config},
    }


def _input(*shape: int, dtype: str = "float32") -> Layer:
    return _layer("InputLayer", batch_input_shape=[None, *shape], dtype=dtype, name="given")


def _sequential(*layers: Layer, name: str = "whole") -> Layer:
    return {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {"name": name, "layers": list(layers)},
    }


METADATA = {
    "broken": (b"{broken", "metadata.json is not JSON"),
    "a list": (b"[1]", "metadata.json is a list"),
    "null": (b"null", "metadata.json is null"),
    "not text": (b"\xff\xfe\x00\x80", "metadata.json is not JSON"),
    "nested": (b"[" * 100_000, "metadata.json is nested too deep"),
    "digits": (b'{"keras_version": ' + b"9" * 5_000 + b"}", "an integer of 5,000 digits"),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_is_broken_or_odd(good: Path, tmp_path: Path, name: str) -> None:
    content, reason = METADATA[name]
    members = {**_members(good / "model.keras"), "metadata.json": content}
    assert reason in _refused(_archive(tmp_path / "bad.keras", members))


CONFIGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "null": (lambda config: None, "config.json is null"),
    "empty": (lambda config: {}, "describes no model"),
    "text": (lambda config: "Sequential", "config.json is text"),
    "class list": (
        lambda config: _set(config, 1, "class_name", ["Conv2D"]),
        "a class_name in its config is a list",
    ),
    "class number": (lambda config: _set(config, 1, "class_name", 7), "is the number 7"),
    "class null": (lambda config: _set(config, 2, "class_name", None), "a class_name in its config is null"),
    "class of all": (lambda config: {**config, "class_name": {}}, "a class_name in its config is an object"),
    "module list": (
        lambda config: _set(config, 1, "module", ["keras"]),
        "the module of a Conv2D in its config is a",
    ),
    "name list": (
        lambda config: _within(config, 1, "name", ["a"]),
        "the name of a Conv2D in its config is a list",
    ),
    "900 lists": (lambda config: _within(config, 1, "kernel_size", _nested(900)), "nested too deep"),
    "150 lists": (lambda config: _within(config, 1, "kernel_size", _nested(150)), "cannot be loaded"),
    "digits": (lambda config: _within(config, 1, "filters", 10**4_000), "an integer of 4,001 digits"),
    "64 bits": (lambda config: _within(config, 1, "filters", 10**19), "declares weights of"),
    "negative": (lambda config: _within(config, 1, "filters", -4), "cannot be loaded"),
    "no layers": (lambda config: {**config, "config": {"name": "x"}}, "cannot be loaded"),
    "other units": (lambda config: _within(config, 3, "units", 4), "cannot be loaded"),
}


def _set(config: Any, place: int, key: str, value: Any) -> Any:
    config["config"]["layers"][place][key] = value
    return config


def _within(config: Any, place: int, key: str, value: Any) -> Any:
    config["config"]["layers"][place]["config"][key] = value
    return config


def _nested(depth: int) -> Any:
    return json.loads("[" * depth + "3" + "]" * depth)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", CONFIGS)
def test_configs_that_are_broken_or_odd(good: Path, tmp_path: Path, name: str, suffix: str) -> None:
    change, reason = CONFIGS[name]
    bad = _with_config(good, tmp_path / f"bad{suffix}", change)
    assert reason.replace("config.json", "model_config" if suffix == ".h5" else "config.json") in _refused(
        bad
    )


def _with_config(good: Path, target: Path, change: Callable[[Any], Any]) -> Path:
    if target.suffix == ".keras":
        members = _members(good / "model.keras")
        members["config.json"] = json.dumps(change(json.loads(members["config.json"]))).encode()
        return _archive(target, members)
    shutil.copy(good / "model.h5", target)
    with h5py.File(target, "a") as h5:
        h5.attrs["model_config"] = json.dumps(change(json.loads(h5.attrs["model_config"])))
    return target


BILLION = 10**9
LARGE: dict[str, tuple[Layer, ...]] = {
    "Dense": (_input(4), _layer("Dense", units=10 * BILLION)),
    "Embedding": (_input(4, dtype="int32"), _layer("Embedding", input_dim=10 * BILLION, output_dim=8)),
    "Conv2D": (_input(8, 8, 3), _layer("Conv2D", filters=BILLION, kernel_size=[3, 3])),
    "kernel": (_input(8, 8, 3), _layer("Conv2D", filters=4, kernel_size=[30_000, 30_000], padding="same")),
    "DepthwiseConv2D": (
        _input(8, 8, 3),
        _layer("DepthwiseConv2D", kernel_size=[3, 3], depth_multiplier=BILLION),
    ),
    "LSTM": (_input(4, 3), _layer("LSTM", units=100_000)),
    "RNN": (_input(4, 3), _layer("RNN", cell=_layer("GRUCell", units=100_000))),
    "Bidirectional": (_input(4, 3), _layer("Bidirectional", layer=_layer("LSTM", units=100_000))),
    "TimeDistributed": (_input(4, 3), _layer("TimeDistributed", layer=_layer("Dense", units=10 * BILLION))),
    "nested": (_input(4, 3), _sequential(_input(4, 3), _layer("Dense", units=10 * BILLION), name="inner")),
    "LocallyConnected1D": (_input(4_000, 3), _layer("LocallyConnected1D", filters=10_000, kernel_size=3)),
    "RepeatVector": (_input(4), _layer("RepeatVector", n=10 * BILLION)),
    "UpSampling1D": (_input(4, 2), _layer("UpSampling1D", size=BILLION)),
    "UpSampling2D": (_input(4, 4, 2), _layer("UpSampling2D", size=[100_000, 100_000])),
    "ZeroPadding2D": (_input(4, 4, 2), _layer("ZeroPadding2D", padding=[[BILLION, 0], [0, 0]])),
    "CategoryEncoding": (_input(4, dtype="int32"), _layer("CategoryEncoding", num_tokens=10 * BILLION)),
    "Normalization": (_input(BILLION), _layer("Normalization", mean=0.0, variance=1.0)),
    "Discretization": (_input(4), _layer("Discretization", num_bins=10 * BILLION)),
    "StringLookup": (
        _input(4, dtype="string"),
        _layer("StringLookup", vocabulary=["a"], num_oov_indices=BILLION),
    ),
    "unrolled": (_input(1_000_000, 3), _layer("SimpleRNN", units=1, unroll=True)),
    "unrolled behind": (
        _input(4),
        _layer("RepeatVector", n=100_000, name="repeat"),
        _layer("Bidirectional", layer=_layer("GRU", units=1, unroll=True)),
    ),
}
SAID = (
    *("declares weights of", "values for one example; accepted", "; accepted: at most", "is unrolled"),
    *("belong to different models", "Layer count mismatch"),  # layers without weights, beside weights
)


@pytest.mark.parametrize("kind", [".keras", ".h5", "saved", "keras3"])
def test_sizes_beyond_the_file(good: Path, tmp_path: Path, kind: str) -> None:
    for name, layers in LARGE.items():
        if kind == "keras3" and name in (
            "LocallyConnected1D",
            "unrolled",
            "unrolled behind",
            "StringLookup",
            "RNN",
        ):
            continue  # what Keras 3 lacks, or what is refused as such
        text = _refused(_declaring(good, tmp_path, copy.deepcopy(_sequential(*layers)), kind))
        assert any(said in text for said in SAID), (name, text)


def _declaring(good: Path, folder: Path, config: Layer, kind: str) -> Path:
    if kind == "keras3":
        _as_keras3(config)
        members = _members(good / "model.keras")
        members["metadata.json"] = b'{"keras_version": "3.5.0"}'
        return _archive(folder / "bad.keras", {**members, "config.json": json.dumps(config).encode()})
    if kind != "saved":
        return _with_config(good, folder / f"bad{kind}", lambda _: config)
    from tf_keras.protobuf import saved_metadata_pb2

    target = folder / "saved"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(good / "saved", target)
    file = target / "keras_metadata.pb"
    parsed = saved_metadata_pb2.SavedMetadata.FromString(file.read_bytes())
    root = next(node for node in parsed.nodes if node.node_path == "root")
    root.metadata = json.dumps({**json.loads(root.metadata), "config": config["config"]})
    file.write_bytes(parsed.SerializeToString())
    return target


def _as_keras3(value: Any) -> None:
    if isinstance(value, dict):
        if value.get("class_name") == "InputLayer":
            value["config"]["batch_shape"] = value["config"].pop("batch_input_shape")
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _as_keras3(inner)


def test_no_variable_is_made_beyond_the_budget() -> None:
    import tensorflow as tf
    import tf_keras

    made: list[tuple[int, ...]] = []

    class Noted(tf_keras.initializers.Initializer):  # type: ignore[misc]
        def __call__(self, shape: Any, dtype: Any = None, **_: Any) -> Any:
            made.append(tuple(shape))
            return tf.zeros(shape, dtype)

    layer = tf_keras.layers.Dense(100, kernel_initializer=Noted())
    budget = declared_sizes.Budget(stored=4 * 101 * 100)
    with declared_sizes.bounded(budget):
        layer(tf_keras.Input((100,)))
    assert made == [(100, 100)]
    larger = tf_keras.layers.Dense(300, kernel_initializer=Noted())
    with pytest.raises(RegrowError, match=r"of shape \(300, 300\)"), declared_sizes.bounded(budget):
        larger(tf_keras.Input((300,)))
    assert made == [(100, 100)]


def test_honest_sizes_are_read_in_every_format(good: Path) -> None:
    for name in ("model.keras", "model.h5", "saved"):
        assert import_model(good / name).count_params() == 511


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_pipes_sockets_devices_and_loops_are_not_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / name)
    assert "is a named pipe" in _refused(tmp_path / "pipe" / name)
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / name).symlink_to("/dev/zero")
    assert "is a device" in _refused(tmp_path / "zero" / name)
    (tmp_path / name).symlink_to(name)
    assert "cannot be read" in _refused(tmp_path / name)
    assert "cannot be read" in _refused(tmp_path / f"{'n' * 300}{name}")
    assert "without saved_model.pb" in _refused(tmp_path / "pipe")  # model.keras in it is no artifact


def test_a_socket_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.keras")
        assert "is a socket" in _refused(Path("s.keras"))


PARTS = ("keras_metadata.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_a_saved_model_that_are_missing_cut_or_no_files(
    good: Path, tmp_path: Path, part: str
) -> None:
    folder = tmp_path / "saved"
    shutil.copytree(good / "saved", folder)
    file = folder / part
    content = file.read_bytes()
    file.unlink()
    _refused(folder)
    os.mkfifo(file)
    assert "is a named pipe" in _refused(folder)
    file.unlink()
    for broken in (content[:40], b"\xff" * 400):
        file.write_bytes(broken)
        _refused(folder)
    shutil.rmtree(folder / "variables")
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    _refused(folder)


def _cycle(h5: Any) -> None:
    """Sixty groups with two names each, the last of which leads back: 2⁶⁰ paths."""
    group = first = h5.create_group("a")
    for _ in range(60):
        inner = group.create_group("n")
        group["m"] = inner
        group = inner
    group["again"] = first


def _virtual(h5: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "data", shape=(4,))
    h5.create_virtual_dataset("model_weights/x", layout)


H5: dict[str, tuple[Callable[[Any], Any], str]] = {
    "virtual": (_virtual, "points to another file"),
    "link": (
        lambda h5: h5.__setitem__("a", h5py.ExternalLink("/etc/other.h5", "/")),
        "points to another file",
    ),
    "sparse": (
        lambda h5: h5.create_dataset("x", (10**12,), "f4", chunks=(1024,)),
        "would expand to more than",
    ),
    "filter": (lambda h5: h5.create_dataset("x", (9,), "f4", chunks=(9,), scaleoffset=3), "HDF5's filter 6"),
    "ragged": (
        lambda h5: h5.create_dataset("x", (9,), h5py.vlen_dtype("f4")),
        "accepted in a model's weights",
    ),
    "config number": (lambda h5: h5.attrs.__setitem__("model_config", 7), "model_config is of type int64"),
    "config array": (
        lambda h5: h5.attrs.__setitem__("model_config", ["a", "b"]),
        "model_config is of type ndarray",
    ),
    "config broken": (lambda h5: h5.attrs.__setitem__("model_config", "{x"), "model_config is not JSON"),
    "deep": (lambda h5: h5.create_group("/".join("g" * 500)), "nested more than 200 groups deep"),
    "lost": (lambda h5: h5.__delitem__("model_weights/head"), "cannot be loaded"),
    "names": (
        lambda h5: h5["model_weights/head"].attrs.__setitem__("weight_names", [b"conv/kernel:0", b"x"]),
        "cannot be loaded",
    ),
    "layers": (
        lambda h5: h5["model_weights"].attrs.__setitem__("layer_names", [b"conv"]),
        "Layer count mismatch",
    ),
}


@pytest.mark.parametrize("name", H5)
def test_h5_files_that_are_broken_or_odd(good: Path, tmp_path: Path, name: str) -> None:
    change, reason = H5[name]
    bad = tmp_path / "bad.h5"
    shutil.copy(good / "model.h5", bad)
    with h5py.File(bad, "a") as h5:
        change(h5)
    assert reason in _refused(bad)


def test_h5_files_with_circles_of_links_are_walked_once(good: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.h5"
    shutil.copy(good / "model.h5", odd)
    with h5py.File(odd, "a") as h5:
        _cycle(h5)
    start = time.perf_counter()
    assert import_model(odd).count_params() == 511
    assert time.perf_counter() - start < AT_ONCE


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_truncated_files(good: Path, tmp_path: Path, name: str) -> None:
    whole = (good / name).read_bytes()
    bad = tmp_path / f"bad{Path(name).suffix}"
    for length in (0, 10, len(whole) // 2, len(whole) - 10):
        bad.write_bytes(whole[:length])
        assert "is not a readable Keras model" in _refused(bad)


def test_archives_with_entries_twice_or_outside(good: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.keras"
    for name in ("/etc/x", "a/../../b", "..\\x", "C:\\x"):
        shutil.copy(good / "model.keras", bad)
        with zipfile.ZipFile(bad, "a") as archive:
            archive.writestr(name, b"x")
        assert "would be written outside its folder" in _refused(bad)
    shutil.copy(good / "model.keras", bad)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(bad, "a") as archive:
        archive.writestr("config.json", b"{}")
    assert "has two entries 'config.json'" in _refused(bad)


@pytest.mark.parametrize("member", ["config.json", "metadata.json"])
def test_texts_that_expand_are_not_unpacked(good: Path, tmp_path: Path, member: str) -> None:
    members = {**_members(good / "model.keras"), member: b" " * (65 << 20) + b"{}"}
    assert f"its {member} is larger than" in _refused(_archive(tmp_path / "bad.keras", members))


def _edited(good: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    members = _members(good / "model.keras")
    weights = folder / "weights.h5"
    weights.write_bytes(members["model.weights.h5"])
    with h5py.File(weights, "a") as h5:
        change(h5)
    return _archive(folder / "bad.keras", {**members, "model.weights.h5": weights.read_bytes()})


def _replace(name: str, value: Any) -> Callable[[Any], None]:
    def change(h5: Any) -> None:
        if name in h5:
            del h5[name]
        if value is not None:
            h5[name] = value

    return change


WEIGHTS = {
    "another shape": (_replace("layers/dense/vars/0", np.zeros((2, 2), np.float32)), "Shape mismatch"),
    "one missing": (_replace("layers/dense/vars/0", None), "expected 2 variables, but received 1"),
    "a layer more": (
        _replace("layers/dense_1/vars/0", np.zeros((9, 9), np.float32)),
        "belong to different models",
    ),
    "text": (_replace("layers/dense/vars/0", "x"), "accepted in a model's weights: numbers"),
    "complex": (
        _replace("layers/dense/vars/0", np.zeros((144, 3), np.complex64)),
        "accepted in a model's weights",
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_and_config_that_disagree(good: Path, tmp_path: Path, name: str) -> None:
    change, reason = WEIGHTS[name]
    assert reason in _refused(_edited(good, tmp_path, change))


def test_a_saved_model_whose_checkpoint_holds_more_than_its_config(good: Path, tmp_path: Path) -> None:
    first = [_input(8, 8, 2), _layer("Conv2D", filters=4, kernel_size=[3, 3])]
    bad = _declaring(good, tmp_path, _sequential(*first), "saved")
    assert "belong to different models" in _refused(bad)
