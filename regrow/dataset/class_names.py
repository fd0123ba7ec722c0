"""Checks of class names, and a warning about classes that look like two spellings of one name."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from regrow.dataset.listing import Listing
from regrow.errors import RegrowError

LONGEST = 1000  # characters; folders have 255 bytes
SHOWN = 3
NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?")


def with_checked_names(listing: Listing, *, where: str) -> Listing:
    """``listing`` with a note on classes that look alike.

    Raises:
        RegrowError: a label is no text that can be a name.
    """
    notes: list[str] = []
    for column, labels in (("", listing.labels), *listing.further.items()):
        names = sorted({label for label in labels if label is not None})
        for name in names:
            if fault := _fault(name):
                raise RegrowError(f"{where}: label {name[:40]!a} {fault}")
        notes += _lookalikes(names, f"column '{column}': " if column else "")
    return replace(listing, notes=[*listing.notes, *notes]) if notes else listing


def _fault(name: str) -> str:
    if len(name) > LONGEST:
        return f"… has {len(name):,} characters; accepted as a class: at most {LONGEST:,}"
    if "\0" in name:
        return "contains a null character; accepted as a class: text without null characters"
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "contains an unpaired surrogate; accepted as a class: valid Unicode"
    return ""


def spelling(name: str) -> object:
    """Equal for names that differ in case, spaces, invisible characters, the form of accents or of a number alone."""
    if not name.isascii():
        name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        name = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return Decimal(name) if NUMBER.fullmatch(name) else " ".join(name.casefold().split())


def _lookalikes(names: Iterable[str], begin: str) -> list[str]:
    found: dict[object, list[str]] = defaultdict(list)
    for name in names:
        found[spelling(name)].append(name)
    alike = [group for group in found.values() if len(group) > 1]
    if not alike:
        return []
    listed = "; ".join(" and ".join(ascii(name) for name in group[:SHOWN]) for group in alike[:SHOWN])
    more = f" and {len(alike) - SHOWN} more" if len(alike) > SHOWN else ""
    return [
        (
            f"{begin}these class names differ only in spelling and are kept as different classes: "
            f"{listed}{more}"
        )
    ]
