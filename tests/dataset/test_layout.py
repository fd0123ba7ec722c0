"""Splits and classes from folders: what is a split is never a class, and where the class is it is one."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

from regrow.dataset.layout import MAX_IMAGE_BYTES, Member, fault_of_size, list_members, names_a_split
from regrow.dataset.listing import Listing
from regrow.dataset.readers import list_examples
from regrow.dataset.sources import Archive, Dvc, Folder
from regrow.errors import RegrowError
from tests.dataset.test_folders import png, write_folder, write_tar, write_zip


def listed(paths: Iterable[str]) -> Listing:
    members = [Member(PurePosixPath(path), path) for path in paths]
    return list_members(Path("set"), members, lambda chosen: iter(()))


SPLITS = (
    "train Train training trn val valid validation dev test Testing tst eval evaluation holdout train2017 val2017 test1"
    " train_images test-images train_set testset TrainData images_test valid-split dev.set hold-out"
)


@pytest.mark.parametrize("name", SPLITS.split())
def test_names_of_splits_are_known(name: str) -> None:
    assert names_a_split(name)


@pytest.mark.parametrize(
    "name",
    [
        "cat",
        "invalid",
        "trainer",
        "tests-passed",
        "contest",
        "retrain",
        "device",
        "values",
        "testimony",
        "2017",
        "data",
        "images",
        "train_car",
    ],
)
def test_other_names_are_not_taken_for_splits(name: str) -> None:
    assert not names_a_split(name)


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "test"),
        ("Train", "Val", "TEST"),
        ("training", "validation"),
        ("train", "dev", "eval"),
        ("train", "test1"),
        ("train_images", "test_images"),
        ("set/train", "set/test"),
        ("train/train", "test/test"),
        ("train",),
        ("train2017/a", "val2017/a"),
        ("trainset/a", "testset/a"),
    ],
)
def test_splits_that_hold_images_are_no_classes(folders: tuple[str, ...]) -> None:
    paths = [f"{folder}/{index}.png" for folder in folders for index in range(3)]
    with pytest.raises(
        RegrowError, match=r"looks like a split, .*accepted: \[train\|validation\|test/\]CLASS/FILE"
    ):
        listed(paths)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz", "dvc"])
def test_flat_splits_are_refused_in_every_kind_of_source(tmp_path: Path, kind: str) -> None:
    files = {"set/train/cat.0.png": png(1), "set/train/dog.0.png": png(2), "set/test/0.png": png(3)}
    source: Folder | Archive
    if kind == "zip":
        source = Archive(kind="archive", path=write_zip(tmp_path / "a.zip", files))
    elif kind == "tar.gz":
        source = Archive(kind="archive", path=write_tar(tmp_path / "a.tar.gz", files))
    else:
        source = Folder(kind="folder", path=write_folder(tmp_path, files))
    if kind == "dvc":
        asked = Dvc(kind="dvc", repo=".", path="set", format="folder")
        source = asked.at(tmp_path)  # type: ignore[assignment]
    with pytest.raises(
        RegrowError, match=r"set/test/0\.png: its folder 'test' looks like a split, not a class"
    ):
        list_examples(source)


def test_a_class_may_be_called_like_a_split_where_another_is_not() -> None:
    found = listed(["train/1.png", "car/1.png", "test/2.png"])
    assert found.labels == ["car", "test", "train"]
    assert found.splits == [None] * 3
    found = listed(["train/train/1.png", "train/car/2.png"])
    assert found.labels == ["car", "train"]


def test_some_images_outside_of_the_classes_of_a_split() -> None:
    for paths in (["train/cat/1.png", "train/2.png"], ["train/cat/1.png", "test/2.png"]):
        with pytest.raises(RegrowError, match=r"2\.png: its folder '\w+' looks like a split, not a class"):
            listed(paths)
    with pytest.raises(
        RegrowError, match=r"eval/cat/2\.png: its folder 'eval' looks like a split, but not one that"
    ):
        listed(["train/cat/1.png", "eval/cat/2.png"])


def test_dev_is_a_validation_split() -> None:
    assert listed(["train/a/1.png", "Dev/a/2.png"]).splits == ["validation", "train"]


def test_images_below_a_class_folder_are_of_that_class_and_it_is_said() -> None:
    found = listed(["cat/2019/a.png", "cat/2020/may/b.png", "dog/c.png"])
    assert found.labels == ["cat", "cat", "dog"]
    assert found.notes == [
        "2 images are in subfolders of their class folder; cat/2019/a.png is of class 'cat'"
    ]
    found = listed(["train/cat/images/a.png", "test/cat/b.png"])
    assert (found.labels, found.splits) == (["cat", "cat"], ["test", "train"])
    assert not listed(["cat/a.png", "dog/c.png"]).notes


@pytest.mark.parametrize("inner", ["train", "test", "val", "Testing"])
def test_splits_inside_of_classes_are_refused(inner: str) -> None:
    with pytest.raises(RegrowError, match=f"the split folder '{inner}' lies in the class folder 'cat'"):
        listed([f"cat/{inner}/1.png", "dog/2.png"])


def test_a_member_that_no_image_can_be_so_large_as_is_named_and_not_read(tmp_path: Path) -> None:
    assert fault_of_size(MAX_IMAGE_BYTES) is None
    write_folder(tmp_path, {"cat/1.png": png(1), "dog/2.png": b""})
    with (tmp_path / "dog/2.png").open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)
    found = list_examples(Folder(kind="folder", path=tmp_path))
    assert found.faults == {
        1: f"has {MAX_IMAGE_BYTES + 1:,} bytes; accepted as an image: at most {MAX_IMAGE_BYTES:,}"
    }
    assert [len(content) for _, content in found.stream()] == [len(png(1)), 0]


def test_images_of_other_formats_are_named_and_other_files_are_not() -> None:
    found = listed(
        ["cat/1.jfif", "cat/2.JPE", "dog/3.pbm", "dog/4.HEIC", "dog/5.heic", "dog/6.svg", "dog/Thumbs.db"]
    )
    assert found.names == ["cat/1.jfif", "cat/2.JPE", "dog/3.pbm"]
    assert found.notes == ["images in other formats are ignored: .heic (2), .svg (1)"]
    assert found.ignored == 4


def test_folders_that_make_one_split_together_are_named() -> None:
    found = listed(["set/train/a/1.png", "set/val/a/2.png", "set/Dev/a/x/3.png", "set/README"])
    assert "the folders Dev, val together form the split validation" in found.notes
    assert not listed(["train/a/1.png", "val/a/2.png"]).notes


def test_a_folder_without_images_inside_of_a_class_is_no_class(tmp_path: Path) -> None:
    files = {"train/cat/1.png": png(1), "train/cat/boxes/1.xml": b"", "train/dog/2.png": png(2)}
    write_folder(tmp_path, files)
    (tmp_path / "train/dog/empty").mkdir()
    assert list_examples(Folder(kind="folder", path=tmp_path)).empty == []
    (tmp_path / "train/emu/boxes").mkdir(parents=True)
    assert list_examples(Folder(kind="folder", path=tmp_path)).empty == ["train/emu/boxes"]


def test_a_colon_in_a_class_is_no_drive(tmp_path: Path) -> None:
    files = {"a:1/1.png": png(1), "b:2/2.png": png(2)}
    found = list_examples(Archive(kind="archive", path=write_zip(tmp_path / "a.zip", files)))
    assert found.labels == ["a:1", "b:2"]
    write_zip(tmp_path / "b.zip", {"C:/1.png": png(1)})
    with pytest.raises(RegrowError, match=r"member 'C:/1\.png' points outside"):
        list_examples(Archive(kind="archive", path=tmp_path / "b.zip"))
