"""Classes named by the user, in order, and how they apply to a source's examples."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from regrow.config.sections import Parameters
from regrow.dataset.listing import Listing
from regrow.errors import RegrowError

SHOWN = 10
LONGEST = 100  # of a name, so many characters are shown
KEY = "prepare.source.classes"


def _names(given: Any) -> Any:
    """Names as text; YAML reads an unquoted ``3`` as a number, ``yes`` as true and ``null`` as nothing."""
    if not isinstance(given, list | tuple):
        return given
    for name in given:
        if name is None or isinstance(name, bool | float):
            raise ValueError(f"YAML reads one of the names as {name!r}; put it in quotes")
    names = [str(name) if isinstance(name, int) else name for name in given]
    texts = [name for name in names if isinstance(name, str)]
    if len(set(texts)) < len(texts):
        raise ValueError(f"names '{next(name for name in texts if texts.count(name) > 1)}' twice")
    if any(not name or name != name.strip() for name in texts):
        raise ValueError("a name is empty, or begins or ends with a space")
    if len(names) < 2:
        raise ValueError("names fewer than two classes")
    return names


class ClassedSource(Parameters):
    """A source whose classes may be named by hand, in the order in which the model shall number them."""

    classes: Annotated[tuple[str, ...] | None, BeforeValidator(_names)] = Field(
        None,
        description="all classes, in the order of their labels 0, 1, …; default: those found, sorted",
    )


def with_classes(listing: Listing, classes: Sequence[str] | None, *, where: str) -> Listing:
    """``listing`` with the classes that its source names: in their order, and no others.

    Labels of arrays that are numbers are positions in ``classes``, unless a name there is a number itself. An example
    whose label is not among ``classes`` gets a fault.

    Raises:
        RegrowError: a class has no example.
    """
    if classes is None:
        return listing
    labels: Sequence[str | None] = listing.labels
    if listing.numbered and not any(name.lstrip("-").isdecimal() for name in classes):
        names = {str(position): name for position, name in enumerate(classes)}
        labels = [label if label is None else names.get(label, label) for label in labels]
    found = {label for label in labels if label is not None}
    missing = [name for name in classes if name not in found]
    if missing:
        others = sorted(found.difference(classes)) or sorted(found)
        raise RegrowError(
            f"{where}: {KEY} names {shortened(missing)}, but no example has such a label; found"
            f"{' besides' if found.difference(classes) else ''}: {shortened(others) or 'none'}"
        )
    known = set(classes)
    faults = {
        index: f"has label '{label}', which is not among {KEY}"
        for index, label in enumerate(labels)
        if label is not None and label not in known
    }
    return replace(listing, labels=labels, classes=tuple(classes), faults={**faults, **listing.faults})


def shortened(names: Sequence[str]) -> str:
    """The first of ``names`` in quotes, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    cut = (name if len(name) <= LONGEST else f"{name[:LONGEST]}…" for name in names[:SHOWN])
    return ", ".join(f"'{name}'" for name in cut) + more
