"""Tables in CSV: cells are the text that they are."""

import bz2
import gzip
import lzma
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from regrow.dataset.listing import Array, Listing
from regrow.dataset.readers import list_examples
from regrow.dataset.table_sources import Csv
from regrow.errors import RegrowError


def values(listing: Listing) -> Array:
    return np.stack([np.asarray(value) for _, value in listing.stream()])


def csv(path: Path, text: str, **options: Any) -> Listing:
    (path / "table.csv").write_text(text)
    options = {"label": "kind", **options}
    return list_examples(Csv.model_validate({"kind": "csv", "path": path / "table.csv", **options}))


def test_csv_rows_and_images(tmp_path: Path) -> None:
    text = "a,b,c,d,kind\n1,2,3,4,x\n5,6,7,8,y\n"
    listing = csv(tmp_path, text)
    assert listing.names == ["table.csv:2", "table.csv:3"]
    assert listing.labels == ["x", "y"]
    np.testing.assert_array_equal(values(listing), [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert values(csv(tmp_path, text, features=["d", "a"])).tolist() == [[4, 1], [8, 5]]
    images = values(csv(tmp_path, text, shape=[2, 2, 1]))
    assert images.shape == (2, 2, 2, 1)
    assert images.dtype == np.uint8


def test_csv_missing_label_and_text_in_a_cell(tmp_path: Path) -> None:
    listing = csv(tmp_path, "a,kind\n1,1\nx,0\n3,\n")
    assert listing.labels == ["1", "0", None]
    assert np.isnan(values(listing)[1, 0])


def test_csv_rows_with_another_number_of_fields_are_faults_at_their_line(tmp_path: Path) -> None:
    listing = csv(tmp_path, 'a,b,kind\n1,2,x\n\n"3\n",4,y\n1,2,3,0\n5\n6,7,z\n')
    assert listing.names == [f"table.csv:{line}" for line in (2, 4, 6, 7, 8)]
    fields = "has {} fields, but the header has 3"
    assert listing.faults == {2: fields.format(4), 3: fields.format(1)}
    assert values(listing)[[0, 1, 4]].tolist() == [[1, 2], [3, 4], [6, 7]]
    assert [listing.labels[index] for index in (0, 1, 4)] == ["x", "y", "z"]


def test_csv_with_further_labels(tmp_path: Path) -> None:
    text = "a,kind,sex,age\n1,x,m,1\n2,y,,0\n3,x,f,\n"
    assert csv(tmp_path, text.replace(",m", ",7").replace(",f", ",8")).further == {}
    listing = csv(tmp_path, text, further_labels=["sex", "age"])
    assert listing.further == {"sex": ["m", None, "f"], "age": ["1", "0", None]}
    assert values(listing).tolist() == [[1], [2], [3]]
    with pytest.raises(
        RegrowError, match=r"table\.csv: has no column 'size'; it has 'a', 'kind', 'sex', 'age'"
    ):
        csv(tmp_path, text, further_labels=["size"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"further_labels": ["kind"]}, "'kind' is the label or a feature already"),
        ({"further_labels": ["a"], "features": ["a"]}, "'a' is the label or a feature already"),
        ({"further_labels": ["../a"]}, "'../a' cannot be the name of an auxiliary label"),
        ({"further_labels": ["image"]}, "'image' cannot be the name of an auxiliary label"),
        ({"further_labels": ["a", "a"]}, "has a column twice"),
    ],
)
def test_further_labels_that_cannot_be(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        csv(tmp_path, "a,kind\n1,x\n", **options)


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_packed_csv(tmp_path: Path, module: Any) -> None:
    (tmp_path / "packed.csv").write_bytes(module.compress(b"a,kind\n1,x\n2,y\n"))
    source = Csv(kind="csv", path=tmp_path / "packed.csv", label="kind")
    assert values(list_examples(source)).tolist() == [[1], [2]]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.bz2", "csv.xz"])
def test_packed_csv_bombs_are_refused(tmp_path: Path, suffix: str) -> None:
    packing = {"csv": gzip, "csv.gz": gzip, "csv.bz2": bz2, "csv.xz": lzma}[suffix]
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(packing.compress(b"a,kind\n" + b"1,0\n" * 5_000_000))  # type: ignore[attr-defined]
    with pytest.raises(RegrowError, match=rf"bomb\.{suffix}: expands more than 200-fold; uncompressed files"):
        list_examples(Csv(kind="csv", path=path, label="kind"))


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,kind\n1,x\n", {"label": "king"}, "has no column 'king'; it has 'a', 'kind'"),
        ("a,kind\nred,x\nblue,y\n", {}, "column 'a' contains no number"),
        ("a,b,kind\n1,2,x\n", {"shape": [2, 2, 1]}, "takes 4 columns, but there are 2"),
        ("a,kind\n", {}, "has no rows"),
        ("", {}, "cannot be read as CSV"),
        ("a,kind\n1,2,x\n3,4,y\n", {}, "table.csv:2: has 3 fields, but the header has 2, as in all"),
    ],
)
def test_unusable_csv_is_refused(tmp_path: Path, text: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RegrowError, match=words):
        csv(tmp_path, text, **options)


def column(labels: list[str]) -> str:
    return "a,kind\n" + "".join(f"{row},{label}\n" for row, label in enumerate(labels))


@pytest.mark.parametrize(
    "labels",
    [
        ["007", "7", "012", "12"],
        ["90071992547409931", "90071992547409933", "90071992547409937"],
        ["None", "NA", "N/A", "null", "NULL", "nan", "NaN", "-", "inf", "<NA>", "n/a", "#N/A", "NaT"],
        ["True", "true", "False"],
        ["1e3", "1000", "1000.5", "x"],
        ["1.0", "2.0", "other"],
        ["1.10", "1.1", "1.1", "1.10"],
        ["+1", "1.0", "1"],
        ["-0", "0.0"],
        ["2024-01-02", "01/02/2024"],
        ["0x10", "16", "1_6"],
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_labels_are_text_as_written(tmp_path: Path, labels: list[str], missing: bool) -> None:
    found = csv(tmp_path, column([*labels, ""] if missing else labels))
    assert found.labels == ([*labels, None] if missing else labels)
    assert not [note for note in found.notes if "whole numbers" in note]


def test_quotes_and_spaces_around_a_label_are_not_part_of_it(tmp_path: Path) -> None:
    text = 'a , kind ,other\n1, cat,"x, y"\n2,"cat ", NA\n3,"say ""cat""",\n4,"  ",null\n'
    found = csv(tmp_path, text, further_labels=["other"])
    assert found.labels == ["cat", "cat", 'say "cat"', None]
    assert found.further == {"other": ["x, y", "NA", None, "null"]}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["1.0", "0.0", "", "10.0"], ["1", "0", None, "10"]),
        (["1.0", "1", "-2.00"], ["1", "1", "-2"]),
        (["90071992547409931.0", "90071992547409933.0"], ["90071992547409931", "90071992547409933"]),
    ],
)
def test_whole_numbers_written_as_floating_point_lose_their_fraction_and_a_note_says_so(
    tmp_path: Path, labels: list[str], names: list[str | None]
) -> None:
    listing = csv(tmp_path, column(labels))
    assert listing.labels == names
    (note,) = listing.notes
    assert note.startswith("all labels in column 'kind' are whole numbers, some written like '")


def test_a_quantity_is_no_label(tmp_path: Path) -> None:
    with pytest.raises(
        RegrowError, match=r"column 'kind' holds 40 different numbers with fractions, such as"
    ):
        csv(tmp_path, column([f"{row / 7:.3f}" for row in range(40)]))
    assert set(csv(tmp_path, column(["0.5", "1.5", "2.5"] * 9)).labels) == {"0.5", "1.5", "2.5"}


def test_a_large_table_is_read_like_a_small_one(tmp_path: Path) -> None:
    """Where types are guessed by block, a label that is text in one block is a number in the next."""
    labels = ["012" if row % 2 else "12" for row in range(150_000)] + ["A"] * 20_000
    listing = csv(tmp_path, column(labels))
    assert listing.labels == labels
    last = list(listing.stream())[-1]
    assert (last[0], last[1].tolist()) == (169_999, [169_999])


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (
            '"1,005"',
            r"column 'b' has '1,005', which is not a number \(numbers must have no thousands separator",
        ),
        ("NA", "column 'b' has 'NA', which is not a number"),
        ("nan", "column 'b' has 'nan', which is not a number"),
        ("-inf", "column 'b' has '-inf', which is not a number"),
        ("1_000", "column 'b' has '1_000', which is not a number"),
        ("١٢", "column 'b' has '١٢', which is not a number"),
        ("0x1F", "column 'b' has '0x1F', which is not a number"),
        ("yes", "column 'b' has 'yes', which is not a number"),
        ("", "column 'b' is empty"),
        ("  ", "column 'b' is empty"),
        ("1e39", "column 'b' has '1e39', which is too large for single precision"),
        ("True", "column 'b' contains 'true' as well as numbers"),
        ("\x1b[31m5", r"column 'b' has '\\x1b\[31m5', which is not a number"),
        ("7" * 5000, f"column 'b' has '{'7' * 40}…', which is too large"),
    ],
)
def test_a_cell_that_is_no_number_is_named(tmp_path: Path, cell: str, words: str) -> None:
    text = "a,b,kind\n" + "".join(f"{row},{cell if row in (7, 9) else row},x\n" for row in range(12))
    listing = csv(tmp_path, text)
    assert sorted(listing.faults) == [7, 9]
    assert re.match(words, listing.faults[7])
    others = [row for row in range(12) if row not in (7, 9)]
    assert values(listing)[others].tolist() == [[row, row] for row in others]


def test_numbers_in_all_notations_have_the_right_value(tmp_path: Path) -> None:
    cells = ["1", "-2.5", "+3.", ".25", "1e3", "2E-2", " 7 ", '"8"', "0.1", "16777217"]
    for others in ([], ["x"]):  # all at once, and one by one
        text = "a,kind\n" + "".join(f"{cell},k\n" for cell in [*cells, *others])
        found = values(csv(tmp_path, text))[: len(cells), 0]
        wanted = [1, -2.5, 3, 0.25, 1000, 0.02, 7, 8, 0.1, 16777217]
        np.testing.assert_array_equal(found, np.asarray(wanted, np.float32))


@pytest.mark.parametrize(
    "words", [("True", "False"), ("TRUE", "FALSE"), ("true", "false"), (" True", '"False"')]
)
def test_true_and_false_are_one_and_zero_beside_numbers(tmp_path: Path, words: tuple[str, str]) -> None:
    text = "age,smoker,kind\n" + "".join(f"{row}.5,{words[row % 2]},x\n" for row in range(6))
    listing = csv(tmp_path, text)
    assert values(listing).tolist() == [[row + 0.5, 1 - row % 2] for row in range(6)]
    assert listing.faults == {}
    listing = csv(tmp_path, text + "7,maybe,x\n8,,x\n")
    assert listing.faults == {
        6: "column 'smoker' has 'maybe', which is neither true nor false",
        7: "column 'smoker' is empty",
    }
    assert values(listing)[:6, 1].tolist() == [1, 0] * 3


@pytest.mark.parametrize(
    ("header", "options", "words"),
    [
        ("a,b,a,kind", {}, "columns 1 and 3 are both called 'a'"),
        ("a, a,b,kind", {}, "columns 1 and 2 are both called 'a'"),
        ("a,b,kind,kind", {}, "columns 3 and 4 are both called 'kind'"),
        (",a,b,kind", {}, "column 1 has no name; give it one"),
        ("a,b,kind, ", {}, "column 4 has no name"),
        ("a,a,b,kind", {"features": ["a"]}, "columns 1 and 2 are both called 'a'"),
        ("kind,kind,kind,kind", {"features": ["kind"], "label": "b"}, "no column 'b'"),
    ],
)
def test_columns_without_a_name_of_their_own_are_refused(
    tmp_path: Path, header: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(RegrowError, match=words):
        csv(tmp_path, f"{header}\n1,2,3,4\n", **options)


def test_nameless_columns_that_are_not_used_do_no_harm(tmp_path: Path) -> None:
    listing = csv(tmp_path, ",a,b,kind\n0,1,2,x\n1,3,4,y\n", features=["b", "a"])
    assert values(listing).tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize("separator", [";", "\t", "tab", "|"])
def test_separator_and_decimal_comma(tmp_path: Path, separator: str) -> None:
    character = "\t" if separator == "tab" else separator
    text = "a,b,kind\n1.5,-2,x\n,5,3e1,y\n".replace("\n,5", "\n.5").replace(",", character).replace(".", ",")
    listing = csv(tmp_path, text, separator=separator, decimal=",")
    assert values(listing).tolist() == [[1.5, -2], [0.5, 30]]
    assert listing.labels == ["x", "y"]
    text += f"1.5{character}2{character}x\n"
    listing = csv(tmp_path, text, separator=separator, decimal=",")
    assert listing.faults[2].startswith("column 'a' has '1.5', which is not a number")
    called = "tab" if character == "\t" else f"'{character}'"
    with pytest.raises(RegrowError, match="it seems to be separated by ") as caught:
        csv(tmp_path, text)
    assert f"separated by {called}; set prepare.source.separator" in str(caught.value)


def test_whole_labels_with_a_decimal_comma(tmp_path: Path) -> None:
    listing = csv(tmp_path, "a;kind\n1;1,0\n2;2,0\n", separator=";", decimal=",")
    assert listing.labels == ["1", "2"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"separator": ",", "decimal": ","}, "separator and decimal are both ','"),
        ({"separator": ";;"}, "one character"),
        ({"separator": "."}, "one character"),
        ({"separator": "x"}, "one character"),
        ({"decimal": ";"}, "decimal"),
        ({"features": ["a", "kind"]}, "'kind' is the label already"),
        ({"features": ["a", "a "]}, "has a column twice"),
        ({"features": []}, "is empty"),
    ],
)
def test_options_that_contradict_each_other(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        csv(tmp_path, "a,kind\n1,x\n", **options)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'a,kind\n1,"x\n2,y\n', r"table\.csv: cannot be read as CSV \(line 2: unexpected end of data"),
        (b'a,kind\n1,x\n2,"y" z\n', r"line 3: ',' expected after"),
        ("a,kind\n1,é\n".encode("latin-1"), "byte 0xe9 is not UTF-8"),
        ("a,kind\n1,x\n".encode("utf-16"), "byte 0xff is not UTF-8"),
        (
            b"a,kind\n" + b"9" * 200_000 + b",x\n",
            r"line 2: field larger than field limit \(131072\); an unclosed quote",
        ),
        ("a,kind\n1,x\n".encode("utf-16-le"), "its first line holds null characters"),
        (b"PAR1" + bytes(99), "its first line holds null characters"),
        (b"x" * 9999 + b",b\n1,x\n", r"it has 'x{100}…', 'b'"),
        (b"kind\nx\ny\n", "has no columns other than 'kind'; at least one feature column is needed"),
        (b"a,b,kind\n1,,x\n2,,y\n", "column 'b' is empty; accepted: numbers"),
        (b"a;b;king\n1;2;x\n", "has no column 'kind'; .* it seems to be separated by ';'; set prepare"),
        (b"a  kind\n1 x\n", "has no column 'kind'; .* it seems to be separated by spaces"),
        (b"label a\n1\n", "has no column 'kind'; it has 'label a'$"),
        (
            b'a,kind\n"1,5",x\n"2,5",y\n',
            "column 'a' contains no number .* for a decimal comma set prepare.source.decimal",
        ),
        (b"a,b,kind\n1,,x\n2,red,y\n", r"column 'b' contains no number \('red' in line 3\)"),
    ],
)
def test_text_that_is_no_table_is_named_by_its_line(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "table.csv").write_bytes(data)
    with pytest.raises(RegrowError, match=words):
        list_examples(Csv(kind="csv", path=tmp_path / "table.csv", label="kind"))


def test_pixels_of_a_table_are_bytes_unless_a_fraction_is_written(tmp_path: Path) -> None:
    text = "a,b,c,d,kind\n0,1,2,255,x\n5,,7,8,y\n9,9,9,9,{}\n"
    listing = csv(tmp_path, text.format("1.5"), shape=[2, 2, 1])
    assert values(listing).dtype == np.uint8
    assert listing.faults == {1: "column 'b' is empty"}
    assert values(csv(tmp_path, text.replace("0,1,", "0.0,1,"), shape=[2, 2, 1])).dtype == np.float32
    assert values(csv(tmp_path, text.replace("255", "256"), shape=[2, 2, 1])).dtype == np.float32


@pytest.mark.parametrize("extra", ["", ",True"])
def test_work_is_linear_in_columns(tmp_path: Path, extra: str) -> None:
    """Sixteen times the columns take about sixteen times the work; where it grew with their square, 256 times."""

    def seconds(columns: int) -> float:
        names = ",".join(f"c{number}" for number in range(columns)) + (",b" if extra else "")
        row = ",".join(["0.5"] * columns) + extra
        path = tmp_path / f"{columns}.csv"
        path.write_text(f"{names},kind\n" + f"{row},x\n{row},y\n" * 2)
        source, best = Csv(kind="csv", path=path, label="kind"), np.inf
        for _ in range(3):
            start = time.process_time()
            list_examples(source)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(16_000) < 80 * seconds(1_000)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n\n"])
def test_ends_of_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path, end: str) -> None:
    text = '\ufeffkind,a\nx,1\n,2\n"y",3'.replace("\n", end)
    (tmp_path / "table.csv").write_bytes(text.encode())
    listing = list_examples(Csv(kind="csv", path=tmp_path / "table.csv", label="kind"))
    assert listing.labels == ["x", None, "y"]
    assert values(listing).tolist() == [[1], [2], [3]]


def test_tables_need_no_pandas(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,kind\n1,x\n")
    code = """
import pathlib, sys

class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoPandas())
from regrow.dataset.directory import write_examples
from regrow.dataset.readers import list_examples
from regrow.dataset.table_sources import Csv
table = pathlib.Path(sys.argv[1])
found = list_examples(Csv(kind="csv", path=table, label="kind"))
write_examples(
    table.with_suffix(".parquet"),
    names=found.names,
    digests=["0"],
    labels=found.labels,
    splits={"train": 1},
    further={},
)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "table.csv")], check=True)
    assert (tmp_path / "table.parquet").is_file()
