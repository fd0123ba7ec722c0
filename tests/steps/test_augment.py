import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regrow.augmentation.policy import load_policy
from regrow.config.sections import canonical_json
from regrow.config.validation import validate
from regrow.dataset.directory import write_dataset
from regrow.dataset.info import Normalisation
from regrow.errors import RegrowError
from regrow.provenance.digest import tree_digest
from regrow.steps.augment import SPEC, AugmentParams
from regrow.steps.execution import StepResult, execute
from regrow.storage.artifacts import read_json

COUNT = 40


def params(document: dict[str, Any]) -> AugmentParams:
    return validate(AugmentParams, document, where="augment")  # type: ignore[no-any-return]


def images(path: Path, dtype: Any = np.uint8) -> Path:
    features = np.random.default_rng(0).integers(0, 17, (COUNT, 8, 8, 1)).astype(dtype)
    return dataset_of(path, features, task="image_classification")


def table(path: Path) -> Path:
    features = (np.random.default_rng(0).normal(size=(COUNT, 2)) * [1, 1000]).astype(np.float32)
    return dataset_of(path, features, task="tabular_classification")


def dataset_of(path: Path, features: Any, *, task: str) -> Path:
    labels = np.arange(COUNT, dtype=np.int32) % 4
    write_dataset(
        path,
        task=task,
        splits={"train": (features, labels)},
        classes=["a", "b", "c", "d"],
        value_range=(float(features.min()), float(features.max())),
        normalisation=Normalisation(),
    )
    return path


def augment(document: dict[str, Any], dataset: Path, where: Path) -> tuple[Path, StepResult]:
    result = execute(
        SPEC,
        params(document),
        inputs={"dataset": dataset},
        outputs={"overlay": where / "overlay"},
        statement=where / "statement",
    )
    return where / "overlay", result


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_change_nothing() -> None:
    found = params({})
    assert (found.mode, found.operations, found.seed) == ("online", (), 0)


def test_parameters_survive_the_way_to_a_component() -> None:
    found = params({"operations": ["flip", {"name": "zoom", "range": [0.8, 1.1]}], "seed": 3})
    assert params(json.loads(canonical_json(found))) == found


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"operations": [{"name": "rotations"}]},
            "operations.0: unknown operation 'rotations'; did you mean 'rotation'?",
        ),
        ({"operations": [{"name": "crop", "paddin": 3}]}, "unknown key; did you mean 'padding'?"),
        ({"operations": [{"name": "flip", "axis": "horizontl"}]}, "did you mean 'horizontal'?"),
        ({"mode": "onlin"}, "did you mean 'online'?"),
        ({"mode": "materialise"}, "mode 'materialise' needs operations"),
        ({"mode": "materialise", "operations": ["mixup"]}, "mixup blends labels"),
        ({"operation": []}, "unknown key; did you mean 'operations'?"),
        ({"seed": 2**31}, "seed: is out of range (found 2147483648; accepted: ≥ 0 and < 2,147,483,648)"),
    ],
)
def test_impossible_parameters_are_one_sentence(document: dict[str, Any], message: str) -> None:
    with pytest.raises(RegrowError) as caught:
        params(document)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.tensorflow
def test_online_writes_the_policy_and_the_sheet(tmp_path: Path) -> None:
    document = {"operations": [{"name": "crop", "padding": 1}, "mixup"], "seed": 2}
    overlay, result = augment(document, images(tmp_path / "dataset"), tmp_path / "one")
    policy = load_policy(overlay)
    assert policy.operations == params(document).operations
    assert (policy.seed, policy.classes, policy.value_range) == (2, 4, (0, 16))
    assert policy.soft_labels
    assert size_of(overlay / "contact_sheet.png")[1] > 8 * 64
    assert not (overlay / "extra").exists()
    assert result.statement.figures == {"mode": "online", "operations": 2}
    assert read_json(overlay / "policy.json")["operations"][0] == {"name": "crop", "padding": 1}


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_materialise_writes_variants_reproducibly(tmp_path: Path, dtype: Any) -> None:
    dataset = images(tmp_path / "dataset", dtype)
    document = {"mode": "materialise", "factor": 3, "operations": ["rotation", "noise"]}
    overlay, result = augment(document, dataset, tmp_path / "one")
    again, _ = augment(document, dataset, tmp_path / "two")
    assert tree_digest(overlay) == tree_digest(again)
    extra, labels = (np.load(overlay / f"extra/{name}-00000.npy") for name in ("image", "label"))
    assert extra.shape == (3 * COUNT, 8, 8, 1)
    assert extra.dtype == dtype
    assert extra.max() <= 16
    assert labels.tolist() == [*range(4)] * (3 * COUNT // 4)
    assert not np.array_equal(extra[:COUNT], extra[COUNT : 2 * COUNT])
    assert result.statement.figures["variants"] == 3 * COUNT


@pytest.mark.tensorflow
def test_rows_have_noise_in_the_unit_of_their_column(tmp_path: Path) -> None:
    dataset = table(tmp_path / "dataset")
    document = {
        "mode": "materialise",
        "factor": 20,
        "operations": [{"name": "noise", "deviation": 0.01}],
    }
    overlay, _ = augment(document, dataset, tmp_path / "one")
    assert not (overlay / "contact_sheet.png").exists()
    source = np.load(dataset / "train/features-00000.npy")
    noise = np.load(overlay / "extra/features-00000.npy") - np.tile(source, (20, 1))
    np.testing.assert_allclose(noise.std(0) / source.std(0), 0.01, rtol=0.15)


@pytest.mark.tensorflow
def test_operations_that_do_not_fit_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="'flip' needs images"):
        augment({"operations": ["flip"]}, table(tmp_path / "table"), tmp_path / "one")
    with pytest.raises(RegrowError, match="padding: is 9"):
        augment(
            {"operations": [{"name": "crop", "padding": 9}]}, images(tmp_path / "images"), tmp_path / "one"
        )
    assert not (tmp_path / "one").exists() or not list((tmp_path / "one").iterdir())


@pytest.mark.tensorflow
def test_mode_none_shows_originals_only(tmp_path: Path) -> None:
    overlay, _ = augment({"mode": "none", "operations": ["flip"]}, images(tmp_path / "d"), tmp_path / "one")
    assert size_of(overlay / "contact_sheet.png")[0] == 2 + 66


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as sheet:
        return sheet.size
