"""The reader of each kind of source, which lists its examples."""

from collections.abc import Callable
from typing import Any

from regrow.dataset import csv_tables, folders, tables
from regrow.dataset.class_list import with_classes
from regrow.dataset.class_names import with_checked_names
from regrow.dataset.listing import Listing
from regrow.dataset.sources import require
from regrow.errors import RegrowError

READERS: dict[str, Callable[[Any], Listing]] = {
    "digits": tables.list_digits,
    "folder": folders.list_folder,
    "archive": folders.list_archive,
    "npz": tables.list_npz,
    "idx": tables.list_idx,
    "csv": csv_tables.list_csv,
}


def list_examples(source: Any) -> Listing:
    """The examples of ``source`` (`regrow.dataset.sources`; a DVC source once it is fetched), not yet decoded.

    Raises:
        RegrowError: the source is missing, broken, unsafe or empty, or a label cannot be a name.
    """
    if source.kind != "digits":
        require(source.path)
    listing = READERS[source.kind](source)
    if not listing.names:
        raise RegrowError(f"{source.path}: contains no examples; kind: {source.kind}")
    where = str(getattr(source, "path", source.kind))
    return with_classes(with_checked_names(listing, where=where), source.classes, where=where)
