"""`regrow init` writes a params.yaml that the pipeline accepts, from what lies in the folder."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from regrow.cli.main import cli
from regrow.config.document import load_config
from regrow.errors import RegrowError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "My Flowers"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def _pictures(root: Path, classes: str, *, size: int = 16, growing: bool = False) -> None:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(3):
            pixels = np.full((size + index * growing, size, 3), 10 * number + index, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")


def _model(path: Path, *, shape: list[int], units: int) -> None:
    """A file as Keras writes it, as far as its config goes."""
    layers: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, *shape], "name": "input"}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "head", "units": units, "activation": "softmax"}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "model", "layers": layers}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.create_group("model_weights")


def _init(*arguments: str, answers: str | None = None) -> Result:
    done = CliRunner().invoke(cli, ["init", *arguments], input=answers)
    if isinstance(done.exception, RegrowError):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def test_images_and_a_model_of_other_classes(project: Path) -> None:
    _pictures(project / "data" / "train", "abc", growing=True)
    _pictures(project / "data" / "test", "abc", growing=True)
    _model(project / "mine.h5", shape=[32, 24, 1], units=10)
    _init("--yes")
    config = load_config(project / "params.yaml")
    assert (config.prepare.source.kind, config.prepare.source.path) == ("folder", Path("data"))
    assert (config.prepare.image.size, config.prepare.image.mode) == ((32, 24), "grayscale")
    imported = config.train.import_model
    assert (imported.path, imported.head, imported.frozen_epochs) == ("mine.h5", "replace", 2)
    assert (config.prune.method, config.prune.target.macs) == (("channels",), 0.5)
    assert config.register.model_name == "my-flowers"
    assert "# 3 classes" in (project / "params.yaml").read_text()


def test_a_model_that_fits_is_kept_as_it_is(project: Path) -> None:
    _pictures(project / "data" / "flowers", "abc")
    _model(project / "mine.h5", shape=[16, 16, 3], units=3)
    _init("--yes")
    config = load_config(project / "params.yaml")
    assert config.prepare.source.path == Path("data/flowers")
    assert config.train.import_model.head == "keep"


def test_a_table_takes_its_label_from_the_name_the_option_or_the_answer(project: Path) -> None:
    (project / "t.csv").write_text("a,species,b\n1,5,3\n2,6,4\n")
    _init("--yes")
    config = load_config(project / "params.yaml")
    assert (config.prepare.source.label, config.train.architecture.name) == ("species", "mlp")
    assert config.augment.mode == "none"
    _init("--yes", "--label", "b", "-o", "b.yaml")
    assert load_config(project / "b.yaml").prepare.source.label == "b"
    _init("-o", "c.yaml", answers="t.csv\nnone\na\n")
    assert load_config(project / "c.yaml").prepare.source.label == "a"


def test_images_that_differ_get_a_size_and_arrays_need_none(project: Path) -> None:
    _pictures(project / "pictures", "ab", growing=True)
    _init("--yes")
    assert load_config(project / "params.yaml").prepare.image.size == (64, 64)
    np.savez(project / "a.npz", x=np.zeros((6, 8, 8, 3), np.uint8), y=np.arange(6) % 2)
    _init("--yes", "--data", "a.npz", "-o", "a.yaml")
    config = load_config(project / "a.yaml")
    assert (config.prepare.source.kind, config.prepare.image.size) == ("npz", None)


def test_nothing_is_overwritten_unasked_and_nothing_written_that_would_not_run(project: Path) -> None:
    with pytest.raises(RegrowError, match="--data: none was found here; name one"):
        _init("--yes")
    with pytest.raises(
        RegrowError, match="gone: no such file or folder; accepted: a folder of class folders"
    ):
        _init("--yes", "--data", "gone")
    _pictures(project / "one", "ab")
    _pictures(project / "two", "ab")
    with pytest.raises(RegrowError, match=r"--data: several are here \(one, two\); name one"):
        _init("--yes")
    with pytest.raises(RegrowError, match=r"m\.h5: no such model file"):
        _init("--yes", "--data", "one", "--model", "m.h5")
    assert not (project / "params.yaml").exists()
    (project / "params.yaml").write_text("mine")
    for arguments, answers in ((["--yes"], None), ([], "n\n")):
        with pytest.raises(RegrowError, match=r"params\.yaml: exists and is left as it is; -o names another"):
            _init("--data", "one", *arguments, answers=answers)
    assert (project / "params.yaml").read_text() == "mine"
    _init("--data", "one", answers="y\nnone\n")
    assert load_config(project / "params.yaml").prepare.source.path == Path("one")
