"""Values from outside cannot steer a terminal; letters of all scripts stay readable."""

import html
import io

import pytest
from rich.table import Table

from regrow.errors import RegrowError
from regrow.showing import console as consoles
from regrow.showing.escapes import LONGEST, escaped, html_text, shown

STEERING = {
    "\x1b[2J\x1b[1;1H": r"\x1b[2J\x1b[1;1H",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b31m": r"\x9b31m",
    "a\rb": r"a\rb",
    "a\x08\x08b": r"a\x08\x08b",
    "a\x7fb\x00": r"a\x7fb\x00",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\u2066a\u2069\u200f": r"\u2066a\u2069\u200f",
    "a\u2028b\x85c": r"a\u2028b\x85c",
    "\udcff.png": r"\udcff.png",
    "\U000e0041": r"\U000e0041",
    "a\u200bb\ufeff": r"a\u200bb\ufeff",
}
READABLE = [
    "Straße",
    "猫と犬",
    "кошка",
    "قطة",
    "नमस्ते",
    "می\u200cخواهم",
    "👩\u200d🔬",
    "naïve – “x”",
    "a b",
    "\\x1b",
]


@pytest.mark.parametrize(("text", "expected"), STEERING.items(), ids=[ascii(text) for text in STEERING])
def test_what_steers_a_terminal_is_visible(text: str, expected: str) -> None:
    assert escaped(text) == expected
    assert str(RegrowError(f"{text}: no such file")) == f"{expected}: no such file"


@pytest.mark.parametrize("text", READABLE)
def test_letters_stay(text: str) -> None:
    assert escaped(text) == text


def test_a_name_cannot_add_a_line_to_an_error() -> None:
    assert str(RegrowError("a\nerror: all is well: no such file")) == r"a\nerror: all is well: no such file"
    assert str(RegrowError("one", "two")).splitlines() == ["one", "two"]
    assert str(RegrowError(str(RegrowError("a\x1bb")))) == r"a\x1bb"


def test_a_sentence_has_an_end() -> None:
    text = shown("x" * 100_000 + "'postgresql://u:S3CRETxyz@h'")
    assert len(text) < LONGEST + 100
    assert "letters" in text
    cut = "x" * (LONGEST // 2 - 20) + " postgresql://u:S3CRETxyz@h " + "y" * LONGEST
    assert "S3CRET" not in shown(cut)


@pytest.mark.parametrize("cell", ["[/bold]", "[red]x[/red]", "a\x1b[31mb", ":smile:", "\u202eb", "a\rb"])
def test_tables_show_values_as_they_are(cell: str) -> None:
    on = consoles.console(width=60)
    on.file = io.StringIO()
    table = Table("layer", title="a\x1bt")
    table.add_row(cell)
    on.print(table)
    on.print(f"line {cell}", soft_wrap=True)
    found = on.file.getvalue()
    assert "\x1b" not in found
    assert "\u202e" not in found
    # Rich leaves out a few control characters by itself.
    assert found.count(escaped(cell)) == 2 or "\r" in cell


def test_a_page_shows_markup_as_text() -> None:
    assert html_text("<b>&\x1b") == r"&lt;b&gt;&amp;\x1b"
    assert html.unescape(html_text("https://u:S3CRETxyz@h/'x'")) == "https://***@h/'x'"
