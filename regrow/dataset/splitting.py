"""Which example belongs to which split; leakage is found here."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field, model_validator

from regrow.dataset.info import SPLITS
from regrow.errors import RegrowError
from regrow.parameters import Parameters


class SplitOptions(Parameters):
    """Fractions of all examples for splits that the source does not make itself; stratified by class, seeded."""

    validation: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.2, gt=0, lt=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _leave_some(self) -> "SplitOptions":
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation} and test {self.test} leave nothing to train on; together below 1"
            )
        return self


@dataclass
class Assignment:
    """The split of each example (None: left out) and what was left out, and why."""

    splits: list[str | None]
    rejects: list[dict[str, str]] = field(default_factory=list)
    duplicates: int = 0


def assign_splits(
    names: Sequence[str],
    labels: Sequence[str],
    given: Sequence[str | None],
    digests: Sequence[str],
    *,
    options: SplitOptions,
    skip: bool,
) -> Assignment:
    """Keep the source's own splits, make the missing ones, and let no content stand on two sides.

    Examples with an empty digest have been rejected before. Equal content is kept together when a split is made
    here; when the source itself has it on two sides, that is an error, or with ``skip`` the training example is
    left out (a validation example, where test has it too).

    Raises:
        RegrowError: content in two splits, or a label that training never sees.
    """
    out = Assignment(splits=[split if digest else None for split, digest in zip(given, digests, strict=True)])
    counts = Counter(digest for digest in digests if digest)
    out.duplicates = sum(count - 1 for count in counts.values())
    if any(given):
        _leakage(out, names, digests, skip=skip)
    pool = [i for i, d in enumerate(digests) if d and (out.splits[i] == "train" if any(given) else True)]
    missing = {name: getattr(options, name) for name in ("validation", "test") if name not in set(given)}
    if missing:
        made = _stratified(pool, labels, digests, fractions=missing, seed=options.seed)
        for index, split in made.items():
            out.splits[index] = split
    _unknown_labels(out, names, labels, skip=skip)
    return out


def _leakage(out: Assignment, names: Sequence[str], digests: Sequence[str], *, skip: bool) -> None:
    rank = {split: number for number, split in enumerate(SPLITS)}
    holder: dict[str, int] = {}
    order = sorted((i for i, s in enumerate(out.splits) if s), key=lambda i: -rank[str(out.splits[i])])
    for index in order:
        first = holder.setdefault(digests[index], index)
        if out.splits[first] == out.splits[index]:
            continue
        reason = f"has the same content as {names[first]}: {out.splits[index]} and {out.splits[first]} would overlap"
        if not skip:
            raise RegrowError(f"{names[index]}: {reason} (prepare.on_error: skip leaves it out)")
        out.rejects.append({"example": names[index], "reason": reason})
        out.splits[index] = None


def _stratified(
    pool: Sequence[int],
    labels: Sequence[str],
    digests: Sequence[str],
    *,
    fractions: dict[str, float],
    seed: int,
) -> dict[int, str]:
    """Draw splits class by class; examples with equal content go the same way."""
    by_class: dict[str, list[list[int]]] = defaultdict(list)
    together: dict[str, list[int]] = {}
    for index in pool:
        if digests[index] in together:
            together[digests[index]].append(index)
        else:
            together[digests[index]] = [index]
            by_class[labels[index]].append(together[digests[index]])
    random = np.random.default_rng(seed)
    made: dict[int, str] = {}
    for label in sorted(by_class):
        groups = by_class[label]
        order = random.permutation(len(groups))
        start = 0
        for split, fraction in fractions.items():
            count = max(1, round(fraction * len(groups))) if len(groups) > len(fractions) else 0
            for position in order[start : start + count]:
                made |= dict.fromkeys(groups[position], split)
            start += count
        for position in order[start:]:
            made |= dict.fromkeys(groups[position], "train")
    return made


def _unknown_labels(out: Assignment, names: Sequence[str], labels: Sequence[str], *, skip: bool) -> None:
    known = {label for label, split in zip(labels, out.splits, strict=True) if split == "train"}
    for index, split in enumerate(out.splits):
        if split and labels[index] not in known:
            reason = f"has label '{labels[index]}', which no training example has"
            if not skip:
                raise RegrowError(f"{names[index]}: {reason}")
            out.rejects.append({"example": names[index], "reason": reason})
            out.splits[index] = None
