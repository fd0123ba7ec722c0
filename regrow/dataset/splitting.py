"""Assigning examples to splits, and detecting leakage between splits."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from pydantic import Field, model_validator

from regrow.config.sections import Parameters
from regrow.dataset.class_names import spelling
from regrow.dataset.info import SPLITS
from regrow.dataset.listing import Listing
from regrow.dataset.reading import HINT
from regrow.errors import RegrowError


class SplitOptions(Parameters):
    """Fractions of all examples for the splits that the source does not make itself."""

    validation: float = Field(
        0.15, gt=0, lt=1, description="share of the examples for choosing epochs and settings"
    )
    test: float = Field(0.2, gt=0, lt=1, description="share of the examples for the final evaluation")
    seed: int = Field(0, ge=0, description="seed of the random split")
    stratified: bool = Field(True, description="whether every class has the same shares")

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation} and test {self.test} leave nothing to train on; their sum "
                "must be below 1"
            )
        return self


@dataclass
class Assignment:
    """The split of each example (None: left out), what was left out and why, what deserves a look."""

    splits: list[str | None]
    faults: dict[int, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = ()

    def members(self, split: str) -> list[int]:
        """Indices of the examples in ``split``, in the listing's order."""
        return [index for index, given in enumerate(self.splits) if given == split]


def assign_splits(
    listing: Listing, contents: Sequence[str], *, options: SplitOptions, skip: bool
) -> Assignment:
    """Keep the source's own splits, make the missing ones, and let no content stand on two sides.

    ``contents`` are digests of the examples' values, empty for those rejected before. Equal content is kept
    together when a split is made here; where the source itself has it on two sides, that is an error or,
    with ``skip``, the training example is left out (a validation example, where test has it too).

    Raises:
        RegrowError: content in two splits, a label that training never sees, a class that a split lacks
            (with ``skip``: a warning), fewer than two classes.
    """
    if listing.empty and not skip:
        raise RegrowError(
            f"class folder '{listing.empty[0]}' contains no images; prepare.on_error: skip ignores it"
        )
    own = any(listing.splits)
    if own and "train" not in listing.splits:
        held = " and ".join(name for name in SPLITS if name in listing.splits)
        raise RegrowError(f"the source has only split {held}; accepted: also a train split, or no splits")
    given = [split if content else None for split, content in zip(listing.splits, contents, strict=True)]
    out = Assignment(splits=list(given))
    out.warnings += [f"class folder '{name}' contains no images" for name in listing.empty]
    if own:
        _refuse_leakage(out, listing.names, contents, skip=skip)
    pool = [i for i, content in enumerate(contents) if content and (not own or out.splits[i] == "train")]
    missing = {name: getattr(options, name) for name in ("test", "validation") if name not in listing.splits}
    labels = [str(label) for label in listing.labels]
    for index, split in _draw(pool, labels, contents, fractions=missing, options=options).items():
        out.splits[index] = split
    _refuse_unknown_labels(out, listing.names, labels, skip=skip)
    found = class_order(label for label, split in zip(labels, out.splits, strict=True) if split)
    out.classes = listing.classes or found
    if unused := [name for name in out.classes if name not in found]:
        raise RegrowError(f"prepare.source.classes names '{unused[0]}', but no usable example has that label")
    _require_classes(out, named={label for label in listing.labels if label is not None})
    _require_splits(out, labels, contents, drawn=missing)
    _require_classes_in_splits(out, labels, skip=skip)
    return out


def class_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Class names in the order of their labels: by number where all are whole numbers, else by name."""
    unique = sorted(set(labels))
    # At most as many digits as int() takes; names that are the same number, 7 and 007, keep the order of names.
    if all(re.fullmatch(r"-?[0-9]{1,1000}", name) for name in unique):
        return tuple(sorted(unique, key=int))
    return tuple(unique)


def _refuse_leakage(out: Assignment, names: Sequence[str], contents: Sequence[str], *, skip: bool) -> None:
    rank = {split: number for number, split in enumerate(SPLITS)}
    holder: dict[str, int] = {}
    order = sorted((i for i, s in enumerate(out.splits) if s), key=lambda i: -rank[str(out.splits[i])])
    for index in order:
        first = holder.setdefault(contents[index], index)
        if out.splits[first] == out.splits[index]:
            continue
        reason = (
            f"is in {out.splits[index]} and has the same content as {names[first]} in {out.splits[first]}"
        )
        if not skip:
            raise RegrowError(f"{names[index]}: {reason}, which is leakage; {HINT}")
        out.faults[index] = reason
        out.splits[index] = None


def _draw(
    pool: Sequence[int],
    labels: Sequence[str],
    contents: Sequence[str],
    *,
    fractions: Mapping[str, float],
    options: SplitOptions,
) -> dict[int, str]:
    """Draw splits, class by class when stratified; examples with equal content go the same way.

    An example's place in the draw is a digest of its content and the seed: where examples are added later, the
    others stay on their side but for those at the border, so that a model that was trained on the older data has not
    seen the newer test split. Test takes one end and validation the other, so that none passes between them.

    Every class with more examples than there are splits to draw gives at least one to each.
    """
    strata: dict[str, list[list[int]]] = defaultdict(list)
    together: dict[str, list[int]] = {}
    for index in pool:
        if contents[index] not in together:
            together[contents[index]] = []
            strata[labels[index] if options.stratified else ""].append(together[contents[index]])
        together[contents[index]].append(index)
    drawn: dict[int, str] = {}
    for stratum in sorted(strata):
        order = sorted(strata[stratum], key=lambda group: _place(contents[group[0]], options.seed))
        total = len(order)
        for later, (split, fraction) in zip(range(len(fractions), 0, -1), fractions.items(), strict=True):
            # One at least, but as many left as there are splits still to come, training among them.
            wanted = min(max(1, round(fraction * total)), len(order) - later)
            count = wanted if total > len(fractions) else 0
            end = len(order) - count
            taken, order = (order[:count], order[count:]) if split == "test" else (order[end:], order[:end])
            drawn |= {index: split for group in taken for index in group}
        drawn |= {index: "train" for group in order for index in group}
    return drawn


def _place(content: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{content}".encode()).digest()


def _refuse_unknown_labels(
    out: Assignment, names: Sequence[str], labels: Sequence[str], *, skip: bool
) -> None:
    known = {label for label, split in zip(labels, out.splits, strict=True) if split == "train"}
    alike = {spelling(label): label for label in known}
    for index, split in enumerate(out.splits):
        if split and labels[index] not in known:
            reason = f"is in {split} and has label '{labels[index]}', which no training example has"
            if other := alike.get(spelling(labels[index])):
                reason += f" (training has {other!a}, this is {labels[index]!a})"
            if not skip:
                raise RegrowError(f"{names[index]}: {reason}; {HINT}")
            out.faults[index] = reason
            out.splits[index] = None


def _require_classes(out: Assignment, *, named: set[str]) -> None:
    gone = sorted(named - set(out.classes))
    out.warnings += [f"class '{name}' is omitted: no usable training example has it" for name in gone]
    if len(out.classes) < 2:
        raise RegrowError(
            f"{len(out.classes)} class was found ({', '.join(out.classes) or 'none'}); at least two are "
            "needed"
        )


def _require_splits(
    out: Assignment, labels: Sequence[str], contents: Sequence[str], *, drawn: Mapping[str, float]
) -> None:
    """Every split has examples; where it has none, the sentence says why none could be drawn."""
    lacking = next((split for split in SPLITS if split not in out.splits), None)
    if lacking is None:
        return
    used = {(labels[i], contents[i]) for i, split in enumerate(out.splits) if split in ("train", *drawn)}
    most = max(Counter(label for label, _ in used).values(), default=0)
    if lacking in drawn and most <= len(drawn):
        raise RegrowError(
            f"split '{lacking}' has no example: no class has more than {most} different "
            f"example{'s' if most > 1 else ''}, and one class at least needs {len(drawn) + 1} to be divided "
            f"(there are {len(out.classes)} classes; are label and features the intended columns?)"
        )
    raise RegrowError(f"split '{lacking}' has no example; add examples or raise prepare.splits.{lacking}")


def _require_classes_in_splits(out: Assignment, labels: Sequence[str], *, skip: bool) -> None:
    """Every split has every class, or its measurements say nothing about it."""
    counts = Counter(zip(out.splits, labels, strict=True))
    for split in SPLITS:
        for name in out.classes:
            if counts[split, name]:
                continue
            if not skip:
                raise RegrowError(
                    f"class '{name}' has no example in split '{split}'; add examples or change "
                    "prepare.splits (prepare.on_error: skip accepts the lack)"
                )
            out.warnings.append(f"class '{name}' has no example in split '{split}'")
