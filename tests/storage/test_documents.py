"""YAML and JSON that ask for endless work are refused at once; ordinary documents are read as ever."""

import datetime
import time
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.storage.documents import MAX_YAML_BYTES, parse_json, parse_yaml, read_json, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
REFUSED = {
    "digits": ("a: " + "9" * 5000, "thousands of digits"),
    "hexadecimal": ("a: 0x" + "f" * 5000, "integer of 20000 bits"),
    "underscores": ("a: " + "1_" * 3000 + "1", "bits"),
    "just too large": (f"a: {2**63}", "integer of 64 bits"),
    "as a key": ("? " + "9" * 5000 + "\n: a", "thousands of digits"),
    "open brackets": ("[" * 3000, "levels deep"),
    "closed brackets": ("[" * 3000 + "]" * 3000, "levels deep"),
    "many brackets": ("[" * 200_000, "levels deep"),
    "braces": ("{a: " * 3000, "levels deep"),
    "dashes": ("- " * 3000, "levels deep"),
    "indentation": ("\n".join(" " * level + "a:" for level in range(400)), "levels deep"),
    "questions": ("? " * 2000, "levels deep"),
    "aliases": (BOMB, "100,000 values"),
    "itself": ("&a [*a]", "part of"),
    "itself in a mapping": ("a: &a {b: *a}", "part of"),
    "twice": ("a: 1\na: 2", "duplicate key"),
    "tab": ("a:\n\t- b", "cannot start any token"),
    "null": ("a: \0", "unacceptable character"),
    "escaped null": (r'a: "b\0c"', "null character"),
    "date": ("a: 2020-99-99", "month must be in"),
    "tag": ("!!python/object/apply:os.mkdir ['ran']", "tag"),
    "documents": ("a: 1\n---\nb: 2", "another document"),
    "number": ("- !!float x", "float"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_yaml_out_of_bounds_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    text, words = REFUSED[name]
    file = tmp_path / "a.yaml"
    file.write_text(text, "utf-8")
    begun = time.monotonic()
    with pytest.raises(RegrowError, match=words) as refused:
        read_yaml(file)
    assert time.monotonic() - begun < 5
    assert str(refused.value).startswith(f"{file}: ")
    assert len(str(refused.value)) < 400 + len(str(file))
    assert "\n" not in str(refused.value)


def test_yaml_files_are_bounded(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# " + "x" * MAX_YAML_BYTES, "utf-8")
    with pytest.raises(RegrowError, match="more than 262,144 bytes"):
        read_yaml(file)
    with pytest.raises(RegrowError, match="device"):
        read_yaml(Path("/dev/zero"))


def test_ordinary_yaml_is_read() -> None:
    text = """
    base: &base {epochs: 3, rate: 1e-3}
    train: {<<: *base, epochs: 5}
    names: [ä, '[[[', yes, 007, 2020-01-02, ~, 0x1f]
    """
    found = parse_yaml(text, where="x")
    assert found["train"] == {"epochs": 5, "rate": 0.001}
    assert found["names"] == ["ä", "[[[", "yes", 7, datetime.date(2020, 1, 2), None, 31]
    assert parse_yaml("", where="x") is None
    assert parse_yaml(f"a: {2**63 - 1}", where="x") == {"a": 2**63 - 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 5000, "nested too deeply"),
        ("9" * 5000, "thousands of digits"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands there twice"),
        ("{'a': 1}", "property name"),
        ("", "Expecting value"),
    ],
)
def test_json_out_of_bounds_is_refused_in_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(text, "utf-8")
    with pytest.raises(RegrowError, match=words) as refused:
        read_json(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert len(str(refused.value)) < 200 + len(str(file))


def test_json_of_bytes_and_in_another_encoding() -> None:
    assert parse_json(b'{"a": [1, 2.5, null]}', where="x") == {"a": [1, 2.5, None]}
    with pytest.raises(RegrowError, match="x: is not valid JSON"):
        parse_json(b"\xff\xfe", where="x")
