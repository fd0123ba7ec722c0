"""From examples to a dataset: decoding, checks, splits, normalisation, the report."""

import contextlib
import hashlib
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regrow.dataset import reading
from regrow.dataset.decoding import ImageOptions, UnusableError, decode_image
from regrow.dataset.directory import Dataset
from regrow.dataset.info import SPLITS
from regrow.dataset.listing import Listing, list_arrays
from regrow.dataset.preparation import PreparationOptions, prepare_dataset
from regrow.dataset.readers import list_examples
from regrow.dataset.scaling import measure
from regrow.dataset.splitting import SplitOptions, assign_splits, class_order
from regrow.dataset.table_sources import Csv
from regrow.errors import RegrowError

RANDOM = np.random.default_rng(0)


def encode(pixels: Any, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(np.asarray(pixels))
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


RGB = RANDOM.integers(0, 256, (6, 8, 3)).astype(np.uint8)
GREY = RGB[..., 0]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_files_decode_to_their_pixels(kind: str) -> None:
    array, mode, _ = decode_image(encode(RGB, kind), ImageOptions())
    np.testing.assert_array_equal(array, RGB)
    assert mode == "rgb"
    array, mode, _ = decode_image(encode(GREY, kind), ImageOptions())
    np.testing.assert_array_equal(array[..., 0], GREY)
    assert mode == "grayscale"


def test_modes_are_converted_on_request_and_refused_otherwise() -> None:
    for mode in ("RGBA", "P", "LA"):
        data = encode(RGB, mode=mode)
        with pytest.raises(UnusableError, match=r"has mode .*; accepted: grayscale, rgb"):
            decode_image(data, ImageOptions())
        assert decode_image(data, ImageOptions(mode="rgb"))[0].shape == (6, 8, 3)
        assert decode_image(data, ImageOptions(mode="grayscale"))[0].shape == (6, 8, 1)
    assert decode_image(encode(GREY > 99), ImageOptions())[0].max() == 255
    deep = encode(GREY.astype(np.uint16) * 200)
    assert decode_image(deep, ImageOptions())[0].dtype == np.uint16
    with pytest.raises(
        UnusableError, match=r"16-bit grayscale, which prepare\.image\.mode does not convert to grayscale"
    ):
        decode_image(deep, ImageOptions(mode="grayscale"))


def test_size_is_height_and_width() -> None:
    assert decode_image(encode(RGB), ImageOptions(size=(3, 5)))[0].shape == (3, 5, 3)


def test_pictures_are_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held on its side
    array, *_ = decode_image(encode(RGB, exif=exif), ImageOptions())
    np.testing.assert_array_equal(array, np.rot90(RGB, -1))


def png_header(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no bytes could be read"),
        (b"text", "not an image file"),
        (encode(RGB)[:-30], "cannot be read as an image"),
        (encode(np.tile(RGB, (20, 20, 1)), "JPEG")[:3000], "truncated"),
        (png_header(20_000, 20_000), "cannot be read|pixels"),
    ],
)
def test_broken_images_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(UnusableError, match=words):
        decode_image(data, ImageOptions())


def test_pixels_are_bounded_before_they_are_decoded() -> None:
    with pytest.raises(UnusableError, match=r"has 48 pixels; prepare\.image\.max_pixels is 47"):
        decode_image(encode(RGB), ImageOptions(max_pixels=47))


@given(st.binary(max_size=60), st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_no_bytes_make_the_decoder_fail_otherwise(noise: bytes, place: int) -> None:
    data = encode(RGB)
    with contextlib.suppress(UnusableError):
        decode_image(data[:place] + noise + data[place + len(noise) :], ImageOptions())


def images(files: dict[str, bytes], **options: Any) -> Listing:
    """A listing whose names are ``[split/]class/file``."""
    parts = [name.split("/") for name in files]
    return Listing(
        task="image_classification",
        names=list(files),
        labels=[part[-2] for part in parts],
        splits=[part[0] if len(part) == 3 else None for part in parts],
        stream=lambda: iter(enumerate(files.values())),
        encoded=True,
        **options,
    )


def prepare(root: Path, listing: Listing, **options: Any) -> tuple[Dataset, dict[str, Any]]:
    skip = options.pop("skip", False)
    normalisation = options.pop("normalisation", "unit")
    image = ImageOptions(**options.pop("image", {}))
    made = PreparationOptions(
        splits=SplitOptions(**options), image=image, normalisation=normalisation, skip=skip
    )
    dataset, report = prepare_dataset(listing, dataset=root / "d", scratch=root / "s", options=made)
    report.write(root / "r")
    assert (root / "r/report.html").read_text().startswith("<!doctype html>")
    return dataset, dict(report.document)


def test_further_labels_are_written_beside_the_label(tmp_path: Path) -> None:
    """Their classes are those of training; a class that only other splits have is unknown there, −1."""
    rows = "".join(f"{n},{n % 3},{'abc'[n // 40 % 2]},\n" for n in range(80))
    (tmp_path / "t.csv").write_text("a,label,x,x-y\n" + rows)
    source = Csv(kind="csv", path=tmp_path / "t.csv", label="label", further_labels=("x",), features=("a",))
    made, _ = prepare(tmp_path, list_examples(source))
    assert made.info.targets["x"].classes == ("a", "b")
    for split in SPLITS:
        expected = np.asarray(made.features(split))[:, 0] // 40
        np.testing.assert_array_equal(made.labels(split, "x"), expected)
        assert made.labels(split, "x").dtype == np.int32
    table = pyarrow.parquet.read_table(made.path / "examples.parquet")
    assert table.column_names[-1] == "label_x"
    assert set(table["label_x"].to_pylist()) == {"a", "b"}
    source = source.model_copy(update={"further_labels": ("x-y",)})
    with pytest.raises(
        RegrowError, match=r"further_labels: column 'x-y' has only 0 class among the training"
    ):
        prepare(tmp_path, list_examples(source))


def test_a_missing_further_label_is_not_the_class_called_none(tmp_path: Path) -> None:
    owners = ["None", "NA", ""]
    rows = "".join(f"{n},{'xy'[n % 2]},{owners[n % 3]}\n" for n in range(60))
    (tmp_path / "t.csv").write_text("a,label,owner\n" + rows)
    source = Csv(kind="csv", path=tmp_path / "t.csv", label="label", further_labels=("owner",))
    made, _ = prepare(tmp_path, list_examples(source))
    assert made.info.targets["owner"].classes == ("NA", "None")
    for split in SPLITS:
        rest = np.asarray(made.features(split))[:, 0].astype(int) % 3
        np.testing.assert_array_equal(made.labels(split, "owner"), np.asarray([1, 0, -1])[rest])


def test_a_csv_row_with_another_number_of_fields_is_named_or_skipped(tmp_path: Path) -> None:
    rows = [f"{n},{n * n},{n % 2}\n" for n in range(60)]
    (tmp_path / "t.csv").write_text("a,b,label\n" + "".join(rows[:30]) + "1,2,3,0\n" + "".join(rows[30:]))
    listing = list_examples(Csv(kind="csv", path=tmp_path / "t.csv", label="label"))
    fault = "has 4 fields, but the header has 3"
    with pytest.raises(RegrowError, match=rf"t\.csv:32: {fault}; prepare\.on_error: skip omits"):
        prepare(tmp_path, listing)
    dataset, report = prepare(tmp_path, listing, skip=True)
    assert sum(dataset.size(split) for split in ("train", "validation", "test")) == 60
    assert report["rejected"] == 1
    assert fault in json.dumps(report)


def pictures(count: int = 10) -> dict[str, bytes]:
    return {
        f"{label}/{number}.png": encode(RANDOM.integers(0, 256, (4, 4, 3)).astype(np.uint8))
        for label in ("cat", "dog")
        for number in range(count)
    }


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("dog/3.png", encode(RGB), r"dog/3\.png: is rgb 6×8×3, but others are rgb 4×4×3"),
        ("cat/0.png", encode(GREY[:4, :4]), r"cat/0\.png: is grayscale 4×4×1, but others are rgb 4×4×3"),
        ("dog/9.png", b"broken", r"dog/9\.png: cannot be read as an image"),
    ],
)
def test_an_example_that_cannot_be_used_is_named_or_skipped(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    files = {**pictures(), name: data}
    with pytest.raises(RegrowError, match=words) as refused:
        prepare(tmp_path, images(files))
    # Images that only differ in size are worth more than to be left out.
    assert ("on_error: skip" in str(refused.value)) != ("to convert them" in str(refused.value))
    dataset, report = prepare(tmp_path, images(files), skip=True)
    assert sum(dataset.size(split) for split in ("train", "validation", "test")) == 19
    assert [item["name"] for item in report["rejects"]] == [name]


def test_large_files_are_decoded_in_threads_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = pictures(300)
    one, _ = prepare(tmp_path / "one", images(files))
    monkeypatch.setattr(reading, "SMALL", 1)
    monkeypatch.setattr(reading, "BATCH", 16)
    many, _ = prepare(tmp_path / "many", images(files))
    assert one.digest == many.digest
    files["cat/200.png"] = b"broken"
    with pytest.raises(RegrowError, match=r"cat/200\.png"):
        prepare(tmp_path / "broken", images(files))


def test_options_make_images_alike(tmp_path: Path) -> None:
    files = {**pictures(), "dog/3.png": encode(RGB), "cat/0.png": encode(GREY)}
    dataset, _ = prepare(tmp_path, images(files), image={"size": (5, 5), "mode": "rgb"})
    assert dataset.feature_shape == (5, 5, 3)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    files = dict.fromkeys(pictures(), b"broken")
    with pytest.raises(RegrowError, match=r"cat/0\.png: cannot be read"):
        prepare(tmp_path, images(files), skip=True)


def split_files() -> dict[str, bytes]:
    return {f"{split}/{name}": data for split in ("train", "test") for name, data in pictures(6).items()}


def test_the_sources_own_splits_are_kept(tmp_path: Path) -> None:
    files = split_files()
    dataset, _ = prepare(tmp_path, images(files), validation=0.2)
    assert (dataset.size("train"), dataset.size("validation"), dataset.size("test")) == (10, 2, 12)
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(dataset.path / "examples.parquet").to_pylist()
    assert {row["split"] for row in rows if row["name"].startswith("test/")} == {"test"}
    for row in rows:
        expected, *_ = decode_image(files[row["name"]], ImageOptions())
        np.testing.assert_array_equal(dataset.features(row["split"])[row["row"]], expected)
        assert row["sha256"] == hashlib.sha256(files[row["name"]]).hexdigest()
        assert dataset.classes[dataset.labels(row["split"])[row["row"]]] == row["label"]


def test_leakage_between_splits_is_found_in_decoded_pixels(tmp_path: Path) -> None:
    files = split_files()
    pixels, *_ = decode_image(files["test/dog/1.png"], ImageOptions())
    files["train/dog/4.png"] = encode(pixels, "BMP")
    with pytest.raises(RegrowError, match=r"train/dog/4\.png: is in train .* as test/dog/1\.png in test"):
        prepare(tmp_path, images(files))
    dataset, report = prepare(tmp_path, images(files), skip=True)
    assert dataset.size("test") == 12
    assert [item["name"] for item in report["rejects"]] == ["train/dog/4.png"]


def test_duplicates_stay_on_one_side_and_are_reported(tmp_path: Path) -> None:
    files = pictures(20)
    for number in range(10):
        files[f"cat/{number}.png"] = files["cat/0.png"]
    files["dog/0.png"] = files["cat/0.png"]
    dataset, report = prepare(tmp_path, images(files))
    sides = {
        split: {row.tobytes() for row in dataset.features(split)} for split in ("train", "validation", "test")
    }
    assert not sides["train"] & sides["test"]
    assert not sides["train"] & sides["validation"]
    assert not sides["validation"] & sides["test"]
    assert report["duplicates"]["examples"] == 10
    assert len(report["duplicates"]["contradicting_labels"]) == 1


def test_the_form_of_most_examples_is_kept_though_the_first_class_has_another(tmp_path: Path) -> None:
    files = {f"apple/{n}.png": encode(RANDOM.integers(0, 256, (4, 4, 3), np.uint8)) for n in range(70)}
    for name in ("pear", "plum"):
        files |= {f"{name}/{n}.png": encode(RANDOM.integers(0, 256, (6, 6, 3), np.uint8)) for n in range(50)}
    dataset, report = prepare(tmp_path, images(files), skip=True)
    assert dataset.feature_shape == (6, 6, 3)
    assert dataset.classes == ("pear", "plum")
    assert report["forms"] == {"rgb 6×6×3": 100, "rgb 4×4×3": 70}
    assert report["rejected"] == 70
    assert report["warnings"] == ["class 'apple' is omitted: no usable training example has it"]
    assert "is rgb 4×4×3, but others are rgb 6×6×3" in report["rejects"][0]["reason"]


def test_labels_that_training_never_sees(tmp_path: Path) -> None:
    files = {**split_files(), "test/bird/1.png": encode(RGB[:4, :4])}
    with pytest.raises(RegrowError, match=r"test/bird/1\.png: is in test and has label 'bird'"):
        prepare(tmp_path, images(files))
    dataset, report = prepare(tmp_path, images(files), skip=True)
    assert dataset.classes == ("cat", "dog")
    assert report["warnings"] == ["class 'bird' is omitted: no usable training example has it"]


def test_a_class_that_a_split_lacks(tmp_path: Path) -> None:
    files = {name: data for name, data in split_files().items() if not name.startswith("test/dog")}
    with pytest.raises(RegrowError, match="class 'dog' has no example in split 'test'"):
        prepare(tmp_path, images(files))
    _, report = prepare(tmp_path, images(files), skip=True)
    assert report["warnings"] == ["class 'dog' has no example in split 'test'"]


def test_empty_class_folders_and_single_classes(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="class folder 'bird' contains no images"):
        prepare(tmp_path, images(pictures(), empty=["bird"]))
    _, report = prepare(tmp_path, images(pictures(), empty=["bird"]), skip=True)
    assert report["warnings"] == ["class folder 'bird' contains no images"]
    files = {name: data for name, data in pictures().items() if name.startswith("cat")}
    with pytest.raises(RegrowError, match="1 class was found"):
        prepare(tmp_path, images(files))


def table(features: Any, labels: Any) -> Listing:
    return list_arrays(
        np.asarray(features), labels, where="table", names=[f"row {n}" for n in range(len(labels))]
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_values_that_are_no_numbers_are_found(tmp_path: Path, bad: float) -> None:
    features = RANDOM.normal(size=(30, 3))
    features[7, 1] = bad
    with pytest.raises(RegrowError, match="row 7: contains a value that is NaN, infinite"):
        prepare(tmp_path, table(features, ["a", "b", "c"] * 10))
    _, report = prepare(tmp_path, table(features, ["a", "b", "c"] * 10), skip=True)
    assert report["rejected"] == 1


def test_missing_labels_are_found(tmp_path: Path) -> None:
    labels = ["a", "b", None, *["a", "b"] * 9]
    with pytest.raises(RegrowError, match="row 2: has no label"):
        prepare(tmp_path, table(RANDOM.normal(size=(21, 3)), labels))
    dataset, _ = prepare(tmp_path, table(RANDOM.normal(size=(21, 3)), labels), skip=True)
    assert dataset.classes == ("a", "b")


def test_normalisation_comes_from_training_examples_alone(tmp_path: Path) -> None:
    features = RANDOM.normal(3, [1, 5, 0], size=(300, 3))
    for kind in ("standardise", "unit", "none"):
        dataset, _ = prepare(tmp_path / kind, table(features, ["a", "b", "c"] * 100), normalisation=kind)
        scale, offset = (np.asarray(v) for v in (dataset.normalisation.scale, dataset.normalisation.offset))
        train = dataset.features("train") * scale + offset
        if kind == "standardise":
            np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)
            np.testing.assert_allclose(train.std(0)[:2], 1, rtol=1e-5)
        elif kind == "unit":
            np.testing.assert_allclose(train.min(0), 0, atol=1e-5)
            np.testing.assert_allclose(train.max(0)[:2], 1, rtol=1e-5)
        else:
            np.testing.assert_array_equal(train, dataset.features("train"))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.floats(-1e3, 1e3))
@settings(max_examples=50, deadline=None)
def test_statistics_do_not_depend_on_the_blocks(sizes: list[int], shift: float) -> None:
    values = (np.random.default_rng(0).normal(shift, 2, (sum(sizes), 2, 3))).astype(np.float32)
    blocks = np.split(values, np.cumsum(sizes)[:-1])
    found, flat = measure(blocks), values.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(found.mean, flat.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.deviation, flat.std(0), rtol=1e-4, atol=1e-6)


@given(
    st.lists(st.integers(0, 3), min_size=0, max_size=200),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_splits_are_whole_seeded_and_stratified(
    labels: list[int], validation: float, test: float, seed: int
) -> None:
    labels = [*labels, *(list(range(4)) * 4)]
    listing = table(np.arange(len(labels))[:, None], labels)
    contents = [str(number % (len(labels) - 2)) for number in range(len(labels))]
    options = SplitOptions(validation=validation, test=test, seed=seed)
    made = assign_splits(listing, contents, options=options, skip=False)
    assert made.splits == assign_splits(listing, contents, options=options, skip=False).splits
    sides: dict[str, set[str | None]] = {}
    for content, split in zip(contents, made.splits, strict=True):
        sides.setdefault(content, set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    for label in range(4):
        mine = [split for split, other in zip(made.splits, labels, strict=True) if other == label]
        assert set(mine) == {"train", "validation", "test"}
        assert abs(mine.count("test") - test * len(mine)) <= 3


def test_examples_stay_on_their_side_when_others_are_added() -> None:
    def sides(count: int) -> dict[str, str | None]:
        listing = table(np.arange(count)[:, None], [number % 3 for number in range(count)])
        contents = [str(number) for number in range(count)]
        made = assign_splits(listing, contents, options=SplitOptions(seed=1), skip=False)
        return dict(zip(contents, made.splits, strict=True))

    before, after = sides(1800), sides(1860)
    moved = [(before[name], after[name]) for name in before if before[name] != after[name]]
    assert len(moved) <= 15
    assert all("train" in pair for pair in moved)


def test_splits_need_not_be_stratified() -> None:
    listing = table(np.arange(100)[:, None], [0, 1] * 50)
    contents = [str(number) for number in range(100)]
    options = SplitOptions(validation=0.1, test=0.3, stratified=False)
    made = assign_splits(listing, contents, options=options, skip=False)
    assert [len(made.members(split)) for split in ("train", "validation", "test")] == [60, 10, 30]


def test_fractions_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing to train on"):
        SplitOptions(validation=0.5, test=0.5)


def test_classes_are_ordered_by_number_where_they_are_numbers() -> None:
    assert class_order(["10", "9", "-1"]) == ("-1", "9", "10")
    assert class_order(["b", "10", "a", "9"]) == ("10", "9", "a", "b")
    assert class_order(["12", "7", "012", "007"]) == ("007", "7", "012", "12")
    assert class_order(["--5", "2", "10"]) == ("--5", "10", "2")
    assert class_order(["9" * 5000, "1"]) == ("1", "9" * 5000)


def rgba_file(index: int, alpha: int) -> bytes:
    pixels = np.random.default_rng(index).integers(0, 256, (4, 4, 4)).astype(np.uint8)
    pixels[..., 3] = alpha
    return encode(pixels)


def test_the_report_counts_what_is_not_read_as_it_is(tmp_path: Path) -> None:
    files = {
        f"{name}/{i}.png": rgba_file(i + 50 * (name == "dog"), i % 2 * 255)
        for name in ("cat", "dog")
        for i in range(16)
    }
    dataset, report = prepare(tmp_path / "rgba", images(files), image={"mode": "rgba"})
    assert dataset.feature_shape == (4, 4, 4)
    assert report["remarks"] == {"transparent": 16}
    assert report["warnings"] == ["16 images with transparent pixels: alpha is the fourth channel"]
    coloured = {name: data for name, data in files.items() if int(Path(name).stem) % 2} | {
        f"{name}/clear-{i}.png": rgba_file(i, 0) for i, name in enumerate(("cat", "cat"))
    }
    _, report = prepare(tmp_path / "rgb", images(coloured), image={"mode": "rgb"})
    assert "2 images with transparent pixels: put on prepare.image.background" in report["warnings"]


def test_arrays_of_four_channels_are_prepared_and_shown(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 256, (24, 4, 4, 4)).astype(np.uint8)
    listing = list_arrays(values, ["a", "b"] * 12, where="x", names=[str(i) for i in range(24)])
    dataset, report = prepare(tmp_path, listing)
    assert dataset.feature_shape == (4, 4, 4)
    assert report["remarks"] == {}
    assert len(dataset.normalisation.scale) in (1, 4)
    assert (tmp_path / "r/report.html").read_text().count("data:image/png") == 2


def test_a_source_without_training_examples_is_named_as_such(tmp_path: Path) -> None:
    files = {f"test/{c}/{n}.png": encode(RGB // (n + 1)) for c in "ab" for n in range(4)}
    with pytest.raises(RegrowError, match="the source has only split test; accepted: also a train split"):
        prepare(tmp_path, images(files))


def test_labels_that_are_all_different_are_named_as_the_reason(tmp_path: Path) -> None:
    files = {f"{n}/{n}.png": encode(np.full((4, 4), n, np.uint8)) for n in range(30)}
    with pytest.raises(
        RegrowError, match=r"no class has more than 1 different example, .*\(there are 30 classes;"
    ):
        prepare(tmp_path, images(files))


def test_what_is_left_out_is_named_where_it_may_be_the_reason(tmp_path: Path) -> None:
    files = {f"a/{n}.png": encode(RGB // (n + 1)) for n in range(9)}
    files |= {f"b/{n}.png": encode(GREY // (n + 1)) for n in range(8)}
    with pytest.raises(RegrowError) as error:
        prepare(tmp_path, images(files), skip=True)
    words = "(a); at least two are needed; 8 of 17 examples were skipped, for example b/0.png: is grayscale"
    assert str(error.value).startswith(f"1 class was found {words}")
