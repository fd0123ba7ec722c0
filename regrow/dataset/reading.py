"""Read every example once, in threads: decode, check, hash, and store it in one array on disk."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from regrow.dataset.decoding import Decoded, ImageOptions, Remark, UnusableError, check_array, decode_image
from regrow.dataset.listing import Array, Listing
from regrow.errors import RegrowError

SAMPLE = 64  # so many examples are looked at to find the shape that most have
BATCH = 256
SMALL = 2**14
BATCH_BYTES = 2**24
HINT = "prepare.on_error: skip omits such examples"
MAKES_ALIKE = "set prepare.image.size and prepare.image.mode to convert them"
Item = tuple[int, bytes | Array]


@dataclass(frozen=True)
class Form:
    """What all examples have in common."""

    mode: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.mode} {'×'.join(map(str, self.shape))}"

    @cached_property
    def bytes(self) -> int:
        """Of one example."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


@dataclass
class Contents:
    """What was read, by index into the listing; what could not be used has an empty ``content``.

    ``sources`` are SHA-256 of an example's bytes as they lie in the source, ``contents`` of its decoded values:
    equal pictures in different files have the same. ``forms`` counts shapes and modes as found, ``remarks`` what is to
    be said of how images were read.
    """

    path: Path
    form: Form
    sources: list[str]
    contents: list[str]
    forms: Counter[Form] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    remarks: Counter[Remark] = field(default_factory=Counter)

    def most_common_form(self) -> Form:
        """The form that most examples have; the one they were read for where as many have it."""
        if not self.forms:
            return self.form
        return max(self.forms, key=lambda form: (self.forms[form], form == self.form))

    def rows(self, indices: Sequence[int]) -> Array:
        """Decoded examples; the file is mapped anew each time, so that pages do not pile up in memory."""
        shape = (len(self.contents), *self.form.shape)
        return np.asarray(np.memmap(self.path, self.form.dtype, mode="r", shape=shape)[np.asarray(indices)])


def read_examples(
    listing: Listing, scratch: Path, *, options: ImageOptions, skip: bool, done: Callable[[int], None]
) -> Contents:
    """Read all of ``listing`` into a file in ``scratch``.

    Examples must be alike. With ``skip``, those are kept that have the form of most; the first examples show it, and
    where all together show another – sources are sorted by class, and a class may be unlike the others – the listing is
    read again.

    Raises:
        RegrowError: an example cannot be used and ``skip`` is false (named, with the reason), or none can.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    contents = _read_all(listing, scratch, form=None, options=options, skip=skip, done=done)
    most = contents.most_common_form()
    if most != contents.form:
        contents = _read_all(listing, scratch, form=most, options=options, skip=skip, done=done)
    if len(contents.faults) == len(listing.names):
        index, fault = next(iter(contents.faults.items()))
        raise RegrowError(f"no example can be used; the first: {listing.names[index]}: {fault}")
    return contents


def _read_all(
    listing: Listing,
    scratch: Path,
    *,
    form: Form | None,
    options: ImageOptions,
    skip: bool,
    done: Callable[[int], None],
) -> Contents:
    stream = listing.stream()
    head = list(islice(stream, SAMPLE))
    form = form or _common_form(head, listing, options)
    count = len(listing.names)
    contents = Contents(scratch / "examples.raw", form, [""] * count, [""] * count)
    finished = 0
    with contents.path.open("wb+") as file:
        file.truncate(count * form.bytes)
        work = partial(_read_batch, form=form, options=options, file=file.fileno())
        for batch in _work_on(chain(head, stream), work, workers=_workers(head)):
            for outcome in batch:
                _record(contents, listing, outcome, skip=skip)
            finished += len(batch)
            done(finished)
    return contents


@dataclass(frozen=True)
class _Outcome:
    index: int
    source: str
    content: str
    form: Form | None
    fault: str | None
    remarks: frozenset[Remark] = frozenset()


def _record(contents: Contents, listing: Listing, outcome: _Outcome, *, skip: bool) -> None:
    fault = listing.faults.get(outcome.index, outcome.fault)
    if fault is None and listing.labels[outcome.index] is None:
        fault = "has no label"
    contents.sources[outcome.index] = outcome.source
    if outcome.form and outcome.index not in listing.faults:
        contents.forms[outcome.form] += 1
    if fault is None:
        contents.contents[outcome.index] = outcome.content
        contents.remarks.update(outcome.remarks)
    elif skip:
        contents.faults[outcome.index] = fault
    else:
        # Images of another form can be made alike; to leave them all out is seldom what is wanted.
        hint = "" if MAKES_ALIKE in fault else f"; {HINT}"
        raise RegrowError(f"{listing.names[outcome.index]}: {fault}{hint}")


def _common_form(head: Sequence[Item], listing: Listing, options: ImageOptions) -> Form:
    """The form that most of the first examples have."""
    found: Counter[Form] = Counter()
    first = ""
    for index, item in head:
        try:
            array, mode, _ = _decode(item, options)
            found[Form(mode, array.shape, array.dtype)] += 1
        except UnusableError as error:
            first = first or f"{listing.names[index]}: {error}"
    if not found:
        raise RegrowError(f"none of the first {len(head)} examples can be used; {first}")
    return found.most_common(1)[0][0]


def _decode(item: bytes | Array, options: ImageOptions) -> Decoded:
    return decode_image(item, options) if isinstance(item, bytes) else check_array(item)


def _read_batch(batch: Sequence[Item], *, form: Form, options: ImageOptions, file: int) -> list[_Outcome]:
    return [_read(index, item, form, options, file) for index, item in batch]


def _sha256(item: bytes | Array) -> str:
    return hashlib.sha256(item if isinstance(item, bytes) else np.ascontiguousarray(item).data).hexdigest()


def _read(index: int, item: bytes | Array, form: Form, options: ImageOptions, file: int) -> _Outcome:
    source = _sha256(item)
    try:
        array, mode, remarks = _decode(item, options)
    except UnusableError as error:
        return _Outcome(index, source, "", None, str(error))
    found = Form(mode, array.shape, array.dtype)
    if found != form:
        makes_alike = f"; {MAKES_ALIKE}" if mode != "values" else ""
        return _Outcome(index, source, "", found, f"is {found}, but others are {form}{makes_alike}")
    values = np.ascontiguousarray(array)
    content = _sha256(values) if isinstance(item, bytes) else source
    data, offset = memoryview(values.tobytes()), index * form.bytes
    while data:  # a full disk shows as a short write first
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
    return _Outcome(index, source, content, form, None, remarks)


def _batches(stream: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for index, item in stream:
        batch.append((index, item))
        size += len(item) if isinstance(item, bytes) else item.nbytes
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _work_on(
    stream: Iterable[Item], work: Callable[[list[Item]], list[_Outcome]], *, workers: int
) -> Iterator[list[_Outcome]]:
    """``work`` on batches of ``stream``, in order, with no more in flight than keeps every core busy."""
    if workers == 1:
        yield from map(work, _batches(stream))
        return
    with ThreadPoolExecutor(workers) as pool:
        pending: list[Future[list[_Outcome]]] = []
        try:
            for batch in _batches(stream):
                pending.append(pool.submit(work, batch))
                if len(pending) > 2 * workers:
                    yield pending.pop(0).result()
            while pending:
                yield pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()


def _workers(head: Sequence[Item]) -> int:
    """As many threads as cores; one for arrays and small files, where passing the interpreter's lock costs more."""
    size = sum(len(item) for _, item in head if isinstance(item, bytes))
    if size < SMALL * len(head):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
