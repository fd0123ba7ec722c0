"""What is wrong with data or model is said before TensorFlow and the like are imported, with the way out."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Cases = dict[str, tuple[list[str], str]]
RUN = """
import json, sys
from click.testing import CliRunner
from regrow.cli.main import cli
found = {}
for name, (arguments, _) in json.load(open(sys.argv[1])).items():
    done = CliRunner().invoke(cli, arguments)
    found[name] = f"{type(done.exception).__name__}: {done.exception}"
heavy = {"tensorflow", "tf_keras", "keras", "mlflow", "kfp", "dvc", "sklearn", "pandas"}
print(json.dumps({"found": found, "heavy": sorted({name.split(".")[0] for name in sys.modules} & heavy)}))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder of ten images in each of some classes."""

    def make(classes: int, size: tuple[int, int], mode: str = "RGB", *, other: Any = None) -> Path:
        root: Path = tmp_path_factory.mktemp("images")
        random = np.random.default_rng(0)
        for number in range(classes):
            folder = root / f"c{number}"
            folder.mkdir()
            for index in range(10):
                shape = size if mode == "L" else (*size, 3)
                pixels = random.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
        if other is not None:
            Image.fromarray(np.zeros(other, np.uint8)).save(root / "c0" / "5.png")
        return root

    return make


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of 32 × 32 × 3 and ten classes in the formats that are read."""
    import keras
    import tf_keras

    root: Path = tmp_path_factory.mktemp("models")
    for library, name in ((tf_keras, "tf_keras"), (keras, "keras3")):
        layers = library.layers
        sequential = library.Sequential(
            [
                library.Input((32, 32, 3)),
                layers.Conv2D(2, 3),
                layers.Flatten(),
                layers.Dense(10),
                layers.Softmax(),
            ]
        )
        inputs = library.Input((32, 32, 3))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(inputs))
        functional = library.Model(inputs, layers.Dense(10, activation="softmax")(x))
        inputs = library.Input((32, 32, 3))
        nested = library.Model(inputs, functional(layers.Rescaling(1 / 255)(inputs)))
        for kind, model in (("sequential", sequential), ("functional", functional), ("nested", nested)):
            model.save(root / f"{name}-{kind}.keras")
        if library is tf_keras:
            sequential.save(root / "legacy.h5")
            functional.save(root / "saved", save_format="tf")
    return {path.stem: path for path in root.iterdir()}


def test_every_format_declares_its_shape_and_outputs(models: dict[str, Path]) -> None:
    from regrow.model_files.declared import Declared, declared

    said = {name: declared(path) for name, path in models.items()}
    assert said.pop("saved") == Declared()  # its description is read with TensorFlow
    assert len(said) == 7
    assert {
        name: (one.shape, one.units, one.inputs, one.outputs) for name, one in said.items()
    } == dict.fromkeys(said, ((32, 32, 3), 10, 1, 1))


def test_what_the_config_leaves_open_is_not_guessed() -> None:
    import tf_keras

    from regrow.model_files.declared import Declared, declared_in

    def of(model: Any) -> Declared:
        return declared_in(
            {"class_name": type(model).__name__, "config": json.loads(model.to_json())["config"]}
        )

    inputs = [tf_keras.Input((4,)), tf_keras.Input((4,))]
    x = tf_keras.layers.Add()(inputs)
    two = of(tf_keras.Model(inputs, [x, tf_keras.layers.Dense(3)(x), x]))
    assert (two.inputs, two.outputs, two.shape, two.units) == (2, 3, None, None)
    assert of(tf_keras.Model(inputs[0], tf_keras.layers.Reshape((2, 2))(inputs[0]))).units is None
    image = tf_keras.Input((None, None, 1))
    pooled = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.Conv2D(7, 1)(image))
    open_ended = of(tf_keras.Model(image, tf_keras.layers.Softmax()(pooled)))
    assert (open_ended.shape, open_ended.units) == ((None, None, 1), None)
    for broken in (
        {},
        {"class_name": "Functional", "config": {"layers": 3}},
        {"class_name": "Sequential", "config": []},
    ):
        assert declared_in(broken) == Declared()


def _set(source: str, model: Path | None = None, *more: str) -> list[str]:
    given = [f"prepare.source={source}", *more]
    if model is not None:
        given += ["train.architecture=null", f"train.import.path={model}"]
    return [part for item in given for part in ("--set", item)]


def test_mistakes_are_said_without_heavy_imports(
    models: dict[str, Path], images: Callable[..., Path], tmp_path: Path
) -> None:
    h5, keras3 = models["legacy"], models["keras3-functional"]
    fits, five, grey = images(10, (32, 32)), images(5, (32, 32)), images(10, (48, 48), "L")
    mixed, empty = images(2, (32, 32), other=(20, 32, 3)), images(2, (32, 32))
    (empty / "none").mkdir()
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 28, 28), np.uint8), y=np.arange(20) % 10)
    (tmp_path / "t.csv").write_text("a,b,kind\n1,2,x\n3,4,y\n")
    (tmp_path / "no.h5").write_text("nothing")
    folder = "{kind: folder, path: %s}"
    cases: Cases = {
        "no data": (["run", *_set(folder % (tmp_path / "gone"))], "prepare.source.path: "),
        "no model": (["run", *_set(folder % fits, tmp_path / "m.keras")], "train.import.path: "),
        "no model file": (["run", *_set(folder % fits, tmp_path / "no.h5")], "is not a readable Keras model"),
        "classes": (
            ["run", *_set(folder % five, h5)],
            "gives 10 outputs, but {five} has 5 classes ('c0', 'c1', 'c2', …); train.import.head: replace gives",
        ),
        "grey": (
            ["run", *_set(folder % grey, keras3)],
            "takes examples of 32 × 32 × 3, but those of {grey} are 48 × 48 × 1, such as c0/0.png;"
            " prepare.image.size: [32, 32] and prepare.image.mode: rgb make them fit",
        ),
        "size alone": (
            ["run", *_set(folder % grey, h5, "prepare.image.mode=rgb")],
            "; prepare.image.size: [32, 32] makes them fit",
        ),
        "mixed": (
            ["run", *_set(folder % mixed)],
            "c0/5.png: is 20 × 32 × 3, but c0/0.png is 32 × 32 × 3; set prepare.image.size",
        ),
        "empty": (
            ["run", *_set(folder % empty)],
            "class folder 'none' holds no image; prepare.on_error: skip",
        ),
        "npz": (
            ["run", *_set("{kind: npz, path: %s}" % (tmp_path / "a.npz"), h5)],
            "are 28 × 28 × 1; accepted: a model that takes",
        ),
        "column": (
            [
                "run",
                *_set(
                    "{kind: csv, path: %s, label: z}" % (tmp_path / "t.csv"), None, "train.architecture=mlp"
                ),
            ],
            "has no column 'z'; it has 'a', 'b', 'kind'",
        ),
        "sweep": (
            [
                "sweep",
                *_set(folder % five, h5),
                "--set",
                "sweep={targets: [{macs: 0.5}], methods: [channels]}",
            ],
            "gives 10 outputs",
        ),
        "prepare": (["prepare", *_set(folder % mixed)], "c0/5.png: is 20 × 32 × 3"),
        "resolve": (["resolve", *_set(folder % (tmp_path / "gone"))], "no such file or folder"),
        "prune": (["prune", str(tmp_path / "m.h5"), "--set", "prune.target.macs=0.5"], "no such model file"),
        "inspect": (["inspect", str(tmp_path / "t.csv")], "is not a model file; accepted: .keras, .h5"),
    }
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "cases.json")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    said = json.loads(done.stdout)
    assert said["heavy"] == []
    for name, (_, sentence) in cases.items():
        assert said["found"][name].startswith("RegrowError: "), name
        assert sentence.format(five=five, grey=grey) in said["found"][name], name
    assert not (tmp_path / "work").exists()


def _check(source: dict[str, Any], model: Path | None = None, **prepare: Any) -> None:
    from regrow.config.document import config_model
    from regrow.config.early import check_early

    train = {} if model is None else {"architecture": None, "import": {"path": str(model)}}
    check_early(config_model().model_validate({"prepare": {"source": source, **prepare}, "train": train}))


def test_what_may_be_right_is_left_to_the_steps(
    models: dict[str, Path], images: Callable[..., Path], tmp_path: Path
) -> None:
    """No false alarm: what fits, what is made to fit, what may be left out, what lies elsewhere."""
    model, ten = models["tf_keras-nested"], images(10, (32, 32))
    folder = {"kind": "folder", "path": str(ten)}
    _check(folder, model)
    _check(folder, models["saved"])
    grey = {"kind": "folder", "path": str(images(10, (40, 30), "L", other=(8, 8)))}
    _check(grey, model, image={"size": [32, 32], "mode": "rgb"})
    _check({"kind": "folder", "path": str(images(11, (32, 32), other=(9, 9)))}, model, on_error="skip")
    _check({"kind": "remote", "url": "s3://bucket/a", "format": "folder"}, model)
    _check({"kind": "dvc", "repo": "nowhere", "path": "a", "format": "npz"}, model)
    _check({"kind": "digits"})
    np.savez(tmp_path / "f.npz", x=np.zeros((20, 32, 32, 3), np.float32), y=np.eye(10)[np.arange(20) % 10])
    _check({"kind": "npz", "path": str(tmp_path / "f.npz")}, model)
    turned = Image.fromarray(np.zeros((16, 64, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, name in enumerate("ab"):
        (tmp_path / "turned" / name).mkdir(parents=True)
        turned.save(tmp_path / "turned" / name / "0.jpg", exif=exif)
        Image.fromarray(np.full((64, 16, 3), number, np.uint8)).save(tmp_path / "turned" / name / "1.jpg")
    _check({"kind": "folder", "path": str(tmp_path / "turned")})


def test_fewer_classes_than_outputs_are_refused_even_where_examples_may_be_left_out(
    models: dict[str, Path], images: Callable[..., Path]
) -> None:
    from regrow.errors import RegrowError

    with pytest.raises(RegrowError, match="has 5 classes"):
        _check({"kind": "folder", "path": str(images(5, (32, 32)))}, models["legacy"], on_error="skip")


def test_run_says_when_its_target_is_that_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data is missing, so that the run ends there."""
    monkeypatch.chdir(tmp_path)
    document = "prepare: {source: {kind: npz, path: gone.npz}}\nsweep: {targets: [{macs: 0.3}]}\n"
    said = "first of sweep.targets that fits is: macs 0.3"
    for prune, more, told in (
        ("prune: {method: channels}\n", (), True),
        ("prune: {method: channels, target: {macs: 0.3}}\n", (), False),
        ("prune: {method: channels}\n", ("--set", "prune.target.macs=0.3"), False),
        ("", (), False),
    ):
        (tmp_path / "params.yaml").write_text(document + prune)
        done = subprocess.run(
            [sys.executable, "-m", "regrow.cli", "run", *more], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1 and "gone.npz: no such file or folder" in done.stderr
        assert (said in done.stdout + done.stderr) is told, prune


def test_of_a_large_table_the_header_is_looked_at(tmp_path: Path) -> None:
    import gzip

    from regrow.dataset.decoding import ImageOptions
    from regrow.dataset.glimpse import glimpse
    from regrow.dataset.table_sources import Csv
    from regrow.errors import RegrowError

    path = tmp_path / "t.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("a,b,kind\n1,2,x\n")
    said = glimpse(Csv(kind="csv", path=path, label="kind"), image=ImageOptions(), skip=False)
    assert (said.shape, said.classes) == ((2,), None)
    with pytest.raises(RegrowError, match="has no column 'z'; it has 'a', 'b', 'kind'"):
        glimpse(Csv(kind="csv", path=path, label="z"), image=ImageOptions(), skip=False)
