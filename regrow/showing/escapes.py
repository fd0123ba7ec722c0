"""Make control characters visible, so that values from outside cannot move the cursor or reverse text."""

import html
import re
import unicodedata
from typing import Any

from regrow.showing.redaction import redacted

LONGEST = 4000  # letters of one sentence
# Joins letters in Persian, Hindi and emoji; turns and hides nothing.
JOINERS = "\u200c\u200d"
_PLAIN = re.compile(r"[\x20-\x7e]*")


def escaped(text: str, *, keep: str = "") -> str:
    r"""``text`` with control, formatting and separating characters as ``\x1b`` or ``\u202e``; not those in ``keep``.

    Letters of all scripts stay. What stands for bytes that are no UTF-8 in a file's name is escaped too: it could not
    be printed.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(letter if letter in keep or _is_harmless(letter) else _escape(letter) for letter in text)


def _is_harmless(letter: str) -> bool:
    return letter in JOINERS or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escape(letter: str) -> str:
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(letter)
    if short is not None:
        return short
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown(value: Any) -> str:
    """``value`` as one line for people: without credentials, control characters visible, of bounded length."""
    text = str(value)
    if len(text) > LONGEST:
        # Redacted first: a credential that is cut in two would no longer be known as one.
        text = redacted(text)
        half = LONGEST // 2
        text = f"{text[:half]} … ({len(text) - LONGEST:,} letters) … {text[-half:]}"
    return escaped(redacted(text))


def html_text(value: Any) -> str:
    """``value`` as `shown`, for a page of HTML."""
    return html.escape(shown(value))
